//! From a disk to a member that can run, in the order of the server's start: the backend, the log, the store, and what
//! consensus begins with. It follows `server/bootstrap`, without flags and without what only other members need.

use std::path::Path;
use std::sync::Arc;

use backend::Backend;
use disk::{Disk, MemDisk};
use raft::{
    ConfChange, ConfChangeKind, ConfState, Entry, EntryKind, HardState, Index, MemberId, Restored, Term,
};
use store::Store;
use wal::{Wal, codec};

use crate::{MEMBER, Mutation};

/// Directory of the log.
pub(crate) const WAL_DIR: &str = "/data/member/wal";
/// Directory of the database and the `.snap` files.
pub(crate) const SNAP_DIR: &str = "/data/member/snap";
/// The database.
pub(crate) const DB: &str = "/data/member/snap/db";
const CLUSTER: u64 = 7;
/// So small that a run fills several.
const WAL_OPTIONS: wal::Options = wal::Options { segment_bytes: 8 << 10 };

/// What was found or made.
pub(crate) struct Booted {
    pub wal: Wal,
    pub store: Store,
    pub restored: Restored,
}

/// Why not.
#[derive(Debug)]
pub(crate) struct Refused(pub String);

impl<E: std::fmt::Display> From<E> for Refused {
    fn from(error: E) -> Refused {
        Refused(error.to_string())
    }
}

/// Settings of every store here.
pub(crate) fn open_store(disk: &MemDisk, path: &str) -> Result<Store, Refused> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let small = backend::Options {
        page_size: 1024,
        growth_bytes: 32 << 10,
        map_min_bytes: 256 << 10,
        ..backend::Options::default()
    };
    let backend = Backend::open(disk, Path::new(path), small)?;
    let options = store::Options { member_id: MEMBER, cluster_id: CLUSTER, ..store::Options::default() };
    Ok(Store::open(backend, options)?)
}

/// Opens or creates the member's files.
pub(crate) fn boot(disk: &MemDisk, mutation: Option<Mutation>) -> Result<Booted, Refused> {
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
    if Wal::exists(disk, Path::new(WAL_DIR)) { restart(disk, mutation) } else { create(disk) }
}

fn create(disk: &MemDisk) -> Result<Booted, Refused> {
    let mut store = open_store(disk, DB)?;
    store.commit()?;
    let metadata = codec::encode_metadata(MemberId(MEMBER), CLUSTER);
    let wal = Wal::create(Arc::new(disk.clone()), Path::new(WAL_DIR), &metadata, WAL_OPTIONS)?;
    seed(wal, store)
}

/// The first entry adds the only member. A log whose seed was cut short by a crash gets it again.
fn seed(mut wal: Wal, store: Store) -> Result<Booted, Refused> {
    let change = ConfChange {
        id: 0,
        kind: ConfChangeKind::AddNode,
        node_id: MemberId(MEMBER),
        context: br#"{"id":1,"peerURLs":["http://127.0.0.1:2380"],"name":"m"}"#.to_vec().into(),
    };
    let data = codec::encode_conf_change(&change);
    let entries = vec![Entry { term: Term(1), index: Index(1), kind: EntryKind::ConfChange, data }];
    let hard_state = HardState { term: Term(1), vote: MemberId::NONE, commit: Index(1) };
    wal.append(Some(&hard_state), &entries)?;
    wal.sync()?;
    let restored = Restored { hard_state, entries, ..Restored::default() };
    Ok(Booted { wal, store, restored })
}

fn restart(disk: &MemDisk, mutation: Option<Mutation>) -> Result<Booted, Refused> {
    let records = wal::snapshot_records(disk, Path::new(WAL_DIR))?;
    let newest = records.last().cloned().unwrap_or_default();
    if mutation == Some(Mutation::IndexApartFromData) {
        set_back_the_index(disk)?;
    }
    let store = open_store(disk, DB)?;
    if store.consistent_index() < newest.index.0 {
        let (found, wanted) = (store.consistent_index(), newest.index);
        return Err(Refused(format!("the store is at {found}, the log has forgotten all up to {wanted}")));
    }
    let (wal, replay) = Wal::open(Arc::new(disk.clone()), Path::new(WAL_DIR), &newest, WAL_OPTIONS)?;
    if replay.hard_state == HardState::default() && mutation != Some(Mutation::HardStateForgotten) {
        return seed(wal, store);
    }
    let mut entries = replay.entries;
    if mutation == Some(Mutation::LastEntrySkipped) {
        entries.pop();
    }
    let mut hard_state = replay.hard_state;
    hard_state.commit = hard_state.commit.max(Index(store.consistent_index())).max(newest.index);
    let voters = store.members().conf_state().voters.into_iter().map(MemberId).collect();
    let restored = Restored {
        hard_state,
        conf_state: ConfState { voters, ..ConfState::default() },
        snapshot_index: newest.index,
        snapshot_term: newest.term,
        entries,
        applied: newest.index.max(Index(store.consistent_index())),
    };
    Ok(Booted { wal, store, restored })
}

/// The file as a crash leaves it when the data and the index that belongs to it are committed one after the other.
fn set_back_the_index(disk: &MemDisk) -> Result<(), Refused> {
    let store = open_store(disk, DB)?;
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
