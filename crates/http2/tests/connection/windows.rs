//! Flow control, both ways.

use std::collections::HashMap;

use proptest::prelude::*;

use crate::*;

/// Everybody's window at first.
const DEFAULT: usize = 65_535;

fn sum(data: &[(u32, usize)]) -> usize {
    data.iter().map(|(_, len)| len).sum()
}

#[test]
fn an_answer_longer_than_the_windows_goes_on_as_they_open() {
    let mut client = Client::new(LIMITS);
    client.says(&asks(1));
    let body: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    client.answer(1, body.clone());
    assert!(!client.server.is_clear(1));
    let mut got = Vec::new();
    let mut take = |client: &mut Client| {
        let before = got.len();
        let data = client.frames().into_iter().filter(|frame| frame.kind == DATA);
        data.for_each(|frame| got.extend(frame.payload));
        got.len() - before
    };
    assert_eq!(take(&mut client), DEFAULT);
    client.says(&window_update(1, 1000));
    assert_eq!(take(&mut client), 0, "the connection's window is used up");
    client.says(&window_update(0, 400));
    assert_eq!(take(&mut client), 400);
    client.says(&window_update(0, 10_000));
    assert_eq!(take(&mut client), 600, "now the stream's is");
    client.says(&window_update(1, 1));
    assert_eq!(take(&mut client), 1);
    assert!(client.server.take_cleared().is_empty());
    client.says(&[window_update(0, 200_000), window_update(1, 200_000)].concat());
    assert_eq!(client.server.take_cleared(), [1]);
    assert_eq!(take(&mut client), 200_000 - DEFAULT - 1001);
    assert_eq!(client.server.streams(), 0, "the trailers have followed");
    assert!(got == body);
}

#[test]
fn trailers_wait_for_data_but_need_no_window() {
    let mut client = Client::new(LIMITS);
    client.says(&[asks(1), asks(3)].concat());
    client.answer(1, vec![0; DEFAULT + 1]);
    client.answer(3, "");
    let last = client.frames().pop().unwrap();
    assert_eq!((last.kind, last.flags, last.stream), (HEADERS, WHOLE, 3));
    client.says(&[window_update(0, 1), window_update(1, 1)].concat());
    let shapes: Vec<_> = client.frames().iter().map(|f| (f.kind, f.flags, f.payload.len())).collect();
    assert_eq!(shapes[0], (DATA, 0, 1));
    assert_eq!((shapes[1].0, shapes[1].1), (HEADERS, WHOLE));
}

#[test]
fn settings_change_the_windows_of_open_streams_up_down_and_below_nothing() {
    let mut client = Client::new(LIMITS);
    client.says(&[window_update(0, 1 << 20), settings(&[(INITIAL_WINDOW_SIZE, 100)]), asks(1)].concat());
    client.answer(1, vec![0; 1000]);
    assert_eq!(client.data(), [(1, 100)]);
    client.says(&settings(&[(INITIAL_WINDOW_SIZE, 150)]));
    assert_eq!(client.data(), [(1, 50)]);
    client.says(&settings(&[(INITIAL_WINDOW_SIZE, 20)]));
    assert_eq!(client.data(), []);
    client.says(&window_update(1, 130));
    assert_eq!(client.data(), [], "the window is at 0");
    client.says(&window_update(1, 1));
    assert_eq!(client.data(), [(1, 1)]);
    // The last of several counts.
    client.says(&settings(&[
        (INITIAL_WINDOW_SIZE, 0),
        (INITIAL_WINDOW_SIZE, 900),
        (INITIAL_WINDOW_SIZE, 30),
    ]));
    assert_eq!(client.data(), [(1, 10)]);
    client.says(&asks(3));
    client.answer(3, vec![0; 1000]);
    assert_eq!(client.data(), [(3, 30)]);
    client.says(&settings(&[(INITIAL_WINDOW_SIZE, 5000)]));
    let data = client.data();
    assert_eq!((data.len(), sum(&data)), (2, 1000 - 161 + 1000 - 30));
    assert_eq!(client.server.streams(), 0);
}

#[test]
fn a_window_kept_shut_lets_nothing_through_and_empty_pieces_need_none() {
    let mut client = Client::new(LIMITS);
    client.says(&[settings(&[(INITIAL_WINDOW_SIZE, 0)]), asks(1), asks(3)].concat());
    client.answer(1, "x");
    assert!(!client.server.is_clear(1));
    client.answer(3, "");
    assert!(client.server.is_clear(3));
    assert_eq!(client.data(), []);
    client.says(&window_update(1, 1));
    assert_eq!((client.data(), client.server.streams()), (vec![(1, 1)], 0));
}

#[test]
fn streams_take_turns_when_the_connections_window_is_short() {
    let mut client = Client::new(LIMITS);
    client.says(&[settings(&[(INITIAL_WINDOW_SIZE, 1 << 20)]), asks(1)].concat());
    client.answer(1, vec![0; DEFAULT]);
    client.frames();
    client.says(&[asks(3), asks(5), asks(7)].concat());
    for stream in [3, 5, 7] {
        client.answer(stream, vec![0; 300]);
    }
    let mut order = Vec::new();
    for _ in 0..9 {
        client.says(&window_update(0, 100));
        order.extend(client.data());
    }
    let streams: Vec<u32> = order.iter().map(|(stream, _)| *stream).collect();
    assert_eq!(streams, [3, 5, 7, 3, 5, 7, 3, 5, 7]);
    assert_eq!(client.server.streams(), 0);
}

#[test]
fn what_waits_for_the_socket_is_bounded_and_every_stream_goes_on_when_it_is_read() {
    let mut client = Client::new(LIMITS);
    let wide = [settings(&[(INITIAL_WINDOW_SIZE, 10 << 20)]), window_update(0, 100 << 20)];
    client.says(&wide.concat());
    for stream in (1..40).step_by(2) {
        client.says(&asks(stream));
        client.answer(stream, vec![0; 100_000]);
    }
    assert!(client.server.output_len() < http2::OUTPUT_MAX + 20_000, "{}", client.server.output_len());
    // A window that opens meanwhile does not let a stream in before its time, nor is it forgotten.
    client.says(&window_update(39, 1));
    let mut left = 20 * 100_000_usize;
    while client.server.output_len() > 0 {
        assert!(client.server.output_len() < http2::OUTPUT_MAX + 20_000);
        left -= client.read(1 << 14).len().min(left);
    }
    assert_eq!((left, client.server.streams()), (0, 0));
}

#[test]
fn how_much_may_wait_for_the_socket_can_be_said_anew_at_any_time() {
    let mut client = Client::new(LIMITS);
    client.says(&[settings(&[(INITIAL_WINDOW_SIZE, 10 << 20)]), window_update(0, 100 << 20)].concat());
    client.server.set_output_max(1 << 20);
    client.says(&asks(1));
    client.answer(1, vec![0; 5 << 20]);
    let near = |len: usize, max: usize| (max..max + 20_000).contains(&len);
    assert!(near(client.server.output_len(), 1 << 20) && client.server.is_output_full());
    client.server.set_output_max(1 << 17);
    let mut left = 5 << 20;
    while client.server.output_len() > 0 {
        left -= client.read(1 << 20).len().min(left);
        assert!(left < 1 << 18 || near(client.server.output_len(), 1 << 17), "{left}");
    }
    assert_eq!((left, client.server.streams()), (0, 0));
}

#[test]
fn streams_given_up_while_they_wait_in_line_do_not_pile_up() {
    let mut client = Client::new(LIMITS);
    client.says(&asks(1));
    client.answer(1, vec![0; DEFAULT]);
    for stream in (3..20_003).step_by(2) {
        client.says(&asks(stream));
        client.answer(stream, "x");
        client.says(&reset(stream));
    }
    client.says(&asks(30_001));
    client.answer(30_001, "x");
    let shown = format!("{:?}", client.server);
    let line = shown.split("line: [").nth(1).unwrap().split(']').next().unwrap();
    assert!(line.len() < 1000, "{line}");
    client.frames();
    client.says(&window_update(0, 1));
    assert_eq!(client.data(), [(30_001, 1)]);
}

#[test]
fn all_that_is_released_is_given_back_and_no_more_and_so_is_padding() {
    let mut client = Client::new(LIMITS);
    client.says(&begins(1));
    let padded = [&b"\xff"[..], &[1; 744], &[0; 255]].concat();
    let mut given = HashMap::from([(0, 0), (1, 0)]);
    for _ in 0..100 {
        client.says(&frame(DATA, PADDED, 1, &padded));
        client.server.release(1, 744);
        for frame in client.frames() {
            assert_eq!(frame.kind, WINDOW_UPDATE);
            *given.get_mut(&frame.stream).unwrap() += frame.number(0) as usize;
        }
    }
    assert_eq!(given, HashMap::from([(0, 0), (1, 100_000)]), "given back by halves of the windows");
}

#[test]
fn data_that_nobody_wants_is_given_back_at_once() {
    let mut client = Client::new(LIMITS);
    let body = |stream, flags| frame(DATA, flags, stream, &[0; 10_000]);
    // Of a stream that was reset, and of one that is answered: the client may finish what it sends.
    client.says(&[begins(1), begins(3)].concat());
    client.server.reset(1, Reason::Cancel);
    client.server.trailers(3, Bytes::from_static(b"\x88"));
    client.frames();
    for _ in 0..30 {
        assert!(client.says(&[body(1, 0), body(3, 0)].concat()).is_empty());
    }
    let mut given = HashMap::new();
    client.frames().iter().for_each(|f| *given.entry(f.stream).or_insert(0) += f.number(0));
    assert_eq!(given, HashMap::from([(0, 520_000), (3, 300_000)]));
    assert!(client.says(&body(3, END_STREAM)).is_empty());
    assert_eq!(client.server.streams(), 0);
}

#[test]
fn a_client_that_sends_more_than_it_may_is_sent_away() {
    let send = |client: &mut Client, stream, count| {
        (0..count).try_for_each(|_| client.events(&frame(DATA, 0, stream, &[0; 10_000])).map(|_| ()))
    };
    let mut client = Client::new(LIMITS);
    client.says(&begins(1));
    send(&mut client, 1, 10).unwrap();
    assert_eq!(client.fails(&frame(DATA, 0, 1, b"x")), Reason::FlowControl);
    let mut client = Client::new(LIMITS);
    client.says(&[begins(1), begins(3), begins(5)].concat());
    send(&mut client, 1, 10).unwrap();
    send(&mut client, 3, 10).unwrap();
    send(&mut client, 5, 5).unwrap();
    assert_eq!(client.fails(&frame(DATA, 0, 5, b"x")), Reason::FlowControl);
}

#[test]
fn windows_beyond_the_largest_end_the_stream_or_the_connection() {
    const MOST: u32 = 0x7fff_ffff;
    let mut client = Client::new(LIMITS);
    assert_eq!(client.fails(&window_update(0, MOST)), Reason::FlowControl);
    let mut client = Client::new(LIMITS);
    client.says(&window_update(0, MOST - DEFAULT as u32));
    assert_eq!(client.fails(&window_update(0, 1)), Reason::FlowControl);
    let mut client = Client::new(LIMITS);
    client.says(&[asks(1), window_update(1, 1)].concat());
    assert_eq!(client.fails(&settings(&[(INITIAL_WINDOW_SIZE, MOST)])), Reason::FlowControl);
    let mut client = Client::new(LIMITS);
    assert_eq!(client.fails(&settings(&[(INITIAL_WINDOW_SIZE, MOST + 1)])), Reason::FlowControl);
    let mut client = Client::new(LIMITS);
    for (increment, reason) in [(MOST, Reason::FlowControl), (0, Reason::Protocol)] {
        let stream = 1 + 2 * u32::from(increment == 0);
        client.says(&asks(stream));
        assert_eq!(client.says(&window_update(stream, increment)), [format!("reset {stream}")]);
        let reset = client.frames().pop().unwrap();
        assert_eq!((reset.kind, reset.stream, reset.number(0)), (RST_STREAM, stream, reason as u32));
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Open(usize),
    Window(u32, u32),
    Initial(u32),
    Read(usize),
}

fn a_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..200_000_usize).prop_map(Step::Open),
        4 => (0..10_u32, 1..60_000_u32).prop_map(|(stream, more)| Step::Window(stream, more)),
        1 => (0..100_000_u32).prop_map(Step::Initial),
        3 => (1..100_000_usize).prop_map(Step::Read),
    ]
}

proptest! {
    /// A client keeps its own account of all windows: they are never exceeded, all that they allow comes, in order, and
    /// with windows enough everything does.
    #[test]
    fn the_windows_are_kept_and_used(steps in prop::collection::vec(a_step(), 1..60)) {
        let mut client = Client::new(LIMITS);
        let (mut all, mut initial) = (DEFAULT as i64, DEFAULT as i64);
        // Window and length left, by stream.
        let mut streams: Vec<(i64, usize)> = Vec::new();
        let id = |nth: usize| 1 + 2 * nth as u32;
        for step in steps.into_iter().chain([
            Step::Read(usize::MAX),
            Step::Initial(20_000_000),
            Step::Window(0, 1 << 30),
            Step::Read(usize::MAX),
        ]) {
            match step {
                Step::Open(len) => {
                    let stream = id(streams.len());
                    client.says(&asks(stream));
                    client.answer(stream, vec![0; len]);
                    streams.push((initial, len));
                }
                Step::Window(0, more) => {
                    all += i64::from(more);
                    client.says(&window_update(0, more));
                }
                Step::Window(nth, more) => {
                    let nth = nth as usize - 1;
                    if let Some((window, _)) = streams.get_mut(nth) {
                        *window += i64::from(more);
                        client.says(&window_update(id(nth), more));
                    }
                }
                Step::Initial(size) => {
                    streams.iter_mut().for_each(|(window, _)| *window += i64::from(size) - initial);
                    initial = i64::from(size);
                    client.says(&settings(&[(INITIAL_WINDOW_SIZE, size)]));
                }
                Step::Read(most) if most < usize::MAX => {
                    let read = client.read(most);
                    client.read.extend(read);
                    continue;
                }
                Step::Read(_) => {}
            }
            // What was written before a window shrank may still be on its way: read it all before the next change.
            for frame in client.frames().into_iter().filter(|frame| frame.kind == DATA) {
                let len = frame.payload.len();
                let (window, left) = &mut streams[(frame.stream as usize - 1) / 2];
                *window -= len as i64;
                *left -= len;
                all -= len as i64;
                prop_assert!(all >= 0 && *window >= 0, "{all} {window}");
            }
            for (window, left) in &streams {
                prop_assert!(*left == 0 || *window <= 0 || all <= 0, "{left} wait without need");
            }
        }
        prop_assert!(streams.iter().all(|(_, left)| *left == 0));
        prop_assert_eq!(client.server.streams(), 0);
    }
}
