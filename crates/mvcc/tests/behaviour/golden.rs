//! Hashes and bytes seen identically on etcd 3.5.1, 3.6.14 and 3.7.1 (formats, Appendix C).

use backend::Bucket;
use mvcc::{Error, Revision};

use crate::fixture::Store;

fn records(store: &Store) -> Vec<(Vec<u8>, Vec<u8>)> {
    let range = store.backend.range(Bucket::Key, &[], None);
    range.map(|item| item.unwrap()).map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
}

#[test]
fn an_empty_store_hashes_as_etcd_does() {
    assert_eq!(Store::new().hash(0), (1084519789, -1));
}

#[test]
fn a_tombstone_exactly_at_the_compact_revision_is_not_hashed_even_if_nothing_is_kept() {
    let mut store = Store::new();
    store.put("a", "1");
    store.delete("a");
    store.compact(3);
    store.reopen(); // forgets the hash that the compaction left
    assert_eq!(records(&store).len(), 1, "the tombstone itself stays");
    assert_eq!(store.hash(3), (1084519789, 3), "that of an empty store");
}

#[test]
fn the_first_put_has_etcds_bytes_and_hash() {
    let mut store = Store::new();
    store.put("foo", "bar");
    let value = b"\x0a\x03foo\x10\x02\x18\x02\x20\x01\x2a\x03bar".to_vec();
    assert_eq!(records(&store), [(Revision::new(2, 0).to_bytes().to_vec(), value)]);
    assert_eq!(store.hash(2), (3305255506, -1));
}

#[test]
fn a_single_put_of_a_hashes_as_etcd_does() {
    let mut store = Store::new();
    store.put("a", "a");
    assert_eq!(store.hash(2), (3407656708, -1));
}

/// Puts and deletes from revision 2 to 9.
fn history() -> Store {
    let mut store = Store::new();
    store.put("a", "1");
    store.put("b", "1");
    store.delete("a");
    store.put("c", "1");
    store.put("b", "2");
    store.delete("c");
    store.put("a", "5");
    store.delete("a");
    assert_eq!(store.kv.current_revision(), 9);
    store
}

#[test]
fn a_history_of_puts_deletes_and_compactions_hashes_as_etcd_does() {
    let mut store = history();
    assert_eq!(store.hash(9), (3257526883, -1));
    store.compact(4);
    assert_eq!(store.hash(4), (3105699308, -1));
    assert_eq!(store.hash(9), (469631231, 4));
    let tombstone = Revision::new(4, 0).to_tombstone_bytes();
    assert!(
        records(&store).iter().any(|(key, _)| *key == tombstone),
        "a tombstone at the compact revision stays"
    );
    store.put("d", "1");
    store.compact(7);
    assert_eq!(store.hash(7), (1450921788, 4));
    assert_eq!(store.hash(8), (266715925, 7));
    assert_eq!(store.hash(9), (2446126968, 7));
    assert_eq!(store.hash(10), (1217607143, 7));
    store.compact(10);
    let keys: Vec<Vec<u8>> = records(&store).into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, [Revision::new(6, 0).to_bytes(), Revision::new(10, 0).to_bytes()]);
}

#[test]
fn hashes_do_not_change_with_a_restart_or_while_deletes_are_pending() {
    let mut store = history();
    store.kv.compact(&mut store.backend, 4).unwrap();
    assert_eq!(store.hash(9), (469631231, 4), "accepted only");
    while store.kv.compacting() {
        store.kv.compact_step(&mut store.backend, 1).unwrap();
        assert_eq!(store.hash(9), (469631231, 4), "under way");
    }
    assert_eq!(store.hash(9), (469631231, 4), "not committed");
    store.backend.commit().unwrap();
    store.reopen();
    assert_eq!(store.hash(9), (469631231, 4), "restarted");
    assert!(store.hash(4) != (3105699308, -1), "the list of compaction hashes is memory only");
}

#[test]
fn a_hash_of_a_store_whose_keys_are_all_gone_ignores_deletes_that_are_not_committed() {
    // An empty set of kept revisions filters nothing, so what the layers still show must be left out otherwise.
    let mut store = Store::new();
    for _ in 0..3 {
        store.put("a", "1");
    }
    store.delete("a");
    store.kv.compact(&mut store.backend, 4).unwrap();
    while store.kv.compacting() {
        store.kv.compact_step(&mut store.backend, 1000).unwrap();
    }
    let pending = store.hash(5);
    store.backend.commit().unwrap();
    assert_eq!(records(&store).len(), 2);
    assert_eq!(store.hash(5), pending);
}

#[test]
fn only_the_ten_newest_compactions_leave_their_hash() {
    let mut store = Store::new();
    for _ in 0..12 {
        store.put("a", "1");
    }
    let mut hashes = Vec::new();
    for revision in 2..=12 {
        let hash = store.compact(revision).unwrap();
        assert_eq!(
            (hash.hash_revision, hash.compact_revision),
            (revision, if revision == 2 { -1 } else { revision - 1 })
        );
        hashes.push((revision, hash.hash));
    }
    for (revision, hash) in hashes.drain(1..) {
        assert_eq!(store.hash(revision), (hash, if revision == 2 { -1 } else { revision - 1 }));
    }
    assert!(matches!(store.reader().hash_kv(2), Err(Error::Compacted)), "the eleventh is forgotten");
    assert!(matches!(store.reader().hash_kv(14), Err(Error::FutureRevision)));
}

#[test]
fn a_compaction_accepted_while_another_is_under_way_leaves_no_hash() {
    let mut store = history();
    store.kv.compact(&mut store.backend, 4).unwrap();
    store.kv.compact(&mut store.backend, 7).unwrap();
    assert_eq!(store.finish_compactions(), None);
    assert_eq!(store.hash(4), (3105699308, -1));
    assert_eq!(store.hash(7).1, 7);
}

#[test]
fn compacting_revision_0_is_accepted_once_and_then_answers_for_hash_0() {
    let mut store = history();
    let hash = store.compact(0).unwrap();
    assert!(matches!(store.kv.compact(&mut store.backend, 0), Err(Error::Compacted)));
    assert_eq!((hash.compact_revision, hash.hash_revision, hash.revision), (-1, 0, 9));
    assert_eq!(store.hash(0), (crc32c::crc32c(b"key"), -1));
}

#[test]
fn the_hash_of_the_whole_backend_leaves_out_what_differs_between_equal_members() {
    let mut store = history();
    store.backend.commit().unwrap();
    let before = store.reader().hash().unwrap();
    for key in [&b"consistent_index"[..], b"term", b"storageVersion"] {
        store.backend.put(Bucket::Meta, key.to_vec().into(), "12345678".into());
    }
    assert_eq!(store.reader().hash().unwrap(), before);
    store.backend.put(Bucket::Meta, "confState".into(), "{}".into());
    assert_ne!(store.reader().hash().unwrap(), before);
}
