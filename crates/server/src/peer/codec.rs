//! The two kinds of stream between members as bytes, and back (formats 5.5). Pure: pieces in, messages out.
//!
//! A message stream carries messages with their lengths. A msgapp stream leaves out what both ends know from the
//! messages before: an append that goes on where the last one ended is no more than its entries and a commit index.

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use raft::{Entry, Index, MemberId, Message, MessageKind, Term};
use thiserror::Error;
use wal::codec::{self, DecodeError};

/// Longest message of a stream.
pub const MESSAGE_BYTES_MAX: u64 = 512 << 20;
/// A piece at least this long is passed on as it is; a shorter one is cheaper to copy.
const SPLICE_BYTES: usize = 8 * 1024;
/// Memory taken at once for what is still to come, whatever its length is said to be.
const RESERVE_BYTES: usize = 1 << 20;
/// What an entry counts beside its bytes against the length of a message.
const ENTRY_BYTES: u64 = 64;

/// What a stream carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Everything but appends, as long as there is a stream for these.
    Message,
    /// Appends.
    MsgApp,
}

impl Kind {
    /// Both, in the order in which they are dialed.
    pub const ALL: [Kind; 2] = [Kind::MsgApp, Kind::Message];

    /// Its name in the path.
    pub fn path(self) -> &'static str {
        match self {
            Kind::Message => "message",
            Kind::MsgApp => "msgapp",
        }
    }

    /// Its name in log lines.
    pub fn shown(self) -> &'static str {
        match self {
            Kind::Message => "stream Message",
            Kind::MsgApp => "stream MsgApp v2",
        }
    }
}

/// First bytes of what a msgapp stream carries.
const HEARTBEAT: u8 = 0;
const ENTRIES: u8 = 1;
const WHOLE: u8 = 2;

/// Where the next append of a msgapp stream begins if it goes on from the last one. Both ends keep the same.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Position {
    term: Term,
    index: Index,
}

impl Position {
    fn is_before(self, message: &Message) -> bool {
        message.kind == MessageKind::App
            && self.index == message.index
            && self.term == message.log_term
            && message.log_term == message.term
    }

    fn after(message: &Message) -> Position {
        let index = message.entries.last().map_or(message.index, |entry| entry.index);
        Position { term: message.term, index }
    }
}

/// Bytes on their way out, in order: what is long stays where it is.
#[derive(Default, Debug)]
pub struct Pieces {
    done: VecDeque<Bytes>,
    open: BytesMut,
    len: usize,
}

impl Pieces {
    fn add(&mut self, bytes: &Bytes) {
        self.len += bytes.len();
        if bytes.len() < SPLICE_BYTES {
            self.open.put_slice(bytes);
        } else {
            self.close();
            self.done.push_back(bytes.clone());
        }
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.done.push_back(self.open.split().freeze());
        }
    }

    fn number(&mut self, number: u64) {
        self.len += 8;
        self.open.put_u64(number);
    }

    fn byte(&mut self, byte: u8) {
        self.len += 1;
        self.open.put_u8(byte);
    }

    /// The next piece, if there is one.
    pub fn next_piece(&mut self) -> Option<Bytes> {
        if self.done.is_empty() {
            self.close();
        }
        let piece = self.done.pop_front()?;
        self.len -= piece.len();
        Some(piece)
    }

    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// The entries of an append as every follower gets them, kept so that they are encoded once for all. Two entries of one
/// index and term are the same, and so is all before them: the ends tell whether two runs of entries are equal.
#[derive(Default, Debug)]
pub struct LastEntries {
    ends: Option<(Index, Index, Term)>,
    bytes: Bytes,
}

impl LastEntries {
    fn encoded(&mut self, entries: &[Entry]) -> Bytes {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Bytes::new() };
        let ends = Some((first.index, last.index, last.term));
        if self.ends != ends {
            let heads: Vec<_> = entries.iter().map(codec::entry_head).collect();
            let len = |(head, entry): (&codec::Short, &Entry)| 8 + head.bytes().len() + entry.data.len();
            let mut out = BytesMut::with_capacity(heads.iter().zip(entries).map(len).sum());
            for (head, entry) in heads.iter().zip(entries) {
                out.put_u64((head.bytes().len() + entry.data.len()) as u64);
                out.put_slice(head.bytes());
                out.put_slice(&entry.data);
            }
            self.ends = ends;
            self.bytes = out.freeze();
        }
        self.bytes.clone()
    }
}

/// Writes one stream.
#[derive(Debug)]
pub struct Encoder {
    kind: Kind,
    position: Position,
}

impl Encoder {
    /// For a new connection.
    pub fn new(kind: Kind) -> Encoder {
        Encoder { kind, position: Position::default() }
    }

    /// Writes a message.
    pub fn put(&mut self, message: &Message, last: &mut LastEntries, out: &mut Pieces) {
        if self.kind == Kind::MsgApp {
            if self.position.is_before(message) {
                out.byte(ENTRIES);
                out.number(message.entries.len() as u64);
                out.add(&last.encoded(&message.entries));
                out.number(message.commit.0);
                self.position.index.0 = message.index.0.wrapping_add(message.entries.len() as u64);
                return;
            }
            out.byte(WHOLE);
            self.position = Position::after(message);
        }
        put_whole(message, out);
    }

    /// Writes a sign of life.
    pub fn put_heartbeat(&mut self, out: &mut Pieces) {
        match self.kind {
            Kind::MsgApp => out.byte(HEARTBEAT),
            Kind::Message => {
                put_whole(&Message { kind: MessageKind::Heartbeat, ..Message::default() }, out);
            }
        }
    }
}

fn put_whole(message: &Message, out: &mut Pieces) {
    let bytes = codec::encode_message(message);
    out.number(bytes.len() as u64);
    out.add(&bytes.into());
}

/// Bytes that no member of a known version sends.
#[derive(Debug, Error, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Error {
    #[error(transparent)]
    Raft(#[from] DecodeError),
    #[error("a message of {0} bytes is too long")]
    TooLong(u64),
    #[error("unknown type {0} in a msgapp stream")]
    UnknownType(u8),
    #[error("entry {found} where entry {expected} belongs")]
    OutOfOrder { expected: Index, found: Index },
}

/// What the next bytes of a stream are.
#[derive(Debug, Default)]
enum State {
    #[default]
    Begin,
    Size,
    Whole(usize),
    Count,
    EntrySize(Append),
    Entry(usize, Append),
}

/// An append under way.
#[derive(Debug)]
struct Append {
    left: u64,
    bytes: u64,
    entries: Vec<Entry>,
}

/// Reads one stream.
#[derive(Debug)]
pub struct Decoder {
    kind: Kind,
    local: MemberId,
    remote: MemberId,
    position: Position,
    state: State,
    /// The beginning of a unit whose end has not come.
    begun: BytesMut,
    /// What has come and is not read yet.
    rest: Bytes,
}

impl Decoder {
    /// For a new connection on which `remote` sends to `local`.
    pub fn new(kind: Kind, local: MemberId, remote: MemberId) -> Decoder {
        let (position, state) = Default::default();
        Decoder { kind, local, remote, position, state, begun: BytesMut::new(), rest: Bytes::new() }
    }

    /// Takes in what came, once [`Decoder::next_message`] has found nothing more in what came before.
    pub fn push(&mut self, piece: Bytes) {
        self.begun.extend_from_slice(&self.rest);
        self.rest = piece;
    }

    /// The next message, `None` until more has come. Signs of life are passed over.
    pub fn next_message(&mut self) -> Result<Option<Message>, Error> {
        while let Some(unit) = self.unit() {
            if let Some(message) = self.step(unit)? {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    /// The bytes of the next step, cut from what came; copied only where they came in parts.
    fn unit(&mut self) -> Option<Bytes> {
        let wanted = self.wanted();
        if self.begun.is_empty() && self.rest.len() >= wanted {
            return Some(self.rest.split_to(wanted));
        }
        let missing = wanted.saturating_sub(self.begun.len()).min(self.rest.len());
        if self.begun.is_empty() {
            self.begun.reserve(wanted.min(RESERVE_BYTES));
        }
        self.begun.extend_from_slice(&self.rest.split_to(missing));
        (self.begun.len() >= wanted).then(|| self.begun.split_to(wanted).freeze())
    }

    fn wanted(&self) -> usize {
        match (&self.state, self.kind) {
            (State::Begin, Kind::MsgApp) => 1,
            (State::Whole(len) | State::Entry(len, _), _) => *len,
            _ => 8,
        }
    }

    fn step(&mut self, mut unit: Bytes) -> Result<Option<Message>, Error> {
        match std::mem::take(&mut self.state) {
            State::Begin if self.kind == Kind::MsgApp => {
                self.state = match unit.get_u8() {
                    HEARTBEAT => State::Begin,
                    ENTRIES => State::Count,
                    WHOLE => State::Size,
                    other => return Err(Error::UnknownType(other)),
                };
            }
            State::Begin | State::Size => self.state = State::Whole(size(unit.get_u64(), 0)?),
            State::Whole(_) => {
                let message = codec::decode_message(unit)?;
                if self.kind == Kind::MsgApp {
                    self.position = Position::after(&message);
                }
                return Ok(Some(message).filter(|message| !is_heartbeat(message)));
            }
            State::Count => {
                let left = unit.get_u64();
                self.state = State::EntrySize(Append { left, bytes: 0, entries: Vec::new() });
            }
            State::EntrySize(append) if append.left == 0 => {
                return Ok(Some(self.append(append.entries, Index(unit.get_u64()))));
            }
            State::EntrySize(mut append) => {
                let len = size(unit.get_u64(), append.bytes)?;
                append.bytes += len as u64 + ENTRY_BYTES;
                self.state = State::Entry(len, append);
            }
            State::Entry(_, mut append) => {
                let entry = codec::decode_entry(unit)?;
                let expected = Index(self.position.index.0.wrapping_add(1 + append.entries.len() as u64));
                if entry.index != expected {
                    return Err(Error::OutOfOrder { expected, found: entry.index });
                }
                append.entries.push(entry);
                append.left -= 1;
                self.state = State::EntrySize(append);
            }
        }
        Ok(None)
    }

    /// An append that goes on where the last one ended.
    fn append(&mut self, entries: Vec<Entry>, commit: Index) -> Message {
        let Position { term, index } = self.position;
        self.position.index.0 = index.0.wrapping_add(entries.len() as u64);
        Message {
            kind: MessageKind::App,
            from: self.remote,
            to: self.local,
            term,
            log_term: term,
            index,
            entries,
            commit,
            ..Message::default()
        }
    }
}

/// A length as it came, if it is not too long together with what came before.
fn size(size: u64, before: u64) -> Result<usize, Error> {
    let all = size.saturating_add(before);
    usize::try_from(size).ok().filter(|_| all <= MESSAGE_BYTES_MAX).ok_or(Error::TooLong(all))
}

/// A sign of life rather than a leader's heartbeat: from nobody to nobody.
fn is_heartbeat(message: &Message) -> bool {
    message.kind == MessageKind::Heartbeat && message.from.is_none() && message.to.is_none()
}

#[cfg(test)]
mod tests;
