//! The open file: created or read on open, then changed by one commit after the other.
//!
//! A commit writes new pages where nobody looks, syncs, writes the meta page of its turn, syncs. Until the second sync
//! the other meta page still names the state before.

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use disk::{Disk, File, Lock, Map, Open};

use super::check::used_pages;
use super::freelist::{Extent, Freelist};
use super::meta::Meta;
use super::page::{FREELIST, Header, LEAF, PageId};
use super::snapshot::{Pages, Readers, Snapshot, Unused};
use super::tx::{Finished, NewPage, Phase, Tx};
use super::vacuum::{Vacuum, VacuumRequest};
use crate::error::Error;
use crate::layer::Layer;
use crate::schema::Bucket;
use crate::turn::Turn;

const FILE_MODE: u32 = 0o600;
/// Where a new file is made before it gets its name. Go etcd clears such names away.
const NEW_FILE: &str = "db.tmp.new";
const MAP_STEP: u64 = 1 << 30;
/// Most that is cut off the file in one step: while the file system frees or discards space, others wait to write, and
/// whoever touches the mapping for the first time waits, too (decision 0015).
const CUT_BYTES_MAX: u64 = 4 << 20;
/// Buffers and bytes of one vectored write.
const RUN_PAGES: usize = 1024;

/// How the file is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// Page size in bytes of a file created here (a power of two, 1024 to 65536); an existing file keeps its own.
    pub page_size: u32,
    /// The file grows by this much beyond what it needs.
    pub growth_bytes: u64,
    /// The smallest mapping; it doubles as the file grows.
    pub map_min_bytes: u64,
    /// Skip every sync (`--unsafe-no-fsync`).
    pub unsafe_no_sync: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { page_size: 4096, growth_bytes: 16 << 20, map_min_bytes: 256 << 20, unsafe_no_sync: false }
    }
}

/// The file, open for writing.
pub struct Db {
    file: Arc<dyn File>,
    file_len: u64,
    map: Map,
    opts: Options,
    readers: Readers,
    freelist: Freelist,
    snapshot: Arc<Snapshot>,
    vacuum: Option<Vacuum>,
    vacuum_request: Arc<VacuumRequest>,
    /// Set while a commit runs; stays set if it fails.
    poisoned: bool,
}

impl Db {
    pub(crate) fn open(disk: Arc<dyn Disk>, path: &Path, opts: Options) -> Result<Db, Error> {
        let file = open_locked(&*disk, path, &opts)?;
        let meta = Meta::read(&*file, path)?;
        let file_len = file.len().map_err(Error::disk("read the length of the bolt file"))?;
        meta.check(file_len)?;
        let needed = meta.hwm * u64::from(meta.page_size);
        let map = file.map(map_len(needed, &opts)).map_err(Error::disk("map the bolt file"))?;
        let readers = Readers::default();
        let pages = Pages::new(map.clone(), &meta, &readers);
        let freelist = rebuild_freelist(&pages, &meta)?;
        let snapshot = Arc::new(Snapshot::new(pages, meta, file.clone(), unused(&freelist))?);
        Ok(Db {
            file,
            file_len,
            map,
            opts,
            readers,
            freelist,
            snapshot,
            vacuum: None,
            vacuum_request: Arc::default(),
            poisoned: false,
        })
    }

    /// Who is looking at which committed state.
    pub(crate) fn readers(&self) -> Readers {
        self.readers.clone()
    }

    /// Creates the buckets that are missing, as etcd does on every start.
    pub(crate) fn create_buckets(&mut self) -> Result<(), Error> {
        let missing = |bucket: &Bucket| self.snapshot.root(*bucket).is_none();
        let missing: Vec<Bucket> = Bucket::ALL.into_iter().filter(missing).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let create = |tx: &mut Tx<'_>| {
            for bucket in missing {
                tx.bucket(bucket);
            }
            Ok(())
        };
        self.transaction(create, None, &mut |_| {})?;
        Ok(())
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.clone()
    }

    pub(crate) fn vacuum_request(&self) -> Arc<VacuumRequest> {
        self.vacuum_request.clone()
    }

    /// Commits all changes of a layer, and a step of a defragmentation if one is wanted.
    pub(crate) fn commit_layer(
        &mut self,
        layer: &Layer,
        passed: &mut dyn FnMut(Phase),
    ) -> Result<Arc<Snapshot>, Error> {
        let vacuum = self.next_vacuum();
        let change = |tx: &mut Tx<'_>| {
            Bucket::ALL.into_iter().try_for_each(|bucket| {
                layer.for_each_change(bucket, |key, value| match value {
                    Some(value) => tx.put(bucket, key.clone(), value.clone()),
                    None => tx.delete(bucket, key),
                })
            })
        };
        self.transaction(change, vacuum, passed)
    }

    /// Commits a step of a defragmentation; `None` if none is wanted.
    pub(crate) fn commit_vacuum_step(
        &mut self,
        passed: &mut dyn FnMut(Phase),
    ) -> Result<Option<Arc<Snapshot>>, Error> {
        let Some(vacuum) = self.next_vacuum() else { return Ok(None) };
        self.transaction(|_| Ok(()), Some(vacuum), passed).map(Some)
    }

    fn next_vacuum(&mut self) -> Option<Vacuum> {
        if !self.vacuum_request.running() {
            return None;
        }
        Some(self.vacuum.take().unwrap_or_else(|| Vacuum::plan(self.snapshot.meta.hwm, &self.freelist)))
    }

    fn transaction(
        &mut self,
        change: impl FnOnce(&mut Tx<'_>) -> Result<(), Error>,
        vacuum: Option<Vacuum>,
        passed: &mut dyn FnMut(Phase),
    ) -> Result<Arc<Snapshot>, Error> {
        if std::mem::replace(&mut self.poisoned, true) {
            return Err(Error::Poisoned);
        }
        let base = self.snapshot.clone();
        self.freelist.release(&self.readers.pinned())?;
        self.freelist.low_first = false;
        let mut tx = Tx::new(base.clone(), &mut self.freelist);
        change(&mut tx)?;
        let defragments = vacuum.is_some();
        self.vacuum = vacuum.map_or(Ok(None), |vacuum| vacuum.step(&mut tx))?;
        passed(Phase::Change);
        let Finished { pages, meta } = tx.finish(passed)?;
        let grew = self.write(pages, &meta)?;
        passed(Phase::Write);
        let pages = Pages::new(self.map.clone(), &meta, &self.readers);
        self.snapshot = Arc::new(Snapshot::new(pages, meta, self.file.clone(), unused(&self.freelist))?);
        // Not by a defragmentation that has been asked for meanwhile, of which no step is done.
        if defragments {
            self.cut_file(base.meta.hwm.max(meta.hwm), grew)?;
        }
        self.poisoned = false;
        Ok(self.snapshot())
    }

    /// Brings a finished transaction to the disk: grow, pages, sync, meta, sync. Answers whether the file had to grow.
    fn write(&mut self, mut pages: Vec<NewPage>, meta: &Meta) -> Result<bool, Error> {
        let page_size = u64::from(meta.page_size);
        let needed = meta.hwm * page_size;
        let grows = needed > self.file_len;
        if grows {
            let len = needed + page_size + self.opts.growth_bytes;
            self.file.set_len(len).map_err(Error::disk("grow the bolt file"))?;
            self.sync("sync the grown bolt file")?;
            self.file_len = len;
        }
        pages.sort_unstable_by_key(|(id, _)| *id);
        let mut turn = Turn::default();
        for run in runs(&pages, page_size) {
            turn.pass(run.iter().map(|(_, image)| image.len()).sum::<usize>() / page_size as usize);
            let slices: Vec<IoSlice<'_>> = run.iter().map(|(_, image)| IoSlice::new(image)).collect();
            let offset = run.first().map_or(0, |(id, _)| id * page_size);
            self.file
                .write_vectored_at(&slices, offset)
                .map_err(Error::disk("write pages of the bolt file"))?;
        }
        if !pages.is_empty() {
            self.sync("sync the pages of the bolt file")?;
        }
        let (slot, image) = (meta.slot(), meta.page(meta.slot()));
        self.file.write_at(&image, slot * page_size).map_err(Error::disk("write the meta page"))?;
        self.sync("sync the meta page")?;
        if needed > self.map.len() {
            self.map =
                self.file.map(map_len(needed, &self.opts)).map_err(Error::disk("map the grown bolt file"))?;
        }
        Ok(grows)
    }

    fn sync(&self, doing: &'static str) -> Result<(), Error> {
        if self.opts.unsafe_no_sync { Ok(()) } else { self.file.sync().map_err(Error::disk(doing)) }
    }

    /// While defragmenting: cuts a piece of what neither of the two meta pages needs, and ends when there is nothing more
    /// to do. What the file has just grown by is left to the writes to come.
    fn cut_file(&mut self, pages: PageId, grew: bool) -> Result<(), Error> {
        let surplus = self.file_len.saturating_sub(pages * u64::from(self.snapshot.meta.page_size));
        let draining = !matches!(self.vacuum, Some(Vacuum::Sweep { .. }));
        let is_last = self.vacuum.is_none() && (grew || surplus <= CUT_BYTES_MAX);
        if draining && surplus > 0 && !grew {
            self.file_len -= surplus.min(CUT_BYTES_MAX);
            self.file.set_len(self.file_len).map_err(Error::disk("cut the bolt file"))?;
            self.sync("sync the cut bolt file")?;
        }
        if is_last {
            self.vacuum_request.finish();
        } else if self.vacuum.is_none() {
            self.vacuum = Some(Vacuum::Drain(0));
        }
        Ok(())
    }
}

fn open_locked(disk: &dyn Disk, path: &Path, opts: &Options) -> Result<Arc<dyn File>, Error> {
    let exists = disk.exists(path);
    let new_path = path.with_file_name(NEW_FILE);
    let opened = if exists { path } else { &new_path };
    let how = if exists { Open::write() } else { Open::create(FILE_MODE) };
    let file = disk.open(opened, how).map_err(Error::disk("open the bolt file"))?;
    if !file.lock(Lock::Flock).map_err(Error::disk("lock the bolt file"))? {
        return Err(Error::Locked(PathBuf::from(path)));
    }
    let empty = exists && file.len().map_err(Error::disk("read the length of the bolt file"))? == 0;
    if !exists || empty {
        let image = new_file(opts.page_size);
        file.set_len(image.len() as u64).map_err(Error::disk("create the bolt file"))?;
        file.write_at(&image, 0).map_err(Error::disk("create the bolt file"))?;
        file.sync().map_err(Error::disk("create the bolt file"))?;
    }
    if !exists {
        disk.rename(&new_path, path).map_err(Error::disk("name the new bolt file"))?;
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        disk.sync_dir(dir).map_err(Error::disk("sync the directory of the bolt file"))?;
    }
    Ok(file)
}

/// A file without buckets: two metas, an empty freelist, an empty root leaf.
fn new_file(page_size: u32) -> Vec<u8> {
    let meta = Meta { page_size, root: 3, sequence: 0, freelist: 2, hwm: 4, txid: 0 };
    let mut image = meta.page(0);
    image.extend_from_slice(&Meta { txid: 1, ..meta }.page(1));
    for (id, flags) in [(2, FREELIST), (3, LEAF)] {
        let start = image.len();
        image.resize(start + page_size as usize, 0);
        Header { id, flags, count: 0, overflow: 0 }.write(&mut image[start..]);
    }
    image
}

/// The newest committed state of a file that is left as it is, under a shared lock.
pub(crate) fn open_read_only(disk: &dyn Disk, path: &Path) -> Result<Arc<Snapshot>, Error> {
    let file = disk.open(path, Open::read()).map_err(Error::disk("open the bolt file"))?;
    if !file.lock(Lock::FlockShared).map_err(Error::disk("lock the bolt file"))? {
        return Err(Error::Locked(PathBuf::from(path)));
    }
    let meta = Meta::read(&*file, path)?;
    meta.check(file.len().map_err(Error::disk("read the length of the bolt file"))?)?;
    let len = meta.hwm * u64::from(meta.page_size);
    let map = file.map(len).map_err(Error::disk("map the bolt file"))?;
    let pages = Pages::new(map, &meta, &Readers::default());
    let freelist = rebuild_freelist(&pages, &meta)?;
    Ok(Arc::new(Snapshot::new(pages, meta, file, unused(&freelist))?))
}

fn unused(freelist: &Freelist) -> Unused {
    Unused { free: freelist.free_pages(), waiting: freelist.waiting_pages() }
}

/// All pages that are not part of the tree are free.
fn rebuild_freelist(pages: &Pages, meta: &Meta) -> Result<Freelist, Error> {
    let used = used_pages(pages, meta)?;
    let mut freelist = Freelist::default();
    let mut page = 2;
    while page < meta.hwm {
        let start = page;
        while page < meta.hwm && !used.contains(page) {
            page += 1;
        }
        if page > start {
            freelist.add(Extent { start, pages: page - start })?;
        }
        page += 1;
    }
    Ok(freelist)
}

/// Doubling up to a gigabyte, then in gigabytes.
fn map_len(needed: u64, opts: &Options) -> u64 {
    let wanted = needed.max(opts.map_min_bytes).max(1);
    if wanted <= MAP_STEP { wanted.next_power_of_two() } else { wanted.next_multiple_of(MAP_STEP) }
}

/// Cuts sorted pages into runs that lie side by side in the file.
fn runs(pages: &[NewPage], page_size: u64) -> impl Iterator<Item = &[NewPage]> {
    let mut rest = pages;
    std::iter::from_fn(move || {
        let mut end = 1.min(rest.len());
        while end < rest.len().min(RUN_PAGES) {
            let (before, image) = &rest[end - 1];
            if before + image.len() as u64 / page_size != rest[end].0 {
                break;
            }
            end += 1;
        }
        let (run, others) = rest.split_at(end);
        rest = others;
        (!run.is_empty()).then_some(run)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ops::Range;

    use crate::bolt::meta::NO_FREELIST;
    use bytes::Bytes;
    use disk::MemDisk;

    const PATH: &str = "/db";

    fn open(disk: &MemDisk) -> Result<Db, Error> {
        let opts = Options { growth_bytes: 0, ..Options::default() };
        let mut db = Db::open(Arc::new(disk.clone()), Path::new(PATH), opts)?;
        db.create_buckets()?;
        Ok(db)
    }

    fn put(db: &mut Db, from: u64, to: u64) {
        let layer = Layer::default();
        for n in from..to {
            layer.put(Bucket::Key, Bytes::copy_from_slice(&n.to_be_bytes()), Bytes::from(vec![1; 100]));
        }
        db.commit_layer(&layer, &mut |_| {}).unwrap();
    }

    #[test]
    fn a_new_file_has_two_metas_an_empty_freelist_and_an_empty_root() {
        let image = new_file(4096);
        assert_eq!(image.len(), 16384);
        assert_eq!(image[8192..8208], [2, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(image[12288..12304], [3, 0, 0, 0, 0, 0, 0, 0, 0x02, 0, 0, 0, 0, 0, 0, 0]);
        assert!(image[8208..12288].iter().chain(&image[12304..]).all(|byte| *byte == 0));
        assert_eq!(image[..12], [0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0]);
    }

    /// Stores a freelist as bolt does without NoFreelistSync: `ids` on page `at`.
    fn store_freelist(disk: &MemDisk, at: PageId, ids: &[PageId]) {
        let file = disk.open(Path::new(PATH), Open::write()).unwrap();
        let mut page = vec![0; 4096];
        Header { id: at, flags: FREELIST, count: ids.len() as u16, overflow: 0 }.write(&mut page);
        for (n, id) in ids.iter().enumerate() {
            page[16 + n * 8..24 + n * 8].copy_from_slice(&id.to_le_bytes());
        }
        file.write_at(&page, at * 4096).unwrap();
        let meta = Meta::read(&*file, Path::new(PATH)).unwrap();
        assert_eq!(meta.freelist, NO_FREELIST);
        let meta = Meta { freelist: at, ..meta };
        file.write_at(&meta.page(meta.slot()), meta.slot() * 4096).unwrap();
    }

    /// Commits records of a megabyte.
    fn put_long(db: &mut Db, keys: Range<u64>, passed: &mut dyn FnMut(Phase)) {
        let (layer, value) = (Layer::default(), Bytes::from(vec![1; 1 << 20]));
        keys.for_each(|n| layer.put(Bucket::Key, Bytes::copy_from_slice(&n.to_be_bytes()), value.clone()));
        db.commit_layer(&layer, passed).unwrap();
    }

    /// With half of its records deleted again.
    fn half_empty(growth_bytes: u64, count: u64) -> Db {
        let disk = MemDisk::new(0);
        let opts = Options { growth_bytes, ..Options::default() };
        let mut db = Db::open(Arc::new(disk), Path::new(PATH), opts).unwrap();
        db.create_buckets().unwrap();
        put_long(&mut db, 0..count, &mut |_| {});
        let layer = Layer::default();
        (0..count).step_by(2).for_each(|n| layer.delete(Bucket::Key, &n.to_be_bytes()));
        db.commit_layer(&layer, &mut |_| {}).unwrap();
        db
    }

    #[test]
    fn a_file_is_cut_in_small_pieces_to_what_is_used() {
        let mut db = half_empty(16 << 20, 40);
        let (before, mut cuts) = (db.file_len, Vec::new());
        db.vacuum_request.start();
        for _ in 0..100 {
            let len = db.file_len;
            db.commit_vacuum_step(&mut |_| {}).unwrap();
            cuts.push(len.saturating_sub(db.file_len));
        }
        assert!(!db.vacuum_request.running());
        assert!(cuts.iter().all(|cut| *cut <= CUT_BYTES_MAX), "{cuts:?}");
        assert!(db.file_len < before / 2 && db.file_len == db.snapshot.meta.hwm * 4096, "{}", db.file_len);
        assert!(db.snapshot.check().is_empty());
    }

    #[test]
    fn a_defragmentation_ends_while_every_commit_makes_the_file_grow() {
        let mut db = half_empty(8 << 20, 10);
        db.vacuum_request.start();
        for n in 10..50 {
            let len = db.file_len;
            put_long(&mut db, n * 10..n * 10 + 10, &mut |_| {});
            assert!(db.file_len > len);
            if !db.vacuum_request.running() {
                break;
            }
        }
        assert!(!db.vacuum_request.running() && db.snapshot.check().is_empty());
    }

    #[test]
    fn a_defragmentation_asked_for_during_a_commit_is_not_over_with_it() {
        let mut db = half_empty(0, 20);
        let (before, request) = (db.file_len, db.vacuum_request());
        put_long(&mut db, 100..101, &mut |phase| {
            if phase == Phase::Change {
                request.start();
            }
        });
        assert!(request.running());
        (0..100).for_each(|_| drop(db.commit_vacuum_step(&mut |_| {}).unwrap()));
        assert!(!request.running() && db.file_len < before * 2 / 3, "{before} {}", db.file_len);
    }

    #[test]
    fn a_stored_freelist_is_believed_checked_and_given_up() {
        let disk = MemDisk::new(0);
        let mut db = open(&disk).unwrap();
        (0..20).for_each(|n| put(&mut db, n * 100, n * 100 + 100));
        drop(db);
        let free: Vec<PageId> = {
            let db = open(&disk).unwrap();
            (2..db.snapshot.meta.hwm).filter(|page| db.freelist.is_free(*page)).collect()
        };
        assert!(free.len() >= 2, "{free:?}");
        store_freelist(&disk, free[0], &free[1..]);
        let mut db = open(&disk).unwrap();
        assert!(!db.freelist.is_free(free[0]), "the freelist's own page is taken");
        assert!(db.snapshot.check().is_empty());
        put(&mut db, 5000, 5001);
        put(&mut db, 5001, 5002);
        assert_eq!(db.snapshot.meta.freelist, NO_FREELIST);
        assert!(db.snapshot.check().is_empty());
        let root = db.snapshot.meta.root;
        drop(db);
        store_freelist(&disk, free[0], &[root]);
        assert!(matches!(open(&disk), Err(Error::Damaged { .. })), "a used page in the freelist");
    }
}
