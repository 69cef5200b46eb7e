//! Writing the log: everything queued while the last sync ran goes out with the next (group commit).
//!
//! While the member is alone the raft thread writes it in line; else the WAL thread does, while the raft thread goes on.
//! Snapshots and purges are the WAL thread's always.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use disk::Disk;
use node::{Input, Persist};
use parking_lot::Mutex;
use wal::{SnapshotRecord, Wal};

use super::mailbox::{Receiver, Sender};
use super::raft;
use crate::log;
use crate::task::slow_disk::SyncPace;

/// What the WAL thread is told.
pub enum Job {
    /// Write this, then acknowledge.
    Persist(Persist),
    /// Write a `.snap` file, then its record, then let go of older segments.
    Snapshot(::raft::Snapshot),
    /// Remove files beyond the numbers to keep.
    Purge,
    /// End the thread.
    Stop,
}

/// How many files of the past are kept; 0 keeps all.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// Segments.
    pub wals: usize,
    /// `.snap` files.
    pub snapshots: usize,
}

/// The WAL and those who hear from it.
pub struct Log {
    /// The log.
    pub wal: Wal,
    /// Where its files are.
    pub disk: Arc<dyn Disk>,
    /// `member/wal`.
    pub wal_dir: PathBuf,
    /// `member/snap`.
    pub snap_dir: PathBuf,
    /// Acknowledgements go here.
    pub raft: Sender<raft::Job>,
    /// Messages that had to wait for the sync.
    pub outbox: Box<dyn raft::Outbox>,
    /// What to keep.
    pub keep: Keep,
    /// Skip every sync: a crash loses data.
    pub no_sync: bool,
    /// Lets others see how long a sync takes.
    pub pace: Arc<SyncPace>,
}

/// Runs the WAL thread until it is told to stop.
pub fn run(log: Arc<Mutex<Log>>, work: Receiver<Job>) {
    let mut jobs = Vec::new();
    loop {
        work.take(&mut jobs, None);
        if log.lock().round(&mut jobs) {
            break;
        }
    }
    // The raft thread has ended before: nobody else holds the log.
    if let Some(log) = Arc::into_inner(log)
        && let Err(error) = log.into_inner().wal.close()
    {
        super::fatal("failed to close the WAL", &error);
    }
}

impl Log {
    /// One group commit; true when the thread is to end.
    fn round(&mut self, jobs: &mut Vec<Job>) -> bool {
        let (mut persists, mut snapshots, mut stop) = (Vec::new(), Vec::new(), false);
        for job in jobs.drain(..) {
            match job {
                Job::Persist(persist) => persists.push(persist),
                Job::Snapshot(snapshot) => snapshots.push(snapshot),
                Job::Purge => self.purge(),
                Job::Stop => stop = true,
            }
        }
        if let Some(last) = persists.last() {
            let seq = last.seq;
            self.commit(persists);
            let _ = self.raft.push(raft::Job::Input(Input::Persisted { seq }));
        }
        for snapshot in snapshots {
            self.save_snapshot(&snapshot);
            self.let_go_before(snapshot.index);
            self.remove_received_below(snapshot.index);
        }
        stop
    }

    /// Writes all this, syncs once, and sends what had to wait for that. A failed write or sync ends the process: nobody
    /// knows what is on disk then.
    pub fn commit(&mut self, persists: impl IntoIterator<Item = Persist>) {
        let (mut sync, mut send, mut received) = (false, Vec::new(), None);
        for persist in persists {
            sync |= persist.must_sync || persist.snapshot.is_some();
            self.write(&persist);
            received = persist.snapshot.map(|snapshot| snapshot.index).or(received);
            send.extend(persist.send);
        }
        if sync && !self.no_sync {
            self.sync();
        }
        // The record of a received snapshot counts only with the hard state that commits it: what was before it is needed
        // until that is on the disk, too.
        if let Some(index) = received {
            self.let_go_before(index);
        }
        if !send.is_empty() {
            self.outbox.send(send);
        }
    }

    fn write(&mut self, persist: &Persist) {
        if let Some(snapshot) = &persist.snapshot {
            self.save_snapshot(snapshot);
        }
        let start = Instant::now();
        if let Err(error) = self.wal.append(persist.hard_state.as_ref(), &persist.entries) {
            super::fatal("failed to save Raft hard state and entries", &error);
        }
        crate::stats::METRICS.etcd_disk_wal_write_duration_seconds.observe_time(start.elapsed());
        let bytes: usize = persist.entries.iter().map(|entry| entry.data.len()).sum();
        crate::stats::METRICS.etcd_disk_wal_write_bytes_total.add(bytes as f64);
    }

    fn sync(&mut self) {
        let start = Instant::now();
        let (pace, wal) = (self.pace.clone(), &mut self.wal);
        if let Err(error) = pace.watched(|| wal.sync()) {
            super::fatal("failed to save Raft hard state and entries", &error);
        }
        crate::stats::wal_synced(start.elapsed());
    }

    fn save_snapshot(&mut self, snapshot: &::raft::Snapshot) {
        let record = SnapshotRecord {
            index: snapshot.index,
            term: snapshot.term,
            conf_state: Some(snapshot.conf_state.clone()),
        };
        let start = Instant::now();
        let encoded = wal::snap::encode(snapshot);
        let ready = Instant::now();
        if let Err(error) = wal::snap::write(self.disk.as_ref(), &self.snap_dir, snapshot, &encoded) {
            super::fatal("failed to save Raft snapshot", &error);
        }
        crate::stats::snap_saved(start, ready, Instant::now());
        if let Err(error) = self.wal.save_snapshot(&record) {
            super::fatal("failed to save Raft snapshot", &error);
        }
        log::info!("saved snapshot to disk", "snapshot-index" = record.index.0);
    }

    /// The snapshot of `index` can be started from: older segments and snapshots may go.
    fn let_go_before(&mut self, index: ::raft::Index) {
        if let Err(error) = self.wal.release(index) {
            super::fatal("failed to release Raft WAL", &error);
        }
        let _ = self.raft.push(raft::Job::Input(Input::SnapshotSaved { index }));
        self.purge();
    }

    /// The store has reached `index`. Not done when a snapshot of a leader is saved: the store may not yet have taken over
    /// the one before it.
    fn remove_received_below(&mut self, index: ::raft::Index) {
        if let Err(error) = wal::snap::remove_received_below(self.disk.as_ref(), &self.snap_dir, index) {
            log::warning!("failed to remove old databases of snapshots", "error" = error.to_string());
        }
    }

    fn purge(&mut self) {
        for (keep, what) in [(self.keep.wals, "wal"), (self.keep.snapshots, "snap")] {
            if keep == 0 {
                continue;
            }
            let done = match what {
                "wal" => Wal::purge(self.disk.as_ref(), &self.wal_dir, keep).map(|_| ()),
                _ => wal::snap::purge(self.disk.as_ref(), &self.snap_dir, keep).map(|_| ()),
            };
            if let Err(error) = done {
                log::warning!("failed to purge", "suffix" = what, "error" = error.to_string());
            }
        }
    }
}
