//! Writing past the page cache, front to back: the way of a file whose every write is synced before the next.
//!
//! Through the cache a small write costs a whole page on the disk. And one into blocks that were never written costs
//! the next sync a commit of the file system's journal, which waits for whatever else is to be in it. So sectors are
//! written straight from memory, and a small write that reaches new blocks takes zeros along for the blocks to come.

use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::libc;
use rustix::fs::{AtFlags, StatxFlags};

/// Written at once.
const CHUNK: usize = 256 * 1024;
/// A write that is not longer takes zeros along, up to the next multiple of `AHEAD`.
const SMALL: usize = 16 * 1024;
const AHEAD: usize = 64 * 1024;
/// Where the buffer begins in memory: at least as even as any disk wants it.
const EVEN: usize = 4096;

/// A second way into a file, for writes alone.
pub(crate) struct Direct {
    file: fs::File,
    /// What is written is a multiple of this long, and begins at one.
    sector: usize,
    /// The sector that the last write ended in, then room; made at the first write.
    buffer: Vec<u8>,
    /// Where in the buffer the first even byte is.
    start: usize,
    /// Where the last write ended, if that is known.
    end: Option<u64>,
    /// Up to here the blocks have been written.
    written: u64,
    /// The file system took none of it, whatever it had said.
    refused: bool,
}

impl Direct {
    /// `None` where the file system does not offer it, or does not say how.
    pub(crate) fn open(path: &Path) -> Option<Direct> {
        let file = fs::OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(path).ok()?;
        let asked = StatxFlags::DIOALIGN;
        let says = rustix::fs::statx(&file, c"", AtFlags::EMPTY_PATH, asked).ok()?;
        let (sector, memory) = (says.stx_dio_offset_align as usize, says.stx_dio_mem_align as usize);
        let usable = says.stx_mask & asked.bits() != 0
            && sector.is_power_of_two()
            && (512..=EVEN).contains(&sector)
            && (1..=EVEN).contains(&memory);
        usable.then_some(Direct {
            file,
            sector,
            buffer: Vec::new(),
            start: 0,
            end: None,
            written: 0,
            refused: false,
        })
    }

    /// The file was changed in another way.
    pub(crate) fn forget(&mut self) {
        self.end = None;
    }

    /// Writes, unless that would make the file longer than `len`: then the answer is false, and the caller writes. Up to
    /// the next sector the file holds zeros afterwards, or further. `cached`: the same file in the usual way.
    pub(crate) fn write(&mut self, cached: &fs::File, buf: &[u8], offset: u64, len: u64) -> io::Result<bool> {
        let sector = self.sector as u64;
        let fits = (offset + buf.len() as u64).next_multiple_of(sector) <= len;
        // Should this fail, nobody knows where the last write ended.
        let known = self.end.take() == Some(offset);
        if !fits || self.refused {
            return Ok(false);
        }
        if !known {
            self.load(cached, offset)?;
        }
        match self.write_chunks(buf, offset, len / sector * sector) {
            Ok(end) => {
                self.end = Some(end);
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                self.refused = true;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Reads what is before `offset` in its sector.
    fn load(&mut self, cached: &fs::File, offset: u64) -> io::Result<()> {
        if self.buffer.is_empty() {
            self.buffer = vec![0; CHUNK + EVEN];
            self.start = self.buffer.as_ptr().align_offset(EVEN);
        }
        let before = offset as usize % self.sector;
        self.written = offset - before as u64;
        cached.read_exact_at(&mut self.buffer[self.start..][..before], self.written)
    }

    fn write_chunks(&mut self, mut buf: &[u8], mut offset: u64, len: u64) -> io::Result<u64> {
        while !buf.is_empty() {
            let before = offset as usize % self.sector;
            let (now, rest) = buf.split_at(buf.len().min(CHUNK - before));
            let (first, filled) = (offset - before as u64, before + now.len());
            let until = self.until(first, filled, len);
            let chunk = &mut self.buffer[self.start..][..CHUNK];
            chunk[before..filled].copy_from_slice(now);
            let whole = &mut chunk[..(until - first) as usize];
            whole[filled..].fill(0);
            self.file.write_all_at(whole, first)?;
            self.written = self.written.max(until);
            chunk.copy_within(filled - filled % self.sector..filled, 0);
            (buf, offset) = (rest, offset + now.len() as u64);
        }
        Ok(offset)
    }

    /// Where a write of `filled` bytes at `first` is to end.
    fn until(&self, first: u64, filled: usize, len: u64) -> u64 {
        let until = first + filled.next_multiple_of(self.sector) as u64;
        if until > self.written && filled <= SMALL {
            return until.next_multiple_of(AHEAD as u64).min(len);
        }
        until
    }
}
