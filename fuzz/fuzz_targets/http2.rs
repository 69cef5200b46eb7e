//! Any bytes from a client, cut anywhere, amid any answers to them. Never a panic; what comes out is whole frames that
//! keep to the windows the client gave, and what is given back to the client is no more than was released.
//!
//! The input is a script: a byte picks what happens, those behind it say how. Besides raw bytes the client sends frames
//! made of the script, lest most inputs end at the first of them.
#![no_main]

use std::collections::{HashMap, HashSet};
use std::io::IoSlice;

use bytes::BytesMut;
use http2::hpack::{put_indexed, put_literal};
use http2::{Connection, Event, Limits, OUTPUT_MAX, PREFACE, Reason};
use libfuzzer_sys::fuzz_target;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const LIMITS: Limits = Limits {
    streams_max: Some(20),
    header_list_bytes: 1000,
    stream_window_bytes: 70_000,
    connection_window_bytes: 90_000,
};

struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    /// Small ones are likely.
    fn stream(&mut self) -> u32 {
        u32::from(self.byte() % 48)
    }

    fn len(&mut self) -> usize {
        let len = usize::from(self.byte());
        if len < 200 { len } else { (len - 199) * 1500 }
    }
}

fn put_frame(out: &mut BytesMut, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// What a client knows.
#[derive(Default)]
struct Client {
    /// Output not yet understood.
    read: Vec<u8>,
    /// Streams that the server has ended or reset.
    ended: HashSet<u32>,
    /// Streams whose header block is not complete.
    block: Option<u32>,
    data: HashMap<u32, i64>,
    all_data: i64,
    given: HashMap<u32, i64>,
}

impl Client {
    fn take(&mut self, bytes: &[u8]) {
        self.read.extend_from_slice(bytes);
        let mut rest = &self.read[..];
        while let Some(head) = rest.first_chunk::<9>() {
            let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let (kind, flags) = (head[3], head[4]);
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            assert!(len <= 16_384);
            let Some(payload) = rest.get(9..9 + len) else { break };
            assert!(self.block.is_none_or(|open| kind == CONTINUATION && stream == open));
            match kind {
                DATA => {
                    assert!(!self.ended.contains(&stream));
                    *self.data.entry(stream).or_default() += len as i64;
                    self.all_data += len as i64;
                    if flags & 1 != 0 {
                        self.ended.insert(stream);
                    }
                }
                HEADERS | CONTINUATION => {
                    assert!(kind == CONTINUATION || !self.ended.contains(&stream));
                    assert_eq!(kind == CONTINUATION, self.block.is_some());
                    self.block = (flags & 4 == 0).then_some(stream);
                    if kind == HEADERS && flags & 1 != 0 {
                        self.ended.insert(stream);
                    }
                }
                RST_STREAM => {
                    assert_eq!(len, 4);
                    self.ended.insert(stream);
                }
                SETTINGS => assert!(if flags & 1 != 0 { len == 0 } else { len % 6 == 0 }),
                6 => assert_eq!(len, 8),
                7 => assert!(len >= 8),
                WINDOW_UPDATE => {
                    let more = u32::from_be_bytes(payload.try_into().expect("four bytes"));
                    assert!((1..1 << 31).contains(&more));
                    *self.given.entry(stream).or_default() += i64::from(more);
                }
                _ => panic!("a frame of kind {kind}"),
            }
            rest = &rest[9 + len..];
        }
        let left = rest.len();
        self.read.drain(..self.read.len() - left);
    }

    fn read(&mut self, server: &mut Connection, most: usize) {
        let mut left = most;
        while server.output_len() > 0 && left > 0 {
            let mut slices = [IoSlice::new(&[]); 3];
            let count = server.output(&mut slices);
            let all: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.iter().copied()).collect();
            assert!(!all.is_empty());
            let len = all.len().min(left);
            self.take(&all[..len]);
            server.sent(len);
            left -= len;
        }
    }
}

/// What the client sent that opens windows, as frames on the wire say it: an account beside the server's.
#[derive(Default)]
struct Windows {
    input: Vec<u8>,
    all: i64,
    streams: HashMap<u32, i64>,
    initial_max: i64,
    /// Bytes of DATA frames, padding included.
    sent: HashMap<u32, i64>,
    all_sent: i64,
}

impl Windows {
    /// Follows the client's bytes.
    fn take(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        let mut rest = &self.input[..];
        while let Some(head) = rest.first_chunk::<9>() {
            let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
            let Some(payload) = rest.get(9..9 + len) else { break };
            match head[3] {
                DATA => {
                    *self.sent.entry(stream).or_default() += len as i64;
                    self.all_sent += len as i64;
                }
                SETTINGS if head[4] & 1 == 0 => {
                    for setting in payload.chunks_exact(6).filter(|setting| setting[..2] == [0, 4]) {
                        let size = u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]);
                        self.initial_max = self.initial_max.max(i64::from(size));
                    }
                }
                WINDOW_UPDATE if len == 4 => {
                    let more =
                        u32::from_be_bytes([payload[0], payload[1], payload[2], payload[3]]) & 0x7fff_ffff;
                    *self.streams.entry(stream).or_default() += i64::from(more);
                    self.all += if stream == 0 { i64::from(more) } else { 0 };
                }
                _ => {}
            }
            rest = &rest[9 + len..];
        }
        let left = rest.len();
        self.input.drain(..self.input.len() - left);
    }
}

fuzz_target!(|input: &[u8]| {
    let mut script = Script(input);
    let mut server = Connection::new(LIMITS);
    let mut client = Client::default();
    let mut windows = Windows { all: 65_535, initial_max: 65_535, ..Windows::default() };
    let (mut wire, mut buffered) = (BytesMut::new(), BytesMut::new());
    let mut events = Vec::new();
    // Bytes of bodies that the handlers hold, by stream.
    let mut held: Vec<(u32, usize)> = Vec::new();
    let mut next_stream = 1;
    let greeted = script.byte() % 8 != 0;
    if greeted {
        server.receive(&mut BytesMut::from(PREFACE), &mut events).expect("the preface");
    }
    while !script.0.is_empty() {
        match script.byte() % 20 {
            0 => {
                let len = script.len();
                wire.extend_from_slice(script.bytes(len));
            }
            1 => {
                let (kind, flags, stream) = (script.byte() % 11, script.byte(), script.stream());
                let len = usize::from(script.byte() % 32);
                put_frame(&mut wire, kind, flags, stream, script.bytes(len));
            }
            2 | 3 => {
                let mut block = BytesMut::new();
                put_indexed(&mut block, 3);
                put_literal(&mut block, b":path", &[b'/', script.byte() % 4 + b'a']);
                let how = script.byte();
                if how & 2 != 0 {
                    // A field for the table, or one from there.
                    block.extend_from_slice(if how & 4 != 0 { b"\x40\x01x\x01y" } else { b"\xbe" });
                }
                let (first, rest) = block.split_at(if how & 8 != 0 { 3 } else { block.len() });
                let end_headers = if rest.is_empty() { 4 } else { 0 };
                put_frame(&mut wire, HEADERS, how & 1 | end_headers, next_stream, first);
                if !rest.is_empty() {
                    put_frame(&mut wire, CONTINUATION, 4, next_stream, rest);
                }
                next_stream += 2;
            }
            4 | 5 => {
                let (flags, stream, len) = (script.byte() & 9, script.stream() | 1, script.len());
                put_frame(&mut wire, DATA, flags, stream, &vec![3; len.min(16_384)]);
            }
            6 => {
                let (stream, more) = (script.stream(), script.len() as u32);
                let more = if script.byte() == 0 { 0x7fff_0000 } else { more + 1 };
                put_frame(&mut wire, WINDOW_UPDATE, 0, stream, &more.to_be_bytes());
            }
            7 => {
                let size = (script.len() as u32).to_be_bytes();
                let name = script.byte() % 7;
                put_frame(&mut wire, SETTINGS, 0, 0, &[&[0, name], &size[..]].concat());
            }
            8 => {
                let stream = script.stream() | 1;
                put_frame(&mut wire, RST_STREAM, 0, stream, &[0; 4]);
            }
            9 | 10 => {
                // The socket brings some of it.
                let len = script.len().min(wire.len());
                let part = wire.split_to(len);
                if greeted {
                    windows.take(&part);
                }
                buffered.extend_from_slice(&part);
                if server.receive(&mut buffered, &mut events).is_err() {
                    assert!(server.is_over());
                }
            }
            11 => server.head(script.stream(), &vec![0x88; script.len() / 4 + 1]),
            12 | 13 => server.data(script.stream(), vec![1; script.len()].into()),
            14 => {
                let (stream, len) = (script.stream(), script.len());
                server.trailers(stream, vec![0x88; len / 4].into());
            }
            15 if !held.is_empty() => {
                let (stream, len) = held.swap_remove(usize::from(script.byte()) % held.len());
                server.release(stream, len);
            }
            16 => {
                server.reset(script.stream(), Reason::Cancel);
            }
            17 => client.read(&mut server, script.len()),
            18 => {
                // Since a stream became clear it may have been given more.
                assert_eq!(server.has_cleared(), !server.take_cleared().is_empty());
            }
            _ => match script.byte() {
                0 => server.shut_down(),
                1 => server.end(Reason::EnhanceYourCalm, b"calm"),
                2 => server.ping(),
                _ => {}
            },
        }
        for event in events.drain(..) {
            match event {
                Event::Request { head, .. } => assert!(!head.path.is_empty()),
                Event::Data { stream, bytes, .. } => held.push((stream, bytes.len())),
                Event::Reset { .. } | Event::Ping => {}
            }
        }
        assert!(server.streams() <= 20);
        // Data waits with its streams; the rest are answers to what came.
        assert!(server.output_len() < OUTPUT_MAX + input.len() * 16_500);
    }
    for (stream, len) in held {
        server.release(stream, len);
    }
    client.read(&mut server, usize::MAX);
    assert!(client.read.is_empty() && client.block.is_none(), "only whole frames");
    if !greeted {
        return;
    }
    assert!(client.all_data <= windows.all);
    for (stream, len) in &client.data {
        let more = windows.streams.get(stream).copied().unwrap_or(0);
        assert!(*len <= windows.initial_max + more, "{stream}");
    }
    // The first update is the greeting's.
    let given = client.given.remove(&0).unwrap_or(0) - (90_000 - 65_535);
    assert!(given <= windows.all_sent);
    for (stream, given) in &client.given {
        assert!(*given <= windows.sent.get(stream).copied().unwrap_or(0), "{stream}");
    }
});
