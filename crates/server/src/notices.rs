//! What a start and an end tell the log, in etcd's words.

use std::time::SystemTime;

use crate::bootstrap::{self, Booted};
use crate::config::{BCRYPT_COST, BCRYPT_COSTS, Config};
use crate::log;

/// An id as etcd shows it.
pub fn hex(id: u64) -> String {
    format!("{id:x}")
}

/// The files are open.
pub fn booted(config: &Config, booted: &Booted, start: SystemTime) {
    log::info!(
        "starting an etcd server",
        "etcd-version" = bootstrap::announced_version(config),
        "member-initialized" = booted.was_initialized,
        "name" = config.name.clone(),
        "data-dir" = config.data_dir.clone(),
        "wal-dir" = config.wal_dir.clone(),
        "member-dir" = log::Value::text(config.member_dir().display()),
        "force-new-cluster" = config.force_new_cluster,
        "heartbeat-interval" = config.tick(),
        "snapshot-count" = config.snapshot_count
    );
    log::info!(
        "opened backend db",
        "path" = log::Value::text(config.db_path().display()),
        "took" = start.elapsed().unwrap_or_default()
    );
    auth(config);
    log::info!(
        "starting etcd server",
        "local-member-id" = hex(booted.member_id),
        "local-server-version" = bootstrap::announced_version(config),
        "cluster-id" = hex(booted.cluster_id)
    );
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
    log::warning!("simple token is not cryptographically signed");
}

/// The member begins to go down.
pub fn closing(config: &Config) {
    log::info!(
        "closing etcd server",
        "name" = config.name.clone(),
        "data-dir" = config.data_dir.clone(),
        "advertise-peer-urls" = log::Value::list(&config.advertise_peer_urls),
        "advertise-client-urls" = log::Value::list(&config.advertise_client_urls)
    );
}

/// The member is down.
pub fn closed(config: &Config) {
    log::info!(
        "closed etcd server",
        "name" = config.name.clone(),
        "data-dir" = config.data_dir.clone(),
        "advertise-peer-urls" = log::Value::list(&config.advertise_peer_urls),
        "advertise-client-urls" = log::Value::list(&config.advertise_client_urls)
    );
}
