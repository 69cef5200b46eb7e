//! MemberAdd, MemberRemove, MemberUpdate, MemberPromote, MemberList.

use std::time::Duration;

use ::raft::{ConfChangeKind, MemberId};
use http::StatusCode;
use proto::etcdserverpb as pb;
use store::{ConfChangeContext, Members};
use tokio::time::Instant;

use super::Call;
use super::error::{self, Status};
use crate::member::Member;
use crate::notices::hex;
use crate::peer::ask::{self, AskError};
use crate::stats::METRICS;
use crate::{bootstrap, log};

/// Log position, relative to the leader's, from which on a learner may be promoted.
const LEARNER_READY: f64 = 0.9;
/// How long a member must have been connected before it counts when another one is added.
const HEALTH_INTERVAL: Duration = Duration::from_secs(5);
/// Pause before the leader is asked again.
const LEADER_RETRY: Duration = Duration::from_millis(50);

/// Cluster/MemberAdd.
pub async fn add(call: Call, request: pb::MemberAddRequest) -> Result<pb::MemberAddResponse, Status> {
    let urls = checked_urls(&request.peer_ur_ls)?;
    call.admin().await?;
    let member = &call.member;
    if member.config.strict_reconfig_check {
        let members = member.store.members();
        if !request.is_learner && !may_add_voter(&members) {
            log::warning!(
                "rejecting member add request; not enough healthy members",
                "local-member-id" = hex(member.id),
                "requested-member-add" = urls.join(","),
                "error" = error::NOT_ENOUGH_STARTED.message.as_ref()
            );
            return Err(error::NOT_ENOUGH_STARTED);
        }
        if !connected_to_quorum(member, &members) {
            log::warning!(
                "rejecting member add request; local member has not been connected to majority peers, reconfigure breaks active quorum",
                "local-member-id" = hex(member.id),
                "requested-member-add" = urls.join(","),
                "error" = error::UNHEALTHY.message.as_ref()
            );
            return Err(error::UNHEALTHY);
        }
    }
    let id = bootstrap::member_id(&urls, "", Some(bootstrap::unix_seconds()));
    let added = store::Member { id, peer_urls: urls, is_learner: request.is_learner, ..Default::default() };
    let context = ConfChangeContext { member: added.clone(), is_promote: false }.to_json();
    let kind = if request.is_learner { ConfChangeKind::AddLearnerNode } else { ConfChangeKind::AddNode };
    let members = member.propose_conf_change(kind, id, context).await?;
    Ok(pb::MemberAddResponse {
        header: member.bare_header(),
        member: Some(to_proto(&added)),
        members: list_to_proto(&members),
    })
}

/// Cluster/MemberRemove.
pub async fn remove(
    call: Call,
    request: pb::MemberRemoveRequest,
) -> Result<pb::MemberRemoveResponse, Status> {
    call.admin().await?;
    let member = &call.member;
    let members = member.store.members();
    let is_voter = members.list.get(&request.id).is_none_or(|m| !m.is_learner);
    if member.config.strict_reconfig_check && is_voter {
        if !may_remove_voter(&members, request.id) {
            log::warning!(
                "rejecting member remove request; not enough healthy members",
                "local-member-id" = hex(member.id),
                "requested-member-remove-id" = hex(request.id),
                "error" = error::NOT_ENOUGH_STARTED.message.as_ref()
            );
            return Err(error::NOT_ENOUGH_STARTED);
        }
        if !may_lose(member, &members, request.id) {
            log::warning!(
                "rejecting member remove request; local member has not been connected to all peers, reconfigure breaks active quorum",
                "local-member-id" = hex(member.id),
                "requested-member-remove" = hex(request.id),
                "error" = error::UNHEALTHY.message.as_ref()
            );
            return Err(error::UNHEALTHY);
        }
    }
    let removed = members.list.get(&request.id).cloned();
    let members = member.propose_conf_change(ConfChangeKind::RemoveNode, request.id, Vec::new()).await?;
    if let Some(removed) = removed {
        log::info!(
            "removed member",
            "cluster-id" = hex(member.cluster_id),
            "local-member-id" = hex(member.id),
            "removed-remote-peer-id" = hex(removed.id),
            "removed-remote-peer-urls" = &removed.peer_urls,
            "removed-remote-peer-is-learner" = removed.is_learner
        );
    }
    Ok(pb::MemberRemoveResponse { header: member.bare_header(), members: list_to_proto(&members) })
}

/// Cluster/MemberUpdate.
pub async fn update(
    call: Call,
    request: pb::MemberUpdateRequest,
) -> Result<pb::MemberUpdateResponse, Status> {
    checked_urls(&request.peer_ur_ls)?;
    call.admin().await?;
    let updated = store::Member { id: request.id, peer_urls: request.peer_ur_ls, ..Default::default() };
    let member = &call.member;
    let members =
        member.propose_conf_change(ConfChangeKind::UpdateNode, request.id, updated.to_json()).await?;
    log::info!(
        "updated member",
        "cluster-id" = hex(member.cluster_id),
        "local-member-id" = hex(member.id),
        "updated-remote-peer-id" = hex(updated.id),
        "updated-remote-peer-urls" = &updated.peer_urls,
        "updated-remote-peer-is-learner" = members.iter().any(|m| m.id == updated.id && m.is_learner)
    );
    Ok(pb::MemberUpdateResponse { header: member.bare_header(), members: list_to_proto(&members) })
}

/// Cluster/MemberPromote.
pub async fn promote(
    call: Call,
    request: pb::MemberPromoteRequest,
) -> Result<pb::MemberPromoteResponse, Status> {
    call.admin().await?;
    let member = &call.member;
    let members = match promote_here(member, request.id).await {
        Err(status) if status == error::NOT_LEADER => promote_at_leader(&call, request.id).await?,
        promoted => promoted?,
    };
    Ok(pb::MemberPromoteResponse { header: member.bare_header(), members: list_to_proto(&members) })
}

/// Promotes a learner, which only the leader can: it alone knows how far the learner is.
pub async fn promote_here(member: &Member, id: u64) -> Result<Vec<store::Member>, Status> {
    if !member.leadership.leads() {
        return Err(error::NOT_LEADER);
    }
    let promoted = promote_learner(member, id).await;
    match &promoted {
        Ok(_) => METRICS.etcd_server_learner_promote_successes.inc(),
        Err(status) => METRICS.etcd_server_learner_promote_failures.with(&[promote_reason(status)]).inc(),
    }
    promoted
}

/// Why a promotion failed, as etcd labels it: in words from behind the wire.
fn promote_reason(status: &Status) -> &str {
    if *status == error::MEMBER_NOT_FOUND {
        "membership: ID not found"
    } else if *status == error::MEMBER_NOT_LEARNER {
        "membership: can only promote a learner member"
    } else {
        &status.message
    }
}

async fn promote_learner(member: &Member, id: u64) -> Result<Vec<store::Member>, Status> {
    check_learner_ready(member, id).await?;
    let promoted = store::Member { id, ..Default::default() };
    let context = ConfChangeContext { member: promoted, is_promote: true }.to_json();
    let members = member.propose_conf_change(ConfChangeKind::AddNode, id, context).await?;
    log::info!(
        "promote member",
        "cluster-id" = hex(member.cluster_id),
        "local-member-id" = hex(member.id),
        "promoted-member-id" = hex(id)
    );
    Ok(members)
}

/// Has whoever leads promote it, until the time for a request is over.
async fn promote_at_leader(call: &Call, id: u64) -> Result<Vec<store::Member>, Status> {
    let member = &call.member;
    let deadline = Instant::now() + member.request_timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(error::TIMEOUT);
        }
        if member.leadership.leads() {
            return promote_here(member, id).await;
        }
        if let Some(urls) = member.leader_urls() {
            match ask::promote(member.peers.dialer(), &urls, id, call.token(), left).await {
                Ok(members) => return Ok(members),
                Err(AskError::Refused(StatusCode::NOT_FOUND, _)) => return Err(error::MEMBER_NOT_FOUND),
                Err(AskError::Refused(StatusCode::PRECONDITION_FAILED, text)) => {
                    let not_learner = !text.contains(error::LEARNER_NOT_READY.message.as_ref());
                    return Err(if not_learner {
                        error::MEMBER_NOT_LEARNER
                    } else {
                        error::LEARNER_NOT_READY
                    });
                }
                // The leader may just have changed.
                Err(_) => {}
            }
        }
        tokio::time::sleep(LEADER_RETRY).await;
    }
}

async fn check_learner_ready(member: &Member, id: u64) -> Result<(), Status> {
    let members = member.store.members();
    match members.list.get(&id) {
        None => return Err(error::MEMBER_NOT_FOUND),
        Some(m) if !m.is_learner => return Err(error::MEMBER_NOT_LEARNER),
        Some(_) => {}
    }
    let status = member.node_status().await?;
    let matched = |id: u64| status.peers.iter().find(|p| p.id.0 == id).map(|p| p.matched.0);
    let leader = matched(member.id).unwrap_or(status.last_index.0).max(1);
    let learner = matched(id).ok_or(error::MEMBER_NOT_FOUND)?;
    if (learner as f64) < LEARNER_READY * (leader as f64) {
        return Err(error::LEARNER_NOT_READY);
    }
    let started = members.list.values().filter(|m| !m.is_learner && m.is_started()).count() + 1;
    let voters = members.voters().count() + 1;
    if member.config.strict_reconfig_check && started < voters / 2 + 1 {
        return Err(error::NOT_ENOUGH_STARTED);
    }
    Ok(())
}

/// Cluster/MemberList.
pub async fn list(call: Call, request: pb::MemberListRequest) -> Result<pb::MemberListResponse, Status> {
    call.user().await?;
    if request.linearizable {
        call.member.linearize().await?;
    }
    let members = call.member.store.members();
    Ok(pb::MemberListResponse {
        header: call.member.bare_header(),
        members: members.list.values().map(to_proto).collect(),
    })
}

/// Peer URLs as stored: sorted, each `scheme://host:port`, none twice.
fn checked_urls(urls: &[String]) -> Result<Vec<String>, Status> {
    let mut urls: Vec<String> = urls.iter().map(|u| u.trim().to_owned()).collect();
    urls.sort();
    let valid = |url: &String| {
        let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        let rest = rest.or_else(|| url.strip_prefix("unix://")).or_else(|| url.strip_prefix("unixs://"));
        rest.is_some_and(|host| match host.rsplit_once(':') {
            Some((_, port)) => !host.contains('/') && port.parse::<u16>().is_ok(),
            None => false,
        })
    };
    if urls.is_empty() || !urls.iter().all(valid) {
        return Err(error::MEMBER_BAD_URLS);
    }
    Ok(urls)
}

/// With n voters of which s have started: one more must not lose the quorum (formats 6.7).
fn may_add_voter(members: &Members) -> bool {
    let voters: Vec<_> = members.list.values().filter(|m| !m.is_learner).collect();
    let started = voters.iter().filter(|m| m.is_started()).count();
    (started == 1 && voters.len() == 1) || started > voters.len().div_ceil(2)
}

/// The started voters without this one must be a quorum of the rest.
fn may_remove_voter(members: &Members, id: u64) -> bool {
    let rest: Vec<_> = members.list.values().filter(|m| !m.is_learner && m.id != id).collect();
    let started = rest.iter().filter(|m| m.is_started()).count();
    !rest.is_empty() && started > rest.len() / 2
}

/// This member has long been connected to a quorum, also to one of which a further member is part that is down.
fn connected_to_quorum(member: &Member, members: &Members) -> bool {
    let voters = members.voters().count();
    voters == 1 || connected(member, members, HEALTH_INTERVAL) > voters.div_ceil(2)
}

/// Without voter `id` enough voters stay that this member is connected to; one that is away is no loss.
fn may_lose(member: &Member, members: &Members, id: u64) -> bool {
    let is_active = id == member.id || member.peers.active_since(MemberId(id)).is_some();
    let rest = members.voters().count().saturating_sub(1);
    !is_active || connected(member, members, HEALTH_INTERVAL).saturating_sub(1) > rest / 2
}

/// Voters, this member among them, that have been connected for at least so long.
fn connected(member: &Member, members: &Members, at_least: Duration) -> usize {
    let since = |id: u64| member.peers.active_since(MemberId(id));
    let long = |id: u64| id == member.id || since(id).is_some_and(|since| since.elapsed() >= at_least);
    members.voters().filter(|voter| long(*voter)).count()
}

/// A member as the API shows it.
pub fn to_proto(member: &store::Member) -> pb::Member {
    pb::Member {
        id: member.id,
        name: member.name.clone(),
        peer_ur_ls: member.peer_urls.clone(),
        client_ur_ls: member.client_urls.clone(),
        is_learner: member.is_learner,
    }
}

fn list_to_proto(members: &[store::Member]) -> Vec<pb::Member> {
    members.iter().map(to_proto).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(started: &[bool]) -> Members {
        let member = |(at, started): (usize, &bool)| {
            let id = at as u64 + 1;
            let name = if *started { "n".to_owned() } else { String::new() };
            (id, store::Member { id, name, ..Default::default() })
        };
        Members { list: started.iter().enumerate().map(member).collect(), ..Default::default() }
    }

    #[test]
    fn a_voter_is_added_only_while_enough_have_started() {
        assert!(may_add_voter(&members(&[true])));
        assert!(!may_add_voter(&members(&[true, false])));
        assert!(may_add_voter(&members(&[true, true])));
        assert!(may_add_voter(&members(&[true, true, true])));
        assert!(!may_add_voter(&members(&[true, true, false])));
    }

    #[test]
    fn the_last_voter_and_a_needed_one_are_not_removed() {
        assert!(!may_remove_voter(&members(&[true]), 1));
        assert!(may_remove_voter(&members(&[true, true, true]), 3));
        assert!(!may_remove_voter(&members(&[true, true, false, false]), 1));
    }

    #[test]
    fn peer_urls_need_a_scheme_and_a_port() {
        let checked = |urls: &[&str]| checked_urls(&urls.iter().map(|u| (*u).to_owned()).collect::<Vec<_>>());
        assert_eq!(checked(&["http://b:2", " http://a:1"]).unwrap(), ["http://a:1", "http://b:2"]);
        for bad in [&[][..], &["a:1"], &["http://a"], &["ftp://a:1"], &["http://a:1/path"]] {
            assert_eq!(checked(bad).unwrap_err(), error::MEMBER_BAD_URLS);
        }
    }
}
