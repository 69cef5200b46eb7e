//! A server started exactly as a test says: its own arguments, environment and log; nothing added.
use std::ffi::OsString;
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Ports, Printed, balsa, http_get, reference, run};

/// What to say to a server, and how.
#[derive(Clone, Debug, Default)]
pub struct Said {
    pub args: Vec<OsString>,
    pub env: Vec<(String, String)>,
}

impl Said {
    /// `name=value` pairs as arguments.
    pub fn flags(flags: &[(&str, String)]) -> Said {
        let args = flags.iter().map(|(name, value)| format!("--{name}={value}").into()).collect();
        Said { args, env: Vec::new() }
    }
}

/// The flags that give a lone member its directory and ports.
pub fn place(data_dir: &Path, ports: Ports) -> Vec<(&'static str, String)> {
    let url = |port| format!("http://127.0.0.1:{port}");
    vec![
        ("data-dir", data_dir.display().to_string()),
        ("listen-client-urls", url(ports.client)),
        ("advertise-client-urls", url(ports.client)),
        ("listen-peer-urls", url(ports.peer)),
        ("initial-advertise-peer-urls", url(ports.peer)),
        ("initial-cluster", format!("default={}", url(ports.peer))),
    ]
}

/// A running server, killed when dropped.
pub struct Server {
    child: Child,
    pub ports: Ports,
    pub data_dir: PathBuf,
    stderr: PathBuf,
}

impl Server {
    /// Starts our server on `data_dir` with `more` flags and waits until it is healthy.
    pub fn start(data_dir: &Path, more: &[(&'static str, &str)]) -> Server {
        let server = Server::spawn(data_dir, Ports::free(), more);
        server.wait_healthy()
    }

    /// Starts without waiting.
    pub fn spawn(data_dir: &Path, ports: Ports, more: &[(&'static str, &str)]) -> Server {
        let mut flags = place(data_dir, ports);
        flags.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        Server::say(data_dir, ports, &Said::flags(&flags))
    }

    /// Starts with exactly what is said; `data_dir` and `ports` are where the caller put it.
    pub fn say(data_dir: &Path, ports: Ports, said: &Said) -> Server {
        let stderr = data_dir.with_extension("stderr");
        let file = std::fs::File::options().create(true).append(true).open(&stderr).expect("log file");
        let child = Command::new(balsa())
            .args(&said.args)
            .envs(said.env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .expect("the server starts");
        Server { child, ports, data_dir: data_dir.to_path_buf(), stderr }
    }

    pub fn wait_healthy(mut self) -> Server {
        let healthy =
            |port| http_get(port, "/health").is_some_and(|body| body.contains("\"health\":\"true\""));
        let start = Instant::now();
        while !healthy(self.ports.client) {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("the server ended with {status}\n{}", self.log());
            }
            assert!(start.elapsed() < Duration::from_secs(60), "not healthy after 60 s\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        self
    }

    /// Everything on its standard error.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// Waits until the log holds `text`.
    pub fn wait_log(&self, text: &str) {
        eventually(&format!("log line {text:?}"), || self.log().contains(text));
    }

    /// Runs etcdctl against it.
    pub fn ctl(&self, args: &[&str], input: &str) -> Printed {
        let endpoint = self.ports.endpoint();
        let all: Vec<&str> = ["--endpoints", &endpoint].into_iter().chain(args.iter().copied()).collect();
        run(&reference().etcdctl, &all, input)
    }

    /// As [`Server::ctl`], for what must succeed; gives its output.
    pub fn ctl_ok(&self, args: &[&str]) -> String {
        let printed = self.ctl(args, "");
        assert_eq!(printed.code, Some(0), "{args:?}: {}\n{}", printed.err, self.log());
        String::from_utf8_lossy(&printed.out).into_owned()
    }

    /// Value of a metric without labels, or with exactly the labels given in the name.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let page = http_get(self.ports.client, "/metrics")?;
        let line = page.lines().find(|line| line.strip_prefix(name).is_some_and(|r| r.starts_with(' ')))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    pub fn signal(&self, name: &str) {
        let _ = Command::new("kill").arg(name).arg(self.child.id().to_string()).status();
    }

    /// Waits for the end: exit status, or the signal it died of.
    pub fn end(mut self) -> (Option<i32>, Option<i32>, String) {
        let start = Instant::now();
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return (status.code(), status.signal(), self.log());
            }
            assert!(start.elapsed() < Duration::from_secs(30), "still running\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.ports.client)).expect("its client port");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        stream
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Tries until it is so; panics after ten seconds.
pub fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < Duration::from_secs(10), "not within ten seconds: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
