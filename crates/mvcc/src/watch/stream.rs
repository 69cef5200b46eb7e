//! One watch stream: its watchers by id and the responses it has not sent yet.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::watcher::Serial;
use super::{Changes, Kind, WatchId, WatchOutput};

/// What a stream may have waiting before its watchers begin to lag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxMax {
    /// Responses.
    pub responses: usize,
    /// What they encode to, with a little for each; one response may exceed it.
    pub bytes: usize,
}

impl Default for OutboxMax {
    fn default() -> OutboxMax {
        OutboxMax { responses: 4096, bytes: 1 << 20 }
    }
}

#[derive(Debug, Default)]
pub(super) struct Stream {
    pub watchers: BTreeMap<WatchId, Serial>,
    next_id: WatchId,
    outbox: VecDeque<WatchOutput>,
    /// Responses in it, and what they cost.
    responses: usize,
    outbox_bytes: usize,
    /// The stream is on the hub's list of those that got something to send.
    listed: bool,
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

    pub fn is_full(&self, max: OutboxMax) -> bool {
        self.responses >= max.responses || self.outbox_bytes >= max.bytes
    }

    pub fn waiting(&self) -> usize {
        self.responses
    }

    /// Adds a response; true when the stream is to be put on the hub's list.
    pub fn push(&mut self, watch_id: WatchId, revision: i64, kind: Kind) -> bool {
        self.newest_header = self.newest_header.max(revision);
        self.responses += 1;
        self.outbox_bytes += kind.cost_bytes();
        self.outbox.push_back(WatchOutput { watch_id, others: Vec::new(), revision, kind });
        !std::mem::replace(&mut self.listed, true)
    }

    /// The same for events of one revision; watchers that are added one after the other may share an output.
    #[inline]
    pub fn push_events(
        &mut self,
        watch_id: WatchId,
        revision: i64,
        events: &Arc<Changes>,
        fragment: bool,
    ) -> bool {
        if let Some(last) = self.outbox.back_mut()
            && last.share(watch_id, events, fragment)
        {
            self.responses += 1;
            self.outbox_bytes += last.kind.cost_bytes();
            return !std::mem::replace(&mut self.listed, true);
        }
        self.push(watch_id, revision, Kind::Events { events: events.clone(), fragment })
    }

    /// The hub's list is being taken; false if the stream was not on it.
    pub fn unlist(&mut self) -> bool {
        std::mem::take(&mut self.listed)
    }

    /// Takes responses, oldest first, until they cost `max_bytes` or more.
    pub fn take(&mut self, max_bytes: usize) -> Vec<WatchOutput> {
        let mut taken_bytes = 0;
        let mut taken = Vec::new();
        while taken_bytes < max_bytes
            && let Some(output) = self.outbox.pop_front()
        {
            taken_bytes += output.cost_bytes();
            self.responses -= output.responses();
            taken.push(output);
        }
        self.outbox_bytes -= taken_bytes;
        taken
    }
}
