//! The store compared, step by step, with a model that keeps every change in a list.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use mvcc::{Error, EventKind, RangeQuery, SortOrder, SortTarget};
use prost::Message;
use proto::mvccpb::KeyValue;

use crate::fixture::{Dice, Store, for_seeds, kv_of};

/// Every change ever made.
#[derive(Default)]
pub struct Model {
    /// Revision, key and, for a put, what was stored.
    pub changes: Vec<(i64, String, Option<KeyValue>)>,
    pub current: i64,
    pub compacted: i64,
}

impl Model {
    pub fn new() -> Model {
        Model { changes: Vec::new(), current: 1, compacted: -1 }
    }

    /// The keys that exist at a revision.
    pub fn at(&self, revision: i64) -> BTreeMap<String, KeyValue> {
        let mut state = BTreeMap::new();
        for (_, key, kv) in self.changes.iter().filter(|change| change.0 <= revision) {
            match kv {
                Some(kv) => state.insert(key.clone(), kv.clone()),
                None => state.remove(key),
            };
        }
        state
    }

    pub fn put(&mut self, revision: i64, key: &str, value: String, lease: i64) {
        let before = self.at(i64::MAX).remove(key);
        let kv = KeyValue {
            key: Bytes::from(key.to_owned()),
            create_revision: before.as_ref().map_or(revision, |kv| kv.create_revision),
            mod_revision: revision,
            version: before.map_or(1, |kv| kv.version + 1),
            value: value.into(),
            lease,
        };
        self.changes.push((revision, key.to_owned(), Some(kv)));
    }

    pub fn delete(&mut self, revision: i64, key: &str, end: &str) -> Vec<String> {
        let gone: Vec<String> =
            self.at(i64::MAX).into_keys().filter(|found| within(found, key, end)).collect();
        self.changes.extend(gone.iter().map(|key| (revision, key.clone(), None)));
        gone
    }

    /// What a range must answer: the records, the count, whether there are more.
    fn range(&self, query: &RangeQuery, at: i64) -> (Vec<KeyValue>, i64, bool) {
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        let (key, end) = (text(&query.key), text(&query.end));
        let all: Vec<KeyValue> = self
            .at(at)
            .into_iter()
            .filter(|(found, _)| within(found, &key, &end))
            .map(|(_, kv)| kv)
            .collect();
        let count = all.len() as i64;
        if query.count_only {
            return (Vec::new(), count, false);
        }
        let bounds = [
            query.min_mod_revision,
            query.max_mod_revision,
            query.min_create_revision,
            query.max_create_revision,
        ];
        let limit = if query.limit > 0 { query.limit as usize } else { usize::MAX - 1 };
        let mut kvs = all;
        // etcd's quirk: a plain query is cut to one more than the limit before it is sorted.
        if query.sort_order == SortOrder::None && bounds == [0; 4] {
            kvs.truncate(limit + 1);
        }
        let inside =
            |value: i64, min: i64, max: i64| (min == 0 || value >= min) && (max == 0 || value <= max);
        kvs.retain(|kv| {
            inside(kv.mod_revision, bounds[0], bounds[1]) && inside(kv.create_revision, bounds[2], bounds[3])
        });
        kvs.sort_by(|a, b| {
            let order = match query.sort_target {
                SortTarget::Key => a.key.cmp(&b.key),
                SortTarget::Version => a.version.cmp(&b.version),
                SortTarget::Create => a.create_revision.cmp(&b.create_revision),
                SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
                SortTarget::Value => a.value.cmp(&b.value),
            };
            if query.sort_order == SortOrder::Descend { order.reverse() } else { order }
        });
        let more = kvs.len() > limit;
        kvs.truncate(limit);
        if query.keys_only {
            for kv in &mut kvs {
                kv.value = Bytes::new();
                if query.sort_target != SortTarget::Value {
                    kv.lease = 0;
                }
            }
        }
        (kvs, count, more)
    }
}

pub fn within(found: &str, key: &str, end: &str) -> bool {
    match end {
        "" => found == key,
        "\0" => found >= key,
        _ => found >= key && found < end,
    }
}

/// Makes a random txn in both; answers what watchers must be told.
pub fn random_txn(
    dice: &mut Dice,
    store: &mut Store,
    model: &mut Model,
) -> Option<std::sync::Arc<mvcc::EventBatch>> {
    let revision = model.current + 1;
    let before = model.changes.len();
    let mut touched = BTreeSet::new();
    let mut txn = store.kv.begin(&mut store.backend);
    for _ in 0..1 + dice.below(3) {
        if dice.one_in(4) {
            let (key, end) = (dice.key(), dice.end());
            let expected = model.delete(revision, &key, &end);
            let deleted = txn.delete_range(Bytes::from(key), Bytes::from(end)).unwrap();
            let keys: Vec<String> =
                deleted.keys().map(|key| String::from_utf8(key.to_vec()).unwrap()).collect();
            assert_eq!(keys, expected);
        } else {
            let key = dice.key();
            if !touched.insert(key.clone()) {
                continue;
            }
            let value = dice.below(5).to_string().repeat(1 + dice.below(3) as usize);
            let lease = dice.below(3) as i64;
            model.put(revision, &key, value.clone(), lease);
            let outcome = txn.put(Bytes::from(key.clone()), Bytes::from(value), lease).unwrap();
            let kv = model.changes.last().unwrap().2.clone().unwrap();
            assert_eq!((outcome.create_revision, outcome.version), (kv.create_revision, kv.version));
            assert_eq!(kv_of(&txn.get(key.as_bytes()).unwrap().unwrap()), kv, "a txn sees its own puts");
        }
        let seen = txn.range(&RangeQuery::range("a", "\0")).unwrap();
        let expected: Vec<KeyValue> = model.at(i64::MAX).into_values().collect();
        assert_eq!(seen.kvs.iter().map(kv_of).collect::<Vec<_>>(), expected);
    }
    assert_eq!(txn.changes(), model.changes.len() - before);
    let batch = txn.finish();
    assert_eq!(batch.is_some(), model.changes.len() > before, "only a change uses a revision");
    if let Some(batch) = &batch {
        model.current = revision;
        assert_eq!(batch.revision, revision);
        for (event, (_, key, kv)) in batch.events().iter().zip(&model.changes[before..]) {
            assert_eq!((&event.key[..], event.mod_revision), (key.as_bytes(), revision));
            match kv {
                Some(kv) => assert_eq!((event.kind, kv_of(&event.record)), (EventKind::Put, kv.clone())),
                None => {
                    let gone =
                        KeyValue { key: event.key.clone(), mod_revision: revision, ..Default::default() };
                    assert_eq!((event.kind, kv_of(&event.record)), (EventKind::Delete, gone));
                }
            }
        }
    }
    batch
}

fn random_query(dice: &mut Dice, model: &Model) -> RangeQuery {
    let revision_below = |dice: &mut Dice| dice.below(model.current as u64 + 2) as i64;
    let bound = |dice: &mut Dice| if dice.one_in(6) { revision_below(dice) } else { 0 };
    RangeQuery {
        key: dice.key().into(),
        end: dice.end().into(),
        revision: if dice.one_in(2) { revision_below(dice) } else { 0 },
        limit: if dice.one_in(2) { dice.below(6) as i64 } else { 0 },
        sort_order: [SortOrder::None, SortOrder::Ascend, SortOrder::Descend][dice.below(3) as usize],
        sort_target: [
            SortTarget::Key,
            SortTarget::Version,
            SortTarget::Create,
            SortTarget::Mod,
            SortTarget::Value,
        ][dice.below(5) as usize],
        keys_only: dice.one_in(4),
        count_only: dice.one_in(8),
        min_mod_revision: bound(dice),
        max_mod_revision: bound(dice),
        min_create_revision: bound(dice),
        max_create_revision: bound(dice),
        skip_count: false,
    }
}

fn compare_range(store: &Store, model: &Model, query: &RangeQuery) {
    let answer = store.reader().range(query);
    let at = if query.revision <= 0 { model.current } else { query.revision };
    if at > model.current {
        return assert!(matches!(answer, Err(Error::FutureRevision)), "{query:?}: {answer:?}");
    }
    if at < model.compacted {
        return assert!(matches!(answer, Err(Error::Compacted)), "{query:?}: {answer:?}");
    }
    let answer = answer.unwrap();
    let (kvs, count, more) = model.range(query, at);
    assert_eq!(answer.kvs.iter().map(kv_of).collect::<Vec<_>>(), kvs, "{query:?}");
    if query.is_list() {
        let list = store.reader().list(query).unwrap();
        assert_eq!((list.total(), list.more(), list.revision()), (count, more, model.current), "{query:?}");
        let as_field = |kv: &KeyValue| 1 + prost::length_delimiter_len(kv.encoded_len()) + kv.encoded_len();
        assert_eq!(list.encoded_len(), kvs.iter().map(as_field).sum::<usize>(), "{query:?}");
        assert_eq!(list.map(|record| kv_of(&record.unwrap())).collect::<Vec<_>>(), kvs, "{query:?}");
    }
    assert_eq!((answer.count, answer.more, answer.revision), (count, more, model.current), "{query:?}");
}

/// Reading in pages must be reading at once.
fn compare_pages(dice: &mut Dice, store: &Store, model: &Model) {
    let view = store.reader().view(0).unwrap();
    let mut query =
        RangeQuery { skip_count: true, limit: 1 + dice.below(4) as i64, ..RangeQuery::range("a", "\0") };
    let mut kvs = Vec::new();
    loop {
        let page = view.range(&query).unwrap();
        kvs.extend(page.kvs.iter().map(kv_of));
        if !page.more {
            break;
        }
        query.key = mvcc::key_after(&kvs.last().unwrap().key);
    }
    assert_eq!(kvs, model.at(model.current).into_values().collect::<Vec<_>>());
}

fn compare_attached(attached: Vec<(Bytes, i64)>, model: &Model) {
    let leased = |kv: &KeyValue| (kv.lease != 0).then(|| (kv.key.clone(), kv.lease));
    assert_eq!(attached, model.at(model.current).values().filter_map(leased).collect::<Vec<_>>());
}

fn random_compaction(dice: &mut Dice, store: &mut Store, model: &mut Model) {
    let revision = dice.below(model.current as u64 + 2) as i64;
    let answer = store.kv.compact(&mut store.backend, revision);
    if revision <= model.compacted {
        assert!(matches!(answer, Err(Error::Compacted)));
    } else if revision > model.current {
        assert!(matches!(answer, Err(Error::FutureRevision)));
    } else {
        answer.unwrap();
        model.compacted = revision;
    }
}

#[test]
fn the_store_answers_as_a_list_of_all_changes_would() {
    for_seeds(40, |seed| {
        let mut dice = Dice::new(seed);
        let (mut store, mut model) = (Store::new(), Model::new());
        for _ in 0..60 {
            match dice.below(20) {
                0 => random_compaction(&mut dice, &mut store, &mut model),
                1 => store.backend.commit().unwrap(),
                2 => drop(store.finish_compactions()),
                3 => {
                    // An interrupted compaction of revision 0 is forgotten by a restart, like etcd does.
                    store.finish_compactions();
                    compare_attached(store.reopen(), &model);
                }
                4..=6 => {
                    store.kv.compact_step(&mut store.backend, 1 + dice.below(5) as usize).unwrap();
                }
                _ => drop(random_txn(&mut dice, &mut store, &mut model)),
            }
            assert_eq!(store.kv.current_revision(), model.current);
            assert_eq!(store.kv.compact_revision(), model.compacted);
            for _ in 0..4 {
                let query = random_query(&mut dice, &model);
                compare_range(&store, &model, &query);
            }
            compare_pages(&mut dice, &store, &model);
        }
    });
}

#[test]
fn a_restart_at_any_point_changes_no_answer_and_no_hash() {
    for_seeds(25, |seed| {
        let mut dice = Dice::new(1000 + seed);
        let (mut store, mut model) = (Store::new(), Model::new());
        for _ in 0..40 {
            random_txn(&mut dice, &mut store, &mut model);
            if dice.one_in(10) {
                let revision = 1 + dice.below(model.current as u64) as i64;
                if store.kv.compact(&mut store.backend, revision).is_ok() {
                    model.compacted = revision;
                }
            }
            if store.kv.compacting() {
                store.kv.compact_step(&mut store.backend, 1 + dice.below(4) as usize).unwrap();
            }
            if dice.one_in(3) {
                store.backend.commit().unwrap();
            }
            let at = model.compacted.max(1)
                + dice.below((model.current - model.compacted.max(1)) as u64 + 1) as i64;
            // A compaction's own hash is forgotten at a restart, so it is not compared.
            let hash = (at > model.compacted).then(|| store.hash(at));
            compare_attached(store.reopen(), &model);
            assert_eq!(store.kv.current_revision(), model.current);
            assert_eq!(store.kv.compact_revision(), model.compacted);
            assert!(hash.is_none_or(|hash| hash == store.hash(at)));
            for _ in 0..3 {
                let query = random_query(&mut dice, &model);
                compare_range(&store, &model, &query);
            }
        }
    });
}

#[test]
fn the_stored_record_is_the_encoded_key_value() {
    let mut store = Store::new();
    store.put("k", "v");
    let answer = store.reader().range(&RangeQuery::key("k")).unwrap();
    assert_eq!(answer.kvs[0], store.get("k").unwrap().encode_to_vec());
}
