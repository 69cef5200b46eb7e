//! One writing txn (formats 4.7): its changes share a revision and show all at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use backend::{Backend, Bucket};
use bytes::Bytes;
use prost::Message;
use proto::mvccpb::KeyValue;

use crate::deletes::Deletes;
use crate::index::{Index, KeyRange, LONG_KEY};
use crate::key_index::Seen;
use crate::kv::Shared;
use crate::{Error, Event, EventBatch, EventKind, RangeQuery, RangeResult, Revision, record, select};

/// Keys deleted before the index is let go: readers wait meanwhile.
const KEYS_PER_LOCK: usize = 512;
/// Fewer deletes than these are made into records and events at once.
const MANY_MIN: usize = 8;
/// Deletes are kept together until their keys have so many bytes.
const TOGETHER_BYTES: usize = 64 << 10;

/// What a put did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PutOutcome {
    /// Revision of the txn.
    pub revision: i64,
    /// Revision that created the key.
    pub create_revision: i64,
    /// Version the key now has.
    pub version: i64,
}

/// The keys that a delete removed.
#[derive(Debug, Default)]
pub struct Deleted {
    parts: Vec<Arc<Deletes>>,
}

impl Deleted {
    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }

    /// Whether nothing was there to delete.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// In order.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.parts.iter().flat_map(|part| part.keys())
    }
}

/// A txn in the making. Everything is checked before: once it has changed something it must be finished, and an error
/// after that point means the member must stop.
pub struct WriteTxn<'a> {
    shared: &'a Arc<Shared>,
    backend: &'a mut Backend,
    begin: i64,
    events: Vec<Event>,
    /// Before which event each belongs.
    deletes: Vec<(usize, Arc<Deletes>)>,
    /// Events and deletes.
    changes: usize,
}

impl<'a> WriteTxn<'a> {
    pub(crate) fn new(shared: &'a Arc<Shared>, backend: &'a mut Backend) -> WriteTxn<'a> {
        WriteTxn {
            begin: shared.current(),
            shared,
            backend,
            events: Vec::new(),
            deletes: Vec::new(),
            changes: 0,
        }
    }

    /// Writes `key`. The lease (0: none) is only stored: attaching is the caller's.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the index holds a newer revision of the key, which no sound store does.
    pub fn put(&mut self, key: Bytes, value: Bytes, lease: i64) -> Result<PutOutcome, Error> {
        let revision = self.next();
        let mut kv = KeyValue { key, mod_revision: revision.main, value, lease, ..KeyValue::default() };
        let bare_len = kv.encoded_len();
        let record_len = |create_revision, version| {
            let life = KeyValue { create_revision, version, ..KeyValue::default() };
            record::len(bare_len + life.encoded_len())
        };
        let now = self.shared.index.write().put(&kv.key, revision, record_len);
        let Seen { create_revision, version, .. } = now.ok_or_else(|| not_newer(revision))?;
        (kv.create_revision, kv.version) = (create_revision, version);
        let stored = record::of_put(&kv);
        self.backend.put(Bucket::Key, Bytes::copy_from_slice(&revision.to_bytes()), stored.clone());
        self.events.push(Event {
            kind: EventKind::Put,
            key: kv.key,
            record: stored,
            create_revision,
            mod_revision: revision.main,
            prev_kv: None,
        });
        self.changes += 1;
        Ok(PutOutcome { revision: revision.main, create_revision, version })
    }

    /// Deletes all keys of the range that exist now, puts of this txn included, in key order.
    ///
    /// # Errors
    /// As [`WriteTxn::put`].
    pub fn delete_range(&mut self, key: Bytes, end: Bytes) -> Result<Deleted, Error> {
        let mut deleting = Deleting::new(self.next());
        let mut rest = Some(KeyRange::new(key, end));
        while let Some(range) = rest {
            let last = deleting.delete(&mut self.shared.index.write(), &range)?;
            rest = last.and_then(|last| range.behind(&last));
        }
        Ok(self.store(deleting))
    }

    /// Deletes those of `keys`, which rise, that exist now.
    ///
    /// # Errors
    /// As [`WriteTxn::put`].
    pub fn delete_keys(&mut self, keys: &[Bytes]) -> Result<Deleted, Error> {
        let mut deleting = Deleting::new(self.next());
        let mut keys = keys.iter().peekable();
        while keys.peek().is_some() {
            let mut index = self.shared.index.write();
            let mut count = 0;
            while count < KEYS_PER_LOCK
                && let Some(key) = keys.next()
            {
                deleting.delete(&mut index, &KeyRange::One(key.clone()))?;
                count += 1 + key.len() / LONG_KEY;
            }
        }
        Ok(self.store(deleting))
    }

    /// Stores deletes that the index knows of, and tells watchers.
    fn store(&mut self, mut deleting: Deleting) -> Deleted {
        deleting.close();
        for part in &deleting.done.parts {
            self.changes += part.len();
            if part.len() < MANY_MIN {
                for delete in part.all() {
                    self.backend.put(Bucket::Key, delete.stored_key.clone(), delete.stored.clone());
                    self.events.push(delete.event(self.begin + 1));
                }
            } else {
                self.backend.put_many(part.clone());
                self.deletes.push((self.events.len(), part.clone()));
            }
        }
        deleting.done
    }

    /// Reads within the txn: without a revision it sees the txn's own changes.
    ///
    /// # Errors
    /// [`Error::Compacted`], [`Error::FutureRevision`]; [`Error::Damaged`] if a record is missing.
    pub fn range(&self, query: &RangeQuery) -> Result<RangeResult, Error> {
        let current = self.revision();
        let at = if query.revision <= 0 { current } else { query.revision };
        if at > current {
            return Err(Error::FutureRevision);
        }
        if at < self.shared.compacted() {
            return Err(Error::Compacted);
        }
        let answer = select::select(&self.shared.index, query, at)?;
        let records = |all: &[Revision]| all.iter().map(|revision| self.record(*revision)).collect();
        let mut result = select::fetch(answer, query, records)?;
        result.revision = current;
        Ok(result)
    }

    fn record(&self, revision: Revision) -> Result<Bytes, Error> {
        let record = self.backend.get(Bucket::Key, &revision.to_bytes())?;
        record.ok_or_else(|| Error::missing(revision))
    }

    /// The newest record of `key`, this txn's included; none if the key does not exist.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the record is missing.
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let seen = self.shared.index.read().get(key, self.revision());
        seen.map(|seen| self.record(seen.modified)).transpose()
    }

    /// Number of changes made so far.
    pub fn changes(&self) -> usize {
        self.changes
    }

    /// The revision that a read within the txn sees: the next one as soon as something changed.
    pub fn revision(&self) -> i64 {
        if self.changes == 0 { self.begin } else { self.begin + 1 }
    }

    /// Ends the txn and shows its changes to readers. Without changes it uses no revision and answers none.
    pub fn finish(self) -> Option<Arc<EventBatch>> {
        if self.changes == 0 {
            return None;
        }
        let revision = self.begin + 1;
        self.shared.current.store(revision, Ordering::Release);
        Some(Arc::new(EventBatch::new(revision, self.events, self.deletes)))
    }

    fn next(&self) -> Revision {
        Revision::new(self.begin + 1, self.changes as i64)
    }
}

/// Deletes of which only the index knows so far.
struct Deleting {
    open: Deletes,
    done: Deleted,
}

impl Deleting {
    fn new(first: Revision) -> Deleting {
        Deleting { open: Deletes::new(first), done: Deleted::default() }
    }

    /// Deletes some keys of the range; answers the last one looked at if there may be more.
    fn delete(&mut self, index: &mut Index, range: &KeyRange) -> Result<Option<Bytes>, Error> {
        let first = self.open.next();
        let each = |start: &[u8], rest: &[u8]| {
            self.open.push(start, rest);
            if self.open.keys_bytes() >= TOGETHER_BYTES {
                self.close();
            }
        };
        index.delete(range, KEYS_PER_LOCK, first, each).map_err(not_newer)
    }

    fn close(&mut self) {
        if self.open.len() > 0 {
            let behind = Deletes::new(self.open.next());
            self.done.parts.push(Arc::new(std::mem::replace(&mut self.open, behind)));
        }
    }
}

fn not_newer(revision: Revision) -> Error {
    Error::Damaged(format!("the index holds a revision that is not older than {revision}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_index::len_of;

    #[test]
    fn deletes_are_cut_into_pieces_that_go_on_where_the_one_before_ends() {
        let mut index = Index::default();
        let long = |n: u8| [&[n; 2], &[b'k'; 30_000][..]].concat();
        (0..20).for_each(|n| assert!(index.put(&long(n), Revision::new(2, n.into()), len_of).is_some()));
        let mut deleting = Deleting::new(Revision::new(3, 5));
        let mut rest = Some(KeyRange::From(Bytes::new()));
        while let Some(range) = rest {
            let last = deleting.delete(&mut index, &range).unwrap();
            rest = last.and_then(|last| range.behind(&last));
        }
        deleting.close();
        let parts = deleting.done.parts;
        assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [3, 3, 3, 3, 3, 3, 2]);
        let mut next = Revision::new(3, 5);
        for part in &parts {
            for (nth, key) in part.keys().enumerate() {
                assert!(index.holds(key, Revision::new(3, next.sub + nth as i64)));
            }
            next = part.next();
        }
        assert_eq!(next, Revision::new(3, 25));
    }
}
