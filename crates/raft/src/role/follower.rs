//! Following: taking entries, commit index and snapshots from the leader, passing requests on to it.

use crate::raft::Raft;
use crate::ready::Note;
use crate::{Index, MemberId, Message, MessageKind, ReadState, Role, Snapshot, Term, confchange};

impl Raft {
    pub(crate) fn become_follower(&mut self, term: Term, leader: MemberId) {
        self.reset(term);
        self.role = Role::Follower;
        self.leader = leader;
        self.notes.push(Note::Became(self.role, term));
    }

    pub(crate) fn step_follower(&mut self, message: Message) {
        match message.kind {
            MessageKind::App => {
                self.heard_leader(message.from);
                self.take_entries(message);
            }
            MessageKind::Heartbeat => {
                self.heard_leader(message.from);
                self.take_heartbeat(message);
            }
            MessageKind::Snap => {
                self.heard_leader(message.from);
                self.take_snapshot(message);
            }
            MessageKind::Prop | MessageKind::ReadIndex | MessageKind::TransferLeader => self.pass_on(message),
            MessageKind::TimeoutNow => self.stand_for_election(true),
            MessageKind::ReadIndexResp => {
                if let [request] = message.entries.as_slice() {
                    let (index, context) = (message.index, request.data.clone());
                    self.read_states.push(ReadState { index, context });
                }
            }
            _ => {}
        }
    }

    fn heard_leader(&mut self, from: MemberId) {
        self.election_elapsed = 0;
        self.leader = from;
    }

    /// To the leader; without one it is lost, and the sender will ask again.
    fn pass_on(&mut self, mut message: Message) {
        if self.leader.is_none() || self.leader == message.from && message.kind != MessageKind::TransferLeader
        {
            return;
        }
        // The successor in a transfer, and the origin of a read, are told by `from`.
        if message.from.is_none() {
            message.from = self.id;
        }
        if message.kind == MessageKind::TransferLeader {
            // A wish of an older term does not count.
            message.term = self.term;
        }
        message.to = self.leader;
        self.messages.push(message);
    }

    fn take_entries(&mut self, message: Message) {
        let Message { from, index, log_term, entries, commit, .. } = message;
        let mut answer = self.message(MessageKind::AppResp, from);
        if index < self.log.committed {
            answer.index = self.log.committed;
            return self.send_after_persist(answer);
        }
        if !in_sequence(index, self.term, &entries) {
            return;
        }
        if let Some(agreed) = self.log.try_append(index, log_term, entries) {
            self.log.commit_to(commit.min(agreed));
            answer.index = agreed;
        } else {
            // Tell the leader the newest position that could agree, so that it need not go back one by one.
            let (hint, hint_term) =
                self.log.find_conflict_by_term(index.min(self.log.last_index()), log_term);
            answer.index = index;
            answer.reject = true;
            answer.reject_hint = hint;
            answer.log_term = hint_term;
        }
        self.send_after_persist(answer);
    }

    fn take_heartbeat(&mut self, message: Message) {
        self.log.commit_to(message.commit);
        let mut answer = self.message(MessageKind::HeartbeatResp, message.from);
        answer.context = message.context;
        self.send(answer);
    }

    fn take_snapshot(&mut self, message: Message) {
        let Some(snapshot) = message.snapshot else { return };
        let mut answer = self.message(MessageKind::AppResp, message.from);
        answer.index = if self.install(*snapshot) { self.log.last_index() } else { self.log.committed };
        self.send_after_persist(answer);
    }

    /// Replaces log and membership by a snapshot. False if it is not needed or not for this member.
    fn install(&mut self, snapshot: Snapshot) -> bool {
        if snapshot.index <= self.log.committed || !snapshot.conf_state.contains(self.id) {
            return false;
        }
        if self.log.matches(snapshot.index, snapshot.term) {
            // All of it is here already and now known to be committed.
            self.log.commit_to(snapshot.index);
            return false;
        }
        let membership = confchange::from_conf_state(&snapshot.conf_state);
        self.tracker.set_membership(membership, snapshot.index);
        self.restored = None;
        self.log.restore(snapshot);
        self.membership_changed();
        true
    }

    /// The membership is another one now; a leader has consequences to draw.
    pub(crate) fn membership_changed(&mut self) {
        self.notes.push(Note::Membership(self.conf_state()));
        if self.role == Role::Leader {
            self.leader_membership_changed();
        }
    }
}

/// True if these entries can follow `prev` in a log of this term.
fn in_sequence(prev: Index, term: Term, entries: &[crate::Entry]) -> bool {
    let positions = entries.iter().zip(prev.0.saturating_add(1)..);
    positions.fold(true, |fine, (entry, index)| fine && entry.index.0 == index && entry.term <= term)
}
