//! Key ranges as requests spell them: one key, a prefix, or everything from a key on.
use bytes::Bytes;
use proto::etcdserverpb::RangeRequest;

/// A request for one key.
#[must_use]
pub fn key(key: impl Into<Bytes>) -> RangeRequest {
    RangeRequest { key: key.into(), ..RangeRequest::default() }
}

/// `(key, range_end)` of all keys that start with `prefix`; an empty prefix means every key.
#[must_use]
pub fn prefix(prefix: &[u8]) -> (Bytes, Bytes) {
    if prefix.is_empty() {
        return from_key(prefix);
    }
    (Bytes::copy_from_slice(prefix), prefix_end(prefix))
}

/// `(key, range_end)` of all keys at or after `key`.
#[must_use]
pub fn from_key(key: &[u8]) -> (Bytes, Bytes) {
    let start = if key.is_empty() { Bytes::from_static(b"\0") } else { Bytes::copy_from_slice(key) };
    (start, Bytes::from_static(b"\0"))
}

/// First key after all keys that start with `prefix`; `\0` (no end) when there is none.
#[must_use]
pub fn prefix_end(prefix: &[u8]) -> Bytes {
    let Some(last) = prefix.iter().rposition(|byte| *byte < 0xff) else { return Bytes::from_static(b"\0") };
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    end.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_at_the_next_byte_string_that_does_not_start_with_it() {
        for (start, end) in
            [(&b"a"[..], &b"b"[..]), (b"a\xff\xff", b"b"), (b"\xff\xff", b"\0"), (b"az\x00", b"az\x01")]
        {
            assert_eq!(prefix_end(start), end, "{start:?}");
        }
    }

    #[test]
    fn an_empty_prefix_or_start_means_every_key() {
        let all = (Bytes::from_static(b"\0"), Bytes::from_static(b"\0"));
        assert_eq!(prefix(b""), all);
        assert_eq!(from_key(b""), all);
    }
}
