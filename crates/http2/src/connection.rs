//! A server's side of one connection: bytes in, events out; answers in, bytes out.

mod receive;
mod send;

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use crate::frame::{self, Reason};
use crate::head::{Head, Heads};
use crate::output::Output;
use crate::stream::{StreamId, Streams};

/// A window that nobody may grow beyond (RFC 9113, 6.9.1).
const WINDOW_MAX: i64 = 0x7fff_ffff;
/// Both sides' windows until SETTINGS and WINDOW_UPDATE say otherwise.
const WINDOW_DEFAULT: i64 = 65_535;
/// Bytes waiting for the socket above which data stays with its stream, unless
/// [`set_output_max`](Connection::set_output_max) says otherwise.
pub const OUTPUT_MAX: usize = 256 * 1024;

/// What a connection grants its client.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Streams at a time; none: no limit.
    pub streams_max: Option<u32>,
    /// Length of a request's fields, each with 32 bytes added.
    pub header_list_bytes: usize,
    /// What a client may send ahead on one stream.
    pub stream_window_bytes: u32,
    /// What a client may send ahead on all streams together.
    pub connection_window_bytes: u32,
}

/// What a client did.
#[derive(Debug)]
pub enum Event {
    /// A request begins; `end`: and has no body.
    Request {
        /// Its stream.
        stream: StreamId,
        /// Shared among requests that say the same.
        head: Arc<Head>,
        /// Nothing follows.
        end: bool,
    },
    /// A piece of a request's body, which counts against the windows until it is [released](Connection::release).
    Data {
        /// Its stream.
        stream: StreamId,
        /// May be empty when `end` is set.
        bytes: Bytes,
        /// Nothing follows.
        end: bool,
    },
    /// The stream is no more: the client gave it up or broke the rules on it.
    Reset {
        /// The stream.
        stream: StreamId,
    },
    /// A ping, answered already.
    Ping,
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    limits: Limits,
    heads: Heads,
    streams: Streams,
    /// The highest number the client has used.
    last: StreamId,
    /// A header block of which frames are missing.
    block: Option<OpenBlock>,
    output: Output,
    output_max: usize,
    send_window: i64,
    /// What SETTINGS grant each new stream.
    send_window_initial: i64,
    receive_window: i64,
    released: u32,
    /// Streams that wait for the connection's window or for room in the output.
    line: VecDeque<StreamId>,
    /// Streams that had to wait and do no longer.
    cleared: Vec<StreamId>,
    taken_back: u32,
    pongs: u64,
    table_size: TableSize,
    greeted: bool,
    /// The last stream that will be answered, as the client was told.
    goodbye: Option<StreamId>,
    failed: bool,
}

/// We use no dynamic table. A client that wants one smaller than usual expects to be told of its size, once: a block
/// begins so after its SETTINGS have been acknowledged (RFC 7541, 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum TableSize {
    Usual,
    ToBeSaid,
    Said,
}

#[derive(Debug)]
struct OpenBlock {
    stream: StreamId,
    end: bool,
    bytes: BytesMut,
    frames: usize,
}

impl Connection {
    /// A fresh connection; its settings wait to be sent.
    pub fn new(limits: Limits) -> Connection {
        let mut output = Output::default();
        output.put(|out| put_settings(out, &limits));
        Connection {
            heads: Heads::new(limits.header_list_bytes),
            streams: Streams::default(),
            last: 0,
            block: None,
            output,
            output_max: OUTPUT_MAX,
            send_window: WINDOW_DEFAULT,
            send_window_initial: WINDOW_DEFAULT,
            receive_window: i64::from(limits.connection_window_bytes).max(WINDOW_DEFAULT),
            released: 0,
            line: VecDeque::new(),
            cleared: Vec::new(),
            taken_back: 0,
            pongs: 0,
            table_size: TableSize::Usual,
            greeted: false,
            goodbye: None,
            failed: false,
            limits,
        }
    }

    /// Asks the client whether it is there.
    pub fn ping(&mut self) {
        self.output.put(|out| {
            frame::put_head(out, 8, frame::PING, 0, 0);
            out.put_slice(&[0; 8]);
        });
    }

    /// How many pings the client has answered.
    pub fn pongs(&self) -> u64 {
        self.pongs
    }

    /// Says goodbye: what is under way will be answered, what comes is refused.
    pub fn shut_down(&mut self) {
        if self.goodbye.is_none() {
            let last = self.last;
            self.goodbye = Some(last);
            self.output.put(|out| frame::put_goaway(out, last, Reason::NoError, b""));
        }
    }

    /// Ends the connection: nothing more is taken or answered. Send what waits, then close.
    pub fn end(&mut self, reason: Reason, text: &[u8]) {
        if !self.failed {
            self.failed = true;
            let last = self.goodbye.unwrap_or(self.last);
            self.output.put(|out| frame::put_goaway(out, last, reason, text));
        }
    }

    /// Nothing more will come of this connection once what waits has been sent.
    pub fn is_over(&self) -> bool {
        self.failed || self.goodbye.is_some() && self.streams.values().all(|stream| stream.answered)
    }

    /// Open streams.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// From now on data stays with its stream while so many bytes wait for the socket.
    pub fn set_output_max(&mut self, bytes: usize) {
        self.output_max = bytes;
    }

    /// Whether so many bytes wait for the socket.
    pub fn is_output_full(&self) -> bool {
        self.output.len() >= self.output_max
    }

    /// Bytes that wait for the socket.
    pub fn output_len(&self) -> usize {
        self.output.len()
    }

    /// The first of the bytes that wait for the socket; answers how many slots are filled.
    pub fn output<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        self.output.slices(into)
    }

    /// The socket has taken `len` bytes.
    pub fn sent(&mut self, len: usize) {
        self.output.sent(len);
        if !self.line.is_empty() {
            self.go_on();
        }
    }
}

/// Our settings, and the connection's window where it is larger than everybody's.
fn put_settings(out: &mut BytesMut, limits: &Limits) {
    const MAX_CONCURRENT_STREAMS: u16 = 3;
    const INITIAL_WINDOW_SIZE: u16 = 4;
    const MAX_HEADER_LIST_SIZE: u16 = 6;
    let mut settings = vec![
        (INITIAL_WINDOW_SIZE, limits.stream_window_bytes),
        (MAX_HEADER_LIST_SIZE, u32::try_from(limits.header_list_bytes).unwrap_or(u32::MAX)),
    ];
    settings.extend(limits.streams_max.map(|max| (MAX_CONCURRENT_STREAMS, max)));
    frame::put_head(out, settings.len() * 6, frame::SETTINGS, 0, 0);
    for (name, value) in settings {
        out.put_u16(name);
        out.put_u32(value);
    }
    let more = i64::from(limits.connection_window_bytes) - WINDOW_DEFAULT;
    if let Ok(more @ 1..) = u32::try_from(more) {
        frame::put_window_update(out, 0, more);
    }
}
