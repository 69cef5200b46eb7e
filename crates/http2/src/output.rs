//! Bytes on their way to the socket: what is small is gathered, what is long goes as it is.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// A piece at least this long is not copied.
const SPLICE_BYTES: usize = 4 * 1024;

/// Of a longer buffer nothing is kept when all is sent.
const KEPT_BYTES: usize = 64 * 1024;

/// Everything written and not yet sent.
#[derive(Debug, Default)]
pub(crate) struct Output {
    pieces: VecDeque<Bytes>,
    open: BytesMut,
    len: usize,
}

impl Output {
    pub fn len(&self) -> usize {
        self.len
    }

    /// Adds what `write` writes.
    pub fn put(&mut self, write: impl FnOnce(&mut BytesMut)) {
        let before = self.open.len();
        write(&mut self.open);
        self.len += self.open.len() - before;
    }

    /// Adds bytes that may stay where they are.
    pub fn push(&mut self, bytes: Bytes) {
        if bytes.len() < SPLICE_BYTES {
            return self.put(|out| out.put_slice(&bytes));
        }
        self.len += bytes.len();
        if !self.open.is_empty() {
            self.pieces.push_back(self.open.split().freeze());
        }
        self.pieces.push_back(bytes);
    }

    /// The first pieces, for one vectored write.
    pub fn slices<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        let open = (!self.open.is_empty()).then_some(&self.open[..]);
        let all = self.pieces.iter().map(|piece| &piece[..]).chain(open);
        into.iter_mut().zip(all).map(|(slot, piece)| *slot = IoSlice::new(piece)).count()
    }

    /// The first `sent` bytes are gone.
    pub fn sent(&mut self, mut sent: usize) {
        self.len -= sent;
        while sent > 0 {
            let Some(piece) = self.pieces.front_mut() else {
                self.open.advance(sent);
                break;
            };
            let part = sent.min(piece.len());
            piece.advance(part);
            sent -= part;
            if piece.is_empty() {
                self.pieces.pop_front();
            }
        }
        if self.len > 0 {
            return;
        }
        if self.open.capacity() > KEPT_BYTES {
            self.open = BytesMut::new();
        }
        // The next begins where this began: it need not be moved when there is no more room behind.
        let _ = self.open.try_reclaim(self.open.capacity() + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_after_all_was_sent_takes_the_same_place() {
        let mut output = Output::default();
        let mut places = Vec::new();
        for _ in 0..20 {
            (0..100).for_each(|_| output.push(Bytes::from_static(&[1; 300])));
            places.push(output.open.as_ptr());
            output.sent(20_000);
            output.sent(10_000);
        }
        assert_eq!(places, [places[0]; 20]);
    }

    #[test]
    fn what_goes_in_comes_out_in_order_however_much_is_sent_at_once() {
        for step in [1, 7, 5000, 100_000] {
            let (mut output, mut expected) = (Output::default(), Vec::new());
            for n in 0..20_u8 {
                let piece = vec![n; if n % 3 == 0 { 6000 } else { 10 }];
                expected.extend_from_slice(&piece);
                output.push(piece.into());
                output.put(|out| out.put_u8(n));
                expected.push(n);
            }
            let mut got = Vec::new();
            while output.len() > 0 {
                let mut slices = [IoSlice::new(&[]); 4];
                let count = output.slices(&mut slices);
                let all: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.iter().copied()).collect();
                let sent = step.min(all.len());
                got.extend_from_slice(&all[..sent]);
                output.sent(sent);
            }
            assert!(got == expected, "{step}");
        }
    }
}
