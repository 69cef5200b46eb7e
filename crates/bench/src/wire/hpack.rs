//! Header blocks (RFC 7541), as far as a gRPC client needs them. Requests use the dynamic table as real clients do: the
//! first on a connection spells its fields out, the later ones are a dozen bytes. Answers are read by `http2`.

/// Entries of the static table: the dynamic one's indexes come behind them.
const STATIC_LEN: usize = 61;

/// Writes request headers. Its few fields never fill the table, so nothing is ever evicted.
#[derive(Default)]
pub struct Encoder {
    entries: Vec<(&'static str, String)>,
}

impl Encoder {
    /// Appends the header block of a call.
    pub fn call(&mut self, method: &str, authority: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(&[0x83, 0x86]); // POST, http
        self.field(":path", method, out);
        self.field(":authority", authority, out);
        self.field("content-type", "application/grpc", out);
        self.field("user-agent", concat!("balsa-bench/", env!("CARGO_PKG_VERSION")), out);
        self.field("te", "trailers", out);
    }

    fn field(&mut self, name: &'static str, value: &str, out: &mut Vec<u8>) {
        if let Some(at) = self.entries.iter().position(|entry| entry.0 == name && entry.1 == value) {
            return push_number(0x80, 7, STATIC_LEN + self.entries.len() - at, out);
        }
        out.push(0x40);
        for text in [name, value] {
            push_number(0, 7, text.len(), out);
            out.extend_from_slice(text.as_bytes());
        }
        self.entries.push((name, value.to_owned()));
    }
}

fn push_number(first: u8, prefix: u32, number: usize, out: &mut Vec<u8>) {
    let most = (1usize << prefix) - 1;
    if number < most {
        return out.push(first | number as u8);
    }
    out.push(first | most as u8);
    let mut rest = number - most;
    while rest >= 128 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use http2::hpack::{Decoder, TABLE_DEFAULT_BYTES};

    fn fields(decoder: &mut Decoder, block: &[u8]) -> Vec<String> {
        let mut fields = Vec::new();
        let visit = |name: &[u8], value: &[u8]| {
            fields.push(format!("{}={}", String::from_utf8_lossy(name), String::from_utf8_lossy(value)));
        };
        decoder.decode(block, visit).unwrap();
        fields
    }

    #[test]
    fn a_second_call_is_a_dozen_bytes_and_says_the_same() {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::new(TABLE_DEFAULT_BYTES));
        let mut calls = [(); 3].map(|()| Vec::new());
        encoder.call("/a.B/C", "localhost:1", &mut calls[0]);
        encoder.call("/a.B/D", "localhost:1", &mut calls[1]);
        encoder.call("/a.B/C", "localhost:1", &mut calls[2]);
        let [first, _, third] = calls.map(|call| (call.len(), fields(&mut decoder, &call)));
        assert_eq!(first.1[2], ":path=/a.B/C");
        assert_eq!(first.1, third.1);
        assert_eq!(third.0, 7);
    }
}
