//! What a member has to write, send and apply: collected here, acknowledged here.

use crate::raft::Raft;
use crate::{
    ConfState, Entry, HardState, Index, MemberId, Message, ReadState, Role, Snapshot, SoftState, Term,
};

/// One write to the WAL. Writes go out in the order of `seq` and are acknowledged by [`Raft::persisted`].
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Persist {
    /// Number of this write, growing by one.
    pub seq: u64,
    /// New hard state, if it changed.
    pub hard_state: Option<HardState>,
    /// Entries to append; the first may overwrite what the file holds at that index.
    pub entries: Vec<Entry>,
    /// A snapshot received from the leader: save it (file, then WAL record) before the hard state.
    pub snapshot: Option<Snapshot>,
    /// False if losing this write does no harm (only the commit index moved, or nothing at all).
    pub must_sync: bool,
    /// To be sent when this write, and all before it, are on disk (invariant 3).
    pub send: Vec<Message>,
}

/// What happened, for people who follow elections; nothing has to be done about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Note {
    /// An election begins, in the term before it.
    Campaign(Term),
    /// This member has a new role, or the old one in a new term.
    Became(Role, Term),
    /// The membership is this now.
    Membership(ConfState),
}

/// What has to be done now.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Ready {
    /// To be written.
    pub persist: Option<Persist>,
    /// To be sent at once.
    pub messages: Vec<Message>,
    /// The store is to be replaced by this snapshot, which is on disk; comes before `apply`.
    pub restore: Option<Snapshot>,
    /// Committed and persisted here, in order, each entry once (invariants 1 and 2).
    pub apply: Vec<Entry>,
    /// Reads that were confirmed.
    pub reads: Vec<ReadState>,
    /// Set if leader, role or term changed.
    pub soft_state: Option<SoftState>,
    /// What happened since the last time, in order.
    pub notes: Vec<Note>,
}

impl Raft {
    /// Everything to be done now. Each thing is told once.
    ///
    /// A hard state in which only the commit index moved goes out with the next write that is due for another reason,
    /// or after [`Raft::flush_commit`].
    pub fn ready(&mut self) -> Ready {
        self.send_due_appends();
        let mut ready = Ready {
            persist: self.next_persist(),
            restore: self.restored.take(),
            reads: self.take_reads(),
            notes: std::mem::take(&mut self.notes),
            ..Ready::default()
        };
        ready.apply = self.log.take_committed(self.config.applying_bytes_max);
        ready.messages = std::mem::take(&mut self.messages);
        let soft_state = self.soft_state();
        if soft_state != self.told_soft_state {
            self.told_soft_state = soft_state;
            ready.soft_state = Some(soft_state);
        }
        ready
    }

    fn next_persist(&mut self) -> Option<Persist> {
        let entries = self.log.unwritten();
        let snapshot = self.log.unstable.snapshot.take();
        let hard_state = self.hard_state();
        let told = self.told_hard_state;
        let vital = (hard_state.term, hard_state.vote) != (told.term, told.vote);
        let must_sync = !entries.is_empty() || snapshot.is_some() || vital;

        let (own, send): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.after_persist).into_iter().partition(|message| message.to == self.id);
        let flush = std::mem::take(&mut self.commit_flush) && hard_state != told;
        let waits = (!send.is_empty() && self.log.unstable.write_under_way()) || !own.is_empty();
        if !(must_sync || flush || waits) {
            // All that these messages promise is on disk already.
            self.messages.extend(send);
            return None;
        }
        self.told_hard_state = hard_state;
        let last = self.log.last_index();
        let seq = self.log.unstable.begin(last, snapshot.clone(), own);
        let hard_state = Some(hard_state).filter(|state| *state != told);
        Some(Persist { seq, hard_state, entries, snapshot, must_sync, send })
    }

    /// Reads confirmed so far, ahead of [`Raft::ready`].
    pub fn take_reads(&mut self) -> Vec<ReadState> {
        std::mem::take(&mut self.read_states)
    }

    /// The next [`Raft::ready`] writes the commit index even if nothing else is to be written.
    pub fn flush_commit(&mut self) {
        self.commit_flush = true;
    }

    /// All writes up to number `seq` are on disk.
    pub fn persisted(&mut self, seq: u64) {
        let finished = self.log.unstable.finish(seq);
        if finished.restore.is_some() && !self.log.unstable.restoring() {
            self.restored = finished.restore;
        }
        for message in finished.own {
            self.step(message);
        }
        if self.role == Role::Leader {
            self.own_log_persisted();
        }
    }

    /// The store has executed everything up to `index`.
    pub fn applied(&mut self, index: Index) {
        let payload = self.log.applied_to(index);
        self.uncommitted_bytes = self.uncommitted_bytes.saturating_sub(payload);
        self.leave_joint_if_due();
    }

    pub(crate) fn send(&mut self, mut message: Message) {
        message.from = self.id;
        self.messages.push(message);
    }

    /// Sends a promise: it leaves when everything it speaks of is on disk.
    pub(crate) fn send_after_persist(&mut self, mut message: Message) {
        message.from = self.id;
        self.after_persist.push(message);
    }

    /// An answer or request in the current term.
    pub(crate) fn message(&self, kind: crate::MessageKind, to: MemberId) -> Message {
        Message { kind, to, from: self.id, term: self.term, ..Message::default() }
    }
}
