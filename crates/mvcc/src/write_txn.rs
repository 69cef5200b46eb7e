//! One writing txn (formats 4.7): its changes share a revision and show all at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use backend::{Backend, Bucket};
use bytes::Bytes;
use proto::mvccpb::KeyValue;

use crate::index::KeyRange;
use crate::key_index::Seen;
use crate::kv::Shared;
use crate::{Error, Event, EventBatch, EventKind, RangeQuery, RangeResult, Revision, record, select};

/// Keys deleted before the index is let go: readers wait meanwhile.
const KEYS_PER_LOCK: usize = 256;

/// What a put did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PutOutcome {
    /// Revision of the txn.
    pub revision: i64,
    /// Revision that created the key.
    pub create_revision: i64,
    /// Version the key now has.
    pub version: i64,
    /// Where the record before is stored, if the key existed: see [`WriteTxn::record`].
    pub previous: Option<Revision>,
}

/// One key that a delete removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// The key.
    pub key: Bytes,
    /// Where its last record is stored: see [`WriteTxn::record`].
    pub previous: Revision,
}

/// A txn in the making. Everything is checked before: once it has changed something it must be finished, and an error
/// after that point means the member must stop.
pub struct WriteTxn<'a> {
    shared: &'a Arc<Shared>,
    backend: &'a mut Backend,
    begin: i64,
    events: Vec<Event>,
}

impl<'a> WriteTxn<'a> {
    pub(crate) fn new(shared: &'a Arc<Shared>, backend: &'a mut Backend) -> WriteTxn<'a> {
        WriteTxn { begin: shared.current(), shared, backend, events: Vec::new() }
    }

    /// Writes `key`. The lease (0: none) is only stored: attaching is the caller's.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the index holds a newer revision of the key, which no sound store does.
    pub fn put(&mut self, key: Bytes, value: Bytes, lease: i64) -> Result<PutOutcome, Error> {
        let revision = self.next();
        let (now, before) =
            self.shared.index.write().put(&key, revision).ok_or_else(|| not_newer(revision))?;
        let Seen { create_revision, version, .. } = now;
        let kv = KeyValue { key, create_revision, mod_revision: revision.main, version, value, lease };
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
        let previous = before.map(|seen| seen.modified);
        Ok(PutOutcome { revision: revision.main, create_revision, version, previous })
    }

    /// Deletes all keys of the range that exist now, puts of this txn included, in key order.
    ///
    /// # Errors
    /// As [`WriteTxn::put`].
    pub fn delete_range(&mut self, key: Bytes, end: Bytes) -> Result<Vec<Deleted>, Error> {
        let mut deleted = Vec::new();
        let mut rest = Some(KeyRange::new(key, end));
        while let Some(range) = rest {
            let shared: &Arc<Shared> = self.shared;
            let each = |key: &[u8], seen: Seen| {
                let revision = self.next();
                let key = self.tombstone(key, revision);
                deleted.push(Deleted { key, previous: seen.modified });
                revision
            };
            let last = shared.index.write().delete(&range, KEYS_PER_LOCK, each).map_err(not_newer)?;
            rest = last.and_then(|last| range.behind(&last));
        }
        Ok(deleted)
    }

    /// Stores that `key` is deleted, and tells watchers.
    fn tombstone(&mut self, key: &[u8], revision: Revision) -> Bytes {
        let record::Delete { stored_key, stored, event, key } = record::of_delete(key, revision);
        self.backend.put(Bucket::Key, stored_key, stored);
        self.events.push(Event {
            kind: EventKind::Delete,
            record: event,
            key: key.clone(),
            create_revision: 0,
            mod_revision: revision.main,
            prev_kv: None,
        });
        key
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

    /// The stored record of a put, an encoded `mvccpb.KeyValue`.
    ///
    /// # Errors
    /// [`Error::Damaged`] if there is none.
    pub fn record(&self, revision: Revision) -> Result<Bytes, Error> {
        let record = self.backend.get(Bucket::Key, &revision.to_bytes())?;
        record
            .ok_or_else(|| Error::Damaged(format!("no record at revision {revision}, which the index knows")))
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
        self.events.len()
    }

    /// The revision that a read within the txn sees: the next one as soon as something changed.
    pub fn revision(&self) -> i64 {
        if self.events.is_empty() { self.begin } else { self.begin + 1 }
    }

    /// Ends the txn and shows its changes to readers. Without changes it uses no revision and answers none.
    pub fn finish(self) -> Option<Arc<EventBatch>> {
        if self.events.is_empty() {
            return None;
        }
        let revision = self.begin + 1;
        self.shared.current.store(revision, Ordering::Release);
        Some(Arc::new(EventBatch { revision, events: self.events }))
    }

    fn next(&self) -> Revision {
        Revision::new(self.begin + 1, self.events.len() as i64)
    }
}

fn not_newer(revision: Revision) -> Error {
    Error::Damaged(format!("the index holds a revision that is not older than {revision}"))
}
