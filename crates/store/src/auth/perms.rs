//! What a user may touch: unions of key intervals. formats 9.10.

use bytes::Bytes;
use proto::authpb::{Permission, permission};

/// Half-open key interval as requests spell it: `end` empty is the single key, "\0" is everything from `key` on.
#[derive(Debug, Clone, Copy)]
pub struct KeyRange<'a> {
    /// First key.
    pub key: &'a [u8],
    /// First key after the range, or one of the two special forms.
    pub end: &'a [u8],
}

impl<'a> KeyRange<'a> {
    /// The single key.
    #[must_use]
    pub fn point(key: &'a [u8]) -> Self {
        Self { key, end: b"" }
    }

    /// From request fields.
    #[must_use]
    pub fn new(key: &'a [u8], end: &'a [u8]) -> Self {
        Self { key, end }
    }
}

/// Disjoint intervals in ascending order; `None` as end means open ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Intervals(Vec<(Bytes, Option<Bytes>)>);

impl Intervals {
    fn from_pieces(mut pieces: Vec<(Bytes, Option<Bytes>)>) -> Self {
        pieces.sort_by(|a, b| a.0.cmp(&b.0));
        let mut union: Vec<(Bytes, Option<Bytes>)> = Vec::with_capacity(pieces.len());
        for (from, end) in pieces {
            match union.last_mut() {
                Some((_, None)) => break,
                Some((_, Some(last))) if *last >= from => {
                    if end.as_ref().is_none_or(|end| end > last) {
                        *union.last_mut().map(|l| &mut l.1).expect("just seen") = end;
                    }
                }
                _ => union.push((from, end)),
            }
        }
        Self(union)
    }

    /// True if the union covers the whole range.
    #[must_use]
    pub fn cover(&self, range: KeyRange<'_>) -> bool {
        let after = self.0.partition_point(|(from, _)| from.as_ref() <= range.key);
        let Some((from, end)) = after.checked_sub(1).and_then(|i| self.0.get(i)) else { return false };
        let Some(end) = end else { return true };
        let holds_start = end.as_ref() > range.key;
        match range.end {
            b"" => holds_start,
            b"\0" => false,
            // A range that is empty or upside down names no key, but must still lie inside.
            until => holds_start && end.as_ref() >= until && from.as_ref() < until,
        }
    }
}

/// Read and write intervals of one user, all roles together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserPermissions {
    /// What the user may read.
    pub read: Intervals,
    /// What the user may write.
    pub write: Intervals,
}

impl UserPermissions {
    /// Unites permissions.
    #[must_use]
    pub fn unite<'a>(permissions: impl Iterator<Item = &'a Permission>) -> Self {
        let (mut read, mut write) = (Vec::new(), Vec::new());
        for permission in permissions {
            let piece = interval(permission);
            match permission::Type::try_from(permission.perm_type) {
                Ok(permission::Type::Read) => read.push(piece),
                Ok(permission::Type::Write) => write.push(piece),
                Ok(permission::Type::Readwrite) => {
                    read.push(piece.clone());
                    write.push(piece);
                }
                Err(_) => {}
            }
        }
        Self { read: Intervals::from_pieces(read), write: Intervals::from_pieces(write) }
    }
}

/// True if a permission's range can be granted.
#[must_use]
pub fn is_grantable(permission: &Permission) -> bool {
    let (key, end) = (&permission.key[..], &permission.range_end[..]);
    !key.is_empty() && (end.is_empty() || end == b"\0" || key < end)
}

fn interval(permission: &Permission) -> (Bytes, Option<Bytes>) {
    let end = match &permission.range_end[..] {
        b"\0" => None,
        b"" => {
            let mut next = Vec::with_capacity(permission.key.len() + 1);
            next.extend_from_slice(&permission.key);
            next.push(0);
            Some(Bytes::from(next))
        }
        _ => Some(permission.range_end.clone()),
    };
    (permission.key.clone(), end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permission(kind: permission::Type, key: &'static str, end: &'static str) -> Permission {
        Permission { perm_type: kind.into(), key: key.into(), range_end: end.into() }
    }

    #[test]
    fn ranges_are_allowed_only_where_the_union_of_intervals_covers_them() {
        use permission::Type::{Read, Readwrite, Write};
        let held = [
            permission(Read, "a", "c"),
            permission(Readwrite, "c", "f"),
            permission(Read, "k", ""),
            permission(Write, "w", "\0"),
            permission(Read, "x", "z"),
            permission(Read, "y", "ya"),
        ];
        let user = UserPermissions::unite(held.iter());
        let table = [
            // key, end, may read, may write
            ("a", "", true, false),
            ("a", "c", true, false),
            ("a", "f", true, false),
            ("a", "g", false, false),
            ("b", "d", true, false),
            ("c", "f", true, true),
            ("e", "", true, true),
            ("f", "", false, false),
            ("k", "", true, false),
            ("k", "k\0", true, false),
            ("k", "k\0\0", false, false),
            ("ka", "", false, false),
            ("w", "\0", false, true),
            ("wa", "wb", false, true),
            ("v", "\0", false, false),
            ("x", "\0", false, true),
            ("x", "z", true, true),
            ("yb", "z", true, true),
            ("", "", false, false),
            // Upside down and empty ranges must lie within.
            ("d", "b", true, false),
            ("d", "a", false, false),
            ("b", "b", true, false),
            ("a", "a", false, false),
        ];
        for (key, end, read, write) in table {
            let range = KeyRange::new(key.as_bytes(), end.as_bytes());
            assert_eq!(user.read.cover(range), read, "read {key:?} {end:?}");
            assert_eq!(user.write.cover(range), write, "write {key:?} {end:?}");
        }
    }

    #[test]
    fn only_sensible_ranges_can_be_granted() {
        use permission::Type::Read;
        let table = [
            ("a", "", true),
            ("a", "b", true),
            ("a", "\0", true),
            ("", "", false),
            ("", "b", false),
            ("b", "a", false),
            ("a", "a", false),
        ];
        for (key, end, ok) in table {
            assert_eq!(is_grantable(&permission(Read, key, end)), ok, "{key:?} {end:?}");
        }
    }
}
