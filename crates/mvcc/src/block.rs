//! A run of neighbouring keys of the index, with their histories.
//!
//! What all its keys begin with is kept once, the rests lie one behind the other. Whoever compares keys looks at memory
//! all over; so a block also keeps, as numbers in one place, the first bytes of each rest: a search looks at those and
//! then at one rest or two.

use std::cmp::Ordering;

use crate::Revision;
use crate::histories::Histories;
use crate::history::History;

/// Keys that a block holds at most. Small in unit tests, so that they meet many blocks.
pub(crate) const BLOCK_MAX: usize = if cfg!(test) { 4 } else { 128 };
/// Bytes of rests that a block holds at most, unless a single key has more.
pub(crate) const BYTES_MAX: usize = if cfg!(test) { 64 } else { 64 << 10 };

/// Byte strings, one behind the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keys {
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<u32>,
}

/// Keys in order, and their histories.
#[derive(Debug, Default)]
pub(crate) struct Block {
    prefix: Box<[u8]>,
    rests: Keys,
    /// Of each rest.
    heads: Vec<u64>,
    histories: Histories,
}

impl Keys {
    fn with_capacity(keys: usize, bytes: usize) -> Keys {
        Keys { bytes: Vec::with_capacity(bytes), ends: Vec::with_capacity(keys) }
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Length of all together, in bytes.
    pub fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    fn start(&self, place: usize) -> usize {
        place.checked_sub(1).map_or(0, |before| self.ends[before] as usize)
    }

    pub fn get(&self, place: usize) -> &[u8] {
        &self.bytes[self.start(place)..self.ends[place] as usize]
    }

    /// Adds what the two parts make together.
    pub fn push(&mut self, start: &[u8], rest: &[u8]) {
        self.bytes.extend_from_slice(start);
        self.bytes.extend_from_slice(rest);
        // At most 64 KiB and a key, or the few keys of a block; a key comes in a message, whose length has 32 bits.
        self.ends.push(self.bytes.len() as u32);
    }

    fn insert(&mut self, place: usize, key: &[u8]) {
        let start = self.start(place);
        if self.bytes.capacity() - self.bytes.len() < key.len() {
            self.bytes.reserve_exact(key.len() + self.bytes.len() / 8);
        }
        self.bytes.extend_from_slice(key);
        self.bytes[start..].rotate_right(key.len());
        make_room(&mut self.ends);
        self.ends.insert(place, start as u32);
        for end in &mut self.ends[place..] {
            *end += key.len() as u32;
        }
    }
}

/// Grows by an eighth: blocks are many and seldom grow, room they do not need would add up.
fn make_room<T>(list: &mut Vec<T>) {
    if list.len() == list.capacity() {
        list.reserve_exact(list.len() / 8 + 4);
    }
}

impl Block {
    /// Of keys in order, one history each.
    pub fn new(keys: &Keys, histories: Vec<History>) -> Block {
        let mut block = Block { histories: histories.into(), ..Block::default() };
        block.set_keys(keys);
        block
    }

    fn set_keys(&mut self, keys: &Keys) {
        let shared = match keys.len() {
            0 => 0,
            len => shared_len(keys.get(0), keys.get(len - 1)),
        };
        self.prefix = keys.bytes[..shared].into();
        self.rests = Keys::with_capacity(keys.len(), keys.bytes_len() - keys.len() * shared);
        (0..keys.len()).for_each(|place| self.rests.push(&[], &keys.get(place)[shared..]));
        self.heads = (0..keys.len()).map(|place| head(self.rests.get(place), 0)).collect();
    }

    pub fn len(&self) -> usize {
        self.histories.len()
    }

    /// The two parts of the key at `place`.
    pub fn key(&self, place: usize) -> (&[u8], &[u8]) {
        (&self.prefix, self.rests.get(place))
    }

    /// Writes the key at `place` into `key`, which may hold another key of this block.
    pub fn read_key(&self, place: usize, key: &mut Vec<u8>) {
        let (start, rest) = self.key(place);
        key.clear();
        key.extend_from_slice(start);
        key.extend_from_slice(rest);
    }

    /// The lowest key, if there is one.
    pub fn first_key(&self) -> Vec<u8> {
        if self.len() == 0 { Vec::new() } else { [&self.prefix, self.rests.get(0)].concat() }
    }

    /// The greatest key, if there is one.
    pub fn last_key(&self) -> Vec<u8> {
        match self.len().checked_sub(1) {
            None => Vec::new(),
            Some(last) => [&self.prefix, self.rests.get(last)].concat(),
        }
    }

    /// Whether the lowest key is not above `key`.
    pub fn begins_at_or_before(&self, key: &[u8]) -> bool {
        match key.strip_prefix(&self.prefix[..]) {
            Some(rest) => self.rests.get(0) <= rest,
            None => self.prefix[..] < *key,
        }
    }

    pub fn histories(&self) -> &Histories {
        &self.histories
    }

    pub fn histories_mut(&mut self) -> &mut Histories {
        &mut self.histories
    }

    /// Where `key` is, or else where it belongs.
    pub fn find(&self, key: &[u8]) -> Result<usize, usize> {
        let Some(rest) = key.strip_prefix(&self.prefix[..]) else {
            return Err(if *key < self.prefix[..] { 0 } else { self.len() });
        };
        let head = head(rest, 0);
        let from = self.heads.partition_point(|other| *other < head);
        // Mostly the key exists and no other has its head: then no other need be looked at.
        if self.heads.get(from) == Some(&head) && self.rests.get(from) == rest {
            return Ok(from);
        }
        let (mut low, mut high) = (from, from);
        high += self.heads[from..].iter().take_while(|other| **other == head).count();
        while low < high {
            let middle = low + (high - low) / 2;
            match self.rests.get(middle).cmp(rest) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok(middle),
                Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// Whether one more key fits in.
    pub fn has_room(&self, key: &[u8]) -> bool {
        let shared = shared_len(&self.prefix, key);
        let longer = (self.prefix.len() - shared).saturating_mul(self.len());
        let bytes = self.rests.bytes_len().saturating_add(longer).saturating_add(key.len() - shared);
        self.len() == 0 || (self.len() < BLOCK_MAX && bytes <= BYTES_MAX)
    }

    /// Puts a key where [`Block::find`] says that it belongs.
    pub fn insert(&mut self, place: usize, key: &[u8], history: History) {
        let histories = self.histories.settled();
        make_room(histories);
        histories.insert(place, history);
        match key.strip_prefix(&self.prefix[..]) {
            Some(rest) if !self.heads.is_empty() => {
                self.rests.insert(place, rest);
                make_room(&mut self.heads);
                self.heads.insert(place, head(rest, 0));
            }
            _ => {
                let mut keys = self.keys(0..self.heads.len());
                keys.insert(place, key);
                self.set_keys(&keys);
            }
        }
    }

    /// Takes the keys from `place` on away into a block of their own.
    pub fn split_off(&mut self, place: usize) -> Block {
        let (left, right) = (self.keys(0..place), self.keys(place..self.len()));
        let histories = self.histories.settled();
        let right = Block::new(&right, histories.split_off(place));
        histories.shrink_to_fit();
        self.set_keys(&left);
        right
    }

    /// Adds the keys of the block behind.
    pub fn append(&mut self, mut behind: Block) {
        let mut keys = self.keys(0..self.len());
        (0..behind.len()).for_each(|place| keys.push(&behind.prefix, behind.rests.get(place)));
        self.histories.settled().append(behind.histories.settled());
        self.set_keys(&keys);
    }

    /// Compacts the histories behind the key `after` and drops those of which nothing is left; `kept` sees what stays for
    /// reads at `at`. Whether some were dropped.
    pub fn compact(&mut self, after: Option<&[u8]>, at: i64, kept: impl FnMut(Revision)) -> bool {
        let first = after.map_or(0, |after| self.find(after).map_or_else(|place| place, |place| place + 1));
        let histories = self.histories.compact(first, at, kept);
        if !histories[first..].iter().any(History::is_empty) {
            return false;
        }
        let mut keys = Keys::default();
        for (place, history) in histories.iter().enumerate() {
            if !history.is_empty() {
                keys.push(&self.prefix, self.rests.get(place));
            }
        }
        histories.retain(|history| !history.is_empty());
        histories.shrink_to_fit();
        self.set_keys(&keys);
        true
    }

    fn keys(&self, places: std::ops::Range<usize>) -> Keys {
        let mut keys = Keys::with_capacity(
            places.len() + 1,
            self.rests.bytes_len() + (places.len() + 1) * (self.prefix.len() + 16),
        );
        places.for_each(|place| keys.push(&self.prefix, self.rests.get(place)));
        keys
    }
}

/// The bytes of `key` from `at` on, as a number: of two keys that agree before, the one with the lower number is lower;
/// equal numbers say nothing.
pub(crate) fn head(key: &[u8], at: usize) -> u64 {
    let rest = key.get(at..).unwrap_or_default();
    let first = rest.first_chunk().copied().unwrap_or_else(|| {
        let mut padded = [0; 8];
        padded[..rest.len()].copy_from_slice(rest);
        padded
    });
    u64::from_be_bytes(first)
}

/// How many bytes two keys have in common; keys between the two have them, too.
pub(crate) fn shared_len(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_index::seen_at;

    fn history() -> History {
        History::restored(seen_at(2, 1, Revision::new(2, 0)))
    }

    #[test]
    fn keys_are_found_whatever_they_share() {
        let mut keys: Vec<Vec<u8>> = vec![b"".into(), b"a".into(), b"a\0".into(), b"a\0\0".into()];
        for start in ["/registry/pods/default/", "/registry/pods/kube-system/", "/registry/leases/"] {
            keys.extend(
                (0..20u8).map(|n| [start.as_bytes(), b"name-of-", &[n / 4], &vec![0; n as usize]].concat()),
            );
        }
        keys.sort();
        for skip in 0..keys.len() {
            let keys = &keys[skip..];
            let mut grown = Block::default();
            // From the middle outwards and back in.
            for key in keys.iter().skip(keys.len() / 2).chain(keys.iter().take(keys.len() / 2).rev()) {
                let place = grown.find(key).unwrap_err();
                grown.insert(place, key, history());
            }
            let mut all = Keys::default();
            keys.iter().for_each(|key| all.push(&key[..1.min(key.len())], &key[1.min(key.len())..]));
            let mut joined = Block::new(&all, vec![history(); keys.len()]);
            let right = joined.split_off(keys.len() / 2);
            joined.append(right);
            for block in [&grown, &joined] {
                let mut read = Vec::new();
                for (place, key) in keys.iter().enumerate() {
                    block.read_key(place, &mut read);
                    assert_eq!(read, *key);
                    assert_eq!(block.find(key), Ok(place));
                    let behind = [&key[..], &[0]].concat();
                    assert_eq!(block.find(&behind).unwrap_or_else(|place| place), place + 1);
                    assert!(block.begins_at_or_before(key));
                    assert_eq!(
                        keys[0][..] > key[..key.len() / 2],
                        !block.begins_at_or_before(&key[..key.len() / 2])
                    );
                }
                assert_eq!(block.find(b"~"), Err(keys.len()));
                assert_eq!(
                    (block.first_key(), block.last_key()),
                    (keys[0].clone(), keys[keys.len() - 1].clone())
                );
            }
        }
    }
}
