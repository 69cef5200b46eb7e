//! A member's life as its operators see it: signals, restarts, a data directory or port in use, systemd, a full disk.
mod harness;

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use harness::Ports;
use harness::server::{Said, Server, eventually, place};

/// The message of every line, all of which must be JSON with level, ts, caller and msg.
fn messages(log: &str) -> Vec<String> {
    let message = |line: &str| -> String {
        let fields: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        for key in ["level", "ts", "caller", "msg"] {
            assert!(fields[key].as_str().is_some_and(|text| !text.is_empty()), "{key} is missing: {line}");
        }
        fields["msg"].as_str().unwrap_or_default().to_owned()
    };
    log.lines().map(message).collect()
}

fn assert_in_order(messages: &[String], wanted: &[&str]) {
    let mut rest = messages.iter();
    for want in wanted {
        assert!(rest.any(|m| m == want), "{want:?} is missing or too early in {messages:#?}");
    }
}

#[test]
fn a_signal_ends_it_by_that_signal_and_a_restart_has_everything() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let ports = Ports::free();
    for (round, (name, number)) in [("-TERM", 15), ("-INT", 2)].into_iter().enumerate() {
        let start = Instant::now();
        let server = Server::spawn(&data, ports, &[]).wait_healthy();
        assert!(start.elapsed() < Duration::from_secs(5), "a start takes {:?}", start.elapsed());
        for before in 0..round {
            assert_eq!(server.ctl_ok(&["get", "--print-value-only", &format!("k{before}")]), "v\n");
        }
        server.ctl_ok(&["put", &format!("k{round}"), "v"]);
        server.signal(name);
        let (code, signal, log) = server.end();
        assert_eq!((code, signal), (None, Some(number)), "{log}");
        let shown = if number == 15 { r#""signal":"terminated""# } else { r#""signal":"interrupt""# };
        assert!(log.contains(shown), "{log}");
    }
}

#[test]
fn the_lines_others_wait_for_come_in_etcds_order() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let server = Server::start(&data, &[]);
    server.wait_log("serving client traffic insecurely");
    server.wait_log("set initial cluster version");
    server.signal("-TERM");
    let (_, _, log) = server.end();
    let messages = messages(&log);
    assert_in_order(
        &messages,
        &[
            "Running: ",
            "configuring peer listeners",
            "configuring client listeners",
            "starting an etcd server",
            "opened backend db",
            "starting etcd server",
            "serving peer traffic",
            "now serving peer/client/metrics",
            "published local member to cluster through raft",
            "ready to serve client requests",
            "serving client traffic insecurely; this is strongly discouraged!",
            "received signal; shutting down",
            "closing etcd server",
            "skipped leadership transfer for single voting member cluster",
            "closed etcd server",
        ],
    );
    assert!(messages.contains(&"set initial cluster version".to_owned()), "{messages:#?}");
}

#[test]
fn systemd_hears_that_it_is_ready() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let (data, ports) = (dir.path().join("data"), Ports::free());
    let mut said = Said::flags(&place(&data, ports));
    said.env.push(("NOTIFY_SOCKET".into(), path.display().to_string()));
    let server = Server::say(&data, ports, &said);
    let mut told = [0; 64];
    let length = socket.recv(&mut told).expect("a datagram");
    assert_eq!(&told[..length], b"READY=1");
    let server = server.wait_healthy();
    server.wait_log("successfully notified init daemon");
}

#[test]
fn a_second_start_on_the_same_directory_waits_until_the_first_ends() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let first = Server::start(&data, &[]);
    first.ctl_ok(&["put", "k", "v"]);
    let second = Server::spawn(
        &data,
        Ports { client: harness::free_port(), ..first.ports },
        &[("listen-peer-urls", &format!("http://127.0.0.1:{}", harness::free_port()))],
    );
    std::thread::sleep(Duration::from_secs(1));
    assert!(harness::http_get(second.ports.client, "/health").is_none(), "it must not serve yet");
    assert_eq!(first.ctl_ok(&["get", "--print-value-only", "k"]), "v\n");
    first.signal("-TERM");
    first.end();
    let second = second.wait_healthy();
    assert_eq!(second.ctl_ok(&["get", "--print-value-only", "k"]), "v\n");
}

#[test]
fn a_start_that_waits_for_a_directory_ends_at_a_signal() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let first = Server::start(&data, &[]);
    let peer = format!("http://127.0.0.1:{}", harness::free_port());
    let ports = Ports { client: harness::free_port(), ..first.ports };
    let second = Server::spawn(&data, ports, &[("listen-peer-urls", &peer)]);
    second.wait_log("configuring client listeners");
    std::thread::sleep(Duration::from_millis(300));
    second.signal("-TERM");
    let (code, signal, log) = second.end();
    assert_eq!((code, signal), (None, Some(15)), "{log}");
}

#[test]
fn a_port_in_use_ends_the_start_with_etcds_words() {
    let dir = tempfile::tempdir().expect("a directory");
    for by_name in [false, true] {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let client = taken.local_addr().expect("bound").port();
        let host = if by_name { "localhost" } else { "127.0.0.1" };
        let url = format!("http://{host}:{client}");
        let data = dir.path().join(host);
        let ports = Ports { client, peer: harness::free_port() };
        let (code, _, log) = Server::spawn(&data, ports, &[("listen-client-urls", &url)]).end();
        assert_eq!(code, Some(1), "{log}");
        let last: serde_json::Value = serde_json::from_str(log.lines().last().unwrap_or("")).expect("a line");
        let error = last["error"].as_str().unwrap_or_default().to_owned();
        assert_eq!((last["level"].as_str(), last["msg"].as_str()), (Some("fatal"), Some("discovery failed")));
        assert_eq!(
            error.replace("localhost", "127.0.0.1"),
            format!("listen tcp 127.0.0.1:{client}: bind: address already in use")
        );
    }
}

/// A file system of its own, if this process may mount one.
struct SmallDisk<'a>(&'a Path);

impl SmallDisk<'_> {
    fn mount(at: &Path) -> Option<SmallDisk<'_>> {
        std::fs::create_dir(at).ok()?;
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=200m", "tmpfs"]).arg(at).status();
        mounted.is_ok_and(|status| status.success()).then_some(SmallDisk(at))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

#[test]
fn a_full_disk_ends_it_with_a_clear_line_and_loses_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let mount = dir.path().join("small");
    let Some(_disk) = SmallDisk::mount(&mount) else {
        eprintln!("skipped: this process may not mount a tmpfs");
        return;
    };
    // The log stays outside.
    let (data, ports, filler) = (dir.path().join("data"), Ports::free(), mount.join("filler"));
    std::os::unix::fs::symlink(&mount, &data).expect("a link");
    let server = Server::spawn(&data, ports, &[]).wait_healthy();
    let value = "v".repeat(1_000_000);
    fill(&filler);
    let mut stored = 0;
    // The open segment and the room the database has allocated take some more; then the next write finds none.
    for n in 0..200 {
        if server.ctl(&["--command-timeout=3s", "put", &format!("k{n:03}")], &value).code != Some(0) {
            break;
        }
        stored += 1;
    }
    let (code, _, log) = server.end();
    assert_eq!(code, Some(1), "{log}");
    let last = log.lines().last().unwrap_or("");
    assert!(last.contains(r#""level":"fatal""#) && last.contains("No space left on device"), "{last}");
    std::fs::remove_file(&filler).expect("room again");
    let server = Server::spawn(&data, ports, &[]).wait_healthy();
    let keys = server.ctl_ok(&["get", "--prefix", "k", "--keys-only"]);
    let kept: Vec<&str> = keys.lines().filter(|line| !line.is_empty()).collect();
    assert!(kept.len() >= stored && stored > 0, "{} of {stored} left", kept.len());
    eventually("it takes writes again", || server.ctl(&["put", "after", "v"], "").code == Some(0));
}

/// Takes all the room there is.
fn fill(path: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).expect("a file");
    let block = vec![0; 64 << 10];
    while file.write_all(&block).is_ok() {}
}
