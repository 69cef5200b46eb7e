//! Every reason for which an applied request, a gate or a shape check says no.

use thiserror::Error;

/// One variant per etcd error. The texts here are for logs; `server/rpc/error` maps variants to gRPC codes and etcd's
/// exact texts (surface/errors.tsv).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ApplyError {
    /// A key is required and empty.
    #[error("key is not provided")]
    EmptyKey,
    /// ignore_value or ignore_lease on an absent key; also an empty txn operation.
    #[error("key not found")]
    KeyNotFound,
    /// ignore_value together with a value.
    #[error("value is provided")]
    ValueProvided,
    /// ignore_lease together with a lease.
    #[error("lease is provided")]
    LeaseProvided,
    /// A txn list is longer than max-txn-ops.
    #[error("too many operations in txn request")]
    TooManyOps,
    /// Two operations of one txn touch the same key.
    #[error("duplicate key given in txn request")]
    DuplicateKey,
    /// Unknown sort order or target.
    #[error("invalid sort option")]
    InvalidSortOption,
    /// The revision is below the compacted one.
    #[error("mvcc: required revision has been compacted")]
    Compacted,
    /// The revision is above the current one.
    #[error("mvcc: required revision is a future revision")]
    FutureRevision,
    /// NOSPACE alarm or quota.
    #[error("mvcc: database space exceeded")]
    NoSpace,
    /// CORRUPT alarm.
    #[error("corrupt cluster")]
    Corrupt,
    /// No such lease.
    #[error("requested lease not found")]
    LeaseNotFound,
    /// Grant of an id in use.
    #[error("lease already exists")]
    LeaseExists,
    /// Grant above 9,000,000,000 seconds.
    #[error("too large lease TTL")]
    LeaseTtlTooLarge,
    /// Auth cannot be enabled without user root.
    #[error("root user does not exist")]
    RootUserNotExist,
    /// Auth cannot be enabled unless root has role root.
    #[error("root user does not have root role")]
    RootRoleNotExist,
    /// User name in use.
    #[error("user name already exists")]
    UserAlreadyExists,
    /// Empty user name, or no credentials while auth is on.
    #[error("user name is empty")]
    UserEmpty,
    /// No such user.
    #[error("user name not found")]
    UserNotFound,
    /// Role name in use.
    #[error("role name already exists")]
    RoleAlreadyExists,
    /// No such role.
    #[error("role name not found")]
    RoleNotFound,
    /// Empty role name.
    #[error("role name is empty")]
    RoleEmpty,
    /// Wrong user or password.
    #[error("authentication failed, invalid user ID or password")]
    AuthFailed,
    /// A password was given for a user without one (leaves the server as code Unknown, text with prefix "auth: ").
    #[error("auth: authentication failed, password was given for no password user")]
    NoPasswordUser,
    /// Grant without a permission.
    #[error("permission not given")]
    PermissionNotGiven,
    /// The roles of the user do not allow it.
    #[error("permission denied")]
    PermissionDenied,
    /// Revoke of a role the user lacks.
    #[error("role is not granted to the user")]
    RoleNotGranted,
    /// Revoke of a permission the role lacks.
    #[error("permission is not granted to the role")]
    PermissionNotGranted,
    /// Authenticate while auth is off.
    #[error("authentication is not enabled")]
    AuthNotEnabled,
    /// A change that would lock root out, or a permission with an impossible range.
    #[error("invalid auth management")]
    InvalidAuthManagement,
    /// The identity was checked against an older auth revision.
    #[error("revision of auth store is old")]
    AuthOldRevision,
    /// The member id belongs to a removed member. (conf change)
    #[error("membership: ID removed")]
    IdRemoved,
    /// The member id is in use. (conf change)
    #[error("membership: ID exists")]
    IdExists,
    /// No such member. (conf change)
    #[error("membership: ID not found")]
    IdNotFound,
    /// A peer URL is in use by another member. (conf change)
    #[error("membership: peerURL exists")]
    PeerUrlExists,
    /// More learners than max-learners. (conf change)
    #[error("membership: too many learner members in cluster")]
    TooManyLearners,
    /// Promotion of a voter. (conf change)
    #[error("membership: can only promote a learner member")]
    MemberNotLearner,
    /// The process must stop: an entry that no member may skip could not be executed. Never sent to a client.
    #[error("fatal: {0}")]
    Fatal(String),
}

impl ApplyError {
    /// True when the member must stop instead of answering.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Fatal(_))
    }
}

/// Why a store cannot be opened or maintained. Every one of these is the end of the process.
#[derive(Debug, Error)]
pub enum Error {
    /// The backend or its file failed.
    #[error(transparent)]
    Backend(#[from] backend::Error),
    /// The key-value records are damaged.
    #[error(transparent)]
    Mvcc(#[from] mvcc::Error),
    /// A record outside of the key bucket does not parse.
    #[error("damaged record in bucket {bucket}: {what}")]
    Damaged {
        /// Bucket name.
        bucket: &'static str,
        /// Which key, and what is wrong with it.
        what: String,
    },
    /// The file was written by a version that this one (as emulated) cannot read.
    #[error("version \"{0}\" is not supported")]
    UnsupportedStorageVersion(crate::Version),
    /// The storage version cannot move yet.
    #[error("cannot migrate storage from {from} to {to}: {why}")]
    Migrate {
        /// Present version.
        from: crate::Version,
        /// Wanted version.
        to: crate::Version,
        /// Reason.
        why: String,
    },
    /// The cluster needs a newer server than this one.
    #[error("cluster version {cluster} is higher than server version {server}")]
    ClusterVersionTooHigh {
        /// Version the cluster agreed on.
        cluster: crate::Version,
        /// Version of this server (as emulated).
        server: crate::Version,
    },
}
