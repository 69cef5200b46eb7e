//! The node: one input at a time in, everything to be done out.

use std::collections::VecDeque;

use raft::{
    ConfChange, ConfChangeV2, ConfState, Index, Message, MessageKind, Raft, Restored, Role, SoftState, Term,
};

use crate::compaction::Compaction;
use crate::proposals::Proposals;
use crate::reads::Reads;
use crate::{Config, Input, Output, PeerStatus, Proposal, ProposalError, Status};

/// A member's brain: [`Input`]s in, [`Output`]s out.
#[derive(Debug)]
pub struct Node {
    config: Config,
    raft: Raft,
    proposals: Proposals,
    reads: Reads,
    compaction: Compaction,
    /// Conf change entries given to apply whose verdict is awaited; consensus must not see them as applied before.
    conf_changes: VecDeque<Index>,
    /// What the store reported as applied, while it waits for such a verdict.
    applied: Index,
    conf_state: Option<ConfState>,
    /// Ticks since start.
    now: u64,
    stopping: bool,
}

impl Node {
    /// A node as it was left on disk.
    ///
    /// # Errors
    /// If what was restored does not fit together.
    pub fn new(config: Config, restored: Restored) -> Result<Node, raft::Error> {
        let settings = raft::Config {
            election_ticks: config.election_ticks,
            pre_vote: config.pre_vote,
            #[cfg(feature = "sabotage")]
            sabotage: config.sabotage,
            ..raft::Config::new(config.id, config.seed)
        };
        let raft = Raft::new(settings, restored)?;
        let mut node = Node {
            proposals: Proposals::default(),
            reads: Reads::new(config.seed << 20),
            compaction: Compaction::new(&config),
            conf_changes: VecDeque::new(),
            applied: raft.applied_index(),
            conf_state: None,
            now: 0,
            stopping: false,
            raft,
            config,
        };
        node.elect_if_alone();
        Ok(node)
    }

    /// Takes one input in.
    pub fn step(&mut self, input: Input) {
        match input {
            Input::Tick => self.tick(),
            Input::Propose(proposal) => match self.refuse() {
                Some(why) => self.proposals.fail(proposal.id, why),
                None => {
                    if self.proposals.is_full() {
                        self.proposals.flush(&mut self.raft);
                    }
                    self.proposals.add(proposal, self.leader_deadline());
                }
            },
            Input::ProposeAsLeader { proposal, term } => self.propose_as_leader(proposal, term),
            Input::ProposeConfChange { id, change } => match self.refuse() {
                Some(why) => self.proposals.fail(id, why),
                None => self.proposals.add_conf_change(id, &change, self.leader_deadline()),
            },
            Input::ReadIndex { id } => {
                if let Err(why) = self.reads.add(id) {
                    self.proposals.fail(id, why);
                }
            }
            // Consensus would drop it, and whoever waits for it at its sender would wait in vain.
            Input::Message(message)
                if message.kind == MessageKind::Prop && Proposals::must_wait(&self.raft) =>
            {
                self.proposals.add_foreign(message.entries, self.leader_deadline());
            }
            Input::Message(message) => self.raft.step(message),
            Input::Persisted { seq } => self.raft.persisted(seq),
            Input::Applied { index } => {
                self.applied = self.applied.max(index);
                self.pass_on_applied();
            }
            Input::ConfChangeApplied { index, change } => self.conf_change_applied(index, change.as_ref()),
            Input::SnapshotSaved { index } => {
                if let Some(keep_after) = self.compaction.saved(index, self.now) {
                    self.raft.compact(keep_after);
                }
            }
            Input::ForceSnapshot => self.compaction.force(),
            Input::TransferLeader { to } => self.raft.transfer_leader(to),
            Input::Unreachable { peer } => self.raft.report_unreachable(peer),
            Input::SnapshotSent { peer, ok } => {
                self.compaction.sent(peer, ok, self.now);
                self.raft.report_snapshot(peer, ok);
            }
            Input::Stop => {
                self.stopping = true;
                self.raft.flush_commit();
            }
        }
    }

    fn tick(&mut self) {
        self.now += 1;
        self.raft.tick();
        self.raft.flush_commit();
        self.proposals.expire(self.now);
    }

    /// Everything to be done now, after any number of inputs.
    pub fn take_output(&mut self) -> Output {
        self.proposals.flush(&mut self.raft);
        let mut reads = self.reads.confirmed(self.raft.take_reads());
        self.reads.flush(&mut self.raft, self.now);
        let snapshot_due = self.compaction.due(self.raft.applied_index());
        if self.compaction.is_running() {
            // A snapshot record counts only if the hard state on disk has committed it: while one is being made, every
            // entry goes to apply together with the commit index that covers it.
            self.raft.flush_commit();
        }
        let ready = self.raft.ready();
        reads.extend(self.reads.confirmed(ready.reads));
        if let Some(snapshot) = &ready.restore {
            self.restored(snapshot.index);
        }
        self.conf_changes
            .extend(ready.apply.iter().filter(|entry| entry.changes_members()).map(|entry| entry.index));
        let (send_snapshot, mut send): (Vec<_>, Vec<_>) =
            ready.messages.into_iter().partition(|m| m.kind == MessageKind::Snap);
        send_snapshot.iter().for_each(|message| self.compaction.hold(message.to));
        keep_last_ack(&mut send);
        let mut persist = ready.persist;
        if let Some(persist) = &mut persist {
            keep_last_ack(&mut persist.send);
        }
        Output {
            persist,
            send,
            apply: ready.apply,
            reads,
            failed: self.proposals.take_failed(),
            leadership: ready.soft_state,
            conf_state: self.conf_state.take(),
            restore: ready.restore,
            send_snapshot,
            snapshot_due,
            notes: ready.notes,
        }
    }

    /// A picture of the node.
    #[must_use]
    pub fn status(&self) -> Status {
        let SoftState { leader, role, term } = self.raft.soft_state();
        Status {
            id: self.config.id,
            term,
            leader,
            role,
            committed: self.raft.committed(),
            applied: self.raft.applied_index(),
            first_index: self.raft.first_index(),
            last_index: self.raft.last_index(),
            last_term: self.raft.term_at(self.raft.last_index()).unwrap_or_default(),
            conf_state: self.raft.conf_state(),
            peers: self
                .raft
                .progress()
                .map(|peer| PeerStatus {
                    id: peer.id,
                    matched: peer.matched,
                    is_learner: peer.is_learner,
                    recent_active: peer.recent_active,
                })
                .collect(),
            transferee: self.raft.transferee(),
            snapshot_index: self.compaction.snapshot_index(),
        }
    }

    /// The consensus underneath, for tests and the simulator.
    #[must_use]
    pub fn raft(&self) -> &Raft {
        &self.raft
    }

    /// This member leads and there is no other: nobody waits for it to send anything.
    #[must_use]
    pub fn leads_alone(&self) -> bool {
        self.raft.is_single_voter() && self.raft.progress().count() == 1
    }

    /// [`Input::Applied`] would lead to something at once. Otherwise it may come together with a later input.
    #[must_use]
    pub fn waits_for_apply(&self) -> bool {
        let stands_alone = self.raft.is_single_voter() && self.raft.soft_state().role != Role::Leader;
        self.raft.holds_back() || !self.conf_changes.is_empty() || stands_alone
    }

    fn propose_as_leader(&mut self, proposal: Proposal, term: Term) {
        let soft = self.raft.soft_state();
        let leads = soft.role == Role::Leader && soft.term == term && self.raft.transferee().is_none();
        match self.refuse().or((!leads).then_some(ProposalError::Dropped)) {
            Some(why) => self.proposals.fail(proposal.id, why),
            None => {
                // At once: the next input may end this term.
                self.proposals.flush(&mut self.raft);
                self.proposals.add(proposal, self.leader_deadline());
                self.proposals.flush(&mut self.raft);
            }
        }
    }

    fn refuse(&self) -> Option<ProposalError> {
        if self.stopping {
            return Some(ProposalError::Stopped);
        }
        let gap = self.raft.committed().0.saturating_sub(self.applied.0);
        (gap > self.config.apply_gap_max).then_some(ProposalError::TooManyRequests)
    }

    /// Until when a proposal may wait for a leader.
    fn leader_deadline(&self) -> u64 {
        self.now + self.config.proposal_ticks
    }

    /// Consensus may see entries as applied up to here, but not beyond a conf change without a verdict.
    fn pass_on_applied(&mut self) {
        let barrier = self.conf_changes.front().map_or(Index(u64::MAX), |index| index.prev());
        self.raft.applied(self.applied.min(barrier));
        let (first, applied) = (self.raft.first_index(), self.raft.applied_index());
        if let Some(index) = self.compaction.forgettable(first, applied, self.now) {
            self.raft.compact(index);
        }
        self.elect_if_alone();
    }

    fn conf_change_applied(&mut self, index: Index, change: Option<&ConfChange>) {
        while self.conf_changes.front().is_some_and(|front| *front <= index) {
            self.conf_changes.pop_front();
        }
        // A leader's snapshot that is being installed has replaced the membership meanwhile, this change included.
        let replaced = index < self.raft.first_index();
        if let Some(change) = change.filter(|_| !replaced) {
            // The store has validated it against the members; consensus refuses only what it could never have
            // proposed, and then the membership stays.
            let _ = self.raft.apply_conf_change(&ConfChangeV2::from(change));
        }
        self.conf_state = Some(self.raft.conf_state());
        self.pass_on_applied();
    }

    fn restored(&mut self, index: Index) {
        self.conf_changes.clear();
        self.compaction.saved(index, self.now);
        self.conf_state = Some(self.raft.conf_state());
    }

    /// The only voter need not wait for an election timeout: nobody else could lead.
    fn elect_if_alone(&mut self) {
        if self.raft.is_single_voter() && self.raft.soft_state().role == Role::Follower {
            self.raft.campaign();
        }
    }
}

/// Of several acknowledgements to one peer the last says it all.
fn keep_last_ack(messages: &mut Vec<Message>) {
    let is_ack = |message: &Message| message.kind == MessageKind::AppResp && !message.reject;
    let Some(last) = messages.iter().rposition(is_ack) else { return };
    let (to, term, index) = (messages[last].to, messages[last].term, messages[last].index);
    let mut position = 0;
    messages.retain(|message| {
        let covered = is_ack(message) && (message.to, message.term) == (to, term) && message.index <= index;
        position += 1;
        !covered || position > last
    });
}
