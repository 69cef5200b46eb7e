//! The hub: every watcher, and what each stream is to send next. Pure: no clock, no thread; its owner brings events,
//! asks for catch-up steps between them, and drains the streams.
//!
//! Promises. A watcher receives every event it wants from its start revision on: in order, none missing, none twice, the
//! events of one revision in one response. A watcher's headers never go back in time,
//! and a progress notice comes behind every event up to its revision.
//!
//! How they are kept: [`WatchHub::revision`] is the newest revision distributed. Of what a *synced* watcher wants, all up
//! to that revision is in its stream's outbox; of what a *lagging* one wants, all below its `next`. A synced watcher
//! turns lagging only at a revision it has not been given (the outbox is full, or batches were missed); a lagging one
//! turns synced only when its `next` lies behind the hub's revision, and then refuses events below that `next`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::range_map::RangeMap;
use super::stream::{OutboxMax, Stream};
use super::watcher::{Serial, State, Watcher};
use super::{Changes, Kind, Refusal, StreamId, WatchId, WatchOutput, WatchSpec};
use crate::{Error, EventBatch, KvReader};

/// Room for more hits than these is not kept.
const HITS_KEPT_MAX: usize = 64 * 1024;

/// All watchers of a member.
#[derive(Debug)]
pub struct WatchHub {
    pub(super) revision: i64,
    pub(super) streams: BTreeMap<StreamId, Stream>,
    pub(super) watchers: BTreeMap<Serial, Watcher>,
    pub(super) ranges: RangeMap,
    /// Lagging watchers whose outbox has room, in turn. May name watchers that are gone.
    pub(super) turns: VecDeque<Serial>,
    last_serial: Serial,
    /// Streams that got something to send since [`WatchHub::take_ready`].
    pub(super) ready: Vec<StreamId>,
    /// Streams with an open progress request.
    asking: BTreeSet<StreamId>,
    pub(super) outbox_max: OutboxMax,
    /// Room to work in: watchers that an event concerns, and which event.
    hits: Vec<(Serial, usize)>,
    #[cfg(feature = "sabotage")]
    pub(super) skips_at_catch_up: bool,
}

/// How much there is to watch, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HubStats {
    /// Open streams.
    pub streams: usize,
    /// Watchers of all streams.
    pub watchers: usize,
    /// Those that lag.
    pub lagging: usize,
    /// Responses not yet taken.
    pub waiting: usize,
}

impl WatchHub {
    /// A hub without watchers, over a store at `current_revision`.
    pub fn new(current_revision: i64) -> WatchHub {
        WatchHub::bounded(current_revision, OutboxMax::default())
    }

    /// The same with another bound for the outbox of each stream.
    pub fn bounded(current_revision: i64, outbox_max: OutboxMax) -> WatchHub {
        WatchHub {
            revision: current_revision,
            streams: BTreeMap::new(),
            watchers: BTreeMap::new(),
            ranges: RangeMap::default(),
            turns: VecDeque::new(),
            last_serial: 0,
            ready: Vec::new(),
            asking: BTreeSet::new(),
            outbox_max,
            hits: Vec::new(),
            #[cfg(feature = "sabotage")]
            skips_at_catch_up: false,
        }
    }

    /// From now on watchers that catch up miss a revision: for the simulator, to show that it would be found.
    #[doc(hidden)]
    #[cfg(feature = "sabotage")]
    pub fn skip_at_catch_up(&mut self) {
        self.skips_at_catch_up = true;
    }

    /// The newest revision distributed.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Creates a watcher and puts the answer, `Created` or `Refused`, into the stream's outbox. `current_revision` is the
    /// store's: a watcher without start revision gets what comes behind it.
    ///
    /// # Errors
    /// The refusal that also went to the stream.
    pub fn add(
        &mut self,
        stream: StreamId,
        spec: WatchSpec,
        current_revision: i64,
    ) -> Result<WatchId, Refusal> {
        let current = current_revision.max(self.revision);
        match self.try_add(stream, spec, current) {
            Ok(id) => {
                self.push(stream, id, current, Kind::Created);
                Ok(id)
            }
            Err(refusal) => {
                self.refuse(stream, refusal.clone(), current);
                Err(refusal)
            }
        }
    }

    /// Puts a refusal decided elsewhere, such as a missing permission, into the stream's outbox.
    pub fn refuse(&mut self, stream: StreamId, refusal: Refusal, current_revision: i64) {
        self.streams.entry(stream).or_default();
        self.push(stream, -1, current_revision.max(self.revision), Kind::Refused(refusal));
    }

    fn try_add(&mut self, stream: StreamId, spec: WatchSpec, current: i64) -> Result<WatchId, Refusal> {
        if spec.start_revision < 0 {
            return Err(Refusal::NegativeStart);
        }
        let range = spec.range().ok_or(Refusal::EmptyRange)?;
        let slot = self.streams.entry(stream).or_default();
        let id = slot.claim_id(spec.id).ok_or(Refusal::DuplicateId)?;
        self.last_serial += 1;
        let serial = self.last_serial;
        slot.watchers.insert(id, serial);
        let from = if spec.start_revision == 0 { current + 1 } else { spec.start_revision };
        // One that begins between the hub's revision and the current one would get headers below its first one.
        let state = if from > current {
            State::Synced { from }
        } else {
            slot.lagging += 1;
            self.turns.push_back(serial);
            State::Lagging { next: from, blocked: false }
        };
        self.ranges.insert(&range, serial);
        let (wish, start_revision, range) = (spec.wish(), spec.start_revision, Box::new(range));
        let watcher = Watcher { stream, id, state, quiet: true, wish, start_revision, range };
        self.watchers.insert(serial, watcher);
        Ok(id)
    }

    /// Removes a watcher at its client's wish; an id that does not exist is passed over.
    pub fn cancel(&mut self, stream: StreamId, id: WatchId) {
        let serial = self.streams.get(&stream).and_then(|slot| slot.watchers.get(&id)).copied();
        if serial.is_some_and(|serial| self.remove(serial).is_some()) {
            let revision = self.header(stream);
            self.push(stream, id, revision, Kind::Canceled);
        }
    }

    /// Forgets a stream and all its watchers.
    pub fn drop_stream(&mut self, stream: StreamId) {
        for serial in self.streams.get(&stream).map(|slot| slot.watchers.clone()).unwrap_or_default().values()
        {
            self.remove(*serial);
        }
        self.streams.remove(&stream);
        self.asking.remove(&stream);
    }

    pub(super) fn remove(&mut self, serial: Serial) -> Option<Watcher> {
        let watcher = self.watchers.remove(&serial)?;
        self.ranges.remove(&watcher.range, serial);
        if let Some(stream) = self.streams.get_mut(&watcher.stream) {
            stream.watchers.remove(&watcher.id);
            if let State::Lagging { .. } = watcher.state {
                stream.lagging -= 1;
                stream.blocked.retain(|blocked| *blocked != serial);
            }
        }
        Some(watcher)
    }

    /// Distributes the events of one revision. Batches must come in order; one that was already distributed is passed
    /// over, and a gap before it counts as [`WatchHub::missed`]. `reader` serves watchers that want previous records.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Backend`] from such a look-up; the hub must not be used any further.
    pub fn notify(&mut self, batch: &Arc<EventBatch>, reader: &KvReader) -> Result<(), Error> {
        if batch.revision <= self.revision {
            return Ok(());
        }
        if batch.revision > self.revision + 1 {
            self.missed(batch.revision);
            return Ok(());
        }
        self.revision = batch.revision;
        let mut hits = std::mem::take(&mut self.hits);
        let mut place = 0;
        batch.for_each_key(|key| {
            self.ranges.visit(key, |serial| hits.push((serial, place)));
            place += 1;
        });
        hits.sort_unstable();
        let mut copies = Copies::new(batch, reader);
        let mut wanted = Vec::new();
        for hits in hits.chunk_by(|a, b| a.0 == b.0) {
            self.deliver(hits, &mut wanted, &mut copies)?;
        }
        if hits.len() <= HITS_KEPT_MAX {
            hits.clear();
            self.hits = hits;
        }
        self.settle_progress();
        Ok(())
    }

    /// Gives one synced watcher what it wants of a batch; `hits` are the places of events in its range. `wanted` is
    /// room to work in.
    fn deliver(
        &mut self,
        hits: &[(Serial, usize)],
        wanted: &mut Vec<usize>,
        copies: &mut Copies<'_>,
    ) -> Result<(), Error> {
        let (revision, serial) = (self.revision, hits[0].0);
        let Some(watcher) = self.watchers.get_mut(&serial) else { return Ok(()) };
        if !matches!(watcher.state, State::Synced { from } if from <= revision) {
            return Ok(());
        }
        let batch = copies.batch;
        wanted.clear();
        let events = batch.events();
        wanted.extend(hits.iter().map(|hit| hit.1).filter(|place| watcher.wants(&events[*place])));
        let Some(stream) = self.streams.get_mut(&watcher.stream).filter(|_| !wanted.is_empty()) else {
            return Ok(());
        };
        if stream.is_full(self.outbox_max) {
            watcher.state = State::Lagging { next: revision, blocked: true };
            stream.lagging += 1;
            stream.blocked.push(serial);
            return Ok(());
        }
        let all = copies.all(watcher.wish.prev_kv)?;
        let some = || Arc::new(Changes::new(wanted.iter().map(|place| all[*place].clone()).collect()));
        let events = if wanted.len() == all.len() { all } else { &some() };
        watcher.quiet = false;
        if stream.push_events(watcher.id, revision, events, watcher.wish.fragment) {
            self.ready.push(watcher.stream);
        }
        Ok(())
    }

    /// Says that batches up to `revision` will not come: they were dropped from a full queue, or a snapshot has replaced
    /// the store. Synced watchers turn lagging and read what they missed from the store.
    pub fn missed(&mut self, revision: i64) {
        if revision <= self.revision {
            return;
        }
        let unseen = self.revision + 1;
        self.revision = revision;
        for (serial, watcher) in &mut self.watchers {
            if let State::Synced { from } = watcher.state
                && from <= revision
                && let Some(stream) = self.streams.get_mut(&watcher.stream)
            {
                watcher.state = State::Lagging { next: from.max(unseen), blocked: false };
                stream.lagging += 1;
                self.turns.push_back(*serial);
            }
        }
        self.settle_progress();
    }

    /// A client asks how far its stream is. Answered once, with watch id -1, when all revisions up to `current_revision`
    /// have been distributed; passed over if a watcher of the stream lags or begins in the future.
    pub fn progress(&mut self, stream: StreamId, current_revision: i64) {
        let watchers = &self.watchers;
        let Some(slot) = self.streams.get_mut(&stream) else { return };
        let future = |serial: &Serial| {
            watchers.get(serial).is_some_and(|watcher| watcher.start_revision > current_revision)
        };
        if slot.watchers.is_empty() || slot.lagging > 0 || slot.watchers.values().any(future) {
            return;
        }
        let target = current_revision.max(slot.newest_header);
        slot.progress_asked = Some(slot.progress_asked.unwrap_or(0).max(target));
        self.asking.insert(stream);
        self.settle_progress();
    }

    /// Answers the progress requests that can be answered by now.
    pub(super) fn settle_progress(&mut self) {
        if self.asking.is_empty() {
            return;
        }
        let revision = self.revision;
        let able = |slot: &Stream| {
            slot.progress_asked.is_some_and(|target| target <= revision)
                && slot.newest_header <= revision
                && slot.lagging == 0
                && !slot.is_full(self.outbox_max)
        };
        let able: Vec<StreamId> =
            self.asking.iter().copied().filter(|id| self.streams.get(id).is_some_and(able)).collect();
        for stream in able {
            self.asking.remove(&stream);
            if let Some(slot) = self.streams.get_mut(&stream) {
                slot.progress_asked = None;
            }
            self.push(stream, -1, revision, Kind::Progress);
        }
    }

    /// The stream's progress interval has passed: each of its watchers that asked for notices, is synced and has sent no
    /// event since the last time gets one.
    pub fn periodic_progress(&mut self, stream: StreamId) {
        let revision = self.revision;
        let Some(slot) = self.streams.get_mut(&stream) else { return };
        for (id, serial) in slot.watchers.clone() {
            let Some(watcher) = self.watchers.get_mut(&serial) else { continue };
            let synced = matches!(watcher.state, State::Synced { .. }) && watcher.start_revision <= revision;
            if watcher.wish.progress_notify
                && watcher.quiet
                && synced
                && slot.newest_header <= revision
                && !slot.is_full(self.outbox_max)
                && slot.push(id, revision, Kind::Progress)
            {
                self.ready.push(stream);
            }
            watcher.quiet = true;
        }
    }

    /// Takes responses of a stream, oldest first, until they cost `max_bytes` or more. The room they leave lets its lagging watchers go on: if
    /// [`WatchHub::has_lagging`] then, ask for catch-up steps.
    pub fn poll(&mut self, stream: StreamId, max_bytes: usize) -> Vec<WatchOutput> {
        let Some(slot) = self.streams.get_mut(&stream) else { return Vec::new() };
        let taken = slot.take(max_bytes);
        if !slot.is_full(self.outbox_max) {
            for serial in slot.blocked.drain(..) {
                if let Some(Watcher { state: State::Lagging { blocked, .. }, .. }) =
                    self.watchers.get_mut(&serial)
                {
                    *blocked = false;
                    self.turns.push_back(serial);
                }
            }
            self.settle_progress();
        }
        taken
    }

    /// Whether a stream's outbox has no room: its watchers lag, and its client had better read before it asks.
    pub fn is_full(&self, stream: StreamId) -> bool {
        self.streams.get(&stream).is_some_and(|slot| slot.is_full(self.outbox_max))
    }

    /// Responses that wait in a stream's outbox.
    pub fn waiting(&self, stream: StreamId) -> usize {
        self.streams.get(&stream).map_or(0, Stream::waiting)
    }

    /// The streams that got something to send since the last call.
    pub fn take_ready(&mut self) -> Vec<StreamId> {
        let mut ready = std::mem::take(&mut self.ready);
        ready.retain(|id| self.streams.get_mut(id).is_some_and(Stream::unlist));
        ready
    }

    /// Whether a watcher lags that a catch-up step can help.
    pub fn has_lagging(&self) -> bool {
        !self.turns.is_empty()
    }

    /// Counts for metrics.
    pub fn stats(&self) -> HubStats {
        HubStats {
            streams: self.streams.len(),
            watchers: self.watchers.len(),
            lagging: self.streams.values().map(|stream| stream.lagging).sum(),
            waiting: self.streams.values().map(Stream::waiting).sum(),
        }
    }

    pub(super) fn push(&mut self, stream: StreamId, id: WatchId, revision: i64, kind: Kind) {
        if let Some(slot) = self.streams.get_mut(&stream)
            && slot.push(id, revision, kind)
        {
            self.ready.push(stream);
        }
    }

    fn header(&self, stream: StreamId) -> i64 {
        self.streams.get(&stream).map_or(0, |slot| slot.newest_header).max(self.revision)
    }
}

/// The events of a batch as handed out: one shared copy for all watchers that want every event.
struct Copies<'a> {
    batch: &'a EventBatch,
    reader: &'a KvReader,
    plain: Option<Arc<Changes>>,
    with_prev: Option<Arc<Changes>>,
}

impl<'a> Copies<'a> {
    fn new(batch: &'a EventBatch, reader: &'a KvReader) -> Copies<'a> {
        Copies { batch, reader, plain: None, with_prev: None }
    }

    /// All of them.
    fn all(&mut self, prev_kv: bool) -> Result<&Arc<Changes>, Error> {
        let copy = if prev_kv { &mut self.with_prev } else { &mut self.plain };
        let all = match copy.take() {
            Some(all) => all,
            None => {
                let mut events = self.batch.events().to_vec();
                if prev_kv {
                    let view = self.reader.view(0)?;
                    events.iter_mut().try_for_each(|event| view.fill_prev(event))?;
                }
                Arc::new(Changes::new(events))
            }
        };
        Ok(copy.insert(all))
    }
}
