//! One watcher: what it wants and how far it is.

use bytes::Bytes;

use crate::index::KeyRange;
use crate::{Event, EventKind};

/// A watch stream, named by its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// A watcher's number within its stream, as the client sees it.
pub type WatchId = i64;

/// What a client asks for when it creates a watcher.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchSpec {
    /// The id wanted; 0: the next free one.
    pub id: WatchId,
    /// First key; empty: the least key there is.
    pub key: Bytes,
    /// First key behind the range; empty: only `key`; one zero byte: all keys from `key` on.
    pub end: Bytes,
    /// First revision wanted; 0: the next one to come.
    pub start_revision: i64,
    /// Leave out puts.
    pub no_put: bool,
    /// Leave out deletes.
    pub no_delete: bool,
    /// Send along each key's record before the change.
    pub prev_kv: bool,
    /// Big responses may be split.
    pub fragment: bool,
    /// Send an empty response now and then while nothing happens.
    pub progress_notify: bool,
}

impl WatchSpec {
    pub(super) fn wish(&self) -> Wish {
        let WatchSpec { no_put, no_delete, prev_kv, fragment, progress_notify, .. } = *self;
        Wish { no_put, no_delete, prev_kv, fragment, progress_notify }
    }

    /// The watched keys; none if there can be none.
    pub(super) fn range(&self) -> Option<KeyRange> {
        let key = if self.key.is_empty() { Bytes::from_static(&[0]) } else { self.key.clone() };
        let range = KeyRange::new(key, self.end.clone());
        match &range {
            KeyRange::Between(key, end) if key >= end => None,
            _ => Some(range),
        }
    }
}

/// A watcher's number within the hub.
pub(super) type Serial = u64;

/// Small: an event may be for all watchers there are, and each of them is looked at.
#[derive(Debug)]
pub(super) struct Watcher {
    pub stream: StreamId,
    pub id: WatchId,
    pub state: State,
    /// No event was sent since the last periodic progress notice.
    pub quiet: bool,
    pub wish: Wish,
    pub start_revision: i64,
    pub range: Box<KeyRange>,
}

/// What a client wants of the events in the range; as in [`WatchSpec`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    pub no_put: bool,
    pub no_delete: bool,
    pub prev_kv: bool,
    pub fragment: bool,
    pub progress_notify: bool,
}

/// How far a watcher is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Gets events as they are written, if they are not below this revision.
    Synced {
        /// Lowest revision wanted.
        from: i64,
    },
    /// Must read history, from this revision on.
    Lagging {
        /// Lowest revision not yet in the outbox.
        next: i64,
        /// The outbox is full; reading goes on when there is room.
        blocked: bool,
    },
}

impl Watcher {
    /// Whether the filters let `event` through.
    pub fn wants(&self, event: &Event) -> bool {
        match event.kind {
            EventKind::Put => !self.wish.no_put,
            EventKind::Delete => !self.wish.no_delete,
        }
    }
}
