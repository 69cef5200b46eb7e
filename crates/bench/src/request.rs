//! The requests of the loads.
use bytes::Bytes;
use prost::Message;
use proto::etcdserverpb::{PutRequest, RangeRequest};

pub const PUT: &str = "/etcdserverpb.KV/Put";
pub const RANGE: &str = "/etcdserverpb.KV/Range";

/// Random enough for keys, and the same in every run (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }

    /// A key of 8 to 32 letters and digits.
    pub fn key(&mut self) -> Bytes {
        const LETTERS: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
        let length = 8 + self.below(25);
        (0..length).map(|_| LETTERS[self.below(64) as usize]).collect()
    }
}

/// A value; its bytes do not repeat, so that nothing can profit from that.
pub fn value(bytes: usize) -> Bytes {
    let mut random = Random(bytes as u64);
    (0..bytes).map(|_| random.number() as u8).collect()
}

/// Keys `prefix/00…n`.
#[derive(Clone, Copy)]
pub struct Numbered {
    pub prefix: &'static str,
    /// Length of a key.
    pub bytes: usize,
}

impl Numbered {
    pub fn key(self, number: u64) -> Bytes {
        let digits = self.bytes - self.prefix.len() - 1;
        format!("{}/{number:0digits$}", self.prefix).into()
    }

    /// The key after all of them.
    pub fn end(self) -> Bytes {
        format!("{}0", self.prefix).into()
    }
}

pub fn put(key: Bytes, value: &Bytes, out: &mut Vec<u8>) {
    push(&PutRequest { key, value: value.clone(), ..PutRequest::default() }, out);
}

pub fn get(key: Bytes, serializable: bool, out: &mut Vec<u8>) {
    push(&RangeRequest { key, serializable, ..RangeRequest::default() }, out);
}

pub fn push(message: &impl Message, out: &mut Vec<u8>) {
    out.extend_from_slice(&message.encode_to_vec());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbered_keys_are_in_order_and_before_their_end() {
        let keys = Numbered { prefix: "large", bytes: 32 };
        assert_eq!(keys.key(7).len(), 32);
        assert!(keys.key(9) < keys.key(10));
        assert!(keys.key(999_999) < keys.end());
    }

    #[test]
    fn random_keys_have_8_to_32_bytes() {
        let mut random = Random(1);
        let lengths: Vec<usize> = (0..1000).map(|_| random.key().len()).collect();
        assert_eq!((lengths.iter().min(), lengths.iter().max()), (Some(&8), Some(&32)));
    }
}
