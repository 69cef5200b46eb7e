//! # disk: the only room that calls the file system
//!
//! Lives here: the [`Disk`] and [`File`] traits, the real disk [`OsDisk`], the simulated one [`MemDisk`] with faults,
//! and [`Map`], a read-only view of a file as memory (the one module with `unsafe`).
//! May touch: the file system. Must never: know a format, read the clock, spawn a thread, retry a failed sync.
//! Test: `cargo test -p balsa-disk`; every fault of the simulated disk has a test that shows it.
//!
//! All calls block. A write is durable only after [`File::sync`]; a new, renamed or removed name is durable only after
//! [`Disk::sync_dir`] of its directory.

mod direct;
mod map;
mod mem;
mod os;

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

pub use map::Map;
pub use mem::MemDisk;
pub use os::OsDisk;

/// A place for files: the real one or a simulated one.
pub trait Disk: Send + Sync + 'static {
    /// Opens a file; reading is always allowed, the rest as `how` says.
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>>;
    /// Creates a directory and its missing parents with `mode` (less the umask).
    fn create_dir_all(&self, path: &Path, mode: u32) -> io::Result<()>;
    /// Renames a file or directory, replacing a file of the new name in one step.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes a long file that nobody writes any more: durably, and then gives its space back in steps with pauses,
    /// because a file system may hold up all other writes while it frees space. Blocks meanwhile.
    fn remove_in_steps(&self, path: &Path) -> io::Result<()> {
        self.remove(path)?;
        self.sync_dir(parent(path))
    }
    /// Removes a directory with all that is in it.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;
    /// The names in a directory, sorted. Names that are not UTF-8 are left out.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Whether a file or directory of this name can be seen.
    fn exists(&self, path: &Path) -> bool;
    /// Makes names created, renamed or removed in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Free space, in bytes, on the file system that holds `dir`.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;
}

/// The directory a file is in.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// An open file. Its lock, if any, is released when the last handle drops.
pub trait File: Send + Sync {
    /// Reads at `offset`; returns how many bytes, 0 at the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Fills `buf` from `offset`, or fails with `UnexpectedEof`.
    fn read_exact_at(&self, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buf.is_empty() {
            let n = self.read_at(buf, offset)?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            buf = &mut buf[n..];
            offset += n as u64;
        }
        Ok(())
    }

    /// Writes all of `buf` at `offset`, growing the file if needed.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;
    /// Writes all of `bufs`, one after the other, from `offset` on.
    fn write_vectored_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<()>;
    /// Makes contents and length durable (fdatasync). After an error nobody knows what is on disk: never try again.
    fn sync(&self) -> io::Result<()>;
    /// The file's length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Cuts the file, or grows it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Reserves space and grows the file to at least `len` bytes; where that is unsupported, only grows it.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Takes a lock without waiting; `false` means that someone else holds it.
    fn lock(&self, kind: Lock) -> io::Result<bool>;
    /// A read-only view of `[0, len)`, which may reach beyond the end of the file, for growth.
    fn map(&self, len: u64) -> io::Result<Map>;
}

/// Which lock to take on a file; the kinds are those of Go etcd, so that both programs exclude each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// `flock`, exclusive: the bolt file.
    Flock,
    /// `flock`, shared: the bolt file opened by a tool that only reads.
    FlockShared,
    /// Open-file-description lock (fcntl) for writing on the whole file: WAL segments. `flock` where unsupported.
    Ofd,
}

/// How to open a file. Start from a constructor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// Allow writing.
    pub write: bool,
    /// Create the file if missing.
    pub create: bool,
    /// Cut an existing file to nothing.
    pub truncate: bool,
    /// Create the file; fail with `AlreadyExists` if there is one.
    pub create_new: bool,
    /// Permission bits of a new file, less the umask.
    pub mode: u32,
    /// The file is written front to back, and holds nothing but zeros behind the last write: some of them may be written
    /// once more with it.
    pub in_order: bool,
}

impl Open {
    /// An existing file, to read.
    pub const fn read() -> Open {
        Open { write: false, create: false, truncate: false, create_new: false, mode: 0, in_order: false }
    }

    /// An existing file, to read and write.
    pub const fn write() -> Open {
        Open { write: true, ..Open::read() }
    }

    /// To read and write, created with `mode` if missing.
    pub const fn create(mode: u32) -> Open {
        Open { write: true, create: true, mode, ..Open::read() }
    }

    /// To read and write, and it must not exist yet.
    pub const fn create_new(mode: u32) -> Open {
        Open { write: true, create_new: true, mode, ..Open::read() }
    }

    /// To read and write, empty: created with `mode` if missing, cut to nothing otherwise.
    pub const fn truncate(mode: u32) -> Open {
        Open { write: true, create: true, truncate: true, mode, ..Open::read() }
    }

    /// The same for a file that is written front to back and has only zeros behind the last write.
    pub const fn in_order(self) -> Open {
        Open { in_order: true, ..self }
    }
}
