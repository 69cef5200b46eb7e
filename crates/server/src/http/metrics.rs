//! `/metrics` and `/debug/vars`: what was counted, by the names etcd uses.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use http::{Response, StatusCode};
use proto::etcdserverpb::AlarmType;

use super::typed;
use crate::member::Member;
use crate::metrics::Metrics;
use crate::rpc::body::Body;
use crate::stats::METRICS;

/// The Prometheus page.
pub fn page(member: &Arc<Member>) -> Response<Body> {
    let metrics = &*METRICS;
    metrics.promhttp_metric_handler_requests_in_flight.set(1.0);
    for code in ["500", "503"] {
        metrics.promhttp_metric_handler_requests_total.with(&[code]);
    }
    storage(metrics, member);
    consensus(metrics, member);
    identity(metrics, member);
    let text = metrics.text();
    metrics.promhttp_metric_handler_requests_total.with(&["200"]).inc();
    typed(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8; escaping=underscores", text)
}

fn storage(metrics: &Metrics, member: &Member) {
    let store = &member.store;
    metrics.etcd_disk_defrag_inflight.set_bool(member.defragmenting.load(Relaxed));
    metrics.etcd_mvcc_db_total_size_in_bytes.set(store.size_bytes() as f64);
    metrics.etcd_mvcc_db_total_size_in_use_in_bytes.set(store.size_in_use_bytes() as f64);
    metrics.etcd_debugging_mvcc_current_revision.set_int(store.revision());
    metrics.etcd_debugging_mvcc_compact_revision.set_int(store.compact_revision());
    metrics.etcd_debugging_mvcc_db_compaction_keys_total.set(store.compacted_records());
    metrics.etcd_mvcc_db_open_read_transactions.set(store.backend().pinned() as f64);
    metrics.etcd_debugging_auth_revision.set(store.auth().revision as f64);
    metrics.etcd_server_quota_backend_bytes.set(crate::rpc::quota(member) as f64);
    metrics.etcd_debugging_server_alarms.clear();
    for alarm in store.alarms().list(AlarmType::None.into()) {
        let id = format!("{:x}", alarm.member_id);
        metrics.etcd_debugging_server_alarms.with(&[alarm.alarm().as_str_name(), &id]).set(1.0);
    }
}

fn consensus(metrics: &Metrics, member: &Member) {
    let leadership = &member.leadership;
    metrics.etcd_server_has_leader.set_bool(leadership.has_leader());
    metrics.etcd_server_is_leader.set_bool(leadership.leads());
    metrics.etcd_server_is_learner.set_bool(member.is_learner());
    metrics.etcd_server_leader_changes_seen_total.set(leadership.changes_seen());
    metrics.etcd_server_proposals_applied_total.set(member.applied.index() as f64);
    metrics.etcd_server_proposals_committed_total.set(leadership.commit_index() as f64);
    metrics.etcd_server_proposals_pending.set(member.waiters.in_flight() as f64);
}

fn identity(metrics: &Metrics, member: &Member) {
    let id = format!("{:x}", member.id);
    metrics.etcd_server_id.with(&[&id]).set(1.0);
    metrics.etcd_server_version.with(&[member.version]).set(1.0);
    metrics.etcd_server_go_version.with(&["go0.0"]).set(1.0);
    metrics.go_info.with(&["go0.0"]).set(1.0);
    let members = member.store.members();
    metrics.etcd_cluster_version.clear();
    if let Some(version) = members.cluster_version {
        metrics.etcd_cluster_version.with(&[&version.short()]).set(1.0);
    }
    metrics.etcd_network_known_peers.clear();
    for remote in members.list.keys() {
        metrics.etcd_network_known_peers.with(&[&id, &format!("{remote:x}")]).set(1.0);
    }
    for (name, stage, on) in member.config.features.states() {
        metrics.etcd_server_feature_enabled.with(&[name, stage]).set_bool(on);
    }
}

/// What Go's expvar shows, as far as it means something here.
pub fn vars(member: &Arc<Member>) -> Response<Body> {
    let soft = member.leadership.now();
    let state = match soft.role {
        ::raft::Role::Follower => "StateFollower",
        ::raft::Role::PreCandidate => "StatePreCandidate",
        ::raft::Role::Candidate => "StateCandidate",
        ::raft::Role::Leader => "StateLeader",
    };
    let body = serde_json::json!({
        "cmdline": std::env::args().collect::<Vec<_>>(),
        "file_descriptor_limit": file_limit(),
        "memstats": {},
        "raft.status": {
            "id": format!("{:x}", member.id),
            "term": soft.term.0,
            "lead": format!("{:x}", soft.leader.0),
            "raftState": state,
            "commit": member.leadership.commit_index(),
            "applied": member.applied.index(),
        },
    });
    typed(StatusCode::OK, "application/json; charset=utf-8", format!("{body}\n"))
}

/// Descriptors this process may open.
fn file_limit() -> u64 {
    let text = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("Max open files"));
    line.and_then(|line| line.split_whitespace().nth(3)).and_then(|n| n.parse().ok()).unwrap_or(0)
}
