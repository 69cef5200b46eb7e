//! A simulated disk in memory, with faults. Equal seeds and equal calls give equal disks.
//!
//! The fault model. What a program sees is always what it wrote last, as through a page cache. What a power loss
//! ([`MemDisk::crash`]) leaves is decided by chance from a seed: contents synced with [`File::sync`] and names synced
//! with [`Disk::sync_dir`] are there; every write, change of length, creation, rename or removal since then may be
//! lost, kept, or kept without those before it, each on its own; a write may be torn at 512-byte sector borders, where
//! the missing sectors hold what was there before. A file whose creation is lost is lost with all its synced contents.
//! A rename within a directory is atomic; one across directories is durable at once. A failed sync
//! ([`MemDisk::fail_next_sync`]) leaves the unsynced writes in doubt for ever: later syncs succeed without them. The
//! power can be cut at the nth change ([`MemDisk::crash_at_op`]): it may or may not happen, and every later call fails. A
//! full disk ([`MemDisk::set_capacity`]) takes the part of a write that fits. Bits rot when told
//! ([`MemDisk::flip_bit`]). Not simulated: permissions, links, wrong sectors, writes that go to another place.

mod chance;
mod content;
mod state;

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::{Disk, File, Lock, Map, Open};
use state::{Inode, State};

/// The simulated disk. Clones are the same disk.
#[derive(Clone)]
pub struct MemDisk {
    state: Arc<Mutex<State>>,
}

struct MemFile {
    state: Arc<Mutex<State>>,
    inode: Inode,
    /// Tells open files apart, for locks.
    handle: u64,
    writable: bool,
}

impl MemDisk {
    /// An empty disk without limits. What a crash leaves of it depends on this seed too.
    pub fn new(seed: u64) -> MemDisk {
        MemDisk { state: Arc::new(Mutex::new(State::new(seed))) }
    }

    /// Cuts the power: every later call on this disk fails. Returns the disk as it is found afterwards, drawn from
    /// `seed`; locks are gone, and what is found is durable.
    pub fn crash(&self, seed: u64) -> MemDisk {
        MemDisk { state: Arc::new(Mutex::new(self.state.lock().crash(seed))) }
    }

    /// How many changes were made so far: writes, changes of length, syncs, creations, renames and removals.
    pub fn ops(&self) -> u64 {
        self.state.lock().ops
    }

    /// How many of them were syncs that succeeded, of files or directories.
    pub fn syncs(&self) -> u64 {
        self.state.lock().syncs
    }

    /// Cuts the power during the `n`th change counted by [`MemDisk::ops`]: it and every later call fails. A write or
    /// rename cut short may still be found by [`MemDisk::crash`].
    pub fn crash_at_op(&self, n: u64) {
        self.state.lock().dies_at = Some(n);
    }

    /// Whether the power is gone.
    pub fn is_dead(&self) -> bool {
        self.state.lock().dead
    }

    /// Makes the next sync of this file fail; what it should have made durable is in doubt for ever.
    pub fn fail_next_sync(&self, path: &Path) -> io::Result<()> {
        self.state.lock().fail_next_sync(path)
    }

    /// Limits the bytes that all files together may take; `None` is no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state.lock().capacity = bytes;
    }

    /// Turns bit `bit` (0 to 7) of the byte at `offset`.
    pub fn flip_bit(&self, path: &Path, offset: u64, bit: u8) -> io::Result<()> {
        self.state.lock().flip_bit(path, offset, bit)
    }
}

impl Disk for MemDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let (inode, handle) = self.state.lock().open(path, how)?;
        Ok(Arc::new(MemFile { state: self.state.clone(), inode, handle, writable: how.write }))
    }

    fn create_dir_all(&self, path: &Path, _mode: u32) -> io::Result<()> {
        self.state.lock().create_dir_all(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.state.lock().rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.state.lock().remove(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.state.lock().remove_dir_all(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.state.lock().list(dir)
    }

    fn exists(&self, path: &Path) -> bool {
        self.state.lock().exists(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.state.lock().sync_dir(dir)
    }

    fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        self.state.lock().free_bytes()
    }
}

impl MemFile {
    fn state_to_write(&self) -> io::Result<parking_lot::MutexGuard<'_, State>> {
        if self.writable { Ok(self.state.lock()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }
}

impl File for MemFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.state.lock().read_at(self.inode, buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.state_to_write()?.write_at(self.inode, buf, offset)
    }

    fn write_vectored_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let all: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
        self.write_at(&all, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.state.lock().sync(self.inode)
    }

    fn len(&self) -> io::Result<u64> {
        self.state.lock().len(self.inode)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.state_to_write()?.set_len(self.inode, len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.state_to_write()?.allocate(self.inode, len)
    }

    fn lock(&self, kind: Lock) -> io::Result<bool> {
        self.state.lock().lock(self.inode, self.handle, kind)
    }

    fn map(&self, len: u64) -> io::Result<Map> {
        self.state.lock().map(self.inode, len)
    }
}

impl Drop for MemFile {
    fn drop(&mut self) {
        self.state.lock().close(self.inode, self.handle);
    }
}
