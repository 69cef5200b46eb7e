//! The two conf change payloads as bytes: raftpb.ConfChange and raftpb.ConfChangeV2 (formats 0).
//!
//! Consensus itself must write one (to propose) and look into the other (to tell whether it leaves a joint
//! configuration), so the few lines of protobuf are here rather than behind a dependency.

use bytes::Bytes;

use crate::{ConfChange, ConfChangeKind, ConfChangeV2, MemberId, Transition};

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

impl ConfChangeKind {
    /// The kind with this number on the wire, if there is one.
    #[must_use]
    pub fn from_number(number: u64) -> Option<ConfChangeKind> {
        use ConfChangeKind::{AddLearnerNode, AddNode, RemoveNode, UpdateNode};
        [AddNode, RemoveNode, UpdateNode, AddLearnerNode].get(usize::try_from(number).ok()?).copied()
    }
}

impl ConfChange {
    /// As raftpb.ConfChange: {1: id, 2: type, 3: node_id, 4: context}, zeros written too.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(32 + self.context.len());
        put_number(&mut out, 1, self.id);
        put_number(&mut out, 2, self.kind as u64);
        put_number(&mut out, 3, self.node_id.0);
        put_bytes(&mut out, 4, &self.context);
        out.into()
    }

    /// Reads raftpb.ConfChange; absent fields are zero, unknown ones are skipped. `None` if damaged.
    #[must_use]
    pub fn decode(data: &Bytes) -> Option<ConfChange> {
        let mut change = ConfChange {
            id: 0,
            kind: ConfChangeKind::AddNode,
            node_id: MemberId::NONE,
            context: Bytes::new(),
        };
        each_field(data, |number, value| {
            match (number, value) {
                (1, Value::Number(id)) => change.id = id,
                (2, Value::Number(kind)) => change.kind = ConfChangeKind::from_number(kind)?,
                (3, Value::Number(id)) => change.node_id = MemberId(id),
                (4, Value::Bytes(context)) => change.context = data.slice_ref(context),
                _ => {}
            }
            Some(())
        })?;
        Some(change)
    }
}

impl ConfChangeV2 {
    /// As raftpb.ConfChangeV2: {1: transition, 2: changes {1: type, 2: node_id}, 3: context}. Empty if nothing is set.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        if self.transition != Transition::Auto {
            put_number(&mut out, 1, self.transition as u64);
        }
        for (kind, id) in &self.changes {
            let mut one = Vec::with_capacity(12);
            put_number(&mut one, 1, *kind as u64);
            put_number(&mut one, 2, id.0);
            put_bytes(&mut out, 2, &one);
        }
        if !self.context.is_empty() {
            put_bytes(&mut out, 3, &self.context);
        }
        out.into()
    }

    /// Reads raftpb.ConfChangeV2; absent fields are zero, unknown ones are skipped. `None` if damaged.
    #[must_use]
    pub fn decode(data: &Bytes) -> Option<ConfChangeV2> {
        let mut change = ConfChangeV2::default();
        each_field(data, |number, value| {
            match (number, value) {
                (1, Value::Number(0)) => change.transition = Transition::Auto,
                (1, Value::Number(1)) => change.transition = Transition::JointImplicit,
                (1, Value::Number(2)) => change.transition = Transition::JointExplicit,
                (1, _) => return None,
                (2, Value::Bytes(one)) => change.changes.push(decode_single(one)?),
                (3, Value::Bytes(context)) => change.context = data.slice_ref(context),
                _ => {}
            }
            Some(())
        })?;
        Some(change)
    }
}

fn decode_single(data: &[u8]) -> Option<(ConfChangeKind, MemberId)> {
    let (mut kind, mut id) = (ConfChangeKind::AddNode, MemberId::NONE);
    each_field(data, |number, value| {
        match (number, value) {
            (1, Value::Number(number)) => kind = ConfChangeKind::from_number(number)?,
            (2, Value::Number(number)) => id = MemberId(number),
            _ => {}
        }
        Some(())
    })?;
    Some((kind, id))
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Calls `take` for every field of a message. `None` if the bytes are no message or `take` says so.
fn each_field<'a>(mut data: &'a [u8], mut take: impl FnMut(u64, Value<'a>) -> Option<()>) -> Option<()> {
    while !data.is_empty() {
        let key = get_varint(&mut data)?;
        match key & 7 {
            VARINT => take(key >> 3, Value::Number(get_varint(&mut data)?))?,
            BYTES => {
                let length = usize::try_from(get_varint(&mut data)?).ok()?;
                take(key >> 3, Value::Bytes(data.split_off(..length)?))?;
            }
            FIXED64 => drop(data.split_off(..8)?),
            FIXED32 => drop(data.split_off(..4)?),
            _ => return None,
        }
    }
    Some(())
}

fn get_varint(data: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *data.split_off_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_number(out: &mut Vec<u8>, field: u64, value: u64) {
    put_varint(out, field << 3 | VARINT);
    put_varint(out, value);
}

fn put_bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    put_varint(out, field << 3 | BYTES);
    put_varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conf_change_survives_the_wire_and_has_the_known_bytes() {
        let change = ConfChange {
            id: 300,
            kind: ConfChangeKind::AddLearnerNode,
            node_id: MemberId(u64::MAX),
            context: Bytes::from_static(b"{}"),
        };
        let bytes = change.encode();
        assert_eq!(bytes[..6], [0x08, 0xac, 0x02, 0x10, 3, 0x18]);
        assert_eq!(ConfChange::decode(&bytes), Some(change));
        for cut in 1..bytes.len() {
            let _ = ConfChange::decode(&bytes.slice(..cut));
        }
        assert_eq!(ConfChange::decode(&Bytes::from_static(&[0x22, 9, 1])), None);
        assert_eq!(ConfChange::decode(&Bytes::from_static(&[0x10, 7])), None, "no such kind");
    }

    #[test]
    fn an_empty_conf_change_v2_is_no_bytes_and_leaves_a_joint_configuration() {
        assert!(ConfChangeV2::default().encode().is_empty());
        assert!(ConfChangeV2::decode(&Bytes::new()).is_some_and(|change| change.leaves_joint()));
        let change = ConfChangeV2 {
            transition: Transition::JointExplicit,
            changes: vec![
                (ConfChangeKind::RemoveNode, MemberId(7)),
                (ConfChangeKind::AddNode, MemberId(0x1234_5678)),
            ],
            context: Bytes::from_static(b"why"),
        };
        assert_eq!(ConfChangeV2::decode(&change.encode()), Some(change));
    }
}
