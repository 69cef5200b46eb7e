//! Small records of the buckets that are not the key bucket: numbers, texts, and what to say when they are damaged.

use std::fmt::Display;

use backend::Bucket;

use crate::Error;

pub(crate) fn damaged(bucket: Bucket, key: &[u8], what: impl Display) -> Error {
    Error::Damaged {
        bucket: bucket.name(),
        what: format!("key {:?}: {what}", key.escape_ascii().to_string()),
    }
}

pub(crate) fn be_u64(bucket: Bucket, key: &[u8], value: &[u8]) -> Result<u64, Error> {
    let bytes = value.try_into().map_err(|_| damaged(bucket, key, "not 8 bytes"))?;
    Ok(u64::from_be_bytes(bytes))
}

pub(crate) fn text(bucket: Bucket, key: &[u8]) -> Result<String, Error> {
    String::from_utf8(key.to_vec()).map_err(|_| damaged(bucket, key, "name is not UTF-8"))
}

/// An id as bucket keys and v2 paths show it: lower-case hex without leading zeros.
pub(crate) fn hex_id(id: u64) -> String {
    format!("{id:x}")
}

pub(crate) fn parse_hex_id(text: &str) -> Option<u64> {
    if text.starts_with('+') { None } else { u64::from_str_radix(text, 16).ok() }
}
