//! What a member answers over plain HTTP, and how it comes and goes.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]
mod harness;
use harness::{balsa, free_port};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

struct Started {
    child: Child,
    client: u16,
    peer: u16,
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(dir: &Path) -> Started {
    let (client, peer) = (free_port(), free_port());
    let child = Command::new(balsa())
        .arg(format!("--data-dir={}", dir.display()))
        .arg(format!("--listen-client-urls=http://127.0.0.1:{client}"))
        .arg(format!("--advertise-client-urls=http://127.0.0.1:{client}"))
        .arg(format!("--listen-peer-urls=http://127.0.0.1:{peer}"))
        .arg(format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"))
        .arg(format!("--initial-cluster=default=http://127.0.0.1:{peer}"))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let started = Started { child, client, peer };
    let deadline = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(("127.0.0.1", client)).is_err() {
        assert!(Instant::now() < deadline, "the member does not serve");
        std::thread::sleep(Duration::from_millis(20));
    }
    started
}

/// Status line, headers and body of one request.
fn ask(port: u16, method: &str, path: &str) -> (String, String, String) {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(socket, "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut all = String::new();
    socket.read_to_string(&mut all).unwrap();
    let (head, body) = all.split_once("\r\n\r\n").unwrap();
    let (status, headers) = head.split_once("\r\n").unwrap();
    (status.to_owned(), headers.to_ascii_lowercase(), body.to_owned())
}

#[test]
fn plain_http_answers_are_etcds() {
    let dir = tempfile::tempdir().unwrap();
    let member = start(dir.path());
    let ok = "HTTP/1.1 200 OK";

    let (status, headers, body) = ask(member.client, "GET", "/version");
    assert_eq!(
        (status.as_str(), body.starts_with(r#"{"etcdserver":"3.7.1","etcdcluster":""#)),
        (ok, true),
        "{body}"
    );
    assert!(headers.contains("content-type: application/json"), "{headers}");

    let (status, headers, body) = ask(member.client, "GET", "/health");
    assert_eq!((status.as_str(), body.as_str()), (ok, r#"{"health":"true","reason":""}"#));
    assert!(headers.contains("access-control-allow-origin: *"), "{headers}");

    let (status, _, body) = ask(member.client, "GET", "/readyz?verbose&exclude=non_learner");
    assert_eq!(status, ok);
    assert_eq!(body, "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\nok\n");
    assert_eq!(ask(member.client, "GET", "/livez/serializable_read").2, "ok\n");

    let (status, headers, body) = ask(member.client, "POST", "/health");
    assert_eq!((status.as_str(), body.as_str()), ("HTTP/1.1 405 Method Not Allowed", "Method Not Allowed\n"));
    assert!(headers.contains("allow: get"), "{headers}");

    for (port, path) in
        [(member.client, "/nowhere"), (member.client, "/livez/nothing"), (member.peer, "/health")]
    {
        let (status, _, body) = ask(port, "GET", path);
        assert_eq!(
            (status.as_str(), body.as_str()),
            ("HTTP/1.1 404 Not Found", "404 page not found\n"),
            "{path}"
        );
    }
    assert_eq!(ask(member.client, "OPTIONS", "/anything").0, ok);

    let (_, headers, body) = ask(member.peer, "GET", "/members");
    assert!(headers.contains("x-etcd-cluster-id: "), "{headers}");
    assert!(body.contains(r#""name":"default""#), "{body}");
    assert!(ask(member.peer, "GET", "/raft/probing").2.starts_with(r#"{"OK":true,"Now":""#));

    let (_, _, page) = ask(member.client, "GET", "/metrics");
    for line in ["etcd_server_has_leader 1\n", "etcd_server_is_leader 1\n", "grpc_method=\"Put\""] {
        assert!(page.contains(line), "{line} is missing");
    }
}

#[test]
fn a_member_killed_and_started_again_is_the_same_member() {
    let dir = tempfile::tempdir().unwrap();
    let id = |member: &Started| {
        let page = ask(member.client, "GET", "/metrics").2;
        page.lines().find(|l| l.starts_with("etcd_server_id{")).unwrap().to_owned()
    };
    let first = start(dir.path());
    let before = id(&first);
    drop(first);
    assert_eq!(id(&start(dir.path())), before);
}
