//! # sim: a member's whole life in one thread, from one seed
//!
//! **The fault model.** One member, its real `node`, `wal`, `store`, `mvcc` and `backend`, on a simulated disk
//! ([`disk::MemDisk`], which says what a power loss may leave). What the server's raft, WAL, apply and commit threads do
//! is done here step by step, in an order drawn from the seed. Any write, sync, creation, rename or removal may be the
//! last before the power goes, also while the member is starting; the process may be killed between two steps or told
//! to stop; a sync may fail, or the disk be full, and then the process must end.
//! Not simulated: other members, the network, clocks, bit rot (the rooms test that themselves), races within a step.
//!
//! **Lives here:** [`Simulation`], the driver ([`process`]), the workload, and what is checked: a ledger of everything
//! agreed on and acknowledged, a simple model, a store that never crashes, and watchers that resume.
//! **May touch:** nothing real. **Must never:** draw chance from anything but the seed, or mend what a room does wrong.
//!
//! **How to test:** `cargo test -p balsa-sim`; `BALSA_SEED=n` replays one run with its timeline; `BALSA_LONG=1` runs for
//! minutes. That it finds bugs is tested too, by [`Mutation`]s of the driver.

mod boot;
mod chance;
mod ledger;
mod model;
mod process;
mod simulation;
mod watchers;
mod workload;

pub use simulation::{Failure, Report, Simulation};

/// Id of the only member.
pub(crate) const MEMBER: u64 = 1;

/// A mistake built into the driver on purpose, to show that it would be found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutation {
    /// The log is written but not synced before clients are answered.
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
}
