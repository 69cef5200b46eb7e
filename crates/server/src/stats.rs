//! What the server room counts while it works, into the one [`Metrics`] of the process. What is a state rather than a
//! count is filled in by `http/metrics` when the page is asked for.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::{Duration, Instant};

use prost::encoding::{DecodeContext, decode_key, decode_varint, skip_field};

use crate::log;
use crate::metrics::{CODES, Counter, Histogram, METHODS, Metrics};

/// The metrics of this process.
pub static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

/// The counters of one RPC, kept so that counting needs no look-up by label.
struct Counted {
    stream: bool,
    started: Arc<Counter>,
    received: Arc<Counter>,
    sent: Arc<Counter>,
    handled: [Arc<Counter>; CODES.len()],
    /// Only with `--metrics=extensive`.
    took: Option<Arc<Histogram>>,
}

static EXTENSIVE: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// By path. Lock and election calls count as unary ones from their first call on, as in Go.
static CALLS: LazyLock<HashMap<String, Counted>> = LazyLock::new(|| {
    let method = |service: &str, name: &str, kind: &str, took: bool| {
        let labels = [name, service, kind];
        let calls = Counted {
            stream: kind != "unary",
            started: METRICS.grpc_server_started_total.with(&labels),
            received: METRICS.grpc_server_msg_received_total.with(&labels),
            sent: METRICS.grpc_server_msg_sent_total.with(&labels),
            handled: CODES.map(|code| METRICS.grpc_server_handled_total.with(&[code, name, service, kind])),
            took: took.then(|| METRICS.grpc_server_handling_seconds.with(&labels)),
        };
        (format!("/{service}/{name}"), calls)
    };
    let extensive = EXTENSIVE.load(std::sync::atomic::Ordering::Relaxed);
    METHODS.iter().map(|m| method(m.service, m.name, m.kind, extensive)).collect()
});

/// Before the first call: every RPC and code gets its line, with `extensive` its times, too.
pub fn prepare(extensive: bool) {
    EXTENSIVE.store(extensive, std::sync::atomic::Ordering::Relaxed);
    LazyLock::force(&CALLS);
    for success in ["true", "false"] {
        METRICS.etcd_server_range_duration_seconds.with(&[success]);
    }
}

/// Where the calls of one path are counted, if at all.
#[derive(Clone, Copy)]
pub struct Method(Option<&'static Counted>);

/// Where the calls of `path` are counted.
pub fn method(path: &str) -> Method {
    Method(CALLS.get(path))
}

/// A call under way.
#[derive(Clone, Copy)]
pub struct Started(Option<&'static Counted>, Instant);

/// A call has come in.
pub fn started(method: Method) -> Started {
    if let Method(Some(method)) = method {
        method.started.inc();
    }
    Started(method.0, Instant::now())
}

impl Started {
    /// A message came.
    pub fn received(self, len_bytes: usize) {
        METRICS.etcd_network_client_grpc_received_bytes_total.add(len_bytes as u64);
        if let Some(method) = self.0 {
            method.received.inc();
        }
    }

    /// Messages were answered, `len_bytes` together.
    pub fn sent(self, messages: usize, len_bytes: usize) {
        METRICS.etcd_network_client_grpc_sent_bytes_total.add(len_bytes as u64);
        if let Some(method) = self.0 {
            method.sent.add(messages as u64);
        }
    }

    /// When it came in.
    pub fn since(self) -> Instant {
        self.1
    }

    /// Whether the answer is a stream.
    pub fn is_stream(self) -> bool {
        self.0.is_some_and(|method| method.stream)
    }

    /// The call has ended.
    pub fn handled(self, code: u8) {
        let Some(method) = self.0 else { return };
        if let Some(counter) = method.handled.get(usize::from(code)) {
            counter.inc();
        }
        if let Some(took) = &method.took {
            took.observe_time(self.1.elapsed());
        }
    }
}

/// Versions of clients told apart; more count as "unknown".
const CLIENT_VERSIONS_MAX: usize = 32;
/// A longer one counts as "unknown".
const CLIENT_VERSION_BYTES: usize = 64;

/// Where the calls of a client's version are counted.
pub fn client_requests(method: Method, version: &str) -> Arc<Counter> {
    let version = if version.len() > CLIENT_VERSION_BYTES { "unknown" } else { version };
    let kind = if method.0.is_some_and(|method| method.stream) { "stream" } else { "unary" };
    let requests = &METRICS.etcd_server_client_requests_total;
    requests.with_at_most(CLIENT_VERSIONS_MAX, &[version, kind], &["unknown", kind])
}

/// A check of `/livez` or `/readyz` was run.
pub fn health_check(kind: &str, name: &str, good: bool) {
    METRICS.etcd_server_healthcheck.with(&[name, kind]).set_bool(good);
    let status = if good { "success" } else { "error" };
    METRICS.etcd_server_healthchecks_total.with(&[name, status, kind]).inc();
}

/// `/health` was asked.
pub fn health(good: bool) {
    let counter =
        if good { &METRICS.etcd_server_health_success } else { &METRICS.etcd_server_health_failures };
    counter.inc();
}

fn yes_no(success: bool) -> &'static str {
    if success { "true" } else { "false" }
}

/// The histograms of a kind of request, successful or not. Each is made at its first use, as in Go, and kept.
struct Took([OnceLock<Arc<Histogram>>; 2]);

impl Took {
    fn observe(&self, success: bool, took: Duration, make: impl FnOnce(&'static str) -> Arc<Histogram>) {
        let histogram = self.0[usize::from(success)].get_or_init(|| make(yes_no(success)));
        histogram.observe_time(took);
    }
}

/// By place in [`OPERATIONS`].
static APPLIED: [Took; OPERATIONS.len()] = [const { Took([const { OnceLock::new() }; 2]) }; OPERATIONS.len()];
static REQUESTED: [Took; OPERATIONS.len()] =
    [const { Took([const { OnceLock::new() }; 2]) }; OPERATIONS.len()];
static RANGED: [Took; 2] = [const { Took([const { OnceLock::new() }; 2]) }; 2];

/// A Range was served.
pub fn ranged(start: Instant, success: bool) {
    METRICS.etcd_mvcc_range_total.inc();
    let took = start.elapsed();
    RANGED[0].observe(success, took, |success| METRICS.etcd_server_range_duration_seconds.with(&[success]));
    RANGED[1].observe(success, took, |success| {
        METRICS.etcd_server_request_duration_seconds.with(&[success, "Range"])
    });
}

/// A request to the cluster, by its field number, has been answered.
pub fn requested(field: u32, took: Duration, success: bool) {
    if let Some(at) = operation_at(field) {
        REQUESTED[at].observe(success, took, |success| {
            METRICS.etcd_server_request_duration_seconds.with(&[success, OPERATIONS[at].1])
        });
    }
}

/// The WAL was synced.
pub fn wal_synced(took: Duration) {
    const WARN: Duration = Duration::from_secs(1);
    METRICS.etcd_disk_wal_fsync_duration_seconds.observe_time(took);
    if took > WARN {
        log::warning!("slow fdatasync", "took" = took, "expected-duration" = WARN);
    }
}

/// Measures a commit of the backend and its phases.
pub struct CommitTimes {
    start: Instant,
    phase: Instant,
}

impl CommitTimes {
    /// A commit begins.
    pub fn start() -> CommitTimes {
        let now = Instant::now();
        CommitTimes { start: now, phase: now }
    }

    /// A phase is over.
    pub fn passed(&mut self, phase: backend::Phase) {
        let began = std::mem::replace(&mut self.phase, Instant::now());
        let took = self.phase - began;
        match phase {
            backend::Phase::Change => return,
            backend::Phase::Rebalance => {
                &METRICS.etcd_debugging_disk_backend_commit_rebalance_duration_seconds
            }
            backend::Phase::Spill => &METRICS.etcd_debugging_disk_backend_commit_spill_duration_seconds,
            backend::Phase::Write => &METRICS.etcd_debugging_disk_backend_commit_write_duration_seconds,
        }
        .observe_time(took);
    }

    /// The commit is over; tells what it took.
    pub fn committed(self) -> Duration {
        let took = self.start.elapsed();
        METRICS.etcd_disk_backend_commit_duration_seconds.observe_time(took);
        took
    }
}

/// A `.snap` file was written: when that began, when it was encoded, when it was synced.
pub fn snap_saved(start: Instant, encoded: Instant, synced: Instant) {
    METRICS.etcd_debugging_snap_save_marshalling_duration_seconds.observe_time(encoded - start);
    METRICS.etcd_snap_fsync_duration_seconds.observe_time(synced - encoded);
    METRICS.etcd_debugging_snap_save_total_duration_seconds.observe_time(synced - start);
}

/// A stream of a client failed otherwise than by the client's leaving.
pub fn stream_failed(kind: &str, api: &str) {
    METRICS.etcd_network_server_stream_failures_total.with(&[api, kind]).inc();
}

/// Responses of a watch stream were handed to the connection: `batches` from the hub with `events` together, and `controls`
/// that answer the client.
pub fn watch_sent(start: Instant, batches: usize, events: usize, controls: usize) {
    let took = start.elapsed();
    METRICS.etcd_debugging_mvcc_events_total.add(events as u64);
    if batches > 0 {
        METRICS.etcd_debugging_server_watch_send_loop_watch_stream_duration_seconds.observe_time(took);
    }
    if events > 0 {
        METRICS
            .etcd_debugging_server_watch_send_loop_watch_stream_duration_per_event_seconds
            .observe(took.as_secs_f64() / events as f64);
    }
    if controls > 0 {
        METRICS.etcd_debugging_server_watch_send_loop_control_stream_duration_seconds.observe_time(took);
    }
}

/// An entry took longer than it should.
pub fn slow_apply(took: Duration, expected: Duration, entry: &raft::Entry) {
    METRICS.etcd_server_slow_apply_total.inc();
    log::warning!(
        "apply request took too long",
        "took" = took,
        "expected-duration" = expected,
        "prefix" = "",
        "request" = format!("index:{} size:{}", entry.index, entry.data.len())
    );
}

/// A request took longer than `--warning-unary-request-duration`. Its content is not logged; -1 stands for what was
/// not counted, as in etcd.
pub fn slow_request(path: &str, took: Duration, remote: crate::http::listener::Remote) {
    log::warning!(
        "request stats",
        "start time" = log::timestamp(std::time::SystemTime::now() - took),
        "time spent" = took,
        "remote" = remote.map_or_else(|| "@".to_owned(), |remote| remote.to_string()),
        "response type" = path,
        "request count" = -1,
        "request size" = -1,
        "response count" = -1,
        "response size" = -1,
        "request content" = ""
    );
}

/// A v2 store was made for a `.snap` file, which is all that is left of it: the members are created in it, their
/// attributes and the version are set, and then everything is read.
pub fn v2_store_made(members: &store::Members) {
    let versions = usize::from(members.cluster_version.is_some());
    let writes = &METRICS.etcd_debugging_store_writes_total;
    writes.with(&["create"]).add((members.list.len() + members.removed.len()) as u64);
    writes.with(&["set"]).add((members.list.len() + versions) as u64);
    METRICS.etcd_debugging_store_reads_total.with(&["getRecursive"]).inc();
}

/// A request was applied.
pub fn applied(request: &[u8], success: bool, took: Duration) {
    if let Some(at) = operation(request) {
        APPLIED[at].observe(success, took, |success| {
            METRICS.etcd_server_apply_duration_seconds.with(&[OPERATIONS[at].1, success, "v3"])
        });
    }
}

/// What a request changed.
pub fn changed(outcome: &store::Outcome) {
    if let Ok(store::Response::Txn(txn)) = &outcome.result
        && txn.responses.len() > 1
    {
        METRICS.etcd_mvcc_txn_total.inc();
    }
    let Some(batch) = &outcome.events else { return };
    let keys = &METRICS.etcd_debugging_mvcc_keys_total;
    let mut deleted = batch.len();
    for event in batch.puts() {
        deleted -= 1;
        METRICS.etcd_mvcc_put_total.inc();
        if event.create_revision == event.mod_revision {
            keys.add(1.0);
        }
        let put = (event.key.len() + value_len(&event.record)) as f64;
        METRICS.etcd_debugging_mvcc_total_put_size_in_bytes.add(put);
    }
    if deleted > 0 {
        METRICS.etcd_mvcc_delete_total.add(deleted as u64);
        keys.add(-(deleted as f64));
    }
}

/// Length of the value in an encoded `mvccpb.KeyValue`.
fn value_len(mut record: &[u8]) -> usize {
    const VALUE: u32 = 5;
    while let Ok((field, wire)) = decode_key(&mut record) {
        if field == VALUE {
            return decode_varint(&mut record).map_or(0, |len| len as usize);
        }
        if skip_field(wire, field, &mut record, DecodeContext::default()).is_err() {
            break;
        }
    }
    0
}

/// What an encoded `InternalRaftRequest` asks for, as a place in [`OPERATIONS`]: its first field that is neither header
/// nor id.
fn operation(mut request: &[u8]) -> Option<usize> {
    loop {
        let (field, wire) = decode_key(&mut request).ok()?;
        if let Some(at) = operation_at(field) {
            return Some(at);
        }
        skip_field(wire, field, &mut request, DecodeContext::default()).ok()?;
    }
}

fn operation_at(field: u32) -> Option<usize> {
    OPERATIONS.iter().position(|(number, _)| *number == field)
}

/// Field numbers of `InternalRaftRequest`, with Go's names.
const OPERATIONS: [(u32, &str); 28] = [
    (4, "Put"),
    (5, "DeleteRange"),
    (6, "Txn"),
    (7, "Compaction"),
    (8, "LeaseGrant"),
    (9, "LeaseRevoke"),
    (10, "Alarm"),
    (11, "LeaseCheckpoint"),
    (1000, "AuthEnable"),
    (1011, "AuthDisable"),
    (1012, "Authenticate"),
    (1013, "AuthStatus"),
    (1100, "AuthUserAdd"),
    (1101, "AuthUserDelete"),
    (1102, "AuthUserGet"),
    (1103, "AuthUserChangePassword"),
    (1104, "AuthUserGrantRole"),
    (1105, "AuthUserRevokeRole"),
    (1106, "AuthUserList"),
    (1107, "AuthRoleList"),
    (1200, "AuthRoleAdd"),
    (1201, "AuthRoleDelete"),
    (1202, "AuthRoleGet"),
    (1203, "AuthRoleGrantPermission"),
    (1204, "AuthRoleRevokePermission"),
    (1300, "ClusterVersionSet"),
    (1301, "ClusterMemberAttrSet"),
    (1302, "DowngradeInfoSet"),
];

/// A step of a compaction was taken; the whole began at `begun` and is over if `done`.
pub fn compacted(step: Duration, begun: Instant, done: bool) {
    let millis = |took: Duration| took.as_secs_f64() * 1000.0;
    METRICS.etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds.observe(millis(step));
    if done {
        METRICS.etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds.observe(0.0);
        METRICS
            .etcd_debugging_mvcc_db_compaction_total_duration_milliseconds
            .observe(millis(begun.elapsed()));
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        METRICS.etcd_debugging_mvcc_db_compaction_last.set(now.map_or(0.0, |d| d.as_secs() as f64));
    }
}

/// A lease was granted.
pub fn lease_granted(ttl: i64) {
    METRICS.etcd_debugging_lease_granted_total.inc();
    METRICS.etcd_debugging_lease_ttl_total.observe(ttl as f64);
}

/// What there is to watch.
pub fn watching(stats: mvcc::watch::HubStats) {
    let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    METRICS.etcd_debugging_mvcc_watch_stream_total.set_int(number(stats.streams));
    METRICS.etcd_debugging_mvcc_watcher_total.set_int(number(stats.watchers));
    METRICS.etcd_debugging_mvcc_slow_watcher_total.set_int(number(stats.lagging));
    METRICS.etcd_debugging_mvcc_pending_events_total.set_int(number(stats.waiting));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_named_by_what_it_asks_for() {
        use prost::Message as _;
        use proto::etcdserverpb as pb;
        let put = pb::InternalRaftRequest {
            header: Some(pb::RequestHeader { id: 7, ..Default::default() }),
            put: Some(pb::PutRequest::default()),
            ..Default::default()
        };
        assert_eq!(operation(&put.encode_to_vec()).map(|at| OPERATIONS[at].1), Some("Put"));
        assert_eq!(operation(&[]), None);
        assert_eq!(operation(b"\xff"), None);
    }

    #[test]
    fn the_value_of_a_record_is_measured_without_decoding_it() {
        use prost::Message as _;
        let mut record =
            proto::mvccpb::KeyValue { key: "k".into(), mod_revision: 300, lease: 7, ..Default::default() };
        assert_eq!(value_len(&record.encode_to_vec()), 0);
        record.value = vec![5; 200].into();
        assert_eq!(value_len(&record.encode_to_vec()), 200);
        assert_eq!(value_len(b"\xff"), 0);
    }
}
