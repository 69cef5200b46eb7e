//! Plain words of consensus: numbers that must not mix, log entries, membership and what has to survive a restart.

use std::fmt;

use bytes::Bytes;

/// A period with at most one leader. Grows forever; 0 before the first election.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Term(pub u64);

/// Position of an entry in the log. The first entry has index 1; 0 means "before everything".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Index(pub u64);

/// Identity of a member, the same number on every member. 0 means "none".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct MemberId(pub u64);

impl Index {
    /// The position right after this one.
    #[must_use]
    pub fn next(self) -> Index {
        Index(self.0 + 1)
    }

    /// The position right before this one; 0 stays 0.
    #[must_use]
    pub fn prev(self) -> Index {
        Index(self.0.saturating_sub(1))
    }
}

impl MemberId {
    /// Nobody: no vote given, no leader known, a conf change that changes nothing.
    pub const NONE: MemberId = MemberId(0);

    /// True for [`MemberId::NONE`].
    #[must_use]
    pub fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Lower-case hex without leading zeros, as etcd prints ids everywhere (formats: conventions).
impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

/// What the payload of an [`Entry`] is. Numbers are those of raftpb.EntryType.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub enum EntryKind {
    /// A request to the state machine; an empty payload is a leader's no-op.
    #[default]
    Normal = 0,
    /// An encoded raftpb.ConfChange.
    ConfChange = 1,
    /// An encoded raftpb.ConfChangeV2; an empty payload leaves a joint configuration.
    ConfChangeV2 = 2,
}

/// One position of the log.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Entry {
    /// Term of the leader that created it.
    pub term: Term,
    /// Position in the log.
    pub index: Index,
    /// What `data` is.
    pub kind: EntryKind,
    /// Payload, shared and never copied between log, disk and peers.
    pub data: Bytes,
}

impl Entry {
    /// Bytes this entry takes on the wire, roughly; the measure of every size limit in this room.
    #[must_use]
    pub fn size(&self) -> usize {
        self.data.len() + 24
    }

    /// True if applying it may change the membership.
    #[must_use]
    pub fn changes_members(&self) -> bool {
        self.kind != EntryKind::Normal
    }
}

/// What a member must remember besides the log.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct HardState {
    /// Newest term seen.
    pub term: Term,
    /// Who got this member's vote in `term`; [`MemberId::NONE`] if nobody.
    pub vote: MemberId,
    /// Everything up to here is committed. May lag on disk: it is not synced when it alone changes.
    pub commit: Index,
}

/// Membership as consensus sees it. All lists are sorted by id.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ConfState {
    /// Members that vote (in a joint configuration: the new half).
    pub voters: Vec<MemberId>,
    /// Members that receive the log and do not vote.
    pub learners: Vec<MemberId>,
    /// The old half of a joint configuration, else empty.
    pub voters_outgoing: Vec<MemberId>,
    /// Voters of the old half that become learners when the joint configuration is left.
    pub learners_next: Vec<MemberId>,
    /// The leader leaves the joint configuration by itself.
    pub auto_leave: bool,
}

impl ConfState {
    /// True if `id` is a member in any part of the configuration.
    #[must_use]
    pub fn contains(&self, id: MemberId) -> bool {
        [&self.voters, &self.learners, &self.voters_outgoing].iter().any(|part| part.contains(&id))
    }
}

/// State up to an index, which replaces the log up to there.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Snapshot {
    /// Last entry it covers.
    pub index: Index,
    /// Term of that entry.
    pub term: Term,
    /// Membership after that entry.
    pub conf_state: ConfState,
    /// Payload, opaque here.
    pub data: Bytes,
}

/// What happens to a member. Numbers are those of raftpb.ConfChangeType.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ConfChangeKind {
    /// Becomes a voter (a learner is promoted).
    AddNode = 0,
    /// Leaves.
    RemoveNode = 1,
    /// Changes something consensus does not look at.
    UpdateNode = 2,
    /// Becomes a learner (a voter is demoted).
    AddLearnerNode = 3,
}

/// One change of membership, the only form etcd proposes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfChange {
    /// Request id, matched by the proposer.
    pub id: u64,
    /// What happens.
    pub kind: ConfChangeKind,
    /// To whom; [`MemberId::NONE`] changes nothing.
    pub node_id: MemberId,
    /// Opaque here (etcd: JSON of the member).
    pub context: Bytes,
}

/// How a [`ConfChangeV2`] passes through a joint configuration.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Transition {
    /// Joint only if needed, left by the leader itself.
    #[default]
    Auto = 0,
    /// Joint, left by the leader itself.
    JointImplicit = 1,
    /// Joint until somebody proposes to leave.
    JointExplicit = 2,
}

/// Several changes in one step. Without changes it leaves a joint configuration.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ConfChangeV2 {
    /// How to get there.
    pub transition: Transition,
    /// The single changes, in order.
    pub changes: Vec<(ConfChangeKind, MemberId)>,
    /// Opaque here.
    pub context: Bytes,
}

impl From<&ConfChange> for ConfChangeV2 {
    fn from(change: &ConfChange) -> Self {
        ConfChangeV2 {
            transition: Transition::Auto,
            changes: vec![(change.kind, change.node_id)],
            context: change.context.clone(),
        }
    }
}

/// What a member is at the moment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub enum Role {
    /// Takes entries from a leader, or waits for one.
    #[default]
    Follower,
    /// Asks whether an election would succeed, without disturbing the term.
    PreCandidate,
    /// Asks for votes in its own new term.
    Candidate,
    /// Appends and replicates.
    Leader,
}

/// The fleeting part of a member's state; never written to disk.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SoftState {
    /// Known leader of `term`, or [`MemberId::NONE`].
    pub leader: MemberId,
    /// This member's role.
    pub role: Role,
    /// Current term.
    pub term: Term,
}

/// Answer to a read index request: a read served once `index` is applied is linearizable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReadState {
    /// Apply at least up to here first.
    pub index: Index,
    /// The context the request was made with.
    pub context: Bytes,
}

/// What was found on disk at start. Empty by default.
#[derive(Clone, Default, Debug)]
pub struct Restored {
    /// Last hard state of the WAL.
    pub hard_state: HardState,
    /// Membership as of `applied` (which may be ahead of the snapshot).
    pub conf_state: ConfState,
    /// Where the log begins: `entries` start right after it. 0 for a log from the beginning.
    pub snapshot_index: Index,
    /// Term of that position.
    pub snapshot_term: Term,
    /// The log after the snapshot, without gaps, all of it on disk.
    pub entries: Vec<Entry>,
    /// The store has executed up to here (at least `snapshot_index`).
    pub applied: Index,
}
