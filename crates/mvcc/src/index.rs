//! The index: every key and its history, in key order. Its users know only this door, so that what is inside can be
//! replaced.

use std::cmp::Ordering;
use std::ops::{ControlFlow, Range};

use bytes::Bytes;

use crate::Revision;
use crate::block::{Block, Entry, compare_start, head, shared_len};
use crate::key_index::{KeyIndex, Seen};

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
}

/// Keys that a block holds at most. Small in unit tests, so that they meet many blocks.
const BLOCK_MAX: usize = if cfg!(test) { 4 } else { 128 };

/// All keys with their histories: sorted blocks of sorted entries, a tree of two levels. Blocks know how many of their
/// keys live, so that counting passes over them.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// None is empty.
    blocks: Vec<Block>,
    /// Bytes that the first keys of all blocks begin with.
    shared: usize,
}

/// A block and an entry's place in it; the place behind the last entry means the next block.
type Place = (usize, usize);

impl Index {
    /// Builds an index at once.
    pub fn new(mut histories: Vec<Entry>) -> Index {
        histories.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let mut blocks = Vec::with_capacity(histories.len().div_ceil(BLOCK_MAX));
        let mut histories = histories.into_iter().peekable();
        while histories.peek().is_some() {
            blocks.push(Block::new(histories.by_ref().take(BLOCK_MAX).collect()));
        }
        let mut index = Index { blocks, shared: 0 };
        index.refresh(0..index.blocks.len());
        index
    }

    /// The key as it was at revision `at`.
    pub fn get(&self, key: &[u8], at: i64) -> Option<Seen> {
        self.history(key)?.get(at)
    }

    /// Whether `revision` of `key` is still kept.
    pub fn holds(&self, key: &[u8], revision: Revision) -> bool {
        self.history(key).is_some_and(|history| history.holds(revision))
    }

    /// Records a put and answers the key as it now is, and as it was before; none if `revision` is not newer than
    /// all before.
    pub fn put(&mut self, key: &[u8], revision: Revision) -> Option<(Seen, Option<Seen>)> {
        let (block, place) = match self.find(key) {
            Ok(found) => found,
            Err(place) => {
                self.insert(place, (key.into(), KeyIndex::restored(revision.main, 1, revision)));
                return Some((Seen { modified: revision, create_revision: revision.main, version: 1 }, None));
            }
        };
        let block = self.blocks.get_mut(block)?;
        let history = &mut block.entries.get_mut(place)?.1;
        let before = history.get(i64::MAX);
        if !history.put(revision) {
            return None;
        }
        let now = history.get(i64::MAX)?;
        block.live += usize::from(before.is_none());
        block.newest = block.newest.max(revision.main);
        Some((now, before))
    }

    /// Records a delete; false if the key did not exist.
    #[must_use]
    pub fn tombstone(&mut self, key: &[u8], revision: Revision) -> bool {
        let Ok((block, place)) = self.find(key) else { return false };
        let block = &mut self.blocks[block];
        let done = block.entries[place].1.tombstone(revision);
        if done {
            block.live -= 1;
            block.newest = block.newest.max(revision.main);
        }
        done
    }

    /// Shows the keys of `range` that existed at revision `at`, in order, looking at no more than `budget` of the
    /// index. Answers the last key looked at when the budget or `each` ended the walk, so that it can go on behind it.
    pub fn visit(
        &self,
        range: &KeyRange,
        at: i64,
        budget: usize,
        mut each: impl FnMut(&[u8], Seen) -> ControlFlow<()>,
    ) -> Option<Bytes> {
        let (from, to) = self.span(range)?;
        for (count, (key, history)) in self.entries(from, to).enumerate() {
            let stop = history.get(at).is_some_and(|seen| each(key, seen).is_break());
            if stop || count + 1 >= budget {
                return Some(Bytes::copy_from_slice(key));
            }
        }
        None
    }

    /// Counts the keys of `range` that existed at revision `at`. Blocks without a newer revision are not looked into.
    /// After about `budget` steps it stops and also answers the last key it has counted.
    pub fn count(&self, range: &KeyRange, at: i64, budget: usize) -> (usize, Option<Bytes>) {
        let Some((from, to)) = self.span(range) else { return (0, None) };
        let (mut count, mut steps) = (0, 0);
        let last = to.0.min(self.blocks.len().saturating_sub(1));
        for (number, block) in self.blocks.iter().enumerate().take(last + 1).skip(from.0) {
            let start = if number == from.0 { from.1 } else { 0 };
            let end = if number == to.0 { to.1 } else { block.entries.len() };
            let whole = start == 0 && end == block.entries.len();
            if whole && block.newest <= at {
                count += block.live;
                steps += 1;
            } else if let Some(entries) = block.entries.get(start..end) {
                count += entries.iter().filter(|(_, history)| history.get(at).is_some()).count();
                steps += entries.len();
            }
            if steps >= budget && number < last {
                return (count, block.entries.last().map(|(key, _)| Bytes::copy_from_slice(key)));
            }
        }
        (count, None)
    }

    /// Compacts about `budget` keys behind `after` and shows what stays for reads at `at`; answers the last key done,
    /// none when all are.
    pub fn compact(
        &mut self,
        after: Option<&[u8]>,
        at: i64,
        budget: usize,
        mut kept: impl FnMut(Revision),
    ) -> Option<Bytes> {
        let first = after.map_or(0, |after| self.place_behind(after).0);
        let mut end = first;
        let (mut done, mut last, mut shrunk) = (0, None, false);
        for number in first..self.blocks.len() {
            if done >= budget {
                break;
            }
            let block = &mut self.blocks[number];
            last = block.entries.last().map(|(key, _)| Bytes::copy_from_slice(key));
            done += block.entries.len();
            let before = block.entries.len();
            block.entries.retain_mut(|(key, history)| {
                if after.is_some_and(|after| key[..] <= *after) {
                    return true;
                }
                if let Some(revision) = history.compact(at) {
                    kept(revision);
                }
                !history.is_empty()
            });
            if block.entries.len() < before {
                block.refresh();
                shrunk = true;
            }
            end = number + 1;
        }
        let complete = self.blocks.last().and_then(|block| block.entries.last()).map(|(key, _)| &key[..]);
        let complete = last.as_deref() >= complete;
        if shrunk {
            self.join_small(first);
            self.refresh(first.saturating_sub(1)..end.min(self.blocks.len()));
        }
        last.filter(|_| !complete)
    }

    /// Joins blocks from `first` on that have become small, and drops those that have become empty.
    fn join_small(&mut self, first: usize) {
        for number in first.max(1)..self.blocks.len() {
            let (before, rest) = self.blocks.split_at_mut(number);
            if let (Some(left), Some(right)) = (before.last_mut(), rest.first_mut())
                && left.entries.len() + right.entries.len() <= BLOCK_MAX / 2
            {
                let left = std::mem::take(left);
                right.entries.splice(0..0, left.entries);
                right.refresh();
                right.head = left.head;
                right.live += left.live;
                right.newest = right.newest.max(left.newest);
            }
        }
        self.blocks.retain(|block| !block.entries.is_empty());
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
        let from = after.map_or((0, 0), |after| self.place_behind(after));
        for (count, (key, history)) in self.entries(from, (self.blocks.len(), 0)).enumerate() {
            if let Some(revision) = history.keep(at) {
                kept(revision);
            }
            if count + 1 >= budget {
                return Some(Bytes::copy_from_slice(key));
            }
        }
        None
    }

    /// Number of keys, deleted ones with kept history included.
    pub fn len(&self) -> usize {
        self.blocks.iter().map(|block| block.entries.len()).sum()
    }

    fn history(&self, key: &[u8]) -> Option<&KeyIndex> {
        let (block, place) = self.find(key).ok()?;
        Some(&self.blocks.get(block)?.entries.get(place)?.1)
    }

    /// Where `key` is, or else where it belongs.
    fn find(&self, key: &[u8]) -> Result<Place, Place> {
        let number = self.block_of(key);
        let Some(block) = self.blocks.get(number) else { return Err((0, 0)) };
        block.find(key).map(|place| (number, place)).map_err(|place| (number, place))
    }

    /// The last block whose first key is not above `key`, else the first block.
    fn block_of(&self, key: &[u8]) -> usize {
        let Some(first) = self.blocks.first() else { return 0 };
        match compare_start(key, first.first_key(), self.shared) {
            Ordering::Less => return 0,
            Ordering::Greater => return self.blocks.len() - 1,
            Ordering::Equal => {}
        }
        let head = long_head(key, self.shared);
        let from = self.blocks.partition_point(|block| block.head < head);
        let alike = |block: &Block| block.head == head;
        if !self.blocks.get(from).is_some_and(alike) {
            return from.saturating_sub(1);
        }
        let not_above = |block: &Block| alike(block) && block.first_key() <= key;
        (from + self.blocks[from..].partition_point(not_above)).saturating_sub(1)
    }

    /// The first keys of the blocks `changed`, and of no others, are not what they were.
    fn refresh(&mut self, changed: Range<usize>) {
        let ends = self.blocks.first().zip(self.blocks.last());
        let shared = ends.map_or(0, |(first, last)| shared_len(first.first_key(), last.first_key()));
        let all = shared != self.shared;
        let count = self.blocks.len();
        self.shared = shared;
        for block in &mut self.blocks[if all { 0..count } else { changed }] {
            block.head = long_head(block.first_key(), shared);
        }
    }

    /// Where the first key not below `key` is.
    fn place_of(&self, key: &[u8]) -> Place {
        self.find(key).unwrap_or_else(|place| place)
    }

    fn place_behind(&self, key: &[u8]) -> Place {
        self.find(key).map_or_else(|place| place, |(block, place)| (block, place + 1))
    }

    fn span(&self, range: &KeyRange) -> Option<(Place, Place)> {
        match range {
            KeyRange::One(key) => self.find(key).ok().map(|found| (found, (found.0, found.1 + 1))),
            KeyRange::Between(key, end) => (key < end).then(|| (self.place_of(key), self.place_of(end))),
            KeyRange::From(key) => Some((self.place_of(key), (self.blocks.len(), 0))),
        }
    }

    fn entries(&self, from: Place, to: Place) -> impl Iterator<Item = &Entry> {
        let blocks = self.blocks.iter().enumerate().take(to.0.saturating_add(1)).skip(from.0);
        blocks.flat_map(move |(number, block)| {
            let start = if number == from.0 { from.1 } else { 0 };
            let end = if number == to.0 { to.1 } else { block.entries.len() };
            block.entries.get(start..end).unwrap_or_default()
        })
    }

    fn insert(&mut self, (mut number, mut place): Place, entry: Entry) {
        if self.blocks.is_empty() {
            self.blocks.push(Block::default());
        }
        let is_last = number + 1 == self.blocks.len();
        let full = &mut self.blocks[number];
        let split = full.entries.len() >= BLOCK_MAX;
        if split {
            // Keys that come in rising order leave full blocks behind them.
            let middle = if is_last && place == full.entries.len() { place } else { BLOCK_MAX / 2 };
            let right = full.split_off(middle);
            self.blocks.insert(number + 1, right);
            if place >= middle && (place > middle || is_last) {
                (number, place) = (number + 1, place - middle);
            }
        }
        self.blocks[number].insert(place, entry);
        if split || place == 0 {
            let last = self.blocks.len() - 1;
            self.refresh(number.saturating_sub(1)..(number + 1).min(last) + 1);
        }
    }
}

/// Twice as long as those of a block's keys, because first keys are further apart and share less.
fn long_head(key: &[u8], at: usize) -> [u64; 2] {
    [head(key, at), head(key, at + 8)]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn draw(state: &mut u64, below: u64) -> u64 {
        *state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (*state >> 33) % below
    }

    fn random_range(state: &mut u64) -> KeyRange {
        let mut key = || Bytes::from(vec![draw(state, 70) as u8]);
        let (key, end) = (key(), key());
        match draw(state, 3) {
            0 => KeyRange::One(key),
            1 => KeyRange::Between(key, end),
            _ => KeyRange::From(key),
        }
    }

    fn within(range: &KeyRange, key: &[u8]) -> bool {
        match range {
            KeyRange::One(one) => one == key,
            KeyRange::Between(start, end) => &start[..] <= key && key < &end[..],
            KeyRange::From(start) => &start[..] <= key,
        }
    }

    fn check_shape(index: &Index) {
        for block in &index.blocks {
            let fresh = Block::new(block.entries.clone());
            assert!((1..=BLOCK_MAX).contains(&block.entries.len()));
            assert_eq!(block.head, long_head(block.first_key(), index.shared));
            assert!((fresh.live, fresh.newest) <= (block.live, block.newest) && fresh.live == block.live);
        }
        assert!(index.entries((0, 0), (index.blocks.len(), 0)).is_sorted_by(|a, b| a.0 < b.0));
    }

    fn check_range(index: &Index, model: &BTreeMap<Vec<u8>, KeyIndex>, range: &KeyRange, at: i64) {
        let expected: Vec<&[u8]> = model
            .iter()
            .filter(|(key, history)| within(range, key) && history.get(at).is_some())
            .map(|(key, _)| &key[..])
            .collect();
        let (mut seen, mut count) = (Vec::new(), 0);
        let mut rest = Some(range.clone());
        while let Some(range) = rest {
            let last = index.visit(&range, at, 3, |key, _| {
                seen.push(key.to_vec());
                ControlFlow::Continue(())
            });
            rest = last.and_then(|last| range.behind(&last));
        }
        let mut rest = Some(range.clone());
        while let Some(range) = rest {
            let (part, last) = index.count(&range, at, 3);
            count += part;
            rest = last.and_then(|last| range.behind(&last));
        }
        assert_eq!(seen, expected);
        assert_eq!(count, expected.len());
    }

    #[test]
    fn the_index_behaves_as_a_plain_map_of_histories() {
        for seed in 0..40 {
            let mut state = seed;
            let (mut index, mut model) = (Index::default(), BTreeMap::<Vec<u8>, KeyIndex>::new());
            for main in 2..400 {
                // First mostly puts, then mostly deletes.
                let key = [draw(&mut state, 64) as u8];
                let revision = Revision::new(main, 0);
                if draw(&mut state, 400) as i64 > main {
                    index.put(&key, revision).unwrap();
                    match model.get_mut(&key[..]) {
                        Some(history) => assert!(history.put(revision)),
                        None => drop(model.insert(key.to_vec(), KeyIndex::restored(main, 1, revision))),
                    }
                } else {
                    let deleted = model.get_mut(&key[..]).is_some_and(|history| history.tombstone(revision));
                    assert_eq!(index.tombstone(&key, revision), deleted);
                }
                if main % 40 == 0 {
                    let (mut kept, mut expected) = (Vec::new(), Vec::new());
                    let mut after: Option<Bytes> = None;
                    loop {
                        after = index.compact(after.as_deref(), main - 10, 6, |revision| kept.push(revision));
                        if after.is_none() {
                            break;
                        }
                    }
                    model.values_mut().for_each(|history| expected.extend(history.compact(main - 10)));
                    model.retain(|_, history| !history.is_empty());
                    assert_eq!(kept, expected);
                }
                check_shape(&index);
                assert_eq!(index.len(), model.len());
                let range = random_range(&mut state);
                check_range(&index, &model, &range, main - draw(&mut state, 10) as i64);
            }
            let entries = model.iter().map(|(key, history)| (key.clone().into(), history.clone())).collect();
            check_range(&Index::new(entries), &model, &KeyRange::From(Bytes::new()), 400);
        }
    }

    #[test]
    fn keys_in_rising_order_fill_their_blocks() {
        let mut index = Index::default();
        for n in 0..40u8 {
            index.put(&[n], Revision::new(2, i64::from(n))).unwrap();
        }
        assert_eq!(index.blocks.len(), 40 / BLOCK_MAX);
    }
}
