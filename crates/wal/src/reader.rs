//! What a log says: the replay a member starts from, the snapshots it knows, and its records one by one for tools.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use disk::{Disk, Open};
use prost::Message;
use proto::{raftpb, walpb};
use raft::{Entry, EntryKind, HardState, Index, Term};

use crate::record::{Kind, Record};
use crate::{Error, SnapshotRecord, Wal, codec, segment};

/// What a member needs of its log to start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// The metadata record, as written when the log was created.
    pub metadata: Bytes,
    /// The last hard state; all zero if none was saved.
    pub hard_state: HardState,
    /// The entries after the snapshot asked for, without gaps. Not all of them are committed.
    pub entries: Vec<Entry>,
    /// The record of the snapshot asked for.
    pub snapshot: SnapshotRecord,
}

/// One record as it stands in the log, for tools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordAt {
    /// The segment.
    pub file: PathBuf,
    /// Where in the segment the record's frame begins.
    pub offset: u64,
    /// What it is.
    pub kind: Kind,
    /// The checksum chain after it.
    pub crc: u32,
    /// Its data, encoded as the kind says.
    pub data: Bytes,
}

impl Wal {
    /// Reads a log without locking or changing it: what follows the snapshot `start`, up to where the records end.
    pub fn read(disk: &dyn Disk, dir: &Path, start: &SnapshotRecord) -> Result<Replay, Error> {
        let names = segment::needed(dir, &segment::names(disk, dir)?, start.index.0)?;
        let segments = segment::open_all(disk, dir, &names, Open::read())?;
        let mut replayer = Replayer::new(start);
        segment::scan(&segments, |_, _, record| replayer.take(record))?;
        replayer.finish()
    }

    /// Whether `dir` holds a log.
    pub fn exists(disk: &dyn Disk, dir: &Path) -> bool {
        disk.list(dir).is_ok_and(|names| names.iter().any(|name| name.ends_with(".wal")))
    }
}

/// What the log was created with, from the head of its newest segment, which every replay reads, too. Changes nothing.
pub fn metadata(disk: &dyn Disk, dir: &Path) -> Result<Bytes, Error> {
    let names = segment::names(disk, dir)?;
    let newest = names.last().ok_or(Error::NotFound { dir: dir.to_owned(), index: Index(0) })?;
    let segments = segment::open_all(disk, dir, std::slice::from_ref(newest), Open::read())?;
    segment::metadata(&segments[0])
}

/// The snapshots the log knows that are no further than its commit index, oldest first (etcd: ValidSnapshotEntries).
/// Reads all segments; changes nothing.
pub fn snapshot_records(disk: &dyn Disk, dir: &Path) -> Result<Vec<SnapshotRecord>, Error> {
    let mut records = Vec::new();
    let mut committed = Index(0);
    scan_all(disk, dir, |_, _, record| {
        match record.kind {
            Kind::Snapshot => records.push(parse_snapshot(record.data)?),
            Kind::State => committed = parse_state(record.data)?.commit,
            _ => {}
        }
        Ok(())
    })?;
    Ok(valid(records, committed))
}

/// etcd may write the record of its own snapshot behind that of a newer one which came from a leader meanwhile.
fn valid(mut records: Vec<SnapshotRecord>, committed: Index) -> Vec<SnapshotRecord> {
    records.retain(|record| record.index <= committed);
    records.sort_by_key(|record| record.index);
    records
}

/// Shows every record of the log to `visit`, from the oldest segment on. Reads only.
pub fn records(disk: &dyn Disk, dir: &Path, mut visit: impl FnMut(RecordAt)) -> Result<(), Error> {
    scan_all(disk, dir, |segment, offset, record| {
        visit(RecordAt {
            file: segment.path.clone(),
            offset,
            kind: record.kind,
            crc: record.crc,
            data: Bytes::copy_from_slice(record.data),
        });
        Ok(())
    })
}

fn scan_all(
    disk: &dyn Disk,
    dir: &Path,
    visit: impl FnMut(&segment::Segment, u64, &Record<'_>) -> Result<(), String>,
) -> Result<(), Error> {
    let names = segment::names(disk, dir)?;
    if names.is_empty() {
        return Err(Error::NotFound { dir: dir.to_owned(), index: Index(0) });
    }
    // Not those from the oldest's index on: several may begin at one index.
    segment::consecutive(dir, &names)?;
    let segments = segment::open_all(disk, dir, &names, Open::read())?;
    segment::scan(&segments, visit).map(|_| ())
}

/// Puts a replay together, record by record.
pub(crate) struct Replayer {
    start: SnapshotRecord,
    found: Option<SnapshotRecord>,
    metadata: Option<Bytes>,
    hard_state: HardState,
    entries: Vec<Entry>,
    /// Index of the last entry or snapshot seen.
    pub(crate) last_index: u64,
}

impl Replayer {
    pub(crate) fn new(start: &SnapshotRecord) -> Replayer {
        Replayer {
            start: start.clone(),
            found: None,
            metadata: None,
            hard_state: HardState::default(),
            entries: Vec::new(),
            last_index: 0,
        }
    }

    /// Takes the next record, or says what is wrong with it.
    pub(crate) fn take(&mut self, record: &Record<'_>) -> Result<(), String> {
        match record.kind {
            Kind::Crc => Ok(()),
            Kind::Metadata => self.metadata(record.data),
            Kind::Entry => self.entry(record.data),
            Kind::State => {
                let state = parse_state(record.data)?;
                if state.term < self.hard_state.term {
                    return Err(format!(
                        "the term goes back from {} to {}",
                        self.hard_state.term, state.term
                    ));
                }
                self.hard_state = state;
                Ok(())
            }
            Kind::Snapshot => {
                let snapshot = parse_snapshot(record.data)?;
                self.last_index = self.last_index.max(snapshot.index.0);
                if snapshot.index == self.start.index {
                    self.begin(snapshot);
                }
                Ok(())
            }
        }
    }

    /// A log that goes on with an older term was replaced by a leader's snapshot: all of it, what came after the index,
    /// too. etcd lets that come back, and the member then votes for one whose log does not reach the snapshot.
    fn begin(&mut self, snapshot: SnapshotRecord) {
        if self.entries.first().is_some_and(|next| next.term < snapshot.term) {
            self.entries.clear();
        }
        self.found = Some(snapshot);
    }

    fn metadata(&mut self, data: &[u8]) -> Result<(), String> {
        match &self.metadata {
            Some(first) if first != data => Err("the metadata differs from that of earlier segments".into()),
            Some(_) => Ok(()),
            None => {
                self.metadata = Some(Bytes::copy_from_slice(data));
                Ok(())
            }
        }
    }

    /// A later entry replaces one of the same index and all after that: the log was overwritten by a new leader.
    fn entry(&mut self, data: &[u8]) -> Result<(), String> {
        let entry = parse_entry(data)?;
        self.last_index = entry.index.0;
        if entry.index <= self.start.index {
            // It, too, replaced all after it; etcd lets what it replaced come back if that was not purged yet.
            self.entries.clear();
            return Ok(());
        }
        let place = entry.index.0 - self.start.index.0 - 1;
        let last = self.start.index.0 + self.entries.len() as u64;
        let place = usize::try_from(place).ok().filter(|place| *place <= self.entries.len());
        let place = place.ok_or_else(|| format!("entry {} follows entry {last}", entry.index))?;
        self.entries.truncate(place);
        if self.entries.last().is_some_and(|before| before.term > entry.term) {
            return Err(format!("entry {} has an older term than the one before it", entry.index));
        }
        self.entries.push(entry);
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<Replay, Error> {
        let (index, wanted) = (self.start.index, self.start.term);
        match self.found {
            None => Err(Error::SnapshotNotFound { index }),
            Some(found) if found.term != wanted => {
                Err(Error::SnapshotMismatch { index, wanted, found: found.term })
            }
            Some(snapshot) => Ok(Replay {
                metadata: self.metadata.unwrap_or_default(),
                hard_state: self.hard_state,
                entries: self.entries,
                snapshot,
            }),
        }
    }
}

fn parse_entry(data: &[u8]) -> Result<Entry, String> {
    let entry =
        raftpb::Entry::decode(data).map_err(|error| format!("the entry cannot be decoded: {error}"))?;
    let entry = codec::entry_from_proto(entry).map_err(|error| error.to_string())?;
    // No one writes such entries; they come about when the type of another record is damaged.
    if entry.term == Term(0) || entry.index == Index(0) {
        return Err("an entry without term or index".into());
    }
    if entry.kind == EntryKind::ConfChange && entry.data.is_empty() {
        return Err("an empty conf change".into());
    }
    Ok(entry)
}

fn parse_state(data: &[u8]) -> Result<HardState, String> {
    let state =
        raftpb::HardState::decode(data).map_err(|error| format!("the state cannot be decoded: {error}"))?;
    // Unknown fields: an entry with a damaged type, which the checksum does not cover.
    if state.encoded_len() != data.len() {
        return Err("a state with unknown fields".into());
    }
    Ok(codec::hard_state_from_proto(&state))
}

fn parse_snapshot(data: &[u8]) -> Result<SnapshotRecord, String> {
    let record = walpb::Snapshot::decode(data)
        .map_err(|error| format!("the snapshot record cannot be decoded: {error}"))?;
    Ok(SnapshotRecord {
        index: Index(record.index.unwrap_or(0)),
        term: Term(record.term.unwrap_or(0)),
        conf_state: record.conf_state.map(|state| codec::conf_state_from_proto(&state)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_valid_snapshot_is_the_last_whatever_was_written_last() {
        let record = |index| SnapshotRecord { index: Index(index), ..SnapshotRecord::default() };
        let valid = valid([0, 30, 10, 40].map(record).into(), Index(30));
        assert_eq!(valid, [0, 10, 30].map(record));
    }
}
