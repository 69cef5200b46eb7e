//! Many deletes of one txn, kept as little more than their keys: the records and the events of a million of them are only
//! made where they are asked for, and not where every other write waits.

use backend::Records;
use bytes::Bytes;

use crate::block::Keys;
use crate::{Event, Revision, record};

/// Deletes that follow each other within a txn.
#[derive(Debug)]
pub(crate) struct Deletes {
    first: Revision,
    keys: Keys,
}

impl Deletes {
    /// The first one will have this revision.
    pub fn new(first: Revision) -> Deletes {
        Deletes { first, keys: Keys::default() }
    }

    /// Adds the key that the two parts make together.
    pub fn push(&mut self, start: &[u8], rest: &[u8]) {
        self.keys.push(start, rest);
    }

    /// The revision of the next one.
    pub fn next(&self) -> Revision {
        self.revision(self.keys.len())
    }

    /// Length of all keys together, in bytes.
    pub fn keys_bytes(&self) -> usize {
        self.keys.bytes_len()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// The deleted keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|nth| self.keys.get(nth))
    }

    /// As watchers receive them.
    pub fn events(&self) -> impl Iterator<Item = Event> {
        self.all().map(|delete| delete.event(self.first.main))
    }

    pub fn all(&self) -> impl Iterator<Item = record::Delete> {
        (0..self.len()).map(|nth| self.delete(nth))
    }

    fn revision(&self, nth: usize) -> Revision {
        Revision::new(self.first.main, self.first.sub + nth as i64)
    }

    fn delete(&self, nth: usize) -> record::Delete {
        record::of_delete(self.keys.get(nth), self.revision(nth))
    }
}

impl Records for Deletes {
    fn count(&self) -> usize {
        self.len()
    }

    fn bytes(&self) -> usize {
        self.len() * record::TOMBSTONE_OVERHEAD + self.keys_bytes()
    }

    fn key(&self, nth: usize) -> Bytes {
        Bytes::copy_from_slice(&self.revision(nth).to_tombstone_bytes())
    }

    fn record(&self, nth: usize) -> (Bytes, Bytes) {
        let delete = self.delete(nth);
        (delete.stored_key, delete.stored)
    }
}
