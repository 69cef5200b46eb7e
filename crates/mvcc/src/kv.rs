//! The writer's door: owned by the apply thread, the only one that changes anything here.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use backend::Backend;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use crate::compact::Compaction;
use crate::hash::StoredHashes;
use crate::index::Index;
use crate::{Error, KvReader, WriteTxn};

/// What the writer shares with readers.
///
/// The writer puts a record into the backend, then its revision into the index, and last publishes the new current
/// revision. A reader goes the other way: current revision, then the backend, then the index. So whatever it finds in
/// the index at or below its revision is in the records it has pinned.
#[derive(Debug)]
pub(crate) struct Shared {
    pub index: RwLock<Index>,
    /// Newest revision that readers may see.
    pub current: AtomicI64,
    /// Newest accepted compaction; -1: none.
    pub compacted: AtomicI64,
    /// Newest compaction whose records are all deleted; -1: none.
    pub finished: AtomicI64,
    pub hashes: Mutex<StoredHashes>,
}

impl Shared {
    pub fn current(&self) -> i64 {
        self.current.load(Ordering::Acquire)
    }

    pub fn compacted(&self) -> i64 {
        self.compacted.load(Ordering::Acquire)
    }

    pub fn finished(&self) -> i64 {
        self.finished.load(Ordering::Acquire)
    }
}

/// The multi-version store. Keeps what is derived from the backend; the backend itself is passed in.
#[derive(Debug)]
pub struct Kv {
    pub(crate) shared: Arc<Shared>,
    /// Accepted compactions that still have records to delete, oldest first.
    pub(crate) compactions: VecDeque<Compaction>,
    /// The marks in bucket `meta`, as written.
    pub(crate) scheduled_mark: Option<i64>,
    pub(crate) finished_mark: Option<i64>,
}

impl Kv {
    /// Rebuilds everything by one scan of the records (formats 3.9) and resumes a compaction that was cut short: see
    /// [`Kv::compact_step`]. Also answers which keys are attached to which lease.
    ///
    /// # Errors
    /// [`Error::Damaged`] when a record or mark breaks its format, [`Error::Backend`] when the file does.
    pub fn open(backend: &mut Backend) -> Result<(Kv, Vec<(Bytes, i64)>), Error> {
        crate::restore::open(backend)
    }

    /// Puts a later state of the same history in the place of this one, together with its `backend`. Readers made before
    /// go on with it: what they look at may be of both states, and says the same in both unless it is compacted.
    pub fn replace(&mut self, other: Kv, backend: &mut Backend, others: Backend) {
        let (shared, new) = (&self.shared, &other.shared);
        // First, so that no reader takes for missing what is compacted in the new state.
        shared.compacted.fetch_max(new.compacted(), Ordering::AcqRel);
        backend.replace(others);
        std::mem::swap(&mut *shared.index.write(), &mut *new.index.write());
        std::mem::swap(&mut *shared.hashes.lock(), &mut *new.hashes.lock());
        shared.finished.store(new.finished(), Ordering::Release);
        shared.current.store(new.current(), Ordering::Release);
        self.compactions = other.compactions;
        self.scheduled_mark = other.scheduled_mark;
        self.finished_mark = other.finished_mark;
    }

    /// The newest revision; 1 for an empty store.
    pub fn current_revision(&self) -> i64 {
        self.shared.current()
    }

    /// The newest accepted compaction; -1 if there was none.
    pub fn compact_revision(&self) -> i64 {
        self.shared.compacted()
    }

    /// Number of keys in the index, deleted ones with kept history included.
    pub fn indexed_keys(&self) -> usize {
        self.shared.index.read().len()
    }

    /// Begins the next change; nothing of it shows to readers before [`WriteTxn::finish`].
    pub fn begin<'a>(&'a mut self, backend: &'a mut Backend) -> WriteTxn<'a> {
        WriteTxn::new(&self.shared, backend)
    }

    /// What readers work with, on any thread.
    pub fn reader(&self, backend: &Backend) -> KvReader {
        KvReader::new(self.shared.clone(), backend.reader())
    }
}
