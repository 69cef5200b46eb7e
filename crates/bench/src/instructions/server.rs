//! The paths of the whole server: the release binary under callgrind, asked by one client.
use std::path::Path;

use super::{callgrind, scratch, total};
use crate::Result;
use crate::load::Loop;
use crate::member::{Member, Program};
use crate::request::{self, Numbered};
use crate::scenario::kv::one;
use crate::watching::Watching;

pub struct ServerPath {
    pub name: &'static str,
    pub about: &'static str,
    pub times: u64,
    run: fn(u16, u64) -> Result<()>,
}

#[rustfmt::skip]
pub const PATHS: &[ServerPath] = &[
    ServerPath { name: "put", times: 4_000, run: put,
        about: "the whole server: a put of one client" },
    ServerPath { name: "get", times: 8_000, run: get,
        about: "the whole server: a linearizable get of one client" },
    ServerPath { name: "event", times: 20_000, run: event,
        about: "the whole server: an event to one of 100 watchers on 10 streams" },
];

/// Clocks tick slowly: under callgrind a server takes fifty times as long as without, between two ticks as well.
const FLAGS: &[&str] = &[
    "--unsafe-no-fsync",
    "--heartbeat-interval=1000",
    "--election-timeout=10000",
    "--backend-batch-interval=1h",
    "--log-level=error",
];
const KEYS: Numbered = Numbered { prefix: "count", bytes: 24 };
const KEY_COUNT: u64 = 100;
const VALUE_BYTES: usize = 256;
const STREAMS: usize = 10;
const WATCHERS: u64 = 100;

/// Instructions of a server from its start to its end, with so many operations between.
pub fn count(path: &ServerPath, etcd: &Path, times: u64) -> Result<u64> {
    let dir = scratch()?;
    let out = dir.path().join("counts");
    let program = Program { binary: etcd.to_owned(), under: callgrind(&out), flags: FLAGS };
    let mut member = Member::start(program, &dir.path().join("member"))?;
    (path.run)(member.port, times)?;
    member.stop()?;
    total(&out)
}

fn put(port: u16, times: u64) -> Result<()> {
    let value = request::value(VALUE_BYTES);
    let done = Loop::open(port, one(request::PUT, 1))?.run(times, &mut |number, _, out| {
        request::put(KEYS.key(number % KEY_COUNT), &value, out);
    })?;
    done.failures.first.map_or(Ok(()), |first| Err(first.into()))
}

fn get(port: u16, times: u64) -> Result<()> {
    put(port, KEY_COUNT)?;
    let shape = one(request::RANGE, VALUE_BYTES);
    let done = Loop::open(port, shape)?.run(times, &mut |number, _, out| {
        request::get(KEYS.key(number % KEY_COUNT), false, out);
    })?;
    done.failures.first.map_or(Ok(()), |first| Err(first.into()))
}

/// One put after the other, each when all watchers have had the one before.
fn event(port: u16, times: u64) -> Result<()> {
    let mut watching = Watching::new(port, 1, STREAMS)?;
    watching.create(WATCHERS, |_| (KEYS.key(0), KEYS.end(), 0))?;
    let value = request::value(VALUE_BYTES);
    for number in 0..times / WATCHERS {
        watching.put(KEYS.key(number % KEY_COUNT), &value);
        watching.take_until((number + 1) * WATCHERS, number + 1)?;
    }
    Ok(())
}
