//! Any bytes as a stream from a peer, cut into pieces: the decoder answers or refuses, never panics; and what it reads,
//! written again as a stream of the same kind, is read the same.
//!
//! The first byte chooses the kind, the second the length of the pieces.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use raft::{MemberId, Message};
use server::peer::codec::{Decoder, Encoder, Kind, LastEntries, Pieces};

fn read(kind: Kind, bytes: &[u8], piece: usize) -> Vec<Message> {
    let mut decoder = Decoder::new(kind, MemberId(1), MemberId(2));
    let mut messages = Vec::new();
    for piece in bytes.chunks(piece) {
        decoder.push(Bytes::copy_from_slice(piece));
        loop {
            match decoder.next_message() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(_) => return messages,
            }
        }
    }
    messages
}

/// As in every append of a member: only then may it be written without what its entries say of themselves.
fn in_order(message: &Message) -> bool {
    let expected = (1..).map(|n| message.index.0.wrapping_add(n));
    message.entries.iter().zip(expected).all(|(entry, index)| entry.index.0 == index)
}

fuzz_target!(|input: &[u8]| {
    let [kind, piece, stream @ ..] = input else { return };
    let kind = Kind::ALL[usize::from(kind % 2)];
    let messages = read(kind, stream, usize::from(*piece).max(1));
    if !messages.iter().all(in_order) {
        return;
    }
    // Entries of one index and term are one entry only among members: a stream of nonsense gets no shared encoding.
    let (mut encoder, mut out) = (Encoder::new(kind), Pieces::default());
    for message in &messages {
        encoder.put(message, &mut LastEntries::default(), &mut out);
    }
    let mut written = Vec::new();
    while let Some(piece) = out.next_piece() {
        written.extend_from_slice(&piece);
    }
    let again = read(kind, &written, written.len().max(1));
    assert_eq!(again.len(), messages.len());
});
