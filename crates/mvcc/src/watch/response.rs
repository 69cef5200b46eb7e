//! What a stream is to send, short of encoding it.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use super::WatchId;
use crate::Event;

/// One response of a watch stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchOutput {
    /// The watcher concerned; -1 when it was refused and in the answer to a stream's progress request.
    pub watch_id: WatchId,
    /// The header's revision.
    pub revision: i64,
    /// What it says.
    pub kind: Kind,
}

/// What a response says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The watcher exists from now on.
    Created,
    /// The watcher was not created: `created` and `canceled` are both set.
    Refused(Refusal),
    /// Changes, in order, never empty; shared among watchers that get the same ones.
    Events {
        /// The changes.
        events: Arc<[Event]>,
        /// The watcher allows this response to be split: see [`split`].
        fragment: bool,
    },
    /// All changes up to the header's revision have been sent.
    Progress,
    /// The client's cancel was carried out.
    Canceled,
    /// The watcher is gone: what it wanted next has been compacted.
    Compacted {
        /// The oldest revision a new watcher can start at.
        compact_revision: i64,
    },
}

/// Why a watcher was not created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The range's end does not come after its key.
    EmptyRange,
    /// The stream has a watcher of this id.
    DuplicateId,
    /// The start revision is negative.
    NegativeStart,
    /// The caller's reason, such as a missing permission.
    Other(Cow<'static, str>),
}

impl Refusal {
    /// The text of the response's `cancel_reason`.
    pub fn reason(&self) -> &str {
        match self {
            Refusal::EmptyRange => "mvcc: watcher range is empty",
            Refusal::DuplicateId => "mvcc: duplicate watch ID provided on the WatchStream",
            Refusal::NegativeStart => "etcdserver: mvcc: required revision has been compacted",
            Refusal::Other(reason) => reason,
        }
    }
}

/// Cuts the events of a response into fragments, each as many as stay below `limit_bytes` once encoded but at least
/// one. `overhead_bytes` is what the response encodes to without events. One range means: no need to split.
pub fn split(events: &[Event], overhead_bytes: usize, limit_bytes: usize) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut size = overhead_bytes;
    for (place, event) in events.iter().enumerate() {
        let length = event.encoded_len();
        let field = 1 + crate::event::varint_len(length as u64) + length;
        if place > start && size + field >= limit_bytes {
            parts.push(start..place);
            start = place;
            size = overhead_bytes;
        }
        size += field;
    }
    parts.push(start..events.len());
    parts
}
