//! Streams byte for byte, in pieces of any length, and with what no member sends.

use proptest::prelude::*;
use raft::EntryKind;

use super::*;

const LOCAL: MemberId = MemberId(0xa);
const REMOTE: MemberId = MemberId(0xb);

fn entry(term: u64, index: u64, data: &'static [u8]) -> Entry {
    Entry { term: Term(term), index: Index(index), kind: EntryKind::Normal, data: Bytes::from_static(data) }
}

fn append(term: u64, index: u64, log_term: u64, entries: Vec<Entry>, commit: u64) -> Message {
    Message {
        kind: MessageKind::App,
        to: LOCAL,
        from: REMOTE,
        term: Term(term),
        log_term: Term(log_term),
        index: Index(index),
        entries,
        commit: Index(commit),
        ..Message::default()
    }
}

fn written(kind: Kind, messages: &[Message]) -> Vec<u8> {
    let (mut encoder, mut last, mut out) = (Encoder::new(kind), LastEntries::default(), Pieces::default());
    messages.iter().for_each(|message| encoder.put(message, &mut last, &mut out));
    drain(out)
}

fn drain(mut pieces: Pieces) -> Vec<u8> {
    let (len, mut all) = (pieces.len(), Vec::new());
    while let Some(piece) = pieces.next_piece() {
        all.extend_from_slice(&piece);
    }
    assert_eq!((len, pieces.len()), (all.len(), 0));
    all
}

fn read(kind: Kind, bytes: &[u8], cuts: &[usize]) -> Result<Vec<Message>, Error> {
    let mut decoder = Decoder::new(kind, LOCAL, REMOTE);
    let (mut rest, mut messages) = (bytes, Vec::new());
    for cut in cuts.iter().copied().chain([usize::MAX]) {
        let (piece, behind) = rest.split_at(cut.min(rest.len()));
        rest = behind;
        decoder.push(Bytes::copy_from_slice(piece));
        while let Some(message) = decoder.next_message()? {
            messages.push(message);
        }
    }
    Ok(messages)
}

#[test]
fn an_append_that_goes_on_is_its_entries_and_a_commit_index() {
    let first = append(2, 4, 1, vec![entry(2, 5, b"x")], 4);
    let second = append(2, 5, 2, vec![entry(2, 6, b"yz"), entry(2, 7, b"")], 5);
    let begin = written(Kind::MsgApp, std::slice::from_ref(&first));
    let whole = written(Kind::MsgApp, &[first.clone(), second.clone()]);
    assert_eq!(begin[0], WHOLE);
    let expected = [
        &[1, 0, 0, 0, 0, 0, 0, 0, 2][..],
        &[0, 0, 0, 0, 0, 0, 0, 10, 0x08, 0, 0x10, 2, 0x18, 6, 0x22, 2, b'y', b'z'],
        &[0, 0, 0, 0, 0, 0, 0, 6, 0x08, 0, 0x10, 2, 0x18, 7],
        &[0, 0, 0, 0, 0, 0, 0, 5],
    ];
    assert_eq!(whole[begin.len()..], expected.concat());
    assert_eq!(read(Kind::MsgApp, &whole, &[]).unwrap(), [first, second]);
}

#[test]
fn an_append_that_does_not_go_on_is_written_whole() {
    for other in [
        append(2, 5, 1, vec![], 0),
        append(2, 4, 2, vec![], 0),
        append(3, 5, 2, vec![], 0),
        append(3, 5, 3, vec![], 0),
    ] {
        let messages = [append(2, 4, 1, vec![entry(2, 5, b"x")], 4), other];
        let begin = written(Kind::MsgApp, &messages[..1]);
        let whole = written(Kind::MsgApp, &messages);
        assert_eq!(whole[begin.len()], WHOLE, "{:?}", messages[1]);
        assert_eq!(read(Kind::MsgApp, &whole, &[]).unwrap(), messages);
    }
}

#[test]
fn signs_of_life_of_all_versions_are_passed_over() {
    let zeros = b"\x08\x08\x10\x00\x18\x00\x20\x00\x28\x00\x30\x00\x40\x00\x50\x00\x58\x00\x68\x00";
    let of_3_5 = [&zeros[..18], b"\x4a\x0a\x12\x08\x0a\x02\x28\x00\x10\x00\x18\x00"].concat();
    for heartbeat in [&b"\x08\x08"[..], zeros, &of_3_5] {
        let bytes = [&(heartbeat.len() as u64).to_be_bytes(), heartbeat].concat();
        assert_eq!(read(Kind::Message, &bytes, &[]).unwrap(), []);
    }
    assert_eq!(read(Kind::MsgApp, &[0, 0, 0], &[]).unwrap(), []);
    for kind in Kind::ALL {
        let mut out = Pieces::default();
        Encoder::new(kind).put_heartbeat(&mut out);
        assert_eq!(read(kind, &drain(out), &[]).unwrap(), []);
    }
    let real = Message {
        kind: MessageKind::Heartbeat,
        to: LOCAL,
        from: REMOTE,
        term: Term(1),
        ..Message::default()
    };
    let bytes = written(Kind::Message, std::slice::from_ref(&real));
    assert_eq!(read(Kind::Message, &bytes, &[]).unwrap(), [real]);
}

#[test]
fn the_empty_snapshot_of_3_5_is_no_snapshot() {
    let with = b"\x08\x04\x10\x0a\x18\x0b\x20\x01\x4a\x0a\x12\x08\x0a\x02\x28\x00\x10\x00\x18\x00";
    let bytes = [&(with.len() as u64).to_be_bytes(), &with[..]].concat();
    let read = read(Kind::Message, &bytes, &[]).unwrap();
    assert_eq!((read[0].kind, &read[0].snapshot), (MessageKind::AppResp, &None));
}

#[test]
fn what_no_member_sends_is_an_error() {
    assert_eq!(read(Kind::MsgApp, &[3], &[]), Err(Error::UnknownType(3)));
    let long = (MESSAGE_BYTES_MAX + 1).to_be_bytes();
    assert_eq!(read(Kind::Message, &long, &[]), Err(Error::TooLong(MESSAGE_BYTES_MAX + 1)));
    let mut out_of_order = written(Kind::MsgApp, &[append(0, 0, 0, vec![entry(0, 1, b"")], 0)]);
    let index = out_of_order.len() - 9;
    assert_eq!((out_of_order[0], out_of_order[index]), (ENTRIES, 1));
    out_of_order[index] = 2;
    let (expected, found) = (Index(1), Index(2));
    assert_eq!(read(Kind::MsgApp, &out_of_order, &[]), Err(Error::OutOfOrder { expected, found }));
    let nonsense = [&3_u64.to_be_bytes()[..], &[0xff; 3]].concat();
    assert!(matches!(read(Kind::Message, &nonsense, &[]), Err(Error::Raft(_))));
}

#[test]
fn entries_are_encoded_once_for_all_followers_and_anew_when_they_differ() {
    let mut last = LastEntries::default();
    let entries = vec![entry(2, 5, b"x"), entry(2, 6, b"y")];
    let first = last.encoded(&entries);
    assert_eq!(first.as_ptr(), last.encoded(&entries).as_ptr());
    let replaced = vec![entry(2, 5, b"x"), entry(3, 6, b"y")];
    assert_ne!(first, last.encoded(&replaced));
    assert_ne!(first, last.encoded(&entries[1..]));
    assert_eq!(first, last.encoded(&entries));
}

fn messages() -> impl Strategy<Value = Vec<Message>> {
    let data = prop_oneof![Just(0), Just(1), Just(300), Just(SPLICE_BYTES), Just(70_000)];
    let part = (0..4_u64, 0..3_u64, prop::collection::vec(data, 0..4), any::<u64>());
    prop::collection::vec(part, 1..12).prop_map(|parts| {
        let (mut term, mut index) = (0, 0);
        let build = |(skip, rise, data, commit): (u64, u64, Vec<usize>, u64)| {
            let log_term = term;
            // Mostly none, so that most appends go on.
            term += rise / 2;
            index += skip / 3;
            let at = |(n, len)| Entry {
                data: Bytes::from(vec![n as u8; len]),
                ..entry(term, index + 1 + n as u64, b"")
            };
            let entries: Vec<_> = data.into_iter().enumerate().map(at).collect();
            let message = append(term, index, log_term, entries, commit);
            index += message.entries.len() as u64;
            message
        };
        parts.into_iter().map(build).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_is_read_in_pieces_of_any_length(
        messages in messages(),
        cuts in prop::collection::vec(prop_oneof![0..20_usize, 0..200_000_usize], 0..30),
    ) {
        for kind in Kind::ALL {
            let bytes = written(kind, &messages);
            prop_assert_eq!(&read(kind, &bytes, &cuts).unwrap(), &messages);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0..200_usize) {
        for kind in Kind::ALL {
            let _ = read(kind, &bytes, &[cut]);
        }
    }
}
