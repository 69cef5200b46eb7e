//! The corners of Range (formats 9.4), one by one; the model test covers their combinations.

use bytes::Bytes;
use mvcc::{RangeQuery, SortOrder, SortTarget};

use crate::fixture::{Store, kv_of};

fn keys(store: &Store, query: &RangeQuery) -> String {
    let answer = store.reader().range(query).unwrap();
    answer.kvs.iter().map(|kv| String::from_utf8(kv_of(kv).key.to_vec()).unwrap()).collect()
}

/// Keys a to e whose values run the other way.
fn five() -> Store {
    let mut store = Store::new();
    for (key, value) in ["a", "b", "c", "d", "e"].into_iter().zip(["5", "4", "3", "2", "1"]) {
        store.put(key, value);
    }
    store
}

#[test]
fn a_limit_without_direction_cuts_before_it_sorts_and_with_direction_behind() {
    let store = five();
    let query = RangeQuery { limit: 2, sort_target: SortTarget::Value, ..RangeQuery::range("a", "\0") };
    assert_eq!(keys(&store, &query), "cb", "the first three keys, sorted by value, then two of them");
    let query = RangeQuery { sort_order: SortOrder::Ascend, ..query };
    assert_eq!(keys(&store, &query), "ed");
}

#[test]
fn count_ignores_limit_and_filters_but_more_heeds_filters() {
    let store = five();
    let query = RangeQuery { limit: 2, min_mod_revision: 5, ..RangeQuery::range("a", "\0") };
    let answer = store.reader().range(&query).unwrap();
    assert_eq!((answer.kvs.len(), answer.count, answer.more), (2, 5, false));
    assert_eq!(keys(&store, &query), "de");
}

#[test]
fn count_only_answers_no_records_and_never_more() {
    let query = RangeQuery { count_only: true, limit: 1, ..RangeQuery::range("a", "d") };
    let answer = five().reader().range(&query).unwrap();
    assert_eq!((answer.kvs.len(), answer.count, answer.more), (0, 3, false));
}

#[test]
fn keys_only_leaves_out_the_lease_unless_sorted_by_value() {
    let mut store = Store::new();
    let mut txn = store.kv.begin(&mut store.backend);
    txn.put("a".into(), "v".into(), 7).unwrap();
    txn.finish();
    let query = RangeQuery { keys_only: true, ..RangeQuery::key("a") };
    let lease = |query: &RangeQuery| {
        let kv = kv_of(&store.reader().range(query).unwrap().kvs[0]);
        assert_eq!((kv.value.len(), kv.create_revision, kv.mod_revision, kv.version), (0, 2, 2, 1));
        kv.lease
    };
    assert_eq!(lease(&query), 0);
    assert_eq!(lease(&RangeQuery { sort_target: SortTarget::Value, ..query }), 7);
}

#[test]
fn a_range_that_ends_before_it_begins_is_empty() {
    let store = five();
    assert_eq!(keys(&store, &RangeQuery::range("d", "b")), "");
    assert_eq!(keys(&store, &RangeQuery::range("b", "b")), "");
    assert_eq!(keys(&store, &RangeQuery::key("bb")), "");
}

#[test]
fn the_last_keys_can_be_had_first() {
    let query = RangeQuery { limit: 2, sort_order: SortOrder::Descend, ..RangeQuery::range("a", "\0") };
    let answer = five().reader().range(&query).unwrap();
    assert_eq!((answer.count, answer.more), (5, true));
    assert_eq!(keys(&five(), &query), "ed");
}

#[test]
fn ranges_longer_than_one_turn_at_the_index_are_whole() {
    let mut store = Store::new();
    let mut txn = store.kv.begin(&mut store.backend);
    for n in 0..2000 {
        txn.put(format!("{n:04}").into(), "v".into(), 0).unwrap();
    }
    txn.finish();
    let answer = store.reader().range(&RangeQuery::range("0000", "1999")).unwrap();
    assert_eq!((answer.kvs.len(), answer.count), (1999, 1999));
    for (n, kv) in answer.kvs.iter().enumerate() {
        assert_eq!(kv_of(kv).key, format!("{n:04}"));
    }
    let limited = RangeQuery { limit: 700, ..RangeQuery::range("0100", "\0") };
    let answer = store.reader().range(&limited).unwrap();
    assert_eq!((answer.kvs.len(), answer.count, answer.more), (700, 1900, true));
}

#[test]
fn a_long_list_is_what_it_was_whatever_happens_before_it_is_read() {
    let mut store = Store::new();
    let keys = 30_000_u64;
    // In no order, some of them twice, some not yet in the file.
    for n in (0..keys).chain(0..keys / 3) {
        let mut txn = store.kv.begin(&mut store.backend);
        let key = format!("{:08}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (keys * 4));
        txn.put(key.into(), n.to_string().repeat(1 + n as usize % 20).into(), 0).unwrap();
        txn.finish();
        if n == keys - 1 {
            store.backend.commit().unwrap();
        }
    }
    // As it was before the second puts: of a third the index does not know the length.
    let query = RangeQuery { revision: 1 + keys as i64, ..RangeQuery::range("0", "\0") };
    let (expected, list) = (store.reader().range(&query).unwrap(), store.reader().list(&query).unwrap());
    assert!(list.map(Result::unwrap).eq(expected.kvs));
    let query = RangeQuery { limit: 25_000, ..RangeQuery::range("0", "\0") };
    let expected = store.reader().range(&query).unwrap();
    let mut list = store.reader().list(&query).unwrap();
    assert_eq!((list.len(), list.total(), list.more()), (25_000, expected.count, true));
    let framed = |record: &Bytes| 1 + if record.len() < 128 { 1 } else { 2 } + record.len();
    assert_eq!(list.encoded_len(), expected.kvs.iter().map(framed).sum::<usize>());
    assert!(list.by_ref().take(100).map(Result::unwrap).eq(expected.kvs[..100].iter().cloned()));
    store.delete_range("0", "\0");
    store.compact(store.kv.current_revision());
    store.backend.commit().unwrap();
    for n in 0..1000 {
        store.put(&format!("new-{n}"), &"x".repeat(1000));
        if n % 100 == 0 {
            store.backend.commit().unwrap();
        }
    }
    assert_eq!(list.len(), 24_900);
    assert!(list.map(Result::unwrap).eq(expected.kvs[100..].iter().cloned()));
    assert_eq!(store.reader().range(&RangeQuery::range("0", "1")).unwrap().count, 0);
}
