//! Long-lived streams: keep-alives of leases, and watchers.
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::etcdserverpb::{LeaseGrantRequest, LeaseKeepAliveRequest, WatchCreateRequest, WatchRequest};

use super::kv::many;
use super::{AFTERMATH, Stand, mebibytes, micros};
use crate::Result;
use crate::load::{Loop, Shape, histogram};
use crate::pace::{Pace, until};
use crate::report::Figure;
use crate::request::{self, Numbered};
use crate::wire::{Client, Event};

const GRANT: &str = "/etcdserverpb.Lease/LeaseGrant";
const KEEP_ALIVE: &str = "/etcdserverpb.Lease/LeaseKeepAlive";
const WATCH: &str = "/etcdserverpb.Watch/Watch";
const TTL_SECONDS: i64 = 3600;
/// Ids of our leases begin above what servers draw for the first ones.
const LEASE: i64 = 1 << 40;

const WATCHED: Numbered = Numbered { prefix: "watched", bytes: 24 };
const WATCH_CONNECTIONS: usize = 10;
const WATCH_STREAMS: usize = 100;
const WATCH_VALUE_BYTES: usize = 256;

pub fn keep_alive(stand: &mut Stand<'_>) -> Result<Vec<Figure>> {
    let shape = Shape { streaming: true, ..many(KEEP_ALIVE, 1) };
    let mut grants = Loop::open(stand.member.port, many(GRANT, 1))?;
    let granted = grants.run(shape.clients as u64, &mut |number, _, out| {
        request::push(&LeaseGrantRequest { id: LEASE + number as i64, ttl: TTL_SECONDS }, out);
    })?;
    stand.failures.join(granted.failures);
    let operations = stand.options.scaled(100_000);
    let measured = stand.measure(shape, operations, &mut |_, client, out| {
        request::push(&LeaseKeepAliveRequest { id: LEASE + i64::from(client) }, out);
    })?;
    Ok(measured.figures())
}

pub fn watch_1k(stand: &mut Stand<'_>) -> Result<Vec<Figure>> {
    watch(stand, 1_000, 50)
}

pub fn watch_10k(stand: &mut Stand<'_>) -> Result<Vec<Figure>> {
    watch(stand, 10_000, 5)
}

/// `watchers` of one prefix on 100 streams, while one client puts below it `per_second`.
fn watch(stand: &mut Stand<'_>, watchers: usize, per_second: u32) -> Result<Vec<Figure>> {
    let puts = stand.options.scaled(u64::from(per_second) * 10);
    let mut client = Client::connect(stand.member.port, WATCH_CONNECTIONS + 1, true)?;
    create(&mut client, watchers)?;

    let before = stand.member.cost()?;
    let mut delivery = Delivery::start(Pace { method: request::PUT, per_second }, watchers as u64)?;
    delivery.run(&mut client, puts)?;
    std::thread::sleep(AFTERMATH);
    let cost = stand.member.cost()? - before;

    let events = (puts * watchers as u64) as f64;
    let millis = |quantile| delivery.latency.value_at_quantile(quantile) as f64 / 1e6;
    Ok(vec![
        Figure::more("events per second of server CPU", events / cost.cpu.as_secs_f64()),
        Figure::less("server CPU, µs per event", micros(cost.cpu) / events),
        Figure::less("until all watchers have an event, p50, ms", millis(0.5)),
        Figure::less("until all watchers have an event, p99, ms", millis(0.99)),
        Figure::less("resident after, MiB", mebibytes(stand.member.resident_bytes()?)),
        Figure::less("anonymous after, MiB", mebibytes(stand.member.anonymous_bytes()?)),
    ])
}

/// Opens the streams and creates the watchers, evenly.
fn create(client: &mut Client, watchers: usize) -> Result<()> {
    let create = WatchCreateRequest { key: WATCHED.key(0), range_end: WATCHED.end(), ..Default::default() };
    let mut request = Vec::new();
    request::push(&WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }, &mut request);
    for stream in 0..WATCH_STREAMS {
        let place = client.call(stream % WATCH_CONNECTIONS, WATCH, stream as u32, &request, false);
        for _ in 1..watchers / WATCH_STREAMS {
            client.send(place, &request);
        }
    }
    let (mut created, mut events) = (0, Vec::new());
    while created < watchers {
        client.turn(Duration::from_secs(60), &mut events)?;
        if events.is_empty() {
            return Err(format!("{created} of {watchers} watchers were created").into());
        }
        for event in events.drain(..) {
            match event {
                Event::Message { body, .. } if WatchAnswer::read(&body)?.created => created += 1,
                other => return Err(format!("instead of a watcher: {other:?}").into()),
            }
        }
    }
    Ok(())
}

/// Puts at a pace and counts what the watchers get.
struct Delivery {
    pace: Pace,
    watchers: u64,
    start: Instant,
    events: u64,
    /// From when a put was due until all watchers had its event, in nanoseconds.
    latency: Histogram<u64>,
}

impl Delivery {
    fn start(pace: Pace, watchers: u64) -> Result<Delivery> {
        Ok(Delivery { pace, watchers, start: Instant::now(), events: 0, latency: histogram()? })
    }

    fn run(&mut self, client: &mut Client, puts: u64) -> Result<()> {
        let value = request::value(WATCH_VALUE_BYTES);
        let (mut sent, mut answered, mut request, mut events) = (0, 0, Vec::new(), Vec::new());
        while answered < puts || self.events < puts * self.watchers {
            while sent < puts && self.pace.due(self.start, sent) <= Instant::now() {
                request.clear();
                request::put(WATCHED.key(sent), &value, &mut request);
                client.call(WATCH_CONNECTIONS, self.pace.method, WATCH_STREAMS as u32, &request, true);
                sent += 1;
            }
            let more = sent < puts;
            let pause = if more { until(self.pace.due(self.start, sent)) } else { Duration::from_secs(60) };
            client.turn(pause, &mut events)?;
            if events.is_empty() && !more {
                let all = puts * self.watchers;
                return Err(format!("{} of {all} events came", self.events).into());
            }
            for event in events.drain(..) {
                match event {
                    Event::Ended { call, result } if call as usize == WATCH_STREAMS => {
                        result?;
                        answered += 1;
                    }
                    Event::Ended { result, .. } => return Err(format!("a stream ended: {result:?}").into()),
                    Event::Message { call, body, .. } if (call as usize) < WATCH_STREAMS => {
                        self.take(&body)?
                    }
                    Event::Message { .. } => {}
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, body: &[u8]) -> Result<()> {
        let complete = self.events / self.watchers;
        self.events += WatchAnswer::read(body)?.events;
        for put in complete..self.events / self.watchers {
            let since = self.pace.due(self.start, put).elapsed();
            self.latency.saturating_record(since.as_nanos() as u64);
        }
        Ok(())
    }
}

/// What we need of a WatchResponse; decoding all of it would make the client the limit.
#[derive(Debug, Default, PartialEq)]
struct WatchAnswer {
    created: bool,
    events: u64,
}

impl WatchAnswer {
    fn read(mut body: &[u8]) -> Result<WatchAnswer> {
        use prost::encoding::{DecodeContext, decode_key, decode_varint, skip_field};
        let mut answer = WatchAnswer::default();
        while !body.is_empty() {
            let (field, wire_type) = decode_key(&mut body)?;
            match field {
                3 => answer.created = decode_varint(&mut body)? != 0,
                4 if decode_varint(&mut body)? != 0 => return Err("a watcher was cancelled".into()),
                4 => {}
                11 => {
                    answer.events += 1;
                    skip_field(wire_type, field, &mut body, DecodeContext::default())?;
                }
                _ => skip_field(wire_type, field, &mut body, DecodeContext::default())?,
            }
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;
    use proto::etcdserverpb::{ResponseHeader, WatchResponse};
    use proto::mvccpb;

    #[test]
    fn events_are_counted_without_decoding_them() {
        let kv = mvccpb::KeyValue { key: "k".into(), value: "v".into(), ..Default::default() };
        let event = mvccpb::Event { kv: Some(kv), ..Default::default() };
        let header = Some(ResponseHeader { revision: 7, ..Default::default() });
        let events = WatchResponse { header, watch_id: 3, events: vec![event; 5], ..Default::default() };
        let expected = WatchAnswer { created: false, events: 5 };
        assert_eq!(WatchAnswer::read(&events.encode_to_vec()).unwrap(), expected);
        let created = WatchResponse { created: true, ..Default::default() };
        assert!(WatchAnswer::read(&created.encode_to_vec()).unwrap().created);
        let cancelled = WatchResponse { canceled: true, ..Default::default() };
        assert!(WatchAnswer::read(&cancelled.encode_to_vec()).is_err());
    }
}
