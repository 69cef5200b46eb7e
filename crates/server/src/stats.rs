//! Plain counters and histograms of the server room; `http/metrics` names them for the outside.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::log;

/// Counts what happened.
pub type Counter = AtomicU64;

/// Most buckets a histogram has.
const BUCKETS_MAX: usize = 24;

/// A histogram whose bucket bounds double.
pub struct Histogram {
    start: f64,
    len: usize,
    buckets: [AtomicU64; BUCKETS_MAX],
    count: AtomicU64,
    /// Sum of what was observed, as bits of an f64.
    sum: AtomicU64,
}

/// A histogram as shown: upper bounds with cumulated counts, then count and sum.
pub struct Shown {
    /// (upper bound, observations up to it).
    pub buckets: Vec<(f64, u64)>,
    /// Observations.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
}

impl Histogram {
    /// `len` buckets, the first up to `start`, each twice the one before.
    pub const fn doubling(start: f64, len: usize) -> Histogram {
        Histogram {
            start,
            len,
            buckets: [const { AtomicU64::new(0) }; BUCKETS_MAX],
            count: AtomicU64::new(0),
            sum: AtomicU64::new(0),
        }
    }

    /// Notes a value.
    pub fn observe(&self, value: f64) {
        let mut bound = self.start;
        for bucket in &self.buckets[..self.len] {
            if value <= bound {
                bucket.fetch_add(1, Relaxed);
                break;
            }
            bound *= 2.0;
        }
        self.count.fetch_add(1, Relaxed);
        // The closure always gives a value.
        let _ =
            self.sum.fetch_update(Relaxed, Relaxed, |bits| Some((f64::from_bits(bits) + value).to_bits()));
    }

    /// Notes how long something took, in seconds.
    pub fn took(&self, took: Duration) {
        self.observe(took.as_secs_f64());
    }

    /// The present state.
    pub fn show(&self) -> Shown {
        let (mut bound, mut up_to) = (self.start, 0);
        let mut buckets = Vec::with_capacity(self.len);
        for bucket in &self.buckets[..self.len] {
            up_to += bucket.load(Relaxed);
            buckets.push((bound, up_to));
            bound *= 2.0;
        }
        Shown { buckets, count: self.count.load(Relaxed), sum: f64::from_bits(self.sum.load(Relaxed)) }
    }
}

macro_rules! statics {
    ($($(#[$doc:meta])* $name:ident: $kind:ty = $value:expr;)*) => { $($(#[$doc])* pub static $name: $kind = $value;)* };
}

statics! {
    /// Proposals that failed here.
    PROPOSALS_FAILED: Counter = Counter::new(0);
    /// Read rounds that took too long and were asked again.
    SLOW_READ_INDEXES: Counter = Counter::new(0);
    /// Read rounds that failed.
    READ_INDEXES_FAILED: Counter = Counter::new(0);
    /// Entries that took too long.
    SLOW_APPLIES: Counter = Counter::new(0);
    /// `/health` said yes.
    HEALTH_SUCCESS: Counter = Counter::new(0);
    /// `/health` said no.
    HEALTH_FAILURES: Counter = Counter::new(0);
    /// Leases granted.
    LEASES_GRANTED: Counter = Counter::new(0);
    /// Leases revoked.
    LEASES_REVOKED: Counter = Counter::new(0);
    /// Leases renewed.
    LEASES_RENEWED: Counter = Counter::new(0);
    /// Leases that ended by themselves.
    LEASES_EXPIRED: Counter = Counter::new(0);
    /// TTLs of granted leases.
    LEASE_TTLS: Histogram = Histogram::doubling(1.0, 24);
    /// Events for watchers.
    EVENTS: Counter = Counter::new(0);
    /// Events not yet sent.
    EVENTS_PENDING: AtomicI64 = AtomicI64::new(0);
    /// Watchers behind the store.
    SLOW_WATCHERS: AtomicI64 = AtomicI64::new(0);
    /// Open watch streams.
    WATCH_STREAMS: AtomicI64 = AtomicI64::new(0);
    /// Watchers.
    WATCHERS: AtomicI64 = AtomicI64::new(0);
    /// Ranges served.
    RANGES: Counter = Counter::new(0);
    /// Puts applied.
    PUTS: Counter = Counter::new(0);
    /// Deletes applied.
    DELETES: Counter = Counter::new(0);
    /// Txns of several operations applied.
    TXNS: Counter = Counter::new(0);
    /// Bytes put.
    PUT_BYTES: Counter = Counter::new(0);
    /// Bytes appended to the WAL.
    WAL_BYTES: Counter = Counter::new(0);
    /// WAL syncs.
    WAL_FSYNC: Histogram = Histogram::doubling(0.001, 14);
    /// WAL appends.
    WAL_WRITE: Histogram = Histogram::doubling(0.001, 14);
    /// Backend commits.
    BACKEND_COMMIT: Histogram = Histogram::doubling(0.001, 14);
    /// Defragmentations.
    DEFRAG: Histogram = Histogram::doubling(0.1, 13);
    /// Client snapshots.
    SNAPSHOT: Histogram = Histogram::doubling(0.01, 17);
    /// Whole-store hashes.
    HASH: Histogram = Histogram::doubling(0.01, 15);
    /// Hashes by revision.
    HASH_REV: Histogram = Histogram::doubling(0.01, 15);
    /// `.snap` files written.
    SNAP_SAVE: Histogram = Histogram::doubling(0.001, 14);
    /// Ranges that succeeded.
    RANGE_GOOD: Histogram = Histogram::doubling(0.0001, 20);
    /// Ranges that failed.
    RANGE_BAD: Histogram = Histogram::doubling(0.0001, 20);
    /// Entries applied.
    APPLY: Histogram = Histogram::doubling(0.0001, 20);
    /// Bytes of gRPC messages received.
    RECEIVED_BYTES: Counter = Counter::new(0);
    /// Bytes of gRPC messages sent.
    SENT_BYTES: Counter = Counter::new(0);
}

/// Number of gRPC codes.
const CODES: usize = 17;

/// What was counted for one RPC.
pub struct Method {
    /// `unary`, `server_stream` or `bidi_stream`.
    pub kind: &'static str,
    /// `/package.Service/Method`.
    pub path: &'static str,
    /// Calls.
    pub started: Counter,
    /// Calls by code.
    pub handled: [Counter; CODES],
}

static METHODS: LazyLock<HashMap<&'static str, Method>> = LazyLock::new(|| {
    let method = |&path: &&'static str| {
        let kind = match path.rsplit('/').next() {
            Some("RangeStream" | "Snapshot" | "Observe") => "server_stream",
            Some("Watch") if path.starts_with("/grpc.") => "server_stream",
            Some("Watch" | "LeaseKeepAlive") => "bidi_stream",
            _ => "unary",
        };
        (path, Method { kind, path, started: Counter::new(0), handled: [const { Counter::new(0) }; CODES] })
    };
    crate::rpc::PATHS.iter().map(method).collect()
});

/// Every RPC in the order of its path.
pub fn methods() -> Vec<&'static Method> {
    let mut all: Vec<&'static Method> = METHODS.values().collect();
    all.sort_by_key(|m| m.path);
    all
}

/// A call has come in.
pub fn started(path: &str) {
    if let Some(method) = METHODS.get(path) {
        method.started.fetch_add(1, Relaxed);
    }
}

/// A call has been answered.
pub fn handled(path: &str, code: u8) {
    if let Some(counter) = METHODS.get(path).and_then(|m| m.handled.get(usize::from(code))) {
        counter.fetch_add(1, Relaxed);
    }
}

/// Requests by gRPC service kind and client API version.
pub static CLIENT_REQUESTS: Mutex<Vec<((bool, String), u64)>> = Mutex::new(Vec::new());

/// Versions of clients told apart; more count as "unknown".
const CLIENT_VERSIONS_MAX: usize = 32;

/// A client called.
pub fn client_request(path: &str, version: &str) {
    let stream = METHODS.get(path).is_some_and(|m| m.kind != "unary");
    let mut table = CLIENT_REQUESTS.lock();
    if let Some((_, count)) = table.iter_mut().find(|((s, v), _)| *s == stream && v == version) {
        *count += 1;
    } else if table.len() < CLIENT_VERSIONS_MAX {
        table.push(((stream, version.to_owned()), 1));
    }
}

/// A check by path and name, and its results: (good, bad, last was good).
type HealthCheck = ((String, String), (u64, u64, bool));

/// Results of health checks.
pub static HEALTH_CHECKS: Mutex<Vec<HealthCheck>> = Mutex::new(Vec::new());

/// A check of `/livez` or `/readyz` was run.
pub fn health_check(kind: &str, name: &str, good: bool) {
    let mut table = HEALTH_CHECKS.lock();
    let key = (kind.to_owned(), name.to_owned());
    if !table.iter().any(|(k, _)| *k == key) {
        table.push((key.clone(), (0, 0, good)));
    }
    if let Some((_, (goods, bads, last))) = table.iter_mut().find(|(k, _)| *k == key) {
        *(if good { goods } else { bads }) += 1;
        *last = good;
    }
}

/// A running measurement.
#[derive(Clone, Copy)]
pub struct Timer(Instant);

impl Timer {
    /// Starts now.
    pub fn start() -> Timer {
        Timer(Instant::now())
    }
}

/// A Range was served.
pub fn ranged(timer: Timer, success: bool) {
    RANGES.fetch_add(1, Relaxed);
    (if success { &RANGE_GOOD } else { &RANGE_BAD }).took(timer.0.elapsed());
}

/// The WAL was synced.
pub fn wal_synced(took: Duration) {
    const WARN: Duration = Duration::from_secs(1);
    WAL_FSYNC.took(took);
    if took > WARN {
        log::warning!("slow fdatasync", "took" = took, "expected-duration" = WARN);
    }
}

/// An entry took longer than it should.
pub fn slow_apply(took: Duration, expected: Duration, entry: &raft::Entry) {
    SLOW_APPLIES.fetch_add(1, Relaxed);
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
pub fn slow_request(path: &str, took: Duration, remote: std::net::SocketAddr) {
    log::warning!(
        "request stats",
        "start time" = log::timestamp(std::time::SystemTime::now() - took),
        "time spent" = took,
        "remote" = remote.to_string(),
        "response type" = path,
        "request count" = -1,
        "request size" = -1,
        "response count" = -1,
        "response size" = -1,
        "request content" = ""
    );
}

/// An answer to a write tells what it did.
pub fn applied(response: &store::Response) {
    match response {
        store::Response::Put(_) => PUTS.fetch_add(1, Relaxed),
        store::Response::DeleteRange(r) => DELETES.fetch_add(u64::try_from(r.deleted).unwrap_or(0), Relaxed),
        store::Response::Txn(_) => TXNS.fetch_add(1, Relaxed),
        _ => 0,
    };
}

/// A lease was granted.
pub fn lease_granted(ttl: i64) {
    LEASES_GRANTED.fetch_add(1, Relaxed);
    LEASE_TTLS.observe(ttl as f64);
}

/// What there is to watch.
pub fn watching(stats: mvcc::watch::HubStats) {
    let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    WATCH_STREAMS.store(number(stats.streams), Relaxed);
    WATCHERS.store(number(stats.watchers), Relaxed);
    SLOW_WATCHERS.store(number(stats.lagging), Relaxed);
    EVENTS_PENDING.store(number(stats.waiting), Relaxed);
}

/// `/health` was asked.
pub fn health(good: bool) {
    count(if good { &HEALTH_SUCCESS } else { &HEALTH_FAILURES });
}

/// Counts one.
pub fn count(counter: &Counter) {
    counter.fetch_add(1, Relaxed);
}

/// Counts several.
pub fn add(counter: &Counter, many: usize) {
    counter.fetch_add(many as u64, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_cumulates_its_buckets() {
        let histogram = Histogram::doubling(0.5, 3);
        for value in [0.1, 0.5, 0.6, 1.9, 100.0] {
            histogram.observe(value);
        }
        let shown = histogram.show();
        assert_eq!(shown.buckets, [(0.5, 2), (1.0, 3), (2.0, 4)]);
        assert_eq!(shown.count, 5);
        assert!((shown.sum - 103.1).abs() < 1e-9);
    }
}
