//! A member of raft-rs behind the common face.

use protobuf::Message as _;
use raft_rs::eraftpb::{
    ConfChange, ConfChangeSingle, ConfChangeType, ConfChangeV2, ConfState, Entry, EntryType, HardState,
    Message, MessageType, Snapshot,
};
use raft_rs::storage::MemStorage;
use raft_rs::{Config, ProgressState, RawNode, SnapshotStatus, StateRole, Storage};

use crate::{Action, Change, Settings, State, Subject};

pub(crate) struct Member {
    node: RawNode<MemStorage>,
    storage: MemStorage,
    config: Config,
    applied: u64,
}

fn single(change: Change) -> (ConfChangeType, u64) {
    match change {
        Change::Voter(id) => (ConfChangeType::AddNode, id),
        Change::Learner(id) => (ConfChangeType::AddLearnerNode, id),
        Change::Remove(id) => (ConfChangeType::RemoveNode, id),
    }
}

fn start(config: &Config, storage: &MemStorage) -> RawNode<MemStorage> {
    let logger = slog::Logger::root(slog::Discard, slog::o!());
    RawNode::new(config, storage.clone(), &logger).expect("the storage fits")
}

impl Member {
    fn apply(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            self.applied = entry.index;
            let state = match entry.get_entry_type() {
                EntryType::EntryNormal => continue,
                EntryType::EntryConfChange => self
                    .node
                    .apply_conf_change(&ConfChange::parse_from_bytes(&entry.data).expect("a conf change")),
                EntryType::EntryConfChangeV2 => self
                    .node
                    .apply_conf_change(&ConfChangeV2::parse_from_bytes(&entry.data).expect("a conf change")),
            };
            if let Ok(state) = state {
                self.storage.wl().set_conf_state(state);
            }
        }
    }

    /// raft-rs appends the entry that leaves a joint configuration also during a transfer of leadership, and tells
    /// nobody. In etcd's raft it is a proposal like all others: refused during a transfer, and tried again with the
    /// next entry that is applied; else broadcast.
    fn advance_apply(&mut self) {
        let (auto_leave, raft) = (self.conf_state().auto_leave, &mut self.node.raft);
        if auto_leave && raft.lead_transferee.is_some() && raft.pending_conf_index <= self.applied {
            raft.pending_conf_index = self.applied + 1;
        }
        let last = raft.raft_log.last_index();
        self.node.advance_apply_to(self.applied);
        if self.node.raft.raft_log.last_index() > last {
            self.node.raft.bcast_append();
        }
    }

    /// What a leader sends again or takes for an answer, beyond raft-rs, when it probes a member that has everything:
    /// in etcd's raft a heartbeat's answer leads to an empty append, and the answer to that ends the probing.
    fn recover_from_probing(&mut self, from: u64, kind: MessageType, index: u64) {
        let raft = &mut self.node.raft;
        let last = raft.raft_log.last_index();
        let leads = raft.state == StateRole::Leader;
        let Some(progress) = raft.mut_prs().get_mut(from) else { return };
        if !leads || progress.state != ProgressState::Probe {
            return;
        }
        match kind {
            MessageType::MsgHeartbeatResponse if progress.matched == last => {
                progress.resume();
                raft.send_append(from);
            }
            // An answer that is no news is passed over; this makes it news.
            MessageType::MsgAppendResponse if progress.matched == index && index > 0 => progress.matched -= 1,
            _ => {}
        }
    }

    fn conf_state(&self) -> ConfState {
        self.node.raft.prs().conf().to_conf_state()
    }
}

impl Subject for Member {
    type Message = Message;

    fn new(id: u64, settings: Settings) -> Self {
        let config = Config {
            id,
            election_tick: 1_000_000,
            heartbeat_tick: 1,
            pre_vote: settings.pre_vote,
            check_quorum: settings.check_quorum,
            max_size_per_msg: 1 << 20,
            max_inflight_msgs: 512,
            ..Config::new(id)
        };
        let voters: Vec<u64> = (1..=settings.founders).collect();
        let storage = MemStorage::new_with_conf_state((voters, vec![]));
        Member { node: start(&config, &storage), storage, config, applied: 0 }
    }

    fn act(&mut self, action: &Action) {
        match action {
            // Started by hand, it would stand for election even if it may not vote.
            Action::Campaign if self.node.raft.promotable() => drop(self.node.campaign()),
            Action::Campaign => {}
            Action::Tick => drop(self.node.tick()),
            Action::Propose(data) => drop(self.node.propose(vec![], data.clone())),
            Action::Change(changes) => match changes.as_slice() {
                [one] => {
                    let (kind, id) = single(*one);
                    let mut change = ConfChange::default();
                    change.set_change_type(kind);
                    change.node_id = id;
                    drop(self.node.propose_conf_change(vec![], change));
                }
                several => {
                    let mut change = ConfChangeV2::default();
                    for one in several {
                        let (kind, id) = single(*one);
                        let mut single = ConfChangeSingle::default();
                        single.set_change_type(kind);
                        single.node_id = id;
                        change.mut_changes().push(single);
                    }
                    drop(self.node.propose_conf_change(vec![], change));
                }
            },
            Action::Transfer(to) => self.node.transfer_leader(*to),
            Action::Unreachable(peer) => self.node.report_unreachable(*peer),
            Action::SnapshotSent(peer) => self.node.report_snapshot(*peer, SnapshotStatus::Finish),
            Action::Compact => {
                let mut core = self.storage.wl();
                let _ = core.compact(self.applied);
            }
            Action::Restart => {
                self.config.applied = self.applied;
                self.node = start(&self.config, &self.storage);
            }
        }
    }

    fn step(&mut self, mut message: Message) {
        use MessageType::*;
        let kind = message.get_msg_type();
        // raft-rs adds the commit index to vote requests and refusals; those of etcd's raft do not tell it.
        if matches!(
            kind,
            MsgRequestVote | MsgRequestVoteResponse | MsgRequestPreVote | MsgRequestPreVoteResponse
        ) {
            message.commit = 0;
        }
        if message.term == self.node.raft.term && !message.reject {
            self.recover_from_probing(message.from, kind, message.index);
        }
        let _ = self.node.step(message);
    }

    fn drain(&mut self) -> Vec<(u64, Message)> {
        let mut sent: Vec<Message> = Vec::new();
        while self.node.has_ready() {
            let mut ready = self.node.ready();
            sent.extend(ready.take_messages());
            if *ready.snapshot() != Snapshot::default() {
                let snapshot = ready.snapshot().clone();
                self.applied = snapshot.get_metadata().index;
                self.storage.wl().apply_snapshot(snapshot).expect("a newer snapshot");
            }
            let committed = ready.take_committed_entries();
            self.storage.wl().append(ready.entries()).expect("entries in sequence");
            if let Some(state) = ready.hs() {
                self.storage.wl().set_hardstate(HardState::clone(state));
            }
            sent.extend(ready.take_persisted_messages());
            self.apply(committed);
            let mut light = self.node.advance_append(ready);
            if let Some(commit) = light.commit_index() {
                self.storage.wl().mut_hard_state().set_commit(commit);
            }
            sent.extend(light.take_messages());
            self.apply(light.take_committed_entries());
            self.advance_apply();
        }
        sent.into_iter().map(|message| (message.to, message)).collect()
    }

    fn state(&self) -> State {
        let raft = &self.node.raft;
        let conf = self.conf_state();
        let sorted = |ids: &[u64]| {
            let mut ids = ids.to_vec();
            ids.sort_unstable();
            ids
        };
        let (first, last) =
            (self.storage.first_index().expect("first"), self.storage.last_index().expect("last"));
        let entries = (first..=last).map(|index| {
            let context = raft_rs::GetEntriesContext::empty(false);
            let entry = self
                .storage
                .entries(index, index + 1, None, context)
                .expect("an entry within the log")
                .remove(0);
            let data = (entry.get_entry_type() == EntryType::EntryNormal).then(|| entry.data.to_vec());
            (index, (entry.term, data))
        });
        State {
            term: raft.term,
            vote: raft.vote,
            leader: raft.leader_id,
            role: match raft.state {
                StateRole::Follower => "follower",
                StateRole::PreCandidate => "pre-candidate",
                StateRole::Candidate => "candidate",
                StateRole::Leader => "leader",
            },
            commit: raft.raft_log.committed,
            applied: self.applied,
            voters: sorted(&conf.voters),
            outgoing: sorted(&conf.voters_outgoing),
            learners: sorted(&conf.learners),
            last: raft.raft_log.last_index(),
            log: entries.collect(),
        }
    }
}
