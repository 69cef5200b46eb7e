//! Where the socket cuts what a client says makes no difference.

use proptest::prelude::*;

use crate::*;

/// A conversation with something of everything.
fn conversation() -> Vec<u8> {
    let long = post("/long");
    [
        PREFACE.to_vec(),
        settings(&[(HEADER_TABLE_SIZE, 0), (INITIAL_WINDOW_SIZE, 1000)]),
        begins(1),
        frame(DATA, 0, 1, b"abc"),
        frame(HEADERS, END_STREAM, 3, &long[..5]),
        frame(CONTINUATION, 0, 3, &long[5..9]),
        frame(CONTINUATION, END_HEADERS, 3, &long[9..]),
        frame(PING, 0, 0, b"12345678"),
        frame(0x50, 0, 0, b"?"),
        frame(DATA, PADDED | END_STREAM, 1, b"\x04defgpppp"),
        window_update(0, 5000),
        window_update(3, 5000),
        frame(HEADERS, WHOLE, 5, &block(&[("Bad", "name")])),
        asks(7),
        reset(7),
        begins(9),
        frame(HEADERS, WHOLE, 9, &block(&[("trailer", "x")])),
        frame(SETTINGS, ACK, 0, b""),
        frame(GOAWAY, 0, 0, &[0; 12]),
    ]
    .concat()
}

/// What the server hears and says when the bytes come in these pieces.
fn hears<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<String>, Vec<u8>, Option<Reason>) {
    let mut client = Client::fresh(LIMITS);
    let mut events = Vec::new();
    let mut reason = None;
    for piece in pieces {
        client.input.extend_from_slice(piece);
        let result = client.server.receive(&mut client.input, &mut events);
        reason = reason.or(result.err().map(|error| error.reason));
    }
    (events.iter().map(words).collect(), client.read(usize::MAX), reason)
}

#[test]
fn a_conversation_cut_in_two_anywhere_is_the_same() {
    let all = conversation();
    let whole = hears([&all[..]]);
    assert_eq!(whole.0.len(), 9, "{:?}", whole.0);
    assert_eq!(whole.2, None);
    for at in 0..all.len() {
        assert_eq!(hears([&all[..at], &all[at..]]), whole, "cut at {at}");
    }
    assert_eq!(hears(all.chunks(1)), whole);
}

proptest! {
    /// Also when some of it makes no sense.
    #[test]
    fn so_is_one_that_goes_wrong(
        wrong in prop::collection::vec((0..conversation().len(), any::<u8>()), 0..4),
        cuts in prop::collection::vec(1..40_usize, 1..100),
    ) {
        let mut all = conversation();
        wrong.into_iter().for_each(|(at, byte)| all[at] = byte);
        let whole = hears([&all[..]]);
        let (mut rest, mut pieces) = (&all[..], Vec::new());
        for len in cuts {
            let (piece, tail) = rest.split_at(len.min(rest.len()));
            pieces.push(piece);
            rest = tail;
        }
        pieces.push(rest);
        prop_assert_eq!(hears(pieces), whole);
    }
}
