//! Stored records: the encoded `mvccpb.KeyValue` under each revision.

use bytes::Bytes;
use prost::Message;
use prost::encoding::{
    DecodeContext, WireType, decode_key as decode_key_of_field, decode_varint,
    encode_key as encode_key_of_field, encode_varint, skip_field,
};
use proto::mvccpb::KeyValue;

use crate::revision::REVISION_LEN;
use crate::{Error, Event, EventKind, RecordKey, Revision};

/// Reads a stored record; `revision` only names it in the error.
pub(crate) fn decode(record: &Bytes, revision: Revision) -> Result<KeyValue, Error> {
    KeyValue::decode(record.clone())
        .map_err(|error| Error::Damaged(format!("record of revision {revision} does not decode: {error}")))
}

/// Reads a key of bucket `key`.
pub(crate) fn decode_key(key: &[u8]) -> Result<RecordKey, Error> {
    RecordKey::from_bytes(key)
        .ok_or_else(|| Error::Damaged(format!("bucket key holds a malformed revision {key:02x?}")))
}

/// A record's length as the index keeps it: 0, which is not known, if it is too long.
pub(crate) fn len(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(0)
}

/// The record of a put.
pub(crate) fn of_put(kv: &KeyValue) -> Bytes {
    kv.encode_to_vec().into()
}

/// About what the record of a delete takes beside the key: the bucket key, a tag and a length.
pub(crate) const TOMBSTONE_OVERHEAD: usize = REVISION_LEN + 3;

/// A delete, all of it in one piece of memory: there may be many.
pub(crate) struct Delete {
    /// Of bucket `key`.
    pub stored_key: Bytes,
    /// The record as stored: only the key; its revision is the bucket key's.
    pub stored: Bytes,
    /// The record as watchers receive it: the key and the revision behind it.
    pub event: Bytes,
    pub key: Bytes,
}

impl Delete {
    /// What watchers are told of it.
    pub fn event(self, mod_revision: i64) -> Event {
        Event {
            kind: EventKind::Delete,
            key: self.key,
            record: self.event,
            create_revision: 0,
            mod_revision,
            prev_kv: None,
        }
    }
}

pub(crate) fn of_delete(key: &[u8], revision: Revision) -> Delete {
    const HEADERS: usize = 32;
    let mut all = Vec::with_capacity(HEADERS + REVISION_LEN + key.len());
    all.extend_from_slice(&revision.to_tombstone_bytes());
    let record = all.len();
    if !key.is_empty() {
        encode_key_of_field(1, WireType::LengthDelimited, &mut all);
        encode_varint(key.len() as u64, &mut all);
        all.extend_from_slice(key);
    }
    let stored_end = all.len();
    encode_key_of_field(3, WireType::Varint, &mut all);
    encode_varint(revision.main as u64, &mut all);
    let all = Bytes::from(all);
    Delete {
        stored_key: all.slice(..record),
        stored: all.slice(record..stored_end),
        event: all.slice(record..),
        key: all.slice(stored_end - key.len()..stored_end),
    }
}

/// The record of a delete as watchers receive it.
pub(crate) fn of_delete_event(key: Bytes, mod_revision: i64) -> Bytes {
    of_put(&KeyValue { key, mod_revision, ..KeyValue::default() })
}

/// The least key greater than `key`: where the next page of a range begins.
pub fn key_after(key: &[u8]) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next.into()
}

/// What the index has to know of a stored record.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields<'a> {
    pub key: &'a [u8],
    pub create_revision: i64,
    pub version: i64,
    pub lease: i64,
}

/// Reads the fields of a stored record without taking hold of its bytes; `revision` only names it in the error.
pub(crate) fn fields(record: &[u8], revision: Revision) -> Result<Fields<'_>, Error> {
    read_fields(record)
        .ok_or_else(|| Error::Damaged(format!("record of revision {revision} does not decode")))
}

fn read_fields(mut rest: &[u8]) -> Option<Fields<'_>> {
    let mut fields = Fields::default();
    while !rest.is_empty() {
        let (tag, wire_type) = decode_key_of_field(&mut rest).ok()?;
        match (tag, wire_type) {
            (1 | 5, WireType::LengthDelimited) => {
                let len = usize::try_from(decode_varint(&mut rest).ok()?).ok()?;
                let (bytes, behind) = rest.split_at_checked(len)?;
                rest = behind;
                if tag == 1 {
                    fields.key = bytes;
                }
            }
            (2 | 3 | 4 | 6, WireType::Varint) => {
                let number = decode_varint(&mut rest).ok()? as i64;
                match tag {
                    2 => fields.create_revision = number,
                    4 => fields.version = number,
                    6 => fields.lease = number,
                    _ => {}
                }
            }
            (1..=6, _) => return None,
            _ => skip_field(wire_type, tag, &mut rest, DecodeContext::default()).ok()?,
        }
    }
    Some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delete_is_what_the_encoder_makes_of_it() {
        for (key, main) in [(&b"key"[..], 300), (&[b'k'; 200], 1 << 40), (b"", 1)] {
            let revision = Revision::new(main, 7);
            let delete = of_delete(key, revision);
            let bytes = Bytes::copy_from_slice(key);
            assert_eq!(delete.stored, of_put(&KeyValue { key: bytes.clone(), ..KeyValue::default() }));
            assert_eq!(delete.event, of_delete_event(bytes.clone(), main));
            assert_eq!((delete.key, &delete.stored_key[..]), (bytes, &revision.to_tombstone_bytes()[..]));
        }
    }

    #[test]
    fn fields_are_read_as_the_decoder_reads_them() {
        let whole = KeyValue {
            key: Bytes::from_static(b"key"),
            create_revision: 300,
            mod_revision: 400,
            version: -1,
            value: Bytes::from(vec![7; 200]),
            lease: i64::MAX,
        };
        let mut record = whole.encode_to_vec();
        // A field of its own and one that comes twice.
        record.extend([0x5a, 2, 1, 2, 0x20, 9]);
        for len in 0..=record.len() {
            let cut = Bytes::copy_from_slice(&record[..len]);
            let expected = decode(&cut, Revision::default()).ok();
            let read = fields(&cut, Revision::default()).ok();
            let same = expected.as_ref().map(|kv| Fields {
                key: &kv.key,
                create_revision: kv.create_revision,
                version: kv.version,
                lease: kv.lease,
            });
            assert_eq!(read, same, "of {len} bytes");
        }
        assert!(fields(&[0x0a, 1], Revision::default()).is_err());
        assert!(fields(&[0x08, 1], Revision::default()).is_err(), "a key that is a number");
    }
}
