//! Leading: proposals, heartbeats, the quorum check, reads and the handing over of leadership.

use crate::raft::{ProposeError, Raft};
use crate::read_index::Pending;
use crate::ready::Note;
use crate::sabotage::Sabotage;
use crate::tracker::Pace;
use crate::{ConfChangeV2, Entry, EntryKind, Index, MemberId, Message, MessageKind, ReadState, Role};

impl Raft {
    pub(crate) fn become_leader(&mut self) {
        self.reset(self.term);
        self.role = Role::Leader;
        self.leader = self.id;
        self.notes.push(Note::Became(self.role, self.term));
        if let Some(own) = self.tracker.progress.get_mut(&self.id) {
            own.recent_active = true;
            own.become_replicate();
            own.update(self.log.unstable.stable);
        }
        // A conf change may hide in what is not committed yet.
        self.pending_conf_index = self.log.last_index();
        // Entries of older terms are committed only under one of this term.
        self.append_own(vec![Entry::default()]);
    }

    pub(crate) fn tick_leader(&mut self) {
        self.heartbeat_elapsed += 1;
        if self.election_elapsed >= self.config.election_ticks {
            self.election_elapsed = 0;
            if self.config.check_quorum {
                self.check_quorum();
            }
            // Whoever was to take over had its time.
            self.transferee = MemberId::NONE;
        }
        if self.role == Role::Leader && self.heartbeat_elapsed >= self.config.heartbeat_ticks {
            self.heartbeat_elapsed = 0;
            self.send_heartbeats();
        }
    }

    fn check_quorum(&mut self) {
        if !self.tracker.quorum_active(self.id) {
            return self.become_follower(self.term, MemberId::NONE);
        }
        for (id, progress) in &mut self.tracker.progress {
            progress.recent_active = *id == self.id;
        }
    }

    pub(crate) fn send_heartbeats(&mut self) {
        let context = self.reads.heartbeat_context();
        let (own, term, committed) = (self.id, self.term, self.log.committed);
        for (id, progress) in self.tracker.progress.iter_mut().filter(|(id, _)| **id != own) {
            // Never beyond what it is known to hold: it might have lost the rest.
            let commit = progress.matched.min(committed);
            progress.sent_heartbeat(commit);
            let (kind, to, context) = (MessageKind::Heartbeat, *id, context.clone());
            self.messages.push(Message { kind, to, from: own, term, commit, context, ..Message::default() });
        }
    }

    pub(crate) fn step_leader(&mut self, message: Message) {
        match message.kind {
            MessageKind::Prop => drop(self.append_proposals(message.entries)),
            MessageKind::ReadIndex => self.take_read(message),
            MessageKind::AppResp => self.take_append_answer(&message),
            MessageKind::HeartbeatResp => self.take_heartbeat_answer(&message),
            MessageKind::TransferLeader => self.hand_over(message.from),
            _ => {}
        }
    }

    pub(crate) fn append_proposals(&mut self, mut entries: Vec<Entry>) -> Result<(), ProposeError> {
        if entries.is_empty() {
            return Ok(());
        }
        if !self.tracker.progress.contains_key(&self.id) {
            return Err(ProposeError::NotMember);
        }
        if !self.transferee.is_none() {
            return Err(ProposeError::Transferring);
        }
        let bytes = entries.iter().map(|entry| entry.data.len()).sum::<usize>();
        let total = self.uncommitted_bytes.saturating_add(bytes);
        if self.uncommitted_bytes > 0 && bytes > 0 && total > self.config.uncommitted_bytes_max {
            return Err(ProposeError::TooMuchUncommitted);
        }
        for (entry, index) in entries.iter_mut().zip(self.log.last_index().0 + 1..) {
            if !entry.changes_members() {
                continue;
            }
            if self.may_change_members(entry) {
                self.pending_conf_index = Index(index);
            } else {
                *entry = Entry::default();
            }
        }
        self.uncommitted_bytes = total;
        self.append_own(entries);
        Ok(())
    }

    /// One change of membership at a time, and a joint configuration has to be left before the next.
    fn may_change_members(&self, entry: &Entry) -> bool {
        let leaves = match entry.kind {
            EntryKind::ConfChangeV2 => match ConfChangeV2::decode(&entry.data) {
                Some(change) => change.leaves_joint(),
                None => return false,
            },
            _ => false,
        };
        !self.conf_change_pending() && leaves == self.tracker.membership.voters.is_joint()
    }

    fn append_own(&mut self, entries: Vec<Entry>) {
        let (term, first) = (self.term, self.log.last_index().0 + 1);
        self.log.append(entries.into_iter().zip(first..).map(|(entry, index)| Entry {
            term,
            index: Index(index),
            ..entry
        }));
        self.append_due = true;
    }

    /// Leaves a joint configuration that is to be left by itself, once it is applied.
    pub(crate) fn leave_joint_if_due(&mut self) {
        if self.role == Role::Leader && self.tracker.membership.auto_leave && !self.conf_change_pending() {
            let leave = Entry { kind: EntryKind::ConfChangeV2, ..Entry::default() };
            // A transfer under way refuses it; the next word of what is applied brings us here again.
            let _ = self.append_proposals(vec![leave]);
        }
    }

    /// Part of this member's own log reached its disk: it counts now.
    pub(crate) fn own_log_persisted(&mut self) {
        let stable = self.log.unstable.stable;
        if self.tracker.progress.get_mut(&self.id).is_some_and(|own| own.update(stable)) {
            self.advance_commit();
        }
    }

    /// Commits what a quorum has on disk, if that ends with an entry of this term. True if the commit index moved.
    pub(crate) fn advance_commit(&mut self) -> bool {
        let index = self.tracker.committed().min(self.log.last_index());
        let own_term = self.log.matches(index, self.term) || self.breaks(Sabotage::OldTermCommitted);
        if !own_term || !self.log.commit_to(index) {
            return false;
        }
        self.append_due = true;
        for request in self.reads.take_postponed() {
            self.take_read(request);
        }
        true
    }

    fn take_read(&mut self, mut request: Message) {
        if request.entries.len() != 1 {
            return;
        }
        if request.from.is_none() {
            request.from = self.id;
        }
        let committed = self.log.committed;
        if !self.log.matches(committed, self.term) && !self.breaks(Sabotage::ReadBeforeOwnTerm) {
            // What was acknowledged in earlier terms may lie beyond, also for a single voter that was started again.
            return self.reads.postpone(request);
        }
        if self.is_single_voter() {
            return self.answer_read(Pending { request, index: committed });
        }
        self.reads.push(request, committed);
        self.send_heartbeats();
    }

    fn answer_read(&mut self, pending: Pending) {
        let Pending { request, index } = pending;
        if request.from == self.id {
            let context = request.entries.into_iter().next().map(|entry| entry.data).unwrap_or_default();
            return self.read_states.push(ReadState { index, context });
        }
        let mut answer = self.message(MessageKind::ReadIndexResp, request.from);
        answer.index = index;
        answer.entries = request.entries;
        self.send(answer);
    }

    fn take_heartbeat_answer(&mut self, message: &Message) {
        let Some(progress) = self.tracker.progress.get_mut(&message.from) else { return };
        progress.recent_active = true;
        // Whatever stopped the flow, this member is there: try again, with an empty append if its window is full.
        progress.paused = false;
        if progress.matched < self.log.last_index() || progress.pace == Pace::Probe {
            self.send_append(message.from, true);
        }
        let voters = &self.tracker.membership.voters;
        if message.context.is_empty() || !voters.contains(message.from) {
            return;
        }
        for confirmed in self.reads.echo(message.from, &message.context, self.id, voters) {
            self.answer_read(confirmed);
        }
    }

    fn hand_over(&mut self, to: MemberId) {
        let Some(progress) = self.tracker.progress.get(&to) else { return };
        if progress.is_learner || to == self.transferee {
            return;
        }
        // A new wish ends the one before, also the wish that all stays as it is.
        self.transferee = MemberId::NONE;
        if to == self.id {
            return;
        }
        // It has one election timeout to take over.
        self.election_elapsed = 0;
        self.transferee = to;
        if progress.matched == self.log.last_index() {
            self.send_timeout_now(to);
        } else {
            self.send_append(to, true);
        }
    }

    /// Once it stands for election, the successor hears no more of this term: news of commits go first.
    pub(crate) fn send_timeout_now(&mut self, to: MemberId) {
        self.send_due_appends();
        let message = self.message(MessageKind::TimeoutNow, to);
        self.send(message);
    }

    pub(crate) fn leader_membership_changed(&mut self) {
        let voters = &self.tracker.membership.voters;
        if !self.transferee.is_none() && !voters.contains(self.transferee) {
            self.transferee = MemberId::NONE;
        }
        // Removed or demoted, it leads on until the change is known to others and somebody else takes over.
        if !voters.contains(self.id) || voters.incoming.is_empty() {
            return;
        }
        // A smaller quorum may have been reached already.
        self.advance_commit();
        self.append_due = true;
    }
}
