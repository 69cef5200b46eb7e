//! Several members as real processes, of Balsa or of Go etcd, on one loopback; started, killed and compared.
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster::Links;

use super::namespace::Namespace;
use super::small_disk::SmallDisk;
use super::{Member, Ports, Printed, balsa, free_port, http_get, reference, run};

/// A member, running or not. What it is can be changed while it is not.
pub struct Node {
    pub name: String,
    pub ports: Ports,
    /// Where others reach it: its own port, or that of the proxy before it.
    pub peer_port: u16,
    pub binary: PathBuf,
    pub flags: Vec<String>,
    pub data_dir: PathBuf,
    /// What the data directory is on, if not on the disk of all.
    pub disk: Option<SmallDisk>,
    /// Where it runs, if not where all do.
    pub namespace: Option<Arc<Namespace>>,
    pub member: Option<Member>,
    /// It is no member of the cluster any more.
    pub left: bool,
}

/// A cluster in a directory of its own; all members are killed when it is dropped.
pub struct Cluster {
    pub nodes: Vec<Node>,
    /// One that was sent SIGSTOP.
    pub paused: Option<usize>,
    links: Option<Links>,
    /// Last: what is mounted below goes before it.
    pub dir: tempfile::TempDir,
}

impl Cluster {
    /// One member per binary, started together.
    pub fn start(binaries: &[&Path], flags: &[&str]) -> Cluster {
        let mut cluster = Cluster::of(binaries, flags);
        (0..binaries.len()).for_each(|at| cluster.spawn(at));
        (0..binaries.len()).for_each(|at| cluster.wait(at));
        cluster
    }

    /// The same of our own server.
    pub fn balsa(count: usize, flags: &[&str]) -> Cluster {
        let binary = balsa();
        Cluster::start(&vec![binary.as_path(); count], flags)
    }

    /// None is started yet.
    pub fn of(binaries: &[&Path], flags: &[&str]) -> Cluster {
        let dir = tempfile::tempdir().expect("a directory");
        let node = |(at, binary): (usize, &&Path)| {
            let ports = Ports::free();
            Node {
                name: format!("m{at}"),
                peer_port: ports.peer,
                ports,
                binary: binary.to_path_buf(),
                flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
                data_dir: dir.path().join(format!("m{at}")),
                disk: None,
                namespace: None,
                member: None,
                left: false,
            }
        };
        let nodes = binaries.iter().enumerate().map(node).collect();
        Cluster { dir, nodes, paused: None, links: None }
    }

    /// Members of ours, running, whose links can be cut; the first has a small disk of its own where that is possible.
    pub fn linked(count: usize, flags: &[&str]) -> Cluster {
        let binary = balsa();
        let mut cluster = Cluster::of(&vec![binary.as_path(); count], flags);
        let links = Links::new(count);
        for (at, node) in cluster.nodes.iter_mut().enumerate() {
            node.peer_port = free_port();
            let local = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
            links.open(local(node.peer_port), at, local(node.ports.peer)).expect("a free port");
        }
        match SmallDisk::in_memory(&cluster.nodes[0].data_dir) {
            Ok(disk) => cluster.nodes[0].disk = Some(disk),
            Err(why) => println!("no member has a small disk, so none is filled: {why}"),
        }
        (0..count).for_each(|at| cluster.spawn(at));
        (0..count).for_each(|at| cluster.wait(at));
        (0..count).for_each(|at| links.name(at, &cluster.member_id(at)));
        cluster.links = Some(links);
        cluster
    }

    /// The links of [`Cluster::linked`].
    pub fn links(&self) -> &Links {
        self.links.as_ref().expect("a cluster with links")
    }

    /// `name=url` of all.
    pub fn initial(&self) -> String {
        let pair = |node: &Node| format!("{}=http://127.0.0.1:{}", node.name, node.peer_port);
        self.nodes.iter().filter(|node| !node.left).map(pair).collect::<Vec<_>>().join(",")
    }

    /// Starts a member without waiting.
    pub fn spawn(&mut self, at: usize) {
        let initial = self.initial();
        let node = &mut self.nodes[at];
        let log = node.data_dir.with_extension("log");
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log).expect("log file");
        let url = |port| format!("http://127.0.0.1:{port}");
        let namespace = node.disk.as_ref().map(|disk| &disk.namespace).or(node.namespace.as_deref());
        let mut command = match namespace {
            Some(namespace) => namespace.enter(&node.binary),
            None => Command::new(&node.binary),
        };
        // Who finds the others through a registry does not name them.
        let discovered = node.flags.iter().any(|flag| flag.starts_with("--discovery-"));
        let named = if discovered { Vec::new() } else { vec!["--initial-cluster", &initial] };
        let child = command
            .arg("--data-dir")
            .arg(&node.data_dir)
            .args(["--name", &node.name])
            .args(named)
            .args(["--listen-client-urls", &url(node.ports.client)])
            .args(["--advertise-client-urls", &url(node.ports.client)])
            .args(["--listen-peer-urls", &url(node.ports.peer)])
            .args(["--initial-advertise-peer-urls", &url(node.peer_port)])
            .args(&node.flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|e| panic!("start {}: {e}", node.binary.display()));
        let (ports, data_dir) = (node.ports, node.data_dir.clone());
        node.member = Some(Member { child, ports, data_dir, log });
    }

    /// Waits until a member is healthy.
    pub fn wait(&mut self, at: usize) {
        self.nodes[at].member.as_mut().expect("it runs").wait_healthy();
    }

    /// Starts a member again and waits until it is healthy.
    pub fn restart(&mut self, at: usize) {
        self.spawn(at);
        self.wait(at);
    }

    /// SIGKILL.
    pub fn kill(&mut self, at: usize) {
        self.nodes[at].member.take().expect("it runs").kill();
    }

    /// SIGTERM, then waits for the end.
    pub fn stop(&mut self, at: usize) -> Option<i32> {
        self.nodes[at].member.take().expect("it runs").stop()
    }

    /// Whether a member has not ended by itself.
    pub fn runs(&mut self, at: usize) -> bool {
        self.nodes[at].member.as_mut().is_some_and(|member| matches!(member.child.try_wait(), Ok(None)))
    }

    /// Waits for the end of a member that nobody stops.
    pub fn ended(&mut self, at: usize) -> Option<i32> {
        let mut member = self.nodes[at].member.take().expect("it runs");
        let start = Instant::now();
        loop {
            if let Ok(Some(status)) = member.child.try_wait() {
                return status.code();
            }
            assert!(start.elapsed() < Duration::from_secs(30), "still running\n{}", member.log_tail());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends a signal.
    pub fn signal(&self, at: usize, name: &str) {
        let member = self.nodes[at].member.as_ref().expect("it runs");
        let _ = Command::new("kill").arg(name).arg(member.pid().to_string()).status();
    }

    /// Who leads; waits until somebody does.
    pub fn leader(&self) -> usize {
        let leads = |node: &Node| {
            let page = node.member.as_ref().and_then(|_| http_get(node.ports.client, "/metrics"));
            page.is_some_and(|page| page.contains("\netcd_server_is_leader 1\n"))
        };
        let start = Instant::now();
        loop {
            if let Some(at) = self.nodes.iter().position(leads) {
                return at;
            }
            assert!(start.elapsed() < Duration::from_secs(30), "no leader after 30 s\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Has a member lead.
    pub fn lead(&self, at: usize) {
        let start = Instant::now();
        loop {
            let leader = self.leader();
            if leader == at {
                return;
            }
            // It may lead no more by now, or the other may be behind.
            let moved = self.ctl_of(&[leader], &["move-leader", &self.member_id(at)]);
            assert!(start.elapsed() < Duration::from_secs(30), "m{at} does not lead: {}", moved.err);
        }
    }

    /// Somebody who runs and does not lead.
    pub fn follower(&self) -> usize {
        let leader = self.leader();
        let follows = |at: &usize| *at != leader && self.nodes[*at].member.is_some();
        (0..self.nodes.len()).find(follows).expect("a follower")
    }

    /// Where clients reach each member.
    pub fn endpoints(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.ports.endpoint()).collect()
    }

    /// Adds a place for a member that will join; it is not started, and nobody knows it yet.
    pub fn grow(&mut self, binary: &Path) -> usize {
        let at = self.nodes.len();
        let (name, ports) = (format!("m{at}"), Ports::free());
        self.nodes.push(Node {
            data_dir: self.dir.path().join(&name),
            disk: None,
            namespace: None,
            name,
            peer_port: ports.peer,
            ports,
            binary: binary.to_owned(),
            flags: vec!["--initial-cluster-state=existing".into()],
            member: None,
            left: false,
        });
        at
    }

    /// The id of a member that may not have told its name yet.
    pub fn member_id_of_url(&self, at: usize) -> String {
        let list = self.ctl(self.leader(), &["member", "list"]);
        let url = format!("http://127.0.0.1:{}", self.nodes[at].peer_port);
        let own = list.lines().find(|line| line.contains(&url));
        own.and_then(|line| line.split(',').next()).unwrap_or_else(|| panic!("{list}")).to_owned()
    }

    /// The id of a member as etcdctl shows it.
    pub fn member_id(&self, at: usize) -> String {
        let list = self.ctl(self.leader(), &["member", "list"]);
        let own = list.lines().find(|line| line.contains(&format!(" {},", self.nodes[at].name)));
        own.and_then(|line| line.split(',').next()).unwrap_or_else(|| panic!("{list}")).to_owned()
    }

    /// Runs etcdctl against these members.
    pub fn ctl_of(&self, of: &[usize], args: &[&str]) -> Printed {
        let endpoints: Vec<String> = of.iter().map(|at| self.nodes[*at].ports.endpoint()).collect();
        let endpoints = endpoints.join(",");
        let all: Vec<&str> = ["--endpoints", &endpoints].into_iter().chain(args.iter().copied()).collect();
        run(&reference().etcdctl, &all, "")
    }

    /// The same against one, for what must succeed.
    pub fn ctl(&self, at: usize, args: &[&str]) -> String {
        let printed = self.ctl_of(&[at], args);
        assert_eq!(printed.code, Some(0), "{args:?}: {}\n{}", printed.err, self.logs());
        String::from_utf8_lossy(&printed.out).into_owned()
    }

    /// Puts `count` keys at a member, some at a time.
    pub fn put_many(&self, at: usize, prefix: &str, count: usize) {
        self.put_long(at, prefix, count, 5);
    }

    /// The same with values of `value_bytes`.
    pub fn put_long(&self, at: usize, prefix: &str, count: usize, value_bytes: usize) {
        const PARALLEL: usize = 32;
        let endpoint = self.nodes[at].ports.endpoint();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let client = etcd_client::Client::connect([endpoint], None).await.expect("a client");
            let mut tasks = tokio::task::JoinSet::new();
            for part in 0..PARALLEL {
                let (mut client, prefix) = (client.clone(), prefix.to_owned());
                let value = "value".repeat(value_bytes.div_ceil(5));
                tasks.spawn(async move {
                    for n in (part..count).step_by(PARALLEL) {
                        client.put(format!("{prefix}/{n}"), value.as_str(), None).await.expect("put");
                    }
                });
            }
            tasks.join_all().await;
        });
    }

    /// Revision and hash of the keys of a member, if it answers.
    pub fn hash(&self, at: usize) -> Option<(i64, i64)> {
        self.hash_at(at, 0)
    }

    /// The same as of a revision.
    pub fn hash_at(&self, at: usize, revision: i64) -> Option<(i64, i64)> {
        let of = format!("--rev={revision}");
        let printed = self.ctl_of(&[at], &["endpoint", "hashkv", "-w", "json", &of]);
        let parsed: serde_json::Value = serde_json::from_slice(&printed.out).ok()?;
        let hash = &parsed[0]["HashKV"];
        Some((hash["header"]["revision"].as_i64()?, hash["hash"].as_i64()?))
    }

    /// Waits until all that run hold the same, and tells the revision.
    pub fn wait_equal(&self) -> i64 {
        let start = Instant::now();
        loop {
            let running = (0..self.nodes.len()).filter(|at| self.nodes[*at].member.is_some());
            let hashes: Vec<_> = running.map(|at| self.hash(at)).collect();
            if let Some(Some(first)) = hashes.first()
                && hashes.iter().all(|hash| *hash == Some(*first))
            {
                return first.0;
            }
            assert!(
                start.elapsed() < Duration::from_secs(30),
                "not equal after 30 s: {hashes:?}\n{}",
                self.logs()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Everything a member has told its log.
    pub fn log(&self, at: usize) -> String {
        std::fs::read_to_string(self.nodes[at].data_dir.with_extension("log")).unwrap_or_default()
    }

    /// The ends of all logs.
    pub fn logs(&self) -> String {
        let tail = |at: usize| {
            let log = self.log(at);
            let lines: Vec<&str> = log.lines().collect();
            format!("{}:\n{}", self.nodes[at].name, lines[lines.len().saturating_sub(15)..].join("\n"))
        };
        (0..self.nodes.len()).map(tail).collect::<Vec<_>>().join("\n")
    }
}
