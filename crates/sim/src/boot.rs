//! From a disk to a member that can run, in the order of the server's start: the backend, the log, the store, and what
//! consensus begins with. It follows `server/bootstrap`, without flags and without asking other members.

use std::path::Path;
use std::sync::Arc;

use backend::Backend;
use disk::{Disk, MemDisk};
use raft::{
    ConfChange, ConfChangeKind, ConfState, Entry, EntryKind, HardState, Index, MemberId, Restored, Term,
};
use store::Store;
use wal::{Wal, codec};

use crate::Mutation;

/// Directory of the log.
pub(crate) const WAL_DIR: &str = "/data/member/wal";
/// Directory of the database and the `.snap` files.
pub(crate) const SNAP_DIR: &str = "/data/member/snap";
/// The database.
pub(crate) const DB: &str = "/data/member/snap/db";
const CLUSTER: u64 = 7;
/// So small that a run fills several.
const WAL_OPTIONS: wal::Options = wal::Options { segment_bytes: 2 << 10 };

/// Who starts here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub member: u64,
    /// The cluster began with members 1 to this one; others join it with an empty log.
    pub founders: u64,
}

/// What was found or made.
pub(crate) struct Booted {
    pub wal: Wal,
    pub store: Store,
    pub restored: Restored,
}

impl std::fmt::Display for Booted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (restored, store) = (&self.restored, &self.store);
        let last = restored.entries.last().map_or(restored.snapshot_index, |entry| entry.index);
        let HardState { term, vote, commit } = restored.hard_state;
        let (index, revision) = (store.consistent_index(), store.revision());
        let from = restored.snapshot_index;
        write!(f, "finds a log from {from} to {last}, term {term}, vote {vote}, commit {commit}, ")?;
        write!(f, "a store at {index} with revision {revision}")
    }
}

/// Why not.
#[derive(Debug)]
pub(crate) struct Refused(pub String);

impl<E: std::fmt::Display> From<E> for Refused {
    fn from(error: E) -> Refused {
        Refused(error.to_string())
    }
}

/// The member as conf changes describe it.
pub(crate) fn described(id: u64) -> store::Member {
    let peer_urls = vec![format!("http://127.0.0.1:{}", 2380 + id)];
    store::Member { id, peer_urls, name: format!("m{id}"), ..store::Member::default() }
}

fn open_backend(disk: &MemDisk, path: &str) -> Result<Backend, Refused> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let small = backend::Options {
        page_size: 1024,
        growth_bytes: 32 << 10,
        map_min_bytes: 256 << 10,
        ..backend::Options::default()
    };
    Ok(Backend::open(disk, Path::new(path), small)?)
}

/// Settings of every store here.
pub(crate) fn open_store(disk: &MemDisk, path: &str, member: u64) -> Result<Store, Refused> {
    let options = store::Options { member_id: member, cluster_id: CLUSTER, ..store::Options::default() };
    Ok(Store::open(open_backend(disk, path)?, options)?)
}

/// The store's membership in raft's words.
pub(crate) fn conf_state(store: &Store) -> ConfState {
    let state = store.members().conf_state();
    let ids = |list: Vec<u64>| list.into_iter().map(MemberId).collect();
    ConfState { voters: ids(state.voters), learners: ids(state.learners), ..ConfState::default() }
}

/// Opens or creates the member's files.
pub(crate) fn boot(disk: &MemDisk, who: Identity, mutation: Option<Mutation>) -> Result<Booted, Refused> {
    for dir in ["/data", "/data/member", SNAP_DIR] {
        disk.create_dir_all(Path::new(dir), 0o700)?;
    }
    // A log in a directory that a power loss takes away is no log.
    for parent in ["/", "/data", "/data/member"] {
        if mutation != Some(Mutation::DirectoriesUnsynced) {
            disk.sync_dir(Path::new(parent))?;
        }
    }
    wal::snap::remove_leftovers(disk, Path::new(SNAP_DIR))?;
    if Wal::exists(disk, Path::new(WAL_DIR)) { restart(disk, who, mutation) } else { create(disk, who) }
}

fn create(disk: &MemDisk, who: Identity) -> Result<Booted, Refused> {
    let mut store = open_store(disk, DB, who.member)?;
    store.commit()?;
    let metadata = codec::encode_metadata(MemberId(who.member), CLUSTER);
    let wal = Wal::create(Arc::new(disk.clone()), Path::new(WAL_DIR), &metadata, WAL_OPTIONS)?;
    seed(wal, store, who)
}

/// The first entries add the founders. A log whose seed was cut short by a crash gets it again; one that joins has none.
fn seed(mut wal: Wal, store: Store, who: Identity) -> Result<Booted, Refused> {
    if who.member > who.founders {
        return Ok(Booted { wal, store, restored: Restored::default() });
    }
    let entry = |id| {
        let change = ConfChange {
            id: 0,
            kind: ConfChangeKind::AddNode,
            node_id: MemberId(id),
            context: described(id).to_json().into(),
        };
        let data = codec::encode_conf_change(&change);
        Entry { term: Term(1), index: Index(id), kind: EntryKind::ConfChange, data }
    };
    let entries: Vec<Entry> = (1..=who.founders).map(entry).collect();
    let hard_state = HardState { term: Term(1), vote: MemberId::NONE, commit: Index(who.founders) };
    wal.append(Some(&hard_state), &entries)?;
    wal.sync()?;
    let restored = Restored { hard_state, entries, ..Restored::default() };
    Ok(Booted { wal, store, restored })
}

fn restart(disk: &MemDisk, who: Identity, mutation: Option<Mutation>) -> Result<Booted, Refused> {
    let records = wal::snapshot_records(disk, Path::new(WAL_DIR))?;
    let newest = records.last().cloned().unwrap_or_default();
    check_snap_file(disk)?;
    if mutation == Some(Mutation::IndexApartFromData) {
        set_back_the_index(disk, who.member)?;
    }
    let mut store = open_store(disk, DB, who.member)?;
    if store.consistent_index() < newest.index.0 {
        let received = Path::new(SNAP_DIR).join(wal::snap::received_db_name(newest.index));
        if !disk.exists(&received) {
            let (found, wanted) = (store.consistent_index(), newest.index);
            return Err(Refused(format!(
                "the store is at {found}, the log has forgotten all up to {wanted}"
            )));
        }
        drop(store);
        drop(adopt_received(disk, newest.index)?);
        store = open_store(disk, DB, who.member)?;
    }
    let (wal, replay) = Wal::open(Arc::new(disk.clone()), Path::new(WAL_DIR), &newest, WAL_OPTIONS)?;
    let fresh = replay.hard_state == HardState::default() && newest.index == Index(0);
    if fresh && mutation != Some(Mutation::HardStateForgotten) {
        return seed(wal, store, who);
    }
    let mut entries = replay.entries;
    if mutation == Some(Mutation::LastEntrySkipped) {
        entries.pop();
    }
    let consistent = Index(store.consistent_index());
    let mut hard_state = replay.hard_state;
    hard_state.commit = hard_state.commit.max(consistent).max(newest.index);
    let twice = mutation == Some(Mutation::ConfChangeTwice);
    let restored = Restored {
        hard_state,
        conf_state: conf_state(&store),
        snapshot_index: newest.index,
        snapshot_term: newest.term,
        entries,
        applied: if twice { newest.index } else { newest.index.max(consistent) },
    };
    Ok(Booted { wal, store, restored })
}

/// Etcd 3.5, to which there is a way back, starts from the file of the newest snapshot that the log knows.
pub(crate) fn check_snap_file(disk: &MemDisk) -> Result<(), Refused> {
    let records = wal::snapshot_records(disk, Path::new(WAL_DIR))?;
    let newest = records.last().map_or(Index(0), |record| record.index);
    let found = wal::snap::load_newest(disk, Path::new(SNAP_DIR), &records)?;
    if found.map_or(Index(0), |snapshot| snapshot.index) == newest {
        return Ok(());
    }
    Err(Refused(format!("the .snap file of the snapshot at {newest} is missing")))
}

/// Puts the database received with the snapshot at `index` in the place of the present one.
pub(crate) fn adopt_received(disk: &MemDisk, index: Index) -> Result<Backend, Refused> {
    let received = Path::new(SNAP_DIR).join(wal::snap::received_db_name(index));
    disk.rename(&received, Path::new(DB))?;
    disk.sync_dir(Path::new(SNAP_DIR))?;
    open_backend(disk, DB)
}

/// The file as a crash leaves it when the data and the index that belongs to it are committed one after the other.
fn set_back_the_index(disk: &MemDisk, member: u64) -> Result<(), Refused> {
    let store = open_store(disk, DB, member)?;
    let index = store.consistent_index();
    let mut backend = store.into_backend();
    if index > 2 {
        let lower = (index - 1).to_be_bytes().to_vec().into();
        let key = bytes::Bytes::from_static(backend::schema::meta::CONSISTENT_INDEX);
        backend.put(backend::Bucket::Meta, key, lower);
        backend.commit()?;
    }
    Ok(())
}
