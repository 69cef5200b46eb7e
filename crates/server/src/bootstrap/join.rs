//! Looking around before a first start: the running cluster that a member joins, and whether a new member is one already.
//! Formats 6.6 b and c.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use disk::Disk;
use store::{Member, Version};
use wal::Wal;

use super::{Error, initial_members, own_version};
use crate::config::{ClusterState, Config};
use crate::log;
use crate::peer::ask::{self, Cluster};
use crate::peer::client::Dialer;

/// Longest wait for one member to tell of the cluster that is joined.
const CLUSTER_WAIT: Duration = Duration::from_secs(10);
/// The same for a new cluster, which usually is not there yet.
const NEW_CLUSTER_WAIT: Duration = Duration::from_secs(1);

/// Before a first start: the cluster that this member joins. A new cluster must not know this member yet.
///
/// # Errors
/// Nobody tells of the cluster, it differs from `--initial-cluster`, it has a version that this member cannot serve, or a
/// member that starts as new is part of it already.
pub async fn find(disk: &dyn Disk, config: &Config, dialer: &Dialer) -> Result<Option<Cluster>, Error> {
    if Wal::exists(disk, &config.wal_path()) {
        return Ok(None);
    }
    let local = initial_members(config)?;
    let others = other_urls(&local, &config.name);
    if config.initial_cluster_state == ClusterState::New {
        refuse_if_known(&local, &others, config, dialer).await?;
        return Ok(None);
    }
    if super::discovery::uses_registry(config) {
        let refused = "discovery URL should not be set when joining existing initial cluster";
        return Err(Error::Config(refused.into()));
    }
    let fits = |cluster: &Cluster| is_expected(&local, cluster, &config.name);
    let found = ask::cluster(dialer, &others, CLUSTER_WAIT, true, fits).await;
    let cluster =
        found.map_err(|error| Error::Config(format!("cannot fetch cluster info from peer urls: {error}")))?;
    let own = matched(&local, &cluster, &config.name)?;
    if !is_compatible(&cluster, own.id, config, dialer).await {
        return Err(Error::Config("incompatible with current running cluster".into()));
    }
    Ok(Some(cluster))
}

/// Peer URLs of all members but the one of this name, sorted.
pub(super) fn other_urls(members: &[Member], name: &str) -> Vec<String> {
    let mut urls: Vec<String> =
        members.iter().filter(|m| m.name != name).flat_map(|m| m.peer_urls.clone()).collect();
    urls.sort();
    urls
}

/// A cluster that has heard of this member's client URLs has heard its votes.
pub(super) async fn refuse_if_known(
    local: &[Member],
    others: &[String],
    config: &Config,
    dialer: &Dialer,
) -> Result<(), Error> {
    let Some(own) = local.iter().find(|m| m.name == config.name) else { return Ok(()) };
    let Ok(cluster) = ask::cluster(dialer, others, NEW_CLUSTER_WAIT, false, |_| true).await else {
        return Ok(());
    };
    let known = cluster.members.iter().any(|m| m.id == own.id && !m.client_urls.is_empty());
    match known {
        true => Err(Error::Config(format!("member {:x} has already been bootstrapped", own.id))),
        false => Ok(()),
    }
}

/// This member as the cluster knows it, if every member of the cluster is one of `--initial-cluster`.
pub fn matched(local: &[Member], cluster: &Cluster, name: &str) -> Result<Member, Error> {
    let refused =
        |why: String| Err(Error::Config(format!("error validating peerURLs {}: {why}", shown(cluster))));
    if cluster.members.len() != local.len() {
        return refused("member count is unequal".into());
    }
    let mut own = None;
    for member in &cluster.members {
        let Some(mine) = local.iter().find(|m| same_urls(&m.peer_urls, &member.peer_urls)) else {
            return refused(format!(
                "PeerURLs: no match found for existing member ({:x}, [{}])",
                member.id,
                member.peer_urls.join(" ")
            ));
        };
        if mine.name == name {
            own = Some(Member { name: name.to_owned(), ..member.clone() });
        }
    }
    match own {
        Some(own) => Ok(own),
        None => refused(format!("no member of the cluster has the peer URLs given for {name}")),
    }
}

/// The cluster waits for this member: it has been added, and was never there. A list that has it with client URLs may be of
/// the time of a member that was removed.
fn is_expected(local: &[Member], cluster: &Cluster, name: &str) -> bool {
    matched(local, cluster, name).is_ok_and(|own| own.client_urls.is_empty())
}

fn shown(cluster: &Cluster) -> String {
    let member = |m: &Member| format!("{:x}={}", m.id, m.peer_urls.join(","));
    let members: Vec<String> = cluster.members.iter().map(member).collect();
    format!("{{ClusterID:{:x} Members:[{}]}}", cluster.id, members.join(" "))
}

/// Equal as texts, or once their host names are resolved.
pub(super) fn same_urls(a: &[String], b: &[String]) -> bool {
    let sorted = |urls: &[String]| {
        let mut urls = urls.to_vec();
        urls.sort();
        urls
    };
    let resolved = |urls: &[String]| -> Option<Vec<(String, SocketAddr)>> {
        let mut all = Vec::new();
        for url in urls {
            let (scheme, host) = url.split_once("://")?;
            all.push((scheme.to_owned(), host.to_socket_addrs().ok()?.min()?));
        }
        all.sort();
        Some(all)
    };
    sorted(a) == sorted(b) || a.len() == b.len() && resolved(a).is_some_and(|a| resolved(b) == Some(a))
}

/// At least one member tells a cluster version, and none tells one that this member cannot serve.
async fn is_compatible(cluster: &Cluster, own_id: u64, config: &Config, dialer: &Dialer) -> bool {
    let within = config.request_timeout();
    let (mut lowest, mut highest) = (Version::V3_0, own_version(config));
    if downgrading(cluster, own_id, dialer, within).await {
        highest.minor += 1;
        lowest = highest;
    }
    let mut known = false;
    for member in cluster.members.iter().filter(|m| m.id != own_id) {
        let id = format!("{:x}", member.id);
        let versions = match ask::versions(dialer, &member.peer_urls, within).await {
            Ok(versions) => versions,
            Err(error) => {
                log::warning!("failed to get version", "remote-member-id" = id, "error" = error.to_string());
                continue;
            }
        };
        let Some(version) = Version::parse(&versions.cluster) else {
            log::warning!(
                "failed to parse cluster version of remote member",
                "remote-member-id" = id,
                "remote-member-cluster-version" = versions.cluster
            );
            continue;
        };
        if version < lowest {
            log::warning!(
                "cluster version of remote member is not compatible; too low",
                "remote-member-id" = id,
                "remote-member-cluster-version" = version.to_string(),
                "minimum-cluster-version-supported" = lowest.to_string()
            );
            return false;
        }
        if version > highest {
            log::warning!(
                "cluster version of remote member is not compatible; too high",
                "remote-member-id" = id,
                "remote-member-cluster-version" = version.to_string(),
                "maximum-cluster-version-supported" = highest.to_string()
            );
            return false;
        }
        known = true;
    }
    known
}

/// The first member that says decides.
async fn downgrading(cluster: &Cluster, own_id: u64, dialer: &Dialer, within: Duration) -> bool {
    for member in cluster.members.iter().filter(|m| m.id != own_id) {
        match ask::downgrade_enabled(dialer, &member.peer_urls, within).await {
            Ok(enabled) => return enabled,
            Err(error) => log::warning!(
                "failed to get downgrade enabled status",
                "remote-member-id" = format!("{:x}", member.id),
                "error" = error.to_string()
            ),
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(cluster: &str) -> Vec<Member> {
        let config = Config { initial_cluster: cluster.into(), ..Config::default() };
        initial_members(&config).unwrap()
    }

    fn running(members: &[(u64, &str)]) -> Cluster {
        let member = |(id, url): &(u64, &str)| Member {
            id: *id,
            peer_urls: vec![(*url).to_owned()],
            ..Member::default()
        };
        Cluster { id: 7, members: members.iter().map(member).collect() }
    }

    #[test]
    fn a_joining_member_gets_the_id_the_cluster_gave_it() {
        let local = local("a=http://127.0.0.1:1,b=http://127.0.0.1:2");
        let cluster = running(&[(11, "http://127.0.0.1:1"), (22, "http://127.0.0.1:2")]);
        let own = matched(&local, &cluster, "b").unwrap();
        assert_eq!((own.id, own.name.as_str()), (22, "b"));
        // A name stands for its address.
        let cluster = running(&[(11, "http://localhost:1"), (22, "http://127.0.0.1:2")]);
        assert_eq!(matched(&local, &cluster, "b").unwrap().id, 22);
    }

    #[test]
    fn a_list_that_knows_of_an_earlier_life_of_the_member_may_be_old() {
        let local = local("a=http://127.0.0.1:1,b=http://127.0.0.1:2");
        let mut cluster = running(&[(11, "http://127.0.0.1:1"), (22, "http://127.0.0.1:2")]);
        assert!(is_expected(&local, &cluster, "b"));
        cluster.members[0].client_urls = vec!["http://127.0.0.1:3".into()];
        assert!(is_expected(&local, &cluster, "b"), "others have been there");
        cluster.members[1].client_urls = vec!["http://127.0.0.1:4".into()];
        assert!(!is_expected(&local, &cluster, "b"));
    }

    #[test]
    fn a_cluster_that_differs_from_the_flag_is_not_joined() {
        let two = local("a=http://127.0.0.1:1,b=http://127.0.0.1:2");
        let refused = |cluster: &Cluster| matched(&two, cluster, "b").unwrap_err().to_string();
        let text = refused(&running(&[(11, "http://127.0.0.1:1")]));
        assert!(text.ends_with("member count is unequal"), "{text}");
        let text = refused(&running(&[(11, "http://127.0.0.1:1"), (22, "http://127.0.0.1:3")]));
        assert!(text.contains("no match found for existing member (16, [http://127.0.0.1:3])"), "{text}");
    }

    #[test]
    fn other_members_are_asked_in_the_order_of_their_urls() {
        let local = local("b=http://h:2,a=http://h:3,c=http://h:1");
        assert_eq!(other_urls(&local, "b"), ["http://h:1", "http://h:3"]);
    }
}
