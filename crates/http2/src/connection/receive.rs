//! What the client sends.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{Connection, Event, OpenBlock, TableSize, WINDOW_MAX};
use crate::Error;
use crate::frame::{self, PAYLOAD_MAX, PREFACE, Reason};
use crate::head::Said;
use crate::hpack::TABLE_DEFAULT_BYTES;
use crate::stream::{Stream, StreamId};

/// Streams that a client may take back unanswered, beyond those that were answered meanwhile.
const TAKEN_BACK_MAX: u32 = 10_000;

impl Connection {
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
            if head.kind == frame::DATA && self.block.is_none() {
                self.data_frame(head, input.split_to(head.len).freeze(), events)?;
            } else {
                self.frame(head, &input[..head.len], events)?;
                input.advance(head.len);
            }
        }
        Ok(())
    }

    /// Any frame but DATA.
    fn frame(&mut self, head: frame::Head, payload: &[u8], events: &mut Vec<Event>) -> Result<(), Error> {
        if let Some(block) = &self.block
            && (head.kind != frame::CONTINUATION || head.stream != block.stream)
        {
            return Err(Error::protocol("a header block is interrupted"));
        }
        match head.kind {
            frame::HEADERS => self.headers_frame(head, payload, events),
            frame::CONTINUATION => self.continuation(head, payload, events),
            frame::RST_STREAM => self.reset_frame(head, payload, events),
            frame::SETTINGS => self.settings(head, payload),
            frame::PUSH_PROMISE => Err(Error::protocol("a client does not push")),
            frame::PING => self.ping_frame(head, payload, events),
            frame::WINDOW_UPDATE => self.window_update(head, payload, events),
            frame::PRIORITY if payload.len() != 5 => Err(Error::new(Reason::FrameSize, "not a priority")),
            frame::GOAWAY if payload.len() < 8 => Err(Error::new(Reason::FrameSize, "not a farewell")),
            // A client that says goodbye sends no more requests and hangs up by itself; unknown kinds are passed over.
            _ => Ok(()),
        }
    }

    fn data_frame(
        &mut self,
        head: frame::Head,
        mut payload: Bytes,
        events: &mut Vec<Event>,
    ) -> Result<(), Error> {
        let id = head.stream;
        let whole = payload.len();
        self.receive_window -= whole as i64;
        if self.receive_window < 0 {
            return Err(Error::new(Reason::FlowControl, "more data than the connection's window"));
        }
        let unpadded = frame::unpadded(head, &payload)?;
        payload.truncate(unpadded.end);
        payload.advance(unpadded.start);
        let bytes = payload;
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
            return self.break_off(id, Reason::StreamClosed, events);
        }
        stream.heard_out = end;
        if stream.answered {
            // Nobody reads it, but a client may wait until it has sent it all.
            self.release(id, whole);
            if end {
                self.streams.remove(&id);
            }
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
        payload: &[u8],
        events: &mut Vec<Event>,
    ) -> Result<(), Error> {
        if head.stream.is_multiple_of(2) {
            return Err(Error::protocol("not a client's stream"));
        }
        let (end, stream) = (head.has(frame::END_STREAM), head.stream);
        let fragment = &payload[frame::unpadded(head, payload)?];
        if head.has(frame::END_HEADERS) {
            return self.whole_block(stream, end, fragment, events);
        }
        self.block = Some(OpenBlock { stream, end, bytes: BytesMut::from(fragment), frames: 1 });
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
        self.whole_block(block.stream, block.end, &block.bytes, events)
    }

    fn whole_block(
        &mut self,
        id: StreamId,
        end: bool,
        block: &[u8],
        events: &mut Vec<Event>,
    ) -> Result<(), Error> {
        let said = self.heads.decode(block)?;
        if let Some(stream) = self.streams.get_mut(&id) {
            if stream.heard_out {
                return Err(Error::new(Reason::StreamClosed, "headers after the end"));
            }
            if !end {
                return self.break_off(id, Reason::Protocol, events);
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
            _ if self.goodbye.is_some() || full => Reason::RefusedStream,
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
            return self.count_taken_back(!stream.begun);
        }
        Ok(())
    }

    fn count_taken_back(&mut self, unanswered: bool) -> Result<(), Error> {
        self.taken_back += u32::from(unanswered);
        if self.taken_back > TAKEN_BACK_MAX {
            return Err(Error::new(Reason::EnhanceYourCalm, "too many requests taken back"));
        }
        Ok(())
    }

    fn settings(&mut self, head: frame::Head, payload: &[u8]) -> Result<(), Error> {
        const HEADER_TABLE_SIZE: u16 = 1;
        const ENABLE_PUSH: u16 = 2;
        const INITIAL_WINDOW_SIZE: u16 = 4;
        const MAX_FRAME_SIZE: u16 = 5;
        const FRAME_SIZES: std::ops::Range<i64> = PAYLOAD_MAX as i64..1 << 24;
        if head.stream != 0 {
            return Err(Error::protocol("settings of a stream"));
        }
        if head.has(frame::ACK) && !payload.is_empty() || !payload.len().is_multiple_of(6) {
            return Err(Error::new(Reason::FrameSize, "settings of an odd length"));
        }
        if head.has(frame::ACK) {
            return Ok(());
        }
        let mut window = self.send_window_initial;
        for mut setting in payload.chunks_exact(6) {
            match (setting.get_u16(), i64::from(setting.get_u32())) {
                (HEADER_TABLE_SIZE, size) if size < TABLE_DEFAULT_BYTES as i64 => {
                    self.table_size = self.table_size.max(TableSize::ToBeSaid);
                }
                (ENABLE_PUSH, 2..) => return Err(Error::protocol("neither to push nor not to")),
                (INITIAL_WINDOW_SIZE, size) if size > WINDOW_MAX => {
                    return Err(Error::new(Reason::FlowControl, "an initial window too large"));
                }
                (INITIAL_WINDOW_SIZE, size) => window = size,
                (MAX_FRAME_SIZE, size) if !FRAME_SIZES.contains(&size) => {
                    return Err(Error::protocol("a maximum frame size that nobody may have"));
                }
                // We use no dynamic table, push nothing, and send no frames longer than everybody takes.
                _ => {}
            }
        }
        // Once per frame, however often it is said: each change concerns all streams.
        self.window_initial(window)?;
        self.output.put(|out| frame::put_head(out, 0, frame::SETTINGS, frame::ACK, 0));
        self.go_on();
        Ok(())
    }

    /// The client changes the window of all streams, also of those that are open.
    fn window_initial(&mut self, size: i64) -> Result<(), Error> {
        let change = size - self.send_window_initial;
        if change == 0 {
            return Ok(());
        }
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
            return self.break_off(id, reason, events);
        } else if !stream.waiting.is_empty() {
            self.flush_waiting(id);
        }
        Ok(())
    }

    /// Ends a stream on which the client broke the rules. To the handler it is as if the client had taken the request
    /// back, and so it counts.
    fn break_off(&mut self, id: StreamId, reason: Reason, events: &mut Vec<Event>) -> Result<(), Error> {
        let Some(stream) = self.streams.remove(&id) else { return Ok(()) };
        self.output.put(|out| frame::put_reset(out, id, reason));
        if stream.answered {
            return Ok(());
        }
        events.push(Event::Reset { stream: id });
        self.count_taken_back(!stream.begun)
    }
}
