//! A server's side of connections, driven by a client written here: it builds frames and reads frames.
#![allow(clippy::unwrap_used)]

mod cuts;
mod requests;
mod resets;
mod rules;
mod settings;
mod windows;

use std::io::IoSlice;

use bytes::{Bytes, BytesMut};
use http2::hpack::put_literal;
use http2::{Connection, Error, Event, Limits, PREFACE, Reason};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITIZED: u8 = 0x20;
/// HEADERS that are a whole request.
const WHOLE: u8 = END_STREAM | END_HEADERS;

/// Settings.
const HEADER_TABLE_SIZE: u16 = 1;
const ENABLE_PUSH: u16 = 2;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_FRAME_SIZE: u16 = 5;

const LIMITS: Limits = Limits {
    streams_max: None,
    header_list_bytes: 1 << 20,
    stream_window_bytes: 100_000,
    connection_window_bytes: 250_000,
};

#[derive(Clone, Debug, PartialEq, Eq)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    /// Four bytes of a payload that is made of numbers.
    fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[4 * at..4 * at + 4].try_into().unwrap())
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    fields.iter().for_each(|(name, value)| put_literal(&mut out, name.as_bytes(), value.as_bytes()));
    out
}

fn post(path: &str) -> Vec<u8> {
    block(&[(":method", "POST"), (":scheme", "http"), (":path", path), ("te", "trailers")])
}

/// A request without a body.
fn asks(stream: u32) -> Vec<u8> {
    frame(HEADERS, WHOLE, stream, &post("/a"))
}

/// A request whose body follows.
fn begins(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &post("/a"))
}

fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &(Reason::Cancel as u32).to_be_bytes())
}

fn settings(all: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> = all
        .iter()
        .flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat())
        .collect();
    frame(SETTINGS, 0, 0, &payload)
}

/// An event in words.
fn words(event: &Event) -> String {
    let ends = |end: &bool| if *end { " end" } else { "" };
    match event {
        Event::Request { stream, head, end } => {
            let path = String::from_utf8_lossy(&head.path);
            format!("request {stream} {} {path}{}", head.method, ends(end))
        }
        Event::Data { stream, bytes, end } => {
            format!("data {stream} {}{}", String::from_utf8_lossy(bytes), ends(end))
        }
        Event::Reset { stream } => format!("reset {stream}"),
        Event::Ping => "ping".into(),
    }
}

struct Client {
    server: Connection,
    input: BytesMut,
    read: Vec<u8>,
}

impl Client {
    /// Has said and heard nothing.
    fn fresh(limits: Limits) -> Client {
        Client { server: Connection::new(limits), input: BytesMut::new(), read: Vec::new() }
    }

    /// Greetings have been exchanged.
    fn new(limits: Limits) -> Client {
        let mut client = Client::fresh(limits);
        client.says(PREFACE);
        client.says(&settings(&[]));
        client.frames();
        client
    }

    fn events(&mut self, bytes: &[u8]) -> Result<Vec<Event>, Error> {
        let mut events = Vec::new();
        self.input.extend_from_slice(bytes);
        self.server.receive(&mut self.input, &mut events).map(|()| events)
    }

    /// Sends; answers what the server made of it.
    fn says(&mut self, bytes: &[u8]) -> Vec<String> {
        self.events(bytes).unwrap().iter().map(words).collect()
    }

    /// What waits at the server: all of it, or what a socket takes of it.
    fn read(&mut self, most: usize) -> Vec<u8> {
        let mut got = Vec::new();
        while got.len() < most && self.server.output_len() > 0 {
            let mut slices = [IoSlice::new(&[]); 3];
            let count = self.server.output(&mut slices);
            let all: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.iter().copied()).collect();
            assert!(!all.is_empty());
            let len = all.len().min(most - got.len());
            got.extend_from_slice(&all[..len]);
            self.server.sent(len);
        }
        got
    }

    /// Reads everything.
    fn frames(&mut self) -> Vec<Frame> {
        let read = self.read(usize::MAX);
        self.read.extend(read);
        let mut frames = Vec::new();
        while let Some(head) = self.read.first_chunk::<9>().copied() {
            let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            assert!(len <= 16_384, "{len}");
            assert!(self.read.len() >= 9 + len, "frames are sent whole");
            let payload = self.read[9..9 + len].to_vec();
            self.read.drain(..9 + len);
            let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
            frames.push(Frame { kind: head[3], flags: head[4], stream, payload });
        }
        assert!(self.read.is_empty());
        frames
    }

    /// Reads everything: body bytes by stream, in the order they came.
    fn data(&mut self) -> Vec<(u32, usize)> {
        let data = self.frames().into_iter().filter(|frame| frame.kind == DATA);
        data.map(|frame| (frame.stream, frame.payload.len())).collect()
    }

    fn answer(&mut self, stream: u32, body: impl Into<Bytes>) {
        self.server.head(stream, b"\x88");
        self.server.data(stream, body.into());
        self.server.trailers(stream, block(&[("grpc-status", "0")]).into());
    }

    /// What the server says as it ends the connection over `bytes`.
    fn fails(&mut self, bytes: &[u8]) -> Reason {
        let error = self.events(bytes).expect_err("an error");
        let last = self.frames().pop().expect("a farewell");
        assert_eq!((last.kind, last.stream, last.number(1)), (GOAWAY, 0, error.reason as u32), "{error}");
        assert!(self.server.is_over());
        error.reason
    }
}
