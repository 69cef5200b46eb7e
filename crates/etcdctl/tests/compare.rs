//! Runs every line of `compare.txt` with Go's etcdctl and with ours, each against a fresh Go server on the same ports,
//! and wants the same stdout, stderr and exit code. Needs `ETCDCTL_GO` and `ETCD_GO`: the programs of etcd 3.7.1.
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SCRIPT: &str = include_str!("compare.txt");

/// A Go server that ends with its value.
struct Server {
    process: Child,
    dir: PathBuf,
}

impl Server {
    fn start(etcd: &str, dir: PathBuf, client_port: u16, peer_port: u16) -> Server {
        let client = format!("http://127.0.0.1:{client_port}");
        let peer = format!("http://127.0.0.1:{peer_port}");
        let _ = std::fs::remove_dir_all(&dir);
        let process = Command::new(etcd)
            .args(["--name", "n1", "--data-dir"])
            .arg(&dir)
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("n1={peer}"), "--log-level", "error"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("ETCD_GO starts");
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(("127.0.0.1", client_port)).is_err() {
            assert!(Instant::now() < deadline, "the server did not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        Server { process, dir }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// Stdout, stderr and exit code of one line.
fn run(line: &str, etcdctl: &Path, port: u16, dir: &Path) -> String {
    let output = Command::new("sh")
        .args(["-c", line])
        .env("CTL", etcdctl)
        .env("EP", format!("127.0.0.1:{port}"))
        .env("DIR", dir)
        .env("ETCDCTL_ENDPOINTS", format!("127.0.0.1:{port}"))
        .stdin(Stdio::null())
        .output()
        .expect("sh runs");
    let text = |bytes: &[u8]| {
        bytes.utf8_chunks().map(|c| format!("{}{:?}", c.valid(), c.invalid())).collect::<String>()
    };
    let stderr = text(&output.stderr);
    let stderr: Vec<&str> =
        stderr.split("Usage:").next().unwrap_or("").lines().filter(|l| !l.starts_with('{')).collect();
    let code = output.status.code().unwrap_or(-1);
    format!("{}\n--- stderr ---\n{}\n--- exit {code}", text(&output.stdout), stderr.join("\n"))
}

/// Blanks out what differs from run to run: times, lease ids, sizes of files.
fn settle(text: &str) -> String {
    let mut settled = String::new();
    for word in text.split_inclusive([' ', '\n', ',', '"', '/', '(']) {
        let body = word.trim_end_matches([' ', '\n', ',', '"', '/', '(']);
        let is_time =
            body.ends_with('s') && body.starts_with(|c: char| c.is_ascii_digit()) && body.contains('.');
        let is_lease =
            body.len() == 16 && body.chars().all(|c| c.is_ascii_hexdigit()) && body != "667880157b8812c8";
        let is_decimal_lease = body.len() == 19 && body.starts_with("758");
        if is_time || is_decimal_lease || (is_lease && text.contains("lease")) {
            settled += "*";
            settled += &word[body.len()..];
        } else {
            settled += word;
        }
    }
    settled
}

#[test]
fn every_command_answers_as_go_s_does() {
    let (Ok(go), Ok(etcd)) = (std::env::var("ETCDCTL_GO"), std::env::var("ETCD_GO")) else {
        eprintln!("skipped: ETCDCTL_GO and ETCD_GO are not set");
        return;
    };
    let (client_port, peer_port) = (free_port(), free_port());
    let dir = std::env::temp_dir().join(format!("etcdctl-compare-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a temporary directory");
    let answers = |etcdctl: &Path| -> Vec<(String, String)> {
        let _server = Server::start(&etcd, dir.join("data"), client_port, peer_port);
        // Until the cluster version is known, some answers differ.
        std::thread::sleep(Duration::from_secs(1));
        let lines = SCRIPT.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(|line| (line.to_owned(), settle(&run(line, etcdctl, client_port, &dir)))).collect()
    };
    let theirs = answers(Path::new(&go));
    let ours = answers(Path::new(env!("CARGO_BIN_EXE_etcdctl")));
    let _ = std::fs::remove_dir_all(&dir);
    let differences: Vec<String> = theirs
        .iter()
        .zip(&ours)
        .filter(|(theirs, ours)| theirs != ours)
        .map(|(theirs, ours)| format!("$ {}\n=== Go\n{}\n=== ours\n{}\n", theirs.0, theirs.1, ours.1))
        .collect();
    assert!(!theirs.is_empty());
    assert!(
        differences.is_empty(),
        "{} of {} differ:\n{}",
        differences.len(),
        theirs.len(),
        differences.join("\n")
    );
}
