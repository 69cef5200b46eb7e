//! One call as seen from the client: cuts messages out of DATA and knows how it ended.

/// What came back on a connection. `call` is the number the caller gave.
#[derive(Debug)]
pub enum Event {
    /// A whole message; `body` is empty unless the connection keeps bodies.
    Message { call: u32, length: usize, body: Vec<u8> },
    /// The call is over.
    Ended { call: u32, result: Result<(), String> },
}

const PREFIX: usize = 5;

#[derive(Debug)]
pub struct Stream {
    pub id: u32,
    pub call: u32,
    /// What we may still send.
    pub window: i64,
    /// What came in since we last widened the server's window.
    pub received: u32,
    prefix: [u8; PREFIX],
    /// Bytes of the prefix that are there.
    prefixed: usize,
    /// Bytes of the message that are not.
    missing: usize,
    body: Vec<u8>,
    status: Option<Box<str>>,
    message: Option<Box<str>>,
}

impl Stream {
    pub fn new(id: u32, call: u32, window: i64) -> Stream {
        Stream {
            id,
            call,
            window,
            received: 0,
            prefix: [0; PREFIX],
            prefixed: 0,
            missing: 0,
            body: Vec::new(),
            status: None,
            message: None,
        }
    }

    /// Takes the content of a DATA frame.
    pub fn data(&mut self, mut data: &[u8], keep: bool, events: &mut Vec<Event>) {
        loop {
            if self.prefixed < PREFIX {
                let (prefix, rest) = data.split_at(data.len().min(PREFIX - self.prefixed));
                self.prefix[self.prefixed..][..prefix.len()].copy_from_slice(prefix);
                self.prefixed += prefix.len();
                data = rest;
                if self.prefixed < PREFIX {
                    return;
                }
                self.missing = self.length();
            }
            let (body, rest) = data.split_at(data.len().min(self.missing));
            if keep {
                self.body.extend_from_slice(body);
            }
            self.missing -= body.len();
            data = rest;
            if self.missing > 0 {
                return;
            }
            let body = std::mem::take(&mut self.body);
            events.push(Event::Message { call: self.call, length: self.length(), body });
            self.prefixed = 0;
            if data.is_empty() {
                return;
            }
        }
    }

    fn length(&self) -> usize {
        let [_, length @ ..] = self.prefix;
        u32::from_be_bytes(length) as usize
    }

    /// Takes a field of the headers or trailers.
    pub fn field(&mut self, name: &[u8], value: &[u8]) {
        let text = || Some(String::from_utf8_lossy(value).into());
        match name {
            b"grpc-status" if value == b"0" => self.status = Some(Box::default()),
            b"grpc-status" => self.status = text(),
            b"grpc-message" if !value.is_empty() => self.message = text(),
            _ => {}
        }
    }

    /// How the call went, once the server has ended it.
    pub fn result(&self) -> Result<(), String> {
        match self.status.as_deref() {
            Some("") if self.prefixed == 0 => Ok(()),
            Some("") => Err("a message cut short".into()),
            Some(code) => Err(format!("grpc-status {code}: {}", self.message.as_deref().unwrap_or(""))),
            None => Err("ended without a grpc-status".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_cut_wherever_the_frames_end() {
        let bytes = b"\0\0\0\0\x03abc\0\0\0\0\0\0\0\0\0\x01d";
        for piece in 1..=bytes.len() {
            let mut stream = Stream::new(1, 7, 0);
            let mut events = Vec::new();
            for data in bytes.chunks(piece) {
                stream.data(data, true, &mut events);
            }
            let bodies: Vec<&[u8]> = events
                .iter()
                .map(|event| match event {
                    Event::Message { call: 7, length, body } if *length == body.len() => &body[..],
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(bodies, [&b"abc"[..], b"", b"d"], "in pieces of {piece}");
        }
    }

    #[test]
    fn only_status_zero_after_whole_messages_is_success() {
        let mut stream = Stream::new(1, 7, 0);
        assert!(stream.result().is_err());
        stream.field(b"grpc-status", b"0");
        assert_eq!(stream.result(), Ok(()));
        stream.data(b"\0\0\0\0\x03a", false, &mut Vec::new());
        assert!(stream.result().is_err());
        stream.field(b"grpc-status", b"14");
        stream.field(b"grpc-message", b"gone");
        assert_eq!(stream.result(), Err("grpc-status 14: gone".into()));
    }
}
