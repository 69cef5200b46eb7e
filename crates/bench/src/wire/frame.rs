//! HTTP/2 frames: what goes out is appended to a buffer, what came in is cut from one.

/// What a client says first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Longest payload either side may send unless told otherwise; we never tell otherwise.
pub const PAYLOAD_MAX: usize = 16_384;

const HEADER: usize = 9;

/// Frame types (RFC 9113, section 6).
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Frame flags.
pub mod flag {
    pub const ACK: u8 = 0x1;
    pub const END_STREAM: u8 = 0x1;
    pub const END_HEADERS: u8 = 0x4;
    pub const PADDED: u8 = 0x8;
    pub const PRIORITY: u8 = 0x20;
}

/// Identifiers of settings.
pub mod setting {
    pub const ENABLE_PUSH: u16 = 2;
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
}

#[derive(Debug, PartialEq)]
pub struct Frame<'a> {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The first frame of `input` and how many bytes it takes, once all of it is there.
    pub fn cut(input: &'a [u8]) -> Result<Option<(Frame<'a>, usize)>, String> {
        let Some((header, rest)) = input.split_first_chunk::<HEADER>() else { return Ok(None) };
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
        if length > PAYLOAD_MAX {
            return Err(format!("a frame of {length} bytes"));
        }
        let Some(payload) = rest.get(..length) else { return Ok(None) };
        let stream = u32::from_be_bytes([header[5], header[6], header[7], header[8]]) & 0x7fff_ffff;
        Ok(Some((Frame { kind: header[3], flags: header[4], stream, payload }, HEADER + length)))
    }

    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The payload of DATA or HEADERS without padding and priority.
    pub fn content(&self) -> Result<&'a [u8], String> {
        let mut content = self.payload;
        let mut padding = 0;
        if self.has(flag::PADDED) {
            let (length, rest) = content.split_first().ok_or("a padded frame without a length")?;
            (padding, content) = (usize::from(*length), rest);
        }
        if self.kind == kind::HEADERS && self.has(flag::PRIORITY) {
            content = content.get(5..).ok_or("a priority cut short")?;
        }
        let end = content.len().checked_sub(padding).ok_or("more padding than payload")?;
        Ok(&content[..end])
    }

    /// A payload that is one 32-bit number (the second one of GOAWAY).
    pub fn number(&self) -> Result<u32, String> {
        let at = if self.kind == kind::GOAWAY { 4 } else { 0 };
        let bytes = self.payload.get(at..).and_then(|rest| rest.first_chunk());
        bytes.map(|b| u32::from_be_bytes(*b)).ok_or_else(|| format!("frame {} cut short", self.kind))
    }

    /// Identifier and value of each setting.
    pub fn settings(&self) -> impl Iterator<Item = (u16, u32)> + 'a {
        self.payload
            .as_chunks::<6>()
            .0
            .iter()
            .map(|&[a, b, value @ ..]| (u16::from_be_bytes([a, b]), u32::from_be_bytes(value)))
    }
}

/// Appends a frame of several pieces.
pub fn push(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, pieces: &[&[u8]]) {
    let length = pieces.iter().map(|piece| piece.len()).sum::<usize>() as u32;
    out.extend_from_slice(&length.to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    for piece in pieces {
        out.extend_from_slice(piece);
    }
}

/// Appends our settings.
pub fn push_settings(out: &mut Vec<u8>, settings: &[(u16, u32)]) {
    let mut payload = Vec::new();
    for (id, value) in settings {
        payload.extend_from_slice(&id.to_be_bytes());
        payload.extend_from_slice(&value.to_be_bytes());
    }
    push(out, kind::SETTINGS, 0, 0, &[&payload]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_cut_only_when_all_of_it_is_there() {
        let mut bytes = Vec::new();
        push(&mut bytes, kind::DATA, flag::END_STREAM, 7, &[b"ab", b"c"]);
        for end in 0..bytes.len() {
            assert_eq!(Frame::cut(&bytes[..end]), Ok(None));
        }
        bytes.push(9);
        let (frame, taken) = Frame::cut(&bytes).unwrap().unwrap();
        assert_eq!((frame.kind, frame.stream, frame.payload, taken), (kind::DATA, 7, &b"abc"[..], 12));
        assert!(frame.has(flag::END_STREAM));
    }

    #[test]
    fn an_oversized_frame_is_refused() {
        assert!(Frame::cut(&[0, 64, 1, 0, 0, 0, 0, 0, 1]).is_err());
    }

    #[test]
    fn padding_and_priority_are_left_out() {
        let payload = [1, 0, 0, 0, 0, 9, b'x', 0];
        let headers = |flags| Frame { kind: kind::HEADERS, flags, stream: 1, payload: &payload };
        assert_eq!(headers(flag::PADDED | flag::PRIORITY).content(), Ok(&b"x"[..]));
        let data = Frame { kind: kind::DATA, flags: flag::PADDED, stream: 1, payload: &[3, 0] };
        assert!(data.content().is_err());
    }

    #[test]
    fn settings_come_back_as_sent() {
        let mut bytes = Vec::new();
        push_settings(&mut bytes, &[(setting::ENABLE_PUSH, 0), (setting::INITIAL_WINDOW_SIZE, 1 << 24)]);
        let (frame, _) = Frame::cut(&bytes).unwrap().unwrap();
        assert_eq!(frame.settings().collect::<Vec<_>>(), [(2, 0), (4, 1 << 24)]);
    }
}
