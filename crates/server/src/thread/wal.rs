//! Writing the log: everything queued while the last sync ran goes out with the next (group commit).
//!
//! While the member is alone the raft thread writes it in line; else the WAL thread does, while the raft thread goes on.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use disk::Disk;
use node::{Input, Persist};
use parking_lot::Mutex;
use wal::{SnapshotRecord, Wal};

use super::mailbox::{Receiver, Sender};
use super::{raft, snap};
use crate::log;
use crate::task::slow_disk::SyncPace;

/// What the WAL thread is told.
pub enum Job {
    /// Write this, then acknowledge.
    Persist(Persist),
    /// The `.snap` file of this record is on the disk, and the store is committed that far: write the record, then let go
    /// of older segments.
    SnapshotSaved(SnapshotRecord),
    /// End the thread.
    Stop,
}

/// The WAL and those who hear from it.
pub struct Log {
    /// The log.
    pub wal: Wal,
    /// Where its files are.
    pub disk: Arc<dyn Disk>,
    /// `member/snap`.
    pub snap_dir: PathBuf,
    /// What may be purged by now is said here.
    pub snap: Sender<snap::Job>,
    /// Acknowledgements go here.
    pub raft: Sender<raft::Job>,
    /// Messages that had to wait for the sync.
    pub outbox: Box<dyn raft::Outbox>,
    /// Skip every sync: a crash loses data.
    pub no_sync: bool,
    /// Lets others see how long a sync takes.
    pub pace: Arc<SyncPace>,
}

/// Runs the WAL thread until it is told to stop.
pub fn run(log: Arc<Mutex<Log>>, helm: &raft::Helm, work: Receiver<Job>) {
    let mut jobs = Vec::new();
    loop {
        work.take(&mut jobs, None);
        let (mut done, stop) = (Vec::new(), jobs.iter().any(|job| matches!(job, Job::Stop)));
        log.lock().round(&mut jobs, &mut done);
        helm.take(done);
        if stop {
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
    /// One group commit; what it has `done` is for the raft thread.
    fn round(&mut self, jobs: &mut Vec<Job>, done: &mut Vec<Input>) {
        let (mut persists, mut snapshots) = (Vec::new(), Vec::new());
        for job in jobs.drain(..) {
            match job {
                Job::Persist(persist) => persists.push(persist),
                Job::SnapshotSaved(record) => snapshots.push(record),
                Job::Stop => {}
            }
        }
        if let Some(last) = persists.last() {
            let seq = last.seq;
            self.commit(persists);
            done.push(Input::Persisted { seq });
        }
        for record in snapshots {
            let saved = self.wal.save_own_snapshot(&record);
            tell_saved(saved, &record);
        }
        self.let_go();
    }

    /// Writes all this, syncs once, and sends what had to wait for that. A failed write or sync ends the process: nobody
    /// knows what is on disk then.
    pub fn commit(&mut self, persists: impl IntoIterator<Item = Persist>) {
        let (mut sync, mut send) = (false, Vec::new());
        for persist in persists {
            // What a leader's snapshot has replaced is let go of only then.
            sync |= persist.must_sync && !self.no_sync || persist.snapshot.is_some();
            self.write(&persist);
            send.extend(persist.send);
        }
        if sync {
            self.sync();
        }
        self.let_go();
        if !send.is_empty() {
            self.outbox.send(send);
        }
    }

    fn write(&mut self, persist: &Persist) {
        if let Some(snapshot) = &persist.snapshot {
            let record = snap::save(self.disk.as_ref(), &self.snap_dir, snapshot);
            tell_saved(self.wal.save_snapshot(&record), &record);
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

    /// If a newer snapshot can be started from now, what is older may go.
    fn let_go(&mut self) {
        if let Some(index) = self.wal.release() {
            let _ = self.raft.push(raft::Job::Input(Input::SnapshotSaved { index }));
            let _ = self.snap.push(snap::Job::LetGo(index));
        }
    }
}

fn tell_saved(saved: Result<(), wal::Error>, record: &SnapshotRecord) {
    if let Err(error) = saved {
        super::fatal("failed to save Raft snapshot", &error);
    }
    log::info!("saved snapshot to disk", "snapshot-index" = record.index.0);
}
