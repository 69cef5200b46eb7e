//! A delete of many keys is stored and told in another form than one of a few: nobody must be able to tell.

use std::sync::Arc;
use std::time::{Duration, Instant};

use backend::Bucket;
use bytes::Bytes;
use mvcc::watch::{Kind, StreamId, WatchHub, WatchSpec};
use mvcc::{Deleted, Event, EventBatch, RangeQuery, WriteTxn};

use crate::fixture::Store;

/// How many keys there are, and how long they are.
#[derive(Clone, Copy)]
struct Size {
    keys: usize,
    bytes: usize,
}

impl Size {
    fn key(self, nth: usize) -> Bytes {
        format!("{nth:04}-{}", "x".repeat(self.bytes)).into()
    }

    /// The key at that part of all.
    fn at(self, percent: usize) -> usize {
        self.keys * percent / 100
    }
}

fn filled(size: Size) -> Store {
    let mut store = Store::new();
    let mut txn = store.kv.begin(&mut store.backend);
    for nth in 0..size.keys {
        txn.put(size.key(nth), format!("{nth}").into(), 0).unwrap();
    }
    txn.finish().unwrap();
    for nth in (0..size.keys).step_by(size.keys / 20) {
        store.put(std::str::from_utf8(&size.key(nth)).unwrap(), "again");
    }
    store.backend.commit().unwrap();
    store
}

type Delete = fn(&mut WriteTxn<'_>, Size, usize, usize) -> Vec<Deleted>;

/// Deletes what lies between some keys, with puts before, between and behind.
fn change(store: &mut Store, size: Size, delete: Delete) -> Arc<EventBatch> {
    let mut txn = store.kv.begin(&mut store.backend);
    let [low, middle, high, end] = [2, 40, 75, 99].map(|percent| size.at(percent));
    let mut gone = Vec::new();
    txn.put(size.key(low + 1), "before".into(), 0).unwrap();
    gone.extend(delete(&mut txn, size, low, high));
    txn.put(size.key(middle), "between".into(), 0).unwrap();
    gone.extend(delete(&mut txn, size, middle - 10, middle + 10));
    gone.extend(delete(&mut txn, size, high - 10, end));
    txn.put(size.key(high + 3), "behind".into(), 0).unwrap();
    let keys = (low..high).chain([middle]).chain(high..end).map(|nth| size.key(nth));
    assert!(gone.iter().flat_map(Deleted::keys).eq(keys));
    assert_eq!(gone.iter().map(Deleted::len).sum::<usize>(), end - low + 1);
    assert_eq!(txn.changes(), 3 + end - low + 1);
    assert!(txn.get(&size.key(low + 1)).unwrap().is_none());
    txn.finish().unwrap()
}

fn by_range(txn: &mut WriteTxn<'_>, size: Size, from: usize, to: usize) -> Vec<Deleted> {
    vec![txn.delete_range(size.key(from), size.key(to)).unwrap()]
}

fn by_keys(txn: &mut WriteTxn<'_>, size: Size, from: usize, to: usize) -> Vec<Deleted> {
    let keys: Vec<Bytes> = (from..to).map(|nth| size.key(nth)).collect();
    vec![txn.delete_keys(&keys).unwrap()]
}

fn one_by_one(txn: &mut WriteTxn<'_>, size: Size, from: usize, to: usize) -> Vec<Deleted> {
    (from..to).map(|nth| txn.delete_range(size.key(nth), Bytes::new()).unwrap()).collect()
}

fn records(store: &Store) -> Vec<(Bytes, Bytes)> {
    let tx = store.backend.read();
    let all: Vec<_> = tx.range(Bucket::Key, b"", None).map(Result::unwrap).collect();
    let mut falling: Vec<_> = tx.range_rev(Bucket::Key, b"", None).map(Result::unwrap).collect();
    falling.reverse();
    let mut shown = Vec::new();
    tx.for_each(Bucket::Key, b"", None, |key, value| {
        shown.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
        Ok::<(), backend::Error>(())
    })
    .unwrap();
    assert!(falling == all && shown == all);
    all
}

/// All that can be read: records, and lists and hashes at every revision that is kept.
fn contents(store: &Store) -> Vec<(Bytes, Bytes)> {
    let mut all = records(store);
    for (record, value) in &all {
        assert_eq!(store.backend.get(Bucket::Key, record).unwrap().as_ref(), Some(value));
    }
    for at in store.kv.compact_revision().max(2)..=store.kv.current_revision() {
        let query = RangeQuery { revision: at, ..RangeQuery::range("0", "\0") };
        let list = store.reader().range(&query).unwrap();
        let count = RangeQuery { count_only: true, ..query };
        assert_eq!(store.reader().range(&count).unwrap().count, list.kvs.len() as i64);
        let at_bytes = Bytes::copy_from_slice(&at.to_be_bytes());
        all.extend(list.kvs.into_iter().map(|kv| (at_bytes.clone(), kv)));
        // The hash that a compaction left for its revision is gone after a start.
        if at > store.kv.compact_revision() {
            all.push((at_bytes, format!("{:?}", store.hash(at)).into()));
        }
    }
    all
}

/// What a watcher from `start` on is told, by a batch if it is one of that revision, and otherwise from history.
fn watched(store: &Store, start: i64, batch: &Arc<EventBatch>) -> Vec<Event> {
    let (reader, stream) = (store.reader(), StreamId(1));
    let mut hub = WatchHub::new(batch.revision - 1);
    let (first, end) = ("0".into(), "\0".into());
    let spec = WatchSpec { key: first, end, start_revision: start, prev_kv: true, ..WatchSpec::default() };
    hub.add(stream, spec, batch.revision - 1).unwrap();
    hub.notify(batch, &reader).unwrap();
    let mut events = Vec::new();
    loop {
        while hub.has_lagging() {
            hub.catch_up_step(&reader, 13).unwrap();
        }
        let outputs = hub.poll(stream, usize::MAX);
        if outputs.is_empty() {
            return events;
        }
        for output in outputs {
            if let Kind::Events { events: some, .. } = output.kind {
                events.extend(some.iter().cloned());
            }
        }
    }
}

fn compare(size: Size) {
    let mut all = Vec::new();
    for delete in [by_range as Delete, by_keys, one_by_one] {
        let mut store = filled(size);
        let batch = change(&mut store, size, delete);
        assert_eq!(batch.events().len(), batch.len());
        assert_eq!(batch.puts().count(), 3);
        let before = contents(&store);
        let (now, history) = (watched(&store, 0, &batch), watched(&store, 2, &batch));
        assert!(store.backend.seal());
        assert!(contents(&store) == before, "sealed");
        store.backend.commit().unwrap();
        assert!(contents(&store) == before, "in the file");
        all.push((batch.events().to_vec(), before, now, history));
    }
    assert!(all[0] == all[2], "by range");
    assert!(all[1] == all[2], "by keys");
    let (events, _, now, history) = &all[0];
    assert_eq!(now.len(), events.len());
    assert!(now.iter().zip(events).all(|(got, made)| (&got.key, &got.record) == (&made.key, &made.record)));
    let gone = size.key(size.at(50));
    assert!(now.iter().filter(|event| event.key == gone).all(|event| event.prev_kv.is_some()));
    assert!(history.ends_with(now) && history.len() > now.len() + size.keys);
}

#[test]
fn a_large_delete_reads_and_is_watched_as_many_small_ones() {
    compare(Size { keys: 1600, bytes: 4 });
}

#[test]
fn long_keys_are_kept_in_several_pieces() {
    compare(Size { keys: 300, bytes: 1000 });
    compare(Size { keys: 60, bytes: 20_000 });
}

#[test]
fn a_large_delete_is_compacted_as_many_small_ones() {
    let (short, long) = (Size { keys: 1600, bytes: 4 }, Size { keys: 300, bytes: 1000 });
    // Below the delete, at it, above it; and after a key of it was put again.
    for (size, back, puts) in [
        (short, 1, 0),
        (short, 0, 0),
        (short, -1, 1),
        (short, 0, 1),
        (short, 1, 1),
        (long, 0, 1),
        (long, 1, 0),
    ] {
        let mut all = Vec::new();
        for delete in [by_range as Delete, one_by_one] {
            let mut store = filled(size);
            let batch = change(&mut store, size, delete);
            for nth in 0..puts {
                store.put(std::str::from_utf8(&size.key(size.at(50) + nth)).unwrap(), "new");
            }
            store.compact(batch.revision - back);
            let live = contents(&store);
            store.reopen();
            assert!(contents(&store) == live, "read anew");
            store.put("behind", "");
            store.backend.commit().unwrap();
            let store = store.crash(1);
            all.push((live, contents(&store)));
        }
        assert!(all[0] == all[1], "{back} {puts}");
    }
}

#[test]
fn a_key_that_lives_often_costs_no_more_each_time() {
    let mut store = Store::new();
    let mut lives = |count| {
        let start = Instant::now();
        for _ in 0..count {
            store.put("key", "");
            store.delete("key").unwrap();
        }
        start.elapsed()
    };
    let first = lives(5000);
    lives(20_000);
    // Copying the lives before would take eleven times as long by now.
    let last = lives(5000);
    assert!(last < 3 * first + Duration::from_secs(1), "{first:?}, then {last:?}");
}
