//! What a start and an end tell the log, in etcd's words.

use std::time::{Duration, Instant};

use ::raft::ConfChangeKind;

use crate::bootstrap::{self, Booted, Took};
use crate::config::{AutoCompaction, BCRYPT_COST, BCRYPT_COSTS, ClusterState, Config, Discovery};
use crate::log;

/// An id as etcd shows it.
pub fn hex(id: u64) -> String {
    format!("{id:x}")
}

/// Requests above this may hurt everybody else.
const RECOMMENDED_REQUEST_BYTES: u64 = 10 << 20;

/// The program was called.
pub fn called(config: &Config) {
    let kind = if config.member_dir().exists() { "member" } else { "empty" };
    let text = match kind {
        "member" => "server has already been initialized",
        _ => "Initialize and start etcd server",
    };
    log::info!(text, "data-dir" = &config.data_dir, "dir-type" = kind);
}

/// The ports are bound; files come next.
pub fn starting(config: &Config, was_initialized: bool) {
    let state = match config.initial_cluster_state {
        ClusterState::New => "new",
        ClusterState::Existing => "existing",
    };
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let retention = retention(config);
    let registry = &config.discovery;
    log::info!(
        "starting an etcd server",
        "etcd-version" = bootstrap::announced_version(config),
        "git-sha" = crate::config::GIT_SHA,
        "go-version" = crate::config::GO_VERSION,
        "go-os" = std::env::consts::OS,
        "go-arch" = crate::config::go_arch(),
        "max-cpu-set" = cpus,
        "max-cpu-available" = cpus,
        "member-initialized" = was_initialized,
        "name" = &config.name,
        "data-dir" = &config.data_dir,
        "wal-dir" = &config.wal_dir,
        "wal-dir-dedicated" = &config.wal_dir,
        "member-dir" = log::Value::text(config.member_dir().display()),
        "force-new-cluster" = config.force_new_cluster,
        "heartbeat-interval" = config.tick(),
        "election-timeout" = Duration::from_millis(config.election_ms),
        "initial-election-tick-advance" = config.initial_election_tick_advance,
        "snapshot-count" = config.snapshot_count,
        "max-wals" = config.max_wals,
        "max-snapshots" = config.max_snapshots,
        "snapshot-catchup-entries" = config.snapshot_catchup_entries,
        "initial-advertise-peer-urls" = &config.advertise_peer_urls,
        "listen-peer-urls" = &config.listen_peer_urls,
        "advertise-client-urls" = &config.advertise_client_urls,
        "listen-client-urls" = &config.listen_client_urls,
        "listen-metrics-urls" = &config.listen_metrics_urls,
        "local-address" = "",
        "cors" = &config.cors,
        "host-whitelist" = &config.host_whitelist,
        "initial-cluster" = if was_initialized { "" } else { config.initial_cluster.as_str() },
        "initial-cluster-state" = state,
        "initial-cluster-token" = &config.initial_cluster_token,
        "quota-backend-bytes" = config.quota_backend_bytes,
        "max-request-bytes" = config.max_request_bytes,
        "max-concurrent-streams" = config.max_concurrent_streams,
        "pre-vote" = config.pre_vote,
        "feature-gates" = config.features.to_string(),
        "initial-corrupt-check" = config.features.initial_corrupt_check,
        "corrupt-check-time-interval" = config.corrupt_check_time,
        "compact-check-time-interval" = config.compact_hash_check_time,
        "auto-compaction-mode" = &config.auto_compaction_mode,
        "auto-compaction-retention" = retention,
        "auto-compaction-interval" = retention,
        "discovery-token" = &registry.token,
        "discovery-endpoints" = registry.endpoints.join(","),
        "discovery-dial-timeout" = registry.dial_timeout,
        "discovery-request-timeout" = registry.request_timeout,
        "discovery-keepalive-time" = registry.keepalive_time,
        "discovery-keepalive-timeout" = registry.keepalive_timeout,
        "discovery-insecure-transport" = registry.insecure_transport,
        "discovery-insecure-skip-tls-verify" = registry.insecure_skip_tls_verify,
        "discovery-cert" = &registry.cert,
        "discovery-key" = &registry.key,
        "discovery-cacert" = &registry.cacert,
        // A password may come with it.
        "discovery-user" = registry.user.split(':').next().unwrap_or_default(),
        "downgrade-check-interval" = config.downgrade_check_time,
        "max-learners" = config.max_learners,
        "v2-deprecation" = "write-only"
    );
    if config.max_request_bytes > RECOMMENDED_REQUEST_BYTES {
        log::warning!(
            "exceeded recommended request limit",
            "max-request-bytes" = config.max_request_bytes,
            "max-request-size" = log::size(config.max_request_bytes),
            "recommended-request-bytes" = RECOMMENDED_REQUEST_BYTES,
            "recommended-request-size" = log::size(RECOMMENDED_REQUEST_BYTES)
        );
    }
}

/// The member could not start. The last line of its log, whatever it was that failed, is etcd's.
pub fn failed(error: &(dyn std::error::Error + 'static), registry: &Discovery) {
    if !matches!(error.downcast_ref(), Some(bootstrap::Error::Discovery(_))) {
        log::fatal!("discovery failed", "error" = error.to_string());
    }
    log::warning!(
        "failed to bootstrap; discovery token was already used",
        "discovery-token" = &registry.token,
        "discovery-endpoints" = &registry.endpoints,
        "error" = error.to_string()
    );
    log::warning!("do not reuse discovery token; generate a new one to bootstrap a cluster");
}

/// How old history becomes; a number of revisions counts as so many nanoseconds, as in etcd.
fn retention(config: &Config) -> Duration {
    match config.auto_compaction() {
        Ok(AutoCompaction::Periodic(age)) => age,
        Ok(AutoCompaction::Revision(count)) => Duration::from_nanos(count.unsigned_abs()),
        Ok(AutoCompaction::Off) | Err(_) => Duration::ZERO,
    }
}

/// When a start began and what it took until the files were open.
pub struct Start {
    /// When the files were about to be opened.
    pub begun: Instant,
    /// Until all were.
    pub opened: Duration,
    /// Of that, the parts that grow with the data.
    pub took: Took,
}

/// Clients can be served: what took how long.
pub fn ready(start: &Start) {
    let took = start.begun.elapsed();
    log::info!(
        "took to become ready",
        "took" = took,
        "opening-db" = start.took.backend,
        "reading-wal" = start.took.log,
        "restoring-store" = start.took.store,
        "other-files" =
            start.opened.saturating_sub(start.took.backend + start.took.log.max(start.took.store)),
        "replaying-and-joining" = took.saturating_sub(start.opened)
    );
}

/// The files are open.
pub fn booted(config: &Config, booted: &Booted) {
    let (member, cluster) = (hex(booted.member_id), hex(booted.cluster_id));
    let store = booted.store.reader();
    log::info!(
        "opened backend db",
        "path" = log::Value::text(config.db_path().display()),
        "took" = booted.took.backend
    );
    if booted.was_initialized {
        log::info!(
            "recovered v3 backend",
            "backend-size-bytes" = store.size_bytes(),
            "backend-size" = log::size(store.size_bytes()),
            "backend-size-in-use-bytes" = store.size_in_use_bytes(),
            "backend-size-in-use" = log::size(store.size_in_use_bytes())
        );
    }
    log::info!("restore consistentIndex", "index" = store.applied_index());
    if booted.was_initialized {
        log::info!(
            "restarting local member",
            "cluster-id" = cluster.clone(),
            "local-member-id" = member.clone(),
            "commit-index" = booted.restored.hard_state.commit.0
        );
    } else {
        log::info!(
            "starting local member",
            "local-member-id" = member.clone(),
            "cluster-id" = cluster.clone()
        );
    }
    for part in ["bootstrapping cluster", "bootstrapping storage", "bootstrapping raft"] {
        log::info!(part);
    }
    log::info!("bootstrap successfully");
    auth(config);
    if store.compact_revision() >= 0 {
        log::info!(
            "restored last compact revision",
            "meta-bucket-name-key" = "finishedCompactRev",
            "restored-compact-revision" = store.compact_revision()
        );
    }
    log::info!("kvstore restored", "current-rev" = store.revision());
    quota(config, store.quota_bytes());
    let members = store.members();
    for known in members.list.values() {
        log::info!(
            "recovered/added member from store",
            "cluster-id" = cluster.clone(),
            "local-member-id" = member.clone(),
            "recovered-remote-peer-id" = hex(known.id),
            "recovered-remote-peer-urls" = &known.peer_urls,
            "recovered-remote-peer-is-learner" = known.is_learner
        );
    }
    let version = bootstrap::announced_version(config);
    match members.cluster_version {
        Some(agreed) => {
            log::info!("enabled capabilities for version", "cluster-version" = agreed.short());
            log::info!("set cluster version from store", "cluster-version" = agreed.short());
            log::info!(
                "starting etcd server",
                "local-member-id" = member,
                "local-server-version" = version,
                "cluster-id" = cluster,
                "cluster-version" = agreed.short()
            );
        }
        None => log::info!(
            "starting etcd server",
            "local-member-id" = member,
            "local-server-version" = version,
            "cluster-version" = "to_be_decided"
        ),
    }
}

fn quota(config: &Config, bytes: Option<u64>) {
    let name = "v3-applier";
    match bytes {
        None => log::info!(
            "disabled backend quota",
            "quota-name" = name,
            "quota-size-bytes" = config.quota_backend_bytes
        ),
        Some(bytes) => {
            let (text, size) = match config.quota_backend_bytes {
                0 => ("enabled backend quota with default value", log::size(bytes)),
                _ => ("enabled backend quota", log::size(bytes)),
            };
            log::info!(text, "quota-name" = name, "quota-size-bytes" = bytes, "quota-size" = size);
        }
    }
}

fn auth(config: &Config) {
    if !BCRYPT_COSTS.contains(&config.bcrypt_cost) {
        log::warning!(
            "use default bcrypt cost instead of the invalid given cost",
            "min-cost" = *BCRYPT_COSTS.start(),
            "max-cost" = *BCRYPT_COSTS.end(),
            "default-cost" = BCRYPT_COST,
            "given-cost" = config.bcrypt_cost
        );
    }
    if config.auth_token.starts_with("simple") {
        log::warning!("simple token is not cryptographically signed");
    }
}

/// A lone voter need not wait for a leader.
pub fn fast_forwarded(config: &Config, member_id: u64, ticks: u32) {
    log::info!(
        "started as single-node; fast-forwarding election ticks",
        "local-member-id" = hex(member_id),
        "forward-ticks" = ticks,
        "forward-duration" = config.tick() * ticks,
        "election-ticks" = config.election_ticks(),
        "election-timeout" = Duration::from_millis(config.election_ms)
    );
}

/// Old files will be removed.
pub fn purging(config: &Config, interval: Duration) {
    let places =
        [("snap", config.snap_path(), config.max_snapshots), ("wal", config.wal_path(), config.max_wals)];
    for (suffix, dir, keep) in places.into_iter().filter(|(.., keep)| *keep > 0) {
        log::info!(
            "started to purge file",
            "dir" = log::Value::text(dir.display()),
            "suffix" = suffix,
            "max" = keep,
            "interval" = interval
        );
    }
}

/// The membership was changed.
pub fn conf_changed(member_id: u64, kind: ConfChangeKind, node: u64) {
    let kind = match kind {
        ConfChangeKind::AddNode => "ConfChangeAddNode",
        ConfChangeKind::RemoveNode => "ConfChangeRemoveNode",
        ConfChangeKind::UpdateNode => "ConfChangeUpdateNode",
        ConfChangeKind::AddLearnerNode => "ConfChangeAddLearnerNode",
    };
    log::info!(
        "applied a configuration change through raft",
        "local-member-id" = hex(member_id),
        "raft-conf-change" = kind,
        "raft-conf-change-node-id" = hex(node)
    );
}

/// The member, or a start of it that failed, begins to go down.
pub fn closing(config: &Config) {
    log::info!(
        "closing etcd server",
        "name" = &config.name,
        "data-dir" = &config.data_dir,
        "advertise-peer-urls" = &config.advertise_peer_urls,
        "advertise-client-urls" = &config.advertise_client_urls
    );
}

/// It is down.
pub fn closed(config: &Config) {
    log::info!(
        "closed etcd server",
        "name" = &config.name,
        "data-dir" = &config.data_dir,
        "advertise-peer-urls" = &config.advertise_peer_urls,
        "advertise-client-urls" = &config.advertise_client_urls
    );
}
