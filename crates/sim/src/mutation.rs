//! Mistakes made on purpose, to show that they would be found.

/// A mistake built into the driver, or switched on in a room through its feature `sabotage`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutation {
    /// The log is written but not synced before clients and other members are answered.
    AcknowledgedBeforeSync,
    /// The consistent index is committed after the data it belongs to.
    IndexApartFromData,
    /// A restart leaves the last entry of the log out.
    LastEntrySkipped,
    /// Term, vote and commit index are never written.
    HardStateForgotten,
    /// Entries reach the database before they are on disk in the log; clients are answered in time.
    CommittedBeforeSync,
    /// A note that a snapshot exists is written before the database holds it.
    SnapshotBeforeCommit,
    /// The next buffer is sealed, with a snapshot that waits for it, before apply hears that the last one is committed:
    /// that news is then taken for this buffer's.
    SealedUnheard,
    /// The directories above the log are created, but their names are never synced.
    DirectoriesUnsynced,
    /// Messages that promise something leave before the sync.
    MessagesBeforeSync,
    /// The vote is left out when the hard state is written.
    VoteForgotten,
    /// A leader commits entries of older terms by counting who has them.
    OldTermCommitted,
    /// A member answers linearizable reads from what it has, without asking a quorum.
    ReadWithoutQuorum,
    /// A new leader answers reads before it has committed an entry of its term.
    ReadBeforeOwnTerm,
    /// A read is served before the store has executed what it must show.
    ReadBeforeApplied,
    /// The lease clock runs on members that do not lead.
    LeaseExpiredByFollower,
    /// A watcher that has caught up misses the next revision.
    CatchUpSkipsRevision,
    /// The watchers of a member are forgotten when a snapshot replaces its store.
    RestoreUnwatched,
    /// A restart tells consensus of conf changes that its membership includes.
    ConfChangeTwice,
    /// A snapshot travels with the membership its sender has started with.
    SnapshotWithoutItsMembers,
    /// The copy of the database that travels with a snapshot is made before what the snapshot covers is committed.
    SnapshotAheadOfItsCopy,
    /// A database received with a snapshot is not synced before it is relied on.
    ReceivedUnsynced,
    /// Of `.snap` files just the newest are kept, whether or not the log can be started from these yet.
    SnapFilesPurgedByNumber,
}

impl Mutation {
    /// Every one.
    pub const ALL: [Mutation; 22] = [
        Mutation::AcknowledgedBeforeSync,
        Mutation::IndexApartFromData,
        Mutation::LastEntrySkipped,
        Mutation::HardStateForgotten,
        Mutation::CommittedBeforeSync,
        Mutation::SnapshotBeforeCommit,
        Mutation::SealedUnheard,
        Mutation::DirectoriesUnsynced,
        Mutation::MessagesBeforeSync,
        Mutation::VoteForgotten,
        Mutation::OldTermCommitted,
        Mutation::ReadWithoutQuorum,
        Mutation::ReadBeforeOwnTerm,
        Mutation::ReadBeforeApplied,
        Mutation::LeaseExpiredByFollower,
        Mutation::CatchUpSkipsRevision,
        Mutation::RestoreUnwatched,
        Mutation::ConfChangeTwice,
        Mutation::SnapshotWithoutItsMembers,
        Mutation::SnapshotAheadOfItsCopy,
        Mutation::ReceivedUnsynced,
        Mutation::SnapFilesPurgedByNumber,
    ];

    /// What consensus itself is to do wrong.
    pub(crate) fn in_consensus(self) -> Option<raft::Sabotage> {
        match self {
            Mutation::OldTermCommitted => Some(raft::Sabotage::OldTermCommitted),
            Mutation::ReadBeforeOwnTerm => Some(raft::Sabotage::ReadBeforeOwnTerm),
            _ => None,
        }
    }
}
