//! The same plain HTTP requests get the same answers from Balsa as from Go etcd, on the client and on the peer port, while
//! healthy and with an alarm; and the metrics page names, describes and moves the same metrics.
//!
//! Both servers run one after the other on the same ports, so that member and cluster ids are equal.
mod harness;
use etcd_client::{AlarmAction, AlarmType, Client, ConnectOptions};
use harness::server::eventually;
use harness::{Member, Ports, Reference, balsa, reference, run, run_until};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

/// Asked on the client port of every version.
const CLIENT: &[&str] = &[
    "GET /version",
    "POST /version",
    "HEAD /version",
    "GET /health",
    "GET /health?serializable=true",
    "GET /health?serializable=false",
    "GET /health?exclude=NOSPACE",
    "GET /health?exclude=NOSPACE&exclude=CORRUPT",
    "GET /health?exclude=CORRUPT&serializable=true",
    "GET /health?exclude=nonsense",
    "GET /health?exclude=%4eOSPACE",
    "GET /health?exclude=NOSPACE;exclude=CORRUPT",
    "GET /health?exclude=%zz",
    "POST /health",
    "HEAD /health",
    "GET /health/",
    "GET /version/",
    "GET /metrics/",
    "GET /",
    "POST /nowhere",
    "OPTIONS /nowhere",
    "OPTIONS /health",
    "GET /metrics",
    "POST /metrics",
    "GET /debug/vars",
    "GET /debug/pprof/",
    "GET /v2/keys",
    "GET /config/local/log",
    "GET /members",
    "GET /raft/probing",
];

/// Younger than 3.5.1.
const CLIENT_3_7: &[&str] = &[
    "GET /livez",
    "GET /livez/",
    "GET /livez?verbose",
    "GET /livez?verbose=false",
    "GET /livez?exclude=serializable_read",
    "GET /livez/serializable_read",
    "GET /livez/serializable_read?verbose",
    "GET /livez/linearizable_read",
    "POST /livez",
    "HEAD /livez",
    "GET /readyz",
    "GET /readyz/",
    "GET /readyz?verbose",
    "GET /readyz?verbose&exclude=data_corruption",
    "GET /readyz?verbose&exclude=data_corruption&exclude=non_learner",
    "GET /readyz?verbose&exclude=data_corruption,non_learner",
    "GET /readyz?exclude=nonsense",
    "GET /readyz?verbose&exclude=%64ata_corruption",
    "GET /readyz?verbose&exclude=data%5fcorruption&exclude=non+learner",
    "GET /livez?%76erbose",
    "GET /readyz?exclude=data_corruption",
    "GET /readyz/data_corruption",
    "GET /readyz/data_corruption?exclude=data_corruption",
    "GET /readyz/data_corruption?verbose",
    "GET /readyz/serializable_read",
    "GET /readyz/linearizable_read",
    "GET /readyz/non_learner",
    "GET /readyz/nonsense",
    "POST /readyz/data_corruption",
    "PUT /readyz",
];

const PEER: &[&str] = &[
    "GET /version",
    "POST /version",
    "GET /members",
    "POST /members",
    "GET /raft/probing",
    "POST /raft/probing",
    "GET /",
    "GET /health",
    "GET /metrics",
    "GET /nowhere",
    "OPTIONS /version",
];

/// (request, why it is not compared)
const NOT_YET: &[(&str, &str)] = &[
    ("POST /v3/kv/range", "the JSON gateway is an issue of its own"),
    ("GET /v3/kv/range", "the JSON gateway is an issue of its own"),
    ("GET /debug/requests", "a page of Go's trace library, only with --log-level=debug"),
    ("POST /raft", "the peer protocol is an issue of its own"),
    ("GET /members/hashkv", "the peer protocol is an issue of its own"),
    ("GET /downgrade/enabled", "the peer protocol is an issue of its own"),
];

/// Headers that programs look at.
const HEADERS: &[&str] = &[
    "content-type",
    "x-content-type-options",
    "allow",
    "access-control-allow-origin",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "x-etcd-cluster-id",
];

fn ask(port: u16, request: &str) -> String {
    let (method, path) = request.split_once(' ').expect("method and path");
    let mut socket = TcpStream::connect(("127.0.0.1", port)).expect("connect");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("timeout");
    // Go sends the long page of metrics in chunks, but not to an HTTP/1.0 client.
    let version = if path == "/metrics" { "1.0" } else { "1.1" };
    write!(socket, "{method} {path} HTTP/{version}\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .expect("ask");
    let mut all = Vec::new();
    socket.read_to_end(&mut all).expect("answer");
    String::from_utf8_lossy(&all).into_owned()
}

/// Status, the headers that matter, and the body with what differs by nature masked.
fn answer(port: u16, request: &str) -> String {
    let all = ask(port, request);
    let (head, body) = all.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{request}: {all:?}"));
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default().split(' ').nth(1).unwrap_or_default();
    let mut headers: Vec<String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .filter(|(name, _)| HEADERS.contains(&name.as_str()))
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    headers.sort();
    format!("{status}\n{}\n{}", headers.join("\n"), masked(request, body))
}

fn masked(request: &str, body: &str) -> String {
    if body.starts_with("{\"OK\":true,\"Now\":\"") {
        return "a probe's answer".into();
    }
    if request.contains("/metrics") && body.contains("# HELP") || request.contains("/debug/vars") {
        return "compared elsewhere".into();
    }
    // The order of checks is random in Go.
    let mut lines: Vec<&str> = body.split_inclusive('\n').collect();
    if body.starts_with('[') && body.contains("] ") || body.contains("[+]") || body.contains("[-]") {
        lines.sort_unstable();
    }
    lines.concat()
}

/// Every answer of one server in every state.
fn answers(binary: &Path, dir: &Path, ports: Ports, more: &[String], old: bool) -> BTreeMap<String, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let member = Member::start(binary, dir, ports, more);
    wait_cluster_version(ports.client);
    let asked: Vec<&str> = CLIENT.iter().chain(if old { &[][..] } else { CLIENT_3_7 }).copied().collect();
    let mut all = BTreeMap::new();
    let mut note = |state: &str, port: u16, requests: &[&str]| {
        for request in requests {
            all.insert(format!("{state}: {request}"), answer(port, request));
        }
    };
    note("healthy", ports.client, &asked);
    note("healthy peer", ports.peer, PEER);
    let alarm = |action, kind| {
        runtime.block_on(async {
            let mut client =
                Client::connect([ports.endpoint()], None::<ConnectOptions>).await.expect("client");
            let id = client.status().await.expect("status").header().expect("header").member_id();
            let mut options = etcd_client::AlarmOptions::new();
            options.with_member(id);
            client.alarm(action, kind, Some(options)).await.expect("alarm");
        });
    };
    alarm(AlarmAction::Activate, AlarmType::Nospace);
    note("NOSPACE", ports.client, &asked);
    alarm(AlarmAction::Deactivate, AlarmType::Nospace);
    alarm(AlarmAction::Activate, AlarmType::Corrupt);
    note("CORRUPT", ports.client, &asked);
    drop(member);
    all
}

fn wait_cluster_version(port: u16) {
    for _ in 0..500 {
        if !ask(port, "GET /version").contains("not_decided") {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("the cluster version is never decided");
}

#[test]
fn plain_http_answers_are_those_of_go() {
    let (reference, ports) = (reference(), Ports::free());
    let dir = tempfile::tempdir().expect("temporary directory");
    let old = reference.version() == "3.5";
    let none: &[String] = &[];
    let go = answers(&reference.etcd, &dir.path().join("go"), ports, none, old);
    let ours = answers(&balsa(), &dir.path().join("ours"), ports, &reference.emulation(), old);
    let mut differing = Vec::new();
    for (request, theirs) in &go {
        let ours = &ours[request];
        if ours != theirs && !(old && is_of_its_version(request)) {
            differing.push(format!("== {request}\n-- Go\n{theirs}\n-- Balsa\n{ours}"));
        }
    }
    assert!(differing.is_empty(), "{} of {}\n{}", differing.len(), go.len(), differing.join("\n"));
    assert!(NOT_YET.iter().all(|(request, _)| !CLIENT.contains(request) && !PEER.contains(request)));
}

/// What 3.5.1 answers otherwise than any release of today.
fn is_of_its_version(request: &str) -> bool {
    // The version itself; the content type of newer Prometheus libraries; 3.5's own order of reasons and lack of headers.
    ["/version", "/metrics", "/health", "/debug/pprof", "/members"].iter().any(|path| request.contains(path))
}

#[test]
fn debug_vars_has_the_entries_of_go() {
    let (reference, ports) = (reference(), Ports::free());
    let dir = tempfile::tempdir().expect("temporary directory");
    let keys = |binary: &Path, name: &str| {
        let none: &[String] = &[];
        let _member = Member::start(binary, &dir.path().join(name), ports, none);
        let body = harness::http_get(ports.client, "/debug/vars").expect("vars");
        let text = &body[body.find('{').expect("an object")..=body.rfind('}').expect("an object")];
        let text = text.replace("\r\n", "\n");
        ["cmdline", "file_descriptor_limit", "memstats", "raft.status", "raftState", "applied", "commit"]
            .map(|key| text.contains(&format!("\"{key}\"")))
    };
    assert_eq!(keys(&reference.etcd, "go"), keys(&balsa(), "ours"));
}

/// Families as the page shows them: type and help by name; and the series with a value other than zero.
struct Page {
    families: BTreeMap<String, String>,
    labels: BTreeMap<String, BTreeSet<String>>,
    moved: BTreeSet<String>,
}

impl Page {
    fn read(port: u16) -> Page {
        let all = ask(port, "GET /metrics");
        let body = all.split_once("\r\n\r\n").expect("a body").1;
        let mut page = Page { families: BTreeMap::new(), labels: BTreeMap::new(), moved: BTreeSet::new() };
        let mut family = String::new();
        for line in body.lines() {
            if let Some(rest) = line.strip_prefix("# ") {
                let mut words = rest.splitn(3, ' ');
                let (_, name, said) = (words.next(), words.next(), words.next());
                family = name.unwrap_or_default().to_string();
                page.families.entry(family.clone()).or_default().push_str(said.unwrap_or_default());
                page.families.entry(family.clone()).or_default().push('|');
                continue;
            }
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let labels = series.split_once('{').map_or("", |(_, l)| l.trim_end_matches('}'));
            let names = labels.split(',').filter_map(|l| l.split_once('=')).map(|(name, _)| name.to_string());
            page.labels.entry(family.clone()).or_default().extend(names);
            if value != "0" {
                page.moved.insert(family.clone());
            }
        }
        page
    }
}

fn workload(reference: &Reference, ports: Ports, dir: &Path) -> Page {
    let endpoint = ports.endpoint();
    let ctl = |args: &[&str], input: &str| {
        let all: Vec<&str> = ["--endpoints", &endpoint].into_iter().chain(args.iter().copied()).collect();
        let printed = run(&reference.etcdctl, &all, input);
        assert_eq!(printed.code, Some(0), "{args:?}: {}", printed.err);
        String::from_utf8_lossy(&printed.out).into_owned()
    };
    ctl(&["put", "a", "0"], "");
    ctl(&["put", "a", "1"], "");
    ctl(&["put", "b", "2"], "");
    ctl(&["get", "a"], "");
    ctl(&["txn"], "value(\"a\") = \"1\"\n\nput c 3\nget a\n\n\n");
    ctl(&["del", "b"], "");
    let granted = ctl(&["lease", "grant", "1000"], "");
    let lease = granted.split(' ').nth(1).expect("lease").to_string();
    ctl(&["lease", "keep-alive", "--once", &lease], "");
    ctl(&["lease", "revoke", &lease], "");
    run_until(&reference.etcdctl, &["--endpoints", &endpoint, "watch", "a", "--rev=2"], 3);
    ctl(&["compaction", "3"], "");
    ctl(&["endpoint", "hashkv"], "");
    ctl(&["defrag"], "");
    ctl(&["snapshot", "save", &dir.with_extension("snap").to_string_lossy()], "");
    harness::http_get(ports.client, "/health");
    harness::http_get(ports.client, "/readyz");
    std::thread::sleep(Duration::from_millis(600));
    Page::read(ports.client);
    Page::read(ports.client)
}

/// What Go etcd 3.7.1 moves when a single member is asked all that [`thorough_workload`] asks.
const MOVED_BY_GO: &[&str] = &[
    "etcd_cluster_version",
    "etcd_debugging_auth_revision",
    "etcd_debugging_disk_backend_commit_rebalance_duration_seconds",
    "etcd_debugging_disk_backend_commit_spill_duration_seconds",
    "etcd_debugging_disk_backend_commit_write_duration_seconds",
    "etcd_debugging_lease_granted_total",
    "etcd_debugging_lease_renewed_total",
    "etcd_debugging_lease_revoked_total",
    "etcd_debugging_lease_ttl_total",
    "etcd_debugging_mvcc_compact_revision",
    "etcd_debugging_mvcc_current_revision",
    "etcd_debugging_mvcc_db_compaction_keys_total",
    "etcd_debugging_mvcc_db_compaction_last",
    "etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds",
    "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds",
    "etcd_debugging_mvcc_events_total",
    "etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds",
    "etcd_debugging_mvcc_keys_total",
    "etcd_debugging_mvcc_total_put_size_in_bytes",
    "etcd_debugging_server_lease_expired_total",
    "etcd_debugging_server_watch_send_loop_control_stream_duration_seconds",
    "etcd_debugging_server_watch_send_loop_progress_duration_seconds",
    "etcd_debugging_server_watch_send_loop_watch_stream_duration_per_event_seconds",
    "etcd_debugging_server_watch_send_loop_watch_stream_duration_seconds",
    "etcd_debugging_snap_save_marshalling_duration_seconds",
    "etcd_debugging_snap_save_total_duration_seconds",
    "etcd_debugging_store_reads_total",
    "etcd_debugging_store_writes_total",
    "etcd_disk_backend_commit_duration_seconds",
    "etcd_disk_backend_defrag_duration_seconds",
    "etcd_disk_backend_snapshot_duration_seconds",
    "etcd_disk_wal_fsync_duration_seconds",
    "etcd_disk_wal_write_bytes_total",
    "etcd_disk_wal_write_duration_seconds",
    "etcd_mvcc_db_open_read_transactions",
    "etcd_mvcc_db_total_size_in_bytes",
    "etcd_mvcc_db_total_size_in_use_in_bytes",
    "etcd_mvcc_delete_total",
    "etcd_mvcc_hash_rev_duration_seconds",
    "etcd_mvcc_put_total",
    "etcd_mvcc_range_total",
    "etcd_mvcc_txn_total",
    "etcd_network_client_grpc_received_bytes_total",
    "etcd_network_client_grpc_sent_bytes_total",
    "etcd_network_known_peers",
    "etcd_server_apply_duration_seconds",
    "etcd_server_client_requests_total",
    "etcd_server_feature_enabled",
    "etcd_server_go_version",
    "etcd_server_has_leader",
    "etcd_server_health_success",
    "etcd_server_healthcheck",
    "etcd_server_healthchecks_total",
    "etcd_server_id",
    "etcd_server_is_leader",
    "etcd_server_leader_changes_seen_total",
    "etcd_server_learner_promote_failures",
    "etcd_server_proposals_applied_total",
    "etcd_server_proposals_committed_total",
    "etcd_server_quota_backend_bytes",
    "etcd_server_range_duration_seconds",
    "etcd_server_request_duration_seconds",
    "etcd_server_version",
    "etcd_snap_fsync_duration_seconds",
];

/// [`workload`] and what takes longer: a lease that expires, progress of a watch, snapshots, a promotion that fails.
fn thorough_workload(reference: &Reference, ports: Ports, dir: &Path) -> Page {
    let endpoint = ports.endpoint();
    let ctl = |args: &[&str]| run(&reference.etcdctl, &[&["--endpoints", &endpoint], args].concat(), "");
    ctl(&["lease", "grant", "1"]);
    for n in 0..25 {
        ctl(&["put", "k", &n.to_string()]);
    }
    let watch = ["--endpoints", &endpoint, "watch", "k", "--progress-notify"];
    run_until(&reference.etcdctl, &watch, 1);
    assert_ne!(ctl(&["member", "promote", "1234"]).code, Some(0));
    workload(reference, ports, dir);
    eventually("the lease expires", || {
        Page::read(ports.client).moved.contains("etcd_debugging_server_lease_expired_total")
    });
    Page::read(ports.client)
}

#[test]
fn every_metric_that_a_single_member_of_go_moves_moves() {
    let (reference, ports) = (reference(), Ports::free());
    let dir = tempfile::tempdir().expect("temporary directory");
    let flags = ["--snapshot-count=20", "--watch-progress-notify-interval=200ms"];
    let still = |binary: &Path, name: &str| {
        let dir = dir.path().join(name);
        let _member = Member::start(binary, &dir, ports, &flags);
        wait_cluster_version(ports.client);
        let page = thorough_workload(reference, ports, &dir);
        MOVED_BY_GO.iter().filter(|family| !page.moved.contains(**family)).copied().collect::<Vec<_>>()
    };
    assert_eq!(still(&balsa(), "ours"), [""; 0], "stand still");
    if reference.version() == "3.7" {
        assert_eq!(still(&reference.etcd, "go"), [""; 0], "stand still in Go etcd");
    }
}

/// The runtime of Go: stand-ins in ours where another program is known to read them.
fn is_of_the_runtime(family: &str) -> bool {
    family.starts_with("go_") || family.starts_with("process_network_")
}

#[test]
fn every_metric_of_go_is_there_with_type_help_and_labels_and_moves_with_a_workload() {
    let (reference, ports) = (reference(), Ports::free());
    if reference.version() != "3.7" {
        return; // Names and help lines are those of 3.7.
    }
    let dir = tempfile::tempdir().expect("temporary directory");
    let page = |binary: &Path, name: &str| {
        let none: &[String] = &[];
        let dir = dir.path().join(name);
        let _member = Member::start(binary, &dir, ports, none);
        wait_cluster_version(ports.client);
        workload(reference, ports, &dir)
    };
    let (go, ours) = (page(&reference.etcd, "go"), page(&balsa(), "ours"));
    let mut wrong = Vec::new();
    for (family, said) in &go.families {
        if is_of_the_runtime(family) {
            continue;
        }
        match ours.families.get(family) {
            None => wrong.push(format!("{family} is missing")),
            Some(mine) if mine != said => wrong.push(format!("{family}: Go {said:?}, ours {mine:?}")),
            Some(_) => {}
        }
        if ours.labels.get(family) != go.labels.get(family) {
            wrong.push(format!(
                "{family}: labels {:?}, ours {:?}",
                go.labels.get(family),
                ours.labels.get(family)
            ));
        }
        if go.moved.contains(family) && !ours.moved.contains(family) {
            wrong.push(format!("{family} does not move"));
        }
    }
    let mine = ours.families.keys().filter(|f| f.starts_with("etcd_") || f.starts_with("grpc_"));
    wrong.extend(mine.filter(|f| !go.families.contains_key(*f)).map(|f| format!("{f} is ours alone")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
