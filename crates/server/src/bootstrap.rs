//! From a data directory, empty or not, to everything a member needs to run. Formats 1.1, 5.9, 6.4, 6.6.

pub mod discovery;
mod dns;
pub mod join;
mod old;
pub mod registry;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ::raft::{ConfState, Entry, EntryKind, HardState, Index, MemberId, Restored, Term};
use backend::{Backend, Bucket, schema};
use disk::{Disk, Open};
use sha1::{Digest, Sha1};
use store::{Store, Version};
use thiserror::Error;
use wal::{Wal, codec};

use crate::config::{ClusterState, Config, Emulated};
use crate::log;
use crate::peer::ask::Cluster;
use crate::peer::client::Dialer;

/// Why a member cannot start.
#[derive(Debug, Error)]
#[allow(missing_docs)]
pub enum Error {
    #[error("{0}: {1}")]
    Disk(String, std::io::Error),
    #[error(transparent)]
    Wal(#[from] wal::Error),
    #[error(transparent)]
    Backend(#[from] backend::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Raft(#[from] ::raft::Error),
    #[error("{0}")]
    Config(String),
    #[error("{0}")]
    Damaged(String),
    #[error("failed to join discovery cluster ({0})")]
    Discovery(#[from] registry::Error),
    /// The first start ended between creating the log and seeding it.
    #[error(
        "the log of member {0:x} is empty and --initial-cluster does not name that member: \
         start with the flags of the first start, or remove the data directory"
    )]
    Unseeded(u64),
}

/// What the disk held, or what was put there.
pub struct Booted {
    /// This member.
    pub member_id: u64,
    /// Its cluster.
    pub cluster_id: u64,
    /// The log, open for appending.
    pub wal: Wal,
    /// The applied state.
    pub store: Store,
    /// What consensus starts from.
    pub restored: Restored,
    /// The newest disk snapshot.
    pub snapshot_index: Index,
    /// There was a log already.
    pub was_initialized: bool,
    /// The log holds requests that 3.7 cannot read: take a disk snapshot soon.
    pub has_v2_requests: bool,
    /// Members of a cluster just joined: to be answered before the log tells of them.
    pub remotes: Vec<store::Member>,
    /// Where the time went.
    pub took: Took,
}

/// How long the parts of a start took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Took {
    /// Opening the database: its lock, its head, which of its pages are free, and a defragmentation that is due.
    pub backend: Duration,
    /// Reading the log.
    pub log: Duration,
    /// Meanwhile: restoring the store from the database: the index of keys, leases, users, members.
    pub store: Duration,
}

/// Version that a member as configured announces.
pub fn announced_version(config: &Config) -> &'static str {
    match config.emulated_version {
        Emulated::V3_5 => "3.5.33",
        Emulated::V3_6 => "3.6.14",
        Emulated::V3_7 => "3.7.1",
    }
}

/// Its major and minor numbers.
pub fn own_version(config: &Config) -> Version {
    match config.emulated_version {
        Emulated::V3_5 => Version::V3_5,
        Emulated::V3_6 => Version::V3_6,
        Emulated::V3_7 => Version::V3_7,
    }
}

/// Opens the member's files or, at a first start, creates them once it is known who the members are.
///
/// # Errors
/// Everything for which a member cannot start; see [`join::find`] and [`discovery::complete`], too.
pub async fn start(disk: &Arc<dyn Disk>, config: &Arc<Config>, dialer: &Dialer) -> Result<Booted, Error> {
    if !Wal::exists(disk.as_ref(), &config.wal_path()) {
        let joined = join::find(disk.as_ref(), config, dialer).await?;
        // Who cannot keep files shall not be on a list of members.
        prepare_dirs(disk.as_ref(), config)?;
        let complete = discovery::complete(config, dialer).await?;
        return boot(disk, &complete, joined);
    }
    if discovery::uses_registry(config) {
        log::warning!(
            "discovery token is ignored since cluster already initialized; valid logs are found",
            "wal-dir" = log::Value::text(config.wal_path().display())
        );
    }
    match boot(disk, config, None) {
        Err(Error::Unseeded(_)) if discovery::is_wanted(config) => {
            let prepared = discovery::prepare(config).await?;
            let complete = discovery::complete(&prepared, dialer).await?;
            boot(disk, &complete, None)
        }
        booted => booted,
    }
}

/// Opens or creates the member's files. `joined` is the running cluster of which a first start makes a member.
pub fn boot(disk: &Arc<dyn Disk>, config: &Config, joined: Option<Cluster>) -> Result<Booted, Error> {
    prepare_dirs(disk.as_ref(), config)?;
    match joined {
        _ if Wal::exists(disk.as_ref(), &config.wal_path()) => restart(disk, config),
        Some(cluster) => join(disk, config, cluster),
        None => create(disk, config),
    }
}

/// Creates the directories and proves that they can be written.
fn prepare_dirs(disk: &dyn Disk, config: &Config) -> Result<(), Error> {
    let wal_parent = config.wal_path().parent().map(Path::to_owned);
    for dir in [Path::new(&config.data_dir).to_owned(), config.member_dir(), config.snap_path()]
        .into_iter()
        .chain(wal_parent)
    {
        let shown = |error| Error::Disk(format!("cannot access data directory {}", dir.display()), error);
        create_dir(disk, &dir).map_err(shown)?;
        let probe = dir.join(".touch");
        disk.open(&probe, Open::truncate(0o600)).map_err(shown)?;
        disk.remove(&probe).map_err(shown)?;
    }
    wal::snap::remove_leftovers(disk, &config.snap_path())?;
    Ok(())
}

/// Creates a directory and what is missing above it, durably: nothing acknowledged may be lost with its directory.
fn create_dir(disk: &dyn Disk, dir: &Path) -> std::io::Result<()> {
    let is_missing = |dir: &&Path| !dir.as_os_str().is_empty() && !disk.exists(dir);
    let missing = dir.ancestors().take_while(is_missing).count();
    disk.create_dir_all(dir, 0o700)?;
    for made in dir.ancestors().take(missing.max(1)) {
        let parent = made.parent().filter(|parent| !parent.as_os_str().is_empty());
        let synced = disk.sync_dir(parent.unwrap_or(Path::new(".")));
        // One that was here before may lie in a directory that this user cannot read.
        if missing > 0 {
            synced?
        }
    }
    Ok(())
}

/// How often a database that another process holds is tried again.
const LOCK_RETRY: Duration = Duration::from_millis(100);
/// After this long, the log says what the start waits for.
const LOCK_NOTICE: Duration = Duration::from_secs(10);

/// How the database is opened.
pub(crate) fn backend_options(config: &Config) -> backend::Options {
    backend::Options { unsafe_no_sync: config.unsafe_no_fsync, ..backend::Options::default() }
}

/// Waits, as etcd does, while another process holds the file.
fn open_backend(disk: &Arc<dyn Disk>, config: &Config) -> Result<Backend, Error> {
    let path = config.db_path();
    let options = backend_options(config);
    let (start, mut noticed) = (Instant::now(), false);
    loop {
        match Backend::open(disk.clone(), &path, options.clone()) {
            Err(backend::Error::Locked(_)) => std::thread::sleep(LOCK_RETRY),
            opened => return Ok(opened?),
        }
        if !noticed && start.elapsed() >= LOCK_NOTICE {
            noticed = true;
            log::info!(
                "db file is flocked by another process, or taking too long",
                "path" = log::Value::text(path.display()),
                "took" = start.elapsed()
            );
        }
    }
}

fn open_backend_in_shape(disk: &Arc<dyn Disk>, config: &Config) -> Result<Backend, Error> {
    let mut backend = open_backend(disk, config)?;
    defragment_if_due(&mut backend, config)?;
    Ok(backend)
}

/// `--bootstrap-defrag-threshold-megabytes`.
fn defragment_if_due(backend: &mut Backend, config: &Config) -> Result<(), Error> {
    let threshold = config.bootstrap_defrag_threshold_megabytes.saturating_mul(1 << 20);
    let (size, in_use) = (backend.size(), backend.size_in_use());
    if threshold == 0 {
        return Ok(());
    }
    if size.saturating_sub(in_use) < threshold {
        log::info!(
            "Skipping defragmentation",
            "current-db-size-bytes" = size,
            "current-db-size" = log::size(size),
            "current-db-size-in-use-bytes" = in_use,
            "current-db-size-in-use" = log::size(in_use),
            "bootstrap-defrag-threshold-bytes" = threshold,
            "bootstrap-defrag-threshold" = log::size(threshold)
        );
        return Ok(());
    }
    log::info!("defragmenting", "path" = log::Value::text(config.db_path().display()));
    backend.defragment()?;
    log::info!(
        "finished defragmenting directory",
        "path" = log::Value::text(config.db_path().display()),
        "current-db-size-bytes-diff" = size.saturating_sub(backend.size()),
        "current-db-size-bytes" = backend.size()
    );
    Ok(())
}

fn open_store(backend: Backend, config: &Config, member_id: u64, cluster_id: u64) -> Result<Store, Error> {
    let min_ttl_ms = (3 * u64::from(config.election_ticks())) / 2 * config.heartbeat_ms;
    let options = store::Options {
        member_id,
        cluster_id,
        lease_ttl_min: i64::try_from(min_ttl_ms.div_ceil(1000)).unwrap_or(i64::MAX),
        quota_bytes: config.quota_backend_bytes,
        emulated_version: own_version(config),
        lease_checkpoint_persist: config.features.lease_checkpoint_persist,
        learners_max: usize::try_from(config.max_learners).unwrap_or(0),
        token_kind: if config.auth_token.starts_with("simple") {
            store::TokenKind::Simple
        } else {
            store::TokenKind::Jwt
        },
        hash_password: Some(store::HashPassword {
            hash: |password, cost| bcrypt::hash(password, cost).ok(),
            cost: config.bcrypt_cost(),
        }),
    };
    Ok(Store::open(backend, options)?)
}

/// A first start: ids from the configuration, a new log seeded with one conf change per initial member.
fn create(disk: &Arc<dyn Disk>, config: &Config) -> Result<Booted, Error> {
    let initial = initial_members(config)?;
    let own = own_member(&initial, config)?;
    check_advertised(config, own)?;
    let mut booted = new_files(disk, config, own.id, cluster_id(&initial))?;
    let (hard_state, entries) = seed(&mut booted.wal, &initial)?;
    booted.restored = Restored { hard_state, entries, ..Restored::default() };
    Ok(booted)
}

/// A first start as a member of a running cluster: an empty log, which the leader fills.
fn join(disk: &Arc<dyn Disk>, config: &Config, cluster: Cluster) -> Result<Booted, Error> {
    let initial = initial_members(config)?;
    own_member(&initial, config)?;
    let own = join::matched(&initial, &cluster, &config.name)?;
    let mut booted = new_files(disk, config, own.id, cluster.id)?;
    booted.remotes = cluster.members;
    Ok(booted)
}

fn own_member<'a>(initial: &'a [store::Member], config: &Config) -> Result<&'a store::Member, Error> {
    initial.iter().find(|m| m.name == config.name).ok_or_else(|| {
        Error::Config(format!(
            "couldn't find local name {:?} in the initial cluster configuration",
            config.name
        ))
    })
}

/// An empty store and an empty log.
fn new_files(
    disk: &Arc<dyn Disk>,
    config: &Config,
    member_id: u64,
    cluster_id: u64,
) -> Result<Booted, Error> {
    let (backend, took_backend) = timed(|| open_backend(disk, config))?;
    let (mut store, took_store) = timed(|| open_store(backend, config, member_id, cluster_id))?;
    store.commit()?;
    let metadata = codec::encode_metadata(MemberId(member_id), cluster_id);
    let wal = Wal::create(disk.clone(), &config.wal_path(), &metadata, wal::Options::default())?;
    let took = Took { backend: took_backend, store: took_store, ..Took::default() };
    Ok(Booted {
        member_id,
        cluster_id,
        wal,
        store,
        restored: Restored::default(),
        snapshot_index: Index(0),
        was_initialized: false,
        has_v2_requests: false,
        remotes: Vec::new(),
        took,
    })
}

/// `name=url[,name=url]` as members with their ids, by id.
pub fn initial_members(config: &Config) -> Result<Vec<store::Member>, Error> {
    let mut members: Vec<store::Member> = Vec::new();
    for pair in config.initial_cluster.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, url) =
            pair.split_once('=').filter(|(name, url)| !name.is_empty() && !url.is_empty()).ok_or_else(
                || Error::Config(format!("error setting up initial cluster: malformed pair {pair:?}")),
            )?;
        if members.iter().any(|m| m.peer_urls.iter().any(|u| u == url)) {
            return Err(Error::Config("duplicate URL in the initial cluster configuration".into()));
        }
        match members.iter_mut().find(|m| m.name == name) {
            Some(member) => member.peer_urls.push(url.to_owned()),
            None => members.push(store::Member {
                name: name.to_owned(),
                peer_urls: vec![url.to_owned()],
                ..Default::default()
            }),
        }
    }
    for member in &mut members {
        member.peer_urls.sort();
        member.id = member_id(&member.peer_urls, &config.initial_cluster_token, None);
    }
    members.sort_by_key(|m| m.id);
    Ok(members)
}

/// The initial members, of which the one that the log belongs to must be one.
fn initial_members_with(config: &Config, member_id: u64) -> Result<Vec<store::Member>, Error> {
    let initial = initial_members(config)?;
    if initial.iter().any(|member| member.id == member_id) {
        return Ok(initial);
    }
    Err(Error::Unseeded(member_id))
}

fn check_advertised(config: &Config, own: &store::Member) -> Result<(), Error> {
    let mut advertised: Vec<String> = config.advertise_peer_urls.iter().map(ToString::to_string).collect();
    advertised.sort();
    if join::same_urls(&advertised, &own.peer_urls) {
        return Ok(());
    }
    Err(Error::Config(format!(
        "--initial-cluster has {}={} but missing from --initial-advertise-peer-urls={}",
        own.name,
        own.peer_urls.join(","),
        advertised.join(",")
    )))
}

/// Formats 5.9. `urls` must be sorted.
pub fn member_id(urls: &[String], token: &str, unix_seconds: Option<u64>) -> u64 {
    let mut hash = Sha1::new();
    for url in urls {
        hash.update(url);
    }
    hash.update(token);
    if let Some(seconds) = unix_seconds {
        hash.update(seconds.to_string());
    }
    first_eight(&hash.finalize())
}

/// Formats 5.9. `members` must be sorted by id.
fn cluster_id(members: &[store::Member]) -> u64 {
    let mut hash = Sha1::new();
    for member in members {
        hash.update(member.id.to_be_bytes());
    }
    first_eight(&hash.finalize())
}

fn first_eight(sum: &[u8]) -> u64 {
    sum.iter().take(8).fold(0, |acc, byte| acc << 8 | u64::from(*byte))
}

/// The wall clock in seconds.
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// Makes the first entries durable; with them they are committed (formats 6.6 b).
fn seed(wal: &mut Wal, initial: &[store::Member]) -> Result<(HardState, Vec<Entry>), Error> {
    let entries = seed_entries(initial);
    let commit = Index(entries.len() as u64);
    let hard_state = HardState { term: Term(1), vote: MemberId::NONE, commit };
    wal.append(Some(&hard_state), &entries)?;
    wal.sync()?;
    Ok((hard_state, entries))
}

/// Entries 1..n of term 1 that add the initial members: identical on all of them (formats 6.6 b).
fn seed_entries(members: &[store::Member]) -> Vec<Entry> {
    let entry = |(at, member): (usize, &store::Member)| {
        let change = ::raft::ConfChange {
            id: 0,
            kind: ::raft::ConfChangeKind::AddNode,
            node_id: MemberId(member.id),
            context: member.to_json().into(),
        };
        Entry {
            term: Term(1),
            index: Index(at as u64 + 1),
            kind: EntryKind::ConfChange,
            data: codec::encode_conf_change(&change),
        }
    };
    members.iter().enumerate().map(entry).collect()
}

/// A start from existing files. The log is read while the store is put together from the database.
fn restart(disk: &Arc<dyn Disk>, config: &Config) -> Result<Booted, Error> {
    let metadata = wal::metadata(disk.as_ref(), &config.wal_path())?;
    let (member_id, cluster_id) = codec::decode_metadata(&metadata)
        .map(|(member, cluster)| (member.0, cluster))
        .map_err(|error| Error::Damaged(format!("failed to decode the metadata of the log: {error}")))?;
    let (backend, took_backend) = timed(|| open_backend_in_shape(disk, config))?;
    let consistent = consistent_index(&backend)?;
    let store_of = |backend| timed(|| open_store(backend, config, member_id, cluster_id));
    let read_log = || timed(|| Log::open(disk, config));
    let (log, store) = std::thread::scope(|scope| {
        let log = std::thread::Builder::new().name("log".into()).spawn_scoped(scope, read_log);
        let store = store_of(backend);
        let log = match log {
            Ok(log) => log.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(_) => read_log(),
        };
        (log, store)
    });
    let (Log { records, newest, mut wal, replay }, took_log) = log?;
    let (mut store, took_store) = if consistent >= newest.index {
        store?
    } else {
        // Whatever came of a database that the one received from a leader is to replace.
        drop(store);
        take_received_db(disk, config, consistent, newest.index)?;
        store_of(open_backend_in_shape(disk, config)?)?
    };
    let seeded = old::seed_from_v2(disk.as_ref(), config, &mut store, &records, &replay.entries)?;
    let mut entries = replay.entries;
    let mut hard_state = replay.hard_state;
    let is_empty = entries.is_empty() && hard_state == HardState::default() && newest.index == Index(0);
    if is_empty && config.initial_cluster_state == ClusterState::New {
        // The first start ended between creating the log and seeding it; who joined waits for the leader.
        (hard_state, entries) = seed(&mut wal, &initial_members_with(config, member_id)?)?;
    }
    if seeded {
        old::roll_forward(&mut store, &entries)?;
    }
    // The commit index alone is not synced: what is applied was committed.
    hard_state.commit = hard_state.commit.max(Index(store.consistent_index())).max(newest.index);
    if config.force_new_cluster {
        force_new_cluster(&mut wal, &store, &mut hard_state, &mut entries, member_id)?;
    }
    let has_v2_requests = entries.iter().any(old::is_v2_request);
    let applied = newest.index.max(Index(store.consistent_index()));
    let restored = Restored {
        hard_state,
        conf_state: conf_state(&store),
        snapshot_index: newest.index,
        snapshot_term: newest.term,
        entries,
        applied,
    };
    Ok(Booted {
        member_id,
        cluster_id,
        wal,
        store,
        restored,
        snapshot_index: newest.index,
        was_initialized: true,
        has_v2_requests,
        remotes: Vec::new(),
        took: Took { backend: took_backend, log: took_log, store: took_store },
    })
}

fn timed<T, E>(work: impl FnOnce() -> Result<T, E>) -> Result<(T, Duration), E> {
    let start = Instant::now();
    Ok((work()?, start.elapsed()))
}

/// What a member's log says.
struct Log {
    records: Vec<wal::SnapshotRecord>,
    newest: wal::SnapshotRecord,
    wal: Wal,
    replay: wal::Replay,
}

impl Log {
    fn open(disk: &Arc<dyn Disk>, config: &Config) -> Result<Log, Error> {
        let dir = config.wal_path();
        let records = wal::snapshot_records(disk.as_ref(), &dir)?;
        let newest = records.last().cloned().unwrap_or_default();
        let (wal, replay) = Wal::open(disk.clone(), &dir, &newest, wal::Options::default())?;
        Ok(Log { records, newest, wal, replay })
    }
}

/// The last entry that the database includes.
fn consistent_index(backend: &Backend) -> Result<Index, Error> {
    let stored = backend.get(Bucket::Meta, schema::meta::CONSISTENT_INDEX)?;
    let index = stored.and_then(|v| <[u8; 8]>::try_from(&v[..]).ok()).map_or(0, u64::from_be_bytes);
    Ok(Index(index))
}

/// A database must include the snapshot: if it lags, one received from a leader is waiting beside it.
fn take_received_db(
    disk: &Arc<dyn Disk>,
    config: &Config,
    consistent: Index,
    snapshot: Index,
) -> Result<(), Error> {
    let received = config.snap_path().join(wal::snap::received_db_name(snapshot));
    if !disk.exists(&received) {
        return Err(Error::Damaged(
            "failed to recover v3 backend from snapshot: failed to find database snapshot file (snap: snapshot file doesn't exist)".into(),
        ));
    }
    log::info!(
        "Recovering from snapshot backend",
        "consistent-index" = consistent.0,
        "snapshot-index" = snapshot.0
    );
    let shown = |error| Error::Disk(format!("cannot rename {}", received.display()), error);
    disk.rename(&received, &config.db_path()).map_err(shown)?;
    disk.sync_dir(&config.snap_path()).map_err(shown)
}

/// The store's membership in raft's words.
pub(crate) fn conf_state(store: &Store) -> ConfState {
    let state = store.members().conf_state();
    let ids = |list: Vec<u64>| list.into_iter().map(MemberId).collect();
    ConfState { voters: ids(state.voters), learners: ids(state.learners), ..ConfState::default() }
}

/// `--force-new-cluster`: what is not committed is dropped, and the log ends with the removal of everybody else
/// (formats 6.6 f).
fn force_new_cluster(
    wal: &mut Wal,
    store: &Store,
    hard_state: &mut HardState,
    entries: &mut Vec<Entry>,
    member_id: u64,
) -> Result<(), Error> {
    let before = entries.len();
    entries.retain(|entry| entry.index <= hard_state.commit);
    log::info!(
        "discarding uncommitted WAL entries",
        "number-of-discarded-wal-entries" = before - entries.len()
    );
    let mut members: std::collections::BTreeSet<u64> = store.members().list.keys().copied().collect();
    for entry in entries.iter().filter(|e| e.kind == EntryKind::ConfChange) {
        if entry.index.0 > store.consistent_index()
            && let Ok(change) = codec::decode_conf_change(entry.data.clone())
        {
            match change.kind {
                ::raft::ConfChangeKind::RemoveNode => members.remove(&change.node_id.0),
                ::raft::ConfChangeKind::UpdateNode => false,
                _ => members.insert(change.node_id.0),
            };
        }
    }
    let mut changes = Vec::new();
    if !members.contains(&member_id) {
        let own = store::Member {
            id: member_id,
            peer_urls: vec!["http://localhost:2380".into()],
            ..Default::default()
        };
        changes.push((::raft::ConfChangeKind::AddNode, member_id, own.to_json()));
    }
    changes.extend(
        members
            .iter()
            .filter(|id| **id != member_id)
            .map(|id| (::raft::ConfChangeKind::RemoveNode, *id, Vec::new())),
    );
    let mut forced = Vec::new();
    for (kind, node, context) in changes {
        let index = Index(hard_state.commit.0 + forced.len() as u64 + 1);
        let change = ::raft::ConfChange { id: 0, kind, node_id: MemberId(node), context: context.into() };
        let data = codec::encode_conf_change(&change);
        forced.push(Entry { term: hard_state.term, index, kind: EntryKind::ConfChange, data });
    }
    wal.append(None, &forced)?;
    wal.sync()?;
    hard_state.commit = Index(hard_state.commit.0 + forced.len() as u64);
    entries.extend(forced);
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use bytes::Bytes;
    use prost::Message as _;
    use proto::raftpb;

    use super::*;

    fn config(cluster: &str, token: &str) -> Config {
        Config { initial_cluster: cluster.into(), initial_cluster_token: token.into(), ..Config::default() }
    }

    #[test]
    fn ids_are_those_etcd_computes() {
        let members = initial_members(&config("default=http://localhost:2380", "etcd-cluster")).unwrap();
        assert_eq!(format!("{:x}", members[0].id), "8e9e05c52164694d");
        assert_eq!(format!("{:x}", cluster_id(&members)), "cdf818194e3a8c32");
        let three = "a=http://127.0.0.1:61112,b=http://127.0.0.1:61122,c=http://127.0.0.1:61132";
        let members = initial_members(&config(three, "tok")).unwrap();
        let ids: Vec<String> = members.iter().map(|m| format!("{:x}", m.id)).collect();
        assert_eq!(ids, ["23c1e410bf81210", "60243695b11bcea4", "efc313178f6b4a85"]);
        assert_eq!(format!("{:x}", cluster_id(&members)), "5b69c23afe278758");
        let added = member_id(&["http://127.0.0.1:61999".into()], "", Some(1_795_311_160));
        assert_eq!(format!("{added:x}"), "f5cd627e05132a6d");
    }

    pub fn fresh() -> Config {
        Config {
            data_dir: "/var/lib/etcd".into(),
            advertise_peer_urls: vec![crate::config::Url::plain("localhost", 2380)],
            ..config("default=http://localhost:2380", "etcd-cluster")
        }
    }

    pub fn start(disk: &disk::MemDisk) -> Booted {
        boot(&(Arc::new(disk.clone()) as Arc<dyn Disk>), &fresh(), None).unwrap()
    }

    #[test]
    fn a_member_may_advertise_the_address_of_its_name() {
        let boot_at = |host: &str| {
            let advertise_peer_urls = vec![crate::config::Url::plain(host, 2380)];
            let disk = Arc::new(disk::MemDisk::new(0)) as Arc<dyn Disk>;
            boot(&disk, &Config { advertise_peer_urls, ..fresh() }, None)
        };
        boot_at("127.0.0.1").unwrap();
        let refused = boot_at("127.0.0.2").err().unwrap().to_string();
        assert!(
            refused.contains("missing from --initial-advertise-peer-urls=http://127.0.0.2:2380"),
            "{refused}"
        );
    }

    #[test]
    fn a_log_is_not_lost_with_the_directories_above_it() {
        for seed in 0..50 {
            let disk = disk::MemDisk::new(seed);
            drop(start(&disk));
            assert!(Wal::exists(&disk.crash(seed), &fresh().wal_path()), "seed {seed}");
        }
    }

    #[test]
    fn a_first_start_cut_off_at_any_write_or_sync_is_made_up_for() {
        let mut op = 0;
        loop {
            op += 1;
            let disk = disk::MemDisk::new(op);
            disk.crash_at_op(op);
            if boot(&(Arc::new(disk.clone()) as Arc<dyn Disk>), &fresh(), None).is_ok() {
                break;
            }
            let again = start(&disk.crash(op));
            assert!(!again.restored.entries.is_empty(), "cut off at change {op}: nobody can be elected");
        }
        assert!(op > 10, "only {op} changes");
    }

    /// The bytes of a file, and a file of these bytes.
    fn file_bytes(disk: &dyn Disk, path: &Path) -> Vec<u8> {
        let file = disk.open(path, Open::read()).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    fn put_file(disk: &dyn Disk, path: &Path, bytes: &[u8]) {
        disk.open(path, Open::truncate(0o600)).unwrap().write_at(bytes, 0).unwrap();
    }

    #[test]
    fn a_database_behind_the_snapshot_is_replaced_by_the_one_that_waits_beside_it() {
        let disk = disk::MemDisk::new(0);
        let (config, Booted { mut wal, mut store, restored, member_id, .. }) = (fresh(), start(&disk));
        let change = raftpb::ConfChange::decode(restored.entries[0].data.clone()).unwrap();
        store.apply_conf_change(1, 1, &change);
        let mut apply = |index: u64| {
            store.apply(store::Entry { index, term: 1, data: &Bytes::new() }, true);
            store.commit().unwrap();
            file_bytes(&disk, &config.db_path())
        };
        let (old, new) = (apply(2), apply(5));
        drop(store);
        let entry = |index| Entry {
            term: Term(1),
            index: Index(index),
            kind: EntryKind::Normal,
            data: bytes::Bytes::new(),
        };
        let state = HardState { term: Term(1), vote: MemberId::NONE, commit: Index(5) };
        wal.append(Some(&state), &(2..=5).map(entry).collect::<Vec<_>>()).unwrap();
        let conf_state = Some(ConfState { voters: vec![MemberId(member_id)], ..ConfState::default() });
        let snapshot = wal::SnapshotRecord { index: Index(5), term: Term(1), conf_state };
        wal.save_snapshot(&snapshot).unwrap();
        wal.close().unwrap();

        let received = config.snap_path().join(wal::snap::received_db_name(Index(5)));
        put_file(&disk, &config.db_path(), &old);
        let refused =
            boot(&(Arc::new(disk.clone()) as Arc<dyn Disk>), &config, None).err().unwrap().to_string();
        assert!(refused.contains("failed to find database snapshot file"), "{refused}");
        for _ in 0..2 {
            put_file(&disk, &received, &new);
            assert_eq!(start(&disk).store.consistent_index(), 5);
            assert!(!disk.exists(&received));
            // Once more with one that no store can be made of.
            put_file(&disk, &config.db_path(), &old);
            let shared = Arc::new(disk.clone()) as Arc<dyn Disk>;
            let mut backend = open_backend(&shared, &config).unwrap();
            let version = Bytes::from_static(b"9.9.0");
            backend.put(Bucket::Meta, Bytes::from_static(schema::meta::STORAGE_VERSION), version);
            backend.commit().unwrap();
            open_store(backend, &config, member_id, 1).err().unwrap();
        }
    }
}
