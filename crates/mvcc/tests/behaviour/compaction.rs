//! Compaction: what stays, what a crash in the middle leaves, how small its steps are.

use std::collections::BTreeSet;

use backend::{Bucket, schema};
use mvcc::{CompactProgress, Error, RangeQuery, Revision};

use crate::fixture::{Dice, Store, for_seeds, kv_of};
use crate::model::{Model, random_txn};

fn stored_revisions(store: &Store) -> Vec<i64> {
    let range = store.backend.range(Bucket::Key, &[], None);
    range.map(|item| mvcc::RecordKey::from_bytes(&item.unwrap().0).unwrap().revision.main).collect()
}

/// Some history in which keys are written, deleted and written again.
fn history(seed: u64, txns: usize) -> (Store, Model) {
    let mut dice = Dice::new(seed);
    let (mut store, mut model) = (Store::new(), Model::new());
    for _ in 0..txns {
        random_txn(&mut dice, &mut store, &mut model);
    }
    store.backend.commit().unwrap();
    (store, model)
}

fn assert_reads_as(store: &Store, model: &Model, from: i64) {
    for revision in from.max(1)..=model.current {
        let query = RangeQuery { revision, ..RangeQuery::range("a", "\0") };
        let answer = store.reader().range(&query).unwrap();
        let expected: Vec<_> = model.at(revision).into_values().collect();
        assert_eq!(answer.kvs.iter().map(kv_of).collect::<Vec<_>>(), expected, "at {revision}");
    }
}

#[test]
fn a_compaction_interrupted_at_any_step_is_resumed_and_ends_as_if_it_had_not_been() {
    for_seeds(4, |seed| {
        let (mut whole, model) = history(seed, 40);
        let at = model.current / 2;
        whole.compact(at);
        let expected = stored_revisions(&whole);
        for steps in 0..200 {
            let (mut store, model) = history(seed, 40);
            store.kv.compact(&mut store.backend, at).unwrap();
            let mut ended = false;
            for _ in 0..steps {
                ended |=
                    !matches!(store.kv.compact_step(&mut store.backend, 2).unwrap(), CompactProgress::More);
            }
            // Steps are committed or not, as the crash comes.
            if steps % 2 == 0 {
                store.backend.commit().unwrap();
            }
            store.reopen();
            assert_eq!(store.kv.compact_revision(), at);
            assert_reads_as(&store, &model, at);
            assert_eq!(store.kv.compacting(), !ended, "only what was cut short is resumed");
            assert_eq!(
                store.finish_compactions(),
                None,
                "a resumed compaction has not seen all, so it leaves no hash"
            );
            assert_eq!(stored_revisions(&store), expected);
            assert_eq!(store.hash(model.current), whole.hash(model.current));
            if ended {
                return;
            }
        }
        panic!("the compaction never ended");
    });
}

#[test]
fn power_lost_in_the_middle_of_a_compaction_loses_nothing_that_was_committed() {
    for_seeds(30, |seed| {
        let mut dice = Dice::new(seed);
        let (mut store, model) = history(seed, 30);
        let at = model.current / 2;
        let expected = store.hash(model.current);
        store.kv.compact(&mut store.backend, at).unwrap();
        for _ in 0..dice.below(30) {
            store.kv.compact_step(&mut store.backend, 2).unwrap();
            if dice.one_in(4) {
                store.backend.commit().unwrap();
            }
        }
        let mut store = store.crash(seed);
        assert_eq!(store.kv.current_revision(), model.current);
        assert_reads_as(&store, &model, at);
        if store.kv.compact_revision() == -1 {
            assert_eq!(
                store.hash(model.current),
                expected,
                "the mark was not committed, so nothing was deleted"
            );
            store.kv.compact(&mut store.backend, at).unwrap();
        }
        store.finish_compactions();
        assert_reads_as(&store, &model, at);
        assert_eq!(store.hash(model.current).1, at);
    });
}

#[test]
fn the_marks_in_meta_name_the_accepted_and_the_finished_compaction() {
    let (mut store, _) = history(1, 10);
    let mark = |store: &Store, key| store.backend.get(Bucket::Meta, key).unwrap();
    let five = Revision::new(5, 0).to_bytes();
    store.kv.compact(&mut store.backend, 5).unwrap();
    assert_eq!(mark(&store, schema::meta::SCHEDULED_COMPACT).unwrap(), five[..]);
    assert_eq!(mark(&store, schema::meta::FINISHED_COMPACT), None);
    store.finish_compactions();
    assert_eq!(mark(&store, schema::meta::FINISHED_COMPACT).unwrap(), five[..]);
}

#[test]
fn a_step_touches_no_more_records_than_its_budget() {
    let mut store = Store::new();
    for n in 0..5000 {
        store.put(&format!("{}", n % 2500), "v");
    }
    store.backend.commit().unwrap();
    store.kv.compact(&mut store.backend, 5001).unwrap();
    let mut steps = 0;
    while let CompactProgress::More = store.kv.compact_step(&mut store.backend, usize::MAX).unwrap() {
        steps += 1;
        assert!(store.backend.pending_ops() <= 1001, "{} changes in one step", store.backend.pending_ops());
        store.backend.commit().unwrap();
    }
    assert!((7..12).contains(&steps), "{steps} steps for 2500 keys and 5000 records");
    store.backend.commit().unwrap();
    assert_eq!(stored_revisions(&store).len(), 2500);
}

#[test]
fn a_step_ends_early_when_records_are_big() {
    let mut store = Store::new();
    let value = "v".repeat(256 << 10);
    for _ in 0..32 {
        store.put("k", &value);
    }
    store.backend.commit().unwrap();
    store.kv.compact(&mut store.backend, 33).unwrap();
    let mut before = store.backend.pending_ops();
    while let CompactProgress::More = store.kv.compact_step(&mut store.backend, 1000).unwrap() {
        let now = store.backend.pending_ops();
        assert!(now - before <= 4, "{} records of 256 KiB in one step", now - before);
        before = now;
    }
    store.backend.commit().unwrap();
    assert_eq!(stored_revisions(&store).len(), 1);
}

#[test]
fn writes_and_reads_go_on_between_the_steps() {
    for_seeds(8, |seed| {
        let mut dice = Dice::new(seed);
        let (mut store, mut model) = history(seed, 30);
        let at = model.current;
        let view = store.reader().view(at).unwrap();
        store.kv.compact(&mut store.backend, at).unwrap();
        while store.kv.compacting() {
            store.kv.compact_step(&mut store.backend, 3).unwrap();
            random_txn(&mut dice, &mut store, &mut model);
            store.backend.commit().unwrap();
            assert_reads_as(&store, &model, at);
            let pinned = view.range(&RangeQuery::range("a", "\0")).unwrap();
            let expected: Vec<_> = model.at(at).into_values().collect();
            assert_eq!(pinned.kvs.iter().map(kv_of).collect::<Vec<_>>(), expected);
        }
    });
}

#[test]
fn a_view_overtaken_by_a_compaction_says_so() {
    let (mut store, model) = history(3, 20);
    let view = store.reader().view(4).unwrap();
    store.compact(model.current);
    assert!(matches!(view.range(&RangeQuery::range("a", "\0")), Err(Error::Compacted)));
    assert!(matches!(store.reader().view(model.current - 1), Err(Error::Compacted)));
    assert!(store.reader().view(model.current).is_ok(), "the compact revision itself stays readable");
}

#[test]
fn compactions_wait_for_each_other_in_order() {
    let (mut store, model) = history(5, 30);
    let mut done = Vec::new();
    for revision in [4, 9, 15] {
        store.kv.compact(&mut store.backend, revision).unwrap();
    }
    while store.kv.compacting() {
        if let CompactProgress::Done { revision, .. } = store.kv.compact_step(&mut store.backend, 10).unwrap()
        {
            done.push(revision);
        }
    }
    assert_eq!(done, [4, 9, 15]);
    assert_reads_as(&store, &model, 15);
}

#[test]
fn only_records_that_reads_need_and_tombstones_of_the_compact_revision_stay() {
    for_seeds(10, |seed| {
        let (mut store, model) = history(seed, 40);
        let at = 2 + (seed as i64 * 7) % (model.current - 2);
        store.compact(at);
        let live: BTreeSet<i64> = model.at(at).values().map(|kv| kv.mod_revision).collect();
        for revision in stored_revisions(&store) {
            assert!(revision >= at || live.contains(&revision), "{revision} is left of compaction {at}");
        }
    });
}

#[test]
fn a_finished_compaction_leaves_deleted_keys_out_of_the_index() {
    let mut store = Store::new();
    store.put("gone", "v");
    store.delete("gone");
    store.put("stays", "v");
    assert_eq!(store.kv.indexed_keys(), 2);
    store.compact(4);
    assert_eq!(store.kv.indexed_keys(), 1);
}
