//! Everything a node can ask for.

use raft::{ConfState, Entry, Index, MemberId, Message, Note, Persist, Role, Snapshot, SoftState, Term};

/// The read batch `id` may be served once `index` is applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadState {
    /// Id given with [`crate::Input::ReadIndex`].
    pub id: u64,
    /// Apply at least up to here first.
    pub index: Index,
}

/// Why a proposal or read was not taken. A proposal not listed as failed may still be lost with its leader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProposalError {
    /// Refused by consensus: leadership is being handed over, this member was removed, or too much is uncommitted.
    Dropped,
    /// No leader was known for too long.
    NoLeader,
    /// Commit is too far ahead of apply, or too much waits already.
    TooManyRequests,
    /// Another change of membership is not applied yet.
    ConfChangePending,
    /// The node is stopping.
    Stopped,
}

/// What has to be done now. Hand `persist` to the WAL before `apply` to the store, and `restore` before `apply`.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Output {
    /// To be written to the WAL.
    pub persist: Option<Persist>,
    /// To be sent at once.
    pub send: Vec<Message>,
    /// Committed and persisted here, in order, each entry once (invariants 1 and 2).
    pub apply: Vec<Entry>,
    /// Reads that were confirmed.
    pub reads: Vec<ReadState>,
    /// Proposals and reads that were not taken.
    pub failed: Vec<(u64, ProposalError)>,
    /// Set if leader, role or term changed.
    pub leadership: Option<SoftState>,
    /// Membership after an [`crate::Input::ConfChangeApplied`] or a restore.
    pub conf_state: Option<ConfState>,
    /// The store is to be replaced by this snapshot, which is on disk by now.
    pub restore: Option<Snapshot>,
    /// Peers that need a snapshot: send one at least as new as the one described (its data is empty), keeping `to`,
    /// `from` and `term`; then report [`crate::Input::SnapshotSent`].
    pub send_snapshot: Vec<Message>,
    /// A disk snapshot is wanted, at this index or later; answer with [`crate::Input::SnapshotSaved`].
    pub snapshot_due: Option<Index>,
    /// What happened, for the log.
    pub notes: Vec<Note>,
}

impl Output {
    /// True if there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Output { notes: self.notes.clone(), ..Output::default() }
    }
}

/// What a leader knows about a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerStatus {
    /// Who.
    pub id: MemberId,
    /// Last entry known to be on its disk.
    pub matched: Index,
    /// It does not vote.
    pub is_learner: bool,
    /// It has answered within the last election timeout.
    pub recent_active: bool,
}

/// A picture of the node.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Status {
    /// This member.
    pub id: MemberId,
    /// Current term.
    pub term: Term,
    /// Known leader or none.
    pub leader: MemberId,
    /// This member's role.
    pub role: Role,
    /// Everything up to here is committed.
    pub committed: Index,
    /// The store has executed up to here.
    pub applied: Index,
    /// First entry still in memory.
    pub first_index: Index,
    /// Last entry.
    pub last_index: Index,
    /// Its term.
    pub last_term: Term,
    /// Membership.
    pub conf_state: ConfState,
    /// Leader only: one per member, by id.
    pub peers: Vec<PeerStatus>,
    /// Leader only: who is to take over, or none.
    pub transferee: MemberId,
    /// Index of the newest disk snapshot.
    pub snapshot_index: Index,
}
