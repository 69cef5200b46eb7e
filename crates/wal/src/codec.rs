//! raft's plain types as raftpb, and back.
//!
//! Writing: every scalar of a proto2 message is written, zeros too, as etcd up to 3.6 does; all versions read that.
//! Reading: what is absent is zero, as etcd 3.7 leaves zeros out (formats: protobuf rules).

use bytes::Bytes;
use prost::Message as _;
use proto::{etcdserverpb, raftpb, walpb};
use raft::{
    ConfChange, ConfChangeKind, ConfChangeV2, ConfState, Entry, EntryKind, HardState, Index, MemberId,
    Message, MessageKind, Snapshot, Term, Transition,
};

use crate::SnapshotRecord;
pub use crate::record::{Short, entry_head};

/// Foreign bytes that are no raftpb message, or hold a number that means nothing to this version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not protobuf, or fields of wrong types.
    #[error("{0}")]
    Malformed(#[from] prost::DecodeError),
    /// An enum's number is unknown.
    #[error("unknown {what} {number}")]
    Unknown {
        /// Which enum.
        what: &'static str,
        /// The number found.
        number: i32,
    },
}

fn id(id: Option<u64>) -> MemberId {
    MemberId(id.unwrap_or(0))
}

fn some_bytes(bytes: &Bytes) -> Option<Bytes> {
    (!bytes.is_empty()).then(|| bytes.clone())
}

/// The record that names a log's owner (formats: etcdserverpb.Metadata).
pub fn encode_metadata(member_id: MemberId, cluster_id: u64) -> Vec<u8> {
    etcdserverpb::Metadata { node_id: Some(member_id.0), cluster_id: Some(cluster_id) }.encode_to_vec()
}

/// Member and cluster id from a log's metadata record.
pub fn decode_metadata(bytes: &[u8]) -> Result<(MemberId, u64), DecodeError> {
    let metadata = etcdserverpb::Metadata::decode(bytes)?;
    Ok((id(metadata.node_id), metadata.cluster_id.unwrap_or(0)))
}

/// An entry for the wire; the payload is shared. An empty payload is left out.
pub fn entry_to_proto(entry: &Entry) -> raftpb::Entry {
    raftpb::Entry {
        r#type: Some(entry.kind as i32),
        term: Some(entry.term.0),
        index: Some(entry.index.0),
        data: some_bytes(&entry.data),
    }
}

/// An entry from the wire or the log.
pub fn entry_from_proto(entry: raftpb::Entry) -> Result<Entry, DecodeError> {
    let kind = match entry.r#type.unwrap_or(0) {
        0 => EntryKind::Normal,
        1 => EntryKind::ConfChange,
        2 => EntryKind::ConfChangeV2,
        number => return Err(DecodeError::Unknown { what: "entry type", number }),
    };
    Ok(Entry {
        term: Term(entry.term.unwrap_or(0)),
        index: Index(entry.index.unwrap_or(0)),
        kind,
        data: entry.data.unwrap_or_default(),
    })
}

/// Decodes an entry; its payload stays a slice of `bytes`.
pub fn decode_entry(bytes: Bytes) -> Result<Entry, DecodeError> {
    entry_from_proto(raftpb::Entry::decode(bytes)?)
}

/// The hard state for the wire.
pub fn hard_state_to_proto(state: &HardState) -> raftpb::HardState {
    raftpb::HardState { term: Some(state.term.0), vote: Some(state.vote.0), commit: Some(state.commit.0) }
}

/// The hard state from the log.
pub fn hard_state_from_proto(state: &raftpb::HardState) -> HardState {
    HardState {
        term: Term(state.term.unwrap_or(0)),
        vote: id(state.vote),
        commit: Index(state.commit.unwrap_or(0)),
    }
}

/// A membership for the wire.
pub fn conf_state_to_proto(state: &ConfState) -> raftpb::ConfState {
    let numbers = |ids: &[MemberId]| ids.iter().map(|id| id.0).collect();
    raftpb::ConfState {
        voters: numbers(&state.voters),
        learners: numbers(&state.learners),
        voters_outgoing: numbers(&state.voters_outgoing),
        learners_next: numbers(&state.learners_next),
        auto_leave: Some(state.auto_leave),
    }
}

/// A membership from the wire; sorted, as raft wants it.
pub fn conf_state_from_proto(state: &raftpb::ConfState) -> ConfState {
    let ids = |numbers: &[u64]| {
        let mut ids: Vec<_> = numbers.iter().copied().map(MemberId).collect();
        ids.sort_unstable();
        ids
    };
    ConfState {
        voters: ids(&state.voters),
        learners: ids(&state.learners),
        voters_outgoing: ids(&state.voters_outgoing),
        learners_next: ids(&state.learners_next),
        auto_leave: state.auto_leave.unwrap_or(false),
    }
}

/// A snapshot for the wire or a `.snap` file.
pub fn snapshot_to_proto(snapshot: &Snapshot) -> raftpb::Snapshot {
    raftpb::Snapshot {
        data: some_bytes(&snapshot.data),
        metadata: Some(raftpb::SnapshotMetadata {
            conf_state: Some(conf_state_to_proto(&snapshot.conf_state)),
            index: Some(snapshot.index.0),
            term: Some(snapshot.term.0),
        }),
    }
}

/// A snapshot from the wire or a `.snap` file.
pub fn snapshot_from_proto(snapshot: raftpb::Snapshot) -> Snapshot {
    let metadata = snapshot.metadata.unwrap_or_default();
    Snapshot {
        index: Index(metadata.index.unwrap_or(0)),
        term: Term(metadata.term.unwrap_or(0)),
        conf_state: conf_state_from_proto(&metadata.conf_state.unwrap_or_default()),
        data: snapshot.data.unwrap_or_default(),
    }
}

/// The log's note of a snapshot.
pub(crate) fn snapshot_record_to_proto(record: &SnapshotRecord) -> walpb::Snapshot {
    walpb::Snapshot {
        index: Some(record.index.0),
        term: Some(record.term.0),
        conf_state: record.conf_state.as_ref().map(conf_state_to_proto),
    }
}

/// A message for a peer. Payloads are shared, not copied.
pub fn message_to_proto(message: &Message) -> raftpb::Message {
    raftpb::Message {
        r#type: Some(message.kind as i32),
        to: Some(message.to.0),
        from: Some(message.from.0),
        term: Some(message.term.0),
        log_term: Some(message.log_term.0),
        index: Some(message.index.0),
        entries: message.entries.iter().map(entry_to_proto).collect(),
        commit: Some(message.commit.0),
        vote: None,
        snapshot: message.snapshot.as_deref().map(snapshot_to_proto),
        reject: Some(message.reject),
        reject_hint: Some(message.reject_hint.0),
        context: some_bytes(&message.context),
        responses: Vec::new(),
    }
}

/// A message from a peer. The empty snapshot that etcd 3.5 puts into every message is no snapshot.
pub fn message_from_proto(message: raftpb::Message) -> Result<Message, DecodeError> {
    let number = message.r#type.unwrap_or(0);
    let kind =
        MessageKind::from_number(number).ok_or(DecodeError::Unknown { what: "message type", number })?;
    let snapshot = message.snapshot.map(snapshot_from_proto).filter(|snapshot| snapshot.index != Index(0));
    Ok(Message {
        kind,
        to: id(message.to),
        from: id(message.from),
        term: Term(message.term.unwrap_or(0)),
        log_term: Term(message.log_term.unwrap_or(0)),
        index: Index(message.index.unwrap_or(0)),
        entries: message.entries.into_iter().map(entry_from_proto).collect::<Result<_, _>>()?,
        commit: Index(message.commit.unwrap_or(0)),
        snapshot: snapshot.map(Box::new),
        reject: message.reject.unwrap_or(false),
        reject_hint: Index(message.reject_hint.unwrap_or(0)),
        context: message.context.unwrap_or_default(),
    })
}

/// Encodes a message for a peer.
pub fn encode_message(message: &Message) -> Vec<u8> {
    message_to_proto(message).encode_to_vec()
}

/// Decodes a message from a peer; payloads stay slices of `bytes`.
pub fn decode_message(bytes: Bytes) -> Result<Message, DecodeError> {
    message_from_proto(raftpb::Message::decode(bytes)?)
}

fn conf_change_kind(number: Option<i32>) -> Result<ConfChangeKind, DecodeError> {
    match number.unwrap_or(0) {
        0 => Ok(ConfChangeKind::AddNode),
        1 => Ok(ConfChangeKind::RemoveNode),
        2 => Ok(ConfChangeKind::UpdateNode),
        3 => Ok(ConfChangeKind::AddLearnerNode),
        number => Err(DecodeError::Unknown { what: "conf change type", number }),
    }
}

/// The payload of an [`EntryKind::ConfChange`] entry.
pub fn encode_conf_change(change: &ConfChange) -> Bytes {
    let change = raftpb::ConfChange {
        id: Some(change.id),
        r#type: Some(change.kind as i32),
        node_id: Some(change.node_id.0),
        context: some_bytes(&change.context),
    };
    change.encode_to_vec().into()
}

/// From the payload of an [`EntryKind::ConfChange`] entry.
pub fn decode_conf_change(bytes: Bytes) -> Result<ConfChange, DecodeError> {
    let change = raftpb::ConfChange::decode(bytes)?;
    Ok(ConfChange {
        id: change.id.unwrap_or(0),
        kind: conf_change_kind(change.r#type)?,
        node_id: id(change.node_id),
        context: change.context.unwrap_or_default(),
    })
}

/// The payload of an [`EntryKind::ConfChangeV2`] entry.
pub fn encode_conf_change_v2(change: &ConfChangeV2) -> Bytes {
    let single = |(kind, node): &(ConfChangeKind, MemberId)| raftpb::ConfChangeSingle {
        r#type: Some(*kind as i32),
        node_id: Some(node.0),
    };
    let change = raftpb::ConfChangeV2 {
        transition: Some(change.transition as i32),
        changes: change.changes.iter().map(single).collect(),
        context: some_bytes(&change.context),
    };
    change.encode_to_vec().into()
}

/// From the payload of an [`EntryKind::ConfChangeV2`] entry.
pub fn decode_conf_change_v2(bytes: Bytes) -> Result<ConfChangeV2, DecodeError> {
    let change = raftpb::ConfChangeV2::decode(bytes)?;
    let transition = match change.transition.unwrap_or(0) {
        0 => Transition::Auto,
        1 => Transition::JointImplicit,
        2 => Transition::JointExplicit,
        number => return Err(DecodeError::Unknown { what: "conf change transition", number }),
    };
    let single =
        |change: &raftpb::ConfChangeSingle| Ok((conf_change_kind(change.r#type)?, id(change.node_id)));
    Ok(ConfChangeV2 {
        transition,
        changes: change.changes.iter().map(single).collect::<Result<_, DecodeError>>()?,
        context: change.context.unwrap_or_default(),
    })
}
