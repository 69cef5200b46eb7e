//! Leases: keep-alives, and the end of many at once.
use std::time::{Duration, Instant};

use proto::etcdserverpb::{LeaseGrantRequest, LeaseKeepAliveRequest, PutRequest};

use super::kv::many;
use super::{Stand, large, micros};
use crate::Result;
use crate::load::{Loop, Shape};
use crate::pace::Pace;
use crate::report::Figure;
use crate::request::{self, Numbered};

const GRANT: &str = "/etcdserverpb.Lease/LeaseGrant";
pub const KEEP_ALIVE: &str = "/etcdserverpb.Lease/LeaseKeepAlive";
const TTL_SECONDS: i64 = 3600;
/// Ids of our leases begin above what servers draw for the first ones.
pub const LEASE: i64 = 1 << 40;

const ENDING: Numbered = Numbered { prefix: "ending", bytes: 24 };
const BESIDE: Numbered = Numbered { prefix: "beside", bytes: 24 };
/// Long enough to grant them all.
const ENDING_TTL_SECONDS: i64 = 30;
/// The end is watched this long.
const WATCHED_MAX: Duration = Duration::from_secs(20);
/// How often the keys that are left are counted.
const LOOK: Duration = Duration::from_millis(250);

/// Grants leases with ids in a row.
pub fn grant(stand: &mut Stand<'_>, count: u64, ttl: i64) -> Result<()> {
    let mut grants = Loop::open(stand.member.port, many(GRANT, 1))?;
    let granted = grants.run(count, &mut |number, _, out| {
        request::push(&LeaseGrantRequest { id: LEASE + number as i64, ttl }, out);
    })?;
    stand.failures.join(granted.failures);
    Ok(())
}

pub fn keep_alive(stand: &mut Stand<'_>) -> Result<Vec<Figure>> {
    let shape = Shape { streaming: true, ..many(KEEP_ALIVE, 1) };
    grant(stand, shape.clients as u64, TTL_SECONDS)?;
    let operations = stand.options.scaled(100_000);
    let measured = stand.measure(shape, operations, &mut |_, client, out| {
        request::push(&LeaseKeepAliveRequest { id: LEASE + i64::from(client) }, out);
    })?;
    Ok(measured.figures())
}

/// A hundred thousand leases with a key each end within the seconds in which they were granted; others put meanwhile.
pub fn ending(stand: &mut Stand<'_>) -> Result<Vec<Figure>> {
    let count = stand.options.scaled(100_000);
    let ttl = Duration::from_secs(ENDING_TTL_SECONDS as u64);
    let granting = Instant::now();
    grant(stand, count, ENDING_TTL_SECONDS)?;
    let granted = Instant::now();
    attach(stand, count)?;
    if granting.elapsed() + Duration::from_secs(1) > ttl {
        return Err(format!("granting {count} leases took {:?}", granting.elapsed()).into());
    }
    let port = stand.member.port;
    std::thread::sleep((granting + ttl).saturating_duration_since(Instant::now()));

    let before = stand.member.cost()?;
    let (done, ends) = std::thread::scope(|scope| {
        let counting = scope.spawn(move || watch_end(port, granting + ttl).map_err(|e| e.to_string()));
        let pace = Pace { method: request::PUT, per_second: 500 };
        let value = request::value(256);
        let done = pace.run(
            port,
            &mut |number, out| request::put(BESIDE.key(number % 1000), &value, out),
            &mut |_| !counting.is_finished(),
        )?;
        let ends = counting.join().map_err(|_| "the counting thread failed")??;
        Ok::<_, Box<dyn std::error::Error>>((done, ends))
    })?;
    let cpu = (stand.member.cost()? - before).cpu;
    let gone = (count - ends.left.min(count)) as f64;
    let millis = |nanoseconds: u64| nanoseconds as f64 / 1e6;
    let figures = vec![
        Figure::more("leases ended per second", gone / ends.took.as_secs_f64()),
        Figure::less("leases left 20 s after the first was due", ends.left as f64),
        Figure::less("longest put meanwhile, ms", millis(done.latency.max())),
        Figure::less("p99.9 of puts meanwhile, ms", millis(done.latency.value_at_quantile(0.999))),
        Figure::less("server CPU, µs per lease ended", micros(cpu) / gone.max(1.0)),
        Figure::neither("seconds in which they were granted", (granted - granting).as_secs_f64()),
    ];
    stand.failures.join(done.failures);
    Ok(figures)
}

/// Gives each lease a key.
fn attach(stand: &mut Stand<'_>, count: u64) -> Result<()> {
    let value = request::value(32);
    let done = Loop::open(stand.member.port, many(request::PUT, 1))?.run(count, &mut |number, _, out| {
        let (key, lease) = (ENDING.key(number), LEASE + number as i64);
        request::push(&PutRequest { key, value: value.clone(), lease, ..PutRequest::default() }, out);
    })?;
    stand.failures.join(done.failures);
    Ok(())
}

struct Ends {
    /// Keys left at the end.
    left: u64,
    /// From when the first was due until none was left, or we looked no longer.
    took: Duration,
}

fn watch_end(port: u16, due: Instant) -> Result<Ends> {
    loop {
        let left = large::count_of(port, ENDING)?;
        if left == 0 || due.elapsed() >= WATCHED_MAX {
            return Ok(Ends { left, took: due.elapsed() });
        }
        std::thread::sleep(LOOK);
    }
}
