//! Comparing what the members hold: before the first answer, now and then, and at compactions. Formats 8.7.
//!
//! Who differs is decided by two functions without I/O; the tasks around them ask and raise the alarm.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mvcc::HashKv;
use proto::etcdserverpb as pb;

use crate::log;
use crate::member::{Field, Member, Who};
use crate::notices::hex;
use crate::peer::ask::{self, Hash};

/// What another member answered.
#[derive(Clone, Debug)]
struct Peer {
    id: u64,
    urls: Vec<String>,
    hash: Option<Hash>,
}

/// Whom the alarm is raised for when nobody knows who is wrong.
const ALL_MEMBERS: u64 = 0;

/// Compares with the other members before anything is served.
///
/// # Errors
/// A member that has compacted the same holds something else.
pub async fn initial(member: &Arc<Member>) -> Result<(), String> {
    let local = hex(member.id);
    log::info!(
        "starting initial corruption check",
        "local-member-id" = local.clone(),
        "timeout" = member.request_timeout
    );
    let own = hash(member, 0).await.map_err(|why| format!("{local} failed to fetch hash ({why})"))?;
    let mut differ = false;
    for peer in ask_all(member, own.hash_revision).await {
        let Some(theirs) = peer.hash.filter(|theirs| theirs.hash != own.hash) else { continue };
        let same_compaction = theirs.compact_revision == own.compact_revision;
        differ |= same_compaction;
        log::warning!(
            match same_compaction {
                true => "found different hash values from remote peer",
                false => "found different compact revision values from remote peer",
            },
            "local-member-id" = local.clone(),
            "local-member-revision" = own.hash_revision,
            "local-member-compact-revision" = own.compact_revision,
            "local-member-hash" = own.hash,
            "remote-peer-id" = hex(peer.id),
            "remote-peer-endpoints" = log::Value::list(&peer.urls),
            "remote-peer-revision" = theirs.revision(),
            "remote-peer-compact-revision" = theirs.compact_revision,
            "remote-peer-hash" = theirs.hash
        );
    }
    if differ {
        return Err(format!("{local} found data inconsistency with peers"));
    }
    log::info!("initial corruption checking passed; no corruption", "local-member-id" = local);
    Ok(())
}

/// Runs the checks that are turned on until the member stops. Only the leader compares.
pub async fn run(member: Arc<Member>) {
    let periodic = Some(member.config.corrupt_check_time).filter(|interval| !interval.is_zero());
    let compact =
        Some(member.config.compact_hash_check_time).filter(|_| member.config.features.compact_hash_check);
    if let Some(interval) = periodic {
        log::info!("enabled corruption checking", "local-member-id" = hex(member.id), "interval" = interval);
    }
    tokio::join!(every(&member, periodic, periodic_check), async {
        let mut checked = 0;
        let mut stopping = std::pin::pin!(member.stopping());
        let Some(interval) = compact else { return };
        loop {
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                () = &mut stopping => return,
            }
            if member.leadership.leads() {
                compact_check(&member, &mut checked).await;
            }
        }
    });
}

async fn every(
    member: &Member,
    interval: Option<Duration>,
    check: impl AsyncFn(&Member) -> Result<(), String>,
) {
    let Some(interval) = interval else { return };
    loop {
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = member.stopping() => return,
        }
        if member.leadership.leads()
            && let Err(why) = check(member).await
        {
            log::warning!("failed to check hash KV", "error" = why);
        }
    }
}

async fn periodic_check(member: &Member) -> Result<(), String> {
    let before = hash(member, 0).await?;
    let peers = ask_all(member, before.hash_revision).await;
    member.linearize().await.map_err(|status| status.message.into_owned())?;
    let after = hash(member, 0).await?;
    if let Some((id, why)) = differing(member.id, &before, &after, &peers) {
        log::warning!(
            why,
            "corrupted-member-id" = hex(id),
            "leader-revision" = after.revision,
            "leader-compact-revision" = after.compact_revision,
            "leader-hash" = before.hash
        );
        raise(member, id).await;
    }
    let checked = peers.iter().filter(|peer| peer.hash.is_some()).count();
    log::info!("finished peer corruption check", "number-of-peers-checked" = checked);
    Ok(())
}

/// The first member that holds what it cannot: `own` was hashed before the others were asked, and after.
fn differing(own_id: u64, before: &HashKv, after: &HashKv, peers: &[Peer]) -> Option<(u64, &'static str)> {
    let same_point =
        (before.hash_revision, before.compact_revision) == (after.hash_revision, after.compact_revision);
    if same_point && before.hash != after.hash {
        return Some((own_id, "found hash mismatch"));
    }
    peers.iter().find_map(|peer| {
        let theirs = peer.hash?;
        let why = if theirs.revision() > after.revision {
            "revision from follower must be less than or equal to leader's"
        } else if theirs.compact_revision > after.compact_revision {
            "compact revision from follower must be less than or equal to leader's"
        } else if theirs.compact_revision == before.compact_revision && theirs.hash != before.hash {
            "same compact revision then hashes must match"
        } else {
            return None;
        };
        Some((peer.id, why))
    })
}

/// Compares the hashes that compactions left, newest first, down to what was compared before.
async fn compact_check(member: &Member, checked: &mut i64) {
    log::info!(
        "starting compact hash check",
        "local-member-id" = hex(member.id),
        "timeout" = member.request_timeout
    );
    let mut hashes = member.store.kv().compaction_hashes();
    hashes.retain(|hash| hash.hash_revision > *checked);
    hashes.sort_by_key(|hash| std::cmp::Reverse(hash.hash_revision));
    let mut compared = 0;
    for own in &hashes {
        compared += 1;
        let peers = ask_all(member, own.hash_revision).await;
        if peers.is_empty() {
            continue;
        }
        match compare(member.id, own, &peers) {
            Compared::AllEqual => {
                log::info!(
                    "successfully checked hash on whole cluster",
                    "number-of-peers-checked" = peers.len(),
                    "revision" = own.hash_revision,
                    "compactRevision" = own.compact_revision
                );
                *checked = own.hash_revision;
                break;
            }
            Compared::SomeSilent => log::warning!(
                "skipped revision in compaction hash check; was not able to check all peers",
                "number-of-peers" = peers.len(),
                "revision" = own.hash_revision,
                "compactRevision" = own.compact_revision
            ),
            Compared::Differ(ids) => {
                log::error!(
                    "Detected compaction hash mismatch",
                    "leader-id" = hex(member.id),
                    "leader-revision" = own.hash_revision,
                    "leader-compact-revision" = own.compact_revision,
                    "leader-hash" = own.hash,
                    "peer-ids" = ids.iter().map(|id| hex(*id).to_string()).collect::<Vec<_>>().join(","),
                    "quorum-exist" = ids != [ALL_MEMBERS]
                );
                for id in ids {
                    raise(member, id).await;
                }
                break;
            }
        }
    }
    log::info!("finished compaction hash check", "number-of-hashes-checked" = compared);
}

#[derive(Debug, PartialEq, Eq)]
enum Compared {
    AllEqual,
    /// Those who answered are equal.
    SomeSilent,
    /// Members that differ from the majority, or [`ALL_MEMBERS`] if there is none.
    Differ(Vec<u64>),
}

fn compare(own_id: u64, own: &HashKv, peers: &[Peer]) -> Compared {
    let mut by_hash: BTreeMap<u32, Vec<u64>> = BTreeMap::from([(own.hash, vec![own_id])]);
    let mut answered = 0;
    for peer in peers {
        if let Some(theirs) = peer.hash.filter(|theirs| theirs.compact_revision == own.compact_revision) {
            answered += 1;
            by_hash.entry(theirs.hash).or_default().push(peer.id);
        }
    }
    if by_hash.len() == 1 {
        return if answered == peers.len() { Compared::AllEqual } else { Compared::SomeSilent };
    }
    let members = peers.len() + 1;
    let quorum = members / 2 + 1;
    let Some(majority) = by_hash.iter().find(|(_, ids)| ids.len() >= quorum).map(|(hash, _)| *hash) else {
        return Compared::Differ(vec![ALL_MEMBERS]);
    };
    by_hash.remove(&majority);
    Compared::Differ(by_hash.into_values().flatten().collect())
}

async fn hash(member: &Member, revision: i64) -> Result<HashKv, String> {
    let kv = member.store.kv().clone();
    let hashed = member.background.run(move || kv.hash_kv(revision)).await;
    hashed.ok_or("the member is going down")?.map_err(|error| error.to_string())
}

async fn ask_all(member: &Member, revision: i64) -> Vec<Peer> {
    let mut peers = Vec::new();
    for other in member.store.members().list.values().filter(|other| other.id != member.id) {
        let asked = ask::hash_kv(
            member.peers.dialer(),
            &other.peer_urls,
            member.cluster_id,
            revision,
            member.request_timeout,
        );
        let hash = asked.await.inspect_err(|error| {
            log::warning!(
                "failed hash kv request",
                "local-member-id" = hex(member.id),
                "requested-revision" = revision,
                "remote-peer-endpoint" = other.peer_urls.join(","),
                "error" = error.to_string()
            );
        });
        peers.push(Peer { id: other.id, urls: other.peer_urls.clone(), hash: hash.ok() });
    }
    peers
}

/// Tells the cluster that a member's data differs: nothing is written any more.
async fn raise(member: &Member, id: u64) {
    let request = pb::AlarmRequest {
        member_id: id,
        action: pb::alarm_request::AlarmAction::Activate.into(),
        alarm: pb::AlarmType::Corrupt.into(),
    };
    if let Err(status) = member.propose(&Who::default(), Field::Alarm, &request).await {
        log::warning!("failed to raise alarm", "error" = status.message.as_ref());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(hash: u32, compact_revision: i64, revision: i64) -> HashKv {
        HashKv { hash, compact_revision, hash_revision: revision, revision }
    }

    fn peer(id: u64, answer: Option<(u32, i64, i64)>) -> Peer {
        let json = answer.map(|(hash, compacted, revision)| {
            format!(r#"{{"header":{{"revision":{revision}}},"hash":{hash},"compact_revision":{compacted}}}"#)
        });
        Peer { id, urls: Vec::new(), hash: json.map(|json| serde_json::from_str(&json).unwrap()) }
    }

    #[test]
    fn a_follower_that_differs_at_the_same_compaction_is_found() {
        let leader = own(1, 5, 10);
        let found = |peers: &[Peer]| differing(9, &leader, &leader, peers).map(|(id, _)| id);
        assert_eq!(found(&[peer(2, Some((1, 5, 10))), peer(3, None)]), None);
        assert_eq!(found(&[peer(2, Some((1, 5, 10))), peer(3, Some((7, 5, 10)))]), Some(3));
        // Compacted less: no comparison is possible.
        assert_eq!(found(&[peer(2, Some((7, 4, 10)))]), None);
        // Ahead of its leader, or compacted what the leader has not.
        assert_eq!(found(&[peer(2, Some((1, 5, 11)))]), Some(2));
        assert_eq!(found(&[peer(2, Some((1, 6, 10)))]), Some(2));
        assert_eq!(differing(9, &leader, &own(2, 5, 10), &[]).map(|(id, _)| id), Some(9));
        assert_eq!(differing(9, &leader, &own(2, 5, 11), &[]), None);
    }

    #[test]
    fn at_a_compaction_the_minority_is_accused_and_without_majority_everybody() {
        let leader = own(1, 5, 10);
        let compared = |peers: &[Peer]| compare(9, &leader, peers);
        let (same, other) = (Some((1, 5, 10)), Some((7, 5, 10)));
        assert_eq!(compared(&[peer(2, same), peer(3, same)]), Compared::AllEqual);
        assert_eq!(compared(&[peer(2, same), peer(3, None)]), Compared::SomeSilent);
        assert_eq!(compared(&[peer(2, same), peer(3, Some((7, 4, 10)))]), Compared::SomeSilent);
        assert_eq!(compared(&[peer(2, same), peer(3, other)]), Compared::Differ(vec![3]));
        assert_eq!(compared(&[peer(2, other), peer(3, other)]), Compared::Differ(vec![9]));
        assert_eq!(
            compared(&[peer(2, other), peer(3, Some((8, 5, 10)))]),
            Compared::Differ(vec![ALL_MEMBERS])
        );
        assert_eq!(compared(&[peer(2, other)]), Compared::Differ(vec![ALL_MEMBERS]));
    }
}
