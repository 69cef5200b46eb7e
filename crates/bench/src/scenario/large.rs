//! A large keyspace: what it takes, how it is paged and counted, how a server starts on it.
use std::time::{Duration, Instant};

use prost::Message;
use proto::etcdserverpb::{RangeRequest, RangeResponse};

use super::kv::{fill_keys, one};
use super::{AFTERMATH, Measured, Stand, big, mebibytes, micros, stalls};
use crate::Result;
use crate::report::Figure;
use crate::request::{self, Numbered, Random};
use crate::wire::Client;

pub const KEYS: Numbered = Numbered { prefix: "large", bytes: 32 };
const VALUE_BYTES: usize = 256;
const PAGE: u64 = 500;

const LIST: Numbered = Numbered { prefix: "list", bytes: 32 };
const LIST_KEYS: u64 = 10_000;
const LIST_VALUE_BYTES: usize = 1024;

/// How often the memory of a server is looked at while it answers.
const LOOK: Duration = Duration::from_millis(2);

pub fn fill(stand: &mut Stand<'_>) -> Result<Vec<Figure>> {
    let filled = ensure(stand)?.ok_or("the keys are there already")?;
    Ok([filled.figures(), vec![filled.written()]].concat())
}

/// Puts the keys unless they are there.
pub fn ensure(stand: &mut Stand<'_>) -> Result<Option<Measured>> {
    if std::mem::replace(&mut stand.has_large_keys, true) {
        return Ok(None);
    }
    fill_keys(stand, KEYS, stand.options.keys, VALUE_BYTES).map(Some)
}

/// The newest revision.
pub fn revision(stand: &Stand<'_>) -> Result<i64> {
    let any = RangeRequest { key: KEYS.key(0), ..RangeRequest::default() };
    let answer = Client::connect(stand.member.port, 1, true)?.ask(request::RANGE, &any)?;
    Ok(RangeResponse::decode(&answer[..])?.header.ok_or("an answer without a header")?.revision)
}

/// How many keys of these there are.
pub fn count_of(port: u16, keys: Numbered) -> Result<u64> {
    let count = RangeRequest { count_only: true, ..all(keys) };
    let answer = Client::connect(port, 1, true)?.ask(request::RANGE, &count)?;
    Ok(RangeResponse::decode(&answer[..])?.count as u64)
}

pub fn page(stand: &mut Stand<'_>) -> Result<Vec<Figure>> {
    ensure(stand)?;
    let starts = stand.options.keys.saturating_sub(PAGE).max(1);
    let full = PAGE.min(stand.options.keys) as usize * VALUE_BYTES;
    let mut random = Random(1);
    let next = &mut |_, _, out: &mut Vec<u8>| {
        let (key, range_end) = (KEYS.key(random.below(starts)), KEYS.end());
        request::push(&RangeRequest { key, range_end, limit: PAGE as i64, ..RangeRequest::default() }, out);
    };
    let operations = stand.options.scaled(100);
    Ok(stand.measure(one(request::RANGE, full), operations, next)?.figures())
}

pub fn count(stand: &mut Stand<'_>) -> Result<Vec<Figure>> {
    ensure(stand)?;
    let all = RangeRequest { count_only: true, ..all(KEYS) };
    let operations = stand.options.scaled(100);
    let next = &mut |_, _, out: &mut Vec<u8>| request::push(&all, out);
    Ok(stand.measure(one(request::RANGE, 1), operations, next)?.figures())
}

pub fn list_10k(stand: &mut Stand<'_>) -> Result<Vec<Figure>> {
    fill_keys(stand, LIST, LIST_KEYS, LIST_VALUE_BYTES)?;
    let shape = one(request::RANGE, LIST_KEYS as usize * LIST_VALUE_BYTES);
    let operations = stand.options.scaled(50);
    let next = &mut |_, _, out: &mut Vec<u8>| request::push(&all(LIST), out);
    Ok(stand.measure(shape, operations, next)?.figures())
}

/// Asks for all of these keys.
pub fn all(keys: Numbered) -> RangeRequest {
    RangeRequest { key: keys.key(0), range_end: keys.end(), ..RangeRequest::default() }
}

/// Stops the server and starts it on the same data.
pub fn restart(stand: &mut Stand<'_>) -> Result<Vec<Figure>> {
    ensure(stand)?;
    let start = Instant::now();
    stand.member.stop()?;
    let stopped = start.elapsed();

    let start = Instant::now();
    stand.member.start_again()?;
    let port = stand.member.port;
    let (healthy, answered) = std::thread::scope(|scope| {
        let getter = scope.spawn(move || first_answer(port).map_err(|e| e.to_string()));
        stand.member.wait_healthy()?;
        let healthy = start.elapsed();
        let answered = getter.join().map_err(|_| "the getting thread failed")??;
        Ok::<_, Box<dyn std::error::Error>>((healthy, answered - start))
    })?;
    let cpu = stand.member.cost()?.cpu;
    std::thread::sleep(AFTERMATH);
    let millis = |duration| micros(duration) / 1e3;
    Ok(vec![
        Figure::less("until healthy, ms", millis(healthy)),
        Figure::less("until the first get is answered, ms", millis(answered)),
        Figure::less("server CPU until then, ms", millis(cpu)),
        Figure::less("stop, ms", millis(stopped)),
        Figure::less("resident after, MiB", mebibytes(stand.member.resident_bytes()?)),
        Figure::less("anonymous after, MiB", mebibytes(stand.member.anonymous_bytes()?)),
    ])
}

/// When a server that is starting first answers a linearizable get.
fn first_answer(port: u16) -> Result<Instant> {
    let request = RangeRequest { key: KEYS.key(0), ..RangeRequest::default() };
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let asked = Client::connect(port, 1, true).and_then(|mut c| c.ask(request::RANGE, &request));
        match asked {
            Ok(answer) if answer.len() > VALUE_BYTES => return Ok(Instant::now()),
            Ok(_) => return Err("the key is gone".into()),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// One answer with a million keys of 1 KB: how far the server's memory rises meanwhile. Then another, beside puts.
pub fn list_big(stand: &mut Stand<'_>) -> Result<Vec<Figure>> {
    big::ensure(stand)?;
    let anonymous = stand.member.anonymous_bytes()?;
    let (port, keys) = (stand.member.port, stand.options.keys);
    let mut peak = anonymous;
    let measured = stand.cost_of(|stand| {
        std::thread::scope(|scope| {
            let list = scope.spawn(move || big::list(port, keys).map_err(|e| e.to_string()));
            while !list.is_finished() {
                peak = peak.max(stand.member.anonymous_bytes()?);
                std::thread::sleep(LOOK);
            }
            Ok(list.join().map_err(|_| "the listing thread failed")??)
        })
    })?;
    let mut figures = vec![
        Figure::less("server CPU, ms", micros(measured.cost.cpu) / 1e3),
        Figure::less("anonymous memory above before, at its peak, MiB", mebibytes(peak - anonymous)),
        Figure::less("time, ms", micros(measured.done.elapsed) / 1e3),
    ];
    figures.extend(stalls::during_list(stand)?);
    Ok(figures)
}
