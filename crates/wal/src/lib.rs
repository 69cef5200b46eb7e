//! # wal: the log on disk, and snapshot files
//!
//! Lives here: segments, record frames and their checksum chain, repair of a torn end, `.snap`
//! files, and the translation between raft's plain types and raftpb. The bytes are Go etcd's in both directions
//! (docs/formats/wal.md shows them).
//! May touch: the disk, through `disk`. Must never: read the clock, spawn threads, go on after a failed sync, guess
//! what a damaged record may have meant.
//! Test: `cargo test -p balsa-wal` (golden bytes, random logs, a crash at every step, every bit flipped);
//! `ETCD_GO=<directory with etcd and etcdctl>` adds logs written and read by Go etcd.
//!
//! Durability in one sentence: what was appended is durable once [`Wal::sync`] has returned `Ok`, and a merely torn
//! end is cut off by [`Wal::open`], which tells nobody because nobody had been told of what it held.

pub mod codec;
mod error;
mod reader;
mod record;
mod repair;
mod segment;
pub mod snap;
mod wal;

pub use error::Error;
pub use reader::{RecordAt, Replay, metadata, records, snapshot_records};
pub use record::Kind;
pub use wal::Wal;

use raft::{ConfState, Index, Snapshot, Term};

/// What can be chosen about a log.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// A segment is ended once it holds this many bytes, and files are made that long ahead. etcd: 64,000,000.
    pub segment_bytes: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options { segment_bytes: 64_000_000 }
    }
}

/// The note in the log that a snapshot of the store exists (formats: walpb.Snapshot).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotRecord {
    /// Last entry the snapshot covers; 0 in the record every log begins with.
    pub index: Index,
    /// Term of that entry.
    pub term: Term,
    /// Membership at that entry. Logs of etcd before 3.5 lack it; needed for writing when `index` is above 0.
    pub conf_state: Option<ConfState>,
}

impl SnapshotRecord {
    /// What the log notes of a snapshot.
    pub fn of(snapshot: &Snapshot) -> SnapshotRecord {
        let Snapshot { index, term, ref conf_state, .. } = *snapshot;
        SnapshotRecord { index, term, conf_state: Some(conf_state.clone()) }
    }
}
