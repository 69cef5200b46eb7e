//! The index: every key and its history, in key order. Its users know only this door, so that what is inside can be
//! replaced.

use std::ops::{ControlFlow, Range};

use bytes::Bytes;

use crate::Revision;
use crate::block::{BLOCK_MAX, Block, head, shared_len};
use crate::history::History;
use crate::key_index::Seen;

/// A deleted key counts for one more for each of these many bytes.
pub(crate) const LONG_KEY: usize = 256;

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

/// All keys with their histories: sorted blocks of sorted keys, a tree of two levels. It knows how many keys of each
/// block live, so that counting passes over them.
#[derive(Debug, Default)]
pub(crate) struct Index {
    slots: Vec<Slot>,
    /// What the first keys of all blocks begin with.
    shared: Vec<u8>,
}

/// A block, never empty, and what searching and counting need of it.
#[derive(Debug)]
struct Slot {
    /// Of the first key, behind what the first keys of all blocks share.
    head: [u64; 2],
    /// Main part of the newest revision of all keys.
    newest: i64,
    /// Keys, and those that exist at the newest revision.
    len: u32,
    live: u32,
    block: Box<Block>,
}

/// A block and a key's place in it; the place behind the last key means the next block.
type Place = (usize, usize);

impl Slot {
    fn new(block: Block) -> Slot {
        let histories = block.histories();
        let live = (0..block.len()).filter(|place| histories.exists(*place)).count() as u32;
        let newest = histories.newest();
        Slot { head: [0; 2], newest, len: block.len() as u32, live, block: Box::new(block) }
    }

    fn insert(&mut self, place: usize, key: &[u8], history: History) {
        self.len += 1;
        self.live += u32::from(history.exists());
        self.newest = self.newest.max(history.newest().map_or(0, |newest| newest.main));
        self.block.insert(place, key, history);
    }
}

impl Index {
    /// Of blocks in order.
    pub fn new(blocks: impl IntoIterator<Item = Block>) -> Index {
        let slots = blocks.into_iter().filter(|block| block.len() > 0).map(Slot::new).collect();
        let mut index = Index { slots, shared: Vec::new() };
        index.refresh(0..index.slots.len());
        index
    }

    /// The key as it was at revision `at`.
    pub fn get(&self, key: &[u8], at: i64) -> Option<Seen> {
        let (number, place) = self.find(key).ok()?;
        self.slots.get(number)?.block.histories().get(place, at)
    }

    /// Whether `revision` of `key` is still kept.
    pub fn holds(&self, key: &[u8], revision: Revision) -> bool {
        let Ok((number, place)) = self.find(key) else { return false };
        self.slots.get(number).is_some_and(|slot| slot.block.histories().holds(place, revision))
    }

    /// Records a put and answers the key as it now is; none if `revision` is not newer than all before. `record_len`: see
    /// [`KeyIndex::put`](crate::key_index::KeyIndex::put).
    pub fn put(
        &mut self,
        key: &[u8],
        revision: Revision,
        record_len: impl FnOnce(i64, i64) -> u32,
    ) -> Option<Seen> {
        let (number, place) = match self.find(key) {
            Ok(found) => found,
            Err(place) => {
                let (create_revision, version) = (revision.main, 1);
                let record_len = record_len(create_revision, version);
                let seen = Seen { modified: revision, create_revision, version, record_len };
                self.insert(place, key, History::restored(seen));
                return Some(seen);
            }
        };
        let slot = self.slots.get_mut(number)?;
        let history = slot.block.histories_mut().settled().get_mut(place)?;
        let existed = history.exists();
        if !history.put(revision, record_len) {
            return None;
        }
        slot.live += u32::from(!existed);
        slot.newest = slot.newest.max(revision.main);
        history.get(i64::MAX)
    }

    /// Deletes the keys of `range` that exist, in order, the first at revision `first` and each at the next sub-revision, and
    /// shows them, each in two parts. Looks at about `budget` keys, of which long ones count for more; answers the last one if
    /// there may be more.
    ///
    /// # Errors
    /// The revision that is not newer than all before.
    pub fn delete(
        &mut self,
        range: &KeyRange,
        budget: usize,
        first: Revision,
        mut each: impl FnMut(&[u8], &[u8]),
    ) -> Result<Option<Bytes>, Revision> {
        let Some((from, to)) = self.span(range) else { return Ok(None) };
        let (mut count, mut tombstone) = (0, first);
        for (slot, places) in pieces(self.slots.iter_mut(), |slot| slot.len, from, to) {
            let block = &mut slot.block;
            let last = places.end - 1;
            count += places.len();
            let begin = tombstone;
            let all = places.len() == block.len() && slot.newest < begin.main;
            for place in places {
                if !block.histories().exists(place) {
                    continue;
                }
                let (start, rest) = block.key(place);
                each(start, rest);
                count += (start.len() + rest.len()) / LONG_KEY;
                if !all && !block.histories_mut().settled()[place].tombstone(tombstone) {
                    return Err(tombstone);
                }
                tombstone.sub += 1;
                slot.live -= 1;
            }
            if begin < tombstone {
                slot.newest = slot.newest.max(first.main);
                if all {
                    block.histories_mut().end_all(begin);
                }
            }
            if count >= budget {
                let (start, rest) = block.key(last);
                return Ok(Some([start, rest].concat().into()));
            }
        }
        Ok(None)
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
        let (mut count, mut key) = (0, Vec::new());
        for (slot, places) in self.pieces(from, to) {
            for place in places {
                let mut stop = false;
                if let Some(seen) = slot.block.histories().get(place, at) {
                    slot.block.read_key(place, &mut key);
                    stop = each(&key, seen).is_break();
                }
                count += 1;
                if stop || count >= budget {
                    slot.block.read_key(place, &mut key);
                    return Some(key.into());
                }
            }
        }
        None
    }

    /// Counts the keys of `range` that existed at revision `at`. Blocks without a newer revision are not looked into.
    /// After about `budget` steps it stops and also answers the last key it has counted.
    pub fn count(&self, range: &KeyRange, at: i64, budget: usize) -> (usize, Option<Bytes>) {
        let Some((from, to)) = self.span(range) else { return (0, None) };
        let (mut count, mut steps, mut counted) = (0, 0, None);
        for (slot, places) in self.pieces(from, to) {
            if let Some(last) = counted.filter(|_| steps >= budget) {
                return (count, Some(Block::last_key(last).into()));
            }
            if places.len() == slot.len as usize && slot.newest <= at {
                count += slot.live as usize;
                steps += 1;
            } else {
                steps += places.len();
                let histories = slot.block.histories();
                count += places.filter(|place| histories.get(*place, at).is_some()).count();
            }
            counted = Some(&*slot.block);
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
        let first = after.map_or(0, |after| {
            let (number, place) = self.place_behind(after);
            let is_done = self.slots.get(number).is_some_and(|slot| place >= slot.block.len());
            number + usize::from(is_done)
        });
        let (mut end, mut done, mut last, mut shrunk) = (first, 0, None, false);
        for slot in self.slots.get_mut(first..).unwrap_or_default() {
            if done >= budget {
                break;
            }
            done += slot.block.len();
            last = Some(slot.block.last_key());
            shrunk |= slot.block.compact(after, at, &mut kept);
            slot.len = slot.block.len() as u32;
            end += 1;
        }
        let complete = end >= self.slots.len();
        if shrunk {
            self.join_small(first.saturating_sub(1)..end);
        }
        last.filter(|_| !complete).map(Bytes::from)
    }

    /// Joins blocks of a range that have become small, and drops those that have become empty.
    fn join_small(&mut self, range: Range<usize>) {
        let start = range.start;
        let mut joined: Vec<Slot> = Vec::with_capacity(range.len());
        let behind = self.slots.split_off(range.end);
        for slot in self.slots.drain(start..).filter(|slot| slot.block.len() > 0) {
            match joined.last_mut() {
                Some(left) if left.block.len() + slot.block.len() <= BLOCK_MAX / 2 => {
                    left.block.append(*slot.block);
                    left.len += slot.len;
                    left.live += slot.live;
                    left.newest = left.newest.max(slot.newest);
                }
                _ => joined.push(slot),
            }
        }
        let end = start + joined.len();
        self.slots.append(&mut joined);
        self.slots.extend(behind);
        self.refresh(start..end);
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
        let mut count = 0;
        for (slot, places) in self.pieces(from, (self.slots.len(), 0)) {
            for place in places {
                if let Some(revision) = slot.block.histories().keep(place, at) {
                    kept(revision);
                }
                count += 1;
                if count >= budget {
                    let mut key = Vec::new();
                    slot.block.read_key(place, &mut key);
                    return Some(key.into());
                }
            }
        }
        None
    }

    /// Number of keys, deleted ones with kept history included.
    pub fn len(&self) -> usize {
        self.slots.iter().map(|slot| slot.len as usize).sum()
    }

    /// Where `key` is, or else where it belongs.
    fn find(&self, key: &[u8]) -> Result<Place, Place> {
        let number = self.block_of(key);
        let Some(slot) = self.slots.get(number) else { return Err((0, 0)) };
        slot.block.find(key).map(|place| (number, place)).map_err(|place| (number, place))
    }

    /// The last block whose first key is not above `key`, else the first block.
    fn block_of(&self, key: &[u8]) -> usize {
        let Some(rest) = key.strip_prefix(&self.shared[..]) else {
            return if *key < self.shared[..] { 0 } else { self.slots.len().saturating_sub(1) };
        };
        let head = long_head(rest);
        let from = self.slots.partition_point(|slot| slot.head < head);
        let alike = |slot: &Slot| slot.head == head;
        if !self.slots.get(from).is_some_and(alike) {
            return from.saturating_sub(1);
        }
        let not_above = |slot: &Slot| alike(slot) && slot.block.begins_at_or_before(key);
        (from + self.slots[from..].partition_point(not_above)).saturating_sub(1)
    }

    /// The first keys of the blocks `changed`, and of no others, are not what they were.
    fn refresh(&mut self, changed: Range<usize>) {
        let ends = self.slots.first().zip(self.slots.last());
        let shared = ends.map_or_else(Vec::new, |(first, last)| {
            let mut shared = first.block.first_key();
            shared.truncate(shared_len(&shared, &last.block.first_key()));
            shared
        });
        let all = shared != self.shared;
        let count = self.slots.len();
        self.shared = shared;
        for slot in &mut self.slots[if all { 0..count } else { changed }] {
            slot.head = long_head(&slot.block.first_key()[self.shared.len()..]);
        }
    }

    /// Where the first key not below `key` is.
    fn place_of(&self, key: &[u8]) -> Place {
        self.find(key).unwrap_or_else(|place| place)
    }

    fn place_behind(&self, key: &[u8]) -> Place {
        self.find(key).map_or_else(|place| place, |(number, place)| (number, place + 1))
    }

    fn span(&self, range: &KeyRange) -> Option<(Place, Place)> {
        match range {
            KeyRange::One(key) => self.find(key).ok().map(|found| (found, (found.0, found.1 + 1))),
            KeyRange::Between(key, end) => (key < end).then(|| (self.place_of(key), self.place_of(end))),
            KeyRange::From(key) => Some((self.place_of(key), (self.slots.len(), 0))),
        }
    }

    fn pieces(&self, from: Place, to: Place) -> impl Iterator<Item = (&Slot, Range<usize>)> {
        pieces(self.slots.iter(), |slot| slot.len, from, to)
    }

    fn insert(&mut self, (mut number, mut place): Place, key: &[u8], history: History) {
        let count = self.slots.len();
        let full = self.slots.get(number).is_some_and(|slot| !slot.block.has_room(key));
        if !full && count > 0 {
            self.slots[number].insert(place, key, history);
            if place == 0 {
                self.refresh(number..number + 1);
            }
            return;
        }
        let block_len = self.slots.get(number).map_or(0, |slot| slot.block.len());
        if place > 0 && place < block_len {
            self.split(number, block_len / 2);
            if place > block_len / 2 {
                (number, place) = (number + 1, place - block_len / 2);
            }
            return self.insert((number, place), key, history);
        }
        // Keys that come in rising order leave full blocks behind them. Between two blocks the key goes to the one behind,
        // so that keys in falling order do not each get a block.
        if place > 0 && self.slots.get(number + 1).is_some_and(|next| next.block.has_room(key)) {
            return self.insert((number + 1, 0), key, history);
        }
        let at = if place > 0 { number + 1 } else { number };
        let mut slot = Slot::new(Block::default());
        slot.insert(0, key, history);
        self.slots.insert(at, slot);
        self.refresh(at..at + 1);
    }

    /// Splits a block in two.
    fn split(&mut self, number: usize, place: usize) {
        let mut left = std::mem::take(&mut *self.slots[number].block);
        let right = left.split_off(place);
        let head = self.slots[number].head;
        self.slots[number] = Slot { head, ..Slot::new(left) };
        self.slots.insert(number + 1, Slot::new(right));
        self.refresh(number + 1..number + 2);
    }
}

/// The blocks of a span, with the places in them that belong to it.
fn pieces<S>(
    slots: impl Iterator<Item = S>,
    len: impl Fn(&S) -> u32,
    from: Place,
    to: Place,
) -> impl Iterator<Item = (S, Range<usize>)> {
    let pieces = slots.enumerate().take(to.0.saturating_add(1)).skip(from.0).map(move |(number, slot)| {
        let start = if number == from.0 { from.1 } else { 0 };
        let end = if number == to.0 { to.1 } else { len(&slot) as usize };
        (slot, start..end)
    });
    pieces.filter(|(_, places)| !places.is_empty())
}

/// Twice as long as those of a block's keys, because first keys are further apart and share less.
fn long_head(rest: &[u8]) -> [u64; 2] {
    [head(rest, 0), head(rest, 8)]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::block::Keys;
    use crate::key_index::{KeyIndex, len_of, seen_at};

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
        let mut last = Vec::new();
        for slot in &index.slots {
            assert!((1..=BLOCK_MAX).contains(&slot.block.len()) && slot.len as usize == slot.block.len());
            assert_eq!(slot.head, long_head(&slot.block.first_key()[index.shared.len()..]));
            let mut key = Vec::new();
            for place in 0..slot.block.len() {
                slot.block.read_key(place, &mut key);
                assert!(last.is_empty() || last < key);
                last.clone_from(&key);
            }
            let histories = slot.block.histories();
            let living = (0..slot.block.len()).filter(|place| histories.get(*place, i64::MAX).is_some());
            assert_eq!(living.count(), slot.live as usize);
            assert!(histories.newest() <= slot.newest);
        }
    }

    /// As restored in one go.
    fn rebuilt(model: &BTreeMap<Vec<u8>, KeyIndex>) -> Index {
        let entries: Vec<_> = model.iter().collect();
        Index::new(entries.chunks(BLOCK_MAX).map(|chunk| {
            let mut keys = Keys::default();
            chunk.iter().for_each(|(key, _)| keys.push(&[], key));
            let pack = |history: &KeyIndex| match history.get(i64::MAX) {
                Some(_) => History::More(Box::new(history.clone())),
                None => History::Dead(Box::new(history.clone())),
            };
            Block::new(&keys, chunk.iter().map(|(_, history)| pack(history)).collect())
        }))
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
                    index.put(&key, revision, len_of).unwrap();
                    match model.get_mut(&key[..]) {
                        Some(history) => assert!(history.put(revision, len_of)),
                        None => {
                            drop(model.insert(key.to_vec(), KeyIndex::restored(seen_at(main, 1, revision))))
                        }
                    }
                } else {
                    // Mostly a single key, at times whole blocks.
                    let range = match draw(&mut state, 4) {
                        0 => random_range(&mut state),
                        _ => KeyRange::One(Bytes::copy_from_slice(&key)),
                    };
                    let (mut deleted, mut shown) = (Vec::new(), Vec::new());
                    for (key, history) in model.iter_mut().filter(|(key, _)| within(&range, key)) {
                        if history.tombstone(Revision::new(main, deleted.len() as i64)) {
                            deleted.push(key.clone());
                        }
                    }
                    let mut rest = Some(range);
                    while let Some(range) = rest {
                        let first = Revision::new(main, shown.len() as i64);
                        let last =
                            index.delete(&range, 9, first, |a, b| shown.push([a, b].concat())).unwrap();
                        rest = last.and_then(|last| range.behind(&last));
                        check_shape(&index);
                    }
                    assert_eq!(shown, deleted);
                }
                if main % 40 == 0 {
                    let (mut kept, mut expected) = (Vec::new(), Vec::new());
                    let mut after: Option<Bytes> = None;
                    loop {
                        after =
                            index.compact(after.as_deref(), main - 10, 1 + main as usize % 7, |revision| {
                                kept.push(revision)
                            });
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
                for (key, history) in &model {
                    let sub = draw(&mut state, 4) as i64;
                    let known = Revision::new(main - draw(&mut state, 40) as i64, sub);
                    assert_eq!(index.holds(key, known), history.holds(known));
                    assert_eq!(index.get(key, known.main), history.get(known.main));
                }
                let mut kept = Vec::new();
                let at = main - draw(&mut state, 40) as i64;
                assert_eq!(index.keep(None, at, usize::MAX, |revision| kept.push(revision)), None);
                assert_eq!(kept, model.values().filter_map(|history| history.keep(at)).collect::<Vec<_>>());
                let range = random_range(&mut state);
                check_range(&index, &model, &range, main - draw(&mut state, 10) as i64);
            }
            check_range(&rebuilt(&model), &model, &KeyRange::From(Bytes::new()), 400);
        }
    }

    #[test]
    fn keys_in_rising_or_falling_order_fill_their_blocks() {
        let (mut rising, mut falling, mut between) = (Index::default(), Index::default(), Index::default());
        for n in 0..40u8 {
            rising.put(&[n], Revision::new(2, i64::from(n)), len_of).unwrap();
            falling.put(&[100 - n], Revision::new(2, i64::from(n)), len_of).unwrap();
            between.put(&[n, n], Revision::new(2, i64::from(n)), len_of).unwrap();
        }
        for n in (0..40u8).rev() {
            between.put(&[3, 3, n], Revision::new(3, i64::from(n)), len_of).unwrap();
        }
        let blocks = |index: &Index| {
            check_shape(index);
            index.slots.len()
        };
        assert_eq!((blocks(&rising), blocks(&falling)), (40 / BLOCK_MAX, 40 / BLOCK_MAX));
        assert!(blocks(&between) <= 80 / (BLOCK_MAX / 2), "{}", blocks(&between));
    }

    #[test]
    fn a_range_is_deleted_in_order_and_in_parts() {
        let mut index = Index::default();
        for n in 0..30u8 {
            index.put(&[n], Revision::new(2, i64::from(n)), len_of).unwrap();
        }
        let (mut rest, mut gone) = (Some(KeyRange::Between(vec![3].into(), vec![20].into())), Vec::new());
        while let Some(range) = rest {
            let first = Revision::new(3, gone.len() as i64);
            let last = index.delete(&range, 5, first, |a, b| gone.push([a, b].concat()[0])).unwrap();
            rest = last.and_then(|last| range.behind(&last));
            check_shape(&index);
        }
        assert_eq!(gone, (3..20).collect::<Vec<_>>());
        assert_eq!(index.count(&KeyRange::From(Bytes::new()), 3, 1000), (13, None));
        let again = index.delete(&KeyRange::From(Bytes::new()), 1, Revision::new(1, 0), |_, _| {});
        assert_eq!(again, Err(Revision::new(1, 0)));
    }

    #[test]
    fn long_keys_make_small_blocks_and_unlike_ones_do_not_unfold_them() {
        let mut index = Index::default();
        let long = |n: u8| [&[b'k'; 1000][..], &[n]].concat();
        for n in [3, 1, 2, 0] {
            index.put(&long(n), Revision::new(2, i64::from(n)), len_of).unwrap();
        }
        assert_eq!(index.slots.len(), 1, "they share nearly all");
        index.put(b"a", Revision::new(3, 0), len_of).unwrap();
        index.put(b"z", Revision::new(3, 1), len_of).unwrap();
        check_shape(&index);
        assert_eq!(index.slots.len(), 3);
        for key in [long(0), long(1), long(2), long(3), b"a".into(), b"z".into()] {
            assert!(index.get(&key, 9).is_some());
        }
    }
}
