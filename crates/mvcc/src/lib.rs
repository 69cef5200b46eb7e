//! # mvcc: every version of every key
//!
//! Lives here: revisions, the key index, put and delete inside a write txn, ranges at any kept revision, compaction,
//! the hashes members compare, and (in [`watch`]) the hub that turns written revisions into watch responses.
//! May touch: the backend room's door; no file, socket, clock or randomness, and no thread but those that share the
//! scan of a start and end with it.
//! Never: decide who may read or write (store's gate), know about raft, hold a lock while a reader works.
//! Start reading at [`Kv`] (the writer's door), [`KvReader`] (everyone else's) and [`watch::WatchHub`].
//! Test: `cargo test -p balsa-mvcc`; `BALSA_LONG=1` multiplies the cases of the model tests.

mod block;
mod compact;
mod deletes;
mod error;
mod event;
mod hash;
mod histories;
mod history;
mod index;
mod key_index;
mod kv;
mod listing;
mod query;
mod read_view;
mod record;
mod restore;
mod revision;
mod run;
mod select;
pub mod watch;
mod write_txn;

pub use backend::Stored;
pub use compact::CompactProgress;
pub use error::Error;
pub use event::{Event, EventBatch, EventKind};
pub use hash::HashKv;
pub use kv::Kv;
pub use listing::Listing;
pub use query::{RangeQuery, RangeResult, SortOrder, SortTarget};
pub use read_view::{KvReader, View};
pub use record::key_after;
pub use revision::{RecordKey, Revision};
pub use write_txn::{Deleted, PutOutcome, WriteTxn};
