//! How a range chooses, sorts and cuts (formats 9.4). All but sorting by value is decided from the index alone.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::ControlFlow;

use backend::Turn;
use bytes::Bytes;
use parking_lot::RwLock;
use proto::mvccpb::KeyValue;

use crate::index::{Index, KeyRange};
use crate::key_index::Seen;
use crate::{Error, RangeQuery, RangeResult, Revision, SortOrder, SortTarget, record};

/// Keys looked at before the index is let go, so that the writer never waits for a long range.
const KEYS_PER_LOCK: usize = 256;
/// What a walk past so many counts for a [`Turn`].
const PIECES_PER_LOCK: usize = 32;

/// What the index says about a query.
pub(crate) struct Selected {
    found: Vec<Found>,
    count: i64,
}

struct Found {
    /// Only for queries answered without reading records.
    key: Bytes,
    seen: Seen,
}

/// Who takes what a walk finds.
pub(crate) trait Sink {
    /// A key that passes the filters; breaks off when it has enough.
    fn found(&mut self, key: &[u8], seen: Seen) -> ControlFlow<()>;

    /// The index is not locked: time for longer work.
    ///
    /// # Errors
    /// Its own; it ends the walk.
    fn unlocked(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

/// Walks the keys of a query in order, as they were at revision `at`; answers how many there are, whatever filters say. It
/// takes the lock anew every few keys, and still sees the same as under one lock: later puts are above `at`, and the
/// caller checks for compactions above it.
pub(crate) fn walk(
    index: &RwLock<Index>,
    query: &RangeQuery,
    at: i64,
    sink: &mut impl Sink,
) -> Result<i64, Error> {
    let mut rest = Some(KeyRange::new(query.key.clone(), query.end.clone()));
    let (mut count, mut enough, mut turn) = (0, query.count_only, Turn::default());
    while let Some(range) = rest.take_if(|_| !enough) {
        turn.pass(PIECES_PER_LOCK);
        let last = index.read().visit(&range, at, KEYS_PER_LOCK, |key, seen| {
            count += 1;
            if !query.passes(seen.create_revision, seen.modified.main) {
                return ControlFlow::Continue(());
            }
            let flow = sink.found(key, seen);
            enough = flow.is_break();
            flow
        });
        sink.unlocked()?;
        rest = last.and_then(|last| range.behind(&last));
    }
    while let Some(range) = rest.take_if(|_| !query.skip_count) {
        turn.pass(1);
        let (part, last) = index.read().count(&range, at, KEYS_PER_LOCK);
        count += part;
        rest = last.and_then(|last| range.behind(&last));
    }
    Ok(if query.skip_count { 0 } else { i64::try_from(count).unwrap_or(i64::MAX) })
}

/// Takes what a query asks for.
struct Choice<'a> {
    query: &'a RangeQuery,
    found: VecDeque<Found>,
}

impl Sink for Choice<'_> {
    fn found(&mut self, key: &[u8], seen: Seen) -> ControlFlow<()> {
        let (query, limit) = (self.query, limit_of(self.query));
        let last_ones_only = query.sort_target == SortTarget::Key && query.sort_order == SortOrder::Descend;
        // One more than the limit tells that there are more.
        let above = |found: &VecDeque<Found>| limit.is_some_and(|limit| found.len() > limit);
        if last_ones_only && above(&self.found) {
            self.found.pop_front();
        }
        let key = if answered_by_index(query) { Bytes::copy_from_slice(key) } else { Bytes::new() };
        self.found.push_back(Found { key, seen });
        if cuts_in_key_order(query) && above(&self.found) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

/// Finds out what `query` asks for, as the keys were at revision `at`.
///
/// # Errors
/// None.
pub(crate) fn select(index: &RwLock<Index>, query: &RangeQuery, at: i64) -> Result<Selected, Error> {
    let mut choice = Choice { query, found: VecDeque::new() };
    let count = walk(index, query, at, &mut choice)?;
    let mut found = Vec::from(choice.found);
    sort(&mut found, query, |found| &found.seen);
    Ok(Selected { found, count })
}

/// Turns a selection into the answer; `records` reads stored records.
pub(crate) fn fetch(
    selected: Selected,
    query: &RangeQuery,
    records: impl FnOnce(&[Revision]) -> Result<Vec<Bytes>, Error>,
) -> Result<RangeResult, Error> {
    let Selected { mut found, count } = selected;
    let by_value = query.sort_target == SortTarget::Value;
    let limit = limit_of(query).unwrap_or(usize::MAX);
    let more = found.len() > limit;
    if !by_value {
        found.truncate(limit);
    }
    let mut kvs = if answered_by_index(query) {
        found.into_iter().map(|Found { key, seen }| bare(key, seen)).collect()
    } else {
        records(&found.iter().map(|found| found.seen.modified).collect::<Vec<_>>())?
    };
    if by_value {
        kvs = sort_by_value(kvs, query, limit)?;
    }
    Ok(RangeResult { kvs, count, more, revision: 0 })
}

fn limit_of(query: &RangeQuery) -> Option<usize> {
    (query.limit > 0).then(|| usize::try_from(query.limit).unwrap_or(usize::MAX))
}

/// Whether the first keys of the range are the ones to answer. Also true for an unfiltered query sorted by something
/// else without saying in which direction: etcd cuts that one before it sorts.
fn cuts_in_key_order(query: &RangeQuery) -> bool {
    let by_key = query.sort_target == SortTarget::Key && query.sort_order != SortOrder::Descend;
    by_key || (query.sort_order == SortOrder::None && !query.filtered())
}

/// Whether no record has to be read.
fn answered_by_index(query: &RangeQuery) -> bool {
    query.keys_only && query.sort_target != SortTarget::Value
}

/// Sorts by everything but value; ties stay in key order.
fn sort(found: &mut [Found], query: &RangeQuery, seen: impl Fn(&Found) -> &Seen) {
    let mut by = |key: fn(&Seen) -> i64| {
        found.sort_by(|a, b| directed(query, key(seen(a)).cmp(&key(seen(b)))));
    };
    match query.sort_target {
        SortTarget::Version => by(|seen| seen.version),
        SortTarget::Create => by(|seen| seen.create_revision),
        SortTarget::Mod => by(|seen| seen.modified.main),
        SortTarget::Key if query.sort_order == SortOrder::Descend => found.reverse(),
        SortTarget::Key | SortTarget::Value => {}
    }
}

fn sort_by_value(kvs: Vec<Bytes>, query: &RangeQuery, limit: usize) -> Result<Vec<Bytes>, Error> {
    let mut decoded = Vec::with_capacity(kvs.len());
    for stored in kvs {
        let kv = record::decode(&stored, Revision::default())?;
        decoded.push((kv, stored));
    }
    decoded.sort_by(|a, b| directed(query, a.0.value.cmp(&b.0.value)));
    decoded.truncate(limit);
    let answer = |(mut kv, stored): (KeyValue, Bytes)| {
        if !query.keys_only {
            return stored;
        }
        kv.value = Bytes::new();
        record::of_put(&kv)
    };
    Ok(decoded.into_iter().map(answer).collect())
}

fn directed(query: &RangeQuery, ascending: Ordering) -> Ordering {
    if query.sort_order == SortOrder::Descend { ascending.reverse() } else { ascending }
}

/// A record as far as the index knows it: no value, no lease.
fn bare(key: Bytes, seen: Seen) -> Bytes {
    record::of_put(&KeyValue {
        key,
        create_revision: seen.create_revision,
        mod_revision: seen.modified.main,
        version: seen.version,
        ..KeyValue::default()
    })
}
