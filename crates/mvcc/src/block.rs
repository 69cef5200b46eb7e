//! A run of neighbouring keys of the index, with their histories.
//!
//! Whoever compares keys follows a pointer to each of them. So a block also keeps, as numbers in one place, the first
//! bytes behind what all its keys share: a search looks at those and then at one key or two.

use std::cmp::Ordering;

use crate::key_index::KeyIndex;

/// A key and its history.
pub(crate) type Entry = (Box<[u8]>, KeyIndex);

/// Entries in key order.
#[derive(Debug, Default)]
pub(crate) struct Block {
    /// To be changed with [`Block::insert`], or before [`Block::refresh`].
    pub entries: Vec<Entry>,
    /// Entries whose key exists at the newest revision.
    pub live: usize,
    /// Main part of the newest revision of all entries.
    pub newest: i64,
    /// Of the first key, behind what the first keys of all blocks share.
    pub head: [u64; 2],
    /// Bytes that all keys begin with.
    shared: usize,
    /// Of each key, behind these bytes.
    heads: Vec<u64>,
}

impl Block {
    /// Of sorted entries.
    pub fn new(entries: Vec<Entry>) -> Block {
        let live = entries.iter().filter(|(_, history)| history.get(i64::MAX).is_some()).count();
        let newest = entries.iter().filter_map(|(_, history)| history.newest()).map(|newest| newest.main);
        let mut block = Block { live, newest: newest.max().unwrap_or(0), entries, ..Block::default() };
        block.refresh();
        block
    }

    /// The lowest key; empty if there is none.
    pub fn first_key(&self) -> &[u8] {
        self.entries.first().map_or(&[], |(key, _)| key)
    }

    /// Where `key` is, or else where it belongs.
    pub fn find(&self, key: &[u8]) -> Result<usize, usize> {
        let head = head(key, self.shared);
        let from = self.heads.partition_point(|other| *other < head);
        // Mostly the key exists and no other has its head: then no other need be looked at.
        if self.heads.get(from) == Some(&head) && *self.entries[from].0 == *key {
            return Ok(from);
        }
        match compare_start(key, self.first_key(), self.shared) {
            Ordering::Less => return Err(0),
            Ordering::Greater => return Err(self.entries.len()),
            Ordering::Equal => {}
        }
        let alike = self.heads[from..].iter().take_while(|other| **other == head).count();
        let entries = &self.entries[from..from + alike];
        let found = entries.binary_search_by(|(entry, _)| entry[..].cmp(key));
        found.map(|place| from + place).map_err(|place| from + place)
    }

    /// Puts an entry where [`Block::find`] says that it belongs.
    pub fn insert(&mut self, place: usize, entry: Entry) {
        self.live += usize::from(entry.1.get(i64::MAX).is_some());
        self.newest = self.newest.max(entry.1.newest().map_or(0, |newest| newest.main));
        if compare_start(&entry.0, self.first_key(), self.shared).is_eq() && !self.entries.is_empty() {
            self.heads.insert(place, head(&entry.0, self.shared));
            self.entries.insert(place, entry);
        } else {
            self.entries.insert(place, entry);
            self.refresh();
        }
    }

    /// Takes the entries from `place` on away into a block of their own.
    pub fn split_off(&mut self, place: usize) -> Block {
        let right = Block::new(self.entries.split_off(place));
        self.live -= right.live;
        self.refresh();
        right
    }

    /// Entries were taken away or added.
    pub fn refresh(&mut self) {
        let last = self.entries.last().map_or(&[][..], |(key, _)| key);
        self.shared = shared_len(self.first_key(), last);
        self.heads.clear();
        self.heads.extend(self.entries.iter().map(|(key, _)| head(key, self.shared)));
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

/// Where `key` lies of all keys that share the first `shared` bytes of `first`; equal if it begins with them, too.
pub(crate) fn compare_start(key: &[u8], first: &[u8], shared: usize) -> Ordering {
    let common = shared.min(key.len());
    key[..common].cmp(&first[..common]).then(common.cmp(&shared))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Revision;

    fn entry(key: &[u8]) -> Entry {
        (key.into(), KeyIndex::restored(2, 1, Revision::new(2, 0)))
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
                grown.insert(place, entry(key));
            }
            let built = Block::new(keys.iter().map(|key| entry(key)).collect());
            for block in [&grown, &built] {
                assert!(block.entries.iter().map(|(key, _)| &key[..]).eq(keys.iter().map(|key| &key[..])));
                for (place, key) in keys.iter().enumerate() {
                    assert_eq!(block.find(key), Ok(place));
                    let behind = [&key[..], &[0]].concat();
                    assert_eq!(block.find(&behind).unwrap_or_else(|place| place), place + 1);
                }
                assert_eq!(block.find(b"~"), Err(keys.len()));
            }
        }
    }
}
