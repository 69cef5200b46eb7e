//! Our etcdctl against our server, line by line of `script.txt`, answers as Go's did: `recorded.txt` holds stdout, stderr
//! and exit code of etcd 3.7.1's programs. Every test runs on the same loopback addresses, so that member and cluster
//! ids are those of the record; they wait for each other.
//!
//! To record again, or to see whether the record is still what Go prints, name etcd 3.7.1's programs:
//! `ETCDCTL_GO=… ETCD_GO=… [ETCDCTL_RECORD=1] cargo test -p balsa-etcdctl --test compare -- --ignored`
use std::fs::File;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SCRIPT: &str = include_str!("script.txt");
const CLIENT: &str = "127.77.3.1:12379";
const PEER: &str = "127.77.3.1:12380";
/// Seconds after which the script's watches and other endless commands are ended; twice so many, then four times,
/// when the answer is not the expected one: the machine may just be slow.
const PATIENCE: [&str; 3] = ["0.7", "1.5", "4"];

fn recorded() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded.txt")
}

/// A server that ends with its value, with a scratch directory of its own.
struct Server {
    process: Child,
    dir: PathBuf,
    /// Keeps other tests off the addresses.
    _turn: File,
}

impl Server {
    fn start(etcd: &Path) -> Server {
        let turn = File::create(std::env::temp_dir().join("etcdctl-compare.lock")).expect("a lock file");
        turn.lock().expect("a turn");
        let dir = std::env::temp_dir().join(format!("etcdctl-compare-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("a scratch directory");
        let (client, peer) = (format!("http://{CLIENT}"), format!("http://{PEER}"));
        let process = Command::new(etcd)
            .args(["--name", "n1", "--data-dir"])
            .arg(dir.join("data"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("n1={peer}"), "--log-level", "error"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", etcd.display()));
        let server = Server { process, dir, _turn: turn };
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(CLIENT).is_err() {
            assert!(Instant::now() < deadline, "the server did not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        // Until the cluster version is known, some answers differ.
        std::thread::sleep(Duration::from_secs(1));
        server
    }

    /// Stdout, stderr and exit code of one line.
    fn answer(&self, line: &str, etcdctl: &Path, patience: &str) -> String {
        let mut command = Command::new("sh");
        let names = std::env::vars_os().map(|(name, _)| name);
        names.filter(|name| name.to_string_lossy().starts_with("ETCDCTL_")).for_each(|name| {
            command.env_remove(name);
        });
        let output = command
            .args(["-c", line])
            .env("CTL", etcdctl)
            .env("EP", CLIENT)
            .env("DIR", &self.dir)
            .env("T", patience)
            .env("ETCDCTL_ENDPOINTS", CLIENT)
            .stdin(Stdio::null())
            .output()
            .expect("sh runs");
        let stderr = text(&output.stderr);
        let before_usage = stderr.split("Usage:").next().unwrap_or_default();
        let mut answer = text(&output.stdout);
        for line in before_usage.lines().filter(|line| !line.starts_with('{')) {
            answer += &format!("stderr: {line}\n");
        }
        settle(&answer.replace(&*self.dir.to_string_lossy(), "DIR"))
            + &format!("exit: {}\n", output.status.code().unwrap_or(-1))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Printable, in whole lines: other bytes as `\xff`, control characters as Rust escapes them.
fn text(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() && c != '\n' { text.extend(c.escape_debug()) } else { text.push(c) }
        }
        chunk.invalid().iter().for_each(|byte| text += &format!("\\x{byte:02x}"));
    }
    if !text.is_empty() && !text.ends_with('\n') {
        text += "\\\n";
    }
    text
}

/// Blanks out what differs from run to run: times, lease ids, and how much of the file the last commit has freed.
fn settle(text: &str) -> String {
    let mut columns: Vec<&str> = text.split(", ").collect();
    for at in 1..columns.len() {
        if columns[at].strip_suffix('%').is_some_and(|n| n.parse::<u32>().is_ok()) {
            (columns[at - 1], columns[at]) = ("*", "*");
        }
    }
    let text = &columns.join(", ");
    const ENDS: [char; 6] = [' ', '\n', ',', '"', '/', '('];
    let mut settled = String::new();
    for word in text.split_inclusive(ENDS) {
        let body = word.trim_end_matches(ENDS);
        let is_time = body.trim_end_matches('.').ends_with('s')
            && body.starts_with(|c: char| c.is_ascii_digit())
            && body.contains('.');
        let is_hex = body.len() == 16 && body.chars().all(|c| c.is_ascii_hexdigit());
        if is_time || is_hex && text.contains("lease") {
            settled += "*";
            settled += &word[body.len()..];
        } else {
            settled += word;
        }
    }
    settled
}

fn lines() -> impl Iterator<Item = &'static str> {
    SCRIPT.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Runs the script and reports every answer that is not the recorded one.
fn compare(etcdctl: &Path, etcd: &Path) {
    let record = std::fs::read_to_string(recorded()).expect("recorded.txt");
    let record: Vec<(&str, &str)> = record
        .split("\n$ ")
        .map(|part| part.strip_prefix("$ ").unwrap_or(part))
        .filter_map(|part| part.split_once('\n'))
        .collect();
    let commands: Vec<&str> = record.iter().map(|(line, _)| *line).collect();
    assert_eq!(commands, lines().collect::<Vec<_>>(), "script.txt has changed: record again");
    let server = Server::start(etcd);
    let mut differences = Vec::new();
    for (line, expected) in &record {
        let tries = if line.contains("$T") { &PATIENCE[..] } else { &PATIENCE[..1] };
        let mut answers = tries.iter().map(|patience| server.answer(line, etcdctl, patience));
        let mut answer = String::new();
        if !answers.any(|next| {
            answer = next;
            answer.trim_end() == expected.trim_end()
        }) {
            differences.push(format!("$ {line}\n--- recorded\n{expected}\n--- now\n{answer}"));
        }
    }
    let (count, all) = (differences.len(), record.len());
    assert!(differences.is_empty(), "{count} of {all} differ:\n{}", differences.join("\n"));
}

/// Our server: `BALSA_ETCD`, or beside the tests, where a build of the workspace puts it.
fn our_server() -> PathBuf {
    if let Some(named) = std::env::var_os("BALSA_ETCD") {
        return named.into();
    }
    let etcd = Path::new(env!("CARGO_BIN_EXE_etcdctl")).with_file_name("etcd");
    if !etcd.exists() {
        let built = Command::new(env!("CARGO")).args(["build", "--package", "balsa-server"]).status();
        assert!(built.is_ok_and(|status| status.success()) && etcd.exists(), "cannot build our server");
    }
    etcd
}

#[test]
fn our_etcdctl_answers_with_our_server_as_recorded_from_go() {
    compare(Path::new(env!("CARGO_BIN_EXE_etcdctl")), &our_server());
}

#[test]
#[ignore = "needs etcd 3.7.1: ETCDCTL_GO and ETCD_GO"]
fn go_answers_as_recorded_and_so_does_our_etcdctl_with_its_server() {
    let program = |name| PathBuf::from(std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set")));
    let (etcdctl, etcd) = (program("ETCDCTL_GO"), program("ETCD_GO"));
    if std::env::var_os("ETCDCTL_RECORD").is_some() {
        let server = Server::start(&etcd);
        let answers = lines().map(|line| format!("$ {line}\n{}\n", server.answer(line, &etcdctl, "1.5")));
        std::fs::write(recorded(), answers.collect::<String>()).expect("recorded.txt");
    }
    compare(&etcdctl, &etcd);
    compare(Path::new(env!("CARGO_BIN_EXE_etcdctl")), &etcd);
}
