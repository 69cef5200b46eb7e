//! `/metrics` and `/debug/vars`: what was counted, by the names etcd uses.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{SystemTime, UNIX_EPOCH};

use http::{Response, StatusCode};

use super::typed;
use crate::member::Member;
use crate::rpc::body::Body;
use crate::rpc::error::Code;
use crate::stats::{self, Counter, Histogram};

/// Writes families in Prometheus text.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn series(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.text.push_str(name);
        self.labels(labels, None);
        let _ = writeln!(self.text, " {}", go_float(value));
    }

    fn labels(&mut self, labels: &[(&str, &str)], bound: Option<&str>) {
        if labels.is_empty() && bound.is_none() {
            return;
        }
        let all = labels.iter().copied().chain(bound.map(|bound| ("le", bound)));
        let text: Vec<String> = all
            .map(|(k, v)| {
                format!("{k}=\"{}\"", v.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
            })
            .collect();
        let _ = write!(self.text, "{{{}}}", text.join(","));
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.family(name, "gauge", help);
        self.series(name, &[], value);
    }

    fn counter(&mut self, name: &str, help: &str, value: &Counter) {
        self.family(name, "counter", help);
        self.series(name, &[], value.load(Relaxed) as f64);
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.family(name, "histogram", help);
        self.buckets(name, &[], histogram);
    }

    fn buckets(&mut self, name: &str, labels: &[(&str, &str)], histogram: &Histogram) {
        let shown = histogram.show();
        let infinite = (f64::INFINITY, shown.count);
        for (bound, up_to) in shown.buckets.into_iter().chain([infinite]) {
            let _ = write!(self.text, "{name}_bucket");
            self.labels(labels, Some(&go_float(bound)));
            let _ = writeln!(self.text, " {up_to}");
        }
        self.series(&format!("{name}_sum"), labels, shown.sum);
        self.series(&format!("{name}_count"), labels, shown.count as f64);
    }
}

/// A number as Go's shortest %g prints it, which Prometheus text uses.
fn go_float(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    let text = format!("{value:e}");
    let Some((digits, exponent)) = text.split_once('e') else { return text };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// The Prometheus page.
pub fn page(member: &Arc<Member>) -> Response<Body> {
    let mut page = Page::default();
    storage(&mut page, member);
    leases_and_watches(&mut page, member);
    consensus(&mut page, member);
    identity(&mut page, member);
    requests(&mut page);
    process(&mut page);
    typed(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8; escaping=underscores", page.text)
}

fn storage(page: &mut Page, member: &Member) {
    let store = &member.store;
    page.histogram(
        "etcd_disk_backend_commit_duration_seconds",
        "Time of a backend commit.",
        &stats::BACKEND_COMMIT,
    );
    page.histogram("etcd_disk_backend_defrag_duration_seconds", "Time of a defragmentation.", &stats::DEFRAG);
    page.histogram(
        "etcd_disk_backend_snapshot_duration_seconds",
        "Time of sending a snapshot.",
        &stats::SNAPSHOT,
    );
    let defragmenting = member.defragmenting.load(Relaxed);
    page.gauge("etcd_disk_defrag_inflight", "1 while defragmenting.", f64::from(u8::from(defragmenting)));
    page.histogram("etcd_disk_wal_fsync_duration_seconds", "Time of a WAL sync.", &stats::WAL_FSYNC);
    page.histogram("etcd_disk_wal_write_duration_seconds", "Time of a WAL write.", &stats::WAL_WRITE);
    page.gauge(
        "etcd_disk_wal_write_bytes_total",
        "Bytes written to the WAL.",
        stats::WAL_BYTES.load(Relaxed) as f64,
    );
    page.histogram("etcd_snap_fsync_duration_seconds", "Time of writing a raft snapshot.", &stats::SNAP_SAVE);
    page.gauge("etcd_mvcc_db_total_size_in_bytes", "Size of the database file.", store.size_bytes() as f64);
    page.gauge(
        "etcd_mvcc_db_total_size_in_use_in_bytes",
        "Size of the database file without free pages.",
        store.size_in_use_bytes() as f64,
    );
    page.gauge("etcd_mvcc_db_open_read_transactions", "Open read transactions.", 0.0);
    page.counter("etcd_mvcc_delete_total", "Keys deleted.", &stats::DELETES);
    page.counter("etcd_mvcc_put_total", "Puts applied.", &stats::PUTS);
    page.counter("etcd_mvcc_range_total", "Ranges served.", &stats::RANGES);
    page.counter("etcd_mvcc_txn_total", "Txns applied.", &stats::TXNS);
    page.histogram("etcd_mvcc_hash_duration_seconds", "Time of a whole hash.", &stats::HASH);
    page.histogram("etcd_mvcc_hash_rev_duration_seconds", "Time of a hash by revision.", &stats::HASH_REV);
    page.gauge("etcd_debugging_mvcc_current_revision", "Current revision.", store.revision() as f64);
    page.gauge(
        "etcd_debugging_mvcc_compact_revision",
        "Compacted revision.",
        store.compact_revision() as f64,
    );
    page.gauge(
        "etcd_debugging_mvcc_total_put_size_in_bytes",
        "Bytes put since the start.",
        stats::PUT_BYTES.load(Relaxed) as f64,
    );
    page.gauge("etcd_debugging_auth_revision", "Revision of the auth store.", store.auth().revision as f64);
}

fn leases_and_watches(page: &mut Page, _member: &Member) {
    page.counter("etcd_debugging_lease_granted_total", "Leases granted.", &stats::LEASES_GRANTED);
    page.counter("etcd_debugging_lease_renewed_total", "Leases renewed.", &stats::LEASES_RENEWED);
    page.counter("etcd_debugging_lease_revoked_total", "Leases revoked.", &stats::LEASES_REVOKED);
    page.histogram("etcd_debugging_lease_ttl_total", "TTLs of granted leases.", &stats::LEASE_TTLS);
    page.counter("etcd_debugging_server_lease_expired_total", "Leases expired.", &stats::LEASES_EXPIRED);
    page.counter("etcd_debugging_mvcc_events_total", "Events sent.", &stats::EVENTS);
    for (name, help, value) in [
        ("etcd_debugging_mvcc_pending_events_total", "Events not yet sent.", &stats::EVENTS_PENDING),
        ("etcd_debugging_mvcc_slow_watcher_total", "Watchers behind the store.", &stats::SLOW_WATCHERS),
        ("etcd_debugging_mvcc_watch_stream_total", "Watch streams.", &stats::WATCH_STREAMS),
        ("etcd_debugging_mvcc_watcher_total", "Watchers.", &stats::WATCHERS),
    ] {
        page.gauge(name, help, value.load(Relaxed) as f64);
    }
}

fn consensus(page: &mut Page, member: &Member) {
    let flag = |on: bool| f64::from(u8::from(on));
    let leadership = &member.leadership;
    page.gauge("etcd_server_has_leader", "1 when a leader is known.", flag(leadership.has_leader()));
    page.gauge("etcd_server_is_leader", "1 on the leader.", flag(leadership.leads()));
    page.gauge("etcd_server_is_learner", "1 on a learner.", flag(member.is_learner()));
    let changes = Counter::new(leadership.changes_seen());
    page.counter("etcd_server_leader_changes_seen_total", "Leader changes seen.", &changes);
    page.gauge("etcd_server_proposals_applied_total", "Applied index.", member.applied.index() as f64);
    page.gauge("etcd_server_proposals_committed_total", "Committed index.", leadership.commit_index() as f64);
    page.counter("etcd_server_proposals_failed_total", "Proposals failed.", &stats::PROPOSALS_FAILED);
    page.gauge("etcd_server_proposals_pending", "Proposals waiting.", member.waiters.in_flight() as f64);
    page.counter("etcd_server_heartbeat_send_failures_total", "Late heartbeats.", &Counter::new(0));
    page.counter("etcd_server_learner_promote_successes", "Promotions.", &Counter::new(0));
    page.counter("etcd_server_read_indexes_failed_total", "Failed read rounds.", &stats::READ_INDEXES_FAILED);
    page.counter("etcd_server_slow_read_indexes_total", "Slow read rounds.", &stats::SLOW_READ_INDEXES);
    page.counter("etcd_server_slow_apply_total", "Slow applies.", &stats::SLOW_APPLIES);
    page.gauge("etcd_server_snapshot_apply_in_progress_total", "1 while a snapshot is installed.", 0.0);
    let quota = crate::rpc::quota(member);
    page.gauge("etcd_server_quota_backend_bytes", "Quota of the backend.", quota as f64);
    page.family("etcd_server_range_duration_seconds", "histogram", "Time of a range.");
    page.buckets("etcd_server_range_duration_seconds", &[("success", "true")], &stats::RANGE_GOOD);
    page.buckets("etcd_server_range_duration_seconds", &[("success", "false")], &stats::RANGE_BAD);
    page.family("etcd_server_apply_duration_seconds", "histogram", "Time of applying an entry.");
    let labels = [("version", "v3"), ("op", "Entry"), ("success", "true")];
    page.buckets("etcd_server_apply_duration_seconds", &labels, &stats::APPLY);
}

fn identity(page: &mut Page, member: &Member) {
    page.family("etcd_server_id", "gauge", "1 under the member's id.");
    page.series("etcd_server_id", &[("server_id", &format!("{:x}", member.id))], 1.0);
    page.family("etcd_server_version", "gauge", "1 under the version.");
    page.series("etcd_server_version", &[("server_version", member.version)], 1.0);
    page.family("etcd_server_go_version", "gauge", "1 under the version of the compiler.");
    page.series("etcd_server_go_version", &[("server_go_version", "go0.0")], 1.0);
    if let Some(version) = member.store.members().cluster_version {
        page.family("etcd_cluster_version", "gauge", "1 under the cluster version.");
        page.series("etcd_cluster_version", &[("cluster_version", &version.short())], 1.0);
    }
    page.counter("etcd_server_health_success", "/health said yes.", &stats::HEALTH_SUCCESS);
    page.counter("etcd_server_health_failures", "/health said no.", &stats::HEALTH_FAILURES);
    let checks = stats::HEALTH_CHECKS.lock();
    page.family("etcd_server_healthcheck", "gauge", "Last result of each check.");
    for ((kind, name), (_, _, last)) in checks.iter() {
        let labels = [("name", name.as_str()), ("type", kind.as_str())];
        page.series("etcd_server_healthcheck", &labels, f64::from(u8::from(*last)));
    }
    page.family("etcd_server_healthchecks_total", "counter", "Results of each check.");
    for ((kind, name), (good, bad, _)) in checks.iter() {
        for (status, count) in [("success", good), ("error", bad)] {
            let labels = [("name", name.as_str()), ("status", status), ("type", kind.as_str())];
            page.series("etcd_server_healthchecks_total", &labels, *count as f64);
        }
    }
}

fn requests(page: &mut Page) {
    page.counter("etcd_network_client_grpc_received_bytes_total", "Bytes received.", &stats::RECEIVED_BYTES);
    page.counter("etcd_network_client_grpc_sent_bytes_total", "Bytes sent.", &stats::SENT_BYTES);
    page.family("etcd_server_client_requests_total", "counter", "Requests by kind and client version.");
    for ((stream, version), count) in stats::CLIENT_REQUESTS.lock().iter() {
        let kind = if *stream { "stream" } else { "unary" };
        let labels = [("client_api_version", version.as_str()), ("type", kind)];
        page.series("etcd_server_client_requests_total", &labels, *count as f64);
    }
    let methods = stats::methods();
    page.family("grpc_server_started_total", "counter", "RPCs started.");
    for method in &methods {
        let (service, name) = method.path.trim_start_matches('/').split_once('/').unwrap_or_default();
        let labels = [("grpc_method", name), ("grpc_service", service), ("grpc_type", method.kind)];
        page.series("grpc_server_started_total", &labels, method.started.load(Relaxed) as f64);
    }
    page.family("grpc_server_handled_total", "counter", "RPCs answered, by code.");
    for method in &methods {
        let (service, name) = method.path.trim_start_matches('/').split_once('/').unwrap_or_default();
        for (code, count) in method.handled.iter().enumerate() {
            let Some(code) = Code::from_number(code) else { continue };
            let labels = [
                ("grpc_code", code.name()),
                ("grpc_method", name),
                ("grpc_service", service),
                ("grpc_type", method.kind),
            ];
            page.series("grpc_server_handled_total", &labels, count.load(Relaxed) as f64);
        }
    }
}

fn process(page: &mut Page) {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let stat = read("/proc/self/stat");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let field = |at: usize| fields.get(at).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    const TICKS_PER_SECOND: f64 = 100.0;
    const PAGE_BYTES: f64 = 4096.0;
    let cpu = (field(11) + field(12)) / TICKS_PER_SECOND;
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count) as f64;
    let limit = file_limit() as f64;
    page.gauge("os_fd_limit", "Descriptors this process may open.", limit);
    page.gauge("os_fd_used", "Open descriptors.", open);
    page.family("process_cpu_seconds_total", "counter", "CPU time.");
    page.series("process_cpu_seconds_total", &[], cpu);
    page.gauge("process_max_fds", "Descriptors this process may open.", limit);
    page.gauge("process_open_fds", "Open descriptors.", open);
    page.gauge("process_resident_memory_bytes", "Resident memory.", field(21) * PAGE_BYTES);
    page.gauge("process_virtual_memory_bytes", "Virtual memory.", field(20));
    page.gauge("process_virtual_memory_max_bytes", "Limit of virtual memory.", u64::MAX as f64);
    let uptime: f64 = read("/proc/uptime").split('.').next().and_then(|s| s.parse().ok()).unwrap_or(0.0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64());
    let started = now - uptime + field(19) / TICKS_PER_SECOND;
    page.gauge("process_start_time_seconds", "Start of the process.", started);
    page.gauge("go_threads", "Threads of the process.", field(17));
    page.gauge("go_goroutines", "Threads of the process: there are no goroutines here.", field(17));
    page.gauge(
        "go_memstats_alloc_bytes",
        "Resident memory: there is no collector here.",
        field(21) * PAGE_BYTES,
    );
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_printed_as_go_prints_them() {
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (0.001, "0.001"),
            (8.192, "8.192"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (100_000.0, "100000"),
            (1_000_000.0, "1e+06"),
            (8_388_608.0, "8.388608e+06"),
            (2_147_483_648.0, "2.147483648e+09"),
            (1.5, "1.5"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(go_float(value), text);
        }
    }
}
