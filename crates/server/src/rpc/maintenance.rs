//! Alarm, Status, Defragment, Hash, HashKV, Snapshot, MoveLeader, Downgrade.

use std::time::{Duration, Instant};

use backend::Turn;
use bytes::Bytes;
use prost::Message as _;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::downgrade_request::DowngradeAction;
use proto::membershippb as mpb;
use sha2::{Digest, Sha256};
use store::{Response, Version};

use super::body::Message;
use super::error::{self, Status};
use super::{Call, Sink};
use crate::log;
use crate::member::{Field, Member};

/// Bytes of the database in one response of a snapshot.
const SNAPSHOT_CHUNK: usize = 32 * 1024;

/// Maintenance/Alarm.
pub async fn alarm(call: Call, request: pb::AlarmRequest) -> Result<pb::AlarmResponse, Status> {
    let who = call.user().await?;
    match call.member.propose(&who, Field::Alarm, &request).await? {
        Response::Alarm(mut response) => {
            call.member.fill(&mut response.header);
            Ok(response)
        }
        _ => Err(error::TIMEOUT),
    }
}

/// Maintenance/Status.
pub async fn status(call: Call, _: pb::StatusRequest) -> Result<pb::StatusResponse, Status> {
    call.user().await?;
    let member = &call.member;
    let soft = member.leadership.now();
    let members = member.store.members();
    let mut errors = Vec::new();
    if soft.leader.is_none() {
        errors.push(error::NO_LEADER.message.into_owned());
    }
    errors.extend(member.store.alarms().list(pb::AlarmType::None.into()).iter().map(alarm_text));
    Ok(pb::StatusResponse {
        header: member.header(),
        version: member.version.to_owned(),
        db_size: as_i64(member.store.size_bytes()),
        leader: soft.leader.0,
        raft_index: member.leadership.commit_index(),
        raft_term: member.applied.term(),
        raft_applied_index: member.applied.index(),
        errors,
        db_size_in_use: as_i64(member.store.size_in_use_bytes()),
        is_learner: member.is_learner(),
        storage_version: member.store.storage_version().map(|v| v.to_string()).unwrap_or_default(),
        db_size_quota: quota(member),
        downgrade_info: Some(pb::DowngradeInfo {
            enabled: members.downgrade.enabled,
            target_version: members.downgrade.target_version.clone(),
        }),
    })
}

/// The quota as Status shows it.
pub fn quota(member: &Member) -> i64 {
    member.store.quota_bytes().map_or(0, as_i64)
}

fn as_i64(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn alarm_text(alarm: &pb::AlarmMember) -> String {
    format!("memberID:{} alarm:{}", alarm.member_id, alarm.alarm().as_str_name())
}

/// Maintenance/Defragment: pages move in small steps within ordinary commits; the answer comes when it is done.
pub async fn defragment(call: Call, _: pb::DefragmentRequest) -> Result<pb::DefragmentResponse, Status> {
    call.admin().await?;
    let member = &call.member;
    let _running = member.begin_defragment();
    let start = Instant::now();
    let before = member.store.size_bytes();
    let in_use_before = member.store.size_in_use_bytes();
    let path = log::Value::text(member.config.db_path().display());
    log::info!("starting defragment");
    log::info!(
        "defragmenting",
        "path" = path.clone(),
        "current-db-size-bytes" = before,
        "current-db-size" = log::size(before),
        "current-db-size-in-use-bytes" = in_use_before,
        "current-db-size-in-use" = log::size(in_use_before)
    );
    member.with_store(|store| store.start_defragment()).await?;
    while member.with_store(|store| store.is_defragmenting()).await? {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (after, in_use) = (member.store.size_bytes(), member.store.size_in_use_bytes());
    log::info!(
        "finished defragmenting directory",
        "path" = path,
        "current-db-size-bytes-diff" = as_i64(after) - as_i64(before),
        "current-db-size-bytes" = after,
        "current-db-size" = log::size(after),
        "current-db-size-in-use-bytes-diff" = as_i64(in_use) - as_i64(in_use_before),
        "current-db-size-in-use-bytes" = in_use,
        "current-db-size-in-use" = log::size(in_use),
        "took" = start.elapsed()
    );
    log::info!("finished defragment");
    crate::stats::METRICS.etcd_disk_backend_defrag_duration_seconds.observe_time(start.elapsed());
    Ok(pb::DefragmentResponse { header: None })
}

/// Maintenance/Hash.
pub async fn hash(call: Call, _: pb::HashRequest) -> Result<pb::HashResponse, Status> {
    call.admin().await?;
    call.member.flush().await?;
    let kv = call.member.store.kv().clone();
    let start = Instant::now();
    let hash = call.member.background.run(move || kv.hash()).await.ok_or(error::STOPPED)??;
    crate::stats::METRICS.etcd_mvcc_hash_duration_seconds.observe_time(start.elapsed());
    Ok(pb::HashResponse { header: call.member.header(), hash })
}

/// Maintenance/HashKV.
pub async fn hash_kv(call: Call, request: pb::HashKvRequest) -> Result<pb::HashKvResponse, Status> {
    call.admin().await?;
    let kv = call.member.store.kv().clone();
    let start = Instant::now();
    let hashed = call.member.background.run(move || kv.hash_kv(request.revision)).await;
    let found = hashed.ok_or(error::STOPPED)??;
    crate::stats::METRICS.etcd_mvcc_hash_rev_duration_seconds.observe_time(start.elapsed());
    let mut header = Some(pb::ResponseHeader { revision: found.revision, ..Default::default() });
    call.member.fill(&mut header);
    Ok(pb::HashKvResponse {
        header,
        hash: found.hash,
        compact_revision: found.compact_revision,
        hash_revision: found.hash_revision,
    })
}

/// Maintenance/Snapshot: the database as of now, then its SHA-256 (formats 7.1).
pub async fn snapshot(call: Call, _: pb::SnapshotRequest, sink: Sink) -> Result<(), Status> {
    call.admin().await?;
    let member = call.member.clone();
    let version = member.store.storage_version().map(|v| v.to_string()).unwrap_or_default();
    member.flush().await?;
    let source = member.store.backend().read().copy();
    let start = Instant::now();
    log::info!(
        "sending database snapshot to client",
        "total-bytes" = source.len(),
        "size" = log::size(source.len()),
        "storage-version" = version.clone()
    );
    let (total, shown) = (source.len(), version.clone());
    let sent = member.background.run(move || send_file(&source, &version, &sink)).await;
    sent.ok_or(error::STOPPED)??;
    crate::stats::METRICS.etcd_disk_backend_snapshot_duration_seconds.observe_time(start.elapsed());
    log::info!(
        "successfully sent database snapshot to client",
        "total-bytes" = total,
        "size" = log::size(total),
        "took" = start.elapsed(),
        "storage-version" = shown
    );
    Ok(())
}

fn send_file(source: &backend::SnapshotSource, version: &str, sink: &Sink) -> Result<(), Status> {
    let mut sum = Sha256::new();
    let mut offset = 0;
    let (total, mut turn) = (source.len(), Turn::default());
    let send = |remaining: u64, blob: Bytes| {
        let response = pb::SnapshotResponse {
            header: None,
            remaining_bytes: remaining,
            blob,
            version: version.to_owned(),
        };
        let message = Message::Whole(response.encode_to_vec().into());
        sink.blocking_send(Ok(message)).map_err(|_| error::CANCELED)
    };
    while offset < total {
        let want = (total - offset).min(SNAPSHOT_CHUNK as u64) as usize;
        let mut chunk = vec![0; want];
        let read = source.read_at(&mut chunk, offset).map_err(|e| Status::unknown(e.to_string()))?;
        if read == 0 {
            return Err(Status::unknown("unexpected EOF"));
        }
        chunk.truncate(read);
        sum.update(&chunk);
        offset += read as u64;
        send(total - offset, chunk.into())?;
        turn.pass(SNAPSHOT_CHUNK / 512);
    }
    log::info!(
        "sending database sha256 checksum to client",
        "total-bytes" = total,
        "checksum-size" = <Sha256 as Digest>::output_size()
    );
    send(0, Bytes::copy_from_slice(&sum.finalize()))
}

/// Maintenance/MoveLeader.
pub async fn move_leader(
    call: Call,
    request: pb::MoveLeaderRequest,
) -> Result<pb::MoveLeaderResponse, Status> {
    call.admin().await?;
    let member = &call.member;
    if !member.leadership.leads() {
        return Err(error::NOT_LEADER);
    }
    let is_voter = member.store.members().list.get(&request.target_id).is_some_and(|m| !m.is_learner);
    if !is_voter {
        return Err(error::BAD_TRANSFEREE);
    }
    member.transfer_leadership(request.target_id).await?;
    Ok(pb::MoveLeaderResponse { header: None })
}

/// Maintenance/Downgrade.
pub async fn downgrade(call: Call, request: pb::DowngradeRequest) -> Result<pb::DowngradeResponse, Status> {
    call.admin().await?;
    let member = &call.member;
    let action = DowngradeAction::try_from(request.action)
        .map_err(|_| Status::fixed(error::Code::Unknown, "etcdserver: unknown method"))?;
    member.linearize().await?;
    let members = member.store.members();
    let cluster = members.cluster_version.ok_or(error::CLUSTER_VERSION_UNAVAILABLE)?;
    if action == DowngradeAction::Cancel {
        let cancel = mpb::DowngradeInfoSetRequest { enabled: false, ver: String::new() };
        if let Err(status) = propose_downgrade(member, &cancel).await {
            log::warning!("failed to cancel downgrade", "error" = status.message.as_ref());
        }
    } else {
        let target = Version::parse(&request.version).ok_or(error::WRONG_DOWNGRADE_FORMAT)?;
        if Some(target.minor) != cluster.minor.checked_sub(1) || target.major != cluster.major {
            return Err(error::INVALID_DOWNGRADE_TARGET);
        }
        if members.downgrade.enabled {
            return Err(error::DOWNGRADE_IN_PROCESS);
        }
        if action == DowngradeAction::Enable {
            let enable = mpb::DowngradeInfoSetRequest { enabled: true, ver: target.to_string() };
            propose_downgrade(member, &enable).await?;
            log::info!("downgrade enabled", "target-version" = target.to_string());
        }
    }
    Ok(pb::DowngradeResponse { header: member.header(), version: cluster.short() })
}

async fn propose_downgrade(member: &Member, info: &mpb::DowngradeInfoSetRequest) -> Result<(), Status> {
    if !info.enabled && !member.store.members().downgrade.enabled {
        return Err(error::NO_INFLIGHT_DOWNGRADE);
    }
    member.propose(&Default::default(), Field::DowngradeInfoSet, info).await.map(|_| ())
}
