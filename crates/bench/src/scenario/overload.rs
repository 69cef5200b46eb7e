//! More than a server can take: what it accepts must not wait for ever, the rest must hear so at once, and whoever keeps
//! an eye on the server must still be answered.
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use proto::etcdserverpb::LeaseKeepAliveRequest;

use super::kv::many;
use super::leases::{KEEP_ALIVE, LEASE, grant};
use super::{Stand, mebibytes};
use crate::Result;
use crate::load::{Done, Loop, Shape, histogram};
use crate::member;
use crate::report::Figure;
use crate::request::{self, Random};

const CONNECTIONS: usize = 400;
const CLIENTS: usize = 20_000;
/// More than any server's queues hold: etcd takes 5,000 entries behind what is applied, we 32,768 requests.
const FLOOD: usize = 60_000;
const VALUE_BYTES: usize = 256;
/// Above `--max-request-bytes` (1.5 MiB), below and above what gRPC lets through (512 KiB more).
const LONG_BYTES: [usize; 2] = [1_800_000, 2_400_000];
const LONG_REQUESTS: u64 = 200;
/// Memory may take so long to come back.
const REST: Duration = Duration::from_secs(5);

/// What those heard who looked after the server meanwhile.
struct Looked {
    health: Histogram<u64>,
    keep_alive: Histogram<u64>,
}

pub fn overload(stand: &mut Stand<'_>) -> Result<Vec<Figure>> {
    grant(stand, 1, 3600)?;
    let calm = stand.member.anonymous_bytes()?;
    let (crowd, by_crowd) = beside(stand, crowd)?;
    let (flood, by_flood) = beside(stand, flood)?;
    let (long, by_long) = beside(stand, long)?;
    std::thread::sleep(REST);
    let after = stand.member.anonymous_bytes()?;

    let longest = |of: fn(&Looked) -> &Histogram<u64>| {
        millis([&by_crowd, &by_flood, &by_long].map(|looked| of(looked).max()).into_iter().max().unwrap_or(0))
    };
    let rate = crowd.latency.len() as f64 / crowd.elapsed.as_secs_f64();
    Ok(vec![
        Figure::more("20,000 clients: accepted per second", rate),
        Figure::less("20,000 clients: accepted, p99, ms", millis(crowd.latency.value_at_quantile(0.99))),
        Figure::less("20,000 clients: accepted, longest, ms", millis(crowd.latency.max())),
        Figure::neither("20,000 clients: refused, share", share(&crowd)),
        Figure::neither("20,000 clients: refused, p50, ms", millis(crowd.refused.value_at_quantile(0.5))),
        Figure::less("60,000 at once: accepted, longest, ms", millis(flood.latency.max())),
        Figure::neither("60,000 at once: refused, share", share(&flood)),
        Figure::neither("60,000 at once: refused, longest, ms", millis(flood.refused.max())),
        Figure::less("ended otherwise", (crowd.failures.count + flood.failures.count) as f64),
        Figure::less("too long: refused, longest, ms", millis(long.refused.max())),
        Figure::less("/health meanwhile, longest, ms", longest(|looked| &looked.health)),
        Figure::less("keep-alive meanwhile, longest, ms", longest(|looked| &looked.keep_alive)),
        Figure::less("anonymous memory above before, after 5 s, MiB", mebibytes(after.saturating_sub(calm))),
    ])
}

fn millis(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}

fn share(done: &Done) -> f64 {
    done.refused.len() as f64 / done.operations as f64
}

fn shape(clients: usize) -> Shape {
    Shape { connections: CONNECTIONS, clients, refusal: "too many requests", ..many(request::PUT, 1) }
}

/// Clients that ask again and again.
fn crowd(port: u16, scale: fn(u64) -> u64) -> Result<Done> {
    puts(port, shape(CLIENTS), scale(200_000))
}

/// Each client asks once.
fn flood(port: u16, _: fn(u64) -> u64) -> Result<Done> {
    puts(port, shape(FLOOD), FLOOD as u64)
}

fn puts(port: u16, shape: Shape, operations: u64) -> Result<Done> {
    let (mut random, value) = (Random(9), request::value(VALUE_BYTES));
    Loop::open(port, shape)?.run(operations, &mut |_, _, out| request::put(random.key(), &value, out))
}

/// Requests that are too long, half of them too long for gRPC. None may be accepted.
fn long(port: u16, _: fn(u64) -> u64) -> Result<Done> {
    let values = LONG_BYTES.map(request::value);
    let shape = Shape { connections: 10, clients: 20, refusal: "large", ..many(request::PUT, 1) };
    let done = Loop::open(port, shape)?.run(LONG_REQUESTS, &mut |number, _, out| {
        request::put("long".into(), &values[number as usize % 2], out);
    })?;
    match done.failures.first {
        None if done.refused.len() == LONG_REQUESTS => Ok(done),
        None => {
            Err(format!("only {} of {LONG_REQUESTS} long requests were refused", done.refused.len()).into())
        }
        Some(first) => Err(format!("a long request: {first}").into()),
    }
}

type Load = fn(u16, fn(u64) -> u64) -> Result<Done>;

/// Runs a load, and looks after the server meanwhile as its keepers do.
fn beside(stand: &Stand<'_>, load: Load) -> Result<(Done, Looked)> {
    let port = stand.member.port;
    let scale: fn(u64) -> u64 = if stand.options.short { |n| n.div_ceil(10) } else { |n| n };
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let health = scope.spawn(|| look(&over, || healthy(port)).map_err(|e| e.to_string()));
        let keeper = scope.spawn(|| keep(port, &over).map_err(|e| e.to_string()));
        let done = load(port, scale);
        over.store(true, Ordering::Release);
        let health = health.join().map_err(|_| "the thread asking for health failed")??;
        let keep_alive = keeper.join().map_err(|_| "the thread keeping a lease failed")??;
        Ok((done?, Looked { health, keep_alive }))
    })
}

/// Does it every 20 ms; how long each took.
fn look(over: &AtomicBool, mut once: impl FnMut() -> Result<()>) -> Result<Histogram<u64>> {
    let mut latency = histogram()?;
    while !over.load(Ordering::Acquire) {
        let start = Instant::now();
        once()?;
        latency.saturating_record(start.elapsed().as_nanos() as u64);
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(latency)
}

fn healthy(port: u16) -> Result<()> {
    match member::health(port) {
        Some(body) if body.contains("\"health\":\"true\"") => Ok(()),
        other => Err(format!("/health says {other:?}").into()),
    }
}

/// Keeps a lease alive on one stream.
fn keep(port: u16, over: &AtomicBool) -> Result<Histogram<u64>> {
    let shape = Shape { connections: 1, clients: 1, streaming: true, ..many(KEEP_ALIVE, 1) };
    let mut keeper = Loop::open(port, shape)?;
    look(over, || {
        let done =
            keeper.run(1, &mut |_, _, out| request::push(&LeaseKeepAliveRequest { id: LEASE }, out))?;
        done.failures.first.map_or(Ok(()), |first| Err(first.into()))
    })
}
