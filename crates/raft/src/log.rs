//! The log in memory: everything after the compaction point, with marks for committed, given to apply and applied.

use std::collections::VecDeque;

use crate::unstable::Unstable;
use crate::{Entry, Error, Index, Restored, Snapshot, Term};

/// `start <= applied <= applying <= committed <= last`, except that `applied` trails while a snapshot is installed.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    /// The position before the first entry, and its term.
    start: Index,
    start_term: Term,
    entries: VecDeque<Entry>,
    pub(crate) committed: Index,
    /// Given to apply up to here.
    applying: Index,
    pub(crate) applied: Index,
    /// Size of the entries in `(applied, applying]`.
    applying_bytes: usize,
    pub(crate) unstable: Unstable,
}

/// Two entries of one position that a quorum may have agreed on: going on would lose acknowledged writes.
const BROKEN: &str =
    "the log was corrupted, truncated or lost, here or on the leader; remove this member and add it anew";

impl Log {
    pub(crate) fn new(restored: Restored) -> Result<Log, Error> {
        let Restored { hard_state, snapshot_index: start, entries, applied, .. } = restored;
        let mut expected = start.next();
        for entry in &entries {
            if entry.index != expected {
                return Err(Error::LogGap(entry.index));
            }
            expected = expected.next();
        }
        let last = expected.prev();
        if applied > last {
            return Err(Error::AppliedBeyondLog { applied, last });
        }
        if applied < start {
            return Err(Error::AppliedBeforeLog { applied, start });
        }
        // The commit index on disk may trail: it is not synced on its own. What was applied was committed.
        let committed = hard_state.commit.max(applied).min(last);
        Ok(Log {
            start,
            start_term: restored.snapshot_term,
            entries: entries.into(),
            committed,
            applying: applied,
            applied,
            applying_bytes: 0,
            unstable: Unstable::new(last),
        })
    }

    pub(crate) fn first_index(&self) -> Index {
        self.start.next()
    }

    pub(crate) fn last_index(&self) -> Index {
        Index(self.start.0 + self.entries.len() as u64)
    }

    pub(crate) fn last_term(&self) -> Term {
        self.entries.back().map_or(self.start_term, |entry| entry.term)
    }

    fn position(&self, index: Index) -> Option<usize> {
        index.0.checked_sub(self.start.0 + 1).and_then(|at| usize::try_from(at).ok())
    }

    /// Term of the entry at `index`; `None` if it is compacted or does not exist.
    pub(crate) fn term(&self, index: Index) -> Option<Term> {
        if index == self.start {
            return Some(self.start_term);
        }
        self.entries.get(self.position(index)?).map(|entry| entry.term)
    }

    pub(crate) fn matches(&self, index: Index, term: Term) -> bool {
        self.term(index) == Some(term)
    }

    /// True if a log that ends like this holds at least what this one holds.
    pub(crate) fn is_up_to_date(&self, index: Index, term: Term) -> bool {
        (term, index) >= (self.last_term(), self.last_index())
    }

    /// Entries in `[from, to]` (within the log), at least one if there is one, then as many as fit into `bytes_max`.
    pub(crate) fn entries(&self, from: Index, to: Index, bytes_max: usize) -> Vec<Entry> {
        let (Some(begin), Some(end)) = (self.position(from), self.position(to.next())) else {
            return Vec::new();
        };
        let end = end.min(self.entries.len());
        if begin >= end {
            return Vec::new();
        }
        let mut bytes = 0;
        let fitting = self.entries.range(begin..end).take_while(|entry| {
            bytes += entry.size();
            bytes <= bytes_max
        });
        let count = fitting.count().max(1);
        self.entries.range(begin..begin + count).cloned().collect()
    }

    pub(crate) fn entry(&self, index: Index) -> Option<&Entry> {
        self.entries.get(self.position(index)?)
    }

    /// Entries in `(after, to]`, without copying.
    pub(crate) fn iter(&self, after: Index, to: Index) -> impl Iterator<Item = &Entry> {
        let begin = self.position(after.next()).unwrap_or(0).min(self.entries.len());
        let end = self.position(to.next()).unwrap_or(0).clamp(begin, self.entries.len());
        self.entries.range(begin..end)
    }

    /// Appends a leader's own entries.
    pub(crate) fn append(&mut self, entries: impl IntoIterator<Item = Entry>) {
        self.entries.extend(entries);
    }

    /// Appends a leader's entries after `(prev, prev_term)`, replacing what disagrees. Returns the last index that now
    /// agrees with the leader's log, or `None` if `prev` does not.
    pub(crate) fn try_append(&mut self, prev: Index, prev_term: Term, entries: Vec<Entry>) -> Option<Index> {
        if !self.matches(prev, prev_term) {
            return None;
        }
        let agreed = Index(prev.0 + entries.len() as u64);
        let known = entries.iter().take_while(|entry| self.matches(entry.index, entry.term)).count();
        let fresh = &entries[known..];
        if let Some(first) = fresh.first() {
            assert!(
                first.index > self.committed,
                "entry {} is committed but the leader has another: {BROKEN}",
                first.index
            );
            let keep = first.index.prev();
            self.entries.truncate(self.position(first.index).unwrap_or(0));
            self.unstable.cut(keep);
            self.entries.extend(entries.into_iter().skip(known));
        }
        Some(agreed)
    }

    /// The largest index not above `index` whose term is not above `term`, with its term (0 if compacted).
    pub(crate) fn find_conflict_by_term(&self, mut index: Index, term: Term) -> (Index, Term) {
        loop {
            match self.term(index) {
                None => return (index, Term(0)),
                Some(own) if own <= term => return (index, own),
                Some(_) => index = index.prev(),
            }
        }
    }

    /// Raises the commit index. True if it moved.
    pub(crate) fn commit_to(&mut self, index: Index) -> bool {
        if index <= self.committed {
            return false;
        }
        let last = self.last_index();
        assert!(index <= last, "index {index} is committed but this log ends at {last}: {BROKEN}");
        self.committed = index;
        true
    }

    /// Committed and persisted entries to be applied next, while no more than `bytes_max` are being applied.
    pub(crate) fn take_committed(&mut self, bytes_max: usize) -> Vec<Entry> {
        let to = self.committed.min(self.unstable.stable);
        if to <= self.applying || (self.applying_bytes > 0 && self.applying_bytes >= bytes_max) {
            return Vec::new();
        }
        let page = self.entries(self.applying.next(), to, bytes_max - self.applying_bytes);
        self.applying_bytes += page.iter().map(Entry::size).sum::<usize>();
        self.applying = Index(self.applying.0 + page.len() as u64);
        page
    }

    /// [`Log::take_committed`] has left something.
    pub(crate) fn holds_back(&self) -> bool {
        self.committed.min(self.unstable.stable) > self.applying
    }

    /// The store has executed up to `index`. Returns the payload bytes of the entries that are newly applied.
    pub(crate) fn applied_to(&mut self, index: Index) -> usize {
        let index = index.min(self.applying);
        if index <= self.applied {
            return 0;
        }
        let (mut bytes, mut payload) = (0, 0);
        for entry in self.iter(self.applied, index) {
            bytes += entry.size();
            payload += entry.data.len();
        }
        self.applied = index;
        self.applying_bytes = self.applying_bytes.saturating_sub(bytes);
        payload
    }

    /// Entries not given to a write yet.
    pub(crate) fn unwritten(&self) -> Vec<Entry> {
        self.iter(self.unstable.handed_out, self.last_index()).cloned().collect()
    }

    /// Forgets entries up to `index`, which must be applied.
    pub(crate) fn compact(&mut self, index: Index) {
        let index = index.min(self.applied);
        let (Some(term), Some(count)) = (self.term(index), self.position(index.next())) else { return };
        self.entries.drain(..count);
        self.start = index;
        self.start_term = term;
        if self.entries.capacity() > 4 * self.entries.len() + 1024 {
            self.entries.shrink_to(2 * self.entries.len());
        }
    }

    /// Replaces the whole log by a snapshot.
    pub(crate) fn restore(&mut self, snapshot: Snapshot) {
        self.start = snapshot.index;
        self.start_term = snapshot.term;
        self.entries.clear();
        self.committed = snapshot.index;
        self.applying = snapshot.index;
        self.applying_bytes = 0;
        self.unstable.restore(snapshot);
    }

    /// True while a snapshot is being installed or a conf change is committed and not applied.
    pub(crate) fn membership_unsettled(&self) -> bool {
        self.applied < self.start || self.iter(self.applied, self.committed).any(Entry::changes_members)
    }
}
