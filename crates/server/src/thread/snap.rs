//! Files of the past: writes `.snap` files of the store's, and removes those and segments of the log that are beyond the
//! numbers to keep. Both may take long (a file system takes its time to free 64 MiB), and the log must not wait for them. What
//! comes from a leader is written with the log: nothing goes on without it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use ::raft::{Index, Snapshot};
use ::wal::{SnapshotRecord, Wal};
use disk::Disk;

use super::mailbox::{Receiver, Sender};
use super::wal;
use crate::log;

/// What the snap thread is told.
pub enum Job {
    /// Write a `.snap` file of the store's, whose record the log then takes.
    Save(Snapshot),
    /// The log can be started from the snapshot at this index: remove what is older and beyond the numbers to keep.
    LetGo(Index),
    /// Remove files beyond the numbers to keep.
    Purge,
    /// End the thread.
    Stop,
}

/// How many files of the past are kept; 0 keeps all.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// Segments of the log.
    pub wals: usize,
    /// `.snap` files.
    pub snapshots: usize,
}

/// Where the files are, and who hears of them.
pub struct Past {
    /// The member's disk.
    pub disk: Arc<dyn Disk>,
    /// `member/wal`.
    pub wal_dir: PathBuf,
    /// `member/snap`.
    pub snap_dir: PathBuf,
    /// What to keep.
    pub keep: Keep,
    /// The log can be started from the snapshot at this index.
    pub needed: Index,
    /// Records go here.
    pub wal: Sender<wal::Job>,
}

/// Runs until told to stop.
pub fn run(mut past: Past, work: Receiver<Job>) {
    let mut jobs = Vec::new();
    loop {
        work.take(&mut jobs, None);
        let stop = jobs.iter().any(|job| matches!(job, Job::Stop));
        let is_free = || !stop && work.is_empty();
        // A removal may take long.
        jobs.sort_by_key(|job| !matches!(job, Job::Save(_)));
        for job in jobs.drain(..) {
            match job {
                Job::Save(snapshot) => past.save(&snapshot),
                Job::LetGo(index) => {
                    past.needed = index;
                    past.purge(is_free);
                }
                Job::Purge => past.purge(is_free),
                Job::Stop => {}
            }
        }
        if stop {
            return;
        }
    }
}

/// Writes a snapshot's file, durably, and answers what the log has to record of it. A failure ends the process.
pub fn save(disk: &dyn Disk, dir: &Path, snapshot: &Snapshot) -> SnapshotRecord {
    let start = Instant::now();
    let encoded = ::wal::snap::encode(snapshot);
    let ready = Instant::now();
    if let Err(error) = ::wal::snap::write(disk, dir, snapshot, &encoded) {
        super::fatal("failed to save Raft snapshot", &error);
    }
    crate::stats::snap_saved(start, ready, Instant::now());
    SnapshotRecord::of(snapshot)
}

impl Past {
    fn save(&self, snapshot: &Snapshot) {
        let record = save(self.disk.as_ref(), &self.snap_dir, snapshot);
        let _ = self.wal.push(wal::Job::SnapshotSaved(record));
        self.remove_received_below(snapshot.index);
    }

    /// The store has reached `index`. Not done when a snapshot of a leader is saved: the store may not yet have taken over
    /// the one before it.
    fn remove_received_below(&self, index: Index) {
        let removed = ::wal::snap::remove_received_below(self.disk.as_ref(), &self.snap_dir, index);
        if let Err(error) = removed {
            log::warning!("failed to remove old databases of snapshots", "error" = error.to_string());
        }
    }

    /// As long as nothing else is to be done.
    fn purge(&self, go_on: impl Fn() -> bool) {
        let (disk, keep) = (self.disk.as_ref(), self.keep);
        let wals = Wal::purge_while(disk, &self.wal_dir, keep.wals, go_on);
        let snapshots = ::wal::snap::purge(disk, &self.snap_dir, keep.snapshots, self.needed);
        for (what, done) in [("wal", wals), ("snap", snapshots)] {
            if let Err(error) = done {
                log::warning!("failed to purge", "suffix" = what, "error" = error.to_string());
            }
        }
    }
}
