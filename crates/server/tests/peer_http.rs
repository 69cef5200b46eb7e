//! What a peer listener answers to those it does not want to hear (formats 5.3): a wrong status would stop a Go member.
mod harness;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use harness::server::{Server, eventually};
use harness::{Ports, free_port, http_get};

struct Asked<'a> {
    method: &'a str,
    path: &'a str,
    headers: Vec<(&'a str, String)>,
    body: &'a [u8],
}

/// Head and body of the answer.
fn ask(server: &Server, asked: &Asked<'_>) -> (String, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", server.ports.peer)).expect("its peer port");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    let Asked { method, path, headers, body } = asked;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("Content-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).expect("asked");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text}"));
    (head.to_lowercase(), body.to_owned())
}

fn cluster_id(server: &Server) -> String {
    let (head, _) = ask(server, &Asked { method: "GET", path: "/members", headers: vec![], body: b"" });
    let line = head.lines().find_map(|line| line.strip_prefix("x-etcd-cluster-id: "));
    line.expect("the cluster's id").to_owned()
}

fn introduced(cluster_id: &str) -> Vec<(&'static str, String)> {
    vec![
        ("X-Server-From", "abc".into()),
        ("X-Server-Version", "3.5.1".into()),
        ("X-Min-Cluster-Version", "3.0.0".into()),
        ("X-Etcd-Cluster-ID", cluster_id.into()),
    ]
}

#[test]
fn requests_that_do_not_fit_are_answered_as_etcd_answers_them() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("m"), &[]);
    let cluster = cluster_id(&server);
    let known = || introduced(&cluster);
    let case = |method, path, headers, body: &'static [u8], status: &str, text: &str| {
        let (head, answer) = ask(&server, &Asked { method, path, headers, body });
        assert!(head.starts_with(&format!("http/1.1 {status} ")), "{method} {path}: {head}\n{answer}");
        assert_eq!(answer.trim_end(), text, "{method} {path}");
        head
    };
    let head = case("GET", "/raft", known(), b"", "405", "Method Not Allowed");
    assert!(
        head.contains("allow: post") && head.contains(&format!("x-etcd-cluster-id: {cluster}")),
        "{head}"
    );
    case("POST", "/raft", vec![], b"", "412", "incompatible version");
    case("POST", "/raft", introduced("1"), b"", "412", "cluster ID mismatch");
    case("POST", "/raft", known(), b"\xff\xff", "400", "error unmarshalling raft message");
    let to_another = b"\x08\x08\x10\x05\x18\x07\x20\x01";
    case("POST", "/raft", known(), to_another, "500", "error processing raft message");
    let snapshot_alone = b"\x08\x07\x10\x05\x18\x07\x20\x01";
    case("POST", "/raft", known(), snapshot_alone, "500", "error processing raft message");

    case("POST", "/raft/stream/message/abc", known(), b"", "405", "Method Not Allowed");
    case("GET", "/raft/stream/message/abc", vec![], b"", "412", "incompatible version");
    case("GET", "/raft/stream/other/abc", known(), b"", "404", "invalid path");
    case("GET", "/raft/stream/message/xyz", known(), b"", "404", "invalid from");
    let head = case("GET", "/raft/stream/msgapp/abc", known(), b"", "404", "error sender not found");
    assert!(head.contains("x-server-version: 3.7.1"), "{head}");

    case("GET", "/raft/snapshot", known(), b"", "405", "Method Not Allowed");
    case("POST", "/raft/snapshot", introduced("1"), b"", "412", "cluster ID mismatch");
    let (head, answer) =
        ask(&server, &Asked { method: "POST", path: "/raft/snapshot", headers: known(), body: b"\0\0" });
    assert!(
        head.starts_with("http/1.1 400 ") && answer.starts_with("failed to decode raft message ("),
        "{answer}"
    );
    let wrong = b"\0\0\0\0\0\0\0\x02\x08\x03";
    case("POST", "/raft/snapshot", known(), wrong, "400", "wrong raft message type");
    case("GET", "/members/x", known(), b"", "404", "404 page not found");
    assert!(server.ctl_ok(&["put", "a", "b"]).contains("OK"), "it goes on");
}

#[test]
fn a_database_that_is_none_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("m"), &[]);
    let headers = introduced(&cluster_id(&server));
    let message = b"\x08\x07\x10\x05\x18\x07\x20\x01\x4a\x06\x12\x04\x10\x63\x18\x01";
    let body = [&(message.len() as u64).to_be_bytes()[..], message, &[7; 20_000]].concat();
    let (head, answer) =
        ask(&server, &Asked { method: "POST", path: "/raft/snapshot", headers, body: &body });
    assert!(
        head.starts_with("http/1.1 500 ") && answer.starts_with("failed to save KV snapshot ("),
        "{answer}"
    );
    let snap = server.data_dir.join("member/snap");
    let names: Vec<_> = std::fs::read_dir(snap).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["db"]);
}

#[test]
fn a_stream_is_lost_after_as_long_without_a_sign_of_life_as_raft_read_timeout_says() {
    let dir = tempfile::tempdir().unwrap();
    let ports = Ports::free();
    let peer = TcpListener::bind(("127.0.0.1", free_port())).expect("a port");
    let peer_url = format!("http://{}", peer.local_addr().unwrap());
    let initial = format!("default=http://127.0.0.1:{},other={peer_url}", ports.peer);
    let metrics_port = free_port();
    let metrics = format!("http://127.0.0.1:{metrics_port}");
    let flags = [
        ("initial-cluster", initial.as_str()),
        ("raft-read-timeout", "6s"),
        ("listen-metrics-urls", metrics.as_str()),
    ];
    let _server = Server::spawn(&dir.path().join("m"), ports, &flags);
    peer.set_nonblocking(true).unwrap();
    loop {
        let mut accepted = None;
        eventually("it dials", || {
            accepted = peer.accept().ok();
            accepted.is_some()
        });
        let (mut stream, _) = accepted.expect("it dialed");
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut asked = [0; 4096];
        let len = stream.read(&mut asked).unwrap_or(0);
        if !asked[..len].starts_with(b"GET /raft/stream/message/") {
            continue;
        }
        let head = b"HTTP/1.1 200 OK\r\nX-Server-Version: 3.7.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        let from = Instant::now();
        stream.write_all(head).unwrap();
        assert_eq!(stream.read(&mut asked).expect("it hangs up"), 0);
        let silence = from.elapsed();
        assert!(silence > Duration::from_millis(5900) && silence < Duration::from_secs(20), "{silence:?}");
        eventually("the loss is counted", || {
            let page = http_get(metrics_port, "/metrics").unwrap_or_default();
            let line =
                page.lines().find(|l| l.starts_with("etcd_network_peer_received_failures_total{From="));
            line.is_some_and(|line| !line.ends_with(" 0"))
        });
        return;
    }
}
