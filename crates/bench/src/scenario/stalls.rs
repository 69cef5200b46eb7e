//! How long puts wait while the server is maintained.
use std::time::{Duration, Instant};

use prost::Message;
use proto::etcdserverpb::{
    CompactionRequest, DefragmentRequest, HashKvRequest, RangeRequest, RangeResponse, SnapshotRequest,
};

use super::kv::fill_keys;
use super::{Stand, large};
use crate::Result;
use crate::load::Done;
use crate::pace::Pace;
use crate::report::Figure;
use crate::request::{self, Random};
use crate::wire::Client;

const PUTS_PER_SECOND: u32 = 500;
const VALUE_BYTES: usize = 256;
/// Puts are watched this long even if the maintenance is over earlier.
const WATCHED_MIN: Duration = Duration::from_secs(2);
/// How many puts overwrite keys first, so that compaction and defragmentation have something to do.
const OVERWRITTEN: u64 = 200_000;

/// Names of a maintenance's figures, and what it is.
struct Work {
    longest: &'static str,
    p999: &'static str,
    takes: &'static str,
    run: fn(&mut Client) -> Result<()>,
}

const WORKS: [Work; 5] = [
    Work {
        longest: "longest put with nothing else, ms",
        p999: "p99.9 with nothing else, ms",
        takes: "",
        run: |_| {
            std::thread::sleep(Duration::from_secs(5));
            Ok(())
        },
    },
    Work {
        longest: "longest put during HashKV, ms",
        p999: "p99.9 during HashKV, ms",
        takes: "HashKV takes, ms",
        run: |client| client.ask("/etcdserverpb.Maintenance/HashKV", &HashKvRequest::default()).map(drop),
    },
    Work {
        longest: "longest put during a snapshot, ms",
        p999: "p99.9 during a snapshot, ms",
        takes: "a snapshot takes, ms",
        run: |client| client.ask("/etcdserverpb.Maintenance/Snapshot", &SnapshotRequest {}).map(drop),
    },
    Work {
        longest: "longest put during a compaction, ms",
        p999: "p99.9 during a compaction, ms",
        takes: "a compaction takes, ms",
        run: compact,
    },
    Work {
        longest: "longest put during a defragmentation, ms",
        p999: "p99.9 during a defragmentation, ms",
        takes: "a defragmentation takes, ms",
        run: |client| client.ask("/etcdserverpb.Maintenance/Defragment", &DefragmentRequest {}).map(drop),
    },
];

pub fn stalls(stand: &mut Stand<'_>) -> Result<Vec<Figure>> {
    large::ensure(stand)?;
    let overwritten = OVERWRITTEN.min(stand.options.keys);
    fill_keys(stand, large::KEYS, overwritten, VALUE_BYTES)?;
    let mut figures = Vec::new();
    for work in &WORKS {
        let (done, took) = during(stand, work)?;
        let millis = |nanoseconds: u64| nanoseconds as f64 / 1e6;
        figures.push(Figure::less(work.longest, millis(done.latency.max())));
        figures.push(Figure::less(work.p999, millis(done.latency.value_at_quantile(0.999))));
        if !work.takes.is_empty() {
            figures.push(Figure::less(work.takes, took.as_secs_f64() * 1e3));
        }
        stand.failures.join(done.failures);
    }
    Ok(figures)
}

/// The puts while a maintenance runs, and how long it takes.
fn during(stand: &Stand<'_>, work: &Work) -> Result<(Done, Duration)> {
    let (port, keys) = (stand.member.port, stand.options.keys);
    let (mut random, value) = (Random(7), request::value(VALUE_BYTES));
    let start = Instant::now();
    std::thread::scope(|scope| {
        let working = scope.spawn(move || {
            let worked = Client::connect(port, 1, true).and_then(|mut client| (work.run)(&mut client));
            worked.map(|()| start.elapsed()).map_err(|e| e.to_string())
        });
        let pace = Pace { method: request::PUT, per_second: PUTS_PER_SECOND };
        let done = pace.run(
            port,
            &mut |_, out| request::put(large::KEYS.key(random.below(keys)), &value, out),
            &mut |_| !working.is_finished() || start.elapsed() < WATCHED_MIN,
        )?;
        Ok((done, working.join().map_err(|_| "the maintaining thread failed")??))
    })
}

/// Compacts at the current revision and waits until what is gone is gone from the file.
fn compact(client: &mut Client) -> Result<()> {
    let any = RangeRequest { key: large::KEYS.key(0), ..RangeRequest::default() };
    let answer = RangeResponse::decode(&client.ask(request::RANGE, &any)?[..])?;
    let revision = answer.header.ok_or("an answer without a header")?.revision;
    client.ask("/etcdserverpb.KV/Compact", &CompactionRequest { revision, physical: true }).map(drop)
}
