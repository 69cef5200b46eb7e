//! One HTTP/2 connection for gRPC calls over a non-blocking socket.
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use super::frame::{self, Frame, flag, kind, setting};
use http2::hpack::{Decoder, TABLE_DEFAULT_BYTES};

use super::hpack;
use super::stream::{Event, Stream};

/// Receive window of a stream and of a connection: what grpc-go's grow to.
const WINDOW: u32 = 16 << 20;
/// What RFC 9113 gives before anything is said.
const WINDOW_INITIAL: u32 = 65_535;
const INPUT_BYTES: usize = 64 << 10;

pub struct Connection {
    socket: TcpStream,
    authority: String,
    keep_bodies: bool,
    input: Box<[u8]>,
    filled: usize,
    output: Vec<u8>,
    written: usize,
    encoder: hpack::Encoder,
    decoder: Decoder,
    streams: Vec<Stream>,
    next_id: u32,
    /// What we may still send, and what a new stream may.
    window: i64,
    stream_window: i64,
    /// What came in since we last widened the server's window.
    received: u32,
    /// Frames that wait for a window: stream, content, whether it ends the stream.
    held: VecDeque<(u32, Vec<u8>, bool)>,
}

impl Connection {
    pub fn open(port: u16, keep_bodies: bool) -> std::io::Result<Connection> {
        let socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let mut output = frame::PREFACE.to_vec();
        let settings = [(setting::ENABLE_PUSH, 0), (setting::INITIAL_WINDOW_SIZE, WINDOW)];
        frame::push_settings(&mut output, &settings);
        widen(&mut output, 0, WINDOW - WINDOW_INITIAL);
        Ok(Connection {
            socket,
            authority: format!("127.0.0.1:{port}"),
            keep_bodies,
            input: vec![0; INPUT_BYTES].into(),
            filled: 0,
            output,
            written: 0,
            encoder: hpack::Encoder::default(),
            decoder: Decoder::new(TABLE_DEFAULT_BYTES),
            streams: Vec::new(),
            next_id: 1,
            window: i64::from(WINDOW_INITIAL),
            stream_window: i64::from(WINDOW_INITIAL),
            received: 0,
            held: VecDeque::new(),
        })
    }

    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Starts a call with its first message; `last` says there is no other. Nothing is written before `flush`.
    pub fn call(&mut self, method: &str, call: u32, message: &[u8], last: bool) -> u32 {
        let id = self.next_id;
        self.next_id += 2;
        let mut block = Vec::with_capacity(256);
        self.encoder.call(method, &self.authority, &mut block);
        frame::push(&mut self.output, kind::HEADERS, flag::END_HEADERS, id, &[&block]);
        self.streams.push(Stream::new(id, call, self.stream_window));
        self.send(id, message, last);
        id
    }

    /// Sends another message in a call.
    pub fn send(&mut self, id: u32, message: &[u8], last: bool) {
        let [a, b, c, d] = (message.len() as u32).to_be_bytes();
        let prefix = [0, a, b, c, d];
        let length = prefix.len() + message.len();
        if length <= frame::PAYLOAD_MAX && self.held.is_empty() && self.may_send(id, length) {
            return self.push_data(id, &[&prefix, message], last);
        }
        let whole = [&prefix[..], message].concat();
        let mut pieces = whole.chunks(frame::PAYLOAD_MAX).peekable();
        while let Some(piece) = pieces.next() {
            self.held.push_back((id, piece.to_vec(), last && pieces.peek().is_none()));
        }
        self.release_held();
    }

    fn may_send(&self, id: u32, length: usize) -> bool {
        // A stream that is over swallows what waits for it.
        let stream = self.streams.iter().find(|stream| stream.id == id).map_or(i64::MAX, |s| s.window);
        self.window.min(stream) >= length as i64
    }

    fn push_data(&mut self, id: u32, pieces: &[&[u8]], last: bool) {
        let Some(stream) = self.streams.iter_mut().find(|stream| stream.id == id) else { return };
        let flags = if last { flag::END_STREAM } else { 0 };
        frame::push(&mut self.output, kind::DATA, flags, id, pieces);
        let taken = pieces.iter().map(|piece| piece.len() as i64).sum::<i64>();
        stream.window -= taken;
        self.window -= taken;
    }

    fn release_held(&mut self) {
        while let Some((id, piece, last)) = self.held.pop_front() {
            if !self.may_send(id, piece.len()) {
                return self.held.push_front((id, piece, last));
            }
            self.push_data(id, &[&piece], last);
        }
    }

    /// Writes what it can; says whether something is left because the socket is full.
    pub fn flush(&mut self) -> std::io::Result<bool> {
        while self.written < self.output.len() {
            match self.socket.write(&self.output[self.written..]) {
                Ok(n) => self.written += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.output.clear();
        self.written = 0;
        Ok(false)
    }

    /// Reads once and appends what came.
    pub fn receive(&mut self, events: &mut Vec<Event>) -> Result<(), String> {
        match self.socket.read(&mut self.input[self.filled..]) {
            Ok(0) => return Err("the server closed the connection".into()),
            Ok(n) => self.filled += n,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(()),
            Err(e) => return Err(e.to_string()),
        }
        let input = std::mem::take(&mut self.input);
        let mut taken = 0;
        while let Some((frame, length)) = Frame::cut(&input[taken..self.filled])? {
            self.take(&frame, events)?;
            taken += length;
        }
        self.input = input;
        self.input.copy_within(taken..self.filled, 0);
        self.filled -= taken;
        Ok(())
    }

    fn take(&mut self, frame: &Frame<'_>, events: &mut Vec<Event>) -> Result<(), String> {
        match frame.kind {
            kind::DATA => self.take_data(frame, events)?,
            kind::HEADERS => self.take_headers(frame)?,
            kind::RST_STREAM => {
                let error = Err(format!("the stream was reset, code {}", frame.number()?));
                self.end(frame.stream, Some(error), events);
            }
            kind::SETTINGS if !frame.has(flag::ACK) => self.take_settings(frame),
            kind::PING if !frame.has(flag::ACK) => {
                frame::push(&mut self.output, kind::PING, flag::ACK, 0, &[frame.payload]);
            }
            kind::WINDOW_UPDATE => self.take_window(frame.stream, frame.number()?),
            kind::GOAWAY => return Err(format!("the server goes away, code {}", frame.number()?)),
            kind::CONTINUATION => return Err("headers in several frames".into()),
            _ => {}
        }
        if matches!(frame.kind, kind::DATA | kind::HEADERS) && frame.has(flag::END_STREAM) {
            self.end(frame.stream, None, events);
        }
        Ok(())
    }

    fn take_data(&mut self, frame: &Frame<'_>, events: &mut Vec<Event>) -> Result<(), String> {
        let length = frame.payload.len() as u32;
        self.received += length;
        if self.received > WINDOW / 2 {
            widen(&mut self.output, 0, std::mem::take(&mut self.received));
        }
        let Some(stream) = self.streams.iter_mut().find(|stream| stream.id == frame.stream) else {
            return Ok(());
        };
        stream.received += length;
        if stream.received > WINDOW / 2 {
            widen(&mut self.output, stream.id, std::mem::take(&mut stream.received));
        }
        stream.data(frame.content()?, self.keep_bodies, events);
        Ok(())
    }

    fn take_headers(&mut self, frame: &Frame<'_>) -> Result<(), String> {
        if !frame.has(flag::END_HEADERS) {
            return Err("headers in several frames".into());
        }
        let mut stream = self.streams.iter_mut().find(|stream| stream.id == frame.stream);
        let each = |name: &[u8], value: &[u8]| {
            if let Some(stream) = &mut stream {
                stream.field(name, value);
            }
        };
        self.decoder.decode(frame.content()?, each).map_err(|error| error.to_string())
    }

    fn take_settings(&mut self, frame: &Frame<'_>) {
        for (id, value) in frame.settings() {
            if id == setting::INITIAL_WINDOW_SIZE {
                let more = i64::from(value) - self.stream_window;
                self.stream_window += more;
                self.streams.iter_mut().for_each(|stream| stream.window += more);
            }
        }
        frame::push(&mut self.output, kind::SETTINGS, flag::ACK, 0, &[]);
        self.release_held();
    }

    fn take_window(&mut self, id: u32, more: u32) {
        if id == 0 {
            self.window += i64::from(more);
        } else if let Some(stream) = self.streams.iter_mut().find(|stream| stream.id == id) {
            stream.window += i64::from(more);
        }
        self.release_held();
    }

    fn end(&mut self, id: u32, result: Option<Result<(), String>>, events: &mut Vec<Event>) {
        if let Some(at) = self.streams.iter().position(|stream| stream.id == id) {
            let stream = self.streams.swap_remove(at);
            let result = result.unwrap_or_else(|| stream.result());
            events.push(Event::Ended { call: stream.call, result });
            // What waited to be sent on it is let go.
            self.release_held();
        }
    }
}

fn widen(output: &mut Vec<u8>, stream: u32, more: u32) {
    frame::push(output, kind::WINDOW_UPDATE, 0, stream, &[&more.to_be_bytes()]);
}
