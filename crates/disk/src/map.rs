//! A file as memory, read-only. The one module of the workspace that may use `unsafe`.
//!
//! What must hold, and who sees to it. A mapping shows later writes, so a `&[u8]` from here is sound only while nobody
//! writes to those bytes. The user of a map keeps that promise by never overwriting what a reader may look at (the bolt
//! engine is copy-on-write: a page is reused only when no reader can reach it) and by never cutting the file below what
//! is being looked at. Reading a page beyond the end of a file would kill the process with SIGBUS, so [`Map::get`]
//! checks against the length of the file.
#![allow(unsafe_code)]

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// A read-only shared view of the first bytes of a file; it sees what is written later. Cheap to clone.
#[derive(Clone)]
pub struct Map {
    memory: Arc<Memory>,
    len: usize,
    file_len: FileLen,
}

enum Memory {
    Mapped(memmap2::Mmap),
    Simulated(Arc<Region>),
}

/// What the file's handle knows about its length, shared with its maps.
#[derive(Clone)]
pub(crate) struct FileLen {
    pub(crate) known: Arc<AtomicU64>,
    /// Asked when another handle may have grown the file. Weak: a map must not keep the file's lock alive.
    pub(crate) ask: Weak<std::fs::File>,
}

impl FileLen {
    fn covers(&self, end: u64) -> bool {
        if end <= self.known.load(Ordering::Acquire) {
            return true;
        }
        matches!(self.ask.upgrade().map(|file| file.metadata()), Some(Ok(metadata)) if end <= metadata.len())
    }
}

impl Map {
    /// Maps `[0, len)` of a real file, which may be shorter.
    pub(crate) fn of_file(file: &std::fs::File, len: usize, file_len: FileLen) -> io::Result<Map> {
        // SAFETY: the mapping is read-only and lives as long as `Memory`; bytes behind a live `&[u8]` are not written
        // and not cut off, which the module's text asks of the user of a map.
        let mapped = unsafe { memmap2::MmapOptions::new().len(len).map(file)? };
        Ok(Map { memory: Arc::new(Memory::Mapped(mapped)), len, file_len })
    }

    /// Shows the first `len` bytes of a simulated file's memory.
    pub(crate) fn of_region(region: Arc<Region>, len: usize, file_len: FileLen) -> Map {
        let len = len.min(region.memory.len());
        Map { memory: Arc::new(Memory::Simulated(region)), len, file_len }
    }

    /// How many bytes are mapped; the file may be shorter.
    pub fn len(&self) -> u64 {
        self.len as u64
    }

    /// Whether nothing is mapped.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Gives the memory of what was looked at back to the system. It comes again when it is looked at again, mostly from the
    /// system's cache of the file.
    pub fn give_back(&self) {
        if let Memory::Mapped(mapped) = &*self.memory {
            // SAFETY: the mapping is shared with the file and read-only, so nothing is lost: slices of it show the same
            // bytes before and after.
            let advised = unsafe { mapped.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
            // Without it the memory stays for as long as the system has enough.
            drop(advised);
        }
    }

    /// Has the processor fetch the beginning of `len` bytes at `offset`, which will be looked at soon. Waits for nothing, and
    /// does not harm whatever is there. Of more the processor sees by itself that it is wanted.
    pub fn prefetch(&self, offset: u64, len: usize) {
        const LINE: usize = 64;
        const BYTES_MAX: usize = 2048;
        let Ok(offset) = usize::try_from(offset) else { return };
        let start = self.as_ref().as_ptr().wrapping_add(offset & !(LINE - 1));
        for at in (0..offset % LINE + len.min(BYTES_MAX)).step_by(LINE) {
            prefetch(start.wrapping_add(at));
        }
    }

    /// `len` bytes at `offset`, or `None` if they are beyond the mapping or beyond the end of the file.
    pub fn get(&self, offset: u64, len: usize) -> Option<&[u8]> {
        let end = offset.checked_add(len as u64)?;
        if end > self.len as u64 || !self.file_len.covers(end) {
            return None;
        }
        self.as_ref().get(usize::try_from(offset).ok()?..usize::try_from(end).ok()?)
    }
}

#[cfg(target_arch = "x86_64")]
fn prefetch(at: *const u8) {
    // Into the second level of its cache: few misses can be under way to the first.
    use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
    // SAFETY: a prefetch is a hint: it reads nothing and never faults, whatever the address.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) };
}

#[cfg(not(target_arch = "x86_64"))]
fn prefetch(_: *const u8) {}

/// The whole mapping. Bytes beyond the end of the file must not be touched: the system kills the process for it.
/// Meant as the owner behind `Bytes` slices whose bounds came from [`Map::get`].
impl AsRef<[u8]> for Map {
    fn as_ref(&self) -> &[u8] {
        match &*self.memory {
            Memory::Mapped(mapped) => &mapped[..self.len],
            // SAFETY: the region is `memory.len() >= self.len` initialised (zeroed) bytes that live as long as `self`;
            // that none of the bytes looked at is written meanwhile is the promise in the module's text.
            Memory::Simulated(region) => unsafe {
                std::slice::from_raw_parts(region.memory.as_ptr(), self.len)
            },
        }
    }
}

/// Memory that stands for a mapped simulated file: written by the file, read by its maps.
pub(crate) struct Region {
    memory: memmap2::MmapRaw,
}

impl Region {
    /// Zeroed memory of `len` bytes; pages cost memory only once written.
    pub(crate) fn new(len: usize) -> io::Result<Region> {
        let memory = memmap2::MmapOptions::new().len(len.max(1)).no_reserve_swap().map_anon()?;
        Ok(Region { memory: memory.into() })
    }

    pub(crate) fn len(&self) -> usize {
        self.memory.len()
    }

    /// Copies `data` to `offset`; what lies beyond the region is left out.
    pub(crate) fn write(&self, data: &[u8], offset: u64) {
        let Ok(offset) = usize::try_from(offset) else { return };
        if offset >= self.memory.len() {
            return;
        }
        let n = data.len().min(self.memory.len() - offset);
        // SAFETY: `offset + n` is within the mapping, which is writable memory of our own and cannot overlap `data`.
        // Callers hold the simulated disk's lock, so writes do not race with writes; readers: see the module's text.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), self.memory.as_mut_ptr().add(offset), n) }
    }
}
