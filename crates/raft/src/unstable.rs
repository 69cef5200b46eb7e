//! The border between what is on disk and what is not: writes under way and what they make durable.

use std::collections::VecDeque;

use crate::{Index, Message, Snapshot};

/// A write that the WAL has not acknowledged yet.
#[derive(Clone, Debug)]
struct Write {
    seq: u64,
    /// Entries up to here are durable after it; lowered when the log is cut while the write is under way.
    last: Index,
    restore: Option<Snapshot>,
    own: Vec<Message>,
}

/// What finished writes allow.
#[derive(Default, Debug)]
pub(crate) struct Finished {
    /// A snapshot is on disk; the store may be replaced.
    pub(crate) restore: Option<Snapshot>,
    /// Messages of this member to itself.
    pub(crate) own: Vec<Message>,
}

/// Marks in the log. `stable <= handed_out <= last index`.
#[derive(Clone, Default, Debug)]
pub(crate) struct Unstable {
    /// Entries up to here were given to a write.
    pub(crate) handed_out: Index,
    /// Entries up to here are on disk.
    pub(crate) stable: Index,
    /// A received snapshot that was not given to a write yet.
    pub(crate) snapshot: Option<Snapshot>,
    writes: VecDeque<Write>,
    seq: u64,
}

impl Unstable {
    /// Everything up to `last` is on disk already.
    pub(crate) fn new(last: Index) -> Unstable {
        Unstable { handed_out: last, stable: last, ..Unstable::default() }
    }

    pub(crate) fn write_under_way(&self) -> bool {
        !self.writes.is_empty()
    }

    /// A received snapshot is not on disk yet.
    pub(crate) fn restoring(&self) -> bool {
        self.snapshot.is_some() || self.writes.iter().any(|write| write.restore.is_some())
    }

    /// Entries after `keep` were replaced: whatever a write under way puts there does not count.
    pub(crate) fn cut(&mut self, keep: Index) {
        self.handed_out = self.handed_out.min(keep);
        self.stable = self.stable.min(keep);
        for write in &mut self.writes {
            write.last = write.last.min(keep);
        }
    }

    /// The whole log was replaced by a snapshot.
    pub(crate) fn restore(&mut self, snapshot: Snapshot) {
        self.cut(Index(0));
        self.handed_out = snapshot.index;
        self.snapshot = Some(snapshot);
    }

    /// A write leaves that makes the log durable up to `last`. Returns its number.
    pub(crate) fn begin(&mut self, last: Index, restore: Option<Snapshot>, own: Vec<Message>) -> u64 {
        self.handed_out = last;
        self.seq += 1;
        self.writes.push_back(Write { seq: self.seq, last, restore, own });
        self.seq
    }

    /// All writes up to `seq` are on disk.
    pub(crate) fn finish(&mut self, seq: u64) -> Finished {
        let mut finished = Finished::default();
        while self.writes.front().is_some_and(|write| write.seq <= seq) {
            let Some(write) = self.writes.pop_front() else { break };
            self.stable = self.stable.max(write.last);
            finished.restore = write.restore.or(finished.restore);
            finished.own.extend(write.own);
        }
        finished
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_of_entries_replaced_meanwhile_does_not_make_the_new_ones_stable() {
        let mut unstable = Unstable::new(Index(3));
        let first = unstable.begin(Index(7), None, Vec::new());
        unstable.cut(Index(5));
        let second = unstable.begin(Index(9), None, Vec::new());
        unstable.finish(first);
        assert_eq!(unstable.stable, Index(5));
        unstable.finish(second);
        assert_eq!(unstable.stable, Index(9));
        assert!(!unstable.write_under_way());
    }
}
