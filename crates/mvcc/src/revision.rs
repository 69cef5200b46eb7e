//! Revisions and the keys of records in bucket `key` (formats 3.1).

use std::fmt;

/// When a change happened: the number of the writing txn and the change's place within it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision {
    /// Number of the writing txn; the first one a store writes is 2.
    pub main: i64,
    /// Place of the change within the txn, from 0.
    pub sub: i64,
}

/// Length of an encoded revision in bytes.
pub(crate) const REVISION_LEN: usize = 17;
const SEPARATOR: u8 = b'_';
const TOMBSTONE_MARK: u8 = b't';

impl Revision {
    /// A revision from its two parts.
    pub const fn new(main: i64, sub: i64) -> Revision {
        Revision { main, sub }
    }

    /// The 17 bytes under which a put at this revision is stored; they sort as revisions do.
    pub fn to_bytes(self) -> [u8; REVISION_LEN] {
        let mut out = [0; REVISION_LEN];
        out[..8].copy_from_slice(&self.main.to_be_bytes());
        out[8] = SEPARATOR;
        out[9..].copy_from_slice(&self.sub.to_be_bytes());
        out
    }

    /// The 18 bytes under which a delete at this revision is stored.
    pub fn to_tombstone_bytes(self) -> [u8; REVISION_LEN + 1] {
        let mut out = [TOMBSTONE_MARK; REVISION_LEN + 1];
        out[..REVISION_LEN].copy_from_slice(&self.to_bytes());
        out
    }

    /// Reads a plain revision (no tombstone mark), as the compaction marks of bucket `meta` hold it.
    pub fn from_bytes(bytes: &[u8]) -> Option<Revision> {
        match RecordKey::from_bytes(bytes)? {
            RecordKey { revision, tombstone: false } => Some(revision),
            _ => None,
        }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.main, self.sub)
    }
}

/// A key of bucket `key`: a revision and whether it deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordKey {
    /// When the record was written.
    pub revision: Revision,
    /// The record says that its key was deleted.
    pub tombstone: bool,
}

impl RecordKey {
    /// Reads 17 or 18 bytes; `None` for any other length, separator or mark and for negative parts.
    pub fn from_bytes(bytes: &[u8]) -> Option<RecordKey> {
        let tombstone = match bytes {
            [_, ..] if bytes.len() == REVISION_LEN => false,
            [.., TOMBSTONE_MARK] if bytes.len() == REVISION_LEN + 1 => true,
            _ => return None,
        };
        let main = i64::from_be_bytes(bytes[..8].try_into().ok()?);
        let sub = i64::from_be_bytes(bytes[9..REVISION_LEN].try_into().ok()?);
        if bytes[8] != SEPARATOR || main < 0 || sub < 0 {
            return None;
        }
        Some(RecordKey { revision: Revision { main, sub }, tombstone })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_is_two_big_endian_numbers_around_an_underscore() {
        let bytes = Revision::new(2, 0x0102).to_bytes();
        assert_eq!(bytes, *b"\0\0\0\0\0\0\0\x02_\0\0\0\0\0\0\x01\x02");
        assert_eq!(Revision::from_bytes(&bytes), Some(Revision::new(2, 0x0102)));
    }

    #[test]
    fn a_tombstone_carries_a_mark_behind_the_revision() {
        let bytes = Revision::new(7, 1).to_tombstone_bytes();
        assert_eq!(bytes[17], b't');
        let key = RecordKey::from_bytes(&bytes).unwrap();
        assert_eq!(key, RecordKey { revision: Revision::new(7, 1), tombstone: true });
        assert_eq!(Revision::from_bytes(&bytes), None);
    }

    #[test]
    fn other_lengths_separators_marks_and_negative_parts_are_refused() {
        let good = Revision::new(7, 1).to_tombstone_bytes();
        for length in 0..16 {
            assert_eq!(RecordKey::from_bytes(&good[..length]), None);
        }
        for (at, byte) in [(0, 0x80), (9, 0xff), (8, b'-'), (17, b'u')] {
            let mut bad = good;
            bad[at] = byte;
            assert_eq!(RecordKey::from_bytes(&bad), None, "byte {at}");
        }
    }
}
