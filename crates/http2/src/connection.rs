//! A server's side of one connection: bytes in, events out; answers in, bytes out.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::Error;
use crate::frame::{self, PAYLOAD_MAX, PREFACE, Reason};
use crate::head::{Head, Heads, Said};
use crate::output::Output;
use crate::stream::{Part, Stream, StreamId, Streams};

/// A window that nobody may grow beyond (RFC 9113, 6.9.1).
const WINDOW_MAX: i64 = 0x7fff_ffff;
/// Both sides' windows until SETTINGS and WINDOW_UPDATE say otherwise.
const WINDOW_DEFAULT: i64 = 65_535;
/// Streams that a client may take back unanswered, beyond those that were answered meanwhile.
const TAKEN_BACK_MAX: u32 = 10_000;
/// Bytes waiting for the socket above which data stays with its stream.
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
    greeted: bool,
    refuses: bool,
    failed: bool,
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
            send_window: WINDOW_DEFAULT,
            send_window_initial: WINDOW_DEFAULT,
            receive_window: i64::from(limits.connection_window_bytes).max(WINDOW_DEFAULT),
            released: 0,
            line: VecDeque::new(),
            cleared: Vec::new(),
            taken_back: 0,
            pongs: 0,
            greeted: false,
            refuses: false,
            failed: false,
            limits,
        }
    }

    /// Takes the whole frames out of `input` and adds what they mean to `events`.
    ///
    /// # Errors
    /// The client broke the rules. It is told why: send what waits, then close.
    pub fn receive(&mut self, input: &mut BytesMut, events: &mut Vec<Event>) -> Result<(), Error> {
        let result = self.frames(input, events);
        if let Err(error) = &result {
            self.end(error.reason, b"");
        }
        result
    }

    fn frames(&mut self, input: &mut BytesMut, events: &mut Vec<Event>) -> Result<(), Error> {
        if !self.greeted {
            let len = input.len().min(PREFACE.len());
            if input[..len] != PREFACE[..len] {
                return Err(Error::protocol("not the preface of HTTP/2"));
            }
            if len < PREFACE.len() {
                return Ok(());
            }
            input.advance(len);
            self.greeted = true;
        }
        while let Some(head) = frame::Head::parse(input).filter(|_| !self.failed) {
            if head.len > PAYLOAD_MAX {
                return Err(Error::new(Reason::FrameSize, "a frame longer than announced"));
            }
            if input.len() < frame::HEAD_LEN + head.len {
                break;
            }
            input.advance(frame::HEAD_LEN);
            let payload = input.split_to(head.len).freeze();
            self.frame(head, payload, events)?;
        }
        Ok(())
    }

    fn frame(&mut self, head: frame::Head, payload: Bytes, events: &mut Vec<Event>) -> Result<(), Error> {
        if let Some(block) = &self.block
            && (head.kind != frame::CONTINUATION || head.stream != block.stream)
        {
            return Err(Error::protocol("a header block is interrupted"));
        }
        match head.kind {
            frame::DATA => self.data_frame(head, payload, events),
            frame::HEADERS => self.headers_frame(head, payload, events),
            frame::CONTINUATION => self.continuation(head, &payload, events),
            frame::RST_STREAM => self.reset_frame(head, &payload, events),
            frame::SETTINGS => self.settings(head, &payload),
            frame::PUSH_PROMISE => Err(Error::protocol("a client does not push")),
            frame::PING => self.ping_frame(head, &payload, events),
            frame::WINDOW_UPDATE => self.window_update(head, &payload, events),
            frame::PRIORITY if payload.len() != 5 => Err(Error::new(Reason::FrameSize, "not a priority")),
            frame::GOAWAY if payload.len() < 8 => Err(Error::new(Reason::FrameSize, "not a farewell")),
            // A client that says goodbye sends no more requests and hangs up by itself; unknown kinds are passed over.
            _ => Ok(()),
        }
    }

    fn data_frame(
        &mut self,
        head: frame::Head,
        payload: Bytes,
        events: &mut Vec<Event>,
    ) -> Result<(), Error> {
        let id = head.stream;
        let whole = payload.len();
        self.receive_window -= whole as i64;
        if self.receive_window < 0 {
            return Err(Error::new(Reason::FlowControl, "more data than the connection's window"));
        }
        let bytes = frame::unpadded(head, payload)?;
        let end = head.has(frame::END_STREAM);
        let Some(stream) = self.streams.get_mut(&id) else {
            if id == 0 || id > self.last {
                return Err(Error::protocol("data of a stream that was never opened"));
            }
            self.give_back(whole);
            return Ok(());
        };
        stream.receive_window -= whole as i64;
        if stream.receive_window < 0 {
            return Err(Error::new(Reason::FlowControl, "more data than the stream's window"));
        }
        if stream.heard_out {
            self.give_back(whole);
            self.break_off(id, Reason::StreamClosed, events);
            return Ok(());
        }
        stream.heard_out = end;
        if stream.answered {
            if end {
                self.streams.remove(&id);
            }
            self.give_back(whole);
            return Ok(());
        }
        self.release(id, whole - bytes.len());
        if end || !bytes.is_empty() {
            events.push(Event::Data { stream: id, bytes, end });
        }
        Ok(())
    }

    fn headers_frame(
        &mut self,
        head: frame::Head,
        payload: Bytes,
        events: &mut Vec<Event>,
    ) -> Result<(), Error> {
        if head.stream.is_multiple_of(2) {
            return Err(Error::protocol("not a client's stream"));
        }
        let (end, stream) = (head.has(frame::END_STREAM), head.stream);
        let fragment = frame::unpadded(head, payload)?;
        if head.has(frame::END_HEADERS) {
            return self.whole_block(stream, end, &fragment, events);
        }
        self.block = Some(OpenBlock { stream, end, bytes: BytesMut::from(&fragment[..]), frames: 1 });
        Ok(())
    }

    fn continuation(
        &mut self,
        head: frame::Head,
        payload: &[u8],
        events: &mut Vec<Event>,
    ) -> Result<(), Error> {
        let Some(mut block) = self.block.take() else {
            return Err(Error::protocol("a continuation of nothing"));
        };
        block.frames += 1;
        block.bytes.put_slice(payload);
        // Compressed, a list is hardly longer than it counts; and a block comes in frames worth sending.
        let list_max = self.limits.header_list_bytes;
        if block.bytes.len() > list_max || block.frames > 16 + list_max / 1024 {
            return Err(Error::new(Reason::EnhanceYourCalm, "an endless header block"));
        }
        if !head.has(frame::END_HEADERS) {
            self.block = Some(block);
            return Ok(());
        }
        self.whole_block(block.stream, block.end, &block.bytes.freeze(), events)
    }

    fn whole_block(
        &mut self,
        id: StreamId,
        end: bool,
        block: &Bytes,
        events: &mut Vec<Event>,
    ) -> Result<(), Error> {
        let said = self.heads.decode(block)?;
        if let Some(stream) = self.streams.get_mut(&id) {
            if stream.heard_out {
                return Err(Error::new(Reason::StreamClosed, "headers after the end"));
            }
            if !end {
                self.break_off(id, Reason::Protocol, events);
                return Ok(());
            }
            stream.heard_out = true;
            if stream.answered {
                self.streams.remove(&id);
            } else {
                events.push(Event::Data { stream: id, bytes: Bytes::new(), end: true });
            }
            return Ok(());
        }
        if id <= self.last {
            return Ok(());
        }
        self.last = id;
        let full = self.limits.streams_max.is_some_and(|max| self.streams.len() >= max as usize);
        let refused = match said {
            _ if self.refuses || full => Reason::RefusedStream,
            Said::TooLong => Reason::FrameSize,
            Said::Head(head) if head.is_request() => {
                let window = i64::from(self.limits.stream_window_bytes);
                let mut stream = Stream::new(self.send_window_initial, window);
                stream.heard_out = end;
                self.streams.insert(id, stream);
                events.push(Event::Request { stream: id, head, end });
                return Ok(());
            }
            Said::Head(_) | Said::Malformed => Reason::Protocol,
        };
        self.output.put(|out| frame::put_reset(out, id, refused));
        Ok(())
    }

    fn reset_frame(
        &mut self,
        head: frame::Head,
        payload: &[u8],
        events: &mut Vec<Event>,
    ) -> Result<(), Error> {
        frame::number(payload)?;
        if head.stream == 0 || head.stream > self.last {
            return Err(Error::protocol("a reset of a stream that was never opened"));
        }
        if let Some(stream) = self.streams.remove(&head.stream)
            && !stream.answered
        {
            events.push(Event::Reset { stream: head.stream });
            if !stream.begun {
                self.taken_back += 1;
                if self.taken_back > TAKEN_BACK_MAX {
                    return Err(Error::new(Reason::EnhanceYourCalm, "too many requests taken back"));
                }
            }
        }
        Ok(())
    }

    fn settings(&mut self, head: frame::Head, payload: &[u8]) -> Result<(), Error> {
        const INITIAL_WINDOW_SIZE: u16 = 4;
        const MAX_FRAME_SIZE: u16 = 5;
        if head.stream != 0 {
            return Err(Error::protocol("settings of a stream"));
        }
        if head.has(frame::ACK) && !payload.is_empty() || !payload.len().is_multiple_of(6) {
            return Err(Error::new(Reason::FrameSize, "settings of an odd length"));
        }
        if head.has(frame::ACK) {
            return Ok(());
        }
        for mut setting in payload.chunks_exact(6) {
            match (setting.get_u16(), i64::from(setting.get_u32())) {
                (INITIAL_WINDOW_SIZE, size) if size > WINDOW_MAX => {
                    return Err(Error::new(Reason::FlowControl, "an initial window too large"));
                }
                (INITIAL_WINDOW_SIZE, size) => self.window_initial(size)?,
                (MAX_FRAME_SIZE, size) if size < PAYLOAD_MAX as i64 => {
                    return Err(Error::protocol("a maximum frame size below the least"));
                }
                // We use no dynamic table, push nothing, and send no frames longer than everybody takes.
                _ => {}
            }
        }
        self.output.put(|out| frame::put_head(out, 0, frame::SETTINGS, frame::ACK, 0));
        self.go_on();
        Ok(())
    }

    /// The client changes the window of all streams, also of those that are open.
    fn window_initial(&mut self, size: i64) -> Result<(), Error> {
        let change = size - self.send_window_initial;
        self.send_window_initial = size;
        for (id, stream) in &mut self.streams {
            stream.send_window += change;
            if stream.send_window > WINDOW_MAX {
                return Err(Error::new(Reason::FlowControl, "a window too large"));
            }
            if !stream.waiting.is_empty() && !stream.in_line {
                stream.in_line = true;
                self.line.push_back(*id);
            }
        }
        Ok(())
    }

    fn ping_frame(
        &mut self,
        head: frame::Head,
        payload: &[u8],
        events: &mut Vec<Event>,
    ) -> Result<(), Error> {
        if head.stream != 0 {
            return Err(Error::protocol("a ping of a stream"));
        }
        if payload.len() != 8 {
            return Err(Error::new(Reason::FrameSize, "not a ping"));
        }
        if head.has(frame::ACK) {
            self.pongs += 1;
            return Ok(());
        }
        self.output.put(|out| {
            frame::put_head(out, 8, frame::PING, frame::ACK, 0);
            out.put_slice(payload);
        });
        events.push(Event::Ping);
        Ok(())
    }

    fn window_update(
        &mut self,
        head: frame::Head,
        payload: &[u8],
        events: &mut Vec<Event>,
    ) -> Result<(), Error> {
        let increment = i64::from(frame::number(payload)? & 0x7fff_ffff);
        let id = head.stream;
        if id == 0 {
            self.send_window += increment;
            if increment == 0 {
                return Err(Error::protocol("a window grown by nothing"));
            }
            if self.send_window > WINDOW_MAX {
                return Err(Error::new(Reason::FlowControl, "a window too large"));
            }
            self.go_on();
            return Ok(());
        }
        let Some(stream) = self.streams.get_mut(&id) else {
            return if id > self.last {
                Err(Error::protocol("a window of a stream that was never opened"))
            } else {
                Ok(())
            };
        };
        stream.send_window += increment;
        if increment == 0 || stream.send_window > WINDOW_MAX {
            let reason = if increment == 0 { Reason::Protocol } else { Reason::FlowControl };
            self.break_off(id, reason, events);
        } else if !stream.waiting.is_empty() {
            self.flush_waiting(id);
        }
        Ok(())
    }

    /// Ends a stream on which the client broke the rules.
    fn break_off(&mut self, id: StreamId, reason: Reason, events: &mut Vec<Event>) {
        if self.reset(id, reason) {
            events.push(Event::Reset { stream: id });
        }
    }

    /// Sends a response's head. Nothing happens if the stream is gone; so it is with all that follows.
    pub fn head(&mut self, id: StreamId, block: &[u8]) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.begun = true;
            self.taken_back = self.taken_back.saturating_sub(1);
            self.output.put(|out| put_block(out, id, block, false));
        }
    }

    /// Sends a piece of a body, as fast as the windows let it. Give more only when the stream [is
    /// clear](Connection::is_clear).
    pub fn data(&mut self, id: StreamId, bytes: Bytes) {
        self.give(id, Part::Data(bytes));
    }

    /// Sends the last fields; the response is complete. Without a head before them they are the whole response.
    pub fn trailers(&mut self, id: StreamId, block: Bytes) {
        self.give(id, Part::Trailers(block));
    }

    fn give(&mut self, id: StreamId, part: Part) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.waiting.push_back(part);
            if stream.waiting.len() == 1 {
                self.flush(id);
            }
        }
    }

    /// Whether nothing given to the stream waits any longer.
    pub fn is_clear(&self, id: StreamId) -> bool {
        self.streams.get(&id).is_none_or(|stream| stream.waiting.is_empty())
    }

    /// Whether [`Connection::take_cleared`] would name any.
    pub fn has_cleared(&self) -> bool {
        !self.cleared.is_empty()
    }

    /// The streams that had to wait and have become clear since the last call.
    pub fn take_cleared(&mut self) -> Vec<StreamId> {
        std::mem::take(&mut self.cleared)
    }

    /// Writes what the windows allow of what waits on a stream.
    fn flush(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        while let Some(part) = stream.waiting.front_mut() {
            match part {
                Part::Data(bytes) => {
                    let window = stream.send_window.min(self.send_window);
                    if bytes.is_empty() {
                        stream.waiting.pop_front();
                        continue;
                    }
                    if window <= 0 || self.output.len() >= OUTPUT_MAX {
                        // Who waits for its own window is woken by that.
                        if stream.send_window > 0 && !stream.in_line {
                            stream.in_line = true;
                            self.line.push_back(id);
                        }
                        return;
                    }
                    let len = bytes.len().min(PAYLOAD_MAX).min(usize::try_from(window).unwrap_or(0));
                    stream.send_window -= len as i64;
                    self.send_window -= len as i64;
                    self.output.put(|out| frame::put_head(out, len, frame::DATA, 0, id));
                    self.output.push(bytes.split_to(len));
                }
                Part::Trailers(block) => {
                    self.output.put(|out| put_block(out, id, block, true));
                    if !stream.begun {
                        self.taken_back = self.taken_back.saturating_sub(1);
                    }
                    stream.answered = true;
                    stream.waiting.clear();
                    if stream.heard_out {
                        self.streams.remove(&id);
                    }
                    return;
                }
            }
        }
    }

    /// Lets those who wait in line go on.
    fn go_on(&mut self) {
        for _ in 0..self.line.len() {
            if self.send_window <= 0 || self.output.len() >= OUTPUT_MAX {
                return;
            }
            let Some(id) = self.line.pop_front() else { return };
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            stream.in_line = false;
            self.flush_waiting(id);
        }
    }

    fn flush_waiting(&mut self, id: StreamId) {
        self.flush(id);
        if self.is_clear(id) {
            self.cleared.push(id);
        }
    }

    /// Ends a stream early; false if it was gone.
    pub fn reset(&mut self, id: StreamId, reason: Reason) -> bool {
        let there = self.streams.remove(&id).is_some();
        if there {
            self.output.put(|out| frame::put_reset(out, id, reason));
        }
        there
    }

    /// Bytes of a request's body have been dealt with: the client may send as many again.
    pub fn release(&mut self, id: StreamId, len: usize) {
        self.give_back(len);
        let Some(stream) = self.streams.get_mut(&id).filter(|stream| !stream.heard_out) else { return };
        stream.released += len as u32;
        if stream.released >= self.limits.stream_window_bytes / 2 {
            let released = std::mem::take(&mut stream.released);
            stream.receive_window += i64::from(released);
            self.output.put(|out| frame::put_window_update(out, id, released));
        }
    }

    fn give_back(&mut self, len: usize) {
        self.released += len as u32;
        if self.released >= self.limits.connection_window_bytes / 2 {
            let released = std::mem::take(&mut self.released);
            self.receive_window += i64::from(released);
            self.output.put(|out| frame::put_window_update(out, 0, released));
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
        if !self.refuses {
            self.refuses = true;
            let last = self.last;
            self.output.put(|out| frame::put_goaway(out, last, Reason::NoError, b""));
        }
    }

    /// Ends the connection: nothing more is taken or answered. Send what waits, then close.
    pub fn end(&mut self, reason: Reason, text: &[u8]) {
        if !self.failed {
            self.failed = true;
            let last = self.last;
            self.output.put(|out| frame::put_goaway(out, last, reason, text));
        }
    }

    /// Nothing more will come of this connection once what waits has been sent.
    pub fn is_over(&self) -> bool {
        self.failed || self.refuses && self.streams.is_empty()
    }

    /// Open streams.
    pub fn streams(&self) -> usize {
        self.streams.len()
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

/// A header block in as many frames as it needs.
fn put_block(out: &mut BytesMut, id: StreamId, block: &[u8], end: bool) {
    let mut parts = block.chunks(PAYLOAD_MAX).peekable();
    let first = parts.next().unwrap_or_default();
    let last = |is_last: bool| if is_last { frame::END_HEADERS } else { 0 };
    let end = if end { frame::END_STREAM } else { 0 };
    frame::put_head(out, first.len(), frame::HEADERS, end | last(parts.peek().is_none()), id);
    out.put_slice(first);
    while let Some(part) = parts.next() {
        frame::put_head(out, part.len(), frame::CONTINUATION, last(parts.peek().is_none()), id);
        out.put_slice(part);
    }
}
