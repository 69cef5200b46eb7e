//! What a reader sees: the committed file, the sealed layer being committed, and the active layer, newest first.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::iter::Peekable;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Acquire};

use bytes::Bytes;
use disk::Disk;
use parking_lot::{Mutex, RwLock};

use crate::bolt::{self, Pages, Place, Readers, Snapshot, SnapshotSource};
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
pub(crate) struct Current {
    pub(crate) view: RwLock<Arc<View>>,
    /// Size of its committed file, for those who want nothing else.
    pub(crate) size: AtomicU64,
    pub(crate) readers: Mutex<Readers>,
}

/// Changes taken from the layers at once. Bounds how long the writer waits for a reader.
const PENDING_MAX: usize = 256;

/// Hands out read transactions, from any thread. Cheap to clone.
#[derive(Clone)]
pub struct Reader {
    pub(crate) current: Arc<Current>,
}

impl Reader {
    /// Pins the committed pages and both layers. Later puts may show as long as the active layer is not sealed;
    /// nothing that is visible now will vanish (but for deletes in buckets other than `key`).
    pub fn read(&self) -> ReadTx {
        ReadTx { view: self.current.view.read().clone() }
    }

    /// As [`ReadTx::size`] of a new transaction, but without pinning anything.
    pub fn size(&self) -> u64 {
        self.current.size.load(Acquire)
    }

    /// How many committed states are being looked at, the newest one included.
    pub fn pinned(&self) -> usize {
        self.current.readers.lock().pinned().len()
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

    /// For looking up many records, which are found much faster than by [`ReadTx::get`].
    pub fn lookup(&self, bucket: Bucket) -> Lookup<'_> {
        let layers = std::iter::once(&self.view.active).chain(&self.view.sealed);
        let layers = layers.filter_map(|layer| Some((&**layer, layer.lowest(bucket)?))).collect();
        let committed = &self.view.committed;
        Lookup { layers, bucket, pages: &committed.pages, committed: bolt::Seeker::new(committed, bucket) }
    }

    /// The value that [`Committed::place`] told of in this transaction or a copy of it. Of a place from another one nobody knows
    /// what stands there, if it is in the file at all.
    pub fn at(&self, place: Place) -> Option<Stored<'_>> {
        let pages = &self.view.committed.pages;
        Some(Stored::Committed(Committed { value: pages.at(place)?, pages }))
    }

    /// [`ReadTx::at`] will be asked for this soon.
    pub fn prefetch(&self, place: Place) {
        self.view.committed.pages.prefetch(place);
    }

    /// Records with `from <= key < to` in rising order (`to` = `None`: to the end). After an error the iterator ends.
    pub fn range(&self, bucket: Bucket, from: &[u8], to: Option<&[u8]>) -> Range {
        Range::new(&self.view, bucket, (from, to), false)
    }

    /// The same records in falling order.
    pub fn range_rev(&self, bucket: Bucket, from: &[u8], to: Option<&[u8]>) -> Range {
        Range::new(&self.view, bucket, (from, to), true)
    }

    /// Keys that cut the committed part of a bucket into at most `parts` parts of about the same size.
    ///
    /// # Errors
    /// [`Error::Damaged`] when a page on the way breaks the format.
    pub fn cuts(&self, bucket: Bucket, parts: usize) -> Result<Vec<Vec<u8>>, Error> {
        self.view.committed.cuts(bucket, parts)
    }

    /// Shows the records of [`ReadTx::range`] one after the other; cheaper than that, because nothing is taken hold of.
    ///
    /// # Errors
    /// [`Error::Damaged`] when a page breaks the format, and those of `each`.
    pub fn for_each<E: From<Error>>(
        &self,
        bucket: Bucket,
        from: &[u8],
        to: Option<&[u8]>,
        mut each: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut pending = Pending::new(&self.view, bucket, (from, to), false);
        self.view.committed.for_each(bucket, (from, to), |key, value| {
            pending.show(Some(key), &mut each)?;
            match pending.peek() {
                // Changed since.
                Some((changed, _)) if changed[..] == *key => Ok(()),
                _ => each(key, value),
            }
        })?;
        pending.show(None, &mut each)
    }

    /// To be called after reading all of the file: what was read need not stay in this process's memory. It stays in the
    /// system's cache.
    pub fn give_back(&self) {
        self.view.committed.give_back();
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
}

/// A value where it stands.
pub enum Stored<'a> {
    /// In the file.
    Committed(Committed<'a>),
    /// In memory.
    Pending(Bytes),
}

/// A value in the file.
pub struct Committed<'a> {
    value: &'a [u8],
    pages: &'a Pages,
}

impl Committed<'_> {
    /// Where it stands: for [`ReadTx::at`].
    pub fn place(&self) -> Place {
        self.pages.place_of(self.value)
    }
}

impl Deref for Stored<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Stored::Committed(committed) => committed.value,
            Stored::Pending(value) => value,
        }
    }
}

impl From<Stored<'_>> for Bytes {
    fn from(stored: Stored<'_>) -> Bytes {
        match stored {
            Stored::Committed(Committed { value, pages }) => pages.bytes(value),
            Stored::Pending(value) => value,
        }
    }
}

/// Look-ups of many records of one bucket: see [`ReadTx::lookup`].
pub struct Lookup<'a> {
    /// Those that have anything to say, newest first, with the lowest key they say it about.
    layers: Vec<(&'a Layer, Bytes)>,
    bucket: Bucket,
    pages: &'a Pages,
    committed: bolt::Seeker<'a>,
}

impl<'a> Lookup<'a> {
    /// As [`ReadTx::get`] for keys that rise, each shown with its number, but the values stay where they are, and are not even
    /// looked at; and it does not see what was first put into an empty layer since.
    ///
    /// # Errors
    /// [`Error::Damaged`] when a page on the way breaks the format.
    pub fn find_all<K: AsRef<[u8]>>(
        &mut self,
        keys: &[K],
        mut each: impl FnMut(usize, Option<Stored<'a>>),
    ) -> Result<(), Error> {
        let (bucket, pages) = (self.bucket, self.pages);
        let begins = |lowest: &Bytes| keys.partition_point(|key| key.as_ref() < &lowest[..]);
        let layers: Vec<_> = self.layers.iter().map(|(layer, lowest)| (*layer, begins(lowest))).collect();
        self.committed.find_all(keys, |nth, value| {
            let in_layer = |(layer, begin): &(&Layer, usize)| match *begin <= nth {
                true => layer.get(bucket, keys[nth].as_ref()),
                false => None,
            };
            // What is newer covers what is older.
            let stored = match layers.iter().find_map(in_layer) {
                Some(found) => found.map(Stored::Pending),
                None => value.map(|value| Stored::Committed(Committed { value, pages })),
            };
            each(nth, stored);
        })
    }
}

/// Changes of both layers, merged, the active one on top; taken a few at a time.
struct Pending {
    view: Arc<View>,
    bucket: Bucket,
    /// What has not been taken yet; `None`: nothing is left.
    rest: Option<(Bytes, Option<Bytes>)>,
    falling: bool,
    taken: VecDeque<Change>,
}

impl Pending {
    fn new(view: &Arc<View>, bucket: Bucket, (from, to): (&[u8], Option<&[u8]>), falling: bool) -> Pending {
        let rest = Some((Bytes::copy_from_slice(from), to.map(Bytes::copy_from_slice)));
        Pending { view: view.clone(), bucket, rest, falling, taken: VecDeque::new() }
    }

    /// Shows the records below `to` and goes on behind them.
    fn show<E>(
        &mut self,
        to: Option<&[u8]>,
        each: &mut impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while self.peek().is_some_and(|(key, _)| to.is_none_or(|to| key[..] < *to)) {
            if let Some((key, Some(value))) = self.pop() {
                each(&key, &value)?;
            }
        }
        Ok(())
    }

    fn peek(&mut self) -> Option<&Change> {
        while self.taken.is_empty() && self.rest.is_some() {
            self.refill();
        }
        self.taken.front()
    }

    fn pop(&mut self) -> Option<Change> {
        self.taken.pop_front()
    }

    fn refill(&mut self) {
        let Some((from, to)) = self.rest.take() else { return };
        let take =
            |layer: &Arc<Layer>| layer.range(self.bucket, (&from, to.as_deref()), self.falling, PENDING_MAX);
        let newer = take(&self.view.active);
        let older = self.view.sealed.as_ref().map_or_else(Vec::new, take);
        let is_before = |a: &Bytes, b: &Bytes| if self.falling { a > b } else { a < b };
        // Behind the last key of a layer that has more to give, the other layer's changes must wait.
        let ends = [&newer, &older].into_iter().filter(|changes| changes.len() >= PENDING_MAX);
        let ends = ends.filter_map(|changes| Some(changes.last()?.0.clone()));
        let end = ends.reduce(|a, b| if is_before(&b, &a) { b } else { a });
        let mut older = older.into_iter().peekable();
        for change in newer {
            while let Some(first) = older.next_if(|o| is_before(&o.0, &change.0)) {
                self.taken.push_back(first);
            }
            older.next_if(|o| o.0 == change.0);
            self.taken.push_back(change);
        }
        self.taken.extend(older);
        if let Some(end) = end {
            while self.taken.back().is_some_and(|last| is_before(&end, &last.0)) {
                self.taken.pop_back();
            }
            self.rest = Some(match self.falling {
                true => (from, Some(end)),
                false => ([&end[..], &[0]].concat().into(), to),
            });
        }
    }
}

/// Iterator over records of one bucket: layers laid over the committed pages.
pub struct Range {
    pending: Pending,
    committed: Peekable<bolt::Range>,
    failed: bool,
}

impl Range {
    fn new(view: &Arc<View>, bucket: Bucket, (from, to): (&[u8], Option<&[u8]>), falling: bool) -> Range {
        let committed = match falling {
            true => view.committed.range_rev(bucket, from, to),
            false => view.committed.range(bucket, from, to),
        };
        let pending = Pending::new(view, bucket, (from, to), falling);
        Range { pending, committed: committed.peekable(), failed: false }
    }

    /// Which side comes first: `Less` the layers, `Greater` the file, `Equal` both at the same key.
    fn order(&mut self) -> Option<Ordering> {
        let falling = self.pending.falling;
        match (self.pending.peek(), self.committed.peek()) {
            (None, None) => None,
            (Some(_), None) => Some(Ordering::Less),
            (_, Some(Err(_))) | (None, Some(_)) => Some(Ordering::Greater),
            (Some((new, _)), Some(Ok((old, _)))) => Some(if falling { old.cmp(new) } else { new.cmp(old) }),
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
            if let (key, Some(value)) = self.pending.pop()? {
                return Some(Ok((key, value)));
            }
        }
        None
    }
}
