//! How long puts wait while the server is maintained, lists or deletes much, and how long a plain writer beside it waits for
//! the same disk.
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use prost::Message;
use proto::etcdserverpb::{
    CompactionRequest, DefragmentRequest, DeleteRangeRequest, HashKvRequest, SnapshotRequest,
};

use super::{Stand, big, large};
use crate::Result;
use crate::load::{Done, histogram};
use crate::pace::Pace;
use crate::report::Figure;
use crate::request::{self, Random};
use crate::wire::Client;

const PUTS_PER_SECOND: u32 = 500;
const VALUE_BYTES: usize = 256;
/// Puts are watched this long even if the maintenance is over earlier: two thousand of them.
const WATCHED_MIN: Duration = Duration::from_secs(4);
/// Keys deleted at once.
const DELETED_KEYS: u64 = 100_000;
/// The plain writer's pause: often enough to meet what the disk does, rarely enough to be no load.
const WRITER_PAUSE: Duration = Duration::from_millis(10);
const WRITER_BYTES: usize = 512;
const WRITER_FILE_BYTES: usize = 16 << 20;
/// For what a server still does with what it was given before, and then for the disk.
const SETTLING: Duration = Duration::from_secs(2);

/// The server beside whose puts something is done.
struct Target {
    port: u16,
    /// Big keys in it.
    keys: u64,
    /// Its newest revision.
    revision: i64,
}

/// Names of the figures of what is done, and what it is.
struct Work {
    longest: &'static str,
    p999: &'static str,
    above: &'static str,
    writer: &'static str,
    takes: &'static str,
    run: fn(&Target) -> Result<()>,
}

const NOTHING: Work = Work {
    longest: "longest put with nothing else, ms",
    p999: "p99.9 with nothing else, ms",
    above: "",
    writer: "p99.9 of a plain writer with nothing else, ms",
    takes: "",
    run: |_| {
        std::thread::sleep(Duration::from_secs(6));
        Ok(())
    },
};

const WORKS: [Work; 4] = [
    Work {
        longest: "longest put during HashKV, ms",
        p999: "p99.9 during HashKV, ms",
        above: "p99.9 during HashKV above that with nothing else, ms",
        writer: "p99.9 of a plain writer during HashKV, ms",
        takes: "HashKV takes, ms",
        run: |at| ask(at, "/etcdserverpb.Maintenance/HashKV", &HashKvRequest::default()),
    },
    Work {
        longest: "longest put during a snapshot, ms",
        p999: "p99.9 during a snapshot, ms",
        above: "p99.9 during a snapshot above that with nothing else, ms",
        writer: "p99.9 of a plain writer during a snapshot, ms",
        takes: "a snapshot takes, ms",
        run: |at| ask(at, "/etcdserverpb.Maintenance/Snapshot", &SnapshotRequest {}),
    },
    Work {
        longest: "longest put during a compaction, ms",
        p999: "p99.9 during a compaction, ms",
        above: "p99.9 during a compaction above that with nothing else, ms",
        writer: "p99.9 of a plain writer during a compaction, ms",
        takes: "a compaction takes, ms",
        // Until what is gone is gone from the file.
        run: |at| {
            let compaction = CompactionRequest { revision: at.revision, physical: true };
            ask(at, "/etcdserverpb.KV/Compact", &compaction)
        },
    },
    Work {
        longest: "longest put during a defragmentation, ms",
        p999: "p99.9 during a defragmentation, ms",
        above: "p99.9 during a defragmentation above that with nothing else, ms",
        writer: "p99.9 of a plain writer during a defragmentation, ms",
        takes: "a defragmentation takes, ms",
        run: |at| ask(at, "/etcdserverpb.Maintenance/Defragment", &DefragmentRequest {}),
    },
];

const DELETION: Work = Work {
    longest: "longest put during the deletion, ms",
    p999: "p99.9 during the deletion, ms",
    above: "",
    writer: "p99.9 of a plain writer during the deletion, ms",
    takes: "the deletion takes, ms",
    run: |at| {
        let (key, range_end) = (big::KEYS.key(0), big::KEYS.key(DELETED_KEYS));
        let range = DeleteRangeRequest { key, range_end, ..DeleteRangeRequest::default() };
        ask(at, "/etcdserverpb.KV/DeleteRange", &range)
    },
};

const LIST: Work = Work {
    longest: "longest put during a list, ms",
    p999: "p99.9 during a list, ms",
    above: "",
    writer: "p99.9 of a plain writer during a list, ms",
    takes: "a list beside puts takes, ms",
    run: |at| big::list(at.port, at.keys)?.failures.first.map_or(Ok(()), |first| Err(first.into())),
};

fn ask<M: Message>(at: &Target, method: &'static str, request: &M) -> Result<()> {
    Client::connect(at.port, 1, true)?.ask(method, request).map(drop)
}

/// What a list of all big keys does to puts.
pub fn during_list(stand: &mut Stand<'_>) -> Result<Vec<Figure>> {
    alone(stand, &LIST)
}

/// One txn, which nothing can get ahead of.
pub fn delete_range(stand: &mut Stand<'_>) -> Result<Vec<Figure>> {
    alone(stand, &DELETION)
}

fn alone(stand: &mut Stand<'_>, work: &Work) -> Result<Vec<Figure>> {
    big::ensure(stand)?;
    let seen = during(stand, work)?;
    let figures = seen.figures(work);
    stand.failures.join(seen.puts.failures);
    Ok(figures)
}

pub fn stalls(stand: &mut Stand<'_>) -> Result<Vec<Figure>> {
    big::ensure(stand)?;
    let mut figures = Vec::new();
    let calm = during(stand, &NOTHING)?;
    for work in &WORKS {
        let with = during(stand, work)?;
        let p999 = |seen: &Seen| millis(seen.puts.latency.value_at_quantile(0.999));
        figures.extend(with.figures(work));
        figures.push(Figure::neither(work.above, p999(&with) - p999(&calm)));
        stand.failures.join(with.puts.failures);
    }
    figures.splice(0..0, calm.figures(&NOTHING));
    stand.failures.join(calm.puts.failures);
    Ok(figures)
}

fn millis(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}

/// What puts and a plain writer met meanwhile.
struct Seen {
    puts: Done,
    writer: Histogram<u64>,
    took: Duration,
}

impl Seen {
    fn figures(&self, work: &Work) -> Vec<Figure> {
        let p999 = |latency: &Histogram<u64>| millis(latency.value_at_quantile(0.999));
        let mut figures = vec![
            Figure::less(work.longest, millis(self.puts.latency.max())),
            Figure::less(work.p999, p999(&self.puts.latency)),
            Figure::neither(work.writer, p999(&self.writer)),
        ];
        if !work.takes.is_empty() {
            figures.push(Figure::less(work.takes, self.took.as_secs_f64() * 1e3));
        }
        figures
    }
}

/// Lets what was done before come to its end: it is no part of what is measured next.
fn settle(dir: &Path) -> Result<()> {
    std::thread::sleep(SETTLING);
    nix::unistd::syncfs(&File::open(dir)?)?;
    std::thread::sleep(SETTLING);
    Ok(())
}

fn during(stand: &Stand<'_>, work: &Work) -> Result<Seen> {
    // Its file is made first: that is no small write.
    let file = writer_file(&stand.options.dir)?;
    settle(&stand.options.dir)?;
    let (port, keys) = (stand.member.port, stand.options.keys);
    let (mut random, value) = (Random(7), request::value(VALUE_BYTES));
    let target = Target { port, keys, revision: large::revision(stand)? };
    let over = AtomicBool::new(false);
    let start = Instant::now();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| write(file, &over).map_err(|e| e.to_string()));
        let working =
            scope.spawn(move || (work.run)(&target).map(|()| start.elapsed()).map_err(|e| e.to_string()));
        let pace = Pace { method: request::PUT, per_second: PUTS_PER_SECOND };
        let puts = pace.run(
            port,
            &mut |_, out| request::put(big::KEYS.key(random.below(keys)), &value, out),
            &mut |_| !working.is_finished() || start.elapsed() < WATCHED_MIN,
        );
        over.store(true, Ordering::Release);
        let took = working.join().map_err(|_| "the maintaining thread failed")??;
        let writer = writer.join().map_err(|_| "the writing thread failed")??;
        Ok(Seen { puts: puts?, writer, took })
    })
}

/// A file whose space is there.
fn writer_file(dir: &Path) -> Result<File> {
    let mut file: File = tempfile::tempfile_in(dir)?;
    file.write_all(&vec![0; WRITER_FILE_BYTES])?;
    file.sync_all()?;
    std::io::Seek::rewind(&mut file)?;
    Ok(file)
}

/// Writes and syncs a little again and again, as a log is written: how long each took.
fn write(mut file: File, over: &AtomicBool) -> Result<Histogram<u64>> {
    let (mut latency, bytes) = (histogram()?, [7; WRITER_BYTES]);
    while !over.load(Ordering::Acquire) {
        let start = Instant::now();
        file.write_all(&bytes)?;
        file.sync_data()?;
        latency.saturating_record(start.elapsed().as_nanos() as u64);
        std::thread::sleep(WRITER_PAUSE);
    }
    Ok(latency)
}
