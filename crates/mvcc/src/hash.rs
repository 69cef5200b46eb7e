//! The hashes by which members compare what they hold (formats 3.11).

use std::collections::{BTreeSet, VecDeque};

use backend::{Bucket, Turn, schema};
use bytes::Bytes;

use crate::{Error, KvReader, RecordKey, Revision, record};

/// Compaction hashes remembered.
const STORED_MAX: usize = 10;
/// Keys looked at before the index is let go.
const KEYS_PER_LOCK: usize = 256;

/// The hash of the key-value store at a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashKv {
    /// CRC-32C over the records that count.
    pub hash: u32,
    /// The compaction that the hash presumes; -1: none. Hashes compare only if these are equal.
    pub compact_revision: i64,
    /// The revision that was hashed.
    pub hash_revision: i64,
    /// The current revision when asked: for the response header.
    pub revision: i64,
}

/// The newest hashes taken by compactions: they answer for revisions that are gone since.
#[derive(Debug, Default)]
pub(crate) struct StoredHashes {
    newest_last: VecDeque<HashKv>,
}

impl StoredHashes {
    pub fn store(&mut self, hash: HashKv) {
        self.newest_last.push_back(hash);
        if self.newest_last.len() > STORED_MAX {
            self.newest_last.pop_front();
        }
    }

    fn at(&self, revision: i64) -> Option<HashKv> {
        self.newest_last.iter().find(|hash| hash.hash_revision == revision).copied()
    }
}

/// A hash being taken, record by record, in order of bucket keys.
#[derive(Debug)]
pub(crate) struct Digest {
    crc: u32,
    revision: i64,
    compacted: i64,
    keep_is_empty: bool,
}

impl Digest {
    /// A hash at `revision` of a store compacted at `compacted`.
    pub fn new(revision: i64, compacted: i64) -> Digest {
        let crc = crc32c::crc32c(Bucket::Key.name().as_bytes());
        Digest { crc, revision, compacted, keep_is_empty: true }
    }

    /// Says whether the set of kept revisions is empty. An empty set filters nothing: etcd's rule.
    pub fn keep_is_empty(&mut self, empty: bool) {
        self.keep_is_empty = empty;
    }

    /// Adds a record if it counts; `kept` says whether its revision is in the set of kept ones.
    pub fn record(&mut self, stored: RecordKey, kept: bool, key: &[u8], value: &[u8]) {
        let main = stored.revision.main;
        let dropped = main <= self.compacted && !self.keep_is_empty && !kept;
        // Older members delete such a tombstone, newer ones keep it: it never counts.
        let border_tombstone = main == self.compacted && stored.tombstone;
        if main <= self.revision && !dropped && !border_tombstone {
            self.crc = crc32c::crc32c_append(crc32c::crc32c_append(self.crc, key), value);
        }
    }

    pub fn finish(&self, current: i64) -> HashKv {
        HashKv {
            hash: self.crc,
            compact_revision: self.compacted,
            hash_revision: self.revision,
            revision: current,
        }
    }
}

impl KvReader {
    /// The hashes that the newest compactions left, oldest first.
    #[must_use]
    pub fn compaction_hashes(&self) -> Vec<HashKv> {
        self.shared.hashes.lock().newest_last.iter().copied().collect()
    }

    /// Hashes the store as it was at `revision` (0: now), unless a compaction at exactly that revision has left its hash,
    /// which then is the answer. Reads every record: not for a thread that must not wait.
    ///
    /// # Errors
    /// [`Error::Compacted`], [`Error::FutureRevision`], [`Error::Damaged`], [`Error::Backend`].
    pub fn hash_kv(&self, revision: i64) -> Result<HashKv, Error> {
        if let Some(stored) = self.shared.hashes.lock().at(revision) {
            return Ok(HashKv { revision: self.shared.current(), ..stored });
        }
        loop {
            let compacted = self.shared.compacted();
            let answer = self.hash_compacted(revision, compacted);
            // A compaction in between has changed what is kept.
            if self.shared.compacted() == compacted {
                return answer;
            }
        }
    }

    fn hash_compacted(&self, revision: i64, compacted: i64) -> Result<HashKv, Error> {
        let current = self.shared.current();
        if revision > 0 && revision < compacted {
            return Err(Error::Compacted);
        }
        if revision > current {
            return Err(Error::FutureRevision);
        }
        let at = if revision == 0 { current } else { revision };
        let finished = self.shared.finished();
        let tx = self.backend.read();
        let kept = self.kept(at, compacted);
        let mut digest = Digest::new(at, compacted);
        digest.keep_is_empty(kept.is_empty);
        tx.for_each(Bucket::Key, &[], None, |key, value| {
            let stored = record::decode_key(key)?;
            let revision = stored.revision;
            // Deleted, although the pinned view still shows it.
            if kept.is_empty && revision.main <= finished && !self.is_indexed(revision, value)? {
                return Ok(());
            }
            digest.record(stored, kept.revisions.contains(&revision), key, value);
            Ok::<(), Error>(())
        })?;
        tx.give_back();
        Ok(digest.finish(current))
    }

    fn is_indexed(&self, revision: Revision, value: &[u8]) -> Result<bool, Error> {
        let key = record::fields(value, revision)?.key;
        Ok(self.shared.index.read().holds(key, revision))
    }

    fn kept(&self, at: i64, compacted: i64) -> Kept {
        let mut kept = Kept { revisions: BTreeSet::new(), is_empty: true };
        let (mut after, mut turn) = (None::<Bytes>, Turn::default());
        loop {
            after = self.shared.index.read().keep(after.as_deref(), at, KEYS_PER_LOCK, |revision| {
                kept.is_empty = false;
                // Those above the compact revision count anyway.
                if revision.main <= compacted {
                    kept.revisions.insert(revision);
                }
            });
            if after.is_none() {
                return kept;
            }
            turn.pass(KEYS_PER_LOCK / 8);
        }
    }

    /// Hashes all buckets of the backend, but for the meta keys that differ between equal members. What is deleted in
    /// bucket `key` counts until the backend has committed, so commit first. Reads everything.
    ///
    /// # Errors
    /// [`Error::Backend`].
    pub fn hash(&self) -> Result<u32, Error> {
        const IGNORED: [&[u8]; 3] =
            [schema::meta::CONSISTENT_INDEX, schema::meta::TERM, schema::meta::STORAGE_VERSION];
        let tx = self.backend.read();
        let mut crc = 0;
        for bucket in Bucket::BY_NAME {
            crc = crc32c::crc32c_append(crc, bucket.name().as_bytes());
            tx.for_each(bucket, &[], None, |key, value| {
                if bucket != Bucket::Meta || !IGNORED.contains(&key) {
                    crc = crc32c::crc32c_append(crc32c::crc32c_append(crc, key), value);
                }
                Ok::<(), Error>(())
            })?;
        }
        tx.give_back();
        Ok(crc)
    }
}

/// What a hash counts as kept, up to the compact revision.
struct Kept {
    revisions: BTreeSet<Revision>,
    is_empty: bool,
}
