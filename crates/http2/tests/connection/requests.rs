//! Requests and answers that break no rules.

use proptest::prelude::*;

use crate::*;

#[test]
fn a_call_is_answered_byte_for_byte() {
    let mut client = Client::fresh(LIMITS);
    assert_eq!(
        client.read(usize::MAX),
        // Settings: windows of 100,000 bytes, header lists of 1 MiB; then 250,000 bytes for all streams together.
        b"\0\0\x0c\x04\0\0\0\0\0\0\x04\0\x01\x86\xa0\0\x06\0\x10\0\0\0\0\x04\x08\0\0\0\0\0\0\x02\xd0\x91"
    );
    client.says(PREFACE);
    client.says(&settings(&[]));
    assert_eq!(client.says(&begins(1)), ["request 1 POST /a"]);
    assert_eq!(client.says(&frame(DATA, END_STREAM, 1, b"hello")), ["data 1 hello end"]);
    client.server.release(1, 5);
    client.server.head(1, b"\x88");
    client.server.data(1, Bytes::from_static(b"world"));
    assert!(client.server.is_clear(1));
    client.server.trailers(1, Bytes::from_static(b"\0\x01a\x01b"));
    assert_eq!(client.server.streams(), 0);
    let expected = [
        &b"\0\0\0\x04\x01\0\0\0\0"[..],
        b"\0\0\x01\x01\x04\0\0\0\x01\x88",
        b"\0\0\x05\0\0\0\0\0\x01world",
        b"\0\0\x05\x01\x05\0\0\0\x01\0\x01a\x01b",
    ];
    assert_eq!(client.read(usize::MAX), expected.concat());
}

#[test]
fn a_limit_of_streams_is_announced() {
    let mut client = Client::fresh(Limits { streams_max: Some(7), ..LIMITS });
    let first = client.frames().remove(0);
    assert!(first.payload.chunks(6).any(|setting| setting == [0, 3, 0, 0, 0, 7]), "{first:?}");
}

#[test]
fn streams_are_interleaved_as_the_client_and_the_handlers_like() {
    let mut client = Client::new(LIMITS);
    let opened = client.says(&[begins(1), begins(3), asks(5)].concat());
    assert_eq!(opened, ["request 1 POST /a", "request 3 POST /a", "request 5 POST /a end"]);
    client.answer(5, "five");
    let data = [frame(DATA, 0, 3, b"3"), frame(DATA, END_STREAM, 1, b"1"), frame(DATA, END_STREAM, 3, b"")];
    assert_eq!(client.says(&data.concat()), ["data 3 3", "data 1 1 end", "data 3  end"]);
    client.answer(3, "three");
    client.answer(1, "one");
    let answered: Vec<_> = client.frames().into_iter().map(|frame| (frame.kind, frame.stream)).collect();
    let each = |stream| [(HEADERS, stream), (DATA, stream), (HEADERS, stream)];
    assert_eq!(answered, [each(5), each(3), each(1)].concat());
    assert_eq!(client.server.streams(), 0);
}

#[test]
fn an_answer_without_a_body_is_one_frame_and_one_without_trailers_ends_with_data() {
    let mut client = Client::new(LIMITS);
    client.says(&[asks(1), asks(3)].concat());
    client.server.trailers(1, Bytes::from_static(b"\x88"));
    client.server.head(3, b"\x88");
    client.server.data(3, Bytes::from_static(b"x"));
    client.server.trailers(3, Bytes::new());
    let shapes: Vec<_> = client.frames().iter().map(|f| (f.kind, f.flags, f.stream)).collect();
    let plain = [(HEADERS, END_HEADERS, 3), (DATA, 0, 3), (DATA, END_STREAM, 3)];
    assert_eq!(shapes, [&[(HEADERS, WHOLE, 1)][..], &plain].concat());
}

#[test]
fn a_long_header_block_leaves_in_continuations() {
    let mut client = Client::new(LIMITS);
    client.says(&asks(1));
    let long = block(&[("x", &"y".repeat(40_000))]);
    client.server.head(1, &long);
    let frames = client.frames();
    let shapes: Vec<_> = frames.iter().map(|f| (f.kind, f.flags)).collect();
    assert_eq!(shapes, [(HEADERS, 0), (CONTINUATION, 0), (CONTINUATION, END_HEADERS)]);
    assert_eq!(frames.iter().flat_map(|f| f.payload.clone()).collect::<Vec<_>>(), long);
}

#[test]
fn a_block_in_many_frames_is_one_request() {
    let mut client = Client::new(LIMITS);
    let block = post("/many");
    let (first, rest) = block.split_at(1);
    client.says(&frame(HEADERS, END_STREAM, 1, first));
    let (last, middle) = rest.split_last().unwrap();
    for byte in middle.chunks(3) {
        assert!(client.says(&frame(CONTINUATION, 0, 1, byte)).is_empty());
    }
    assert!(client.says(&frame(CONTINUATION, 0, 1, b"")).is_empty());
    assert_eq!(client.says(&frame(CONTINUATION, END_HEADERS, 1, &[*last])), ["request 1 POST /many end"]);
}

#[test]
fn padding_and_priority_are_no_part_of_what_is_said() {
    let mut client = Client::new(LIMITS);
    let padded = [&b"\x03\0\0\0\0\x10"[..], &post("/p"), &[0; 3]].concat();
    let request = frame(HEADERS, END_HEADERS | PADDED | PRIORITIZED, 1, &padded);
    assert_eq!(client.says(&request), ["request 1 POST /p"]);
    assert_eq!(client.says(&frame(DATA, PADDED, 1, b"\x02ab\0\0")), ["data 1 ab"]);
    assert!(client.says(&frame(DATA, PADDED, 1, b"\x02\0\0")).is_empty(), "only padding");
    assert_eq!(client.says(&frame(DATA, PADDED | END_STREAM, 1, b"\0")), ["data 1  end"]);
}

#[test]
fn trailers_end_a_request() {
    let mut client = Client::new(LIMITS);
    client.says(&begins(1));
    assert_eq!(client.says(&frame(DATA, 0, 1, b"x")), ["data 1 x"]);
    assert_eq!(client.says(&frame(HEADERS, WHOLE, 1, &block(&[("a", "b")]))), ["data 1  end"]);
    client.answer(1, "");
    assert_eq!(client.server.streams(), 0);
}

#[test]
fn pings_are_answered_and_counted_when_they_were_ours() {
    let mut client = Client::new(LIMITS);
    assert_eq!(client.says(&frame(PING, 0, 0, b"abcdefgh")), ["ping"]);
    let pong = Frame { kind: PING, flags: ACK, stream: 0, payload: b"abcdefgh".to_vec() };
    assert_eq!(client.frames(), [pong]);
    client.server.ping();
    assert_eq!(client.frames(), [Frame { kind: PING, flags: 0, stream: 0, payload: vec![0; 8] }]);
    assert_eq!(client.server.pongs(), 0);
    assert!(client.says(&frame(PING, ACK, 0, &[0; 8])).is_empty());
    assert_eq!(client.server.pongs(), 1);
    assert!(client.frames().is_empty());
}

#[test]
fn what_nobody_knows_is_passed_over() {
    let mut client = Client::new(LIMITS);
    let odd = [
        frame(0x77, 0xff, 3, b"?"),
        frame(PRIORITY, 0, 9, &[0; 5]),
        frame(GOAWAY, 0, 0, &[0; 8]),
        settings(&[(99, 1), (3, 0)]),
    ];
    assert!(client.says(&odd.concat()).is_empty());
    assert_eq!(client.frames().len(), 1, "the settings are acknowledged");
    assert_eq!(client.says(&asks(1)), ["request 1 POST /a end"]);
}

#[test]
fn after_goodbye_what_is_under_way_is_answered_and_what_comes_is_refused() {
    let mut client = Client::new(LIMITS);
    client.says(&[begins(1), begins(3)].concat());
    client.server.shut_down();
    client.server.shut_down();
    let goodbye = client.frames();
    assert_eq!(goodbye.len(), 1);
    assert_eq!((goodbye[0].kind, goodbye[0].number(0), goodbye[0].number(1)), (GOAWAY, 3, 0));
    assert!(client.says(&asks(5)).is_empty());
    let refused = client.frames().remove(0);
    assert_eq!((refused.kind, refused.stream), (RST_STREAM, 5));
    assert_eq!(refused.number(0), Reason::RefusedStream as u32);
    assert!(!client.server.is_over());
    assert_eq!(client.says(&frame(DATA, END_STREAM, 1, b"x")), ["data 1 x end"]);
    client.answer(1, "one");
    assert!(!client.server.is_over());
    client.answer(3, "three");
    assert!(client.server.is_over(), "though the client has not closed its side of 3");
    // The last stream that will be answered never rises: Go's client would take that for a fault of the server.
    client.server.end(Reason::EnhanceYourCalm, b"calm");
    let end = client.frames().pop().unwrap();
    assert_eq!((end.kind, end.number(0), &end.payload[8..]), (GOAWAY, 3, &b"calm"[..]));
}

#[test]
fn a_block_that_is_said_again_says_the_same() {
    let mut client = Client::new(LIMITS);
    let head = |event: Option<Event>| match event {
        Some(Event::Request { head, .. }) => head,
        other => panic!("{other:?}"),
    };
    let mut ask = |stream, block: &[u8]| {
        let heads = head(client.events(&frame(HEADERS, WHOLE, stream, block)).unwrap().pop());
        client.server.trailers(stream, Bytes::from_static(b"\x88"));
        heads
    };
    // Puts x-1: y into the table, then names it by its index.
    let adds = [&post("/a")[..], b"\x40\x03x-1\x01y"].concat();
    let first = ask(1, &adds);
    let named = [&post("/a")[..], b"\xbe"].concat();
    let (decoded, again) = (ask(3, &named), ask(5, &named));
    assert!(std::sync::Arc::ptr_eq(&decoded, &again), "remembered");
    for head in [&first, &decoded] {
        assert_eq!(
            (&head.fields["x-1"], &head.path[..], head.fields.len()),
            (&"y".parse().unwrap(), &b"/a"[..], 2)
        );
    }
    // Another field takes its place: the same block says something else.
    ask(7, &[&post("/a")[..], b"\x40\x03x-2\x01z"].concat());
    let other = ask(9, &named);
    assert_eq!(other.fields["x-2"], "z");
    assert!(!other.fields.contains_key("x-1"));
}

proptest! {
    /// More different blocks than are remembered, in any order.
    #[test]
    fn every_request_is_understood_whatever_was_said_before(paths in prop::collection::vec(0..12_u8, 1..60)) {
        let mut client = Client::new(LIMITS);
        for (nth, path) in paths.into_iter().enumerate() {
            let (stream, path) = (1 + 2 * nth as u32, format!("/{path}"));
            let heard = client.says(&frame(HEADERS, WHOLE, stream, &post(&path)));
            prop_assert_eq!(heard, [format!("request {stream} POST {path} end")]);
            client.answer(stream, path);
        }
    }
}
