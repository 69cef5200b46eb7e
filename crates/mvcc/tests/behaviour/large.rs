//! A delete of many keys is stored and told in another form than one of a few: nobody must be able to tell.

use std::sync::Arc;

use backend::Bucket;
use bytes::Bytes;
use mvcc::watch::{Kind, StreamId, WatchHub, WatchSpec};
use mvcc::{Deleted, Event, EventBatch, RangeQuery, WriteTxn};

use crate::fixture::Store;

/// So long that a hundred keys do not go into one piece.
fn key(nth: usize) -> Bytes {
    format!("{nth:04}-{}", "x".repeat(20_000)).into()
}

fn filled() -> Store {
    let mut store = Store::new();
    let mut txn = store.kv.begin(&mut store.backend);
    for nth in 0..150 {
        txn.put(key(nth), format!("{nth}").into(), 0).unwrap();
    }
    txn.finish().unwrap();
    (0..150).step_by(7).for_each(|nth| drop(store.put(std::str::from_utf8(&key(nth)).unwrap(), "again")));
    store.backend.commit().unwrap();
    store
}

/// Deletes what lies between two keys, with others before, between and behind.
fn change(
    store: &mut Store,
    delete: impl Fn(&mut WriteTxn<'_>, usize, usize) -> Vec<Deleted>,
) -> Arc<EventBatch> {
    let mut txn = store.kv.begin(&mut store.backend);
    let mut gone = Vec::new();
    txn.put(key(3), "before".into(), 0).unwrap();
    gone.extend(delete(&mut txn, 2, 110));
    txn.put(key(50), "between".into(), 0).unwrap();
    gone.extend(delete(&mut txn, 40, 60));
    gone.extend(delete(&mut txn, 100, 149));
    txn.put(key(120), "behind".into(), 0).unwrap();
    let keys = (2..110).chain([50]).chain(110..149).map(key);
    assert!(gone.iter().flat_map(Deleted::keys).eq(keys));
    let gone: Vec<usize> = gone.iter().map(Deleted::len).filter(|len| *len > 0).collect();
    assert_eq!(gone.iter().sum::<usize>(), 108 + 1 + 39);
    assert_eq!(txn.changes(), 3 + 108 + 1 + 39);
    assert!(txn.get(&key(70)).unwrap().is_none());
    txn.finish().unwrap()
}

fn by_range(txn: &mut WriteTxn<'_>, from: usize, to: usize) -> Vec<Deleted> {
    vec![txn.delete_range(key(from), key(to)).unwrap()]
}

fn by_keys(txn: &mut WriteTxn<'_>, from: usize, to: usize) -> Vec<Deleted> {
    let keys: Vec<Bytes> = (from..to).map(key).collect();
    vec![txn.delete_keys(&keys).unwrap()]
}

fn one_by_one(txn: &mut WriteTxn<'_>, from: usize, to: usize) -> Vec<Deleted> {
    (from..to).map(|nth| txn.delete_range(key(nth), Bytes::new()).unwrap()).collect()
}

fn records(store: &Store) -> Vec<(Bytes, Bytes)> {
    store.backend.range(Bucket::Key, b"", None).map(Result::unwrap).collect()
}

/// All that can be read: records, and lists at every revision.
fn contents(store: &Store) -> Vec<(Bytes, Bytes)> {
    let mut all = records(store);
    for (record, value) in &all {
        assert_eq!(store.backend.get(Bucket::Key, record).unwrap().as_ref(), Some(value));
    }
    for at in 2..=store.kv.current_revision() {
        let query = RangeQuery { revision: at, ..RangeQuery::range("0", "\0") };
        let list = store.reader().range(&query).unwrap();
        let count = RangeQuery { count_only: true, ..query };
        assert_eq!(store.reader().range(&count).unwrap().count, list.kvs.len() as i64);
        all.extend(list.kvs.into_iter().map(|kv| (Bytes::copy_from_slice(&at.to_be_bytes()), kv)));
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

#[test]
fn a_large_delete_reads_and_is_watched_as_many_small_ones() {
    let mut all = Vec::new();
    for delete in [by_range, by_keys, one_by_one] {
        let mut store = filled();
        let batch = change(&mut store, delete);
        assert_eq!(batch.events().len(), 3 + 108 + 1 + 39);
        let before = contents(&store);
        let (now, history) = (watched(&store, 0, &batch), watched(&store, 2, &batch));
        let hash = store.hash(0);
        assert!(store.backend.seal());
        assert_eq!(contents(&store), before, "sealed");
        store.backend.commit().unwrap();
        assert_eq!(contents(&store), before, "in the file");
        store.put("behind", "");
        let mut store = store.crash(1);
        assert_eq!((contents(&store), store.hash(0)), (before.clone(), hash), "after a crash");
        let compacted = (store.compact(batch.revision), records(&store));
        all.push((batch.events().to_vec(), before, now, history, hash, compacted));
    }
    assert!(all[0] == all[2], "by range");
    assert!(all[1] == all[2], "by keys");
    let (events, _, now, history, ..) = &all[0];
    assert_eq!(now.len(), events.len());
    assert!(now.iter().zip(events).all(|(got, made)| (&got.key, &got.record) == (&made.key, &made.record)));
    assert!(now.iter().filter(|event| event.key == key(70)).all(|event| event.prev_kv.is_some()));
    assert!(history.ends_with(now) && history.len() > now.len() + 150);
}
