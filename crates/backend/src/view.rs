//! What a reader sees: the committed file, the sealed layer being committed, and the active layer, newest first.

use std::cmp::Ordering;
use std::iter::Peekable;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use disk::Disk;
use parking_lot::RwLock;

use crate::bolt::{self, Snapshot, SnapshotSource};
use crate::error::Error;
use crate::layer::{Change, Layer, Record};
use crate::schema::Bucket;

/// One consistent combination of the three. Swapped whole, so every put is in exactly one place a reader looks at.
pub(crate) struct View {
    pub(crate) committed: Arc<Snapshot>,
    pub(crate) sealed: Option<Arc<Layer>>,
    pub(crate) active: Arc<Layer>,
}

/// The place where the current view hangs.
pub(crate) type Current = RwLock<Arc<View>>;

/// Hands out read transactions, from any thread. Cheap to clone.
#[derive(Clone)]
pub struct Reader {
    pub(crate) current: Arc<Current>,
}

impl Reader {
    /// Pins the committed pages and both layers. Later puts may show as long as the active layer is not sealed;
    /// nothing that is visible now will vanish (but for deletes in buckets other than `key`).
    pub fn read(&self) -> ReadTx {
        ReadTx { view: self.current.read().clone() }
    }
}

/// A pinned view of the whole backend. The pages of the file stay as they are while it, or any `Bytes` read through
/// it, is alive.
#[derive(Clone)]
pub struct ReadTx {
    pub(crate) view: Arc<View>,
}

impl ReadTx {
    /// The committed state of a file that nobody writes to and that is not changed: for tools. It stays locked
    /// (shared) as long as this or a copy of it lives. Buckets that the file lacks are empty.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::NotBolt`], [`Error::Damaged`], [`Error::Disk`].
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<ReadTx, Error> {
        let committed = bolt::open_read_only(disk, path)?;
        Ok(ReadTx { view: Arc::new(View { committed, sealed: None, active: Arc::default() }) })
    }

    /// The value under `key`.
    ///
    /// # Errors
    /// [`Error::Damaged`] when a page on the way breaks the format.
    pub fn get(&self, bucket: Bucket, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let layers = std::iter::once(&self.view.active).chain(&self.view.sealed);
        for layer in layers {
            if let Some(found) = layer.get(bucket, key) {
                return Ok(found);
            }
        }
        self.view.committed.get(bucket, key)
    }

    /// Records with `from <= key < to` in rising order (`to` = `None`: to the end). After an error the iterator ends.
    pub fn range(&self, bucket: Bucket, from: &[u8], to: Option<&[u8]>) -> Range {
        Range::new(self.pending(bucket, from, to), self.view.committed.range(bucket, from, to), false)
    }

    /// The same records in falling order.
    pub fn range_rev(&self, bucket: Bucket, from: &[u8], to: Option<&[u8]>) -> Range {
        let mut pending = self.pending(bucket, from, to);
        pending.reverse();
        Range::new(pending, self.view.committed.range_rev(bucket, from, to), true)
    }

    /// Bytes of the committed file up to its high-water mark: what Status reports and the quota counts.
    pub fn size(&self) -> u64 {
        self.view.committed.size()
    }

    /// [`ReadTx::size`] less the pages that are free.
    pub fn size_in_use(&self) -> u64 {
        self.view.committed.size_in_use()
    }

    /// The committed state as the bytes of a whole file (layers are not part of it: commit first).
    pub fn copy(&self) -> SnapshotSource {
        SnapshotSource::new(self.view.committed.clone())
    }

    /// Checks the committed file: see [`crate::Backend::check`].
    pub fn check(&self) -> Vec<Error> {
        self.view.committed.check()
    }

    /// Changes of both layers, merged: the active one wins.
    fn pending(&self, bucket: Bucket, from: &[u8], to: Option<&[u8]>) -> Vec<Change> {
        let newer = self.view.active.range(bucket, from, to);
        let older = self.view.sealed.as_ref().map_or_else(Vec::new, |layer| layer.range(bucket, from, to));
        if older.is_empty() {
            return newer;
        }
        let mut merged = Vec::with_capacity(older.len() + newer.len());
        let mut older = older.into_iter().peekable();
        for change in newer {
            while let Some(first) = older.next_if(|o| o.0 < change.0) {
                merged.push(first);
            }
            older.next_if(|o| o.0 == change.0);
            merged.push(change);
        }
        merged.extend(older);
        merged
    }
}

/// Iterator over records of one bucket: layers laid over the committed pages.
pub struct Range {
    pending: Peekable<std::vec::IntoIter<Change>>,
    committed: Peekable<bolt::Range>,
    falling: bool,
    failed: bool,
}

impl Range {
    fn new(pending: Vec<Change>, committed: bolt::Range, falling: bool) -> Range {
        Range {
            pending: pending.into_iter().peekable(),
            committed: committed.peekable(),
            falling,
            failed: false,
        }
    }

    /// Which side comes first: `Less` the layers, `Greater` the file, `Equal` both at the same key.
    fn order(&mut self) -> Option<Ordering> {
        match (self.pending.peek(), self.committed.peek()) {
            (None, None) => None,
            (Some(_), None) => Some(Ordering::Less),
            (_, Some(Err(_))) | (None, Some(_)) => Some(Ordering::Greater),
            (Some((new, _)), Some(Ok((old, _)))) => {
                Some(if self.falling { old.cmp(new) } else { new.cmp(old) })
            }
        }
    }
}

impl Iterator for Range {
    type Item = Result<Record, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.failed {
            let order = self.order()?;
            if order == Ordering::Greater {
                let record = self.committed.next()?;
                self.failed = record.is_err();
                return Some(record);
            }
            if order == Ordering::Equal {
                self.committed.next();
            }
            if let (key, Some(value)) = self.pending.next()? {
                return Some(Ok((key, value)));
            }
        }
        None
    }
}
