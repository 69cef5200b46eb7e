//! Instructions of the hot paths, counted by callgrind: other than times they hardly change from run to run, so that
//! growth shows. The baseline is checked in; growth above a tolerance fails.
//!
//! Paths within rooms run in this program on one thread and are counted to the instruction. Paths of the whole server
//! run in the release binary with one client; what its clocks do meanwhile is in the figure, so the least of three counts
//! stands.

mod baseline;
mod rooms;
mod server;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Result, reference};
use baseline::Baseline;

/// How often a path of the server is counted.
const SERVER_COUNTS: usize = 3;

/// Runs a path so many times.
type Run = fn(u64) -> Result<()>;

/// A path within rooms.
struct RoomPath {
    name: &'static str,
    about: &'static str,
    /// Operations in the shorter of two runs; the other does twice as many, and the difference counts.
    times: u64,
    run: Run,
}

#[rustfmt::skip]
const ROOM_PATHS: &[RoomPath] = &[
    RoomPath { name: "http2-call", times: 20_000, run: rooms::call,
        about: "http2: a put call comes and is answered" },
    RoomPath { name: "node-proposal", times: 20_000, run: rooms::proposal,
        about: "node, raft: from proposal to apply, in batches of ten, alone" },
    RoomPath { name: "wal-entry", times: 20_000, run: rooms::entry,
        about: "wal: an entry is written, in batches of ten" },
    RoomPath { name: "apply-put", times: 20_000, run: rooms::apply,
        about: "store, mvcc, backend: a put is applied, with its part of the commit of 10,000" },
    RoomPath { name: "range-key", times: 20_000, run: rooms::range,
        about: "store, mvcc, backend: a key is read" },
    RoomPath { name: "watch-event", times: 20_000, run: rooms::event,
        about: "mvcc: an event reaches one of 100 watchers on 10 streams" },
];

/// Runs a room's path in this process, for callgrind to count.
pub fn run_room(name: &str, times: u64) -> Result<()> {
    let path = ROOM_PATHS.iter().find(|path| path.name == name).ok_or("no such path")?;
    (path.run)(times)
}

/// Counts all paths and compares them with the baseline, or writes that anew.
pub fn run(balsa: Option<PathBuf>, bless: bool) -> Result<()> {
    let valgrind = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    if !valgrind.is_ok_and(|status| status.success()) {
        return Err("valgrind counts the instructions, and is not there: apt-get install valgrind".into());
    }
    let mut counted = Vec::new();
    let mut say = |name, about, count| {
        eprintln!("{name:14} {count:>9}  {about}");
        counted.push((name, count));
    };
    for path in ROOM_PATHS {
        say(path.name, path.about, per_operation(path.times, 1, |times| of_room(path, times))?);
    }
    let etcd = balsa.map_or_else(reference::balsa, Ok)?;
    for path in server::PATHS {
        let count = |times| server::count(path, &etcd, times);
        say(path.name, path.about, per_operation(path.times, SERVER_COUNTS, count)?);
    }
    if bless { baseline::write(&counted) } else { Baseline::read()?.compare(&counted) }
}

/// What one operation more costs: the least of some counts with twice as many, less the least of some with once as many.
fn per_operation(times: u64, counts: usize, count: impl Fn(u64) -> Result<u64>) -> Result<u64> {
    let least = |times| -> Result<u64> {
        let all = (0..counts).map(|_| count(times)).collect::<Result<Vec<u64>>>()?;
        Ok(all.into_iter().min().unwrap_or(0))
    };
    Ok(least(2 * times)?.saturating_sub(least(times)?) / times)
}

fn of_room(path: &RoomPath, times: u64) -> Result<u64> {
    let dir = scratch()?;
    let out = dir.path().join("counts");
    let line = callgrind(&out);
    let status = Command::new(&line[0])
        .args(&line[1..])
        .arg(std::env::current_exe()?)
        .args(["--room", path.name, "--times", &times.to_string()])
        .status()?;
    if !status.success() {
        return Err(format!("{} under callgrind: {status}", path.name).into());
    }
    total(&out)
}

/// The command line that runs another under callgrind.
fn callgrind(out: &Path) -> Vec<OsString> {
    let mut to = OsString::from("--callgrind-out-file=");
    to.push(out);
    vec!["valgrind".into(), "--quiet".into(), "--tool=callgrind".into(), to]
}

/// All instructions of a run that has ended.
fn total(out: &Path) -> Result<u64> {
    let text = std::fs::read_to_string(out)?;
    let total = text.lines().rev().find_map(|line| line.strip_prefix("totals: "));
    Ok(total.ok_or("callgrind has written no total")?.trim().parse()?)
}

/// A directory in memory where there is such a thing: a disk's waits would let clocks tick.
fn scratch() -> Result<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    Ok(tempfile::Builder::new().prefix("balsa-count-").tempdir_in(parent)?)
}
