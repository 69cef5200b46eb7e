//! The end of a log after a crash: what is left of an unfinished write is cut off, and the rest of the file is zeros.

use std::ffi::OsString;
use std::path::Path;

use disk::{Disk, File, Open};

use crate::Error;
use crate::segment::{End, Segment};

const CHUNK: u64 = 1 << 20;

/// Makes the last segment zeros from `end` to its end, durably, so that nothing old can be mixed up with what is
/// written next. If there is anything but zeros, the file as found is kept beside it as `<name>.broken`.
pub(crate) fn clear_after(disk: &dyn Disk, segment: &Segment, end: &End) -> Result<(), Error> {
    let (path, file) = (&segment.path, &*segment.file);
    let len = file.len().map_err(Error::io("read", path))?;
    if end.torn.is_none() && is_zeros(file, end.offset, len).map_err(Error::io("read", path))? {
        // What was read counts as durable from now on, and whoever wrote it may have been killed before it could sync.
        return file.sync().map_err(Error::io("sync", path));
    }
    keep_copy(disk, path, file, len)?;
    file.set_len(end.offset).map_err(Error::io("cut", path))?;
    file.sync().map_err(Error::io("sync", path))?;
    match file.allocate(len) {
        Err(error) if error.kind() == std::io::ErrorKind::StorageFull => {} // a full disk can still be read
        other => other.map_err(Error::io("allocate", path))?,
    }
    file.sync().map_err(Error::io("sync", path))
}

fn is_zeros(file: &dyn File, mut at: u64, len: u64) -> std::io::Result<bool> {
    let mut chunk = vec![0; CHUNK.min(len.saturating_sub(at)) as usize];
    while at < len {
        let n = chunk.len().min((len - at) as usize);
        file.read_exact_at(&mut chunk[..n], at)?;
        if chunk[..n].iter().any(|b| *b != 0) {
            return Ok(false);
        }
        at += n as u64;
    }
    Ok(true)
}

fn keep_copy(disk: &dyn Disk, path: &Path, file: &dyn File, len: u64) -> Result<(), Error> {
    let mut name = OsString::from(path);
    name.push(".broken");
    let copy_path = Path::new(&name);
    let copy = disk.open(copy_path, Open::truncate(0o600)).map_err(Error::io("create", copy_path))?;
    let mut at = 0;
    let mut chunk = vec![0; CHUNK.min(len) as usize];
    while at < len {
        let n = chunk.len().min((len - at) as usize);
        file.read_exact_at(&mut chunk[..n], at).map_err(Error::io("read", path))?;
        if chunk[..n].iter().any(|b| *b != 0) {
            copy.write_at(&chunk[..n], at).map_err(Error::io("write", copy_path))?;
        }
        at += n as u64;
    }
    copy.set_len(len).map_err(Error::io("write", copy_path))?;
    copy.sync().map_err(Error::io("sync", copy_path))
}
