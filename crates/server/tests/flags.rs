//! What each flag does, seen from outside, whichever way it is said: as an argument, a variable or in the file.
mod harness;

use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use harness::server::{Said, Server, eventually, place};
use harness::{Ports, balsa, http_get, run};

/// Many flags at once, none at its default, with their kind in the file.
fn unusual(dir: &Path, metrics: u16) -> Vec<(&'static str, String, Kind)> {
    let path = |name: &str| dir.join(name).display().to_string();
    vec![
        ("name", "default".into(), Kind::Text),
        ("wal-dir", path("log-of-its-own"), Kind::Text),
        ("max-txn-ops", "2".into(), Kind::Bare),
        ("max-request-bytes", "2000".into(), Kind::Bare),
        ("election-timeout", "3000".into(), Kind::Bare),
        ("bcrypt-cost", "4".into(), Kind::Bare),
        ("snapshot-count", "10".into(), Kind::Bare),
        ("max-snapshots", "1".into(), Kind::Bare),
        ("listen-metrics-urls", format!("http://127.0.0.1:{metrics}"), Kind::Text),
        ("quota-backend-bytes", "123456789".into(), Kind::Bare),
        ("cors", "http://allowed.example:80".into(), Kind::Text),
        ("host-whitelist", "127.0.0.1,allowed.example".into(), Kind::Text),
        ("max-concurrent-streams", "7".into(), Kind::Bare),
        ("grpc-keepalive-interval", "1s".into(), Kind::Nanoseconds(1_000_000_000)),
        ("grpc-keepalive-timeout", "1s".into(), Kind::Nanoseconds(1_000_000_000)),
        ("warning-unary-request-duration", "1ns".into(), Kind::Nanoseconds(1)),
        ("warning-apply-duration", "1ns".into(), Kind::Nanoseconds(1)),
        ("watch-progress-notify-interval", "200ms".into(), Kind::Nanoseconds(200_000_000)),
        ("feature-gates", "PriorityRequest=true".into(), Kind::Text),
        ("unsafe-no-fsync", "true".into(), Kind::Bare),
        ("emulated-version", "3.6".into(), Kind::Text),
        ("log-outputs", path("lines.log"), Kind::List),
        ("log-format", "console".into(), Kind::Text),
    ]
}

/// How the file says it.
enum Kind {
    Text,
    Bare,
    List,
    Nanoseconds(u64),
}

#[derive(Clone, Copy, Debug)]
enum Source {
    Arguments,
    Environment,
    File,
}

fn start(dir: &Path, source: Source, metrics: u16) -> Server {
    let (data, ports) = (dir.join("data"), Ports::free());
    let mut all: Vec<(&str, String, Kind)> =
        place(&data, ports).into_iter().map(|(name, value)| (name, value, Kind::Text)).collect();
    all.extend(unusual(dir, metrics));
    let mut said = Said::default();
    match source {
        Source::Arguments => {
            said.args = all.iter().map(|(name, value, _)| format!("--{name}={value}").into()).collect();
        }
        Source::Environment => {
            let variable = |name: &str| format!("ETCD_{}", name.to_uppercase().replace('-', "_"));
            said.env = all.iter().map(|(name, value, _)| (variable(name), value.clone())).collect();
        }
        Source::File => {
            let line = |(name, value, kind): &(&str, String, Kind)| match kind {
                Kind::Text => format!("{name}: \"{value}\"\n"),
                Kind::Bare => format!("{name}: {value}\n"),
                Kind::List => format!("{name}: [\"{value}\"]\n"),
                Kind::Nanoseconds(number) => format!("{name}: {number}\n"),
            };
            let file = dir.join("etcd.yaml");
            std::fs::write(&file, all.iter().map(line).collect::<String>()).expect("a file");
            said.args = vec!["--config-file".into(), file.into(), "--max-txn-ops=99".into()];
        }
    }
    let server = Server::say(&data, ports, &said);
    eventually("it is healthy", || http_get(metrics, "/health").is_some());
    server
}

fn count(dir: &Path, ending: &str) -> usize {
    let names = std::fs::read_dir(dir).map(|entries| entries.flatten().map(|e| e.file_name())).into_iter();
    names.flatten().filter(|name| name.to_string_lossy().ends_with(ending)).count()
}

/// Answer to an HTTP/1.1 request with these headers.
fn answer(server: &Server, headers: &str) -> String {
    let mut stream = server.connect();
    write!(stream, "GET /version HTTP/1.1\r\nConnection: close\r\n{headers}\r\n").expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    text.to_lowercase()
}

/// HTTP/2 frames of the server as (type, payload) until `enough`.
fn frames(server: &Server, enough: impl Fn(u8, &[u8]) -> bool) -> Vec<u8> {
    let mut stream = server.connect();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").expect("a preface");
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).expect("a frame within five seconds");
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        stream.read_exact(&mut payload).expect("its payload");
        if enough(head[3], &payload) {
            return payload;
        }
    }
}

fn every_flag_shows(source: Source) {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let metrics = harness::free_port();
    let server = start(dir, source, metrics);
    let refused = |args: &[&str], input: &str, why: &str| {
        let printed = server.ctl(args, input);
        assert!(
            printed.code != Some(0) && printed.err.contains(why),
            "{source:?}: {args:?}: {}",
            printed.err
        );
    };
    refused(&["txn"], "\nput a 1\nput b 1\nput c 1\n\n\n", "etcdserver: too many operations in txn request");
    refused(&["put", "big", &"v".repeat(2500)], "", "etcdserver: request is too large");
    assert!(
        server.ctl_ok(&["lease", "grant", "1"]).contains("TTL(5s)"),
        "one and a half elections, in seconds"
    );

    assert!(count(&dir.join("log-of-its-own"), ".wal") > 0 && !dir.join("data/member/wal").exists());
    assert!(http_get(metrics, "/metrics").is_some_and(|page| page.contains("etcd_server_has_leader 1")));
    assert!(http_get(metrics, "/version").is_some_and(|body| body.contains("404")));
    assert_eq!(server.metric("etcd_server_quota_backend_bytes"), Some(123_456_789.0));
    let gate = r#"etcd_server_feature_enabled{name="PriorityRequest",stage="ALPHA"}"#;
    assert_eq!(server.metric(gate), Some(1.0));
    assert_eq!(server.metric("etcd_disk_wal_fsync_duration_seconds_count"), Some(0.0), "--unsafe-no-fsync");
    assert!(http_get(server.ports.client, "/version").is_some_and(|v| v.contains(r#""etcdserver":"3.6."#)));

    let allowed = answer(&server, "Host: 127.0.0.1\r\nOrigin: http://allowed.example:80\r\n");
    assert!(allowed.contains("access-control-allow-origin: http://allowed.example:80"), "{allowed}");
    let other = answer(&server, "Host: allowed.example:80\r\nOrigin: http://other.example\r\n");
    assert!(other.starts_with("http/1.1 200") && !other.contains("access-control-allow-origin"), "{other}");
    assert!(answer(&server, "Host: evil.example\r\n").starts_with("http/1.1 421"));

    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    let settings = frames(&server, |kind, payload| kind == SETTINGS && !payload.is_empty());
    assert!(settings.chunks(6).any(|s| s == [0, 3, 0, 0, 0, 7]), "--max-concurrent-streams: {settings:?}");
    frames(&server, |kind, _| kind == PING);

    let endpoint = server.ports.endpoint();
    let watch = ["--endpoints", &endpoint, "watch", "--progress-notify", "idle"];
    let told = harness::run_until(&harness::reference().etcdctl, &watch, 1);
    assert!(String::from_utf8_lossy(&told.out).contains("progress notify"), "{told:?}");

    for n in 0..40 {
        server.ctl_ok(&["put", &format!("k{n}"), "v"]);
    }
    let snapshots = dir.join("data/member/snap");
    eventually("snapshots are taken, one is kept", || count(&snapshots, ".snap") == 1);
    server.ctl_ok(&["user", "add", "somebody:password"]);
    let database = snapshots.join("db");
    let hash = b"$2a$04$";
    eventually("a hash of cost 4", || {
        std::fs::read(&database).is_ok_and(|bytes| bytes.windows(hash.len()).any(|w| w == hash))
    });
    let lines = std::fs::read_to_string(dir.join("lines.log")).expect("the log file");
    for text in
        ["\twarn\t", "\trequest stats\t", "\tapply request took too long\t", "\tsaved snapshot to disk\t"]
    {
        assert!(lines.contains(text), "{source:?}: {text:?} is missing in\n{lines}");
    }
}

#[test]
fn arguments_take_effect() {
    every_flag_shows(Source::Arguments);
}

#[test]
fn variables_take_effect() {
    every_flag_shows(Source::Environment);
}

#[test]
fn the_file_takes_effect_and_hides_arguments() {
    every_flag_shows(Source::File);
}

#[test]
fn a_small_quota_refuses_writes_and_raises_the_alarm() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(&dir.path().join("data"), &[("quota-backend-bytes", "400000")]);
    let value = "v".repeat(60_000);
    let refused = (0..40).find_map(|n| {
        let put = server.ctl(&["put", &format!("k{n}")], &value);
        (put.code != Some(0)).then_some(put.err)
    });
    assert!(
        refused.as_deref().is_some_and(|e| e.contains("etcdserver: mvcc: database space exceeded")),
        "{refused:?}"
    );
    assert!(server.ctl_ok(&["alarm", "list"]).contains("alarm:NOSPACE"));
}

#[test]
fn periodic_compaction_compacts() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(&dir.path().join("data"), &[("auto-compaction-retention", "1s")]);
    server.ctl_ok(&["put", "k", "old"]);
    server.ctl_ok(&["put", "k", "new"]);
    eventually("the old revision is gone", || {
        server.ctl(&["get", "k", "--rev=2"], "").err.contains("required revision has been compacted")
    });
}

#[test]
fn the_batch_decides_when_the_file_is_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let commits = |limit: &str| {
        let flags = [("backend-batch-interval", "1h"), ("backend-batch-limit", limit)];
        let server = Server::start(&dir.path().join(limit), &flags);
        let now = || server.metric("etcd_disk_backend_commit_duration_seconds_count").unwrap_or(-1.0);
        let before = now();
        for n in 0..5 {
            server.ctl_ok(&["put", &format!("k{n}"), "v"]);
        }
        std::thread::sleep(Duration::from_millis(200));
        now() - before
    };
    assert!(commits("1") >= 5.0, "every put");
    assert_eq!(commits("0").max(0.0), 0.0, "not within an hour");
}

#[test]
fn http_may_have_a_port_of_its_own() {
    let dir = tempfile::tempdir().expect("a directory");
    let (data, http, ports) = (dir.path().join("data"), harness::free_port(), Ports::free());
    let url = format!("http://127.0.0.1:{http}");
    let server = Server::spawn(&data, ports, &[("listen-client-http-urls", &url)]);
    eventually("health", || http_get(http, "/health").is_some_and(|body| body.contains("true")));
    assert!(http_get(ports.client, "/health").is_none_or(|body| !body.contains("true")), "gRPC alone");
    server.ctl_ok(&["put", "k", "v"]);
    let endpoint = format!("127.0.0.1:{http}");
    // Not through `ctl`: a second --endpoints would only add to the first.
    let put = ["--endpoints", &endpoint, "--command-timeout=500ms", "put", "k", "v"];
    let other = run(&harness::reference().etcdctl, &put, "");
    assert_ne!(other.code, Some(0), "no gRPC on the port for HTTP");
}

#[test]
fn two_may_share_a_port_if_both_say_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let shared = [("socket-reuse-port", "true")];
    let first = Server::start(&dir.path().join("first"), &shared);
    let ports = Ports { client: first.ports.client, peer: harness::free_port() };
    let second = Server::spawn(&dir.path().join("second"), ports, &shared);
    second.wait_log("serving client traffic insecurely");
    let alone = Ports { client: first.ports.client, peer: harness::free_port() };
    let (code, _, log) = Server::spawn(&dir.path().join("third"), alone, &[]).end();
    assert!(code == Some(1) && log.contains("address already in use"), "{log}");
}

#[test]
fn a_start_defragments_if_enough_is_freed() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let server = Server::start(&data, &[]);
    let value = "v".repeat(1_000_000);
    for _ in 0..4 {
        assert_eq!(server.ctl(&["put", "k"], &value).code, Some(0));
    }
    server.ctl_ok(&["compact", "5", "--physical"]);
    std::thread::sleep(Duration::from_millis(300));
    server.signal("-TERM");
    server.end();
    for (threshold, line) in [("1000", "Skipping defragmentation"), ("1", "finished defragmenting directory")]
    {
        let server = Server::start(&data, &[("bootstrap-defrag-threshold-megabytes", threshold)]);
        assert!(server.log().contains(line), "{}", server.log());
        server.signal("-TERM");
        server.end();
    }
}

#[test]
fn force_new_cluster_keeps_the_data() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let server = Server::start(&data, &[]);
    server.ctl_ok(&["put", "k", "v"]);
    server.signal("-TERM");
    server.end();
    let server = Server::start(&data, &[("force-new-cluster", "true")]);
    assert_eq!(server.ctl_ok(&["get", "--print-value-only", "k"]), "v\n");
    assert!(server.log().contains("discarding uncommitted WAL entries"));
}

/// Exit status, standard output and standard error of a start that must not succeed.
fn ended(args: &[&str], env: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let dir = tempfile::tempdir().expect("a directory");
    let start = Instant::now();
    let output = Command::new(balsa())
        .args(args)
        .envs(env.iter().copied())
        .current_dir(dir.path())
        .output()
        .expect("the server starts");
    assert!(start.elapsed() < Duration::from_secs(20));
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Seen with Go etcd 3.7.1.
#[test]
fn what_cannot_be_ends_as_in_etcd() {
    const USAGE: &str = "\nUsage:\n\n  etcd [flags]\n";
    let bad_flags = [
        (&["--nonsense"][..], "flag provided but not defined: -nonsense"),
        (&["--snapshot-count=x"], r#"invalid value "x" for flag -snapshot-count: parse error"#),
        (&["--enable-pprof=maybe"], r#"invalid boolean value "maybe" for -enable-pprof: parse error"#),
        (&["--data-dir"], "flag needs an argument: -data-dir"),
    ];
    for (args, text) in bad_flags {
        let (code, out, err) = ended(args, &[]);
        assert!(
            code == Some(2) && out.is_empty() && err.starts_with(&format!("{text}{USAGE}")),
            "{args:?}: {err}"
        );
    }
    let (code, _, err) = ended(&["--log-level=foo"], &[]);
    assert!(code == Some(2) && err.starts_with("panic: unrecognized level: \"foo\"\n"), "{err}");
    let advertise = "--advertise-client-urls is required when --listen-client-urls is set explicitly";
    let unverified = [
        (&["stray"][..], &[][..], r#""stray" is not a valid flag"#),
        (&[], &[("ETCD_SNAPSHOT_COUNT", "x")], r#"invalid value "x" for ETCD_SNAPSHOT_COUNT: parse error"#),
        (&["--auto-compaction-mode=foo"], &[], r#"unknown auto-compaction-mode "foo""#),
        (&["--config-file=/nonexistent"], &[], "open /nonexistent: no such file or directory"),
        (&["--listen-client-urls=http://127.0.0.1:1"], &[], advertise),
        (
            &["--log-outputs=/nonexistent/x"],
            &[],
            r#"open sink "/nonexistent/x": open /nonexistent/x: no such file or directory"#,
        ),
    ];
    for (args, env, error) in unverified {
        let (code, _, err) = ended(args, env);
        let lines: Vec<serde_json::Value> = err.lines().flat_map(serde_json::from_str).collect();
        let found = lines.iter().any(|l| l["msg"] == "failed to verify flags" && l["error"] == error);
        assert!(code == Some(1) && found && lines.len() == err.lines().count(), "{args:?} {env:?}: {err}");
    }
    let (code, _, err) = ended(&["--name", "b"], &[("ETCD_NAME", "a")]);
    let line: serde_json::Value =
        err.lines().last().and_then(|l| serde_json::from_str(l).ok()).expect("a line");
    assert_eq!((code, line["level"].as_str()), (Some(1), Some("fatal")));
    assert!(
        line["msg"].as_str().is_some_and(|m| m.starts_with("conflicting environment variable is shadowed"))
    );
    assert_eq!(line["environment-variable"], "ETCD_NAME");
}

#[test]
fn version_and_help_end_well() {
    for flag in ["--version", "-version"] {
        let (code, out, err) = ended(&[flag], &[]);
        let lines: Vec<&str> = out.lines().collect();
        assert!(code == Some(0) && err.is_empty() && lines[0] == "etcd Version: 3.7.1", "{out}{err}");
        assert!(lines[1].starts_with("Git SHA: ") && lines[2].starts_with("Go Version: "), "{out}");
        assert!(lines[3].starts_with("Go OS/Arch: linux/"), "{out}");
    }
    for flag in ["--help", "-h"] {
        let (code, out, err) = ended(&[flag], &[]);
        assert!(code == Some(0) && err.starts_with("Usage:\n\n  etcd [flags]\n"), "{err}");
        assert!(out.contains("--quota-backend-bytes") && out.contains("Member:"), "{out}");
    }
}

#[test]
fn another_initial_cluster_does_not_change_an_existing_directory() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let server = Server::start(&data, &[]);
    let ids = server.ctl_ok(&["member", "list"]);
    let ports = server.ports;
    server.signal("-TERM");
    server.end();
    let server = Server::spawn(&data, ports, &[("initial-cluster-token", "another")]).wait_healthy();
    assert_eq!(server.ctl_ok(&["member", "list"]), ids, "ids come from the directory");
}
