//! The writer's door: opened once, owned by the apply thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use backend::schema::meta;
use backend::{Backend, Bucket, Committer};
use bytes::Bytes;
use mvcc::{CompactProgress, Kv};
use parking_lot::Mutex;

use crate::alarm::Alarms;
use crate::auth::{self, AuthState};
use crate::lease::LeaseTable;
use crate::lease::table::KeyLeases;
use crate::reader::{Compacted, Shared};
use crate::record::{be_u64, damaged};
use crate::{ConfState, Error, Members, Options, StoreReader, Version, membership, v2};

/// The applied state machine of one member.
pub struct Store {
    pub(crate) backend: Backend,
    pub(crate) kv: Kv,
    pub(crate) options: Options,
    pub(crate) shared: Arc<Shared>,
    pub(crate) auth: Arc<AuthState>,
    pub(crate) members: Arc<Members>,
    pub(crate) alarms: Arc<Alarms>,
    pub(crate) key_leases: KeyLeases,
    /// Last applied entry whose effects are in the backend.
    pub(crate) position: Position,
    /// What the backend says about it.
    written: Position,
    conf_state: Option<ConfState>,
    /// The member list came from a v2 blob and is rolled forward by replayed entries.
    pub(crate) is_seeded: bool,
}

/// An entry's place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Position {
    pub index: u64,
    pub term: u64,
}

impl Store {
    /// Restores everything from the file, in etcd's order: leases, keys, attachments, alarms, auth, members.
    pub fn open(mut backend: Backend, options: Options) -> Result<Self, Error> {
        let storage_version = check_storage_version(&backend, options.emulated_version)?;
        let leases = LeaseTable::load(&backend, options.lease_ttl_min)?;
        let (kv, attached) = Kv::open(&mut backend)?;
        let leases = Mutex::new(leases);
        let mut key_leases = KeyLeases::default();
        for (key, lease) in attached {
            key_leases.set(&key, lease, || leases.lock());
        }
        let alarms = Arc::new(Alarms::load(&backend)?);
        let auth = Arc::new(auth::record::load(&mut backend)?);
        let members = Arc::new(membership::load(&backend)?);
        check_cluster_version(members.cluster_version, options.emulated_version)?;
        let position = load_position(&backend)?;
        let compaction_done = if kv.compacting() { -1 } else { kv.compact_revision() };
        let shared = Arc::new(Shared {
            options: options.clone(),
            applied_index: AtomicU64::new(position.index),
            applied_term: AtomicU64::new(0),
            compaction_done: AtomicI64::new(compaction_done),
            compactions: Mutex::default(),
            auth: ArcSwap::new(auth.clone()),
            members: ArcSwap::new(members.clone()),
            alarms: ArcSwap::new(alarms.clone()),
            leases,
            storage_version: Mutex::new(storage_version),
        });
        Ok(Self {
            backend,
            kv,
            options,
            shared,
            auth,
            members,
            alarms,
            key_leases,
            position,
            written: position,
            conf_state: None,
            is_seeded: false,
        })
    }

    /// Puts the state in `backend`, a leader's as of the entry `index`, in the place of this one, and commits. Readers
    /// made before see it from now on.
    ///
    /// # Errors
    /// As [`Store::open`], and then nothing has changed.
    pub fn restore(&mut self, backend: Backend, index: u64, term: u64) -> Result<(), Error> {
        let opened = Store::open(backend, self.options.clone())?;
        let Store { backend, kv, shared, auth, members, alarms, key_leases, position, written, .. } = opened;
        self.kv.replace(kv, &mut self.backend, backend);
        self.key_leases = key_leases;
        std::mem::swap(&mut *self.shared.leases.lock(), &mut *shared.leases.lock());
        (self.auth, self.members, self.alarms) = (auth, members, alarms);
        self.publish_auth();
        self.publish_members();
        self.publish_alarms();
        *self.shared.storage_version.lock() = *shared.storage_version.lock();
        let done = shared.compaction_done.load(Ordering::Acquire);
        self.shared.compaction_done.store(done, Ordering::Release);
        (self.position, self.written, self.conf_state, self.is_seeded) = (position, written, None, false);
        self.advance(index, term);
        self.commit()
    }

    /// Raft index up to which the file (with what is pending) includes all entries.
    #[must_use]
    pub fn consistent_index(&self) -> u64 {
        self.position.index
    }

    /// Term of the entry at the consistent index; 0 if unknown.
    #[must_use]
    pub fn consistent_term(&self) -> u64 {
        self.position.term
    }

    /// The readers' door.
    #[must_use]
    pub fn reader(&self) -> StoreReader {
        StoreReader {
            kv: self.kv.reader(&self.backend),
            backend: self.backend.reader(),
            shared: self.shared.clone(),
        }
    }

    /// The membership as applied so far.
    #[must_use]
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// Current revision of the keys.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.kv.current_revision()
    }

    /// The configuration raft answered to the last conf change, for meta key `confState`.
    pub fn set_conf_state(&mut self, state: ConfState) {
        self.conf_state = Some(state);
    }

    /// Puts and deletes that no seal has closed yet: when to seal by size.
    #[must_use]
    pub fn pending_ops(&self) -> usize {
        self.backend.pending_ops()
    }

    /// Bytes put that no seal has closed yet: a few large values fill memory too.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.backend.pending_bytes()
    }

    /// Closes the pending changes, together with the consistent index they belong to, for the commit thread. False if
    /// there was nothing to close or the commit before is still running.
    pub fn seal(&mut self) -> bool {
        self.write_position();
        self.backend.seal()
    }

    /// For the commit thread.
    #[must_use]
    pub fn committer(&self) -> Committer {
        self.backend.committer()
    }

    /// Seals and commits here and now. An error is the end of the process.
    pub fn commit(&mut self) -> Result<(), Error> {
        self.write_position();
        Ok(self.backend.commit()?)
    }

    /// True while [`Self::maintain`] has work.
    #[must_use]
    pub fn needs_maintenance(&self) -> bool {
        self.kv.compacting()
    }

    /// One step of compaction over at most `budget` records (at most 1000). True if there is more to do.
    pub fn maintain(&mut self, budget: usize) -> Result<bool, Error> {
        let progress = self.kv.compact_step(&mut self.backend, budget)?;
        if let CompactProgress::Done { revision, deleted, hash } = progress {
            self.shared.compactions.lock().add(Compacted { revision, deleted, hash });
            self.shared.compaction_done.store(revision, Ordering::Release);
        }
        Ok(self.kv.compacting())
    }

    /// Starts to defragment: commits move pages from now on, a few each.
    pub fn start_defragment(&self) {
        self.backend.start_defragment();
    }

    /// True while a defragmentation goes on.
    #[must_use]
    pub fn is_defragmenting(&self) -> bool {
        self.backend.defragmenting()
    }

    /// Membership as the v2 store of a .snap file (formats 1.11).
    #[must_use]
    pub fn snapshot_data(&self) -> Bytes {
        v2::encode(&self.members)
    }

    /// Gives the store back its file, to close or replace it.
    #[must_use]
    pub fn into_backend(self) -> Backend {
        self.backend
    }

    /// The file below, for tools and tests.
    #[must_use]
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// Brings the mark of the file's schema to the cluster version, as etcd's monitor does every few seconds. Never
    /// above the emulated version. `wal_version` is what the log entries since the last snapshot need: no downgrade
    /// below it. Returns the new version if it changed.
    ///
    /// # Errors
    /// [`Error::Migrate`] when the log still needs a newer version.
    pub fn migrate_storage(&mut self, wal_version: Version) -> Result<Option<Version>, Error> {
        let Some(wanted) = self.members.cluster_version.filter(|v| *v != Version::V3_0) else {
            return Ok(None);
        };
        let present = *self.shared.storage_version.lock();
        let from = present.unwrap_or(Version::V3_5);
        if from == wanted || (wanted < Version::V3_5) || wanted > self.options.emulated_version {
            return Ok(None);
        }
        if wanted < from && wal_version > wanted {
            let why = format!("log entries need {wal_version}: take a snapshot first");
            return Err(Error::Migrate { from, to: wanted, why });
        }
        if wanted < Version::V3_6 {
            self.backend.delete(Bucket::Meta, meta::STORAGE_VERSION);
        } else {
            self.put_meta(meta::STORAGE_VERSION, wanted.to_string().into());
        }
        *self.shared.storage_version.lock() = Some(wanted);
        Ok(Some(wanted))
    }

    fn write_position(&mut self) {
        if let Some(state) = self.conf_state.take() {
            self.put_meta(meta::CONF_STATE, state.to_json().into());
        }
        if self.position == self.written || self.position.index == 0 {
            return;
        }
        let Position { index, term } = self.position;
        self.put_meta(meta::CONSISTENT_INDEX, Bytes::copy_from_slice(&index.to_be_bytes()));
        if term != 0 {
            self.put_meta(meta::TERM, Bytes::copy_from_slice(&term.to_be_bytes()));
        }
        self.written = self.position;
    }

    pub(crate) fn put_meta(&mut self, key: &'static [u8], value: Bytes) {
        self.backend.put(Bucket::Meta, Bytes::from_static(key), value);
    }

    pub(crate) fn publish_auth(&self) {
        self.shared.auth.store(self.auth.clone());
    }

    pub(crate) fn publish_members(&self) {
        self.shared.members.store(self.members.clone());
    }

    pub(crate) fn publish_alarms(&self) {
        self.shared.alarms.store(self.alarms.clone());
    }
}

fn load_position(backend: &Backend) -> Result<Position, Error> {
    let number = |key: &'static [u8]| -> Result<u64, Error> {
        let value = backend.get(Bucket::Meta, key)?;
        value.map_or(Ok(0), |v| be_u64(Bucket::Meta, key, &v))
    };
    Ok(Position { index: number(meta::CONSISTENT_INDEX)?, term: number(meta::TERM)? })
}

/// Detects the version of the file's schema and refuses one that is too new (formats 8.2).
fn check_storage_version(backend: &Backend, own: Version) -> Result<Option<Version>, Error> {
    if let Some(value) = backend.get(Bucket::Meta, meta::STORAGE_VERSION)? {
        let text = std::str::from_utf8(&value).ok().and_then(Version::parse);
        let version = text.ok_or_else(|| damaged(Bucket::Meta, meta::STORAGE_VERSION, "not a version"))?;
        return if version > own {
            Err(Error::UnsupportedStorageVersion(version))
        } else {
            Ok(Some(version))
        };
    }
    let has_term = backend.get(Bucket::Meta, meta::TERM)?.is_some();
    Ok(has_term.then_some(Version::V3_5))
}

pub(crate) fn check_cluster_version(cluster: Option<Version>, own: Version) -> Result<(), Error> {
    match cluster {
        Some(cluster) if cluster > own => Err(Error::ClusterVersionTooHigh { cluster, server: own }),
        _ => Ok(()),
    }
}
