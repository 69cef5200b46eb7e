//! One watch stream: its watchers by id and the responses it has not sent yet.

use std::collections::{BTreeMap, VecDeque};

use super::watcher::Serial;
use super::{Kind, WatchId, WatchOutput};

/// Responses a stream may have waiting before its watchers begin to lag.
pub(super) const OUTBOX_MAX: usize = 128;

#[derive(Debug, Default)]
pub(super) struct Stream {
    pub watchers: BTreeMap<WatchId, Serial>,
    next_id: WatchId,
    outbox: VecDeque<WatchOutput>,
    /// Watchers that wait for room in the outbox.
    pub blocked: Vec<Serial>,
    /// How many of the watchers lag.
    pub lagging: usize,
    /// A progress request to be answered once this revision has been distributed.
    pub progress_asked: Option<i64>,
    /// The highest revision a header has named; none may go back behind it.
    pub newest_header: i64,
}

impl Stream {
    /// The id for a new watcher that asks for `wanted`; none if it is taken. 0 means the next free one.
    pub fn claim_id(&mut self, wanted: WatchId) -> Option<WatchId> {
        if wanted != 0 {
            return (!self.watchers.contains_key(&wanted)).then_some(wanted);
        }
        while self.watchers.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        Some(self.next_id - 1)
    }

    pub fn is_full(&self) -> bool {
        self.outbox.len() >= OUTBOX_MAX
    }

    pub fn waiting(&self) -> usize {
        self.outbox.len()
    }

    pub fn push(&mut self, watch_id: WatchId, revision: i64, kind: Kind) {
        self.newest_header = self.newest_header.max(revision);
        self.outbox.push_back(WatchOutput { watch_id, revision, kind });
    }

    pub fn take(&mut self, max: usize) -> Vec<WatchOutput> {
        let count = max.min(self.outbox.len());
        self.outbox.drain(..count).collect()
    }
}
