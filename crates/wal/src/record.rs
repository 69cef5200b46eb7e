//! Record frames (formats: WAL frame): a length, the record, zeros up to a multiple of 8; and the checksum chain.
//!
//! Hand-written because it is on the path of every write; tests hold it against the generated code.

use raft::{Entry, HardState};

/// What a record is. The numbers are those on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ids of member and cluster; the second record of every segment.
    Metadata = 1,
    /// A raftpb.Entry.
    Entry = 2,
    /// A raftpb.HardState.
    State = 3,
    /// The checksum chain so far; the first record of every segment.
    Crc = 4,
    /// A walpb.Snapshot.
    Snapshot = 5,
}

impl Kind {
    fn from_number(number: u64) -> Option<Kind> {
        Some(match number {
            1 => Kind::Metadata,
            2 => Kind::Entry,
            3 => Kind::State,
            4 => Kind::Crc,
            5 => Kind::Snapshot,
            _ => return None,
        })
    }
}

/// Bytes of the length field before each record.
pub(crate) const HEADER: u64 = 8;

/// A decoded record; `data` still in the buffer it was read into.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) kind: Kind,
    pub(crate) crc: u32,
    pub(crate) data: &'a [u8],
}

/// Zeros that follow a record of `len` bytes.
pub(crate) fn padding(len: u64) -> u64 {
    len.wrapping_neg() % 8
}

fn header(len: u64) -> u64 {
    match padding(len) {
        0 => len,
        pad => len | (0x80 | pad) << 56,
    }
}

/// The record's length from a length field, or `None` if nobody writes such a field.
pub(crate) fn length(field: u64) -> Option<u64> {
    let len = field & 0x00ff_ffff_ffff_ffff;
    (header(len) == field).then_some(len)
}

/// Writes frames to the end of a buffer and carries the chain on.
pub(crate) struct Encoder {
    /// CRC-32C over the data of all records so far.
    pub(crate) chain: u32,
    pub(crate) out: Vec<u8>,
}

impl Encoder {
    pub(crate) fn new(chain: u32) -> Encoder {
        Encoder { chain, out: Vec::new() }
    }

    /// The record that begins a segment.
    pub(crate) fn put_crc(&mut self) {
        self.frame(Kind::Crc, None);
    }

    pub(crate) fn put_metadata(&mut self, metadata: &[u8]) {
        self.put(Kind::Metadata, metadata, &[]);
    }

    pub(crate) fn put_state(&mut self, state: &HardState) {
        let mut fields = Short::new();
        for (tag, value) in [(0x08, state.term.0), (0x10, state.vote.0), (0x18, state.commit.0)] {
            fields.push(tag);
            fields.push_varint(value);
        }
        self.put(Kind::State, fields.bytes(), &[]);
    }

    pub(crate) fn put_entry(&mut self, entry: &Entry) {
        self.put(Kind::Entry, entry_head(entry).bytes(), &entry.data);
    }

    pub(crate) fn put_snapshot(&mut self, record: &[u8]) {
        self.put(Kind::Snapshot, record, &[]);
    }

    fn put(&mut self, kind: Kind, head: &[u8], tail: &[u8]) {
        self.chain = crc32c::crc32c_append(crc32c::crc32c_append(self.chain, head), tail);
        self.frame(kind, Some((head, tail)));
    }

    fn frame(&mut self, kind: Kind, data: Option<(&[u8], &[u8])>) {
        let mut fields = Short::new();
        fields.push(0x08);
        fields.push(kind as u8);
        fields.push(0x10);
        fields.push_varint(u64::from(self.chain));
        let (head, tail) = data.unwrap_or_default();
        if data.is_some() {
            fields.push(0x1a);
            fields.push_varint((head.len() + tail.len()) as u64);
        }
        let len = (fields.len + head.len() + tail.len()) as u64;
        self.out.reserve((HEADER + len + 8) as usize);
        self.out.extend_from_slice(&header(len).to_le_bytes());
        self.out.extend_from_slice(fields.bytes());
        self.out.extend_from_slice(head);
        self.out.extend_from_slice(tail);
        self.out.extend_from_slice(&[0; 8][..padding(len) as usize]);
    }
}

/// An entry as raftpb.Entry but for its payload, which follows.
pub fn entry_head(entry: &Entry) -> Short {
    let mut fields = Short::new();
    for (tag, value) in [(0x08, entry.kind as u64), (0x10, entry.term.0), (0x18, entry.index.0)] {
        fields.push(tag);
        fields.push_varint(value);
    }
    if !entry.data.is_empty() {
        fields.push(0x22);
        fields.push_varint(entry.data.len() as u64);
    }
    fields
}

/// A few bytes on the stack: the fields before a payload.
pub struct Short {
    buf: [u8; 48],
    len: usize,
}

impl Short {
    fn new() -> Short {
        Short { buf: [0; 48], len: 0 }
    }

    fn push(&mut self, byte: u8) {
        self.buf[self.len] = byte;
        self.len += 1;
    }

    fn push_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.push(value as u8);
    }

    /// The fields, encoded.
    pub fn bytes(&self) -> &[u8] {
        &self.buf[..self.len]
    }
}

/// Takes a varint off the front.
fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The fields of a record up to its data, and how long the data says it is (`None`: it has none).
struct Fields {
    kind: u64,
    crc: u32,
    data_len: Option<u64>,
}

/// Reads type and checksum and the head of the data, in the order in which both generations of Go code write them.
fn take_fields(bytes: &mut &[u8]) -> Option<Fields> {
    let mut take = |tag| {
        *bytes = bytes.strip_prefix(&[tag])?;
        take_varint(bytes)
    };
    let kind = take(0x08)?;
    let crc = u32::try_from(take(0x10)?).ok()?;
    let data_len = if bytes.is_empty() {
        None
    } else {
        Some({
            *bytes = bytes.strip_prefix(&[0x1a])?;
            take_varint(bytes)?
        })
    };
    Some(Fields { kind, crc, data_len })
}

/// Decodes a record without its frame; an error says what is wrong with it. The checksum is not looked at.
pub(crate) fn parse(mut bytes: &[u8]) -> Result<Record<'_>, String> {
    let fields = take_fields(&mut bytes).ok_or("the record cannot be decoded")?;
    if fields.data_len.unwrap_or(0) != bytes.len() as u64 {
        return Err("the record's data is not as long as it says".into());
    }
    let kind =
        Kind::from_number(fields.kind).ok_or_else(|| format!("record type {} is unknown", fields.kind))?;
    Ok(Record { kind, crc: fields.crc, data: bytes })
}

/// Whether `bytes` can be the beginning of a record of `len` bytes, as found when a file ends within a record.
pub(crate) fn may_begin_record(mut bytes: &[u8], len: u64) -> bool {
    const LONGEST_FIELDS: usize = 24;
    let all = bytes.len();
    match take_fields(&mut bytes) {
        Some(Fields { data_len: None, .. }) => true, // cut before the data
        Some(fields) => (all - bytes.len()) as u64 + fields.data_len.unwrap_or(0) == len,
        None => all < LONGEST_FIELDS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_fields_follow_the_padding_rule() {
        assert_eq!(header(4).to_le_bytes(), [4, 0, 0, 0, 0, 0, 0, 0x84]);
        assert_eq!(header(32).to_le_bytes(), [32, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(header(14).to_le_bytes(), [14, 0, 0, 0, 0, 0, 0, 0x82]);
        for len in 1..100 {
            assert_eq!(length(header(len)), Some(len));
            for bit in 56..64 {
                assert_eq!(length(header(len) ^ (1 << bit)), None);
            }
        }
    }
}
