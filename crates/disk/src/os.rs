//! The real disk.

use std::fs;
use std::io::{self, IoSlice};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, FlockOperation};
use rustix::io::Errno;

use crate::direct::Direct;
use crate::map::FileLen;
use crate::{Disk, File, Lock, Map, Open, parent};

/// Space given back at once when a long file is removed: 64 MiB took ext4 13 ms and more, with `discard`, and 4 MiB two.
const FREED_BYTES: u64 = 4 << 20;
/// Pause after that, for those who wait to write.
const FREEING_PAUSE: Duration = Duration::from_millis(5);

/// The operating system's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsDisk;

struct OsFile {
    file: Arc<fs::File>,
    /// A lower bound of the length, for maps.
    known_len: Arc<AtomicU64>,
    locked: AtomicBool,
    /// For a file that is written in order.
    direct: Option<Mutex<Direct>>,
}

impl Disk for OsDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(how.write)
            .create(how.create)
            .truncate(how.truncate)
            .create_new(how.create_new)
            .mode(how.mode)
            .open(path)?;
        let len = file.metadata()?.len();
        let direct = if how.in_order { Direct::open(path) } else { None };
        Ok(Arc::new(OsFile {
            file: Arc::new(file),
            known_len: Arc::new(AtomicU64::new(len)),
            locked: AtomicBool::new(false),
            direct: direct.map(Mutex::new),
        }))
    }

    fn create_dir_all(&self, path: &Path, mode: u32) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(mode).create(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_in_steps(&self, path: &Path) -> io::Result<()> {
        let file = fs::OpenOptions::new().write(true).open(path)?;
        fs::remove_file(path)?;
        // Before its content goes: a crash may bring the name back.
        self.sync_dir(parent(path))?;
        // What has another name, too (a backup made of links), keeps its content.
        let mut len = file.metadata().map_or(0, |data| if data.nlink() == 0 { data.len() } else { 0 });
        while len > 0 {
            len = len.saturating_sub(FREED_BYTES);
            if file.set_len(len).is_err() {
                break;
            }
            std::thread::sleep(FREEING_PAUSE);
        }
        Ok(())
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            names.extend(entry?.file_name().into_string().ok());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

impl OsFile {
    fn grew_to(&self, end: u64) {
        self.known_len.fetch_max(end, Ordering::AcqRel);
    }

    fn flock(&self, operation: FlockOperation) -> io::Result<bool> {
        match rustix::fs::flock(&*self.file, operation) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn ofd_lock(&self) -> io::Result<bool> {
        match fcntl(&*self.file, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_WRLCK))) {
            Ok(_) => Ok(true),
            Err(nix::Error::EAGAIN | nix::Error::EACCES) => Ok(false),
            Err(nix::Error::EINVAL) => self.flock(FlockOperation::NonBlockingLockExclusive),
            Err(error) => Err(error.into()),
        }
    }
}

fn whole_file(kind: libc::c_int) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

/// Closing alone would keep the lock for as long as a mapping of the file lives.
impl Drop for OsFile {
    fn drop(&mut self) {
        if self.locked.load(Ordering::Relaxed) {
            let _ = rustix::fs::flock(&*self.file, FlockOperation::NonBlockingUnlock);
            let _ = fcntl(&*self.file, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_UNLCK)));
        }
    }
}

impl File for OsFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match self.file.read_at(buf, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        if let Some(direct) = &self.direct {
            let len = self.known_len.load(Ordering::Acquire);
            if direct.lock().write(&self.file, buf, offset, len)? {
                return Ok(());
            }
        }
        self.file.write_all_at(buf, offset)?;
        self.grew_to(offset + buf.len() as u64);
        Ok(())
    }

    fn write_vectored_at(&self, bufs: &[IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        const AT_ONCE: usize = 1024; // IOV_MAX
        if let Some(direct) = &self.direct {
            direct.lock().forget();
        }
        let mut owned = bufs.to_vec();
        let mut rest = &mut owned[..];
        IoSlice::advance_slices(&mut rest, 0); // drops empty ones, which a write of length 0 would never finish
        while !rest.is_empty() {
            let n = match rustix::io::pwritev(&*self.file, &rest[..rest.len().min(AT_ONCE)], offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => n,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            offset += n as u64;
            IoSlice::advance_slices(&mut rest, n);
        }
        self.grew_to(offset);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if let Some(direct) = &self.direct {
            direct.lock().forget();
        }
        self.known_len.fetch_min(len, Ordering::AcqRel);
        self.file.set_len(len)?;
        self.known_len.store(len, Ordering::Release);
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        match rustix::io::retry_on_intr(|| {
            rustix::fs::fallocate(&*self.file, FallocateFlags::empty(), 0, len)
        }) {
            Ok(()) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                if self.len()? < len {
                    self.file.set_len(len)?;
                }
            }
            Err(error) => return Err(error.into()),
        }
        self.grew_to(len);
        Ok(())
    }

    fn lock(&self, kind: Lock) -> io::Result<bool> {
        let taken = match kind {
            Lock::Flock => self.flock(FlockOperation::NonBlockingLockExclusive)?,
            Lock::FlockShared => self.flock(FlockOperation::NonBlockingLockShared)?,
            Lock::Ofd => self.ofd_lock()?,
        };
        self.locked.fetch_or(taken, Ordering::Relaxed);
        Ok(taken)
    }

    fn map(&self, len: u64) -> io::Result<Map> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let file_len = FileLen { known: self.known_len.clone(), ask: Arc::downgrade(&self.file) };
        Map::of_file(&self.file, len, file_len)
    }
}
