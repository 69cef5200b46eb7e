//! Feature gates: named switches, as `--feature-gates=Name=true,Other=false`.

/// State of every gate that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureGates {
    /// The leader compares the compaction hashes of its followers.
    pub compact_hash_check: bool,
    /// A lease is renewed without waiting for the applied index.
    pub fast_lease_keep_alive: bool,
    /// Compare hashes with peers before serving.
    pub initial_corrupt_check: bool,
    /// The leader replicates what is left of each lease.
    pub lease_checkpoint: bool,
    /// What was replicated is stored.
    pub lease_checkpoint_persist: bool,
    /// Some requests, such as lease revokes, pass the overload limit.
    pub priority_request: bool,
    /// Dial peers from the first address in the advertised peer URLs.
    pub set_member_local_addr: bool,
    /// The health service says NOT_SERVING while defragmenting.
    pub stop_grpc_service_on_defrag: bool,
    /// Write transactions read through the shared buffer.
    pub txn_mode_write_with_shared_buffer: bool,
}

impl Default for FeatureGates {
    fn default() -> Self {
        FeatureGates {
            compact_hash_check: false,
            fast_lease_keep_alive: true,
            initial_corrupt_check: false,
            lease_checkpoint: false,
            lease_checkpoint_persist: false,
            priority_request: false,
            set_member_local_addr: false,
            stop_grpc_service_on_defrag: false,
            txn_mode_write_with_shared_buffer: true,
        }
    }
}
