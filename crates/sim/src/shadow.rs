//! What one member's log must hold: a second, perfect log, told what the node asks for and what it is told back. The
//! member's word to others is checked against it, and so is what a restart finds.

use std::collections::VecDeque;

use node::Persist;
use raft::{Entry, HardState, Index, Message, MessageKind, Restored, Term};

/// A log as one can see it from outside.
#[derive(Clone, Default, Debug)]
struct Log {
    hard_state: HardState,
    start: (Index, Term),
    entries: VecDeque<Entry>,
}

impl Log {
    fn last(&self) -> Index {
        Index(self.start.0.0 + self.entries.len() as u64)
    }

    fn term(&self, index: Index) -> Option<Term> {
        if index == self.start.0 {
            return Some(self.start.1);
        }
        let at = index.0.checked_sub(self.start.0.0 + 1)?;
        self.entries.get(at as usize).map(|entry| entry.term)
    }

    fn put(&mut self, entry: &Entry) {
        let keep = entry.index.0.saturating_sub(self.start.0.0 + 1);
        self.entries.truncate(keep as usize);
        self.entries.push_back(entry.clone());
    }

    fn replace(&mut self, snapshot: &raft::Snapshot) {
        self.start = (snapshot.index, snapshot.term);
        self.entries.clear();
    }

    fn forget(&mut self, index: Index) {
        while self.entries.front().is_some_and(|entry| entry.index <= index) {
            if let Some(entry) = self.entries.pop_front() {
                self.start = (entry.index, entry.term);
            }
        }
    }

    /// What was found is this log, from where the newer of both begins.
    fn is(&self, found: &Restored) -> bool {
        let (ours, theirs) = (self.hard_state, found.hard_state);
        if (ours.term, ours.vote) != (theirs.term, theirs.vote) {
            return false;
        }
        let from = self.start.0.max(found.snapshot_index);
        let last = found.entries.last().map_or(found.snapshot_index, |entry| entry.index);
        let theirs = found.entries.iter().filter(|entry| entry.index > from);
        last.max(from) == self.last().max(from)
            && self.entries.iter().filter(|entry| entry.index > from).eq(theirs)
    }
}

/// One member's.
#[derive(Clone, Default, Debug)]
pub(crate) struct Shadow {
    /// A start has succeeded: from then on something must be found.
    begun: bool,
    /// All that the node was told is on disk.
    told: Log,
    /// Asked for since, oldest first.
    asked: VecDeque<Persist>,
}

impl Shadow {
    /// The node wants this written.
    pub fn asked(&mut self, persist: &Persist) {
        let Persist { seq, hard_state, entries, snapshot, .. } = persist.clone();
        self.asked.push_back(Persist { seq, hard_state, entries, snapshot, ..Persist::default() });
    }

    /// The node hears that it is written.
    pub fn told(&mut self, seq: u64) {
        while self.asked.front().is_some_and(|persist| persist.seq <= seq) {
            if let Some(persist) = self.asked.pop_front() {
                write(&mut self.told, &persist, |_| false);
            }
        }
    }

    /// The log on disk may be shortened.
    pub fn forget(&mut self, index: Index) {
        self.told.forget(index);
    }

    /// The node was told that this entry is on disk, and so it is, or a snapshot in its place.
    pub fn holds(&self, index: Index, term: Term) -> bool {
        self.told.start.0 > index || self.told.term(index) == Some(term)
    }

    /// A start has found this: all the node was told must be there, and of what it asked for any part from the front.
    pub fn check_start(&self, found: &Restored) -> Result<(), String> {
        if !self.begun || self.told.is(found) {
            return Ok(());
        }
        let mut log = self.told.clone();
        if self.asked.iter().any(|persist| write(&mut log, persist, |log| log.is(found))) {
            return Ok(());
        }
        let last = found.entries.last().map_or(found.snapshot_index, |entry| entry.index);
        let told = &self.told;
        Err(format!(
            "a start finds {:?} and a log from {} to {last}; the node had been told that {:?} and the log to {} are on disk",
            found.hard_state,
            found.snapshot_index,
            told.hard_state,
            told.last()
        ))
    }

    /// What was found is what there is.
    pub fn begin(&mut self, found: &Restored) {
        self.begun = true;
        self.asked.clear();
        self.told = Log {
            hard_state: found.hard_state,
            start: (found.snapshot_index, found.snapshot_term),
            entries: found.entries.iter().cloned().collect(),
        };
    }

    /// What a message promises is on disk when it leaves (invariants 3 and 11).
    pub fn check_promise(&self, message: &Message) -> Result<(), String> {
        let HardState { term, vote, .. } = self.told.hard_state;
        let last = self.told.last();
        match message.kind {
            // One of an older term is passed over by whoever leads now.
            MessageKind::AppResp if !message.reject && message.index > last && term <= message.term => {
                let index = message.index;
                Err(format!("entries up to {index} are acknowledged, the log on disk ends at {last}"))
            }
            MessageKind::VoteResp
                if !message.reject && (term, vote) != (message.term, message.to) && term <= message.term =>
            {
                Err(format!("a vote in term {} is told before it is on disk", message.term))
            }
            MessageKind::Vote if term < message.term => {
                Err(format!("term {} is told before it is on disk", message.term))
            }
            _ => Ok(()),
        }
    }
}

/// Does a write step by step. True, and an end, at the first step after which `stop` says so.
fn write(log: &mut Log, persist: &Persist, stop: impl Fn(&Log) -> bool) -> bool {
    if let Some(snapshot) = &persist.snapshot {
        log.replace(snapshot);
        if stop(log) {
            return true;
        }
    }
    for entry in &persist.entries {
        log.put(entry);
        if stop(log) {
            return true;
        }
    }
    if let Some(hard_state) = persist.hard_state {
        log.hard_state = hard_state;
    }
    stop(log)
}
