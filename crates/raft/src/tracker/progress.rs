//! What a leader knows about one member's log, and how fast it may send.

use super::Inflights;
use crate::{Index, MemberId};

/// How the leader talks to a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pace {
    /// Its log is unknown: one message, then wait for the answer.
    Probe,
    /// Its log is known: stream entries, without waiting, within the window.
    Replicate,
    /// It needs a snapshot: nothing is sent until that arrived or failed. Covers the log up to this index.
    Snapshot(Index),
}

/// One member as the leader sees it.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    /// Last entry known to be on its disk.
    pub(crate) matched: Index,
    /// Next entry to send.
    pub(crate) next: Index,
    pub(crate) pace: Pace,
    /// Nothing more goes out before the next answer.
    pub(crate) paused: bool,
    /// It has answered since the last quorum check.
    pub(crate) recent_active: bool,
    pub(crate) is_learner: bool,
    /// Highest commit index it was told.
    sent_commit: Index,
    pub(crate) inflights: Inflights,
}

impl Progress {
    pub(crate) fn new(next: Index, is_learner: bool, inflights: Inflights) -> Progress {
        Progress {
            matched: Index(0),
            next,
            pace: Pace::Probe,
            paused: false,
            recent_active: false,
            is_learner,
            sent_commit: Index(0),
            inflights,
        }
    }

    /// Starts over, as when a leader begins its term.
    pub(crate) fn reset(&mut self, next: Index) {
        self.matched = Index(0);
        self.next = next;
        self.recent_active = false;
        self.sent_commit = Index(0);
        self.set_pace(Pace::Probe);
    }

    fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
        self.paused = false;
        self.inflights.clear();
    }

    pub(crate) fn become_probe(&mut self) {
        self.next = match self.pace {
            // The snapshot may have arrived though its acknowledgement did not yet.
            Pace::Snapshot(index) => self.matched.max(index).next(),
            _ => self.matched.next(),
        };
        self.set_pace(Pace::Probe);
        self.sent_commit = self.sent_commit.min(self.next.prev());
    }

    pub(crate) fn become_replicate(&mut self) {
        self.set_pace(Pace::Replicate);
        self.next = self.matched.next();
    }

    pub(crate) fn become_snapshot(&mut self, index: Index) {
        self.set_pace(Pace::Snapshot(index));
        self.next = index.next();
        self.sent_commit = index;
    }

    /// The snapshot did not arrive: try again from what is known.
    pub(crate) fn snapshot_failed(&mut self) {
        self.set_pace(Pace::Probe);
        self.next = self.matched.next();
        self.sent_commit = self.sent_commit.min(self.matched);
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused || matches!(self.pace, Pace::Snapshot(_))
    }

    /// Its log agrees up to `index`. True if that is news.
    pub(crate) fn update(&mut self, index: Index) -> bool {
        if index <= self.matched {
            return false;
        }
        self.matched = index;
        self.next = self.next.max(index.next());
        self.paused = false;
        true
    }

    /// It refused entries after `rejected`; `hint` is the newest entry that could agree. False if the refusal is old.
    pub(crate) fn step_back(&mut self, rejected: Index, hint: Index) -> bool {
        if self.pace == Pace::Replicate {
            if rejected <= self.matched {
                return false;
            }
            self.next = self.matched.next();
        } else {
            if self.next.prev() != rejected {
                return false;
            }
            self.next = rejected.min(hint.next()).max(self.matched.next());
            self.paused = false;
        }
        self.sent_commit = self.sent_commit.min(self.next.prev());
        true
    }

    /// An append left with these many entries.
    pub(crate) fn sent(&mut self, entries: usize, bytes: usize, commit: Index) {
        self.sent_commit = commit;
        if self.pace == Pace::Replicate {
            if entries > 0 {
                self.next = Index(self.next.0 + entries as u64);
                self.inflights.add(self.next.prev(), bytes);
            }
            self.paused = self.inflights.is_full();
        } else {
            self.paused = true;
        }
    }

    /// Telling it the commit index would let it commit more than it was told before.
    pub(crate) fn can_learn_commit(&self, commit: Index) -> bool {
        commit > self.sent_commit && self.sent_commit < self.next.prev()
    }

    /// A heartbeat left with this commit index.
    pub(crate) fn sent_heartbeat(&mut self, commit: Index) {
        self.sent_commit = self.sent_commit.max(commit);
    }
}

/// Map key and value in one, for iteration in a fixed order.
pub(crate) type ById = std::collections::BTreeMap<MemberId, Progress>;
