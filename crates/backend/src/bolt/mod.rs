//! Provisional: committed state in memory, behind the engine's door.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use disk::Disk;

use crate::error::Error;
use crate::layer::{Layer, Record};
use crate::schema::Bucket;

/// How the file is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// Page size of a file created here; an existing file keeps its own.
    pub page_size: u32,
    /// The file grows by this much beyond what it needs.
    pub growth_bytes: u64,
    /// Skip every sync (`--unsafe-no-fsync`).
    pub unsafe_no_sync: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { page_size: 4096, growth_bytes: 16 << 20, unsafe_no_sync: false }
    }
}

type Maps = [BTreeMap<Bytes, Bytes>; Bucket::ALL.len()];

/// Committed state, pinned.
#[derive(Default)]
pub struct Snapshot {
    maps: Arc<Maps>,
}

/// Records of one bucket.
pub type Range = std::vec::IntoIter<Result<Record, Error>>;

impl Snapshot {
    pub(crate) fn get(&self, bucket: Bucket, key: &[u8]) -> Result<Option<Bytes>, Error> {
        Ok(self.maps[bucket.slot()].get(key).cloned())
    }
    fn collect(&self, bucket: Bucket, from: &[u8], to: Option<&[u8]>) -> Vec<Result<Record, Error>> {
        if to.is_some_and(|to| to <= from) {
            return Vec::new();
        }
        let bounds = (Bound::Included(from), to.map_or(Bound::Unbounded, Bound::Excluded));
        let range = self.maps[bucket.slot()].range::<[u8], _>(bounds);
        range.map(|(k, v)| Ok((k.clone(), v.clone()))).collect()
    }
    pub(crate) fn range(&self, bucket: Bucket, from: &[u8], to: Option<&[u8]>) -> Range {
        self.collect(bucket, from, to).into_iter()
    }
    pub(crate) fn range_rev(&self, bucket: Bucket, from: &[u8], to: Option<&[u8]>) -> Range {
        let mut all = self.collect(bucket, from, to);
        all.reverse();
        all.into_iter()
    }
    pub(crate) fn size(&self) -> u64 {
        self.maps.iter().flatten().map(|(k, v)| 16 + k.len() as u64 + v.len() as u64).sum::<u64>() + 4 * 4096
    }
    pub(crate) fn size_in_use(&self) -> u64 {
        self.size()
    }
    pub(crate) fn check(&self) -> Vec<Error> {
        Vec::new()
    }
}

/// The committed state as the bytes of a file.
pub struct SnapshotSource {
    _snapshot: Arc<Snapshot>,
}

impl SnapshotSource {
    pub(crate) fn new(snapshot: Arc<Snapshot>) -> SnapshotSource {
        SnapshotSource { _snapshot: snapshot }
    }
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        0
    }
    /// Never: a file has at least four pages.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Fills `buf` from `offset`; the number of bytes is short only at the end.
    ///
    /// # Errors
    /// The disk's.
    pub fn read_at(&self, _buf: &mut [u8], _offset: u64) -> io::Result<usize> {
        Ok(0)
    }
}

/// Whether a defragmentation is wanted.
#[derive(Default)]
pub struct VacuumRequest {
    running: AtomicBool,
}

impl VacuumRequest {
    pub(crate) fn start(&self) {
        self.running.store(true, Ordering::Release);
    }
    pub(crate) fn running(&self) -> bool {
        self.running.load(Ordering::Acquire)
    }
}

/// The file, open for writing.
pub struct Db {
    snapshot: Arc<Snapshot>,
    vacuum: Arc<VacuumRequest>,
}

impl Db {
    pub(crate) fn open(_disk: Arc<dyn Disk>, _path: &Path, _opts: Options) -> Result<Db, Error> {
        Ok(Db { snapshot: Arc::default(), vacuum: Arc::default() })
    }
    pub(crate) fn create_buckets(&mut self) -> Result<(), Error> {
        Ok(())
    }
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.clone()
    }
    pub(crate) fn vacuum_request(&self) -> Arc<VacuumRequest> {
        self.vacuum.clone()
    }
    pub(crate) fn commit_layer(&mut self, layer: &Layer) -> Result<Arc<Snapshot>, Error> {
        let mut maps = self.snapshot.maps.clone();
        let all = Arc::make_mut(&mut maps);
        for bucket in Bucket::ALL {
            let map = &mut all[bucket.slot()];
            layer.for_each_change(bucket, |k, v| {
                match v {
                    Some(v) => map.insert(k.clone(), v.clone()),
                    None => map.remove(k),
                };
                Ok::<(), Error>(())
            })?;
        }
        self.snapshot = Arc::new(Snapshot { maps });
        Ok(self.snapshot())
    }
    pub(crate) fn commit_vacuum_step(&mut self) -> Result<Option<Arc<Snapshot>>, Error> {
        self.vacuum.running.store(false, Ordering::Release);
        Ok(None)
    }
}
