//! What applying one entry did: the answer for a waiting client and the news for other owners.

use std::sync::Arc;

use bytes::Bytes;
use mvcc::EventBatch;
use proto::etcdserverpb as pb;

use crate::{ApplyError, Member, Version};

/// A normal entry as committed by consensus. `data` is shared: keys and values become slices of it.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// Raft index.
    pub index: u64,
    /// Raft term.
    pub term: u64,
    /// Encoded `InternalRaftRequest`; empty for the first entry of a leader's term.
    pub data: &'a Bytes,
}

/// Result of [`crate::Store::apply`].
#[derive(Debug)]
pub struct Outcome {
    /// Request id: whom to answer. 0 for a leader's empty entry.
    pub id: u64,
    /// The answer. After a fatal error ([`ApplyError::is_fatal`]) the process must stop.
    pub result: Result<Response, ApplyError>,
    /// Changes for the watch hub, already readable at their revision.
    pub events: Option<Arc<EventBatch>>,
    /// Changes for the leader's lease clock, in order.
    pub leases: Vec<LeaseChange>,
    /// Changes for the table of simple tokens.
    pub tokens: Vec<TokenChange>,
    /// The quota was exceeded and no NOSPACE alarm of this member exists: propose one, then answer.
    pub wants_nospace_alarm: bool,
    /// Alarms changed (see [`crate::StoreReader::alarms`]).
    pub alarms_changed: bool,
    /// Users, roles or the auth switch changed.
    pub auth_changed: bool,
    /// Names, client URLs or the cluster version changed.
    pub members_changed: bool,
    /// The cluster version changed to this one.
    pub cluster_version: Option<Version>,
    /// The cluster version went down: take a disk snapshot now.
    pub cluster_version_lowered: bool,
    /// The entry was the empty one a leader starts its term with.
    pub is_leader_start: bool,
    /// The entry was already contained in the file (index at or below the consistent index).
    pub is_replay: bool,
}

impl Outcome {
    pub(crate) fn new(id: u64) -> Self {
        Self {
            id,
            result: Ok(Response::Nothing),
            events: None,
            leases: Vec::new(),
            tokens: Vec::new(),
            wants_nospace_alarm: false,
            alarms_changed: false,
            auth_changed: false,
            members_changed: false,
            cluster_version: None,
            cluster_version_lowered: false,
            is_leader_start: false,
            is_replay: false,
        }
    }
}

/// Answers. Where a message has a header, its `revision` is set; the server adds ids and term.
#[derive(Debug, Clone, PartialEq)]
pub enum Response {
    /// Nothing to answer: internal requests, leader starts, reads nobody here waits for.
    Nothing,
    /// Put.
    Put(pb::PutResponse),
    /// Obsolete: ranges are no longer proposed, but old logs hold them.
    Range(pb::RangeResponse),
    /// DeleteRange.
    DeleteRange(pb::DeleteRangeResponse),
    /// Txn.
    Txn(pb::TxnResponse),
    /// Compaction: `physical` asks to answer only after [`crate::Store::compaction_done`] reaches `revision` and a commit.
    Compaction {
        /// Header holds the current revision.
        response: pb::CompactionResponse,
        /// The client wants to wait for the physical work.
        physical: bool,
        /// The compacted revision.
        revision: i64,
    },
    /// LeaseGrant.
    LeaseGrant(pb::LeaseGrantResponse),
    /// LeaseRevoke.
    LeaseRevoke(pb::LeaseRevokeResponse),
    /// LeaseCheckpoint (internal).
    LeaseCheckpoint(pb::LeaseCheckpointResponse),
    /// Alarm.
    Alarm(pb::AlarmResponse),
    /// AuthEnable.
    AuthEnable(pb::AuthEnableResponse),
    /// AuthDisable.
    AuthDisable(pb::AuthDisableResponse),
    /// AuthStatus.
    AuthStatus(pb::AuthStatusResponse),
    /// Authenticate: with JWT the token is empty and the member that answers signs one.
    Authenticate(pb::AuthenticateResponse),
    /// UserAdd.
    AuthUserAdd(pb::AuthUserAddResponse),
    /// UserGet.
    AuthUserGet(pb::AuthUserGetResponse),
    /// UserDelete.
    AuthUserDelete(pb::AuthUserDeleteResponse),
    /// UserChangePassword.
    AuthUserChangePassword(pb::AuthUserChangePasswordResponse),
    /// UserGrantRole.
    AuthUserGrantRole(pb::AuthUserGrantRoleResponse),
    /// UserRevokeRole.
    AuthUserRevokeRole(pb::AuthUserRevokeRoleResponse),
    /// UserList.
    AuthUserList(pb::AuthUserListResponse),
    /// RoleAdd.
    AuthRoleAdd(pb::AuthRoleAddResponse),
    /// RoleGet.
    AuthRoleGet(pb::AuthRoleGetResponse),
    /// RoleDelete.
    AuthRoleDelete(pb::AuthRoleDeleteResponse),
    /// RoleList.
    AuthRoleList(pb::AuthRoleListResponse),
    /// RoleGrantPermission.
    AuthRoleGrantPermission(pb::AuthRoleGrantPermissionResponse),
    /// RoleRevokePermission.
    AuthRoleRevokePermission(pb::AuthRoleRevokePermissionResponse),
}

/// News for [`crate::lease::LeaseClock`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseChange {
    /// A new lease.
    Granted {
        /// Lease id.
        id: i64,
        /// Seconds, after the minimum.
        ttl: i64,
    },
    /// Gone, with its keys.
    Revoked {
        /// Lease id.
        id: i64,
    },
    /// The remaining time was agreed on.
    Checkpointed {
        /// Lease id.
        id: i64,
        /// Seconds; 0 means the full TTL again.
        remaining_ttl: i64,
    },
}

/// News for the table of tokens, which lives where the clock is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenChange {
    /// A user authenticated. `token` is empty for JWT.
    Granted {
        /// User name.
        user: String,
        /// Simple token, complete with its index suffix.
        token: String,
    },
    /// All tokens of this user are void.
    UserInvalidated {
        /// User name.
        user: String,
    },
    /// Auth was switched off: all tokens are void.
    AllInvalidated,
}

/// Result of [`crate::Store::apply_conf_change`].
#[derive(Debug)]
pub struct ConfChangeOutcome {
    /// `ConfChange.id`: whom to answer.
    pub id: u64,
    /// The member list after the change, or why it was refused.
    pub result: Result<Vec<Member>, ApplyError>,
    /// Give the change to raft; otherwise raft gets "no change" (refused, or already in the file).
    pub to_raft: bool,
    /// What the transport must do.
    pub change: Option<MemberChange>,
    /// This member itself was removed: stop after one second.
    pub removed_self: bool,
    /// Already contained in the file.
    pub is_replay: bool,
}

/// A change of membership that took place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberChange {
    /// A new voter or learner.
    Added(Member),
    /// A learner became a voter.
    Promoted {
        /// Member id.
        id: u64,
    },
    /// Gone for good.
    Removed {
        /// Member id.
        id: u64,
    },
    /// Other peer URLs.
    Updated(Member),
}
