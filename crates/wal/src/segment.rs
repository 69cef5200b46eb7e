//! Segment files: names, which ones a reader needs, and frames read from one file after the other.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use disk::{Disk, File, Lock, Open};

use crate::Error;
use crate::record::{self, HEADER, Kind, Record};

/// Sectors are written whole or not at all; the rest of a write may be lost in a crash.
const SECTOR: u64 = 512;
/// How much is read at once.
const WINDOW: usize = 1 << 20;

/// A segment's name: its place in the order, and the index of the first entry it may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) seq: u64,
    pub(crate) index: u64,
}

impl Name {
    pub(crate) fn parse(name: &str) -> Option<Name> {
        let (seq, index) = name.strip_suffix(".wal")?.split_once('-')?;
        let hex = |digits: &str| match digits.len() {
            16 => u64::from_str_radix(digits, 16).ok(),
            _ => None,
        };
        let parsed = Name { seq: hex(seq)?, index: hex(index)? };
        (parsed.to_string() == name).then_some(parsed)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}.wal", self.seq, self.index)
    }
}

/// All segments of a directory, in order. Other names are passed over.
pub(crate) fn names(disk: &dyn Disk, dir: &Path) -> Result<Vec<Name>, Error> {
    let names = disk.list(dir).map_err(Error::io("list", dir))?;
    Ok(names.iter().filter_map(|name| Name::parse(name)).collect())
}

/// The segments needed to read what follows `index`: none may be missing between them.
pub(crate) fn needed(dir: &Path, names: &[Name], index: u64) -> Result<Vec<Name>, Error> {
    let first = names.iter().rposition(|name| name.index <= index);
    let first = first.ok_or(Error::NotFound { dir: dir.to_owned(), index: raft::Index(index) })?;
    consecutive(dir, &names[first..])?;
    Ok(names[first..].to_vec())
}

/// Checks that none is missing between these.
pub(crate) fn consecutive(dir: &Path, names: &[Name]) -> Result<(), Error> {
    for pair in names.windows(2) {
        if pair[1].seq != pair[0].seq + 1 {
            let what = format!("segments are missing after {}", pair[0]);
            return Err(Error::damaged(&dir.join(pair[1].to_string()), 0, what));
        }
    }
    Ok(())
}

/// An open segment.
#[derive(Clone)]
pub(crate) struct Segment {
    pub(crate) name: Name,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn File>,
}

pub(crate) fn open_all(
    disk: &dyn Disk,
    dir: &Path,
    names: &[Name],
    how: Open,
) -> Result<Vec<Segment>, Error> {
    let open = |name: &Name| {
        let path = dir.join(name.to_string());
        let file = disk.open(&path, how).map_err(Error::io("open", &path))?;
        Ok(Segment { name: *name, path, file })
    };
    names.iter().map(open).collect()
}

/// Creates and locks a file of `len` allocated bytes; what an earlier process left under its name is cut off.
pub(crate) fn make(disk: &dyn Disk, path: &Path, len: u64) -> Result<Arc<dyn File>, Error> {
    let file = disk.open(path, Open::truncate(0o600).in_order()).map_err(Error::io("create", path))?;
    if !file.lock(Lock::Ofd).map_err(Error::io("lock", path))? {
        return Err(Error::Locked { file: path.to_owned() });
    }
    file.allocate(len).map_err(Error::io("allocate", path))?;
    Ok(file)
}

/// Where a scan ended.
pub(crate) struct End {
    /// Offset in the last segment after its last whole record.
    pub(crate) offset: u64,
    /// The checksum chain there.
    pub(crate) chain: u32,
    /// Why what follows is not a record but the remains of a write cut short by a crash.
    pub(crate) torn: Option<String>,
}

/// Shows all records of consecutive segments to `visit`, which may refuse one by saying what is wrong with it.
pub(crate) fn scan(
    segments: &[Segment],
    mut visit: impl FnMut(&Segment, u64, &Record<'_>) -> Result<(), String>,
) -> Result<End, Error> {
    let mut end = End { offset: 0, chain: 0, torn: None };
    let mut chain = None;
    for (at, segment) in segments.iter().enumerate() {
        let mut frames = Frames::new(segment, chain)?;
        let mut count = 0;
        loop {
            let offset = frames.at;
            let damaged = |what: String| Error::damaged(&segment.path, offset, what);
            match frames.next()? {
                Next::Record(record) => {
                    check_head(count, record.kind).map_err(damaged)?;
                    visit(segment, offset, &record).map_err(damaged)?;
                    count += 1;
                }
                Next::Torn(what) if at + 1 < segments.len() || count < 2 => return Err(damaged(what)),
                Next::End if count < 2 => return Err(damaged("the segment has no head".into())),
                Next::Torn(what) => {
                    end.torn = Some(what);
                    break;
                }
                Next::End => break,
            }
        }
        (end.offset, end.chain) = (frames.at, frames.chain.unwrap_or(0));
        chain = frames.chain;
    }
    Ok(end)
}

/// The metadata in a segment's head.
pub(crate) fn metadata(segment: &Segment) -> Result<Bytes, Error> {
    let mut frames = Frames::new(segment, None)?;
    let mut place = 0;
    loop {
        let offset = frames.at;
        let damaged = |what: String| Error::damaged(&segment.path, offset, what);
        let record = match frames.next()? {
            Next::Record(record) => record,
            Next::Torn(what) => return Err(damaged(what)),
            Next::End => return Err(damaged("the segment has no head".into())),
        };
        check_head(place, record.kind).map_err(damaged)?;
        if record.kind == Kind::Metadata {
            return Ok(Bytes::copy_from_slice(record.data));
        }
        place += 1;
    }
}

/// Every segment begins with the chain and the metadata; a record in their place has a wrong type.
fn check_head(place: usize, kind: Kind) -> Result<(), String> {
    match (place, kind) {
        (0, Kind::Crc) | (1, Kind::Metadata) | (2.., _) => Ok(()),
        _ => Err(format!("a record of type {} where the segment's head should be", kind as u8)),
    }
}

enum Next<'a> {
    Record(Record<'a>),
    /// No more records: the file ends or holds zeros.
    End,
    /// The write of the record was cut short, if this is the last segment.
    Torn(String),
}

/// Reads frames from one file.
struct Frames<'a> {
    segment: &'a Segment,
    len: u64,
    /// Offset of the next frame.
    at: u64,
    /// The checksum chain; `None` before the first record that tells it.
    chain: Option<u32>,
    window: Vec<u8>,
    window_at: u64,
}

impl<'a> Frames<'a> {
    fn new(segment: &'a Segment, chain: Option<u32>) -> Result<Frames<'a>, Error> {
        let len = segment.file.len().map_err(Error::io("read", &segment.path))?;
        Ok(Frames { segment, len, at: 0, chain, window: Vec::new(), window_at: 0 })
    }

    /// Makes `[offset, end)` available in the window and returns its place there.
    fn load(&mut self, offset: u64, end: u64) -> Result<std::ops::Range<usize>, Error> {
        if offset < self.window_at || end > self.window_at + self.window.len() as u64 {
            let n = (end - offset).max(WINDOW as u64).min(self.len - offset);
            self.window.clear();
            self.window.resize(n as usize, 0);
            self.window_at = offset;
            let read = self.segment.file.read_exact_at(&mut self.window, offset);
            read.map_err(Error::io("read", &self.segment.path))?;
        }
        let start = (offset - self.window_at) as usize;
        Ok(start..start + (end - offset) as usize)
    }

    fn damaged(&self, what: impl Into<String>) -> Error {
        Error::damaged(&self.segment.path, self.at, what)
    }

    fn next(&mut self) -> Result<Next<'_>, Error> {
        let left = self.len - self.at;
        if left < HEADER {
            let rest = self.load(self.at, self.len)?;
            let zeros = self.window[rest].iter().all(|b| *b == 0);
            return Ok(if zeros { Next::End } else { Next::Torn("the file ends in a length field".into()) });
        }
        let header = self.load(self.at, self.at + HEADER)?;
        let field = self.window[header].iter().rev().fold(0, |field, b| field << 8 | u64::from(*b));
        if field == 0 {
            return self.end().map(|()| Next::End);
        }
        let len = record::length(field).ok_or_else(|| self.damaged("no record has such a length field"))?;
        let framed = len + record::padding(len);
        if framed > left - HEADER {
            return self.cut_short(len);
        }
        let body = self.load(self.at + HEADER, self.at + HEADER + framed)?;
        match check(&self.window[body.clone()], len, self.chain) {
            Ok((range, kind, crc)) => {
                self.at += HEADER + framed;
                self.chain = Some(crc);
                let data = &self.window[body.start + range.start..body.start + range.end];
                Ok(Next::Record(Record { kind, crc, data }))
            }
            Err(what) if has_lost_sector(&self.window[body], self.at + HEADER) => Ok(Next::Torn(what)),
            Err(what) => Err(self.damaged(what)),
        }
    }

    /// Zeros in place of a length field end the log. What follows in the same sector was written together with them.
    fn end(&mut self) -> Result<(), Error> {
        let sector_end = (self.at / SECTOR + 1) * SECTOR;
        let rest = self.load(self.at, sector_end.min(self.len))?;
        match self.window[rest].iter().all(|b| *b == 0) {
            true => Ok(()),
            false => Err(self.damaged("zeros in place of a length field, but data after them")),
        }
    }

    /// A record that would reach beyond the end of the file: the file's growth was lost, or the length is wrong.
    fn cut_short(&mut self, len: u64) -> Result<Next<'_>, Error> {
        let body = self.load(self.at + HEADER, self.len)?;
        let body = &self.window[body];
        let what = format!("the file ends within a record of {len} bytes");
        if has_lost_sector(body, self.at + HEADER) || record::may_begin_record(body, len) {
            Ok(Next::Torn(what))
        } else {
            Err(self.damaged(what))
        }
    }
}

/// Checks a record and its padding against the chain; returns where its data is, its kind, and the chain after it.
fn check(body: &[u8], len: u64, chain: Option<u32>) -> Result<(std::ops::Range<usize>, Kind, u32), String> {
    let (bytes, pad) = body.split_at(len as usize);
    let record = record::parse(bytes)?;
    if pad.iter().any(|b| *b != 0) {
        return Err("the padding is not zeros".into());
    }
    if record.kind == Kind::Crc {
        if chain.is_some_and(|chain| chain != record.crc) || !record.data.is_empty() {
            return Err("the checksum chain is broken".into());
        }
    } else if crc32c::crc32c_append(chain.unwrap_or(0), record.data) != record.crc {
        return Err("the checksum does not match".into());
    }
    Ok((bytes.len() - record.data.len()..bytes.len(), record.kind, record.crc))
}

/// Whether one of the sectors that `bytes` at `offset` lie in holds only zeros of them: then it may never have been
/// written (formats: torn writes).
fn has_lost_sector(mut bytes: &[u8], mut offset: u64) -> bool {
    while !bytes.is_empty() {
        let n = ((SECTOR - offset % SECTOR) as usize).min(bytes.len());
        let (chunk, rest) = bytes.split_at(n);
        if chunk.iter().all(|b| *b == 0) {
            return true;
        }
        (bytes, offset) = (rest, offset + n as u64);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_as_etcd_writes_them_are_segments() {
        let name = Name { seq: 1, index: 0xab };
        assert_eq!(name.to_string(), "0000000000000001-00000000000000ab.wal");
        assert_eq!(Name::parse(&name.to_string()), Some(name));
        for other in [
            "0.tmp",
            "1-ab.wal",
            "0000000000000001-00000000000000AB.wal",
            "0000000000000001-00000000000000ab.wal.broken",
        ] {
            assert_eq!(Name::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_reader_needs_the_last_segment_that_begins_early_enough_and_all_after_it() {
        let dir = Path::new("/w");
        let names: Vec<_> =
            [(3, 10), (4, 20), (5, 20), (6, 30)].map(|(seq, index)| Name { seq, index }).into();
        let seqs = |index| needed(dir, &names, index).map(|names| names[0].seq);
        assert_eq!(
            (seqs(10).unwrap(), seqs(19).unwrap(), seqs(20).unwrap(), seqs(99).unwrap()),
            (3, 3, 5, 6)
        );
        assert!(matches!(seqs(9), Err(Error::NotFound { .. })));
        let gap = [names[0], names[2]];
        assert!(matches!(needed(dir, &gap, 10), Err(Error::Damaged { .. })));
    }

    #[test]
    fn a_sector_is_lost_if_all_a_record_has_in_it_is_zero() {
        assert!(!has_lost_sector(&[1; 600], 500));
        let mut bytes = vec![1; 600];
        bytes[12..524].fill(0);
        assert!(has_lost_sector(&bytes, 500));
        bytes[523] = 1;
        assert!(!has_lost_sector(&bytes, 500));
        bytes[..12].fill(0);
        assert!(has_lost_sector(&bytes, 500));
    }
}
