//! Header blocks (RFC 7541), as far as a gRPC client needs them. Requests use the dynamic table as real clients do: the
//! first on a connection spells its fields out, the later ones are a dozen bytes.
use std::collections::VecDeque;

use super::huffman;

const TABLE_SIZE: usize = 4096;

/// The static table; values only where one is there.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

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
            return push_number(0x80, 7, STATIC.len() + self.entries.len() - at, out);
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

/// Reads response headers and trailers.
#[derive(Default)]
pub struct Decoder {
    /// Newest first, as the indexes count.
    entries: VecDeque<(Vec<u8>, Vec<u8>)>,
    size: usize,
}

impl Decoder {
    /// Hands each field of a block to `visit`. Every block must come through here, in order.
    pub fn decode(&mut self, mut block: &[u8], mut visit: impl FnMut(&[u8], &[u8])) -> Result<(), String> {
        while let Some(&first) = block.first() {
            if first & 0x80 != 0 {
                let (name, value) = self.at(number(&mut block, 7)?)?;
                visit(name, value);
            } else if first & 0xc0 == 0x40 {
                let entry = self.literal(&mut block, 6)?;
                visit(&entry.0, &entry.1);
                self.insert(entry);
            } else if first & 0xe0 == 0x20 {
                if number(&mut block, 5)? > TABLE_SIZE {
                    return Err("a table larger than allowed".into());
                }
            } else {
                let (name, value) = self.literal(&mut block, 4)?;
                visit(&name, &value);
            }
        }
        Ok(())
    }

    fn at(&self, index: usize) -> Result<(&[u8], &[u8]), String> {
        let nowhere = || format!("index {index} in a table of {}", self.entries.len());
        let index = index.checked_sub(1).ok_or_else(nowhere)?;
        if let Some((name, value)) = STATIC.get(index) {
            return Ok((name.as_bytes(), value.as_bytes()));
        }
        let (name, value) = self.entries.get(index - STATIC.len()).ok_or_else(nowhere)?;
        Ok((name, value))
    }

    fn literal(&self, block: &mut &[u8], prefix: u32) -> Result<(Vec<u8>, Vec<u8>), String> {
        let name = match number(block, prefix)? {
            0 => text(block)?,
            index => self.at(index)?.0.to_vec(),
        };
        Ok((name, text(block)?))
    }

    fn insert(&mut self, entry: (Vec<u8>, Vec<u8>)) {
        self.size += cost(&entry);
        self.entries.push_front(entry);
        while self.size > TABLE_SIZE {
            let Some(oldest) = self.entries.pop_back() else { return };
            self.size -= cost(&oldest);
        }
    }
}

/// What an entry takes in the table.
fn cost(entry: &(Vec<u8>, Vec<u8>)) -> usize {
    entry.0.len() + entry.1.len() + 32
}

fn byte(block: &mut &[u8]) -> Result<u8, String> {
    let (first, rest) = block.split_first().ok_or("a header block cut short")?;
    *block = rest;
    Ok(*first)
}

fn number(block: &mut &[u8], prefix: u32) -> Result<usize, String> {
    let most = (1usize << prefix) - 1;
    let first = usize::from(byte(block)?) & most;
    if first < most {
        return Ok(first);
    }
    let mut number = most;
    for shift in [0, 7, 14, 21] {
        let next = byte(block)?;
        number += usize::from(next & 0x7f) << shift;
        if next & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err("a number too long".into())
}

fn text(block: &mut &[u8]) -> Result<Vec<u8>, String> {
    let coded = block.first().is_some_and(|first| first & 0x80 != 0);
    let length = number(block, 7)?;
    let (text, rest) = block.split_at_checked(length).ok_or("a text cut short")?;
    *block = rest;
    if coded { huffman::decode(text) } else { Ok(text.to_vec()) }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        let mut calls = [(); 3].map(|()| Vec::new());
        encoder.call("/a.B/C", "localhost:1", &mut calls[0]);
        encoder.call("/a.B/D", "localhost:1", &mut calls[1]);
        encoder.call("/a.B/C", "localhost:1", &mut calls[2]);
        let [first, _, third] = calls.map(|call| (call.len(), fields(&mut decoder, &call)));
        assert_eq!(first.1[2], ":path=/a.B/C");
        assert_eq!(first.1, third.1);
        assert_eq!(third.0, 7);
    }

    #[test]
    fn the_response_of_the_rfc_is_read() {
        let mut decoder = Decoder::default();
        let first = b"\x48\x82\x64\x02\x58\x85\xae\xc3\x77\x1a\x4b";
        assert_eq!(fields(&mut decoder, first), [":status=302", "cache-control=private"]);
        let second = b"\x48\x83\x64\x0e\xff\xc0";
        assert_eq!(fields(&mut decoder, second), [":status=307", ":status=302"]);
    }

    #[test]
    fn old_entries_leave_a_full_table() {
        let mut decoder = Decoder::default();
        for _ in 0..10 {
            decoder.insert((vec![b'n'; 1000], vec![]));
        }
        assert_eq!(decoder.entries.len(), 3);
        assert!(decoder.at(65).is_err());
    }

    #[test]
    fn a_block_cut_short_is_refused() {
        let block = b"\x40\x0bgrpc-status\x010";
        assert_eq!(fields(&mut Decoder::default(), block), ["grpc-status=0"]);
        for end in 1..block.len() {
            assert!(Decoder::default().decode(&block[..end], |_, _| {}).is_err());
        }
    }
}
