//! What a write txn changed, in the form watchers receive it.

use std::sync::{Arc, OnceLock};

use bytes::{BufMut, Bytes};

use crate::deletes::Deletes;

/// Whether a key was written or deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// The key got a new version.
    Put,
    /// The key was deleted.
    Delete,
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Put or delete.
    pub kind: EventKind,
    /// The changed key.
    pub key: Bytes,
    /// The encoded `mvccpb.KeyValue` that goes into `Event.kv`: of a put the stored record itself, of a delete only
    /// key and mod_revision.
    pub record: Bytes,
    /// Revision that created the key; 0 for a delete.
    pub create_revision: i64,
    /// Revision of this change.
    pub mod_revision: i64,
    /// The encoded `mvccpb.KeyValue` before the change; only in events for watchers that asked for it.
    pub prev_kv: Option<Bytes>,
}

/// All changes of one revision, in the order they were made; at least one.
#[derive(Clone, Debug)]
pub struct EventBatch {
    /// The revision that the changes made.
    pub revision: i64,
    events: Vec<Event>,
    deletes: Vec<(usize, Arc<Deletes>)>,
    /// With the deletes, once somebody has asked.
    all: OnceLock<Vec<Event>>,
}

impl EventBatch {
    /// Of events of that revision, with many deletes in front of those that have these places.
    pub(crate) fn new(revision: i64, events: Vec<Event>, deletes: Vec<(usize, Arc<Deletes>)>) -> EventBatch {
        EventBatch { revision, events, deletes, all: OnceLock::new() }
    }

    /// Of events of that revision.
    pub fn of(revision: i64, events: Vec<Event>) -> EventBatch {
        EventBatch::new(revision, events, Vec::new())
    }

    /// Everything that was changed. Those of a large delete are made when this is first asked for.
    pub fn events(&self) -> &[Event] {
        if self.deletes.is_empty() { &self.events } else { self.all.get_or_init(|| self.unfold()) }
    }

    /// How many changes.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.events.len() + self.deletes.iter().map(|(_, deletes)| deletes.len()).sum::<usize>()
    }

    /// The puts among them.
    pub fn puts(&self) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(|event| event.kind == EventKind::Put)
    }

    /// Shows the key of each change.
    pub(crate) fn for_each_key(&self, mut each: impl FnMut(&[u8])) {
        self.walk(
            &mut each,
            |each, events| events.iter().for_each(|event| each(&event.key)),
            |each, deletes| deletes.keys().for_each(each),
        );
    }

    fn unfold(&self) -> Vec<Event> {
        let mut all = Vec::with_capacity(self.len());
        let extend = |all: &mut Vec<Event>, events: &[Event]| all.extend_from_slice(events);
        self.walk(&mut all, extend, |all, deletes| all.extend(deletes.events()));
        all
    }

    /// Shows `to` all changes in order: events, or else a large delete.
    fn walk<T>(&self, to: &mut T, some: impl Fn(&mut T, &[Event]), many: impl Fn(&mut T, &Deletes)) {
        let mut from = 0;
        for (place, deletes) in &self.deletes {
            some(to, &self.events[from..*place]);
            many(to, deletes);
            from = *place;
        }
        some(to, &self.events[from..]);
    }
}

impl Event {
    /// Length of this event as an encoded `mvccpb.Event`.
    pub fn encoded_len(&self) -> usize {
        let kind = if self.kind == EventKind::Delete { 2 } else { 0 };
        let field = |bytes: &Bytes| 1 + varint_len(bytes.len() as u64) + bytes.len();
        kind + field(&self.record) + self.prev_kv.as_ref().map_or(0, field)
    }

    /// Appends this event as an encoded `mvccpb.Event`.
    pub fn encode(&self, out: &mut impl BufMut) {
        self.encode_into(out, |out, record| out.put_slice(record));
    }

    /// The same, but `put` decides how a record gets into `out`.
    pub(crate) fn encode_into<B: BufMut>(&self, out: &mut B, mut put: impl FnMut(&mut B, &Bytes)) {
        if self.kind == EventKind::Delete {
            out.put_slice(&[0x08, 0x01]);
        }
        let mut field = |tag: u8, bytes: &Bytes| {
            out.put_u8(tag);
            prost::encoding::encode_varint(bytes.len() as u64, out);
            put(out, bytes);
        };
        field(0x12, &self.record);
        if let Some(prev) = &self.prev_kv {
            field(0x1a, prev);
        }
    }
}

pub(crate) fn varint_len(value: u64) -> usize {
    prost::encoding::encoded_len_varint(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;
    use proto::mvccpb;

    #[test]
    fn an_event_encodes_as_the_proto_message_does() {
        let record = mvccpb::KeyValue { key: "k".into(), mod_revision: 300, ..Default::default() };
        let before = mvccpb::KeyValue { key: "k".into(), value: vec![7; 200].into(), ..Default::default() };
        for (kind, number) in [(EventKind::Put, 0), (EventKind::Delete, 1)] {
            for prev_kv in [None, Some(before.clone())] {
                let event = Event {
                    kind,
                    key: "k".into(),
                    record: record.encode_to_vec().into(),
                    create_revision: 0,
                    mod_revision: 300,
                    prev_kv: prev_kv.as_ref().map(|kv| kv.encode_to_vec().into()),
                };
                let mut out = Vec::new();
                event.encode(&mut out);
                let expected = mvccpb::Event { r#type: number, kv: Some(record.clone()), prev_kv };
                assert_eq!(out, expected.encode_to_vec());
                assert_eq!(event.encoded_len(), out.len());
            }
        }
    }
}
