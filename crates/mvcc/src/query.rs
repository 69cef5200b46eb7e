//! What a range asks for and what it answers (formats 9.4).

use bytes::Bytes;

/// Direction of a sorted answer; [`SortOrder::None`] is ascending, but see [`RangeQuery::limit`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortOrder {
    /// Default order.
    #[default]
    None,
    /// Smallest first.
    Ascend,
    /// Greatest first.
    Descend,
}

/// What a sorted answer is sorted by; ties stay in key order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortTarget {
    /// Bytewise by key.
    #[default]
    Key,
    /// By number of puts since the key was created.
    Version,
    /// By create revision.
    Create,
    /// By mod revision.
    Mod,
    /// Bytewise by value.
    Value,
}

/// A range over keys at a revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeQuery {
    /// First key.
    pub key: Bytes,
    /// First key behind the range; empty: only `key`; one zero byte: all keys from `key` on.
    pub end: Bytes,
    /// Revision to read at; 0 or less: the current one.
    pub revision: i64,
    /// Most records wanted; 0 or less: all. It cuts after filters and sorting; but without filters and with
    /// [`SortOrder::None`] it cuts in key order first, whatever the target is (etcd's quirk).
    pub limit: i64,
    /// Direction.
    pub sort_order: SortOrder,
    /// Sorted by.
    pub sort_target: SortTarget,
    /// Answer records without value (and, unless sorted by value, without lease).
    pub keys_only: bool,
    /// Answer only the count.
    pub count_only: bool,
    /// Lowest mod revision wanted; 0: any.
    pub min_mod_revision: i64,
    /// Highest mod revision wanted; 0: any.
    pub max_mod_revision: i64,
    /// Lowest create revision wanted; 0: any.
    pub min_create_revision: i64,
    /// Highest create revision wanted; 0: any.
    pub max_create_revision: i64,
    /// The caller does not need `count`: stop behind the limit. For pages of a streamed range.
    pub skip_count: bool,
}

/// The answer to a [`RangeQuery`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeResult {
    /// Encoded `mvccpb.KeyValue`s, as stored (re-encoded only for `keys_only`).
    pub kvs: Vec<Bytes>,
    /// Keys in the range at that revision, whatever limit and filters say. 0 with `skip_count`.
    pub count: i64,
    /// There were more than `limit`.
    pub more: bool,
    /// The current revision when the read began.
    pub revision: i64,
}

impl RangeQuery {
    /// A single key at the current revision.
    pub fn key(key: impl Into<Bytes>) -> RangeQuery {
        RangeQuery { key: key.into(), ..RangeQuery::default() }
    }

    /// All keys from `key` up to, but without, `end`, at the current revision.
    pub fn range(key: impl Into<Bytes>, end: impl Into<Bytes>) -> RangeQuery {
        RangeQuery { key: key.into(), end: end.into(), ..RangeQuery::default() }
    }

    pub(crate) fn filtered(&self) -> bool {
        [self.min_mod_revision, self.max_mod_revision, self.min_create_revision, self.max_create_revision]
            .iter()
            .any(|bound| *bound != 0)
    }

    /// Whether a key with these revisions passes the filters.
    pub(crate) fn passes(&self, create: i64, modified: i64) -> bool {
        let within = |value, min, max| (min == 0 || value >= min) && (max == 0 || value <= max);
        within(modified, self.min_mod_revision, self.max_mod_revision)
            && within(create, self.min_create_revision, self.max_create_revision)
    }
}
