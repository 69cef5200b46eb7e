//! A member of this room behind the common face.

use bytes::Bytes;
use raft::{
    ConfChange, ConfChangeKind, ConfChangeV2, ConfState, Config, Entry, EntryKind, HardState, Index,
    MemberId, Message, Raft, Restored, Role, Snapshot, Term,
};

use crate::{Action, Change, Settings, State, Subject};

pub(crate) struct Member {
    raft: Raft,
    config: Config,
    hard_state: HardState,
    start: (Index, Term),
    log: Vec<Entry>,
    applied: Index,
    conf_state: ConfState,
}

fn single(change: Change) -> (ConfChangeKind, MemberId) {
    match change {
        Change::Voter(id) => (ConfChangeKind::AddNode, MemberId(id)),
        Change::Learner(id) => (ConfChangeKind::AddLearnerNode, MemberId(id)),
        Change::Remove(id) => (ConfChangeKind::RemoveNode, MemberId(id)),
    }
}

impl Member {
    fn propose(&mut self, kind: EntryKind, data: Bytes) {
        let _ = self.raft.propose(vec![Entry { kind, data, ..Entry::default() }]);
    }

    fn restore(&mut self, snapshot: Snapshot) {
        self.start = (snapshot.index, snapshot.term);
        self.log.clear();
        self.applied = snapshot.index;
        self.conf_state = snapshot.conf_state;
    }

    fn change_members(&mut self, entry: &Entry) {
        let change = match entry.kind {
            EntryKind::Normal => return,
            EntryKind::ConfChange => {
                ConfChangeV2::from(&ConfChange::decode(&entry.data).expect("a conf change"))
            }
            EntryKind::ConfChangeV2 => ConfChangeV2::decode(&entry.data).expect("a conf change"),
        };
        if let Ok(state) = self.raft.apply_conf_change(&change) {
            self.conf_state = state;
        }
    }

    fn write(&mut self, entries: Vec<Entry>) {
        if let Some(first) = entries.first() {
            self.log.truncate((first.index.0 - self.start.0.0 - 1) as usize);
            self.log.extend(entries);
        }
    }
}

impl Subject for Member {
    type Message = Message;

    fn new(id: u64, settings: Settings) -> Self {
        let config = Config {
            election_ticks: 1_000_000,
            heartbeat_ticks: 1,
            pre_vote: settings.pre_vote,
            check_quorum: settings.check_quorum,
            ..Config::new(MemberId(id), id)
        };
        let conf_state =
            ConfState { voters: (1..=settings.founders).map(MemberId).collect(), ..ConfState::default() };
        let restored = Restored { conf_state: conf_state.clone(), ..Restored::default() };
        Member {
            raft: Raft::new(config.clone(), restored).expect("an empty log fits"),
            config,
            hard_state: HardState::default(),
            start: (Index(0), Term(0)),
            log: Vec::new(),
            applied: Index(0),
            conf_state,
        }
    }

    fn act(&mut self, action: &Action) {
        match action {
            Action::Campaign => self.raft.campaign(),
            Action::Tick => self.raft.tick(),
            Action::Propose(data) => self.propose(EntryKind::Normal, Bytes::copy_from_slice(data)),
            Action::Change(changes) => match changes.as_slice() {
                [one] => {
                    let (kind, node_id) = single(*one);
                    let change = ConfChange { id: 0, kind, node_id, context: Bytes::new() };
                    self.propose(EntryKind::ConfChange, change.encode());
                }
                several => {
                    let changes = several.iter().map(|change| single(*change)).collect();
                    let change = ConfChangeV2 { changes, ..ConfChangeV2::default() };
                    self.propose(EntryKind::ConfChangeV2, change.encode());
                }
            },
            Action::Transfer(to) => self.raft.transfer_leader(MemberId(*to)),
            Action::Unreachable(peer) => self.raft.report_unreachable(MemberId(*peer)),
            Action::SnapshotSent(peer) => self.raft.report_snapshot(MemberId(*peer), true),
            Action::Compact => {
                let term = self.raft.term_at(self.applied).expect("the applied entry is in memory");
                self.raft.compact(self.applied);
                self.log.drain(..(self.applied.0 - self.start.0.0) as usize);
                self.start = (self.applied, term);
            }
            Action::Restart => {
                let restored = Restored {
                    hard_state: self.hard_state,
                    conf_state: self.conf_state.clone(),
                    snapshot_index: self.start.0,
                    snapshot_term: self.start.1,
                    entries: self.log.clone(),
                    applied: self.applied,
                };
                self.raft = Raft::new(self.config.clone(), restored).expect("what was written fits");
            }
        }
    }

    fn step(&mut self, message: Message) {
        self.raft.step(message);
    }

    fn drain(&mut self) -> Vec<(u64, Message)> {
        let mut sent = Vec::new();
        loop {
            self.raft.flush_commit();
            let ready = self.raft.ready();
            if ready == Default::default() {
                return sent.into_iter().map(|message: Message| (message.to.0, message)).collect();
            }
            sent.extend(ready.messages);
            if let Some(persist) = ready.persist {
                self.hard_state = persist.hard_state.unwrap_or(self.hard_state);
                persist.snapshot.into_iter().for_each(|snapshot| self.restore(snapshot));
                self.write(persist.entries);
                sent.extend(persist.send);
                self.raft.persisted(persist.seq);
            }
            for entry in ready.apply {
                self.change_members(&entry);
                self.applied = entry.index;
            }
            if self.applied > self.raft.applied_index() {
                self.raft.applied(self.applied);
            }
        }
    }

    fn state(&self) -> State {
        let (soft, hard) = (self.raft.soft_state(), self.raft.hard_state());
        let ids = |ids: &[MemberId]| ids.iter().map(|id| id.0).collect();
        let conf = self.raft.conf_state();
        let entry = |entry: &Entry| {
            let data = (entry.kind == EntryKind::Normal).then(|| entry.data.to_vec());
            (entry.index.0, (entry.term.0, data))
        };
        State {
            term: soft.term.0,
            vote: hard.vote.0,
            leader: soft.leader.0,
            role: match soft.role {
                Role::Follower => "follower",
                Role::PreCandidate => "pre-candidate",
                Role::Candidate => "candidate",
                Role::Leader => "leader",
            },
            commit: hard.commit.0,
            applied: self.applied.0,
            voters: ids(&conf.voters),
            outgoing: ids(&conf.voters_outgoing),
            learners: ids(&conf.learners),
            last: self.raft.last_index().0,
            log: self.log.iter().map(entry).collect(),
        }
    }
}
