//! Where a server's CPU goes under a load: samples of `perf`, summed by room and by thread.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Result;

/// Crates a function can be of, by the first of these names in its own; what is none of them is Rust's library.
#[rustfmt::skip]
const CRATES: &[(&str, &str)] = &[
    ("server::http", "server: connections"), ("server::rpc", "server: handlers"), ("server::waiters", "server: waiters"),
    ("server::stats", "server: metrics"), ("server::metrics", "server: metrics"), ("server", "server: the rest"),
    ("http2", "http2"), ("node", "node"), ("raft", "raft"), ("wal", "wal"), ("disk", "disk"), ("store", "store"),
    ("mvcc", "mvcc"), ("backend", "backend"), ("proto", "proto, prost"), ("prost", "proto, prost"),
    ("tokio", "tokio, mio"), ("mio", "tokio, mio"), ("http", "http, http-body"), ("http_body", "http, http-body"),
    ("bytes", "bytes"), ("parking_lot", "parking_lot"), ("parking_lot_core", "parking_lot"), ("hashbrown", "hashbrown"),
    ("crc32c", "crc32c"), ("rustix", "disk"), ("memmap2", "disk"),
];

/// What is less than this part of all is summed up.
const SMALL: u64 = 200;

/// `perf record` on a running process.
pub struct Recording {
    perf: Child,
    dir: tempfile::TempDir,
}

impl Recording {
    pub fn start(process: Pid) -> Result<Recording> {
        let dir = tempfile::tempdir()?;
        let perf = Command::new("perf")
            .args([
                "record",
                "--quiet",
                "-e",
                "cpu-clock",
                "-F",
                "1999",
                "-g",
                "-p",
                &process.to_string(),
                "-o",
            ])
            .arg(samples(dir.path()))
            .stdout(Stdio::null())
            .spawn()
            .map_err(|e| format!("perf takes the samples: {e}"))?;
        // It has to find the threads first.
        std::thread::sleep(std::time::Duration::from_millis(300));
        Ok(Recording { perf, dir })
    }

    pub fn stop(mut self) -> Result<Profile> {
        kill(Pid::from_raw(self.perf.id() as i32), Signal::SIGINT)?;
        self.perf.wait()?;
        let output = Command::new("perf")
            .args(["script", "-F", "comm,ip,sym,dso", "-i"])
            .arg(samples(self.dir.path()))
            .stderr(Stdio::null())
            .output()?;
        Ok(Profile::read(&String::from_utf8_lossy(&output.stdout)))
    }
}

fn samples(dir: &Path) -> PathBuf {
    dir.join("samples")
}

/// Samples by room and by thread.
#[derive(Debug, Default)]
pub struct Profile {
    rooms: BTreeMap<String, u64>,
    threads: BTreeMap<String, u64>,
    total: u64,
}

impl Profile {
    /// Reads `perf script`: a line with the thread, lines with its stack, innermost first, and an empty line.
    fn read(text: &str) -> Profile {
        let mut profile = Profile::default();
        for sample in text.split("\n\n") {
            let mut lines = sample.lines().filter(|line| !line.trim().is_empty());
            let Some(thread) = lines.next() else { continue };
            let stack: Vec<&str> = lines.filter_map(|line| Some(line.trim().split_once(' ')?.1)).collect();
            *profile.rooms.entry(room(&stack)).or_default() += 1;
            let thread = thread.trim().trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
            *profile.threads.entry(thread.to_owned()).or_default() += 1;
            profile.total += 1;
        }
        profile
    }

    /// Two tables in Markdown; `micros`: CPU per operation, to be shared out.
    pub fn markdown(&self, micros: f64) -> String {
        [("room", &self.rooms), ("thread", &self.threads)]
            .map(|(name, of)| self.table(name, of, micros))
            .join("\n")
    }

    fn table(&self, name: &str, of: &BTreeMap<String, u64>, micros: f64) -> String {
        let mut rows: Vec<(&String, &u64)> = of.iter().collect();
        rows.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let row = |(name, count): (&String, &u64)| {
            let share = *count as f64 / self.total as f64;
            format!("| {name} | {:.1} % | {:.2} |\n", share * 100.0, share * micros)
        };
        let small = rows.iter().position(|(_, count)| **count * SMALL < self.total).unwrap_or(rows.len());
        let rest: u64 = rows[small..].iter().map(|(_, count)| **count).sum();
        let rest = (rest > 0).then(|| row((&"the rest".to_owned(), &rest)));
        let rows: String = rows[..small].iter().copied().map(row).chain(rest).collect();
        format!("| {name} | share | µs per operation |\n|---|--:|--:|\n{rows}")
    }
}

/// Where a sample belongs: the system call, or the room of the innermost function.
fn room(stack: &[&str]) -> String {
    let Some(first) = stack.first() else { return "unknown".into() };
    if first.contains("([kernel") {
        let entered = stack.windows(2).find(|pair| pair[1].starts_with("do_syscall_64"));
        let faulted = stack.iter().any(|frame| frame.contains("exc_page_fault"));
        let what = match entered {
            _ if faulted => "memory touched for the first time",
            Some(pair) => family(pair[0].split(' ').next().unwrap_or_default()),
            None => "interrupts",
        };
        return format!("kernel: {what}");
    }
    if first.contains("libc.so") {
        return "libc: memory moved and compared, locks".into();
    }
    if first.starts_with("mi_") || first.starts_with("_mi_") {
        return "mimalloc".into();
    }
    let words = |name: &str| {
        first.match_indices(&format!("{name}::")).find_map(|(at, _)| {
            let before = first[..at].chars().next_back();
            (!before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')).then_some(at)
        })
    };
    let found =
        CRATES.iter().filter_map(|(name, room)| Some((words(name)?, std::cmp::Reverse(name.len()), room)));
    found.min().map_or_else(|| "Rust's library".into(), |(_, _, room)| (*room).to_owned())
}

/// What a system call is for, by the kernel's function for it.
fn family(function: &str) -> &str {
    let call = ["__x64_sys_", "ksys_", "do_"].iter().find_map(|prefix| function.strip_prefix(prefix));
    match call.unwrap_or(function) {
        "sendto" | "sendmsg" | "writev" => "answers written",
        "recvfrom" | "recvmsg" | "readv" => "requests read",
        "epoll_wait" | "epoll_pwait" | "epoll_pwait2" => "waiting for sockets",
        "futex" => "threads woken and put to sleep",
        "fdatasync" | "fsync" => "disk synced",
        "pwrite64" | "pwritev" | "pwritev2" | "write" => "files written",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "\
front-0
\tffff __tcp_push ([kernel.kallsyms])
\tffff do_writev ([kernel.kallsyms])
\tffff do_syscall_64 ([kernel.kallsyms])
\t  1234 tokio::io::poll (/etcd)

raft
\t  1234 <http2::connection::Connection>::receive (/etcd)
\t  1235 server::http::h2::Serving<S>::read (/etcd)

raft
\t  1234 core::ptr::drop_in_place<server::rpc::body::Body> (/etcd)

raft
\t  1234 alloc::vec::Vec<T>::push (/etcd)
";

    #[test]
    fn samples_belong_to_the_room_of_the_innermost_function_or_to_the_system_call() {
        let profile = Profile::read(SCRIPT);
        let rooms: Vec<(&str, u64)> = profile.rooms.iter().map(|(room, n)| (&room[..], *n)).collect();
        let expected =
            [("Rust's library", 1), ("http2", 1), ("kernel: answers written", 1), ("server: handlers", 1)];
        assert_eq!(rooms, expected);
        assert_eq!((profile.total, profile.threads["raft"]), (4, 3));
        assert!(profile.markdown(8.0).contains("| raft | 75.0 % | 6.00 |"));
    }
}
