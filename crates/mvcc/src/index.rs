//! The index: every key and its history, in key order. Its users know only this door, so that the map inside can be
//! replaced.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use bytes::Bytes;

use crate::Revision;
use crate::key_index::{KeyIndex, Seen};

type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// A set of neighbouring keys, in etcd's way of saying it (formats 9.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyRange {
    /// One key.
    One(Bytes),
    /// From the first key up to, but without, the second.
    Between(Bytes, Bytes),
    /// The key and all behind it.
    From(Bytes),
}

impl KeyRange {
    /// From a request's `key` and `range_end`.
    pub fn new(key: Bytes, end: Bytes) -> KeyRange {
        match end.as_ref() {
            [] => KeyRange::One(key),
            [0] => KeyRange::From(key),
            _ => KeyRange::Between(key, end),
        }
    }

    /// The part behind `key`; none when nothing is left.
    pub fn behind(&self, key: &[u8]) -> Option<KeyRange> {
        let next = crate::key_after(key);
        match self {
            KeyRange::One(_) => None,
            KeyRange::Between(_, end) => (next < *end).then(|| KeyRange::Between(next, end.clone())),
            KeyRange::From(_) => Some(KeyRange::From(next)),
        }
    }

    fn bounds(&self) -> Option<Bounds<'_>> {
        match self {
            KeyRange::One(key) => Some((Bound::Included(key), Bound::Included(key))),
            // A map refuses a range whose end comes before its start.
            KeyRange::Between(key, end) => {
                (key < end).then_some((Bound::Included(key), Bound::Excluded(end)))
            }
            KeyRange::From(key) => Some((Bound::Included(key), Bound::Unbounded)),
        }
    }
}

/// All keys with their histories.
#[derive(Debug, Default)]
pub(crate) struct Index {
    keys: BTreeMap<Box<[u8]>, KeyIndex>,
}

impl Index {
    /// The key as it was at revision `at`.
    pub fn get(&self, key: &[u8], at: i64) -> Option<Seen> {
        self.keys.get(key)?.get(at)
    }

    /// Whether `revision` of `key` is still kept.
    pub fn holds(&self, key: &[u8], revision: Revision) -> bool {
        self.keys.get(key).is_some_and(|history| history.holds(revision))
    }

    /// Records a put and answers the key as it now is, and as it was before; none if `revision` is not newer than
    /// all before.
    pub fn put(&mut self, key: &[u8], revision: Revision) -> Option<(Seen, Option<Seen>)> {
        if let Some(history) = self.keys.get_mut(key) {
            let before = history.get(i64::MAX);
            return history.put(revision).then(|| Some((history.get(i64::MAX)?, before)))?;
        }
        self.keys.insert(key.into(), KeyIndex::restored(revision.main, 1, revision));
        Some((Seen { modified: revision, create_revision: revision.main, version: 1 }, None))
    }

    /// Records a delete; false if the key did not exist.
    #[must_use]
    pub fn tombstone(&mut self, key: &[u8], revision: Revision) -> bool {
        self.keys.get_mut(key).is_some_and(|history| history.tombstone(revision))
    }

    /// The history of `key`, made by `first` if there was none: for the restore scan.
    pub fn restore(&mut self, key: &[u8], first: impl FnOnce() -> KeyIndex) -> Option<&mut KeyIndex> {
        // Asking first saves the copy of a key that is there already.
        if !self.keys.contains_key(key) {
            self.keys.insert(key.into(), first());
            return None;
        }
        self.keys.get_mut(key)
    }

    /// Shows the keys of `range` that existed at revision `at`, in order, looking at no more than `budget` of the
    /// index. Answers the last key looked at when the budget ended the walk, so that it can go on behind it.
    pub fn visit(
        &self,
        range: &KeyRange,
        at: i64,
        budget: usize,
        mut each: impl FnMut(&[u8], Seen) -> ControlFlow<()>,
    ) -> Option<Bytes> {
        let mut left = budget.max(1);
        for (key, history) in self.keys.range::<[u8], _>(range.bounds()?) {
            if let Some(seen) = history.get(at)
                && each(key, seen).is_break()
            {
                return None;
            }
            left -= 1;
            if left == 0 {
                return Some(Bytes::copy_from_slice(key));
            }
        }
        None
    }

    /// Compacts at most `budget` keys behind `after` and shows what stays for reads at `at`; answers the last key done,
    /// none when all are.
    pub fn compact(
        &mut self,
        after: Option<&[u8]>,
        at: i64,
        budget: usize,
        mut kept: impl FnMut(Revision),
    ) -> Option<Bytes> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut emptied = Vec::new();
        let mut last = None;
        for (count, (key, history)) in self.keys.range_mut::<[u8], _>((from, Bound::Unbounded)).enumerate() {
            if count == budget.max(1) {
                break;
            }
            if let Some(revision) = history.compact(at) {
                kept(revision);
            }
            if history.is_empty() {
                emptied.push(key.clone());
            }
            last = Some((count, key));
        }
        let last =
            last.filter(|(count, _)| count + 1 == budget.max(1)).map(|(_, key)| Bytes::copy_from_slice(key));
        for key in emptied {
            self.keys.remove(&key);
        }
        last
    }

    /// Shows what a hash at `at` counts as kept, for at most `budget` keys behind `after`; answers the last key
    /// looked at, none when all were.
    pub fn keep(
        &self,
        after: Option<&[u8]>,
        at: i64,
        budget: usize,
        mut kept: impl FnMut(Revision),
    ) -> Option<Bytes> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut left = budget.max(1);
        for (key, history) in self.keys.range::<[u8], _>((from, Bound::Unbounded)) {
            if let Some(revision) = history.keep(at) {
                kept(revision);
            }
            left -= 1;
            if left == 0 {
                return Some(Bytes::copy_from_slice(key));
            }
        }
        None
    }

    /// Number of keys, deleted ones with kept history included.
    pub fn len(&self) -> usize {
        self.keys.len()
    }
}
