//! A store to test with, and a generator of random choices that a seed repeats.

use std::path::Path;
use std::sync::Arc;

use backend::{Backend, Options};
use bytes::Bytes;
use disk::MemDisk;
use mvcc::{CompactProgress, EventBatch, HashKv, Kv, KvReader, RangeQuery};
use prost::Message;
use proto::mvccpb::KeyValue;

/// A backend with the store over it.
pub struct Store {
    pub backend: Backend,
    pub kv: Kv,
    disk: MemDisk,
}

impl Store {
    pub fn new() -> Store {
        let disk = MemDisk::new(1);
        disk::Disk::create_dir_all(&disk, Path::new("/d"), 0o700).unwrap();
        let store = Store::open(disk);
        for dir in ["/", "/d"] {
            disk::Disk::sync_dir(&store.disk, Path::new(dir)).unwrap();
        }
        store
    }

    fn open(disk: MemDisk) -> Store {
        let path = Path::new("/d/db");
        let mut backend = Backend::open(Arc::new(disk.clone()), path, Options::default()).unwrap();
        let (kv, _attached) = Kv::open(&mut backend).unwrap();
        Store { backend, kv, disk }
    }

    /// The store as it starts again after power was lost.
    pub fn crash(self, seed: u64) -> Store {
        let disk = self.disk.crash(seed);
        drop(self);
        Store::open(disk)
    }

    /// Forgets all but the backend, and reads it anew. Answers the keys attached to leases.
    pub fn reopen(&mut self) -> Vec<(Bytes, i64)> {
        let (kv, attached) = Kv::open(&mut self.backend).unwrap();
        self.kv = kv;
        attached
    }

    pub fn put(&mut self, key: &str, value: &str) -> Arc<EventBatch> {
        let mut txn = self.kv.begin(&mut self.backend);
        txn.put(Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(value.as_bytes()), 0).unwrap();
        txn.finish().unwrap()
    }

    pub fn delete(&mut self, key: &str) -> Option<Arc<EventBatch>> {
        self.delete_range(key, "")
    }

    pub fn delete_range(&mut self, key: &str, end: &str) -> Option<Arc<EventBatch>> {
        let mut txn = self.kv.begin(&mut self.backend);
        txn.delete_range(Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(end.as_bytes()))
            .unwrap();
        txn.finish()
    }

    /// Compacts and carries it out to the end, committed.
    pub fn compact(&mut self, revision: i64) -> Option<HashKv> {
        self.kv.compact(&mut self.backend, revision).unwrap();
        self.finish_compactions()
    }

    /// Answers the hash of the last compaction that ended.
    pub fn finish_compactions(&mut self) -> Option<HashKv> {
        let mut last = None;
        loop {
            match self.kv.compact_step(&mut self.backend, 7).unwrap() {
                CompactProgress::Idle => break,
                CompactProgress::More => {}
                CompactProgress::Done { hash, .. } => last = hash,
            }
        }
        self.backend.commit().unwrap();
        last
    }

    pub fn reader(&self) -> KvReader {
        self.kv.reader(&self.backend)
    }

    /// The hash at a revision and the compaction it presumes.
    pub fn hash(&self, revision: i64) -> (u32, i64) {
        let hash = self.reader().hash_kv(revision).unwrap();
        (hash.hash, hash.compact_revision)
    }

    pub fn get(&self, key: &str) -> Option<KeyValue> {
        let found = self.reader().range(&RangeQuery::key(key.to_owned())).unwrap();
        found.kvs.first().map(kv_of)
    }
}

pub fn kv_of(record: &Bytes) -> KeyValue {
    KeyValue::decode(record.clone()).unwrap()
}

/// How often to repeat a randomized test.
pub fn cases(quick: u64) -> u64 {
    let factor =
        std::env::var("BALSA_LONG").ok().map_or(1, |factor| factor.parse::<u64>().unwrap_or(1).max(20));
    quick * factor
}

/// Random choices from a seed (splitmix64).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    pub fn one_in(&mut self, odds: u64) -> bool {
        self.below(odds) == 0
    }

    /// One of a dozen keys, some of them prefixes of others.
    pub fn key(&mut self) -> String {
        let letters = ["a", "aa", "ab", "b", "b\0", "ba", "c", "ca", "d", "e", "ea", "f"];
        letters[self.below(letters.len() as u64) as usize].to_owned()
    }

    /// An end for a range: often none, sometimes "all behind", sometimes before its start.
    pub fn end(&mut self) -> String {
        match self.below(4) {
            0 => String::new(),
            1 => "\0".to_owned(),
            _ => self.key(),
        }
    }
}

/// Runs `test` for some seeds and names the one that failed.
pub fn for_seeds(quick: u64, test: impl Fn(u64)) {
    for seed in 0..cases(quick) {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(seed)));
        if let Err(cause) = outcome {
            eprintln!("failing seed: {seed}");
            std::panic::resume_unwind(cause);
        }
    }
}
