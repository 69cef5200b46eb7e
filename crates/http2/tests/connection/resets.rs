//! Streams that end before their time.

use crate::*;

#[test]
fn a_request_taken_back_is_gone_before_and_after_its_answer_began() {
    let mut client = Client::new(LIMITS);
    assert_eq!(client.says(&[begins(1), reset(1)].concat()), ["request 1 POST /a", "reset 1"]);
    client.answer(1, "late");
    assert!(client.server.is_clear(1));
    assert!(client.frames().is_empty(), "nobody hears it");
    client.says(&asks(3));
    client.server.head(3, b"\x88");
    client.server.data(3, vec![0; 100_000].into());
    client.frames();
    assert_eq!(client.says(&reset(3)), ["reset 3"]);
    client.says(&[window_update(0, 100_000), window_update(3, 100_000)].concat());
    client.server.trailers(3, Bytes::from_static(b"\x88"));
    assert!(client.frames().is_empty());
    assert!(client.says(&reset(3)).is_empty(), "once");
}

#[test]
fn a_reset_after_the_answer_is_no_event() {
    let mut client = Client::new(LIMITS);
    client.says(&[begins(1), asks(3)].concat());
    client.answer(1, "one");
    client.answer(3, "three");
    assert_eq!(client.server.streams(), 1, "the client may still send on 1");
    assert!(client.says(&[reset(1), reset(3)].concat()).is_empty());
    assert_eq!(client.server.streams(), 0);
}

#[test]
fn nothing_follows_a_complete_answer() {
    let mut client = Client::new(LIMITS);
    client.says(&begins(1));
    client.answer(1, "one");
    client.frames();
    client.answer(1, "again");
    assert!(client.frames().is_empty());
    assert!(client.says(&frame(DATA, END_STREAM, 1, b"x")).is_empty(), "thrown away");
    assert_eq!(client.server.streams(), 0);
}

#[test]
fn what_we_reset_is_told_once() {
    let mut client = Client::new(LIMITS);
    client.says(&begins(1));
    assert!(client.server.reset(1, Reason::Internal));
    assert!(!client.server.reset(1, Reason::Internal));
    let frames = client.frames();
    assert_eq!(frames.len(), 1);
    assert_eq!((frames[0].kind, frames[0].stream, frames[0].number(0)), (RST_STREAM, 1, 2));
}

#[test]
fn frames_of_streams_that_are_no_more_are_passed_over() {
    let mut client = Client::new(LIMITS);
    client.says(&[asks(1), asks(7)].concat());
    client.answer(1, "one");
    client.frames();
    let late = [
        frame(DATA, 0, 1, b"x"),
        frame(DATA, 0, 5, b"x"),
        window_update(1, 1),
        window_update(5, 0),
        reset(1),
        reset(3),
        frame(HEADERS, WHOLE, 3, &post("/late")),
        frame(HEADERS, WHOLE, 1, &block(&[("a", "b")])),
    ];
    assert!(client.says(&late.concat()).is_empty());
    assert!(client.frames().is_empty());
    assert_eq!(client.server.streams(), 1);
}

#[test]
fn rules_broken_on_a_stream_end_the_stream() {
    let half = [begins(1), frame(HEADERS, END_HEADERS, 1, &block(&[("a", "b")]))].concat();
    let closed = [asks(1), frame(DATA, 0, 1, b"x")].concat();
    for (bytes, reason) in [(half, Reason::Protocol), (closed, Reason::StreamClosed)] {
        let mut client = Client::new(LIMITS);
        let heard = client.says(&bytes);
        assert_eq!(heard[1..], ["reset 1"]);
        let reset = client.frames().pop().unwrap();
        assert_eq!((reset.kind, reset.stream, reset.number(0)), (RST_STREAM, 1, reason as u32));
        client.answer(1, "late");
        assert!(client.frames().is_empty());
        assert_eq!(client.says(&asks(3)), ["request 3 POST /a end"]);
    }
}

#[test]
fn requests_beyond_the_most_are_refused_until_one_ends() {
    let mut client = Client::new(Limits { streams_max: Some(2), ..LIMITS });
    assert_eq!(client.says(&[begins(1), asks(3), asks(5)].concat()).len(), 2);
    let refused = client.frames().pop().unwrap();
    assert_eq!((refused.kind, refused.stream), (RST_STREAM, 5));
    assert_eq!(refused.number(0), Reason::RefusedStream as u32);
    client.answer(3, "");
    assert_eq!(client.says(&asks(7)), ["request 7 POST /a end"]);
    client.answer(1, "");
    assert!(client.says(&asks(9)).is_empty(), "1 is open until the client closes it");
    client.says(&frame(DATA, END_STREAM, 1, b""));
    assert_eq!(client.says(&asks(11)), ["request 11 POST /a end"]);
}

/// How many streams a client gets through, doing `with` each of them.
fn get_through(with: impl Fn(&mut Client, u32) -> Result<Vec<Event>, Error>) -> u32 {
    let mut client = Client::new(LIMITS);
    for nth in 0..25_000 {
        client.says(&asks(1 + 2 * nth));
        if let Err(error) = with(&mut client, 1 + 2 * nth) {
            assert_eq!(error.reason, Reason::EnhanceYourCalm);
            return nth;
        }
    }
    25_000
}

#[test]
fn a_client_that_takes_everything_back_is_sent_away() {
    assert_eq!(get_through(|client, stream| client.events(&reset(stream))), 10_000);
}

#[test]
fn a_client_that_makes_us_reset_everything_is_sent_away() {
    assert_eq!(get_through(|client, stream| client.events(&window_update(stream, 0))), 10_000);
    assert_eq!(get_through(|client, stream| client.events(&frame(DATA, 0, stream, b""))), 10_000);
}

#[test]
fn a_client_may_take_back_what_was_answered_in_part_and_as_much_as_it_takes() {
    let begun = |client: &mut Client, stream| {
        client.server.head(stream, b"\x88");
        client.events(&reset(stream))
    };
    assert_eq!(get_through(begun), 25_000);
    let every_second = |client: &mut Client, stream: u32| {
        if stream % 4 == 1 {
            client.answer(stream, "");
        }
        client.events(&reset(stream))
    };
    assert_eq!(get_through(every_second), 25_000);
}
