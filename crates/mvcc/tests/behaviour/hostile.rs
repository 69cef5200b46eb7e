//! Records nobody sane has written: refused with an error, never a panic.

use backend::Bucket;
use bytes::Bytes;
use mvcc::{Error, Kv, RangeQuery, Revision};
use prost::Message;
use proto::mvccpb::KeyValue;

use crate::fixture::{Dice, Store, for_seeds};

fn opened(records: Vec<(Vec<u8>, Vec<u8>)>) -> (Store, Result<(), Error>) {
    let mut store = Store::new();
    for (key, value) in records {
        store.backend.put(Bucket::Key, key.into(), value.into());
    }
    let answer = Kv::open(&mut store.backend).map(|(kv, _)| store.kv = kv);
    (store, answer)
}

fn record(key: &str) -> Vec<u8> {
    let key = Bytes::from(key.to_owned());
    KeyValue { key, create_revision: 2, mod_revision: 2, version: 1, ..Default::default() }.encode_to_vec()
}

fn at(main: i64, sub: i64) -> Vec<u8> {
    Revision::new(main, sub).to_bytes().to_vec()
}

fn gone(main: i64, sub: i64) -> Vec<u8> {
    Revision::new(main, sub).to_tombstone_bytes().to_vec()
}

#[test]
fn malformed_records_are_damage() {
    let bad_separator = [&at(2, 0)[..8], b"-", &at(2, 0)[9..]].concat();
    let bad = [
        (at(2, 0)[..16].to_vec(), record("a")),
        ([at(2, 0), vec![b'x']].concat(), record("a")),
        ([gone(2, 0), vec![b't']].concat(), record("a")),
        (bad_separator, record("a")),
        (at(2, 0), b"\x0a\xffnot a record".to_vec()),
        (at(i64::MAX, 0), record("a")),
    ];
    for (key, value) in bad {
        let (_, answer) = opened(vec![(key.clone(), value)]);
        assert!(matches!(answer, Err(Error::Damaged(_))), "{key:02x?}: {answer:?}");
    }
}

#[test]
fn a_put_and_a_tombstone_of_one_key_and_revision_are_damage() {
    let (_, answer) = opened(vec![(at(3, 0), record("a")), (gone(3, 0), record("a"))]);
    assert!(matches!(answer, Err(Error::Damaged(_))));
    let (_, answer) = opened(vec![(at(3, 0), record("a")), (gone(3, 0), record("b"))]);
    assert!(answer.is_ok(), "of different keys they are only odd");
}

#[test]
fn a_tombstone_of_an_unknown_key_and_a_second_one_are_taken() {
    let (store, answer) =
        opened(vec![(gone(5, 0), record("a")), (gone(6, 0), record("a")), (at(7, 0), record("a"))]);
    answer.unwrap();
    assert_eq!(store.kv.current_revision(), 7);
    let kv = store.reader().range(&RangeQuery { keys_only: true, ..RangeQuery::key("a") }).unwrap();
    let kv = KeyValue::decode(kv.kvs[0].clone()).unwrap();
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (7, 7, 1));
}

#[test]
fn a_list_says_less_than_it_promised_and_why_when_a_record_is_gone_or_has_another_length() {
    for changed in [None, Some("a"), Some("abc")] {
        let mut store = Store::new();
        (0..1000).for_each(|n| drop(store.put(&format!("{n:03}"), "ab")));
        store.backend.commit().unwrap();
        let stored = at(502, 0);
        match changed {
            None => store.backend.delete(Bucket::Key, &stored),
            Some(value) => {
                let kv = KeyValue { value: value.into(), ..store.get("500").unwrap() };
                store.backend.put(Bucket::Key, stored.into(), kv.encode_to_vec().into());
            }
        }
        store.backend.commit().unwrap();
        let list = store.reader().list(&RangeQuery::range("0", "\0")).unwrap();
        let (promised, mut sent) = (list.encoded_len(), 0);
        let mut answers = list.inspect(|answer| sent += answer.as_ref().map_or(0, |record| 2 + record.len()));
        let error = answers.by_ref().find_map(Result::err);
        assert!(matches!(error, Some(Error::Damaged(_))), "{changed:?}: {error:?}");
        assert!(answers.next().is_none(), "{changed:?}");
        assert!(0 < sent && sent < promised, "{changed:?}: {sent}");
    }
}

#[test]
fn an_empty_record_that_only_raises_the_revision_is_taken() {
    // What `etcdutl snapshot restore --bump-revision` writes.
    let (mut store, answer) = opened(vec![(at(2, 0), record("a")), (at(1_000_000_000, 0), Vec::new())]);
    answer.unwrap();
    assert_eq!(store.kv.current_revision(), 1_000_000_000);
    store.put("b", "1");
    assert_eq!(store.get("b").unwrap().mod_revision, 1_000_000_001);
    assert_eq!(store.reader().range(&RangeQuery::range("\0", "\0")).unwrap().count, 2);
    store.reader().hash_kv(0).unwrap();
    store.compact(1_000_000_001);
}

#[test]
fn malformed_compaction_marks_are_damage() {
    for value in [&b""[..], b"short", &gone(3, 0), &[0xff; 17]] {
        for key in ["scheduledCompactRev", "finishedCompactRev"] {
            let mut store = Store::new();
            store.backend.put(Bucket::Meta, key.into(), Bytes::copy_from_slice(value));
            assert!(matches!(Kv::open(&mut store.backend), Err(Error::Damaged(_))), "{key} {value:02x?}");
        }
    }
}

#[test]
fn marks_above_all_records_raise_the_current_revision() {
    let mut store = Store::new();
    store.backend.put(Bucket::Meta, "scheduledCompactRev".into(), at(40, 0).into());
    store.reopen();
    assert_eq!((store.kv.current_revision(), store.kv.compact_revision()), (40, 40));
    store.finish_compactions();
    store.put("a", "1");
    assert_eq!(store.get("a").unwrap().mod_revision, 41);
}

#[test]
fn random_records_never_panic() {
    for_seeds(400, |seed| {
        let mut dice = Dice::new(seed);
        let mut store = Store::new();
        for _ in 0..1 + dice.below(12) {
            let mut key = at(dice.below(6) as i64, dice.below(3) as i64);
            if dice.one_in(3) {
                key.push(b't');
            }
            let mut value = record(&dice.key());
            let edits = if dice.one_in(3) { 1 + dice.below(3) } else { 0 };
            for _ in 0..edits {
                let target = if dice.one_in(2) { &mut key } else { &mut value };
                let place = dice.below(target.len() as u64) as usize;
                match dice.below(3) {
                    0 => target[place] = dice.below(256) as u8,
                    1 => target.truncate(place.max(1)),
                    _ => target.insert(place, dice.below(256) as u8),
                }
            }
            store.backend.put(Bucket::Key, key.into(), value.into());
        }
        if dice.one_in(3) {
            store.backend.put(Bucket::Meta, "scheduledCompactRev".into(), at(dice.below(8) as i64, 0).into());
        }
        let Ok((kv, _)) = Kv::open(&mut store.backend) else { return };
        store.kv = kv;
        use_everything(&mut store, &mut dice);
    });
}

/// Whatever was accepted must also be survived later; errors are fine.
fn use_everything(store: &mut Store, dice: &mut Dice) {
    let reader = store.reader();
    for revision in 0..8 {
        let query = RangeQuery { revision, ..RangeQuery::range("\0", "\0") };
        if let Ok(answer) = reader.range(&query) {
            let list = reader.list(&query).unwrap();
            let as_field = |record: &Bytes| 1 + prost::length_delimiter_len(record.len()) + record.len();
            assert_eq!(list.encoded_len(), answer.kvs.iter().map(as_field).sum::<usize>());
            assert!(list.map(Result::unwrap).eq(answer.kvs));
        }
        let _ = reader.range(&RangeQuery { sort_target: mvcc::SortTarget::Value, ..query });
        let _ = reader.hash_kv(revision);
    }
    let _ = reader.hash();
    let mut hub = mvcc::watch::WatchHub::new(store.kv.current_revision());
    let spec =
        mvcc::watch::WatchSpec { end: "\0".into(), start_revision: 1, prev_kv: true, ..Default::default() };
    let _ = hub.add(mvcc::watch::StreamId(1), spec, store.kv.current_revision());
    let _ = hub.catch_up_step(&reader, 100);
    let mut txn = store.kv.begin(&mut store.backend);
    let _ = txn.put(dice.key().into(), "v".into(), 1);
    let _ = txn.delete_range(dice.key().into(), dice.end().into());
    txn.finish();
    let at = dice.below(store.kv.current_revision() as u64 + 1) as i64;
    let _ = store.kv.compact(&mut store.backend, at);
    for _ in 0..100 {
        if store.kv.compact_step(&mut store.backend, 3).is_err() {
            break;
        }
    }
}
