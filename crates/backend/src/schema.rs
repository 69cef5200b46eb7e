//! Every bucket of the bolt file and every key of the `meta`, `auth` and `cluster` buckets (formats: Buckets in the db).

/// A top-level bucket of the file. The name never appears as text anywhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Bucket {
    /// `meta`: consistent index, term, configuration state, storage version, compaction marks.
    Meta,
    /// `members`: member id as text → JSON.
    Members,
    /// `members_removed`: ids that may never come back.
    MembersRemoved,
    /// `cluster`: cluster version and downgrade information.
    Cluster,
    /// `lease`: lease id (u64 big endian) → `leasepb.Lease`.
    Lease,
    /// `key`: revision → `mvccpb.KeyValue`. Keys only rise and are never overwritten.
    Key,
    /// `auth`: on or off, and the auth revision.
    Auth,
    /// `authUsers`: user name → `authpb.User`.
    AuthUsers,
    /// `authRoles`: role name → `authpb.Role`.
    AuthRoles,
    /// `alarm`: encoded `AlarmMember` → nothing.
    Alarm,
}

impl Bucket {
    /// All buckets in the order in which etcd creates them on a first start.
    pub const ALL: [Bucket; 10] = [
        Bucket::Meta,
        Bucket::Members,
        Bucket::MembersRemoved,
        Bucket::Cluster,
        Bucket::Lease,
        Bucket::Key,
        Bucket::Auth,
        Bucket::AuthUsers,
        Bucket::AuthRoles,
        Bucket::Alarm,
    ];

    /// All buckets in the byte order of their names: the order of the file and of whole-file hashes.
    pub const BY_NAME: [Bucket; 10] = [
        Bucket::Alarm,
        Bucket::Auth,
        Bucket::AuthRoles,
        Bucket::AuthUsers,
        Bucket::Cluster,
        Bucket::Key,
        Bucket::Lease,
        Bucket::Members,
        Bucket::MembersRemoved,
        Bucket::Meta,
    ];

    /// The name of the bucket in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Bucket::Meta => "meta",
            Bucket::Members => "members",
            Bucket::MembersRemoved => "members_removed",
            Bucket::Cluster => "cluster",
            Bucket::Lease => "lease",
            Bucket::Key => "key",
            Bucket::Auth => "auth",
            Bucket::AuthUsers => "authUsers",
            Bucket::AuthRoles => "authRoles",
            Bucket::Alarm => "alarm",
        }
    }

    /// How full a page of this bucket is made when it splits: pages of rising keys are not touched again.
    pub const fn fill(self) -> f64 {
        match self {
            Bucket::Key => 0.9,
            _ => 0.5,
        }
    }

    pub(crate) const fn slot(self) -> usize {
        self as usize
    }
}

/// Keys of the bucket `meta`.
pub mod meta {
    /// u64 big endian: raft index of the last entry applied to this file.
    pub const CONSISTENT_INDEX: &[u8] = b"consistent_index";
    /// u64 big endian: raft term of that entry; absent while it is 0.
    pub const TERM: &[u8] = b"term";
    /// JSON of `raftpb.ConfState`.
    pub const CONF_STATE: &[u8] = b"confState";
    /// `3.6.0`, `3.7.0`: the version whose schema the file follows; absent until the cluster version is decided.
    pub const STORAGE_VERSION: &[u8] = b"storageVersion";
    /// Revision (17 bytes) of the last accepted compaction.
    pub const SCHEDULED_COMPACT: &[u8] = b"scheduledCompactRev";
    /// Revision (17 bytes) of the last compaction that has removed its records.
    pub const FINISHED_COMPACT: &[u8] = b"finishedCompactRev";
}

/// Keys of the bucket `auth`.
pub mod auth {
    /// One byte: 1 on, 0 off; absent means off.
    pub const ENABLED: &[u8] = b"authEnabled";
    /// u64 big endian, starts at 1.
    pub const REVISION: &[u8] = b"authRevision";
}

/// Keys of the bucket `cluster`.
pub mod cluster {
    /// `3.7.0`
    pub const VERSION: &[u8] = b"clusterVersion";
    /// JSON `{"target-version":…,"enabled":…}`
    pub const DOWNGRADE: &[u8] = b"downgrade";
}
