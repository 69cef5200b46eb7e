//! The log being written.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use disk::{Disk, Lock, Open};
use prost::Message;
use raft::{Entry, HardState, Index};

use crate::reader::{Replay, Replayer};
use crate::record::Encoder;
use crate::segment::{self, Name, Segment};
use crate::{Error, Options, SnapshotRecord, codec, repair};

/// Appended bytes are handed to the system when this many wait, even without a sync.
const BUFFER_BYTES: usize = 1 << 20;

/// A log, locked and ready for appending. One thread owns it.
///
/// Any error of a method that writes poisons it: nobody knows then what is on disk, so the process must end.
pub struct Wal {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: Options,
    /// As read or created; repeated in every segment byte for byte.
    metadata: Bytes,
    /// Segments whose locks are held, oldest first; the last one is being written. Never empty.
    held: VecDeque<Segment>,
    encoder: Encoder,
    /// Where the encoder's bytes will go in the last segment.
    offset: u64,
    state: HardState,
    /// The commit index of the last hard state that is durable.
    durable_commit: Index,
    /// Index of the last entry or snapshot written.
    last_index: u64,
    /// Of the newest snapshot noted.
    snapshot_index: Index,
    /// Of the snapshot before which segments were released.
    released_index: Index,
    poisoned: bool,
}

impl Wal {
    /// Creates a log in `dir`, which must hold none; a directory without segments is replaced. Durable on return,
    /// except for the existence of the directories above `dir`'s parent.
    pub fn create(disk: Arc<dyn Disk>, dir: &Path, metadata: &[u8], options: Options) -> Result<Wal, Error> {
        if Wal::exists(&*disk, dir) {
            return Err(Error::Exists { dir: dir.to_owned() });
        }
        let parent = match dir.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let mut building = dir.file_name().map(OsString::from).unwrap_or_default();
        building.push(".tmp");
        let building = &parent.join(building);
        for leftover in [building.as_path(), dir] {
            if disk.exists(leftover) {
                disk.remove_dir_all(leftover).map_err(Error::io("remove", leftover))?;
            }
        }
        disk.create_dir_all(building, 0o700).map_err(Error::io("create", building))?;
        let name = Name { seq: 0, index: 0 };
        let path = building.join(name.to_string());
        let file =
            disk.open(&path, Open::create_new(0o600).in_order()).map_err(Error::io("create", &path))?;
        if !file.lock(Lock::Ofd).map_err(Error::io("lock", &path))? {
            return Err(Error::Locked { file: path });
        }
        file.allocate(options.segment_bytes).map_err(Error::io("allocate", &path))?;
        let segment = Segment { name, path: dir.join(name.to_string()), file };
        let mut wal = Wal {
            disk: disk.clone(),
            dir: dir.to_owned(),
            options,
            metadata: Bytes::copy_from_slice(metadata),
            held: VecDeque::from([segment]),
            encoder: Encoder::new(0),
            offset: 0,
            state: HardState::default(),
            durable_commit: Index(0),
            last_index: 0,
            snapshot_index: Index(0),
            released_index: Index(0),
            poisoned: false,
        };
        wal.encoder.put_crc();
        wal.encoder.put_metadata(metadata);
        wal.save_snapshot(&SnapshotRecord::default())?;
        disk.sync_dir(building).map_err(Error::io("sync", building))?;
        disk.rename(building, dir).map_err(Error::io("rename", building))?;
        disk.sync_dir(parent).map_err(Error::io("sync", parent))?;
        Ok(wal)
    }

    /// Locks and reads the log after the snapshot `start` (the default one: from the beginning), cuts off what an
    /// unfinished write left at its end, and makes it ready for appending.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        start: &SnapshotRecord,
        options: Options,
    ) -> Result<(Wal, Replay), Error> {
        let names = segment::needed(dir, &segment::names(&*disk, dir)?, start.index.0)?;
        let segments = segment::open_all(&*disk, dir, &names, Open::write().in_order())?;
        for segment in &segments {
            if !segment.file.lock(Lock::Ofd).map_err(Error::io("lock", &segment.path))? {
                return Err(Error::Locked { file: segment.path.clone() });
            }
        }
        let mut replayer = Replayer::new(start);
        let end = segment::scan(&segments, |_, _, record| replayer.take(record))?;
        let last_index = replayer.last_index;
        let replay = replayer.finish()?;
        if let Some(last) = segments.last() {
            repair::clear_after(&*disk, last, &end)?;
        }
        let wal = Wal {
            disk,
            dir: dir.to_owned(),
            options,
            metadata: replay.metadata.clone(),
            held: segments.into(),
            encoder: Encoder::new(end.chain),
            offset: end.offset,
            state: replay.hard_state,
            durable_commit: replay.hard_state.commit,
            last_index,
            snapshot_index: start.index,
            released_index: start.index,
            poisoned: false,
        };
        Ok((wal, replay))
    }

    /// Whether this must be synced before anyone is told: entries, or another term or vote than saved last. A commit
    /// index alone need not be: it is found out again.
    pub fn must_sync(&self, hard_state: Option<&HardState>, entries: &[Entry]) -> bool {
        let changed = |state: &HardState| (state.term, state.vote) != (self.state.term, self.state.vote);
        !entries.is_empty() || hard_state.is_some_and(changed)
    }

    /// Appends entries, then the hard state; durable after the next [`Wal::sync`]. Until then it may wait in this
    /// process. Begins a new segment when this one is full, which syncs.
    pub fn append(&mut self, hard_state: Option<&HardState>, entries: &[Entry]) -> Result<(), Error> {
        self.or_poison(|wal| {
            for entry in entries {
                wal.encoder.put_entry(entry);
                wal.last_index = entry.index.0;
                if wal.encoder.out.len() >= BUFFER_BYTES {
                    wal.write_out()?;
                }
            }
            if let Some(state) = hard_state.filter(|state| **state != HardState::default()) {
                wal.encoder.put_state(state);
                wal.state = *state;
            }
            let end = wal.offset + wal.encoder.out.len() as u64;
            if end >= wal.options.segment_bytes { wal.cut() } else { Ok(()) }
        })
    }

    /// Makes all that was appended durable.
    pub fn sync(&mut self) -> Result<(), Error> {
        self.or_poison(Wal::write_and_sync)
    }

    /// Notes that a snapshot exists, durably, with all that was appended before. The snapshot itself must be durable
    /// already. The record counts only with a hard state that commits it: for a leader's snapshot that is to follow.
    /// One older than the newest noted comes too late and is passed over: a leader's snapshot may have replaced the log
    /// meanwhile, and then what follows the older one is not here.
    pub fn save_snapshot(&mut self, record: &SnapshotRecord) -> Result<(), Error> {
        if record.index < self.snapshot_index {
            return Ok(());
        }
        if record.index > Index(0) && record.conf_state.is_none() {
            return Err(Error::NoConfState { index: record.index });
        }
        self.or_poison(|wal| {
            wal.encoder.put_snapshot(&codec::snapshot_record_to_proto(record).encode_to_vec());
            wal.last_index = wal.last_index.max(record.index.0);
            wal.snapshot_index = record.index;
            wal.write_and_sync()
        })
    }

    /// The same for a snapshot that the member has made of what it has executed. So all of that is committed, but the
    /// hard state written last need not say so: a commit index alone is in no hurry.
    pub fn save_own_snapshot(&mut self, record: &SnapshotRecord) -> Result<(), Error> {
        if record.index >= self.snapshot_index && record.index > self.state.commit {
            self.append(Some(&HardState { commit: record.index, ..self.state }), &[])?;
        }
        self.save_snapshot(record)
    }

    /// Gives up the locks of segments that a start from the newest snapshot does not need, so that [`Wal::purge`] may
    /// remove them: all before the last one that begins below its index, which is answered, once. Not before the record
    /// and the hard state that commits it are durable: until then a start is from the snapshot before.
    pub fn release(&mut self) -> Option<Index> {
        let index = self.snapshot_index;
        if index <= self.released_index || index > self.durable_commit {
            return None;
        }
        let keep = self.held.iter().rposition(|segment| segment.name.index < index.0).unwrap_or(0);
        self.held.drain(..keep);
        self.released_index = index;
        Some(index)
    }

    /// Removes the oldest segments in `dir` until `keep` are left (0: keeps all), stopping at the first that is
    /// locked. Returns the names removed.
    pub fn purge(disk: &dyn Disk, dir: &Path, keep: usize) -> Result<Vec<String>, Error> {
        Wal::purge_while(disk, dir, keep, || true)
    }

    /// The same, but before each it asks whether to `go_on`: it takes a while.
    pub fn purge_while(
        disk: &dyn Disk,
        dir: &Path,
        keep: usize,
        go_on: impl Fn() -> bool,
    ) -> Result<Vec<String>, Error> {
        let names = segment::names(disk, dir)?;
        let surplus = if keep == 0 { 0 } else { names.len().saturating_sub(keep) };
        let mut removed = Vec::new();
        for name in names[..surplus].iter().take_while(|_| go_on()) {
            let path = dir.join(name.to_string());
            let file = disk.open(&path, Open::write()).map_err(Error::io("open", &path))?;
            if !file.lock(Lock::Ofd).map_err(Error::io("lock", &path))? {
                break;
            }
            // One by one, and durably, lest a crash brings back an old segment without the one after it.
            disk.remove_in_steps(&path).map_err(Error::io("remove", &path))?;
            removed.push(name.to_string());
        }
        Ok(removed)
    }

    /// Syncs: a clean stop.
    pub fn close(mut self) -> Result<(), Error> {
        self.sync()
    }

    /// The hard state appended or read last.
    pub fn hard_state(&self) -> HardState {
        self.state
    }

    /// The directory of the log.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn or_poison(&mut self, work: impl FnOnce(&mut Wal) -> Result<(), Error>) -> Result<(), Error> {
        if self.poisoned {
            return Err(Error::Poisoned);
        }
        let result = work(self);
        self.poisoned = result.is_err();
        result
    }

    fn tail(&self) -> &Segment {
        self.held.back().expect("a log always holds the segment it writes")
    }

    fn write_out(&mut self) -> Result<(), Error> {
        let tail = self.tail();
        tail.file.write_at(&self.encoder.out, self.offset).map_err(Error::io("write", &tail.path))?;
        self.offset += self.encoder.out.len() as u64;
        self.encoder.out.clear();
        self.encoder.out.shrink_to(4 * BUFFER_BYTES);
        Ok(())
    }

    fn write_and_sync(&mut self) -> Result<(), Error> {
        self.write_out()?;
        let tail = self.tail();
        tail.file.sync().map_err(Error::io("sync", &tail.path))?;
        self.durable_commit = self.state.commit;
        Ok(())
    }

    /// Ends the segment at what it holds and begins the next. The new file gets its name only when its head is
    /// durable, so that no segment is ever found without one.
    fn cut(&mut self) -> Result<(), Error> {
        self.write_out()?;
        let tail = self.tail();
        tail.file.set_len(self.offset).map_err(Error::io("cut", &tail.path))?;
        tail.file.sync().map_err(Error::io("sync", &tail.path))?;
        let name = Name { seq: tail.name.seq + 1, index: self.last_index + 1 };
        let path = self.dir.join(name.to_string());

        // By turns, as in etcd.
        let made_path = self.dir.join(format!("{}.tmp", name.seq % 2));
        let file = segment::make(&*self.disk, &made_path, self.options.segment_bytes)?;
        self.held.push_back(Segment { name, path: made_path.clone(), file });
        self.offset = 0;
        self.encoder.put_crc();
        self.encoder.put_metadata(&self.metadata);
        if self.state != HardState::default() {
            self.encoder.put_state(&self.state);
        }
        self.write_and_sync()?;
        self.disk.rename(&made_path, &path).map_err(Error::io("rename", &made_path))?;
        self.disk.sync_dir(&self.dir).map_err(Error::io("sync", &self.dir))?;
        if let Some(tail) = self.held.back_mut() {
            tail.path = path;
        }
        Ok(())
    }
}
