//! Readers on other threads while the writer writes, commits and compacts.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use mvcc::{Error, RangeQuery};

use crate::fixture::{Dice, Store, cases, kv_of};

const KEYS: u64 = 40;

/// Every txn of the writer gives all keys of a group the same value, so a reader must never see them differ.
fn write(store: &mut Store, txns: u64) {
    let mut dice = Dice::new(1);
    let committer = store.backend.committer();
    for n in 0..txns {
        let mut txn = store.kv.begin(&mut store.backend);
        for key in 0..KEYS {
            txn.put(format!("{key:03}").into(), n.to_string().into(), 0).unwrap();
        }
        if dice.one_in(5) {
            txn.delete_range("1".into(), "2".into()).unwrap();
        }
        txn.finish();
        if dice.one_in(4) && store.backend.seal() {
            committer.commit_sealed().unwrap();
        }
        if dice.one_in(20) {
            let at = store.kv.current_revision() - dice.below(5) as i64;
            let _ = store.kv.compact(&mut store.backend, at);
        }
        store.kv.compact_step(&mut store.backend, 50).unwrap();
    }
}

#[test]
fn readers_see_whole_txns_only_and_never_lose_a_record() {
    let mut store = Store::new();
    write(&mut store, 1);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for seed in 0..2 {
            let reader = store.reader();
            let stop = &stop;
            scope.spawn(move || {
                let mut dice = Dice::new(seed);
                let mut newest = 0;
                while !stop.load(Ordering::Relaxed) {
                    let answer = reader.range(&RangeQuery::range("000", "100")).unwrap();
                    assert_eq!((answer.kvs.len(), answer.count), (KEYS as usize, KEYS as i64));
                    assert!(answer.revision >= newest, "the current revision went back");
                    newest = answer.revision;
                    for record in &answer.kvs {
                        assert_eq!(kv_of(record).mod_revision, newest, "a txn seen in part");
                    }
                    let past = (newest - dice.below(10) as i64).max(2);
                    match reader.range(&RangeQuery { revision: past, ..RangeQuery::range("000", "100") }) {
                        Ok(answer) => assert!(answer.kvs.iter().all(|kv| kv_of(kv).mod_revision == past)),
                        Err(error) => assert!(matches!(error, Error::Compacted), "{error}"),
                    }
                    if dice.one_in(10) {
                        match reader.hash_kv(past) {
                            // A compaction may have left its hash, which then answers twice alike too.
                            Ok(hash) => match reader.hash_kv(past) {
                                Ok(again) if again.compact_revision == hash.compact_revision => {
                                    assert_eq!(again.hash, hash.hash);
                                }
                                Ok(_) | Err(Error::Compacted) => {}
                                Err(error) => panic!("{error}"),
                            },
                            Err(error) => assert!(matches!(error, Error::Compacted), "{error}"),
                        }
                    }
                }
            });
        }
        write(&mut store, cases(150));
        stop.store(true, Ordering::Relaxed);
    });
}
