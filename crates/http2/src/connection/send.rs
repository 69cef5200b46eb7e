//! What the client is sent.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Connection, TableSize};
use crate::frame::{self, PAYLOAD_MAX, Reason};
use crate::hpack;
use crate::output::Output;
use crate::stream::{Part, StreamId};

impl Connection {
    /// Sends a response's head. Nothing happens if the stream is gone; so it is with all that follows.
    pub fn head(&mut self, id: StreamId, block: &[u8]) {
        if let Some(stream) = self.streams.get_mut(&id).filter(|stream| !stream.answered) {
            stream.begun = true;
            self.taken_back = self.taken_back.saturating_sub(1);
            self.put_block(id, block, false);
        }
    }

    /// Sends a piece of a body, as fast as the windows let it. Give more only when the stream [is
    /// clear](Connection::is_clear).
    pub fn data(&mut self, id: StreamId, bytes: Bytes) {
        let Some(stream) = self.streams.get_mut(&id).filter(|stream| !stream.answered) else { return };
        let len = bytes.len();
        let window = stream.send_window.min(self.send_window);
        // What is short usually goes at once.
        if stream.waiting.is_empty()
            && (1..=PAYLOAD_MAX).contains(&len)
            && len as i64 <= window
            && self.output.len() < self.output_max
        {
            stream.send_window -= len as i64;
            self.send_window -= len as i64;
            put_data(&mut self.output, id, bytes);
        } else {
            self.give(id, Part::Data(bytes));
        }
    }

    /// Sends the last fields; the response is complete. Without a head before them they are the whole response.
    pub fn trailers(&mut self, id: StreamId, block: Bytes) {
        match self.streams.get(&id) {
            Some(stream) if stream.answered => {}
            Some(stream) if stream.waiting.is_empty() => self.finish(id, &block),
            Some(_) => self.give(id, Part::Trailers(block)),
            None => {}
        }
    }

    fn give(&mut self, id: StreamId, part: Part) {
        if let Some(stream) = self.streams.get_mut(&id).filter(|stream| !stream.answered) {
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
                    if window <= 0 || self.output.len() >= self.output_max {
                        // Who waits for its own window is woken by that.
                        if stream.send_window > 0 && !stream.in_line {
                            stream.in_line = true;
                            self.stand_in_line(id);
                        }
                        return;
                    }
                    let len = bytes.len().min(PAYLOAD_MAX).min(usize::try_from(window).unwrap_or(0));
                    stream.send_window -= len as i64;
                    self.send_window -= len as i64;
                    let bytes = bytes.split_to(len);
                    put_data(&mut self.output, id, bytes);
                }
                Part::Trailers(block) => {
                    let block = std::mem::take(block);
                    return self.finish(id, &block);
                }
            }
        }
    }

    /// Ends a response that has been sent but for this.
    fn finish(&mut self, id: StreamId, block: &[u8]) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let begun = stream.begun;
        stream.answered = true;
        stream.waiting.clear();
        if stream.heard_out {
            self.streams.remove(&id);
        }
        if !begun {
            self.taken_back = self.taken_back.saturating_sub(1);
        }
        if begun && block.is_empty() {
            self.output.put(|out| frame::put_head(out, 0, frame::DATA, frame::END_STREAM, id));
        } else {
            self.put_block(id, block, true);
        }
    }

    /// Puts a stream at the end of the line.
    fn stand_in_line(&mut self, id: StreamId) {
        // Streams that ended while they waited are still there: they must not add up.
        if self.line.len() > 16 + 2 * self.streams.len() {
            self.line.retain(|id| self.streams.contains_key(id));
        }
        self.line.push_back(id);
    }

    /// Lets those who wait in line go on.
    pub(super) fn go_on(&mut self) {
        for _ in 0..self.line.len() {
            if self.send_window <= 0 || self.is_output_full() {
                return;
            }
            let Some(id) = self.line.pop_front() else { return };
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            stream.in_line = false;
            self.flush_waiting(id);
        }
    }

    pub(super) fn flush_waiting(&mut self, id: StreamId) {
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

    pub(super) fn give_back(&mut self, len: usize) {
        self.released += len as u32;
        if self.released >= self.limits.connection_window_bytes / 2 {
            let released = std::mem::take(&mut self.released);
            self.receive_window += i64::from(released);
            self.output.put(|out| frame::put_window_update(out, 0, released));
        }
    }

    /// Sends a header block in as many frames as it needs.
    fn put_block(&mut self, id: StreamId, block: &[u8], end: bool) {
        let table_size = &mut self.table_size;
        self.output.put(|out| {
            if *table_size == TableSize::ToBeSaid {
                *table_size = TableSize::Said;
                let mut whole = Vec::with_capacity(1 + block.len());
                hpack::put_table_size(&mut whole, 0);
                whole.extend_from_slice(block);
                put_block(out, id, &whole, end);
            } else {
                put_block(out, id, block, end);
            }
        });
    }
}

/// A piece of a body that fits into a frame.
fn put_data(output: &mut Output, id: StreamId, bytes: Bytes) {
    output.put(|out| frame::put_head(out, bytes.len(), frame::DATA, 0, id));
    output.push(bytes);
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
