//! What the store's tests share: a store on a simulated disk with a log of its own, request builders, small randomness.
#![allow(dead_code, reason = "each test binary uses its part")]

pub mod generate;

use std::path::Path;
use std::sync::Arc;

use backend::Backend;
use bytes::Bytes;
use disk::MemDisk;
use prost::Message;
use proto::etcdserverpb as pb;
use proto::raftpb;
use store::{ConfChangeOutcome, Entry, Options, Outcome, Store};

/// A normal entry or a conf change, as consensus would deliver it.
#[derive(Clone, Debug)]
pub enum Logged {
    Normal(Bytes),
    Conf(raftpb::ConfChange),
}

/// Opens the store that lives on `disk`.
pub fn open(disk: &MemDisk, options: &Options) -> Result<Store, store::Error> {
    let small = backend::Options { growth_bytes: 64 << 10, map_min_bytes: 1 << 20, ..Default::default() };
    let path = Path::new("/data/db");
    let disk: Arc<dyn disk::Disk> = Arc::new(disk.clone());
    disk.create_dir_all(Path::new("/data"), 0o700)
        .map_err(|e| store::Error::Damaged { bucket: "(disk)", what: e.to_string() })?;
    Store::open(Backend::open(disk, path, small)?, options.clone())
}

/// The committed state of `store` as the file of another disk, in the place of the one there.
pub fn copy(store: &Store, disk: &MemDisk) -> Backend {
    use disk::Disk;
    let source = store.backend().read().copy();
    let mut bytes = vec![0; source.len() as usize];
    assert_eq!(source.read_at(&mut bytes, 0).unwrap(), bytes.len());
    let (received, path) = (Path::new("/data/received"), Path::new("/data/db"));
    let file = disk.open(received, disk::Open::create_new(0o600)).unwrap();
    file.write_at(&bytes, 0).unwrap();
    file.sync().unwrap();
    disk.rename(received, path).unwrap();
    disk.sync_dir(Path::new("/data")).unwrap();
    let small = backend::Options { growth_bytes: 64 << 10, map_min_bytes: 1 << 20, ..Default::default() };
    Backend::open(Arc::new(disk.clone()), path, small).unwrap()
}

/// A member: a store, its disk and the log that led to it.
pub struct Machine {
    pub disk: MemDisk,
    pub options: Options,
    pub store: Option<Store>,
    pub log: Vec<Logged>,
    pub term: u64,
}

impl Machine {
    pub fn new(options: Options) -> Self {
        let disk = MemDisk::new(1);
        let store = Some(open(&disk, &options).unwrap());
        Self { disk, options, store, log: Vec::new(), term: 2 }
    }

    pub fn store(&mut self) -> &mut Store {
        self.store.as_mut().unwrap()
    }

    /// Appends to the log and applies.
    pub fn apply(&mut self, data: Bytes, wanted: bool) -> Outcome {
        self.log.push(Logged::Normal(data.clone()));
        let (index, term) = (self.log.len() as u64, self.term);
        self.store().apply(Entry { index, term, data: &data }, wanted)
    }

    pub fn request(&mut self, request: &pb::InternalRaftRequest) -> Outcome {
        self.apply(request.encode_to_vec().into(), true)
    }

    pub fn conf_change(&mut self, change: &raftpb::ConfChange) -> ConfChangeOutcome {
        self.log.push(Logged::Conf(change.clone()));
        let (index, term) = (self.log.len() as u64, self.term);
        self.store().apply_conf_change(index, term, change)
    }

    /// Closes the store without committing, opens it again from the disk and replays the whole log.
    pub fn reopen(&mut self) {
        drop(self.store.take());
        let mut store = open(&self.disk, &self.options).unwrap();
        replay(&mut store, &self.log, self.term);
        self.store = Some(store);
    }
}

/// Applies the log from its first entry on, as a start does.
pub fn replay(store: &mut Store, log: &[Logged], term: u64) {
    for (i, logged) in log.iter().enumerate() {
        let index = i as u64 + 1;
        match logged {
            Logged::Normal(data) => {
                store.apply(Entry { index, term, data }, false);
            }
            Logged::Conf(change) => {
                store.apply_conf_change(index, term, change);
            }
        }
    }
}

/// All records of all buckets as text, without the position in the log.
pub fn contents(store: &Store) -> Vec<String> {
    const POSITION: [&[u8]; 2] = [b"consistent_index", b"term"];
    let mut all = Vec::new();
    for bucket in backend::Bucket::ALL {
        for record in store.backend().range(bucket, b"", None) {
            let (key, value) = record.unwrap();
            if !POSITION.contains(&&key[..]) {
                all.push(format!("{}/{} = {}", bucket.name(), key.escape_ascii(), value.escape_ascii()));
            }
        }
    }
    all
}

/// Everything the store shows to readers, beside the file.
pub fn visible(store: &Store) -> String {
    let reader = store.reader();
    let leases: Vec<_> = reader.leases().into_iter().map(|l| (l, reader.lease_keys(l.id))).collect();
    // Hashes that compactions left are remembered until a restart, as in etcd.
    let fresh = reader.revision() != reader.compact_revision();
    let hash = fresh.then(|| reader.kv().hash_kv(reader.revision()).unwrap().hash);
    format!(
        "{:?}\n{:?}\n{:?}\n{:?}\n{} {} {:?}",
        reader.auth(),
        reader.members(),
        reader.alarms(),
        leases,
        reader.revision(),
        reader.compact_revision(),
        hash,
    )
}

/// How many cases a random test runs: more with BALSA_LONG.
pub fn cases(usual: u64) -> u64 {
    let factor = std::env::var("BALSA_LONG").ok().and_then(|v| v.parse().ok()).unwrap_or(1);
    usual * factor
}

/// Small repeatable randomness (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}
