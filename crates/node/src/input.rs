//! Everything a node can be told.

use bytes::Bytes;
use raft::{ConfChange, Index, MemberId, Message, Term};

/// One request to be agreed on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proposal {
    /// The caller's number; comes back in [`crate::Output::failed`] if the proposal cannot be made.
    pub id: u64,
    /// Payload of the log entry, not empty.
    pub data: Bytes,
}

/// One thing that happened. Feed any number, then drain [`crate::Node::take_output`] once: what was fed together is
/// batched together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// One heartbeat interval has passed. To let a member elect sooner after start, feed several.
    Tick,
    /// A request that only the leader of this term may make: another leader may know better. Refused as dropped
    /// otherwise, never sent on to another member.
    ProposeAsLeader {
        /// The request.
        proposal: Proposal,
        /// The term.
        term: Term,
    },
    /// Agree on this. Held back while no leader is known.
    Propose(Proposal),
    /// Agree on a change of membership.
    ProposeConfChange {
        /// The caller's number, as in [`Proposal`].
        id: u64,
        /// What to change.
        change: ConfChange,
    },
    /// A batch of linearizable reads waits under this id; answered in [`crate::Output::reads`].
    ReadIndex {
        /// The caller's number.
        id: u64,
    },
    /// From a peer.
    Message(Message),
    /// The [`crate::Persist`] numbered `seq`, and all before it, are on disk.
    Persisted {
        /// Number of the newest persist that is finished.
        seq: u64,
    },
    /// The store has executed everything up to here.
    Applied {
        /// Last executed entry.
        index: Index,
    },
    /// The store has judged the conf change entry at `index`. Every conf change entry in `Output::apply` needs this
    /// answer, before or together with the `Applied` that covers it.
    ConfChangeApplied {
        /// The entry.
        index: Index,
        /// What takes effect; `None` if the store refused it.
        change: Option<ConfChange>,
    },
    /// A disk snapshot at `index` is complete (`.snap` file and WAL record): the log may be shortened.
    SnapshotSaved {
        /// The entry the snapshot covers up to.
        index: Index,
    },
    /// Take a disk snapshot soon, whatever the count (a downgrade needs one).
    ForceSnapshot,
    /// Hand leadership to this voter.
    TransferLeader {
        /// The successor.
        to: MemberId,
    },
    /// A message to this peer was lost.
    Unreachable {
        /// The peer.
        peer: MemberId,
    },
    /// The snapshot asked for in [`crate::Output::send_snapshot`] has been sent, or not.
    SnapshotSent {
        /// The peer.
        peer: MemberId,
        /// It arrived.
        ok: bool,
    },
    /// No new proposals; write down the commit index.
    Stop,
}
