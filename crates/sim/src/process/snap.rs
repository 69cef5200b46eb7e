//! The snap thread: `.snap` files of the store's, and the removal of what is old.

use std::collections::VecDeque;
use std::path::Path;

use raft::{Index, Snapshot};
use wal::{SnapshotRecord, Wal};

use super::{Halt, LogJob, Process, Step, died};
use crate::Mutation;
use crate::boot::{SNAP_DIR, WAL_DIR, check_snap_file};

pub(super) enum SnapJob {
    /// Once the database holds it.
    Save(Snapshot),
    RemoveReceivedBelow(Index),
    LetGo(Index),
    PurgeLog,
    PurgeSnapshots,
}

/// What the snap thread knows.
pub(super) struct Past {
    pub jobs: VecDeque<SnapJob>,
    /// The log can be started from the snapshot at this index.
    needed: Index,
    /// Segments and `.snap` files kept.
    keep: usize,
}

impl Past {
    pub fn new(needed: Index, keep: usize) -> Past {
        Past { jobs: VecDeque::new(), needed, keep }
    }
}

impl Process {
    /// A part of what waits: whatever it is, others go on before the next.
    pub(super) fn snap(&mut self) -> Step {
        let Some(job) = self.past.jobs.pop_front() else { return Ok(String::new()) };
        // As in the server, a failure to remove something is only logged.
        Ok(match job {
            SnapJob::Save(snapshot) => {
                self.save_file(&snapshot)?;
                self.to_log.push_back(LogJob::SnapshotSaved(SnapshotRecord::of(&snapshot)));
                self.past.jobs.push_front(SnapJob::RemoveReceivedBelow(snapshot.index));
                format!("the file of snapshot {} is there", snapshot.index)
            }
            SnapJob::RemoveReceivedBelow(index) => {
                let removed = wal::snap::remove_received_below(&self.disk, Path::new(SNAP_DIR), index);
                format!("remove databases {removed:?}")
            }
            SnapJob::LetGo(index) => {
                self.past.needed = index;
                self.past.jobs.push_front(SnapJob::PurgeLog);
                return self.snap();
            }
            SnapJob::PurgeLog => {
                let removed = Wal::purge(&self.disk, Path::new(WAL_DIR), self.past.keep);
                self.past.jobs.push_front(SnapJob::PurgeSnapshots);
                format!("purge {removed:?}")
            }
            SnapJob::PurgeSnapshots => {
                let by_number = self.mutation == Some(Mutation::SnapFilesPurgedByNumber);
                let needed = if by_number { Index(u64::MAX) } else { self.past.needed };
                let removed = wal::snap::purge(&self.disk, Path::new(SNAP_DIR), self.past.keep, needed);
                check_snap_file(&self.disk).map_err(|refused| match self.disk.is_dead() {
                    true => Halt::Died(refused.0),
                    false => Halt::Wrong(refused.0),
                })?;
                format!("purge {removed:?}, all before {needed}")
            }
        })
    }

    /// The first step of every snapshot.
    pub(super) fn save_file(&self, snapshot: &Snapshot) -> Result<(), Halt> {
        let saved = wal::snap::save(&self.disk, Path::new(SNAP_DIR), snapshot);
        saved.map(drop).map_err(died("save snapshot"))
    }
}
