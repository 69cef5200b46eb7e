//! A client that watches: streams with watchers, and a connection beside them for puts. It counts what comes.
use std::time::Duration;

use bytes::Bytes;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::etcdserverpb::{WatchCreateRequest, WatchRequest};

use crate::Result;
use crate::request;
use crate::wire::{Client, Event};

const WATCH: &str = "/etcdserverpb.Watch/Watch";
/// Nothing for so long is a failure.
const SILENCE_MAX: Duration = Duration::from_secs(60);

pub struct Watching {
    client: Client,
    connections: usize,
    streams: usize,
    request: Vec<u8>,
    came: Vec<Event>,
    created: u64,
    /// Events that came, of all watchers together.
    pub events: u64,
    /// Puts that were answered.
    pub answered: u64,
}

impl Watching {
    pub fn new(port: u16, connections: usize, streams: usize) -> Result<Watching> {
        let client = Client::connect(port, connections + 1, true)?;
        let (request, came) = (Vec::new(), Vec::new());
        Ok(Watching { client, connections, streams, request, came, created: 0, events: 0, answered: 0 })
    }

    /// Opens the streams and creates watchers on them, evenly; `of` says the keys from, to, and the first revision.
    pub fn create(&mut self, watchers: u64, of: impl Fn(u64) -> (Bytes, Bytes, i64)) -> Result<()> {
        let message = |number| {
            let (key, range_end, start_revision) = of(number);
            let create = WatchCreateRequest { key, range_end, start_revision, ..Default::default() };
            WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
        };
        let streams = (self.streams as u64).min(watchers);
        for stream in 0..streams {
            self.ask(&message(stream));
            let connection = stream as usize % self.connections;
            let place = self.client.call(connection, WATCH, stream as u32, &self.request, false);
            for number in (stream + streams..watchers).step_by(self.streams) {
                self.ask(&message(number));
                self.client.send(place, &self.request);
            }
        }
        while self.created < watchers {
            if !self.turn(SILENCE_MAX)? {
                return Err(format!("{} of {watchers} watchers were created", self.created).into());
            }
        }
        Ok(())
    }

    fn ask(&mut self, message: &WatchRequest) {
        self.request.clear();
        request::push(message, &mut self.request);
    }

    /// Asks for a put, to be written with the next turn.
    pub fn put(&mut self, key: Bytes, value: &Bytes) {
        self.request.clear();
        request::put(key, value, &mut self.request);
        self.client.call(self.connections, request::PUT, self.streams as u32, &self.request, true);
    }

    /// Takes what comes; false when nothing came until `pause` was over.
    pub fn turn(&mut self, pause: Duration) -> Result<bool> {
        let mut came = std::mem::take(&mut self.came);
        self.client.turn(pause, &mut came)?;
        let something = !came.is_empty();
        for event in came.drain(..) {
            match event {
                Event::Ended { call, result } if call as usize == self.streams => {
                    result?;
                    self.answered += 1;
                }
                Event::Ended { result, .. } => return Err(format!("a stream ended: {result:?}").into()),
                Event::Message { call, body, .. } if (call as usize) < self.streams => {
                    let answer = WatchAnswer::read(&body)?;
                    self.created += u64::from(answer.created);
                    self.events += answer.events;
                }
                Event::Message { .. } => {}
            }
        }
        self.came = came;
        Ok(something)
    }

    /// Waits until there were so many events and answered puts.
    pub fn take_until(&mut self, events: u64, answered: u64) -> Result<()> {
        while self.events < events || self.answered < answered {
            if !self.turn(SILENCE_MAX)? {
                return Err(format!("{} of {events} events came", self.events).into());
            }
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
