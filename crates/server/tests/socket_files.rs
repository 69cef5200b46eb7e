//! Members that listen on socket files: the same service as on a port, and the file comes and goes with the member.
mod harness;
use harness::{Member, Ports, balsa, reference, run};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

/// The answer to `GET path`, asked through a socket file.
fn ask(socket: &Path, path: &str) -> String {
    let mut stream = UnixStream::connect(socket).expect("connect");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("ask");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answer");
    answer
}

/// What a client of a socket file is told in two lives of a member, the first of which ends by SIGKILL.
fn told(server: &Path, dir: &Path, ports: Ports, more: &[String]) -> Vec<String> {
    let client = dir.join("client.sock");
    let flags = [format!("--listen-client-urls=http://{},unix://{}", ports.endpoint(), client.display())];
    let flags = [&flags[..], more].concat();
    let endpoint = format!("--endpoints=unix://{}", client.display());
    let ctl = |args: &[&str]| {
        let printed = run(&reference().etcdctl, &[&[endpoint.as_str()], args].concat(), "");
        format!("{args:?}: {} {:?}", String::from_utf8_lossy(&printed.out), printed.code)
    };
    let first_line = |answer: String| answer.lines().next().unwrap_or_default().to_owned();
    let mut told = Vec::new();
    let member = Member::start(server, &dir.join("data"), ports, &flags);
    told.push(ctl(&["put", "a", "1"]));
    told.push(ctl(&["get", "a"]));
    told.push(first_line(ask(&client, "/health")));
    member.kill();
    told.push(format!("left behind: {}", client.exists()));
    let member = Member::start(server, &dir.join("data"), ports, &flags);
    told.push(ctl(&["get", "a"]));
    assert_eq!(member.stop(), None, "ended by the signal");
    told.push(format!("left behind: {}", client.exists()));
    told
}

#[test]
fn clients_of_a_socket_file_are_told_what_go_tells_them() {
    let (reference, ports) = (reference(), Ports::free());
    let dir = tempfile::tempdir().expect("temporary directory");
    let [ours, go] = ["ours", "go"].map(|name| dir.path().join(name));
    std::fs::create_dir(&ours).and_then(|()| std::fs::create_dir(&go)).expect("directories");
    let told_by_balsa = told(&balsa(), &ours, ports, &reference.emulation());
    assert_eq!(told_by_balsa[1], "[\"get\", \"a\"]: a\n1\n Some(0)");
    assert_eq!(told_by_balsa[2], "HTTP/1.1 200 OK");
    assert_eq!(told_by_balsa.last().map(String::as_str), Some("left behind: false"));
    // Older ones take no path after unix://.
    if reference.version() == "3.7" {
        assert_eq!(told_by_balsa, told(&reference.etcd, &go, ports, &[]));
    }
}

#[test]
fn peers_and_metrics_are_served_on_socket_files_too() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let [peers, metrics] = ["peers", "metrics"].map(|name| dir.path().join(name));
    let flags = [
        format!("--listen-peer-urls=unix://{}", peers.display()),
        format!("--listen-metrics-urls=unix://{}", metrics.display()),
    ];
    let _member = Member::start(&balsa(), &dir.path().join("data"), Ports::free(), &flags);
    assert!(ask(&peers, "/version").contains("etcdcluster"));
    assert!(ask(&metrics, "/metrics").contains("etcd_server_has_leader 1"));
}

#[test]
fn a_socket_file_that_cannot_be_made_ends_the_start() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let peers = format!("--listen-peer-urls=http://127.0.0.1:{}", harness::free_port());
    let error = |url: &str| {
        let ended = Command::new(balsa())
            .current_dir(dir.path())
            .args([&peers, &format!("--listen-client-urls={url}"), "--advertise-client-urls=http://x:1"])
            .output()
            .expect("its end");
        assert_eq!(ended.status.code(), Some(1));
        String::from_utf8_lossy(&ended.stderr).into_owned()
    };
    let text = error("unix:///no/such/directory/x");
    assert!(text.contains("listen unix /no/such/directory/x: bind: no such file or directory"), "{text}");
    let text = error("unixs:///tmp/x");
    assert!(
        text.contains("TLS key/cert (--cert-file, --key-file) must be provided for client url"),
        "{text}"
    );
}
