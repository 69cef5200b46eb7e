//! Frames on the wire: the nine bytes before each, the numbers in them, and what they carry (RFC 9113, sections 4 to 7).

use std::ops::Range;

use bytes::BufMut;

use crate::Error;

/// Bytes before the payload of a frame.
pub(crate) const HEAD_LEN: usize = 9;
/// What a client says first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The longest payload either side may send until SETTINGS say otherwise; ours never do.
pub(crate) const PAYLOAD_MAX: usize = 16_384;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 0x1;
pub(crate) const ACK: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITIZED: u8 = 0x20;

/// Why a stream or a connection ends (RFC 9113, section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the standard's")]
#[repr(u32)]
pub enum Reason {
    NoError = 0,
    Protocol = 1,
    Internal = 2,
    FlowControl = 3,
    StreamClosed = 5,
    FrameSize = 6,
    RefusedStream = 7,
    Cancel = 8,
    Compression = 9,
    EnhanceYourCalm = 11,
}

/// The first nine bytes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub len: usize,
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
}

impl Head {
    /// None until nine bytes are there.
    pub fn parse(bytes: &[u8]) -> Option<Head> {
        let [a, b, c, kind, flags, s @ ..] = bytes.first_chunk::<HEAD_LEN>()?;
        let len = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        Some(Head { len, kind: *kind, flags: *flags, stream: u32::from_be_bytes(*s) & 0x7fff_ffff })
    }

    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

pub(crate) fn put_head(out: &mut impl BufMut, len: usize, kind: u8, flags: u8, stream: u32) {
    out.put_uint(len as u64, 3);
    out.put_u8(kind);
    out.put_u8(flags);
    out.put_u32(stream);
}

pub(crate) fn put_window_update(out: &mut impl BufMut, stream: u32, increment: u32) {
    put_head(out, 4, WINDOW_UPDATE, 0, stream);
    out.put_u32(increment);
}

pub(crate) fn put_reset(out: &mut impl BufMut, stream: u32, reason: Reason) {
    put_head(out, 4, RST_STREAM, 0, stream);
    out.put_u32(reason as u32);
}

pub(crate) fn put_goaway(out: &mut impl BufMut, last_stream: u32, reason: Reason, text: &[u8]) {
    put_head(out, 8 + text.len(), GOAWAY, 0, 0);
    out.put_u32(last_stream);
    out.put_u32(reason as u32);
    out.put_slice(text);
}

/// Which part of a payload is left without padding and priority.
pub(crate) fn unpadded(head: Head, payload: &[u8]) -> Result<Range<usize>, Error> {
    let (mut start, mut padding) = (0, 0);
    if head.has(PADDED) {
        padding = usize::from(*payload.first().ok_or(Error::protocol("no room for the length of padding"))?);
        start = 1;
    }
    if head.kind == HEADERS && head.has(PRIORITIZED) {
        start += 5;
        if payload.len() < start {
            return Err(Error::protocol("no room for a priority"));
        }
    }
    let end = payload.len().checked_sub(padding).filter(|end| *end >= start);
    Ok(start..end.ok_or(Error::protocol("more padding than payload"))?)
}

/// A payload of exactly four bytes.
pub(crate) fn number(payload: &[u8]) -> Result<u32, Error> {
    let bytes = payload.try_into().map_err(|_| Error::new(Reason::FrameSize, "not four bytes"))?;
    Ok(u32::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_was_written() {
        let mut out = Vec::new();
        put_head(&mut out, 0x01_0203, DATA, END_STREAM, 7);
        assert_eq!(Head::parse(&out[..8]), None);
        let head = Head { len: 0x01_0203, kind: DATA, flags: END_STREAM, stream: 7 };
        assert_eq!(Head::parse(&out), Some(head));
        out[5] |= 0x80;
        assert_eq!(Head::parse(&out).unwrap().stream, 7, "the reserved bit is passed over");
    }

    #[test]
    fn padding_and_priority_are_taken_off_or_refused() {
        let cut = |kind, flags, payload: &'static [u8]| {
            let head = Head { len: payload.len(), kind, flags, stream: 1 };
            unpadded(head, payload).ok().map(|range| &payload[range])
        };
        assert_eq!(cut(DATA, 0, b"abc").unwrap(), b"abc");
        assert_eq!(cut(DATA, PADDED, b"\x02abc\0\0").unwrap(), b"abc");
        assert_eq!(cut(HEADERS, PADDED | PRIORITIZED, b"\x01ppppwabc\0").unwrap(), b"abc");
        assert_eq!(cut(DATA, PADDED, b"\x04abc"), None);
        assert_eq!(cut(DATA, PADDED, b""), None);
        assert_eq!(cut(HEADERS, PRIORITIZED, b"ppp"), None);
    }
}
