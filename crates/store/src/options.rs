//! What a store must be told that is not in its file.

use crate::Version;

/// Settings of a [`crate::Store`].
#[derive(Debug, Clone)]
pub struct Options {
    /// Id of this member; only used to recognise its own removal and its own alarms.
    pub member_id: u64,
    /// Id of the cluster; the store itself never looks at it, readers do.
    pub cluster_id: u64,
    /// Shortest lease in seconds: ceil(1.5 * election ticks * heartbeat); 2 with defaults.
    pub lease_ttl_min: i64,
    /// --quota-backend-bytes: 0 means 2 GiB, negative means none.
    pub quota_bytes: i64,
    /// The etcd version whose files and promises this member keeps (3.5, 3.6 or 3.7).
    pub emulated_version: Version,
    /// Feature gate LeaseCheckpointPersist: store remaining TTLs also below cluster version 3.6.
    pub lease_checkpoint_persist: bool,
    /// --max-learners. Must be equal on all members.
    pub learners_max: usize,
    /// What Authenticate hands out.
    pub token_kind: TokenKind,
    /// bcrypt for entries of 3.4 and older members that still carry a plain password. The result is salted, so such
    /// an entry differs between members, as it does in etcd. `None`: such an entry is an authentication failure.
    pub hash_password: Option<HashPassword>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            member_id: 0,
            cluster_id: 0,
            lease_ttl_min: 2,
            quota_bytes: 0,
            emulated_version: Version::V3_7,
            lease_checkpoint_persist: false,
            learners_max: 1,
            token_kind: TokenKind::Simple,
            hash_password: None,
        }
    }
}

/// Makes a salted hash of a password.
#[derive(Debug, Clone, Copy)]
pub struct HashPassword {
    /// The function, of a password and a cost.
    pub hash: fn(&str, u32) -> Option<String>,
    /// Work spent on a hash (--bcrypt-cost).
    pub cost: u32,
}

/// Kinds of auth tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// Random letters with the index of their entry; every member remembers them.
    Simple,
    /// Signed by the member that answers: the store only says for whom.
    Jwt,
}
