//! What a stream is to send, short of encoding it.

use std::borrow::Cow;
use std::ops::{Deref, Range};
use std::sync::{Arc, OnceLock};

use bytes::{BufMut, Bytes, BytesMut};

use super::WatchId;
use crate::Event;

/// Tag of `WatchResponse.events`: field 11, length-delimited.
const EVENTS_TAG: u8 = 0x5a;
/// A record at least this long is passed on as it is; a shorter one is cheaper to copy.
const SPLICE_BYTES: usize = 8 * 1024;

/// Watchers share an output until its responses cost so much together: what is taken of an outbox is bounded.
const SHARED_BYTES_MAX: usize = 16 * 1024;

/// A response of a watch stream, or several that differ only in the watcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchOutput {
    /// The watcher concerned; -1 when it was refused and in the answer to a stream's progress request.
    pub watch_id: WatchId,
    /// More watchers that get the same events: a response each, behind that of the first.
    pub others: Vec<WatchId>,
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
        events: Arc<Changes>,
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

/// The events of a response, with what they encode to. Encoded once, whoever asks first; all watchers that get the
/// same events send the same bytes.
#[derive(Debug)]
pub struct Changes {
    events: Vec<Event>,
    encoded_len: usize,
    encoded: OnceLock<Vec<Bytes>>,
}

impl Changes {
    /// Of these events, in this order.
    pub fn new(events: Vec<Event>) -> Changes {
        let encoded_len = events.iter().map(field_len).sum();
        Changes { events, encoded_len, encoded: OnceLock::new() }
    }

    /// Length of [`Changes::encoded`] in bytes.
    pub fn encoded_len(&self) -> usize {
        self.encoded_len
    }

    /// The encoded field `WatchResponse.events` of all of them, in pieces: long records stay where they are stored.
    pub fn encoded(&self) -> &[Bytes] {
        self.encoded.get_or_init(|| encode(&self.events))
    }
}

impl Deref for Changes {
    type Target = [Event];

    fn deref(&self) -> &[Event] {
        &self.events
    }
}

impl PartialEq for Changes {
    fn eq(&self, other: &Changes) -> bool {
        self.events == other.events
    }
}

impl Eq for Changes {}

/// The encoded field `WatchResponse.events` of these events, in pieces: long records stay where they are stored.
pub fn encode(events: &[Event]) -> Vec<Bytes> {
    let copied = |len: usize| if len < SPLICE_BYTES { len } else { 16 };
    let room =
        |e: &Event| 24 + copied(e.record.len()) + e.prev_kv.as_ref().map_or(0, |prev| copied(prev.len()));
    let mut out = BytesMut::with_capacity(events.iter().map(room).sum());
    let mut pieces = Vec::new();
    for event in events {
        out.put_u8(EVENTS_TAG);
        prost::encoding::encode_varint(event.encoded_len() as u64, &mut out);
        event.encode_into(&mut out, |out, record| {
            if record.len() < SPLICE_BYTES {
                return out.put_slice(record);
            }
            pieces.push(out.split().freeze());
            pieces.push(record.clone());
        });
    }
    if !out.is_empty() {
        pieces.push(out.freeze());
    }
    pieces
}

/// Length of one event as a field of the response.
fn field_len(event: &Event) -> usize {
    let len = event.encoded_len();
    1 + crate::event::varint_len(len as u64) + len
}

impl WatchOutput {
    /// How many responses it is.
    pub fn responses(&self) -> usize {
        1 + self.others.len()
    }

    /// About how many bytes it keeps while it waits, counted as if no watcher shared with another: what each response
    /// encodes to, its events, and itself.
    pub(super) fn cost_bytes(&self) -> usize {
        self.responses() * self.kind.cost_bytes()
    }

    /// Adds a watcher that gets these very events, too, if it can share.
    pub(super) fn share(&mut self, watch_id: WatchId, theirs: &Arc<Changes>, as_theirs: bool) -> bool {
        let same = match &self.kind {
            Kind::Events { events, fragment } => Arc::ptr_eq(events, theirs) && *fragment == as_theirs,
            _ => false,
        };
        let shares = same && self.cost_bytes() < SHARED_BYTES_MAX;
        if shares {
            if self.others.is_empty() {
                // Where two share there are more.
                self.others.reserve(15);
            }
            self.others.push(watch_id);
        }
        shares
    }
}

impl Kind {
    /// What a response of this kind costs.
    pub(super) fn cost_bytes(&self) -> usize {
        let events = match self {
            Kind::Events { events, .. } => events.encoded_len() + events.len() * size_of::<Event>(),
            _ => 0,
        };
        size_of::<WatchOutput>() + events
    }
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
        let field = field_len(event);
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
