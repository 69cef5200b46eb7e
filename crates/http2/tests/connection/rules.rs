//! Rules broken: each is answered as the standard says, on the stream or for the whole connection.

use crate::*;

/// What ends the connection after the greetings.
#[test]
fn faults_end_the_connection_with_the_right_word() {
    use Reason::{Compression, EnhanceYourCalm, FrameSize, Protocol, StreamClosed};
    let cases: Vec<(&str, Vec<u8>, Reason)> = vec![
        ("a frame too long", frame(DATA, 0, 1, &[0; 16_385]), FrameSize),
        ("data of no stream", frame(DATA, 0, 0, b"x"), Protocol),
        ("data of an idle stream", frame(DATA, 0, 1, b"x"), Protocol),
        ("more padding than data", [begins(1), frame(DATA, PADDED, 1, b"\x02x")].concat(), Protocol),
        ("padding without a length", [begins(1), frame(DATA, PADDED, 1, b"")].concat(), Protocol),
        ("headers of no stream", frame(HEADERS, WHOLE, 0, &post("/")), Protocol),
        ("headers of a server's stream", frame(HEADERS, WHOLE, 2, &post("/")), Protocol),
        ("headers without room for priority", frame(HEADERS, WHOLE | PRIORITIZED, 1, b"abc"), Protocol),
        ("headers after the end", [asks(1), asks(1)].concat(), StreamClosed),
        ("an index into nowhere", frame(HEADERS, WHOLE, 1, b"\xff\x7f"), Compression),
        ("a cut block", frame(HEADERS, WHOLE, 1, b"\x40"), Compression),
        ("a table too large", frame(HEADERS, WHOLE, 1, b"\x3f\xff\x7f"), Compression),
        ("an interrupted block", [frame(HEADERS, 0, 1, b""), frame(PING, 0, 0, &[0; 8])].concat(), Protocol),
        (
            "a block of two streams",
            [frame(HEADERS, 0, 1, b""), frame(CONTINUATION, 4, 3, b"")].concat(),
            Protocol,
        ),
        ("a block amid a block", [frame(HEADERS, 0, 1, b""), asks(3)].concat(), Protocol),
        (
            "something unknown amid a block",
            [frame(HEADERS, 0, 1, b""), frame(0x77, 0, 1, b"")].concat(),
            Protocol,
        ),
        ("a continuation of nothing", frame(CONTINUATION, END_HEADERS, 1, b""), Protocol),
        (
            "a continuation after the end",
            [asks(1), frame(CONTINUATION, END_HEADERS, 1, b"")].concat(),
            Protocol,
        ),
        ("a reset of no stream", reset(0), Protocol),
        ("a reset of an idle stream", reset(1), Protocol),
        ("a reset of odd length", [asks(1), frame(RST_STREAM, 0, 1, b"abc")].concat(), FrameSize),
        ("settings of a stream", frame(SETTINGS, 0, 1, b""), Protocol),
        ("settings of odd length", frame(SETTINGS, 0, 0, b"abc"), FrameSize),
        ("an acknowledgement with settings", frame(SETTINGS, ACK, 0, &[0; 6]), FrameSize),
        ("frames too short", settings(&[(MAX_FRAME_SIZE, 16_383)]), Protocol),
        ("frames too long", settings(&[(MAX_FRAME_SIZE, 1 << 24)]), Protocol),
        ("half a push", settings(&[(ENABLE_PUSH, 2)]), Protocol),
        ("a push", frame(PUSH_PROMISE, END_HEADERS, 1, &[0; 4]), Protocol),
        ("a ping of a stream", frame(PING, 0, 1, &[0; 8]), Protocol),
        ("a short ping", frame(PING, 0, 0, &[0; 7]), FrameSize),
        ("a short farewell", frame(GOAWAY, 0, 0, &[0; 7]), FrameSize),
        ("a short priority", frame(PRIORITY, 0, 1, &[0; 4]), FrameSize),
        ("a window of an idle stream", window_update(1, 1), Protocol),
        ("a window grown by nothing", window_update(0, 0), Protocol),
        ("a window of odd length", frame(WINDOW_UPDATE, 0, 0, b"abc"), FrameSize),
        (
            "an endless block",
            [frame(HEADERS, 0, 1, b""), frame(CONTINUATION, 0, 1, b"").repeat(2000)].concat(),
            EnhanceYourCalm,
        ),
        (
            "a block too long",
            [frame(HEADERS, 0, 1, b""), frame(CONTINUATION, 0, 1, &[0; 16_384]).repeat(65)].concat(),
            EnhanceYourCalm,
        ),
    ];
    for (what, bytes, reason) in cases {
        let mut client = Client::new(LIMITS);
        assert_eq!(client.fails(&bytes), reason, "{what}");
        // Nothing counts after that.
        assert!(client.events(&asks(101)).is_ok_and(|events| events.is_empty()), "{what}");
        assert!(client.frames().is_empty(), "{what}");
    }
}

#[test]
fn what_is_no_preface_is_found_at_its_first_wrong_byte() {
    for at in 0..PREFACE.len() {
        let mut client = Client::fresh(LIMITS);
        let mut wrong = PREFACE[..=at].to_vec();
        wrong[at] ^= 0x20;
        assert!(client.says(&wrong[..at]).is_empty());
        assert_eq!(client.fails(&wrong[at..]), Reason::Protocol);
    }
}

#[test]
fn what_came_before_a_fault_still_counts_and_streams_are_named_in_the_farewell() {
    let mut client = Client::new(LIMITS);
    let mut events = Vec::new();
    let mut input = BytesMut::from(&[asks(5), asks(2)].concat()[..]);
    assert!(client.server.receive(&mut input, &mut events).is_err());
    assert_eq!(events.iter().map(words).collect::<Vec<_>>(), ["request 5 POST /a end"]);
    assert_eq!(client.frames().pop().unwrap().number(0), 5);
}

#[test]
fn malformed_requests_are_reset_and_the_next_is_served() {
    let pseudo = [(":method", "POST"), (":scheme", "http"), (":path", "/a")];
    let with = |more: &[(&'static str, &'static str)]| block(&[&pseudo[..], more].concat());
    let cases = [
        ("an upper case name", with(&[("Te", "trailers")])),
        ("connection", with(&[("connection", "close")])),
        ("keep-alive", with(&[("keep-alive", "1")])),
        ("proxy-connection", with(&[("proxy-connection", "x")])),
        ("transfer-encoding", with(&[("transfer-encoding", "chunked")])),
        ("upgrade", with(&[("upgrade", "h2c")])),
        ("te", with(&[("te", "gzip")])),
        ("a pseudo field after a plain one", with(&[("a", "b"), (":authority", "x")])),
        ("an unknown pseudo field", with(&[(":x", "y")])),
        ("a response", with(&[(":status", "200")])),
        ("two methods", with(&[(":method", "GET")])),
        ("two paths", with(&[(":path", "/b")])),
        ("two authorities", with(&[(":authority", "a"), (":authority", "b")])),
        ("no path", block(&pseudo[..2])),
        ("an empty path", block(&[(":method", "POST"), (":path", "")])),
        ("no method", block(&pseudo[1..])),
        ("nothing", Vec::new()),
        ("an empty name", with(&[("", "x")])),
        ("a name with a space", with(&[("a b", "x")])),
        ("a value of two lines", with(&[("a", "b\r\nc")])),
        ("a value with a zero", with(&[("a", "b\0")])),
        ("no method at all", block(&[(":method", "a b"), (":path", "/")])),
    ];
    let mut client = Client::new(LIMITS);
    for (stream, (what, block)) in (1..).step_by(4).zip(cases) {
        assert!(client.says(&frame(HEADERS, WHOLE, stream, &block)).is_empty(), "{what}");
        let reset = client.frames().pop().expect(what);
        assert_eq!((reset.kind, reset.stream, reset.number(0)), (RST_STREAM, stream, 1), "{what}");
        assert_eq!(client.says(&asks(stream + 2)), [format!("request {} POST /a end", stream + 2)]);
        client.answer(stream + 2, "");
        assert_eq!(client.server.streams(), 0, "{what}");
        client.frames();
    }
}

#[test]
fn what_is_unusual_but_allowed_passes() {
    let mut client = Client::new(LIMITS);
    let fields = [
        (":path", "*"),
        (":authority", ""),
        (":authority", "x"),
        (":method", "OPTIONS"),
        ("te", "trailers"),
        ("a", ""),
        ("a", "\u{e9}\tb"),
    ];
    assert_eq!(client.says(&frame(HEADERS, WHOLE, 1, &block(&fields))), ["request 1 OPTIONS * end"]);
}

#[test]
fn header_lists_too_long_are_reset() {
    let mut client = Client::new(Limits { header_list_bytes: 1000, ..LIMITS });
    let lists = [
        block(&[(":method", "POST"), (":path", &"x".repeat(1000))]),
        [post("/"), block(&[("a", "b")]).repeat(30)].concat(),
    ];
    for (stream, list) in [1, 3].into_iter().zip(&lists) {
        assert!(client.says(&frame(HEADERS, WHOLE, stream, list)).is_empty());
        let reset = client.frames().pop().unwrap();
        assert_eq!((reset.kind, reset.number(0)), (RST_STREAM, Reason::FrameSize as u32));
    }
    // As long as announced is not too long.
    let rest = 1000 - 32 * 3 - ":method".len() - "POST".len() - ":path".len() - "/".len() - 1;
    let value = "x".repeat(rest);
    let exact = |more| block(&[(":method", "POST"), (":path", "/"), ("a", &format!("{value}{more}"))]);
    assert_eq!(client.says(&frame(HEADERS, WHOLE, 5, &exact(""))), ["request 5 POST / end"]);
    assert!(client.says(&frame(HEADERS, WHOLE, 7, &exact("x"))).is_empty());
}

#[test]
fn a_short_block_does_not_become_megabytes() {
    let mut client = Client::new(Limits { header_list_bytes: 16 << 20, ..LIMITS });
    let mut adds = post("/a");
    adds.extend(b"\x40\x01a");
    adds.extend([0x7f, 0x81, 0x1e]);
    adds.extend([b'x'; 4000 - 32]);
    client.says(&frame(HEADERS, WHOLE, 1, &adds));
    let bomb = [post("/a"), vec![0xbe; 1000]].concat();
    client.frames();
    assert!(client.says(&frame(HEADERS, WHOLE, 3, &bomb)).is_empty());
    assert_eq!(client.frames().pop().unwrap().number(0), Reason::FrameSize as u32);
    // What is spelled out may be as long as announced.
    let long = "x".repeat(16_000);
    let list = block(&[
        (":method", "POST"),
        (":path", "/b"),
        ("a", &long),
        ("b", &long),
        ("c", &long),
        ("d", &long),
    ]);
    let parts: Vec<&[u8]> = list.chunks(16_000).collect();
    client.says(&frame(HEADERS, END_STREAM, 5, parts[0]));
    for part in &parts[1..parts.len() - 1] {
        client.says(&frame(CONTINUATION, 0, 5, part));
    }
    let heard = client.says(&frame(CONTINUATION, END_HEADERS, 5, parts[parts.len() - 1]));
    assert_eq!(heard, ["request 5 POST /b end"]);
}
