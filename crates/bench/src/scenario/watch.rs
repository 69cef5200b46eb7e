//! Watchers: how events spread, what watchers cost those who put, what the slow and the late ones get.
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;

use super::kv::many;
use super::{AFTERMATH, Measured, Stand, large, mebibytes, micros};
use crate::Result;
use crate::load::{Loop, histogram};
use crate::pace::{Pace, until};
use crate::report::Figure;
use crate::request::{self, Numbered, Random};
use crate::watching::Watching;

const WATCHED: Numbered = Numbered { prefix: "watched", bytes: 24 };
const CONNECTIONS: usize = 10;
const STREAMS: usize = 100;
const VALUE_BYTES: usize = 256;
/// Keys of those who watch one each.
const OWN_KEYS: u64 = 10_000;
/// What the slow watcher's socket and the server's outbox cannot hold: 2,000 of these per second for ten seconds.
const LONG_VALUE_BYTES: usize = 1024;

/// All watch all keys.
fn all(_: u64) -> (Bytes, Bytes, i64) {
    (WATCHED.key(0), WATCHED.end(), 0)
}

pub fn watch_1k(stand: &mut Stand<'_>) -> Result<Vec<Figure>> {
    fan_out(stand, 1_000, 50)
}

pub fn watch_10k(stand: &mut Stand<'_>) -> Result<Vec<Figure>> {
    fan_out(stand, 10_000, 5)
}

/// `watchers` of one prefix on 100 streams, while one client puts below it `per_second`.
fn fan_out(stand: &mut Stand<'_>, watchers: u64, per_second: u32) -> Result<Vec<Figure>> {
    let puts = stand.options.scaled(u64::from(per_second) * 10);
    let mut watching = Watching::new(stand.member.port, CONNECTIONS, STREAMS)?;
    watching.create(watchers, all)?;

    let before = stand.member.cost()?;
    let pace = Pace { method: request::PUT, per_second };
    let latency = deliver(&mut watching, &pace, puts, watchers, &request::value(VALUE_BYTES))?;
    std::thread::sleep(AFTERMATH);
    let cost = stand.member.cost()? - before;

    let events = (puts * watchers) as f64;
    Ok(vec![
        Figure::more("events per second of server CPU", events / cost.cpu.as_secs_f64()),
        Figure::less("server CPU, µs per event", micros(cost.cpu) / events),
        Figure::less("until all watchers have an event, p50, ms", millis(&latency, 0.5)),
        Figure::less("until all watchers have an event, p99, ms", millis(&latency, 0.99)),
        Figure::less("resident after, MiB", mebibytes(stand.member.resident_bytes()?)),
        Figure::less("anonymous after, MiB", mebibytes(stand.member.anonymous_bytes()?)),
    ])
}

fn millis(latency: &Histogram<u64>, quantile: f64) -> f64 {
    latency.value_at_quantile(quantile) as f64 / 1e6
}

/// Puts at a pace; answers how long each took from when it was due until all `watchers` had its event.
fn deliver(
    watching: &mut Watching,
    pace: &Pace,
    puts: u64,
    watchers: u64,
    value: &Bytes,
) -> Result<Histogram<u64>> {
    let (mut latency, start, mut sent, mut complete) = (histogram()?, Instant::now(), 0, 0);
    while watching.answered < puts || watching.events < puts * watchers {
        while sent < puts && pace.due(start, sent) <= Instant::now() {
            watching.put(WATCHED.key(sent), value);
            sent += 1;
        }
        let more = sent < puts;
        let pause = if more { until(pace.due(start, sent)) } else { Duration::from_secs(60) };
        if !watching.turn(pause)? && !more {
            return Err(format!("{} of {} events came", watching.events, puts * watchers).into());
        }
        for put in complete..watching.events / watchers {
            latency.saturating_record(pace.due(start, put).elapsed().as_nanos() as u64);
        }
        complete = watching.events / watchers;
    }
    Ok(latency)
}

/// The same puts while nobody watches, one watches all, and ten thousand watch a key each.
pub fn put_watched(stand: &mut Stand<'_>) -> Result<Vec<Figure>> {
    let port = stand.member.port;
    watched_puts(stand, None)?; // to warm up
    let unwatched = watched_puts(stand, None)?;
    let mut one = Watching::new(port, 1, 1)?;
    one.create(1, all)?;
    let by_one = watched_puts(stand, Some(one))?;
    let mut each = Watching::new(port, CONNECTIONS, STREAMS)?;
    each.create(OWN_KEYS, |number| (WATCHED.key(number), Bytes::new(), 0))?;
    let by_each = watched_puts(stand, Some(each))?;

    let cpu = |measured: &Measured| measured.per_operation(micros(measured.cost.cpu));
    let p99 = |measured: &Measured| measured.done.latency.value_at_quantile(0.99) as f64 / 1e3;
    Ok(vec![
        Figure::less("server CPU, µs per put: no watcher", cpu(&unwatched)),
        Figure::less("server CPU, µs per put: one watcher of all keys", cpu(&by_one)),
        Figure::less("server CPU, µs per put: 10,000 watchers of a key each", cpu(&by_each)),
        Figure::less("p99 of puts, µs: no watcher", p99(&unwatched)),
        Figure::less("p99 of puts, µs: one watcher of all keys", p99(&by_one)),
        Figure::less("p99 of puts, µs: 10,000 watchers of a key each", p99(&by_each)),
    ])
}

/// Puts by many clients, each of which is one event for the watchers; all of them must come.
fn watched_puts(stand: &mut Stand<'_>, mut watching: Option<Watching>) -> Result<Measured> {
    let (mut random, value) = (Random(3), request::value(VALUE_BYTES));
    let operations = stand.options.scaled(50_000);
    stand.cost_of(|stand| {
        let port = stand.member.port;
        std::thread::scope(|scope| {
            let reader = scope.spawn(move || {
                let events = watching.as_mut().map_or(Ok(()), |w| w.take_until(operations, 0));
                events.map_err(|e| e.to_string())
            });
            let done = Loop::open(port, many(request::PUT, 1))?.run(operations, &mut |_, _, out| {
                request::put(WATCHED.key(random.below(OWN_KEYS)), &value, out);
            })?;
            reader.join().map_err(|_| "the watching thread failed")??;
            Ok(done)
        })
    })
}

/// One watcher that does not read for ten seconds, beside twenty that do.
pub fn watch_slow(stand: &mut Stand<'_>) -> Result<Vec<Figure>> {
    const WATCHERS: u64 = 20;
    let pace = Pace { method: request::PUT, per_second: 2_000 };
    let puts = stand.options.scaled(20_000);
    let mut slow = Watching::new(stand.member.port, 1, 1)?;
    slow.create(1, all)?;
    let mut watching = Watching::new(stand.member.port, CONNECTIONS, CONNECTIONS)?;
    watching.create(WATCHERS, all)?;

    let anonymous = stand.member.anonymous_bytes()?;
    let latency = deliver(&mut watching, &pace, puts, WATCHERS, &request::value(LONG_VALUE_BYTES))?;
    let held = stand.member.anonymous_bytes()?.saturating_sub(anonymous);
    let start = Instant::now();
    slow.take_until(puts, 0)?;
    Ok(vec![
        Figure::less("until the others have an event, p50, ms", millis(&latency, 0.5)),
        Figure::less("until the others have an event, p99, ms", millis(&latency, 0.99)),
        Figure::less("anonymous memory above before, MiB", mebibytes(held)),
        Figure::less("until the slow one has caught up, ms", micros(start.elapsed()) / 1e3),
    ])
}

/// A watcher that begins with the first of a million puts. It gives up after a while: some servers read all history
/// again for every thousand revisions.
pub fn history(stand: &mut Stand<'_>) -> Result<Vec<Figure>> {
    const PATIENCE: Duration = Duration::from_secs(20);
    large::ensure(stand)?;
    let all = large::revision(stand)? as u64 - 1;
    let mut watching = Watching::new(stand.member.port, 1, 1)?;
    let (anonymous, before) = (stand.member.anonymous_bytes()?, stand.member.cost()?);
    let (start, mut peak) = (Instant::now(), anonymous);
    watching.create(1, |_| (Bytes::from_static(&[0]), Bytes::from_static(&[0]), 1))?;
    while watching.events < all && start.elapsed() < PATIENCE {
        watching.turn(PATIENCE)?;
        peak = peak.max(stand.member.anonymous_bytes()?);
    }
    let (took, cost) = (start.elapsed(), stand.member.cost()? - before);
    let events = watching.events as f64;
    Ok(vec![
        Figure::more("events per second of server CPU", events / cost.cpu.as_secs_f64()),
        Figure::more("events per second", events / took.as_secs_f64()),
        Figure::neither("events in 20 s, or all", events),
        Figure::less("anonymous memory above before, at its peak, MiB", mebibytes(peak - anonymous)),
    ])
}

/// Two thousand watchers that begin with the first revision, each of a key, while others put.
pub fn lagging(stand: &mut Stand<'_>) -> Result<Vec<Figure>> {
    const WATCHERS: u64 = 2_000;
    large::ensure(stand)?;
    let (port, keys) = (stand.member.port, stand.options.keys);
    let before = stand.member.cost()?;
    let caught_up = AtomicBool::new(false);
    let (done, took) = std::thread::scope(|scope| {
        let watch = || -> Result<Duration> {
            let mut watching = Watching::new(port, CONNECTIONS, STREAMS)?;
            let (mut random, start) = (Random(5), Instant::now());
            let lucky: Vec<u64> = (0..WATCHERS).map(|_| random.below(keys)).collect();
            watching.create(WATCHERS, |n| (large::KEYS.key(lucky[n as usize]), Bytes::new(), 1))?;
            watching.take_until(WATCHERS, 0)?;
            Ok(start.elapsed())
        };
        let caught_up = &caught_up;
        let watcher = scope.spawn(move || {
            let took = watch().map_err(|e| e.to_string());
            caught_up.store(true, Ordering::Release);
            took
        });
        let value = request::value(VALUE_BYTES);
        let pace = Pace { method: request::PUT, per_second: 500 };
        let start = Instant::now();
        let done =
            pace.run(port, &mut |number, out| request::put(WATCHED.key(number), &value, out), &mut |_| {
                !caught_up.load(Ordering::Acquire) || start.elapsed() < Duration::from_secs(2)
            })?;
        let took = watcher.join().map_err(|_| "the watching thread failed")??;
        Ok::<_, Box<dyn std::error::Error>>((done, took))
    })?;
    let cpu = (stand.member.cost()? - before).cpu;
    let longest = done.latency.max() as f64 / 1e6;
    let p999 = millis(&done.latency, 0.999);
    stand.failures.join(done.failures);
    Ok(vec![
        Figure::less("longest put meanwhile, ms", longest),
        Figure::less("p99.9 of puts meanwhile, ms", p999),
        Figure::less("until all have caught up, ms", micros(took) / 1e3),
        Figure::less("server CPU, ms", micros(cpu) / 1e3),
    ])
}
