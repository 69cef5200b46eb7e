//! `.snap` files: raft snapshots whose data is the v2 store, kept for etcd 3.6 and older (formats: .snap file).
//!
//! Order of saving: the file first ([`save`]), then its record in the log ([`crate::Wal::save_snapshot`]); a file
//! without a record counts for nothing.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use disk::{Disk, Open};
use prost::Message;
use proto::{raftpb, snappb};
use raft::{Index, Snapshot, Term};

use crate::{Error, SnapshotRecord, codec};

/// A `.snap` file's name: term, then index, so that names sort as snapshots do.
pub fn file_name(term: Term, index: Index) -> String {
    format!("{:016x}-{:016x}.snap", term.0, index.0)
}

/// Name of the db file received from a leader with the snapshot at `index`, until it takes the place of `db`.
pub fn received_db_name(index: Index) -> String {
    format!("{:016x}.snap.db", index.0)
}

/// Writes a snapshot's file, durably. Returns its path.
pub fn save(disk: &dyn Disk, dir: &Path, snapshot: &Snapshot) -> Result<PathBuf, Error> {
    write(disk, dir, snapshot, &encode(snapshot))
}

/// As [`save`], for a snapshot that is encoded already.
pub fn write(disk: &dyn Disk, dir: &Path, snapshot: &Snapshot, encoded: &[u8]) -> Result<PathBuf, Error> {
    let path = dir.join(file_name(snapshot.term, snapshot.index));
    let file = disk.open(&path, Open::truncate(0o666)).map_err(Error::io("create", &path))?;
    file.write_at(encoded, 0).map_err(Error::io("write", &path))?;
    file.sync().map_err(Error::io("sync", &path))?;
    disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
    Ok(path)
}

/// The newest snapshot whose file is whole and whose index and term the log knows ([`crate::snapshot_records`]).
/// Files that cannot be read are set aside as `<name>.broken`.
pub fn load_newest(disk: &dyn Disk, dir: &Path, valid: &[SnapshotRecord]) -> Result<Option<Snapshot>, Error> {
    for name in names(disk, dir, ".snap")?.iter().rev() {
        let path = dir.join(name);
        match read(disk, &path) {
            Ok(snapshot) => {
                if valid.iter().any(|record| (record.index, record.term) == (snapshot.index, snapshot.term)) {
                    return Ok(Some(snapshot));
                }
            }
            Err(_) => {
                let mut aside = OsString::from(&path);
                aside.push(".broken");
                disk.rename(&path, Path::new(&aside)).map_err(Error::io("rename", &path))?;
            }
        }
    }
    Ok(None)
}

/// Reads one `.snap` file.
pub fn read(disk: &dyn Disk, path: &Path) -> Result<Snapshot, Error> {
    let file = disk.open(path, Open::read()).map_err(Error::io("open", path))?;
    let len = file.len().map_err(Error::io("read", path))?;
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(&mut bytes, 0).map_err(Error::io("read", path))?;
    decode(bytes.into()).map_err(|what| Error::damaged(path, 0, what))
}

/// Removes the oldest `.snap` files until `keep` are left (0: keeps all), but none from `needed` on, from which the log can
/// be started ([`crate::Wal::release`]): the record of a newer one may not count yet. Returns the names removed. Databases
/// received with snapshots stay: the store may be about to take one over, however old it is.
pub fn purge(disk: &dyn Disk, dir: &Path, keep: usize, needed: Index) -> Result<Vec<String>, Error> {
    let index = |name: &str| {
        let (_, digits) = name.strip_suffix(".snap")?.split_once('-')?;
        u64::from_str_radix(digits, 16).ok()
    };
    let mut names = names(disk, dir, ".snap")?;
    names.truncate(if keep == 0 { 0 } else { names.len().saturating_sub(keep) });
    names.retain(|name| index(name).is_none_or(|index| index < needed.0));
    remove_all(disk, dir, &names)?;
    Ok(names)
}

/// Removes db files received with snapshots below `index`, which the store has reached: they will never be used. Returns the names removed.
pub fn remove_received_below(disk: &dyn Disk, dir: &Path, index: Index) -> Result<Vec<String>, Error> {
    let below = |name: &String| {
        let digits = name.strip_suffix(".snap.db")?;
        u64::from_str_radix(digits, 16).ok().filter(|found| *found < index.0)
    };
    let mut old = names(disk, dir, ".snap.db")?;
    old.retain(|name| below(name).is_some());
    remove_all(disk, dir, &old)?;
    Ok(old)
}

/// Removes what an unfinished transfer left behind (names beginning with `tmp`); done at start. Returns the names.
pub fn remove_leftovers(disk: &dyn Disk, dir: &Path) -> Result<Vec<String>, Error> {
    let mut leftovers = names(disk, dir, "")?;
    leftovers.retain(|name| name.starts_with("tmp"));
    remove_all(disk, dir, &leftovers)?;
    Ok(leftovers)
}

fn remove_all(disk: &dyn Disk, dir: &Path, names: &[String]) -> Result<(), Error> {
    names
        .iter()
        .map(|name| dir.join(name))
        .try_for_each(|path| disk.remove(&path).map_err(Error::io("remove", &path)))
}

fn names(disk: &dyn Disk, dir: &Path, suffix: &str) -> Result<Vec<String>, Error> {
    let mut names = disk.list(dir).map_err(Error::io("list", dir))?;
    names.retain(|name| name.ends_with(suffix));
    Ok(names)
}

/// A snapshot's file (formats: snappb.snapshot).
pub fn encode(snapshot: &Snapshot) -> Vec<u8> {
    let data = codec::snapshot_to_proto(snapshot).encode_to_vec();
    snappb::Snapshot { crc: Some(crc32c::crc32c(&data)), data: Some(data.into()) }.encode_to_vec()
}

/// From a snapshot's file; an error says what is wrong with it.
pub fn decode(bytes: Bytes) -> Result<Snapshot, String> {
    let file = snappb::Snapshot::decode(bytes).map_err(|error| format!("it cannot be decoded: {error}"))?;
    let (crc, data) = (file.crc.unwrap_or(0), file.data.unwrap_or_default());
    if crc == 0 || data.is_empty() {
        return Err("it holds no snapshot".into());
    }
    if crc32c::crc32c(&data) != crc {
        return Err("the checksum does not match".into());
    }
    let snapshot =
        raftpb::Snapshot::decode(data).map_err(|error| format!("it cannot be decoded: {error}"))?;
    Ok(codec::snapshot_from_proto(snapshot))
}
