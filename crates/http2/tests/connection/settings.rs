//! A client with a small table of header fields is told that ours is empty (RFC 7541, 4.2).

use crate::*;

fn blocks(client: &mut Client) -> Vec<Vec<u8>> {
    client.frames().into_iter().filter(|f| f.kind == HEADERS).map(|f| f.payload).collect()
}

#[test]
fn the_first_block_after_a_small_table_was_acknowledged_says_its_size_and_no_other() {
    let mut client = Client::new(LIMITS);
    client.says(&[asks(1), asks(3), asks(5)].concat());
    client.server.head(1, b"\x88");
    client.says(&settings(&[(HEADER_TABLE_SIZE, 4096)]));
    client.server.head(3, b"\x88");
    assert_eq!(blocks(&mut client), [b"\x88", b"\x88"]);
    client.says(&settings(&[(HEADER_TABLE_SIZE, 100), (HEADER_TABLE_SIZE, 8192)]));
    assert_eq!(client.frames()[0].kind, SETTINGS);
    client.server.trailers(1, Bytes::from_static(b"\x89"));
    client.server.trailers(3, Bytes::from_static(b"\x89"));
    assert_eq!(blocks(&mut client), [&b"\x20\x89"[..], b"\x89"]);
    // It has been 0 ever since.
    client.says(&settings(&[(HEADER_TABLE_SIZE, 0)]));
    client.server.head(5, b"\x88");
    assert_eq!(blocks(&mut client), [b"\x88"]);
}

#[test]
fn a_block_that_was_given_before_and_leaves_after_says_it() {
    let mut client = Client::new(LIMITS);
    client.says(&[settings(&[(INITIAL_WINDOW_SIZE, 0)]), asks(1)].concat());
    client.answer(1, "x");
    client.frames();
    client.says(&settings(&[(HEADER_TABLE_SIZE, 0), (INITIAL_WINDOW_SIZE, 1)]));
    let kinds: Vec<_> = client.frames().into_iter().map(|f| (f.kind, f.payload.first().copied())).collect();
    assert_eq!(kinds, [(SETTINGS, None), (DATA, Some(b'x')), (HEADERS, Some(0x20))]);
}
