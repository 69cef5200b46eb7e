//! What the owner threads let everybody see: the applied index, the role, and who leads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use raft::{Role, SoftState};
use tokio::sync::watch;

/// Progress of the apply thread.
pub struct Applied {
    term: AtomicU64,
    /// For those who look; those who wait have `index_waited`.
    index: AtomicU64,
    index_waited: watch::Sender<u64>,
    leader_start: watch::Sender<u64>,
    cluster_version: watch::Sender<Option<store::Version>>,
}

impl Applied {
    /// As restored from disk.
    pub fn new(index: u64) -> Applied {
        Applied {
            term: AtomicU64::new(0),
            index: AtomicU64::new(index),
            index_waited: watch::Sender::new(index),
            leader_start: watch::Sender::new(0),
            cluster_version: watch::Sender::new(None),
        }
    }

    /// Called by the apply thread, before anybody is answered.
    pub fn publish(&self, index: u64, term: u64) {
        self.term.store(term, Ordering::Release);
        self.index.store(index, Ordering::Release);
        self.index_waited.send_replace(index);
    }

    /// The first entry of a leader's term was executed.
    pub fn leader_started(&self, term: u64) {
        self.leader_start.send_replace(term);
    }

    /// The cluster agreed on another version.
    pub fn cluster_version_changed(&self, version: store::Version) {
        self.cluster_version.send_replace(Some(version));
    }

    /// Term of the last entry this process applied, 0 before the first.
    pub fn term(&self) -> u64 {
        self.term.load(Ordering::Acquire)
    }

    /// Last applied entry.
    pub fn index(&self) -> u64 {
        self.index.load(Ordering::Acquire)
    }

    /// Waits until `index` is applied.
    pub async fn reach(&self, index: u64) {
        if self.index() < index {
            // The sender lives in self, so the wait cannot fail.
            let _ = self.index_waited.subscribe().wait_for(|applied| *applied >= index).await;
        }
    }

    /// Terms whose first entry was executed, newest only.
    pub fn leader_starts(&self) -> watch::Receiver<u64> {
        self.leader_start.subscribe()
    }

    /// Cluster versions, newest only.
    pub fn cluster_versions(&self) -> watch::Receiver<Option<store::Version>> {
        self.cluster_version.subscribe()
    }
}

/// Role, leader and commit index as the raft thread publishes them.
pub struct Leadership {
    soft: watch::Sender<SoftState>,
    committed: AtomicU64,
    changes: AtomicU64,
    had_leader: AtomicBool,
    since: Mutex<Instant>,
}

impl Leadership {
    /// Nobody leads yet.
    pub fn new() -> Leadership {
        Leadership {
            soft: watch::Sender::new(SoftState::default()),
            committed: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            had_leader: AtomicBool::new(false),
            since: Mutex::new(Instant::now()),
        }
    }

    /// Called by the raft thread.
    pub fn publish(&self, state: SoftState) {
        let old = self.soft.send_replace(state);
        if old.leader != state.leader && !state.leader.is_none() {
            self.changes.fetch_add(1, Ordering::Relaxed);
            self.had_leader.store(true, Ordering::Relaxed);
            *self.since.lock() = Instant::now();
        }
    }

    /// Called by the raft thread.
    pub fn committed(&self, index: u64) {
        self.committed.store(index, Ordering::Release);
    }

    /// Last committed entry handed to apply.
    pub fn commit_index(&self) -> u64 {
        self.committed.load(Ordering::Acquire)
    }

    /// Role, leader and term now.
    pub fn now(&self) -> SoftState {
        *self.soft.borrow()
    }

    /// Changes of role, leader or term.
    pub fn changes(&self) -> watch::Receiver<SoftState> {
        self.soft.subscribe()
    }

    /// This member leads.
    pub fn leads(&self) -> bool {
        self.now().role == Role::Leader
    }

    /// A leader is known.
    pub fn has_leader(&self) -> bool {
        !self.now().leader.is_none()
    }

    /// How often another leader was seen since the start.
    pub fn changes_seen(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// When the present leader was first seen.
    pub fn leader_since(&self) -> Instant {
        *self.since.lock()
    }
}

impl Default for Leadership {
    fn default() -> Self {
        Leadership::new()
    }
}
