//! One layer of the write buffer: what was put and deleted since the last seal, readable at once by everyone.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::RwLock;

use crate::schema::Bucket;

/// A record: key and value.
pub(crate) type Record = (Bytes, Bytes);
/// A change: the key and its new value, `None` if it was deleted.
pub(crate) type Change = (Bytes, Option<Bytes>);

/// Many records of the `key` bucket, kept together in a form of their owner's choice: one change of a million keys need not
/// become a million pieces of memory before it is asked for.
pub trait Records: Send + Sync {
    /// How many.
    fn count(&self) -> usize;

    /// About how many bytes all keys and values have.
    fn bytes(&self) -> usize;

    /// The key of the `nth`; they rise.
    fn key(&self, nth: usize) -> Bytes;

    /// Key and value of the `nth`.
    fn record(&self, nth: usize) -> (Bytes, Bytes);
}

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
    puts: Vec<Put>,
    /// Only the file forgets these; readers never look up a compacted revision.
    deletes: BTreeSet<Bytes>,
}

enum Put {
    One(Record),
    Many(Box<Many>),
}

struct Many {
    first: Bytes,
    last: Bytes,
    records: Arc<dyn Records>,
}

/// A record that is only made outside the lock.
enum Picked {
    One(Record),
    Of(Arc<dyn Records>, usize),
}

impl From<Picked> for Record {
    fn from(picked: Picked) -> Record {
        match picked {
            Picked::One(record) => record,
            Picked::Of(records, nth) => records.record(nth),
        }
    }
}

impl Put {
    fn first(&self) -> &Bytes {
        match self {
            Put::One((key, _)) => key,
            Put::Many(many) => &many.first,
        }
    }

    fn last(&self) -> &Bytes {
        match self {
            Put::One((key, _)) => key,
            Put::Many(many) => &many.last,
        }
    }

    fn count(&self) -> usize {
        match self {
            Put::One(_) => 1,
            Put::Many(many) => many.records.count(),
        }
    }

    fn pick(&self, nth: usize) -> Picked {
        match self {
            Put::One(record) => Picked::One(record.clone()),
            Put::Many(many) => Picked::Of(many.records.clone(), nth),
        }
    }

    /// How many records have a key below `to`.
    fn below(&self, to: &[u8]) -> usize {
        match self {
            Put::Many(many) if many.first[..] < *to && *to <= many.last[..] => {
                let (mut low, mut high) = (0, many.records.count());
                while low < high {
                    let middle = low.midpoint(high);
                    if many.records.key(middle)[..] < *to { low = middle + 1 } else { high = middle }
                }
                low
            }
            _ if self.last()[..] < *to => self.count(),
            _ => 0,
        }
    }

    fn get(&self, key: &[u8]) -> Option<Bytes> {
        match self {
            Put::One((own, value)) => (own[..] == *key).then(|| value.clone()),
            Put::Many(many) => {
                let nth = self.below(key);
                let found = nth < many.records.count() && many.records.key(nth)[..] == *key;
                found.then(|| many.records.record(nth).1)
            }
        }
    }
}

impl Revisions {
    fn put(&mut self, key: Bytes, value: Bytes) {
        if !self.deletes.is_empty() {
            self.deletes.remove(&key);
        }
        if self.puts.last().is_none_or(|last| *last.last() < key) {
            self.puts.push(Put::One((key, value)));
            return;
        }
        let at = self.puts.partition_point(|put| *put.last() < key);
        match &mut self.puts[at] {
            Put::One((own, old)) if *own == key => *old = value,
            Put::Many(many) if many.first <= key => {
                let many = self.puts.remove(at);
                self.puts.splice(at..at, (0..many.count()).map(|nth| Put::One(many.pick(nth).into())));
                self.put(key, value);
            }
            _ => self.puts.insert(at, Put::One((key, value))),
        }
    }

    fn put_many(&mut self, records: Arc<dyn Records>) {
        let Some(last) = records.count().checked_sub(1) else { return };
        let (first, last) = (records.key(0), records.key(last));
        let rises = self.puts.last().is_none_or(|put| *put.last() < first);
        if rises && self.deletes.range::<Bytes, _>(&first..=&last).next().is_none() {
            self.puts.push(Put::Many(Box::new(Many { first, last, records })));
        } else {
            (0..records.count()).map(|nth| records.record(nth)).for_each(|(key, value)| self.put(key, value));
        }
    }

    fn get(&self, key: &[u8]) -> Option<Bytes> {
        let at = self.puts.partition_point(|put| put.last()[..] < *key);
        self.puts.get(at)?.get(key)
    }

    fn range<'a>(&'a self, from: &'a [u8], to: Option<&'a [u8]>) -> impl DoubleEndedIterator<Item = Picked> {
        let start = self.puts.partition_point(|put| put.last()[..] < *from);
        let end = to.map_or(self.puts.len(), |to| self.puts.partition_point(|put| put.first()[..] < *to));
        let puts = self.puts.get(start..end).unwrap_or_default();
        let records = move |put: &'a Put| {
            let nths = put.below(from)..to.map_or(put.count(), |to| put.below(to));
            nths.map(|nth| put.pick(nth))
        };
        puts.iter().flat_map(records)
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

    /// Puts records into the `key` bucket.
    pub(crate) fn put_many(&self, records: Arc<dyn Records>) {
        self.ops.fetch_add(records.count(), Ordering::Relaxed);
        self.bytes.fetch_add(records.bytes(), Ordering::Relaxed);
        self.revisions.write().put_many(records);
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
            Bucket::Key => self.revisions.read().puts.first().map(|put| put.first().clone()),
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
            let picked = first(self.revisions.read().range(from, to), falling, max);
            let records = picked.into_iter().map(Record::from);
            return records.map(|(key, value)| (key, Some(value))).collect();
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
            for put in &revisions.puts {
                match put {
                    Put::One((key, value)) => take(key, Some(value))?,
                    Put::Many(many) => (0..many.records.count())
                        .map(|nth| many.records.record(nth))
                        .try_for_each(|(key, value)| take(&key, Some(&value)))?,
                }
            }
            return revisions.deletes.iter().try_for_each(|k| take(k, None));
        }
        self.others.read()[bucket.slot()].iter().try_for_each(|(k, v)| take(k, v.as_ref()))
    }
}

fn first<T>(all: impl DoubleEndedIterator<Item = T>, falling: bool, max: usize) -> Vec<T> {
    if falling { all.rev().take(max).collect() } else { all.take(max).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The even numbers from one on.
    struct Even(u8, usize);

    impl Records for Even {
        fn count(&self) -> usize {
            self.1
        }

        fn bytes(&self) -> usize {
            3 * self.1
        }

        fn key(&self, nth: usize) -> Bytes {
            vec![self.0 + 2 * nth as u8].into()
        }

        fn record(&self, nth: usize) -> Record {
            (self.key(nth), vec![nth as u8; 2].into())
        }
    }

    #[test]
    fn records_kept_together_read_as_if_each_had_been_put() {
        // Alone, between others, and where keys do not rise or one was deleted.
        for script in 0..8 {
            let (many, each) = (Layer::default(), Layer::default());
            let put = |n: u8| {
                for layer in [&many, &each] {
                    layer.put(Bucket::Key, vec![n].into(), vec![n].into());
                }
            };
            let put_even = |from: u8, count: usize| {
                let even = Even(from, count);
                for (key, value) in (0..count).map(|nth| even.record(nth)) {
                    each.put(Bucket::Key, key, value);
                }
                many.put_many(Arc::new(even));
            };
            (script > 0).then(|| put(3));
            put_even(10, 5);
            (script > 1).then(|| put(30));
            (script > 2).then(|| put_even(40, 1));
            (script > 3).then(|| put(12));
            (script > 3).then(|| put(15));
            if script > 4 {
                for (layer, n) in [(&many, 5), (&each, 5), (&many, 62), (&each, 62)] {
                    layer.delete(Bucket::Key, &[n]);
                }
                put_even(50, 9);
            }
            if script > 5 {
                // Only those before are deleted; then one of them is.
                put_even(100, 3);
                for layer in [&many, &each] {
                    layer.delete(Bucket::Key, &[102]);
                }
            }
            (script > 6).then(|| put(100));
            assert_eq!((many.ops(), many.bytes()), (each.ops(), each.bytes()));
            assert_eq!(many.lowest(Bucket::Key), each.lowest(Bucket::Key));
            for n in 0..110 {
                assert_eq!(many.get(Bucket::Key, &[n]), each.get(Bucket::Key, &[n]), "{n}");
                for to in (0..110).map(Some).chain([None]) {
                    let to = to.map(|to| [to]);
                    let range = (&[n][..], to.as_ref().map(|to| &to[..]));
                    for (falling, max) in [(false, 100), (true, 100), (false, 3), (true, 3)] {
                        let read = |layer: &Layer| layer.range(Bucket::Key, range, falling, max);
                        assert_eq!(read(&many), read(&each), "{script}: {range:?} {falling}");
                    }
                }
            }
            let changes = |layer: &Layer| {
                let mut all = Vec::new();
                let take = |key: &Bytes, value: Option<&Bytes>| {
                    all.push((key.clone(), value.cloned()));
                    Ok::<(), ()>(())
                };
                layer.for_each_change(Bucket::Key, take).unwrap();
                all
            };
            assert_eq!(changes(&many), changes(&each));
        }
    }
}
