//! One HTTP/2 connection: the socket around an [`http2::Connection`], the handlers of its streams, and their answers.
//!
//! Everything of a connection happens in its one task: what came is read, its handlers run, what they answered is
//! written with as few calls as the socket takes. A client that does not read is not read from.

use std::collections::HashMap;
use std::future::Future;
use std::io::IoSlice;
use std::iter::Peekable;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::vec::Drain;

use backend::Turn;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use http2::{Connection, Event, OUTPUT_MAX, Reason, StreamId};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use super::door::{Calls, Limits};
use super::inbox::{Feed, Inbox, Releases};
use super::keepalive::{Due, Keepalive};
use super::listener::Remote;
use super::slots::Slots;
use super::{alone, blocks};
use crate::rpc::body::{Body, Stream};
use crate::rpc::{Answer, Answered};

/// Read from the socket at once.
const READ_BYTES: usize = 64 * 1024;
/// Length of a request's fields.
const HEADER_LIST_BYTES: usize = 16 << 20;
/// What a client may send ahead: on one stream as much as the largest usual request, on all together four times that.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// Pieces in one write.
const SLICES: usize = 64;
/// What may wait for the socket of one connection, if that is not more than its share of what may wait for the sockets of
/// all connections of a loop. Few long writes wake a client less often than many short ones, which costs both a lot.
const BURST_BYTES: usize = 1 << 20;
const BURSTS_BYTES: usize = 8 << 20;
/// Copied twice in a microsecond, by us and by the kernel.
const PIECE_BYTES: usize = 4 << 10;

/// Room for so many notes of what handlers took stays with a connection.
const RELEASES_KEPT: usize = 64;

type Frame = http_body::Frame<Bytes>;

/// What a stream waits for.
enum Work {
    /// Its handler.
    Answer(StreamId, Answer),
    /// The next piece of its answer's body.
    Next(StreamId, Box<Stream>),
}

#[allow(clippy::large_enum_variant, reason = "moved twice; a box would cost more")]
enum Done {
    Answer(Answered),
    Frame(Option<Frame>),
}

/// A stream that is not yet answered in full.
#[derive(Default)]
struct Open {
    slot: Option<usize>,
    inbox: Option<Feed>,
    /// A body that goes on when the client's windows let it.
    parked: Option<Box<Body>>,
}

/// Serves a connection until it ends or, after `stop`, its last stream has.
pub struct Serving<S> {
    socket: S,
    remote: Remote,
    calls: Calls,
    connection: Connection,
    input: BytesMut,
    events: Vec<Event>,
    open: HashMap<StreamId, Open>,
    slots: Slots<Work>,
    done: Vec<(Work, Done)>,
    releases: Arc<Releases>,
    released: Vec<(StreamId, usize)>,
    keepalive: Keepalive,
    stop: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    turn: Turn,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Serving<S> {
    /// `input`: what was read from the socket already.
    pub fn new(
        socket: S,
        input: BytesMut,
        remote: Remote,
        calls: Calls,
        limits: Limits,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Serving<S> {
        let connection = Connection::new(http2::Limits {
            streams_max: limits.streams_max,
            header_list_bytes: HEADER_LIST_BYTES,
            stream_window_bytes: STREAM_WINDOW_BYTES,
            connection_window_bytes: CONNECTION_WINDOW_BYTES,
        });
        Serving {
            socket,
            remote,
            calls,
            connection,
            input,
            events: Vec::new(),
            open: HashMap::new(),
            slots: Slots::new(),
            done: Vec::new(),
            releases: Arc::default(),
            released: Vec::new(),
            keepalive: Keepalive::new(&limits),
            stop: Some(Box::pin(stop)),
            turn: Turn::default(),
        }
    }

    /// Reads once and acts on it; false when there is nothing to read now.
    fn read(&mut self, cx: &mut Context<'_>) -> Result<bool, Ended> {
        // A client that leaves its answers lying is not asked for more.
        if self.connection.is_output_full() || self.connection.is_over() {
            return Ok(false);
        }
        self.input.reserve(READ_BYTES);
        let Poll::Ready(read) = pin!(self.socket.read_buf(&mut self.input)).poll(cx) else {
            if self.input.is_empty() {
                // An idle connection keeps no buffer.
                self.input = BytesMut::new();
            }
            return Ok(false);
        };
        match read {
            Ok(0) | Err(_) => return Err(Ended),
            Ok(_) => self.keepalive.heard(),
        }
        self.take_input();
        Ok(true)
    }

    /// Acts on all whole frames that were read.
    fn take_input(&mut self) {
        let mut events = std::mem::take(&mut self.events);
        // An error has told the client already; what waits is sent before the connection closes.
        let failed = self.connection.receive(&mut self.input, &mut events).is_err();
        let mut rest = events.drain(..).peekable();
        while let Some(event) = rest.next() {
            match event {
                Event::Request { stream, head, end } => {
                    let whole = if end { Some(Bytes::new()) } else { whole_body(stream, &mut rest) };
                    self.begin(stream, head, whole);
                }
                Event::Data { stream, bytes, end } => self.feed(stream, bytes, end),
                Event::Reset { stream } => self.forget(stream),
                Event::Ping if self.keepalive.is_pinged_too_often(self.connection.streams()) => {
                    self.connection.end(Reason::EnhanceYourCalm, b"too_many_pings");
                }
                Event::Ping => {}
            }
        }
        drop(rest);
        self.events = events;
        if failed {
            self.open.clear();
            self.slots = Slots::new();
        }
    }

    /// Starts the handler of a request; `whole` is its body if all of it is there.
    fn begin(&mut self, stream: StreamId, head: Arc<http2::Head>, whole: Option<Bytes>) {
        let mut open = Open::default();
        let inbox = match whole {
            Some(bytes) => {
                self.connection.release(stream, bytes.len());
                Inbox::Whole(bytes)
            }
            None => {
                let (to, inbox) = Inbox::pieces(stream, self.releases.clone());
                open.inbox = Some(to);
                inbox
            }
        };
        let answer = (self.calls)(head, inbox, self.remote);
        open.slot = Some(self.slots.insert(Work::Answer(stream, answer)));
        self.open.insert(stream, open);
    }

    fn feed(&mut self, stream: StreamId, bytes: Bytes, end: bool) {
        let len = bytes.len();
        let inbox = self.open.get(&stream).and_then(|open| open.inbox.as_ref());
        if !inbox.is_some_and(|inbox| inbox.push(bytes, end)) {
            // The handler has heard enough.
            self.connection.release(stream, len);
        }
    }

    fn forget(&mut self, stream: StreamId) {
        if let Some(slot) = self.open.remove(&stream).and_then(|open| open.slot) {
            self.slots.remove(slot);
        }
    }

    /// Lets handlers and bodies go on; false when none can.
    fn work(&mut self, cx: &mut Context<'_>) -> bool {
        self.release(None);
        let mut done = std::mem::take(&mut self.done);
        let woken = alone::working(self.open.len(), || self.slots.poll(cx, Work::poll, &mut done));
        for (work, output) in done.drain(..) {
            match (work, output) {
                (Work::Answer(stream, _), Done::Answer(answered)) => self.answer(stream, answered),
                (Work::Next(stream, body), Done::Frame(frame)) => self.next(stream, body, frame),
                _ => {}
            }
        }
        self.done = done;
        let cleared = self.connection.take_cleared();
        let went_on = woken || !cleared.is_empty();
        for stream in cleared {
            if let Some(body) = self.open.get_mut(&stream).and_then(|open| open.parked.take()) {
                self.go_on(stream, *body);
            }
        }
        went_on || self.release(Some(cx.waker()))
    }

    /// Gives back to the client's windows what handlers have taken; false if that was nothing: then `waker` is woken for
    /// the next.
    fn release(&mut self, waker: Option<&Waker>) -> bool {
        self.releases.take(&mut self.released, waker);
        let any = !self.released.is_empty();
        for (stream, len) in self.released.drain(..) {
            self.connection.release(stream, len);
        }
        self.released.shrink_to(RELEASES_KEPT);
        any
    }

    fn answer(&mut self, stream: StreamId, answered: Answered) {
        self.keepalive.answered();
        let status = match answered {
            Answered::Body(body) => {
                self.connection.head(stream, blocks::head());
                return self.go_on(stream, body);
            }
            Answered::Status(status) => blocks::status(StatusCode::OK, &status),
            Answered::NoCall(http, status) => blocks::status(http, &status),
        };
        self.connection.trailers(stream, status);
        self.open.remove(&stream);
    }

    /// Sends of a body what the windows let through now.
    fn go_on(&mut self, stream: StreamId, body: Body) {
        let mut body = match body {
            Body::Stream(body) => return self.go_on_streaming(stream, body),
            body => body,
        };
        let Some(open) = self.open.get_mut(&stream) else { return };
        // Whatever brought us here has left its slot to others.
        open.slot = None;
        // All of these bodies are there: they never wait.
        while self.connection.is_clear(stream) {
            let Some(bytes) = body.next_piece() else {
                let end = body.failure().map_or_else(blocks::ok, |trailers| blocks::trailers(&trailers));
                self.connection.trailers(stream, end);
                self.open.remove(&stream);
                return;
            };
            self.keepalive.answered();
            self.connection.data(stream, bytes);
        }
        open.parked = Some(Box::new(body));
    }

    fn go_on_streaming(&mut self, stream: StreamId, body: Box<Stream>) {
        let Some(open) = self.open.get_mut(&stream) else { return };
        if self.connection.is_clear(stream) {
            open.slot = Some(self.slots.insert(Work::Next(stream, body)));
        } else {
            open.slot = None;
            open.parked = Some(Box::new(Body::Stream(body)));
        }
    }

    fn next(&mut self, stream: StreamId, body: Box<Stream>, frame: Option<Frame>) {
        if self.send(stream, frame) {
            self.go_on_streaming(stream, body);
        }
    }

    /// Sends a piece of a body; false when that was the last.
    fn send(&mut self, stream: StreamId, frame: Option<Frame>) -> bool {
        let trailers = match frame.map(Frame::into_data) {
            Some(Ok(bytes)) => {
                self.keepalive.answered();
                self.connection.data(stream, bytes);
                return true;
            }
            Some(Err(frame)) => frame.into_trailers().unwrap_or_default(),
            None => HeaderMap::new(),
        };
        self.connection.trailers(stream, blocks::trailers(&trailers));
        self.open.remove(&stream);
        false
    }

    /// Writes what waits; an error when nobody is there any more.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<(), Ended> {
        while self.connection.output_len() > 0 {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = self.connection.output(&mut slices);
            match Pin::new(&mut self.socket).poll_write_vectored(cx, &slices[..count]) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(0) | Err(_)) => return Err(Ended),
                Poll::Ready(Ok(sent)) => self.connection.sent(sent),
            }
        }
        Ok(())
    }

    fn watch_clock(&mut self, cx: &mut Context<'_>) -> Result<(), Ended> {
        if self.stop.as_mut().is_some_and(|stop| stop.as_mut().poll(cx).is_ready()) {
            self.stop = None;
            self.connection.shut_down();
        }
        match self.keepalive.poll(cx, self.connection.pongs()) {
            Due::Nothing => Ok(()),
            Due::Ping => {
                self.connection.ping();
                Ok(())
            }
            Due::Close => Err(Ended),
        }
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Result<(), Ended> {
        self.slots.at_work();
        self.connection.set_output_max(burst_bytes(alone::connections()));
        if !self.input.is_empty() {
            self.take_input();
        }
        // What has come is heard before anybody is given up.
        let mut came = self.read(cx)?;
        self.watch_clock(cx)?;
        loop {
            let mut goes_on = std::mem::take(&mut came) || self.read(cx)?;
            goes_on |= self.work(cx);
            let was_full = self.connection.is_output_full();
            if goes_on && !was_full {
                continue;
            }
            self.write(cx)?;
            if self.connection.output_len() == 0 && self.connection.is_over() {
                return Err(Ended);
            }
            let can_read_again = was_full && !self.connection.is_output_full();
            if !can_read_again && !self.connection.has_cleared() {
                if goes_on {
                    // Nobody has been asked yet to say what comes next.
                    cx.waker().wake_by_ref();
                }
                return Ok(());
            }
            if was_full {
                self.turn.pass(burst_bytes(alone::connections()) / PIECE_BYTES);
                // There is more, but others have had to wait for this.
                cx.waker().wake_by_ref();
                return Ok(());
            }
        }
    }
}

/// What may wait for the socket of one of so many connections.
fn burst_bytes(connections: usize) -> usize {
    (BURSTS_BYTES / connections.max(1)).clamp(OUTPUT_MAX, BURST_BYTES)
}

/// The connection is closed, or is to be.
struct Ended;

impl<S: AsyncRead + AsyncWrite + Unpin> Future for Serving<S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.get_mut().turn(cx) {
            Ok(()) => Poll::Pending,
            Err(Ended) => Poll::Ready(()),
        }
    }
}

impl Work {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Done> {
        match self {
            Work::Answer(_, answer) => answer.as_mut().poll(cx).map(Done::Answer),
            Work::Next(_, body) => body.poll(cx).map(Done::Frame),
        }
    }
}

/// The body of a small request is usually there with its head: then nobody has to wait for it.
fn whole_body(stream: StreamId, rest: &mut Peekable<Drain<'_, Event>>) -> Option<Bytes> {
    let is_all = |event: &Event| matches!(event, Event::Data { stream: of, end: true, .. } if *of == stream);
    match rest.next_if(is_all) {
        Some(Event::Data { bytes, .. }) => Some(bytes),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
