//! The whole state at once: as a disk snapshot of this member's, to a member that lags, and from the leader.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use ::raft::{Message, Snapshot};
use backend::Backend;
use disk::Disk;

use super::Apply;
use crate::log;

/// Where the database is, and where one that comes from the leader waits to take its place.
pub struct Files {
    /// The member's disk.
    pub disk: Arc<dyn Disk>,
    /// `member/snap`.
    pub dir: PathBuf,
    /// `member/snap/db`.
    pub db: PathBuf,
    /// How it is opened.
    pub options: backend::Options,
}

impl Apply {
    /// The state as of the last applied entry, without the database.
    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            index: self.state.index,
            term: self.state.term,
            // Raft's own may be behind: it hears of a change after it was applied here.
            conf_state: crate::bootstrap::conf_state(&self.store),
            data: self.store.snapshot_data(),
        }
    }

    /// A member lags too far: it gets what is applied by now, which is at least what `message` speaks of.
    pub(super) fn send_snapshot(&mut self, mut message: Message) {
        self.commit();
        message.snapshot = Some(Box::new(self.snapshot()));
        self.peers.send_snapshot(message, self.store.backend().read().copy());
    }

    /// Takes over a leader's state, whose record is in the log by now (formats 6.4, 6.5): the database that was received
    /// with it gets the name of ours, then everybody sees it. A crash in between is made up for at the next start.
    pub(super) fn restore(&mut self, snapshot: &Snapshot) {
        let told = |what: &'static str, before: u64| {
            log::info!(
                what,
                "current-snapshot-index" = before,
                "current-applied-index" = before,
                "incoming-leader-snapshot-index" = snapshot.index.0,
                "incoming-leader-snapshot-term" = snapshot.term.0
            );
        };
        let (before, start) = (self.state.index.0, Instant::now());
        told("applying snapshot", before);
        crate::stats::METRICS.etcd_server_snapshot_apply_in_progress_total.set(1.0);
        let files = &self.files;
        let received = files.dir.join(wal::snap::received_db_name(snapshot.index));
        let named = files.disk.rename(&received, &files.db).and_then(|()| files.disk.sync_dir(&files.dir));
        if let Err(error) = named {
            crate::thread::fatal("failed to open snapshot backend", &error);
        }
        let opened = Backend::open(files.disk.clone(), &files.db, files.options.clone());
        let restored = opened
            .map_err(store::Error::from)
            .and_then(|backend| self.store.restore(backend, snapshot.index.0, snapshot.term.0));
        if let Err(error) = restored {
            crate::thread::fatal("failed to restore from a snapshot", &error);
        }
        self.state.index = snapshot.index;
        self.state.term = snapshot.term;
        // It may cover what was not in the file when it was asked for, and it is in the log anyway.
        self.state.snapshot = None;
        self.state.compaction_begun = None;
        self.state.next_step = self.store.needs_maintenance().then(Instant::now);
        self.hub.notify(&mut self.state.events);
        self.hub.restored(self.store.revision());
        if let Some(version) = self.store.members().cluster_version {
            self.applied.cluster_version_changed(version);
        }
        self.peers.set_members(self.store.members());
        let metrics = &crate::stats::METRICS;
        metrics.etcd_debugging_mvcc_keys_total.set_int(crate::run::keys(&self.store.reader()));
        metrics.etcd_server_snapshot_apply_in_progress_total.set(0.0);
        told("applied snapshot", before);
        log::info!("restored the store from a snapshot", "took" = start.elapsed());
    }
}
