//! Cluster version, storage version and downgrades: what the leader proposes, and what each member brings its file to.
//! Formats 8.1 to 8.3.

use std::sync::Arc;
use std::time::Duration;

use proto::membershippb as pb;
use store::{Members, Version};

use crate::member::{Field, Member};
use crate::notices::hex;
use crate::peer::ask;
use crate::{bootstrap, log};

/// How often versions are compared.
const INTERVAL: Duration = Duration::from_secs(4);

/// Watches versions until the member stops.
pub async fn run(member: Arc<Member>) {
    let mut leader_starts = member.applied.leader_starts();
    let mut cluster_versions = member.applied.cluster_versions();
    let mut known = member.store.members().cluster_version;
    let mut downgrade_checks =
        tokio::time::interval(member.config.downgrade_check_time.max(Duration::from_millis(1)));
    loop {
        if member.leadership.leads() {
            decide(&member).await;
        }
        let version = *cluster_versions.borrow_and_update();
        told(&member, &mut known, version);
        migrate(&member).await;
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            _ = leader_starts.changed() => {}
            _ = cluster_versions.changed() => {}
            _ = downgrade_checks.tick() => finish_downgrade(&member).await,
            () = member.stopping() => return,
        }
    }
}

/// The cluster agreed on a version: a first one, or another than was `known`.
fn told(member: &Member, known: &mut Option<Version>, version: Option<Version>) {
    let Some(version) = version.filter(|_| version != *known) else { return };
    let (cluster_id, id) = (hex(member.cluster_id), hex(member.id));
    match known.replace(version) {
        None => log::info!(
            "set initial cluster version",
            "cluster-id" = cluster_id,
            "local-member-id" = id,
            "cluster-version" = version.short()
        ),
        Some(from) => log::info!(
            "updated cluster version",
            "cluster-id" = cluster_id,
            "local-member-id" = id,
            "from" = from.short(),
            "to" = version.short()
        ),
    }
    log::info!("enabled capabilities for version", "cluster-version" = version.short());
    log::info!("cluster version is updated", "cluster-version" = version.short());
}

/// Lowest server version of all members, `None` while one has not said.
async fn lowest_server(member: &Member, members: &Members) -> Option<Version> {
    let all = server_versions(member, members).await;
    all.into_iter().collect::<Option<Vec<_>>>()?.into_iter().min()
}

/// The version of the program that each member runs, this one's first; `None` for who has not said.
async fn server_versions(member: &Member, members: &Members) -> Vec<Option<Version>> {
    let own = bootstrap::own_version(&member.config);
    let others = members.list.values().filter(|other| other.id != member.id);
    let asked: Vec<_> = others.map(|other| server_version(member, other)).collect();
    let told = futures_util::future::join_all(asked).await;
    std::iter::once(Some(own)).chain(told).collect()
}

/// The version of the program that another member runs.
async fn server_version(member: &Member, other: &store::Member) -> Option<Version> {
    match ask::versions(member.peers.dialer(), &other.peer_urls, member.request_timeout).await {
        Ok(versions) => Version::parse(&versions.server),
        Err(error) => {
            log::warning!(
                "failed to get version",
                "remote-member-id" = hex(other.id),
                "error" = error.to_string()
            );
            None
        }
    }
}

/// What the leader should propose as cluster version, if anything.
fn wanted(members: &Members, lowest: Option<Version>) -> Option<Version> {
    let Some(cluster) = members.cluster_version else { return Some(lowest.unwrap_or(Version::V3_0)) };
    if members.downgrade.enabled {
        let target = Version::parse(&members.downgrade.target_version)?;
        let one_below = target.major == cluster.major && target.minor + 1 == cluster.minor;
        return one_below.then_some(target);
    }
    lowest.filter(|lowest| *lowest > cluster)
}

async fn decide(member: &Member) {
    let members = member.store.members();
    let Some(version) = wanted(&members, lowest_server(member, &members).await) else { return };
    match members.cluster_version {
        None => {
            log::info!("setting up initial cluster version using v3 API", "cluster-version" = version.short())
        }
        Some(from) => {
            log::info!("updating cluster version using v3 API", "from" = from.short(), "to" = version.short())
        }
    }
    let request = pb::ClusterVersionSetRequest { ver: version.to_string() };
    if let Err(status) = member.propose(&Default::default(), Field::ClusterVersionSet, &request).await {
        log::warning!("failed to update cluster version", "error" = status.message.as_ref());
    }
}

/// Brings the mark of the file's schema to the cluster version.
async fn migrate(member: &Member) {
    let (cluster, storage) = (member.store.members().cluster_version, member.store.storage_version());
    // Nothing that needs more than 3.5 to be read ever enters the log.
    let done = member.with_store(|store| store.migrate_storage(Version::V3_5)).await;
    match done {
        Ok(Ok(Some(version))) => {
            log::info!(
                "cluster version differs from storage version.",
                "cluster-version" = shown(cluster),
                "storage-version" = shown(storage)
            );
            log::info!("updated storage version", "new-storage-version" = version.to_string());
        }
        Ok(Err(error)) => log::warning!("failed to update storage version", "error" = error.to_string()),
        Ok(Ok(None)) | Err(_) => {}
    }
}

fn shown(version: Option<Version>) -> String {
    version.map_or_else(String::new, |version| version.to_string())
}

/// The leader ends a downgrade once every member runs the lower version.
async fn finish_downgrade(member: &Member) {
    let members = member.store.members();
    let target = Version::parse(&members.downgrade.target_version);
    if !member.leadership.leads() || !members.downgrade.enabled {
        return;
    }
    if target.is_none() || server_versions(member, &members).await.iter().any(|version| *version != target) {
        return;
    }
    log::info!(
        "The server is ready to downgrade",
        "target-version" = members.downgrade.target_version.clone(),
        "server-version" = member.version
    );
    let request = pb::DowngradeInfoSetRequest { enabled: false, ver: String::new() };
    if member.propose(&Default::default(), Field::DowngradeInfoSet, &request).await.is_ok() {
        log::info!(
            "the cluster has been downgraded",
            "cluster-version" = members.downgrade.target_version.clone()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_version_rises_to_the_lowest_server_and_falls_only_by_one_on_a_downgrade() {
        let mut members = Members::default();
        assert_eq!(wanted(&members, None), Some(Version::V3_0));
        assert_eq!(wanted(&members, Some(Version::V3_7)), Some(Version::V3_7));
        members.cluster_version = Some(Version::V3_5);
        assert_eq!(wanted(&members, Some(Version::V3_7)), Some(Version::V3_7));
        assert_eq!(wanted(&members, None), None);
        members.cluster_version = Some(Version::V3_7);
        assert_eq!(wanted(&members, Some(Version::V3_6)), None);
        members.downgrade = store::Downgrade { target_version: "3.6.0".into(), enabled: true };
        assert_eq!(wanted(&members, Some(Version::V3_7)), Some(Version::V3_6));
        members.cluster_version = Some(Version::V3_6);
        assert_eq!(wanted(&members, Some(Version::V3_7)), None);
    }
}
