//! A server process under measurement: started on fresh loopback ports, stopped by SIGTERM, its costs read from the kernel.
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use crate::Result;

const START_MAX: Duration = Duration::from_secs(120);
const STOP_MAX: Duration = Duration::from_secs(60);

/// A server to start, and how.
#[derive(Clone, Debug, Default)]
pub struct Program {
    pub binary: PathBuf,
    /// A program that runs it, with its arguments; empty: none.
    pub under: Vec<OsString>,
    /// Flags beside those every server gets.
    pub flags: &'static [&'static str],
}

/// Killed when dropped.
pub struct Member {
    program: Program,
    /// Holds `data` and `log`.
    dir: PathBuf,
    pub port: u16,
    place: Place,
    child: Child,
}

/// Who a member is among others.
#[derive(Clone, Debug)]
struct Place {
    name: String,
    port: u16,
    peer_port: u16,
    /// All members, as `--initial-cluster` names them.
    cluster: String,
}

impl Place {
    /// On free ports, and so far alone.
    fn free(name: String) -> Result<Place> {
        let (port, peer_port) = (free_port()?, free_port()?);
        Ok(Place { cluster: format!("{name}=http://127.0.0.1:{peer_port}"), name, port, peer_port })
    }
}

/// What a process has cost so far.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    pub cpu: Duration,
    pub written_bytes: u64,
}

impl std::ops::Sub for Cost {
    type Output = Cost;
    fn sub(self, before: Cost) -> Cost {
        Cost { cpu: self.cpu - before.cpu, written_bytes: self.written_bytes - before.written_bytes }
    }
}

impl std::ops::Add for Cost {
    type Output = Cost;
    fn add(self, other: Cost) -> Cost {
        Cost { cpu: self.cpu + other.cpu, written_bytes: self.written_bytes + other.written_bytes }
    }
}

impl Member {
    /// Starts `program` with its data below `dir` and waits until it is healthy.
    pub fn start(program: Program, dir: &Path) -> Result<Member> {
        let mut member = Member::begin(program, dir, Place::free("default".into())?)?;
        member.wait_healthy()?;
        Ok(member)
    }

    /// Starts a cluster of `count` members, each in a directory of its own below `dir`, and waits until all are healthy.
    pub fn start_cluster(program: &Program, dir: &Path, count: usize) -> Result<Vec<Member>> {
        let places = (0..count).map(|nth| Place::free(format!("m{nth}"))).collect::<Result<Vec<_>>>()?;
        let cluster = places.iter().map(|place| place.cluster.as_str()).collect::<Vec<_>>().join(",");
        let begun = places.into_iter().map(|place| {
            let dir = dir.join(&place.name);
            Member::begin(program.clone(), &dir, Place { cluster: cluster.clone(), ..place })
        });
        let mut members = begun.collect::<Result<Vec<_>>>()?;
        members.iter_mut().try_for_each(Member::wait_healthy)?;
        Ok(members)
    }

    /// Does not wait.
    fn begin(program: Program, dir: &Path, place: Place) -> Result<Member> {
        std::fs::create_dir_all(dir)?;
        let child = spawn(&program, dir, &place)?;
        Ok(Member { program, dir: dir.to_owned(), port: place.port, place, child })
    }

    /// Starts again, once stopped, on the same data and ports. Does not wait.
    pub fn start_again(&mut self) -> Result<()> {
        self.child = spawn(&self.program, &self.dir, &self.place)?;
        Ok(())
    }

    pub fn wait_healthy(&mut self) -> Result<()> {
        let start = Instant::now();
        while !health(self.port).is_some_and(|body| body.contains("\"health\":\"true\"")) {
            if let Some(status) = self.child.try_wait()? {
                return Err(
                    format!("{} ended with {status}\n{}", self.program.binary.display(), self.log()).into()
                );
            }
            if start.elapsed() > START_MAX {
                return Err(
                    format!("{} is not healthy\n{}", self.program.binary.display(), self.log()).into()
                );
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// The last lines of its log.
    fn log(&self) -> String {
        let text = std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }

    /// SIGTERM, then waits for the end.
    pub fn stop(&mut self) -> Result<()> {
        kill(self.pid(), Signal::SIGTERM)?;
        let start = Instant::now();
        while self.child.try_wait()?.is_none() {
            if start.elapsed() > STOP_MAX {
                return Err(format!("{} does not stop\n{}", self.program.binary.display(), self.log()).into());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    pub fn cost(&self) -> Result<Cost> {
        let cpu = clock_gettime(ClockId::pid_cpu_clock_id(self.pid())?)?.into();
        Ok(Cost { cpu, written_bytes: self.proc_number("io", "write_bytes:")? })
    }

    /// Resident memory, files it has mapped included.
    pub fn resident_bytes(&self) -> Result<u64> {
        Ok(self.proc_number("status", "VmRSS:")? * 1024)
    }

    /// Resident memory that is backed by no file.
    pub fn anonymous_bytes(&self) -> Result<u64> {
        Ok(self.proc_number("status", "RssAnon:")? * 1024)
    }

    fn proc_number(&self, file: &str, label: &str) -> Result<u64> {
        let path = format!("/proc/{}/{file}", self.child.id());
        let text = std::fs::read_to_string(&path)?;
        let line = text.lines().find_map(|line| line.strip_prefix(label));
        let number = line.and_then(|rest| rest.split_whitespace().next());
        Ok(number.ok_or_else(|| format!("{path} has no {label}"))?.parse()?)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(program: &Program, dir: &Path, place: &Place) -> Result<Child> {
    let Place { name, port, peer_port, cluster } = place;
    let binary = program.binary.as_os_str();
    let line: Vec<&OsStr> = program.under.iter().map(OsString::as_os_str).chain([binary]).collect();
    let log = File::options().create(true).append(true).open(dir.join("log"))?;
    let (client, peer) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peer_port}"));
    let child = Command::new(line[0])
        .args(&line[1..])
        .arg("--data-dir")
        .arg(dir.join("data"))
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--name", name, "--initial-cluster", cluster])
        .args(["--quota-backend-bytes", "8589934592"])
        .args(program.flags)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn();
    child.map_err(|e| format!("start {}: {e}", line[0].display()).into())
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The answer to /health, if there is one.
pub fn health(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}
