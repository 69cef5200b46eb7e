//! One stream of a connection.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use bytes::Bytes;

/// A stream's number, as on the wire.
pub type StreamId = u32;

/// What waits for the peer's windows.
#[derive(Debug)]
pub(crate) enum Part {
    Data(Bytes),
    /// A header block that ends the stream.
    Trailers(Bytes),
}

#[derive(Debug)]
pub(crate) struct Stream {
    /// The peer has ended its side.
    pub heard_out: bool,
    /// We have ended ours; what the peer still sends is thrown away.
    pub answered: bool,
    /// Our head has been sent.
    pub begun: bool,
    /// What we may send.
    pub send_window: i64,
    /// What the peer may send.
    pub receive_window: i64,
    /// Bytes taken from the stream and not yet given back to the peer.
    pub released: u32,
    pub waiting: VecDeque<Part>,
    /// The stream is in the line of those that wait for the connection's window.
    pub in_line: bool,
}

impl Stream {
    pub fn new(send_window: i64, receive_window: i64) -> Stream {
        Stream {
            heard_out: false,
            answered: false,
            begun: false,
            send_window,
            receive_window,
            released: 0,
            waiting: VecDeque::new(),
            in_line: false,
        }
    }
}

/// Stream numbers are handed out by the peer in rising order: one multiplication spreads them well enough, and a peer
/// that clusters them slows down nobody but itself.
#[derive(Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, id: u32) {
        self.0 = (self.0 ^ u64::from(id)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 32;
    }
}

pub(crate) type Streams = HashMap<StreamId, Stream, BuildHasherDefault<IdHasher>>;
