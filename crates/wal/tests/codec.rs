//! raft's types as raftpb and back, and what other etcd versions write.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message as _;
use proto::raftpb;
use raft::{
    ConfChange, ConfChangeKind, ConfChangeV2, ConfState, Entry, EntryKind, HardState, Index, MemberId,
    Message, MessageKind, Snapshot, Term, Transition,
};
use wal::codec::{self, DecodeError};

const KINDS: [ConfChangeKind; 4] = [
    ConfChangeKind::AddNode,
    ConfChangeKind::RemoveNode,
    ConfChangeKind::UpdateNode,
    ConfChangeKind::AddLearnerNode,
];

fn ids() -> impl Strategy<Value = Vec<MemberId>> {
    prop::collection::btree_set(1u64.., 0..4).prop_map(|ids| ids.into_iter().map(MemberId).collect())
}

prop_compose! {
    fn data()(bytes in prop::collection::vec(any::<u8>(), 0..40)) -> Bytes { Bytes::from(bytes) }
}

prop_compose! {
    fn an_entry()(term: u64, index: u64, kind in 0..3usize, data in data()) -> Entry {
        let kind = [EntryKind::Normal, EntryKind::ConfChange, EntryKind::ConfChangeV2][kind];
        Entry { term: Term(term), index: Index(index), kind, data }
    }
}

prop_compose! {
    fn a_snapshot()(
        index in 1u64.., term: u64, voters in ids(), learners in ids(), voters_outgoing in ids(),
        learners_next in ids(), auto_leave: bool, data in data(),
    ) -> Snapshot {
        let conf_state = ConfState { voters, learners, voters_outgoing, learners_next, auto_leave };
        Snapshot { index: Index(index), term: Term(term), conf_state, data }
    }
}

prop_compose! {
    fn a_message()(
        kind in 0..24usize, numbers: [u64; 8], reject: bool, entries in prop::collection::vec(an_entry(), 0..3),
        snapshot in prop::option::of(a_snapshot()), context in data(),
    ) -> Message {
        let [to, from, term, log_term, index, commit, reject_hint, _] = numbers;
        Message {
            kind: MessageKind::ALL[kind], to: MemberId(to), from: MemberId(from), term: Term(term),
            log_term: Term(log_term), index: Index(index), entries, commit: Index(commit),
            snapshot: snapshot.map(Box::new), reject, reject_hint: Index(reject_hint), context,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn messages_survive_the_wire(message in a_message()) {
        prop_assert_eq!(codec::decode_message(codec::encode_message(&message).into()).unwrap(), message);
    }

    #[test]
    fn conf_changes_survive_the_log(id: u64, kind in 0..4usize, node: u64, context in data(), joint in 0..3usize) {
        let change = ConfChange { id, kind: KINDS[kind], node_id: MemberId(node), context: context.clone() };
        prop_assert_eq!(codec::decode_conf_change(codec::encode_conf_change(&change)).unwrap(), change);
        let transition = [Transition::Auto, Transition::JointImplicit, Transition::JointExplicit][joint];
        let changes = vec![(KINDS[kind], MemberId(node)); joint];
        let change = ConfChangeV2 { transition, changes, context };
        prop_assert_eq!(codec::decode_conf_change_v2(codec::encode_conf_change_v2(&change)).unwrap(), change);
    }
}

#[test]
fn scalars_are_written_even_if_zero() {
    assert_eq!(codec::entry_to_proto(&Entry::default()).encode_to_vec(), [8, 0, 16, 0, 24, 0]);
    assert_eq!(codec::hard_state_to_proto(&HardState::default()).encode_to_vec(), [8, 0, 16, 0, 24, 0]);
    assert_eq!(codec::conf_state_to_proto(&ConfState::default()).encode_to_vec(), [40, 0]);
    let change =
        ConfChange { id: 0, kind: ConfChangeKind::AddNode, node_id: MemberId(0), context: Bytes::new() };
    assert_eq!(&codec::encode_conf_change(&change)[..], [8, 0, 16, 0, 24, 0]);
}

#[test]
fn what_is_absent_is_zero() {
    assert_eq!(codec::entry_from_proto(raftpb::Entry::default()).unwrap(), Entry::default());
    assert_eq!(codec::decode_message(Bytes::new()).unwrap(), Message::default());
    assert_eq!(codec::decode_conf_change(Bytes::new()).unwrap().kind, ConfChangeKind::AddNode);
    assert_eq!(codec::decode_conf_change_v2(Bytes::new()).unwrap(), ConfChangeV2::default());
}

#[test]
fn the_empty_snapshot_in_every_message_of_3_5_is_none() {
    let bytes = [0x08, 8, 0x4a, 10, 0x12, 0x08, 0x0a, 0x02, 0x28, 0x00, 0x10, 0x00, 0x18, 0x00];
    let message = codec::decode_message(Bytes::copy_from_slice(&bytes)).unwrap();
    assert_eq!(message, Message { kind: MessageKind::Heartbeat, ..Message::default() });
}

#[test]
fn members_are_sorted_whatever_their_order_on_disk() {
    let state = raftpb::ConfState { voters: vec![3, 1, 2], ..raftpb::ConfState::default() };
    assert_eq!(codec::conf_state_from_proto(&state).voters, [1, 2, 3].map(MemberId));
}

#[test]
fn unknown_numbers_are_refused() {
    let unknown = |bytes: &[u8]| codec::decode_message(Bytes::copy_from_slice(bytes)).unwrap_err();
    assert_eq!(unknown(&[8, 24]), DecodeError::Unknown { what: "message type", number: 24 });
    assert_eq!(unknown(&[0x3a, 2, 8, 3]), DecodeError::Unknown { what: "entry type", number: 3 });
    assert!(codec::decode_conf_change(Bytes::from_static(&[16, 4])).is_err());
    assert!(codec::decode_conf_change_v2(Bytes::from_static(&[8, 3])).is_err());
    assert!(matches!(unknown(&[0xff]), DecodeError::Malformed(_)));
}
