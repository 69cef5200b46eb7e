//! # node: everything a member decides
//!
//! Lives here: batching of proposals and linearizable reads, conf-change guards, when to take a snapshot and shorten
//! the log, around the consensus of [`raft`]. May touch: nothing; inputs come in, outputs go out. Must never: read a
//! clock, do I/O, block. Test: `testdata/*.txt` (scripts); whole clusters in `sim`.

mod compaction;
mod input;
mod node;
mod output;
mod proposals;
mod reads;

pub use input::{Input, Proposal};
pub use node::Node;
pub use output::{Output, PeerStatus, ProposalError, ReadState, Status};
pub use raft::{Persist, Restored, Role, SoftState};

use raft::{Index, MemberId};

/// What a node is started with. `Config::new` gives etcd's defaults.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// This member; not 0.
    pub id: MemberId,
    /// Election timeout in ticks (election-timeout / heartbeat-interval).
    pub election_ticks: u32,
    /// Ask before disturbing the term.
    pub pre_vote: bool,
    /// Seed of the election timeouts; different on every member.
    pub seed: u64,
    /// Index of the newest disk snapshot (0: none). At least the start of the log.
    pub snapshot_index: Index,
    /// Applied entries between disk snapshots.
    pub snapshot_count: u64,
    /// Entries kept in memory behind a disk snapshot, for followers that lag.
    pub catch_up_entries: u64,
    /// The log in memory is shortened in steps of so many entries.
    pub memory_step: u64,
    /// Ticks for which a member that got a snapshot may need what was appended while it was on its way.
    pub held_ticks: u64,
    /// Ticks for which a proposal may wait for a leader: as long as whoever proposed it waits for an answer.
    pub proposal_ticks: u64,
    /// Proposals are refused when commit is further ahead of apply than this.
    pub apply_gap_max: u64,
    /// A mistake to be made, in the simulator alone.
    #[cfg(feature = "sabotage")]
    pub sabotage: Option<raft::Sabotage>,
}

impl Config {
    /// etcd's defaults for this member.
    #[must_use]
    pub fn new(id: MemberId, seed: u64) -> Config {
        Config {
            id,
            election_ticks: 10,
            pre_vote: true,
            seed,
            snapshot_index: Index(0),
            snapshot_count: 10_000,
            catch_up_entries: 5000,
            memory_step: 100,
            held_ticks: 300,
            // Five seconds and two elections.
            proposal_ticks: 70,
            apply_gap_max: 5000,
            #[cfg(feature = "sabotage")]
            sabotage: None,
        }
    }
}
