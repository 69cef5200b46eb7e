//! The next segment, made ahead of need: writing into a file that is already full of zeros makes each sync cheaper.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use disk::{Disk, File, Lock, Open};
use parking_lot::Mutex;

use crate::Error;

/// Zeros written, and synced, in one step: little enough that a sync of the log next to it does not wait long.
const STEP_BYTES: usize = 1 << 20;
/// Zeros in one write. Linux keeps what is written at once in one piece of the page cache where it can, and a sync
/// writes a piece whole, however little of it has changed since.
const WRITE_BYTES: usize = 4096;

/// Where the next segment comes from. Files are named `0.tmp` and `1.tmp` by turns, as in etcd.
#[derive(Default)]
pub(crate) struct Supply {
    slot: Arc<Mutex<Slot>>,
    made: usize,
}

#[derive(Default)]
enum Slot {
    #[default]
    Empty,
    /// A [`NextSegment`] is at work under this number.
    Making(usize),
    Ready(Made),
    /// Making it failed, the disk may be full: not tried again for this segment, which would only fail again.
    Failed,
}

/// A file that waits to become a segment.
pub(crate) struct Made {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn File>,
}

/// The work of making the next segment; for a background thread. Dropped unfinished, it is as if never begun.
pub struct NextSegment {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    number: usize,
    len: u64,
    zeros: u64,
    made: Option<Made>,
    done: bool,
    failed: bool,
    slot: Arc<Mutex<Slot>>,
}

impl Supply {
    /// Work to be done, if no next segment is ready or being made.
    pub(crate) fn prepare(&mut self, disk: &Arc<dyn Disk>, dir: &Path, len: u64) -> Option<NextSegment> {
        let mut slot = self.slot.lock();
        if !matches!(*slot, Slot::Empty) {
            return None;
        }
        let number = self.made % 2;
        self.made += 1;
        *slot = Slot::Making(number);
        let (disk, dir, slot) = (disk.clone(), dir.to_owned(), self.slot.clone());
        Some(NextSegment { disk, dir, number, len, zeros: 0, made: None, done: false, failed: false, slot })
    }

    /// The next segment: the one made ahead, else a new one that is only allocated, which takes no time.
    pub(crate) fn take(&mut self, disk: &dyn Disk, dir: &Path, len: u64) -> Result<Made, Error> {
        let mut slot = self.slot.lock();
        let number = match std::mem::take(&mut *slot) {
            Slot::Ready(made) => return Ok(made),
            Slot::Making(number) => {
                *slot = Slot::Making(number);
                1 - number
            }
            Slot::Empty | Slot::Failed => {
                self.made += 1;
                (self.made - 1) % 2
            }
        };
        drop(slot);
        make(disk, dir, number, len)
    }

    /// Removes the file made ahead, if any; a clean stop leaves none.
    pub(crate) fn discard(&mut self, disk: &dyn Disk) -> Result<(), Error> {
        match std::mem::take(&mut *self.slot.lock()) {
            Slot::Ready(made) => disk.remove(&made.path).map_err(Error::io("remove", &made.path)),
            Slot::Empty | Slot::Making(_) | Slot::Failed => Ok(()),
        }
    }
}

/// Creates and locks a file of `len` allocated bytes; what an earlier process left under its name is cut off.
fn make(disk: &dyn Disk, dir: &Path, number: usize, len: u64) -> Result<Made, Error> {
    let path = tmp_path(dir, number);
    let file = disk.open(&path, Open::truncate(0o600)).map_err(Error::io("create", &path))?;
    if !file.lock(Lock::Ofd).map_err(Error::io("lock", &path))? {
        return Err(Error::Locked { file: path });
    }
    file.allocate(len).map_err(Error::io("allocate", &path))?;
    Ok(Made { path, file })
}

fn tmp_path(dir: &Path, number: usize) -> PathBuf {
    dir.join(format!("{number}.tmp"))
}

impl NextSegment {
    /// Does all of it.
    pub fn run(mut self) -> Result<(), Error> {
        while self.step()? {}
        Ok(())
    }

    /// Does a little of it: at most a mebibyte is written and synced. `false` when the segment is ready.
    pub fn step(&mut self) -> Result<bool, Error> {
        if self.done {
            return Ok(false);
        }
        let result = self.work();
        self.failed = result.is_err();
        if self.failed {
            self.made = None;
            self.zeros = 0;
        }
        if self.failed && !matches!(result, Err(Error::Locked { .. })) {
            // What is there of it is room that the log may need; it is cut off anyway when the name is used again.
            let _ = self.disk.remove(&tmp_path(&self.dir, self.number));
        }
        result
    }

    fn work(&mut self) -> Result<bool, Error> {
        let made = match &self.made {
            Some(made) => made,
            None => self.made.insert(make(&*self.disk, &self.dir, self.number, self.len)?),
        };
        let n = (self.len - self.zeros).min(STEP_BYTES as u64);
        if n > 0 {
            let zeros = [0; WRITE_BYTES];
            for at in (self.zeros..self.zeros + n).step_by(WRITE_BYTES) {
                let len = (self.zeros + n - at).min(WRITE_BYTES as u64) as usize;
                made.file.write_at(&zeros[..len], at).map_err(Error::io("write", &made.path))?;
            }
            made.file.sync().map_err(Error::io("sync", &made.path))?;
            self.zeros += n;
        }
        if self.zeros < self.len {
            return Ok(true);
        }
        if let Some(made) = self.made.take() {
            *self.slot.lock() = Slot::Ready(made);
            self.done = true;
        }
        Ok(false)
    }
}

impl Drop for NextSegment {
    fn drop(&mut self) {
        if !self.done {
            *self.slot.lock() = if self.failed { Slot::Failed } else { Slot::Empty };
        }
    }
}
