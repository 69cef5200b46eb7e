//! Members as processes: start, kill, pause, stop, and the cluster of them.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::Links;

/// Longest wait for a member to answer or to end.
const WAIT: Duration = Duration::from_secs(60);

/// How a cluster is made.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The program of each member.
    pub programs: Vec<PathBuf>,
    /// Where data and logs go.
    pub dir: PathBuf,
    /// Further flags of every member.
    pub flags: Vec<String>,
}

/// One member: where it is reached, where its files are, and its process while it runs.
pub struct Member {
    /// `m1`, `m2`, …
    pub name: String,
    /// Port for clients.
    pub client_port: u16,
    /// The peer URL that others know: the proxy's.
    pub peer_url: String,
    /// Its data directory.
    pub data_dir: PathBuf,
    /// What it logs.
    pub log: PathBuf,
    /// The program that runs.
    pub program: PathBuf,
    /// The port behind the proxy.
    listen_port: u16,
    child: Option<Child>,
}

/// Members and the links between them. Everything that runs is killed when it is dropped.
pub struct Cluster {
    /// By number.
    pub members: Vec<Member>,
    /// What may pass between them.
    pub links: Links,
    setup: Setup,
    initial: String,
}

impl Cluster {
    /// Starts a new cluster and waits until every member is healthy.
    ///
    /// # Errors
    /// A program cannot be started, or a member does not become healthy: the end of its log is in the text.
    pub fn start(setup: Setup) -> Result<Cluster, String> {
        let mut cluster = Cluster::prepare(setup)?;
        for at in 0..cluster.members.len() {
            cluster.spawn(at, "new")?;
        }
        for at in 0..cluster.members.len() {
            cluster.members[at].wait_healthy()?;
        }
        cluster.learn_ids()?;
        Ok(cluster)
    }

    fn prepare(setup: Setup) -> Result<Cluster, String> {
        std::fs::create_dir_all(&setup.dir).map_err(|e| format!("{}: {e}", setup.dir.display()))?;
        let links = Links::new(setup.programs.len());
        let mut members = Vec::new();
        for (at, program) in setup.programs.iter().enumerate() {
            let name = format!("m{}", at + 1);
            let (front, listen_port) = (free_port(), free_port());
            links.open(local(front), at, local(listen_port)).map_err(|e| format!("port {front}: {e}"))?;
            members.push(Member {
                client_port: free_port(),
                peer_url: format!("http://127.0.0.1:{front}"),
                data_dir: setup.dir.join(&name),
                log: setup.dir.join(format!("{name}.log")),
                program: program.clone(),
                listen_port,
                child: None,
                name,
            });
        }
        let pairs: Vec<String> = members.iter().map(|m| format!("{}={}", m.name, m.peer_url)).collect();
        Ok(Cluster { initial: pairs.join(","), members, links, setup })
    }

    /// Starts member `at` on its data directory; `state` is that of `--initial-cluster-state`.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn spawn(&mut self, at: usize, state: &str) -> Result<(), String> {
        let member = &mut self.members[at];
        let client = format!("http://127.0.0.1:{}", member.client_port);
        let open = std::fs::OpenOptions::new().create(true).append(true).open(&member.log);
        let log = open.map_err(|e| format!("{}: {e}", member.log.display()))?;
        let child = Command::new(&member.program)
            .args(["--name", &member.name, "--data-dir"])
            .arg(&member.data_dir)
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &format!("http://127.0.0.1:{}", member.listen_port)])
            .args(["--initial-advertise-peer-urls", &member.peer_url])
            .args(["--initial-cluster", &self.initial, "--initial-cluster-state", state])
            .args(&self.setup.flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|e| format!("start {}: {e}", member.program.display()))?;
        member.child = Some(child);
        Ok(())
    }

    /// Starts a member again and waits until it is healthy.
    ///
    /// # Errors
    /// As of [`Cluster::start`].
    pub fn restart(&mut self, at: usize) -> Result<(), String> {
        self.spawn(at, "new")?;
        self.members[at].wait_healthy()
    }

    /// Where clients reach the members, as `--endpoints` takes them.
    #[must_use]
    pub fn endpoints(&self) -> String {
        let all: Vec<String> = self.members.iter().map(Member::endpoint).collect();
        all.join(",")
    }

    /// The links learn which member has which id.
    fn learn_ids(&mut self) -> Result<(), String> {
        let listen = self.members[0].listen_port;
        let list = http_get(listen, "/members").ok_or("no member tells the ids of all")?;
        for (at, member) in self.members.iter().enumerate() {
            let urls = format!("\"peerURLs\":[\"{}\"]", member.peer_url);
            let before = list.split(&urls).next().filter(|before| before.len() < list.len());
            let id = before.and_then(|before| before.rsplit("\"id\":").next());
            let id = id.and_then(|rest| rest.trim_end_matches(',').parse::<u64>().ok());
            let id = id.ok_or_else(|| format!("{} is not in {list}", member.name))?;
            self.links.name(at, &format!("{id:x}"));
        }
        Ok(())
    }
}

impl Member {
    /// `127.0.0.1:port` for clients.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.client_port)
    }

    /// The process, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// SIGKILL: what a crash leaves.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// It still runs after a minute.
    pub fn stop(&mut self) -> Result<(), String> {
        self.signal("TERM");
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let start = Instant::now();
        while start.elapsed() < WAIT {
            if let Ok(Some(_)) = child.try_wait() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = child.kill();
        let _ = child.wait();
        Err(format!("{} did not stop\n{}", self.name, self.log_tail()))
    }

    /// SIGSTOP: it does nothing, and its connections stay open.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        if let Some(pid) = self.pid() {
            let _ = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
        }
    }

    /// Waits until it answers `/health` with true.
    ///
    /// # Errors
    /// It does not within a minute, or has ended.
    pub fn wait_healthy(&mut self) -> Result<(), String> {
        let start = Instant::now();
        while start.elapsed() < WAIT {
            let healthy = http_get(self.client_port, "/health");
            if healthy.is_some_and(|body| body.contains("\"health\":\"true\"")) {
                return Ok(());
            }
            if let Some(Ok(Some(status))) = self.child.as_mut().map(Child::try_wait) {
                return Err(format!("{} ended with {status}\n{}", self.name, self.log_tail()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(format!("{} is not healthy\n{}", self.name, self.log_tail()))
    }

    /// The end of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A port that was free a moment ago, below the range from which the system takes those of clients, given out once.
#[must_use]
pub fn free_port() -> u16 {
    static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);
    // Tests of several processes begin at different places.
    let begin = std::process::id().wrapping_mul(7919);
    for step in 0.. {
        let port = 10_000 + u16::try_from((begin.wrapping_add(step * 31)) % 22_000).unwrap_or(0);
        let is_new = GIVEN.lock().unwrap_or_else(PoisonError::into_inner).insert(port);
        if is_new && TcpListener::bind(local(port)).is_ok() {
            return port;
        }
    }
    0
}

/// The body of a GET on loopback, if anybody answers within two seconds.
#[must_use]
pub fn http_get(port: u16, path: &str) -> Option<String> {
    let timeout = Duration::from_secs(2);
    let mut socket = TcpStream::connect_timeout(&local(port), timeout).ok()?;
    socket.set_read_timeout(Some(timeout)).ok()?;
    write!(socket, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    Some(body.to_owned())
}

impl Setup {
    /// `count` members of one program.
    #[must_use]
    pub fn of(program: &Path, count: usize, dir: &Path) -> Setup {
        Setup { programs: vec![program.to_owned(); count], dir: dir.to_owned(), flags: Vec::new() }
    }
}
