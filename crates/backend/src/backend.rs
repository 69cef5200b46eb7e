//! The writer's door: puts and deletes go into the active layer; sealed layers are committed by a [`Committer`].

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Release};

use bytes::Bytes;
use disk::Disk;
use parking_lot::{Mutex, RwLock};

use crate::bolt::{self, Db, Snapshot};
use crate::error::Error;
use crate::layer::{Layer, Records};
use crate::schema::Bucket;
use crate::view::{Current, Range, ReadTx, Reader, View};

pub use crate::bolt::{Options, Phase};

/// The one writer. Owned by the apply thread; none of its methods but [`Backend::commit`] and
/// [`Backend::defragment`] waits for the file.
pub struct Backend {
    active: Arc<Layer>,
    current: Arc<Current>,
    db: Arc<Mutex<Db>>,
    vacuum: Arc<bolt::VacuumRequest>,
}

impl Backend {
    /// Opens the file, or creates it with all buckets of [`Bucket::ALL`], and locks it.
    ///
    /// # Errors
    /// [`Error::Locked`] (the caller decides whether to try again), [`Error::NotBolt`], [`Error::Damaged`],
    /// [`Error::Disk`].
    pub fn open(disk: Arc<dyn Disk>, path: &Path, opts: Options) -> Result<Backend, Error> {
        let mut db = Db::open(disk, path, opts)?;
        db.create_buckets()?;
        let active = Arc::new(Layer::default());
        let view = View { committed: db.snapshot(), sealed: None, active: active.clone() };
        let vacuum = db.vacuum_request();
        let size = view.committed.size().into();
        Ok(Backend {
            active,
            current: Arc::new(Current {
                view: RwLock::new(Arc::new(view)),
                size,
                readers: Mutex::new(db.readers()),
            }),
            db: Arc::new(Mutex::new(db)),
            vacuum,
        })
    }

    /// Puts a record; visible at once to [`Backend::get`] and to readers.
    pub fn put(&mut self, bucket: Bucket, key: Bytes, value: Bytes) {
        self.active.put(bucket, key, value);
    }

    /// Puts records into [`Bucket::Key`]; visible at once, too.
    pub fn put_many(&mut self, records: Arc<dyn Records>) {
        self.active.put_many(records);
    }

    /// Deletes a record. In [`Bucket::Key`] this shows only after the commit.
    pub fn delete(&mut self, bucket: Bucket, key: &[u8]) {
        self.active.delete(bucket, key);
    }

    /// The value under `key`, pending changes included.
    ///
    /// # Errors
    /// [`Error::Damaged`] when a page on the way breaks the format.
    pub fn get(&self, bucket: Bucket, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.read().get(bucket, key)
    }

    /// Records with `from <= key < to` (`None`: to the end) in rising order, pending changes included.
    pub fn range(&self, bucket: Bucket, from: &[u8], to: Option<&[u8]>) -> Range {
        self.read().range(bucket, from, to)
    }

    /// Puts and deletes since the last seal.
    pub fn pending_ops(&self) -> usize {
        self.active.ops()
    }

    /// Bytes put since the last seal, keys and values.
    pub fn pending_bytes(&self) -> usize {
        self.active.bytes()
    }

    /// Closes the active layer and starts a new one. False when nothing is pending or the layer sealed before is not
    /// committed yet: the active one then goes on growing.
    pub fn seal(&mut self) -> bool {
        if self.active.ops() == 0 {
            return false;
        }
        let mut current = self.current.view.write();
        if current.sealed.is_some() {
            return false;
        }
        let active = Arc::new(Layer::default());
        let sealed = Some(std::mem::replace(&mut self.active, active.clone()));
        *current = Arc::new(View { committed: current.committed.clone(), sealed, active });
        true
    }

    /// What the commit thread works with.
    pub fn committer(&self) -> Committer {
        Committer { current: self.current.clone(), db: self.db.clone() }
    }

    /// Seals and commits here and now, after any commit that is running. Then nothing is pending.
    ///
    /// # Errors
    /// As [`Committer::commit_sealed`].
    pub fn commit(&mut self) -> Result<(), Error> {
        let committer = self.committer();
        committer.commit_sealed()?;
        if self.seal() {
            committer.commit_sealed()?;
        }
        Ok(())
    }

    /// Puts another file in the place of this one, which is left as it is: what is pending is dropped, committers and
    /// readers made before go on with the new file, and transactions that are open keep what they see.
    pub fn replace(&mut self, other: Backend) {
        // No commit is running while the file is held.
        let mut db = self.db.lock();
        let view = other.current.view.read().clone();
        self.current.size.store(other.size(), Release);
        *self.current.readers.lock() = other.current.readers.lock().clone();
        self.active = view.active.clone();
        *self.current.view.write() = view;
        self.vacuum = other.vacuum.clone();
        std::mem::swap(&mut *db, &mut *other.db.lock());
    }

    /// A source of read transactions.
    pub fn reader(&self) -> Reader {
        Reader { current: self.current.clone() }
    }

    /// A read transaction, as [`Reader::read`].
    pub fn read(&self) -> ReadTx {
        ReadTx { view: self.current.view.read().clone() }
    }

    /// Asks for defragmentation: from now on each commit moves some pages from the end of the file towards its head,
    /// and [`Committer::commit_sealed`] commits such a step even when nothing is sealed. Writes go on meanwhile.
    pub fn start_defragment(&self) {
        self.vacuum.start();
    }

    /// Whether a defragmentation is still going on.
    pub fn defragmenting(&self) -> bool {
        self.vacuum.running()
    }

    /// Defragments to the end, here and now: for tools and tests.
    ///
    /// # Errors
    /// As [`Committer::commit_sealed`].
    pub fn defragment(&mut self) -> Result<(), Error> {
        self.commit()?;
        self.start_defragment();
        let committer = self.committer();
        while self.defragmenting() {
            committer.commit_sealed()?;
        }
        Ok(())
    }

    /// Checks the committed file while it is in use: every page referenced once, keys in order and within their
    /// branch's bounds, all other pages free. Returns what is wrong; empty means sound.
    pub fn check(&self) -> Vec<Error> {
        self.read().check()
    }

    /// Bytes of the committed file up to its high-water mark.
    pub fn size(&self) -> u64 {
        self.current.size.load(Acquire)
    }

    /// [`Backend::size`] less the pages that are free.
    pub fn size_in_use(&self) -> u64 {
        self.read().size_in_use()
    }
}

/// Writes sealed layers into the file; lives on the commit thread.
#[derive(Clone)]
pub struct Committer {
    current: Arc<Current>,
    db: Arc<Mutex<Db>>,
}

impl Committer {
    /// Writes the sealed layer as one transaction and syncs it, then lets readers see it there. False when there was
    /// nothing to do.
    ///
    /// # Errors
    /// Any error is fatal: it is unknown what the disk holds, so the process must stop. Later calls answer
    /// [`Error::Poisoned`].
    pub fn commit_sealed(&self) -> Result<bool, Error> {
        self.commit_sealed_in_phases(&mut |_| {})
    }

    /// As [`Committer::commit_sealed`]; `passed` hears of each phase when it is over.
    ///
    /// # Errors
    /// As [`Committer::commit_sealed`].
    pub fn commit_sealed_in_phases(&self, passed: &mut dyn FnMut(Phase)) -> Result<bool, Error> {
        let mut db = self.db.lock();
        let sealed = self.current.view.read().sealed.clone();
        let committed = match &sealed {
            Some(layer) => db.commit_layer(layer, passed)?,
            None => match db.commit_vacuum_step(passed)? {
                Some(committed) => committed,
                None => return Ok(false),
            },
        };
        self.publish(committed, sealed.as_ref());
        Ok(true)
    }

    /// Whether a defragmentation wants another commit, even if nothing is sealed.
    pub fn defragmenting(&self) -> bool {
        self.db.lock().vacuum_request().running()
    }

    /// Lets readers see a new committed state in place of the layer that went into it. A layer sealed meanwhile, while
    /// a step without one was committed, stays for the next commit.
    fn publish(&self, committed: Arc<Snapshot>, done: Option<&Arc<Layer>>) {
        self.current.size.store(committed.size(), Release);
        let mut current = self.current.view.write();
        let is_done = |layer: &Arc<Layer>| done.is_some_and(|done| Arc::ptr_eq(done, layer));
        let sealed = current.sealed.clone().filter(|layer| !is_done(layer));
        *current = Arc::new(View { committed, sealed, active: current.active.clone() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_and_committers_go_on_with_a_file_put_in_the_place_of_theirs() {
        let disk = Arc::new(disk::MemDisk::new(0));
        let open = |path| Backend::open(disk.clone(), Path::new(path), Options::default()).unwrap();
        let value = |tx: &ReadTx| tx.get(Bucket::Key, b"1").unwrap();
        let (mut backend, mut other) = (open("/db"), open("/other"));
        backend.put(Bucket::Key, Bytes::from_static(b"1"), Bytes::from_static(b"old"));
        backend.commit().unwrap();
        backend.put(Bucket::Meta, Bytes::from_static(b"m"), Bytes::from_static(b"lost"));
        assert!(backend.seal());
        other.put(Bucket::Key, Bytes::from_static(b"1"), Bytes::from_static(b"new"));
        other.commit().unwrap();
        let (reader, committer) = (backend.reader(), backend.committer());
        let before = reader.read();
        backend.replace(other);
        assert_eq!((value(&before).unwrap(), value(&reader.read()).unwrap()), ("old".into(), "new".into()));
        assert!(!committer.commit_sealed().unwrap(), "what waited for the old file is dropped");
        backend.put(Bucket::Key, Bytes::from_static(b"1"), Bytes::from_static(b"newer"));
        assert!(backend.seal() && committer.commit_sealed().unwrap());
        assert_eq!(value(&reader.read()).unwrap(), "newer");
        assert!(backend.get(Bucket::Meta, b"m").unwrap().is_none() && backend.check().is_empty());
        drop((backend, reader, committer));
        assert_eq!(value(&open("/other").read()).unwrap(), "newer");
        assert_eq!(value(&before).unwrap(), "old");
    }

    #[test]
    fn a_commit_tells_of_its_phases_in_their_order() {
        let disk = Arc::new(disk::MemDisk::new(0));
        let mut backend = Backend::open(disk, Path::new("/db"), Options::default()).unwrap();
        let committer = backend.committer();
        let mut phases = Vec::new();
        assert!(!committer.commit_sealed_in_phases(&mut |phase| phases.push(phase)).unwrap());
        assert_eq!(phases, [], "nothing to commit");
        backend.put(Bucket::Key, Bytes::from_static(b"1"), Bytes::from_static(b"x"));
        assert!(backend.seal());
        assert!(committer.commit_sealed_in_phases(&mut |phase| phases.push(phase)).unwrap());
        assert_eq!(phases, [Phase::Change, Phase::Rebalance, Phase::Spill, Phase::Write]);
    }

    #[test]
    fn a_layer_sealed_during_a_commit_without_one_is_kept_for_the_next() {
        let disk = Arc::new(disk::MemDisk::new(0));
        let mut backend = Backend::open(disk, Path::new("/db"), Options::default()).unwrap();
        let committer = backend.committer();
        backend.start_defragment();
        let committed = backend.db.lock().commit_vacuum_step(&mut |_| {}).unwrap().unwrap();
        backend.put(Bucket::Key, Bytes::from_static(b"1"), Bytes::from_static(b"x"));
        assert!(backend.seal());
        committer.publish(committed, None);
        assert!(backend.get(Bucket::Key, b"1").unwrap().is_some());
        assert!(!backend.seal(), "still waiting for its commit");
        assert!(committer.commit_sealed().unwrap());
        assert!(backend.get(Bucket::Key, b"1").unwrap().is_some());
        assert!(backend.read().view.sealed.is_none());
    }
}
