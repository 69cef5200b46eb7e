//! How lagging watchers read what they missed: a piece of history at a time, for many watchers at once, in turn.

use std::collections::BTreeMap;
use std::sync::Arc;

use backend::Bucket;
use bytes::Bytes;

use super::hub::WatchHub;
use super::range_map::RangeMap;
use super::watcher::{Serial, State};
use super::{Changes, Kind};
use crate::read_view::View;
use crate::{Error, Event, EventKind, KvReader, Revision, record};

/// Watchers looked after in one step.
const WATCHERS_MAX: usize = 512;
/// Revisions in one response.
const REVISIONS_MAX: i64 = 1000;
/// Records of one step are at most this long together, unless one revision alone is longer.
const WINDOW_BYTES_MAX: usize = 512 << 10;

/// What a catch-up step left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatchUp {
    /// No watcher lags, or those that do wait for room in their outbox.
    Idle,
    /// Call again.
    More,
}

/// The watchers of one step, with the revision each needs next and the events found for it.
type Group = BTreeMap<Serial, (i64, Vec<Event>)>;

impl WatchHub {
    /// Reads one piece of history for the watcher whose turn it is, and for those of the next 511 in line that want part of
    /// the same piece. A piece is about `budget` records long, at most 1000 revisions, and never ends within a revision.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Backend`]; the hub must not be used any further.
    pub fn catch_up_step(&mut self, reader: &KvReader, budget: usize) -> Result<CatchUp, Error> {
        let view = reader.view(0)?;
        let compacted = reader.compact_revision();
        let (first, line) = self.line_up(view.revision(), compacted);
        let Some(first) = first else { return Ok(self.left_to_do()) };
        let mut group: Group = line
            .iter()
            .filter_map(|serial| Some((*serial, (self.next_of(*serial)?, Vec::new()))))
            .filter(|(_, (next, _))| *next >= first)
            .collect();
        let ranges = self.ranges_of(&group);
        let last = read_window(&view, first, budget, |event| {
            ranges.visit(&event.key, |serial| {
                if let Some((next, events)) = group.get_mut(&serial)
                    && *next <= event.mod_revision
                    && self.watchers.get(&serial).is_some_and(|watcher| watcher.wants(event))
                {
                    events.push(event.clone());
                }
            });
        })?;
        // Who could not use this piece keeps its place in line, ahead of those served now.
        let (served, unserved): (Vec<Serial>, Vec<Serial>) =
            line.into_iter().partition(|serial| group.get(serial).is_some_and(|(next, _)| *next <= last));
        for serial in unserved.into_iter().rev() {
            self.turns.push_front(serial);
        }
        for serial in served {
            let events = group.remove(&serial).map(|(_, events)| events).unwrap_or_default();
            self.serve(serial, events, last, &view)?;
        }
        self.settle_progress();
        Ok(self.left_to_do())
    }

    fn left_to_do(&self) -> CatchUp {
        if self.turns.is_empty() { CatchUp::Idle } else { CatchUp::More }
    }

    /// Takes the next watchers from the line, after dealing with those that need no reading. Also answers the revision
    /// that the first of them needs.
    fn line_up(&mut self, current: i64, compacted: i64) -> (Option<i64>, Vec<Serial>) {
        let mut line = Vec::new();
        for _ in 0..self.turns.len().min(WATCHERS_MAX) {
            let Some(serial) = self.turns.pop_front() else { break };
            let Some(next) = self.next_of(serial) else { continue };
            if next < compacted {
                self.end_compacted(serial, compacted);
            } else if self.block_if_full(serial) {
                continue;
            } else if next > current {
                self.advance(serial, next, current);
            } else {
                line.push(serial);
            }
        }
        (line.first().and_then(|serial| self.next_of(*serial)), line)
    }

    fn next_of(&self, serial: Serial) -> Option<i64> {
        match self.watchers.get(&serial)?.state {
            State::Lagging { next, .. } => Some(next),
            State::Synced { .. } => None,
        }
    }

    fn end_compacted(&mut self, serial: Serial, compact_revision: i64) {
        if let Some(watcher) = self.remove(serial) {
            self.push(watcher.stream, watcher.id, 0, Kind::Compacted { compact_revision });
        }
    }

    fn block_if_full(&mut self, serial: Serial) -> bool {
        let Some(watcher) = self.watchers.get_mut(&serial) else { return false };
        let Some(stream) =
            self.streams.get_mut(&watcher.stream).filter(|stream| stream.is_full(self.outbox_max))
        else {
            return false;
        };
        if let State::Lagging { blocked, .. } = &mut watcher.state {
            *blocked = true;
            stream.blocked.push(serial);
        }
        true
    }

    /// Says that a lagging watcher now needs `next`. It is synced if it has read all there is, which must reach as far as
    /// the hub has come; else it lines up again. (Reading part of it would do for the events, but the header that came
    /// with them names the current revision already.)
    fn advance(&mut self, serial: Serial, next: i64, current: i64) {
        let Some(watcher) = self.watchers.get_mut(&serial) else { return };
        if next > current.max(self.revision) {
            watcher.state = State::Synced { from: next };
            if let Some(stream) = self.streams.get_mut(&watcher.stream) {
                stream.lagging -= 1;
            }
        } else {
            watcher.state = State::Lagging { next, blocked: false };
            self.turns.push_back(serial);
        }
    }

    fn ranges_of(&self, group: &Group) -> RangeMap {
        let mut ranges = RangeMap::default();
        for serial in group.keys() {
            if let Some(watcher) = self.watchers.get(serial) {
                ranges.insert(&watcher.range, *serial);
            }
        }
        ranges
    }

    /// Hands a watcher what it wanted of the history up to `last`.
    fn serve(&mut self, serial: Serial, mut events: Vec<Event>, last: i64, view: &View) -> Result<(), Error> {
        if !events.is_empty() {
            // Another watcher of the stream may have taken the last room.
            if self.block_if_full(serial) {
                return Ok(());
            }
            let Some(watcher) = self.watchers.get_mut(&serial) else { return Ok(()) };
            watcher.quiet = false;
            let (id, stream, fragment) = (watcher.id, watcher.stream, watcher.wish.fragment);
            if watcher.wish.prev_kv {
                for event in &mut events {
                    view.fill_prev(event)?;
                }
            }
            let events = Arc::new(Changes::new(events));
            self.push(stream, id, view.revision(), Kind::Events { events, fragment });
        }
        #[cfg(feature = "sabotage")]
        let last = last + i64::from(self.skips_at_catch_up);
        self.advance(serial, last + 1, view.revision());
        Ok(())
    }
}

/// Shows the events from revision `first` on, whole revisions only; answers the last revision shown or known to be
/// without events.
fn read_window(view: &View, first: i64, budget: usize, mut each: impl FnMut(&Event)) -> Result<i64, Error> {
    let current = view.revision();
    let bound = |revision: i64| Revision::new(revision, 0).to_bytes();
    let end = first.saturating_add(REVISIONS_MAX).min(current + 1);
    let (mut records, mut size, mut last) = (0, 0, None);
    for item in view.tx.range(Bucket::Key, &bound(first), Some(&bound(end))) {
        let (key, value) = item?;
        let stored = record::decode_key(&key)?;
        let main = stored.revision.main;
        if last.is_some_and(|last| last < main) && (records >= budget || size >= WINDOW_BYTES_MAX) {
            return Ok(main - 1);
        }
        records += 1;
        size += value.len();
        last = Some(main);
        each(&event_of(stored, value)?);
    }
    if last.is_some() || end > current {
        return Ok(end - 1);
    }
    // A stretch without records, as a restore that raises the revision leaves: go straight behind it.
    match view.tx.range(Bucket::Key, &bound(end), Some(&bound(current + 1))).next() {
        Some(item) => Ok(record::decode_key(&item?.0)?.revision.main - 1),
        None => Ok(current),
    }
}

fn event_of(stored: crate::RecordKey, value: Bytes) -> Result<Event, Error> {
    let mod_revision = stored.revision.main;
    let kv = record::decode(&value, stored.revision)?;
    if stored.tombstone {
        let record = record::of_delete_event(kv.key.clone(), mod_revision);
        let kind = EventKind::Delete;
        return Ok(Event { kind, key: kv.key, record, create_revision: 0, mod_revision, prev_kv: None });
    }
    let create_revision = kv.create_revision;
    Ok(Event {
        kind: EventKind::Put,
        key: kv.key,
        record: value,
        create_revision,
        mod_revision,
        prev_kv: None,
    })
}
