//! How a member takes part: timeouts in ticks and bounds in bytes.

use crate::MemberId;

/// Settings of one [`crate::Raft`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// This member; not 0.
    pub id: MemberId,
    /// A follower that hears nothing for this many ticks (plus a random part of as many) stands for election.
    pub election_ticks: u32,
    /// A leader sends heartbeats every so many ticks.
    pub heartbeat_ticks: u32,
    /// Ask before disturbing the term.
    pub pre_vote: bool,
    /// A leader that no quorum answers for an election timeout steps down; others keep to a leader they hear.
    pub check_quorum: bool,
    /// Entries per append message, in bytes ([`crate::Entry::size`]); at least one entry is sent.
    pub message_bytes_max: usize,
    /// Append messages under way to one member.
    pub inflight_count_max: usize,
    /// Bytes under way to one member.
    pub inflight_bytes_max: usize,
    /// Payload bytes a leader accepts beyond what is applied; one proposal is always accepted.
    pub uncommitted_bytes_max: usize,
    /// Bytes given to apply and not yet applied; at least one entry is given.
    pub applying_bytes_max: usize,
    /// Seed of the random part of the election timeout; must differ between members.
    pub seed: u64,
    /// A mistake to be made, in the simulator alone.
    #[cfg(feature = "sabotage")]
    pub sabotage: Option<crate::Sabotage>,
}

impl Config {
    /// etcd's settings (formats 6.1).
    #[must_use]
    pub fn new(id: MemberId, seed: u64) -> Config {
        Config {
            id,
            election_ticks: 10,
            heartbeat_ticks: 1,
            pre_vote: true,
            check_quorum: true,
            message_bytes_max: 1 << 20,
            inflight_count_max: 512,
            inflight_bytes_max: usize::MAX,
            uncommitted_bytes_max: usize::MAX,
            applying_bytes_max: 16 << 20,
            seed,
            #[cfg(feature = "sabotage")]
            sabotage: None,
        }
    }
}
