//! Stored records: the encoded `mvccpb.KeyValue` under each revision.

use bytes::Bytes;
use prost::Message;
use proto::mvccpb::KeyValue;

use crate::{Error, RecordKey, Revision};

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

/// The record of a put.
pub(crate) fn of_put(kv: &KeyValue) -> Bytes {
    kv.encode_to_vec().into()
}

/// The record of a delete as stored: only the key; its revision is the bucket key's.
pub(crate) fn of_tombstone(key: Bytes) -> Bytes {
    of_put(&KeyValue { key, ..KeyValue::default() })
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
