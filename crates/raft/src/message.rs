//! Messages between members, and the local events that take the same road.

use bytes::Bytes;

use crate::{Entry, Index, MemberId, Snapshot, Term};

/// Context of a vote request made on the leader's own wish: it overrides the leader lease.
pub const CAMPAIGN_TRANSFER: &[u8] = b"CampaignTransfer";

/// Kinds and their numbers as in raftpb.MessageType.
#[allow(missing_docs)] // The names are the protocol's; the fields used by each are told in the room's role files.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub enum MessageKind {
    #[default]
    Hup = 0,
    Beat = 1,
    Prop = 2,
    App = 3,
    AppResp = 4,
    Vote = 5,
    VoteResp = 6,
    Snap = 7,
    Heartbeat = 8,
    HeartbeatResp = 9,
    Unreachable = 10,
    SnapStatus = 11,
    CheckQuorum = 12,
    TransferLeader = 13,
    TimeoutNow = 14,
    ReadIndex = 15,
    ReadIndexResp = 16,
    PreVote = 17,
    PreVoteResp = 18,
    StorageAppend = 19,
    StorageAppendResp = 20,
    StorageApply = 21,
    StorageApplyResp = 22,
    ForgetLeader = 23,
}

impl MessageKind {
    /// All kinds, by number.
    pub const ALL: [MessageKind; 24] = {
        use MessageKind::*;
        [
            Hup,
            Beat,
            Prop,
            App,
            AppResp,
            Vote,
            VoteResp,
            Snap,
            Heartbeat,
            HeartbeatResp,
            Unreachable,
            SnapStatus,
            CheckQuorum,
            TransferLeader,
            TimeoutNow,
            ReadIndex,
            ReadIndexResp,
            PreVote,
            PreVoteResp,
            StorageAppend,
            StorageAppendResp,
            StorageApply,
            StorageApplyResp,
            ForgetLeader,
        ]
    };

    /// The kind with this number on the wire, if there is one.
    #[must_use]
    pub fn from_number(number: i32) -> Option<MessageKind> {
        usize::try_from(number).ok().and_then(|n| Self::ALL.get(n)).copied()
    }

    /// True for kinds that no peer may send: they are a member talking to itself.
    #[must_use]
    pub fn is_local(self) -> bool {
        use MessageKind::*;
        matches!(
            self,
            Hup | Beat
                | Unreachable
                | SnapStatus
                | CheckQuorum
                | StorageAppend
                | StorageAppendResp
                | StorageApply
                | StorageApplyResp
                | ForgetLeader
        )
    }

    /// True for answers; they mean nothing from someone who is not a member.
    #[must_use]
    pub fn is_response(self) -> bool {
        use MessageKind::*;
        matches!(self, AppResp | VoteResp | HeartbeatResp | PreVoteResp | ReadIndexResp)
    }
}

/// One message. Which fields count depends on `kind`; the others are zero.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Message {
    /// What it says.
    pub kind: MessageKind,
    /// Receiver.
    pub to: MemberId,
    /// Sender.
    pub from: MemberId,
    /// Sender's term; 0 for proposals, reads and local kinds.
    pub term: Term,
    /// Term of the entry at `index` (App, votes), or of the hint (rejecting AppResp).
    pub log_term: Term,
    /// App: entry before the first one sent. AppResp: last entry held, or the rejected one. Votes: last entry.
    pub index: Index,
    /// App: entries to append. Prop and ReadIndex: the request.
    pub entries: Vec<Entry>,
    /// Commit index the receiver may take over.
    pub commit: Index,
    /// Snap: what is to be installed. An empty snapshot of old senders is `None`.
    pub snapshot: Option<Box<Snapshot>>,
    /// Answers: no.
    pub reject: bool,
    /// Rejecting AppResp: newest entry that could agree with the leader's.
    pub reject_hint: Index,
    /// Vote: reason. Heartbeat: position in the read queue, echoed byte for byte.
    pub context: Bytes,
}
