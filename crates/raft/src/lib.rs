//! # raft: the consensus algorithm
//!
//! Lives here: the log, elections, replication, quorums, membership changes, read index — with the semantics of etcd's
//! raft v3.7 on the wire. May touch: nothing. Ticks come in, a seed for the election timeouts comes in, messages come
//! in; what is to be written, sent and applied goes out through [`Raft::ready`]. Must never: read a clock, draw from a
//! random source of its own, do I/O, iterate a map of random order, or let a promise leave before it is on disk.
//! Test: `testdata/*.txt` (scripts), `tests/cluster.rs` (random clusters with faults), `tests/differential.rs`.

mod confchange;
mod config;
mod log;
mod message;
mod quorum;
mod raft;
mod random;
mod read_index;
mod ready;
mod role;
mod sabotage;
mod tracker;
mod types;
mod unstable;

pub use config::Config;
pub use message::{CAMPAIGN_TRANSFER, Message, MessageKind};
pub use raft::{PeerProgress, ProposeError, Raft};
pub use ready::{Note, Persist, Ready};
#[doc(hidden)]
pub use sabotage::Sabotage;
pub use types::{
    ConfChange, ConfChangeKind, ConfChangeV2, ConfState, Entry, EntryKind, HardState, Index, MemberId,
    ReadState, Restored, Role, Snapshot, SoftState, Term, Transition,
};

/// What was restored from disk, or is to be applied, does not fit together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Error {
    /// The log has a gap or a wrong order at this index.
    LogGap(Index),
    /// The store has applied more than the log holds: entries were lost.
    AppliedBeyondLog {
        /// What the store has applied.
        applied: Index,
        /// Last entry of the log.
        last: Index,
    },
    /// The store has applied less than the log's start: the entries between are gone.
    AppliedBeforeLog {
        /// What the store has applied.
        applied: Index,
        /// The log begins right after this.
        start: Index,
    },
    /// A membership that cannot be, or a change that cannot be made in one step.
    BadConfChange(&'static str),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::LogGap(index) => write!(f, "the log has a gap at index {index}"),
            Error::AppliedBeyondLog { applied, last } => {
                write!(
                    f,
                    "the store has applied index {applied} but the log ends at {last}: entries were lost"
                )
            }
            Error::AppliedBeforeLog { applied, start } => {
                write!(
                    f,
                    "the store has applied index {applied} but the log begins after {start}: entries are missing"
                )
            }
            Error::BadConfChange(why) => write!(f, "conf change refused: {why}"),
        }
    }
}

impl std::error::Error for Error {}
