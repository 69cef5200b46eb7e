//! Bringing the followers' logs into agreement: appends, their answers, snapshots for those too far behind.

use crate::raft::Raft;
use crate::tracker::Pace;
use crate::{Entry, Index, MemberId, Message, MessageKind, Snapshot};

impl Raft {
    /// Tells followers about new entries and the commit index, once per [`Raft::ready`] however often they changed.
    pub(crate) fn send_due_appends(&mut self) {
        if !std::mem::take(&mut self.append_due) {
            return;
        }
        let own = self.id;
        let peers: Vec<MemberId> = self.tracker.progress.keys().copied().filter(|id| *id != own).collect();
        let committed = self.log.committed;
        for peer in peers {
            let news =
                self.tracker.progress.get(&peer).is_some_and(|progress| progress.can_learn_commit(committed));
            if self.send_append(peer, news) {
                while self.send_append(peer, false) {}
            }
        }
    }

    /// Sends what comes next for this member, or a snapshot if that is gone. False if nothing was sent.
    pub(crate) fn send_append(&mut self, to: MemberId, even_if_empty: bool) -> bool {
        let Some(progress) = self.tracker.progress.get_mut(&to) else { return false };
        if to == self.id || progress.is_paused() {
            return false;
        }
        let prev = progress.next.prev();
        let Some(log_term) = self.log.term(prev) else { return self.send_snapshot(to) };
        let entries = if progress.pace == Pace::Replicate && progress.inflights.is_full() {
            Vec::new()
        } else {
            self.log.entries(progress.next, self.log.last_index(), self.config.message_bytes_max)
        };
        if entries.is_empty() && !even_if_empty {
            return false;
        }
        let bytes = entries.iter().map(Entry::size).sum();
        progress.sent(entries.len(), bytes, self.log.committed);
        let (kind, commit) = (MessageKind::App, self.log.committed);
        let message = Message { index: prev, log_term, entries, commit, ..self.message(kind, to) };
        self.send(message);
        true
    }

    /// Asks for a snapshot to be sent. The message has no data: whoever sends it puts in a state at least as new.
    fn send_snapshot(&mut self, to: MemberId) -> bool {
        let index = self.log.applied;
        let (Some(progress), Some(term)) = (self.tracker.progress.get_mut(&to), self.log.term(index)) else {
            return false;
        };
        if !progress.recent_active {
            return false;
        }
        progress.become_snapshot(index);
        let snapshot = Snapshot { index, term, conf_state: self.conf_state(), ..Snapshot::default() };
        let message = self.message(MessageKind::Snap, to);
        self.send(Message { snapshot: Some(Box::new(snapshot)), ..message });
        true
    }

    pub(crate) fn take_append_answer(&mut self, message: &Message) {
        let last = self.log.last_index();
        let Some(progress) = self.tracker.progress.get_mut(&message.from) else { return };
        progress.recent_active = true;
        if message.from == self.id || message.index > last {
            return;
        }
        if message.reject {
            return self.append_refused(message);
        }
        let was_paused = progress.is_paused();
        let first_answer = progress.matched == message.index && progress.pace == Pace::Probe;
        if !progress.update(message.index) && !first_answer {
            return;
        }
        match progress.pace {
            Pace::Probe => progress.become_replicate(),
            // It can go on from the log, whether or not the snapshot was reported.
            Pace::Snapshot(_) if progress.matched.next() >= self.log.first_index() => {
                progress.become_replicate()
            }
            Pace::Snapshot(_) => {}
            Pace::Replicate => progress.inflights.free_to(message.index),
        }
        let (matched, news) = (progress.matched, progress.can_learn_commit(self.log.committed));
        if !self.advance_commit() && (was_paused || news) {
            self.send_append(message.from, news);
        }
        while self.send_append(message.from, false) {}
        if message.from == self.transferee && matched == last {
            self.send_timeout_now(message.from);
        }
    }

    /// Its log does not hold what was taken for granted: go back, as far as its hint and our own log tell.
    fn append_refused(&mut self, message: &Message) {
        let hint = if message.log_term.0 > 0 {
            self.log.find_conflict_by_term(message.reject_hint, message.log_term).0
        } else {
            message.reject_hint
        };
        let Some(progress) = self.tracker.progress.get_mut(&message.from) else { return };
        if progress.step_back(message.index, hint) {
            if progress.pace == Pace::Replicate {
                progress.become_probe();
            }
            self.send_append(message.from, true);
        }
    }

    pub(crate) fn peer_unreachable(&mut self, peer: MemberId) {
        // What was streamed optimistically is probably lost.
        if let Some(progress) = self.tracker.progress.get_mut(&peer).filter(|p| p.pace == Pace::Replicate) {
            progress.become_probe();
        }
    }

    pub(crate) fn snapshot_sent(&mut self, peer: MemberId, ok: bool) {
        let Some(progress) = self.tracker.progress.get_mut(&peer) else { return };
        if !matches!(progress.pace, Pace::Snapshot(_)) {
            return;
        }
        if ok {
            progress.become_probe();
        } else {
            progress.snapshot_failed();
        }
        // Sent: wait for its answer. Failed: wait a heartbeat before the next try.
        progress.paused = true;
    }

    /// Where the log of `peer` is known to end.
    #[must_use]
    pub fn matched(&self, peer: MemberId) -> Option<Index> {
        self.tracker.progress.get(&peer).map(|progress| progress.matched)
    }
}
