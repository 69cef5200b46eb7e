//! One layer of the write buffer: what was put and deleted since the last seal, readable at once by everyone.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::RwLock;

use crate::schema::Bucket;

/// A record: key and value.
pub(crate) type Record = (Bytes, Bytes);
/// A change: the key and its new value, `None` if it was deleted.
pub(crate) type Change = (Bytes, Option<Bytes>);

/// Pending changes. One thread writes, any number read; a sealed layer no longer changes.
#[derive(Default)]
pub(crate) struct Layer {
    revisions: RwLock<Revisions>,
    others: RwLock<[BTreeMap<Bytes, Option<Bytes>>; Bucket::ALL.len()]>,
    ops: AtomicUsize,
    bytes: AtomicUsize,
}

/// The `key` bucket: revisions rise, so a put is a push and a look-up a binary search.
#[derive(Default)]
struct Revisions {
    puts: Vec<Record>,
    /// Only the file forgets these; readers never look up a compacted revision.
    deletes: BTreeSet<Bytes>,
}

impl Revisions {
    fn put(&mut self, key: Bytes, value: Bytes) {
        if !self.deletes.is_empty() {
            self.deletes.remove(&key);
        }
        if self.puts.last().is_none_or(|(last, _)| *last < key) {
            self.puts.push((key, value));
            return;
        }
        match self.puts.binary_search_by(|(k, _)| k.cmp(&key)) {
            Ok(at) => self.puts[at].1 = value,
            Err(at) => self.puts.insert(at, (key, value)),
        }
    }

    fn get(&self, key: &[u8]) -> Option<Bytes> {
        let at = self.puts.binary_search_by(|(k, _)| k.as_ref().cmp(key)).ok()?;
        Some(self.puts[at].1.clone())
    }

    fn range(&self, from: &[u8], to: Option<&[u8]>) -> impl DoubleEndedIterator<Item = Change> {
        let start = self.puts.partition_point(|(k, _)| k.as_ref() < from);
        let end = to.map_or(self.puts.len(), |to| self.puts.partition_point(|(k, _)| k.as_ref() < to));
        let slice = self.puts.get(start..end).unwrap_or_default();
        slice.iter().map(|(k, v)| (k.clone(), Some(v.clone())))
    }
}

impl Layer {
    pub(crate) fn put(&self, bucket: Bucket, key: Bytes, value: Bytes) {
        self.ops.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(key.len() + value.len(), Ordering::Relaxed);
        match bucket {
            Bucket::Key => self.revisions.write().put(key, value),
            _ => drop(self.others.write()[bucket.slot()].insert(key, Some(value))),
        }
    }

    pub(crate) fn delete(&self, bucket: Bucket, key: &[u8]) {
        self.ops.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(key.len(), Ordering::Relaxed);
        let key = Bytes::copy_from_slice(key);
        match bucket {
            Bucket::Key => drop(self.revisions.write().deletes.insert(key)),
            _ => drop(self.others.write()[bucket.slot()].insert(key, None)),
        }
    }

    /// `None`: this layer says nothing about the key. `Some(None)`: deleted here.
    pub(crate) fn get(&self, bucket: Bucket, key: &[u8]) -> Option<Option<Bytes>> {
        match bucket {
            Bucket::Key => self.revisions.read().get(key).map(Some),
            _ => self.others.read()[bucket.slot()].get(key).cloned(),
        }
    }

    /// The lowest key put here (in other buckets than `key`: changed here), if any.
    pub(crate) fn lowest(&self, bucket: Bucket) -> Option<Bytes> {
        match bucket {
            Bucket::Key => self.revisions.read().puts.first().map(|(key, _)| key.clone()),
            _ => self.others.read()[bucket.slot()].first_key_value().map(|(key, _)| key.clone()),
        }
    }

    /// The first `max` changes with `from <= key < to` in rising or falling key order, as they stand now. Few, because
    /// the writer waits meanwhile.
    pub(crate) fn range(
        &self,
        bucket: Bucket,
        (from, to): (&[u8], Option<&[u8]>),
        falling: bool,
        max: usize,
    ) -> Vec<Change> {
        if to.is_some_and(|to| to <= from) {
            return Vec::new();
        }
        if bucket == Bucket::Key {
            return first(self.revisions.read().range(from, to), falling, max);
        }
        let upper = to.map_or(Bound::Unbounded, Bound::Excluded);
        let others = self.others.read();
        let range = others[bucket.slot()].range::<[u8], _>((Bound::Included(from), upper));
        first(range.map(|(k, v)| (k.clone(), v.clone())), falling, max)
    }

    /// Number of puts and deletes so far.
    pub(crate) fn ops(&self) -> usize {
        self.ops.load(Ordering::Relaxed)
    }

    /// Bytes of the keys and values put so far.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Everything the file must be told about one bucket, in key order; puts of revisions come before their deletes.
    pub(crate) fn for_each_change<E>(
        &self,
        bucket: Bucket,
        mut take: impl FnMut(&Bytes, Option<&Bytes>) -> Result<(), E>,
    ) -> Result<(), E> {
        if bucket == Bucket::Key {
            let revisions = self.revisions.read();
            revisions.puts.iter().try_for_each(|(k, v)| take(k, Some(v)))?;
            return revisions.deletes.iter().try_for_each(|k| take(k, None));
        }
        self.others.read()[bucket.slot()].iter().try_for_each(|(k, v)| take(k, v.as_ref()))
    }
}

fn first(changes: impl DoubleEndedIterator<Item = Change>, falling: bool, max: usize) -> Vec<Change> {
    if falling { changes.rev().take(max).collect() } else { changes.take(max).collect() }
}
