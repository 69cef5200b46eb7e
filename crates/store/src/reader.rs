//! What every other thread may see of the store: never waits for apply.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use bytes::Bytes;
use mvcc::{HashKv, KvReader};
use parking_lot::Mutex;
use proto::etcdserverpb as pb;

use crate::alarm::Alarms;
use crate::auth::{AuthState, Identity};
use crate::gate::Gate;
use crate::lease::{Lease, LeaseTable};
use crate::quota::Quota;
use crate::{ApplyError, Members, Options, Version};

/// Compactions remembered.
const COMPACTIONS_MAX: usize = 10;

/// State that apply publishes.
pub(crate) struct Shared {
    pub options: Options,
    pub applied_index: AtomicU64,
    pub applied_term: AtomicU64,
    pub compaction_done: AtomicI64,
    pub compactions: Mutex<Compactions>,
    pub auth: ArcSwap<AuthState>,
    pub members: ArcSwap<Members>,
    pub alarms: ArcSwap<Alarms>,
    pub leases: Mutex<LeaseTable>,
    pub storage_version: Mutex<Option<Version>>,
}

/// What a compaction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compacted {
    /// Up to which revision.
    pub revision: i64,
    /// Records deleted.
    pub deleted: u64,
    /// The hash it left, if any.
    pub hash: Option<HashKv>,
}

/// The newest compactions, and how many records all since the start have deleted.
#[derive(Default)]
pub(crate) struct Compactions {
    newest_last: VecDeque<Compacted>,
    deleted: u64,
}

impl Compactions {
    pub fn add(&mut self, done: Compacted) {
        self.deleted += done.deleted;
        self.newest_last.push_back(done);
        if self.newest_last.len() > COMPACTIONS_MAX {
            self.newest_last.pop_front();
        }
    }
}

/// The readers' door. Cheap to clone. After a snapshot install a new store has new readers: the server swaps them.
#[derive(Clone)]
pub struct StoreReader {
    pub(crate) kv: KvReader,
    pub(crate) backend: backend::Reader,
    pub(crate) shared: Arc<Shared>,
}

impl StoreReader {
    /// Keys and their history. Ask the gate first.
    #[must_use]
    pub fn kv(&self) -> &KvReader {
        &self.kv
    }

    /// The file: snapshots, hashes, sizes.
    #[must_use]
    pub fn backend(&self) -> &backend::Reader {
        &self.backend
    }

    /// Settings this store was opened with.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.shared.options
    }

    /// Raft index up to which everything here includes.
    #[must_use]
    pub fn applied_index(&self) -> u64 {
        self.shared.applied_index.load(Ordering::Acquire)
    }

    /// Term of the last entry this process applied; 0 before the first. The `raft_term` of response headers.
    #[must_use]
    pub fn applied_term(&self) -> u64 {
        self.shared.applied_term.load(Ordering::Acquire)
    }

    /// Current revision of the keys.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.kv.current_revision()
    }

    /// Last compacted revision, -1 if none.
    #[must_use]
    pub fn compact_revision(&self) -> i64 {
        self.kv.compact_revision()
    }

    /// Compactions up to this revision have done their physical work.
    #[must_use]
    pub fn compaction_done(&self) -> i64 {
        self.shared.compaction_done.load(Ordering::Acquire)
    }

    /// What the compaction up to this revision did, unless it was long ago.
    #[must_use]
    pub fn compacted(&self, revision: i64) -> Option<Compacted> {
        self.shared.compactions.lock().newest_last.iter().find(|done| done.revision == revision).copied()
    }

    /// Records that compactions have deleted since the start.
    #[must_use]
    pub fn compacted_records(&self) -> u64 {
        self.shared.compactions.lock().deleted
    }

    /// Users, roles, switch.
    #[must_use]
    pub fn auth(&self) -> Arc<AuthState> {
        self.shared.auth.load_full()
    }

    /// Member list, removed ids, cluster version, downgrade.
    #[must_use]
    pub fn members(&self) -> Arc<Members> {
        self.shared.members.load_full()
    }

    /// Raised alarms.
    #[must_use]
    pub fn alarms(&self) -> Arc<Alarms> {
        self.shared.alarms.load_full()
    }

    /// Version of the schema of the file, `None` until it is known (3.5 files have no mark, see [`Version::V3_5`]).
    #[must_use]
    pub fn storage_version(&self) -> Option<Version> {
        *self.shared.storage_version.lock()
    }

    /// A lease.
    #[must_use]
    pub fn lease(&self, id: i64) -> Option<Lease> {
        self.shared.leases.lock().get(id)
    }

    /// Keys attached to a lease, ascending.
    #[must_use]
    pub fn lease_keys(&self, id: i64) -> Vec<Bytes> {
        self.shared.leases.lock().keys(id).cloned().collect()
    }

    /// All leases by id: for LeaseLeases and for promoting a clock.
    #[must_use]
    pub fn leases(&self) -> Vec<Lease> {
        self.shared.leases.lock().iter().collect()
    }

    /// Bytes of the file, free pages included.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.backend.size()
    }

    /// Bytes of the file that hold something.
    #[must_use]
    pub fn size_in_use_bytes(&self) -> u64 {
        self.backend.read().size_in_use()
    }

    /// The quota in bytes as Status shows it; `None` when off.
    #[must_use]
    pub fn quota_bytes(&self) -> Option<u64> {
        Quota::new(self.shared.options.quota_bytes).limit()
    }

    /// Would a Put fit? The API asks before it proposes; see also [`crate::quota`].
    #[must_use]
    pub fn has_room(&self, cost_bytes: u64) -> bool {
        Quota::new(self.shared.options.quota_bytes).has_room(|| self.size_bytes(), cost_bytes)
    }

    /// May `who` do this Range?
    pub fn check_range(&self, who: Identity<'_>, r: &pb::RangeRequest) -> Result<(), ApplyError> {
        self.gate(who, |gate| gate.range(r))
    }

    /// May `who` watch this range (in the forms of a Range)?
    pub fn check_watch(&self, who: Identity<'_>, key: &[u8], end: &[u8]) -> Result<(), ApplyError> {
        self.gate(who, |gate| gate.read(key, end))
    }

    /// May `who` do this Txn? For read-only txns, which do not pass through apply.
    pub fn check_txn(&self, who: Identity<'_>, r: &pb::TxnRequest) -> Result<(), ApplyError> {
        self.gate(who, |gate| gate.txn(r))
    }

    /// May `who` see the keys of a lease?
    pub fn check_lease_keys_read(&self, who: Identity<'_>, id: i64) -> Result<(), ApplyError> {
        self.gate(who, |gate| gate.lease_keys_read(id))
    }

    /// May `who` keep a lease alive?
    pub fn check_lease_keys_write(&self, who: Identity<'_>, id: i64) -> Result<(), ApplyError> {
        self.gate(who, |gate| gate.lease_keys_write(id))
    }

    /// May `who` administer (members, maintenance)?
    pub fn check_admin(&self, who: Identity<'_>) -> Result<(), ApplyError> {
        self.gate(who, |gate| gate.admin())
    }

    /// After a read: did the auth state it was checked against change meanwhile?
    pub fn check_still_current(&self, who: Identity<'_>) -> Result<(), ApplyError> {
        self.shared.auth.load().check_still_current(who)
    }

    fn gate(
        &self,
        who: Identity<'_>,
        ask: impl FnOnce(&Gate<'_>) -> Result<(), ApplyError>,
    ) -> Result<(), ApplyError> {
        let auth = self.shared.auth.load();
        if !auth.enabled {
            return Ok(());
        }
        ask(&Gate::new(&auth, &self.shared.leases, who))
    }
}
