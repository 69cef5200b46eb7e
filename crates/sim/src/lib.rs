//! # sim: whole clusters in one thread, from one seed
//!
//! **The fault model.** Members with their real `node`, `wal`, `store`, `mvcc` (and watch hub), `backend` and lease
//! clock, each on a simulated disk ([`disk::MemDisk`], which says what a power loss may leave). What the server's threads
//! do is done here step by step, in an order drawn from the seed: of a snapshot, say, the file, its record in the log and
//! the removal of what is older.
//! - *Disk:* any write, sync, creation, rename or removal may be the last before the power goes, also while the member is
//!   starting; a sync may fail, the disk be full, and then the process must end; some disks are slow.
//! - *Process:* killed between two steps, told to stop, paused for seconds.
//! - *Network:* messages lost, delayed, overtaken, doubled (not proposals: a stream between members never repeats),
//!   links cut in both directions or one; snapshots lost on the way.
//! - *Time:* ticks of uneven length, differently on every member, and jumps.
//! - *Membership:* learners added, promoted, voters removed, replaced after the loss of their disk.
//!
//! Not simulated: bit rot (the rooms test that themselves), races within a step, the bytes of the peer protocol.
//!
//! **Lives here:** [`Cluster`], with its network and clients; [`Simulation`], which tries a lone member harder; the driver
//! ([`process`]); what is checked: a ledger of everything agreed on and acknowledged, a simple model, a store that never
//! crashes, a shadow of each log, watchers that resume, leases, and a search for a linear order of what clients saw.
//! **May touch:** nothing real. **Must never:** draw chance from anything but the seed, or mend what a room does wrong.
//!
//! **How to test:** `cargo test -p balsa-sim`; `cargo xtask sim --seed N` replays one run, `cargo xtask soak --minutes N`
//! makes fresh ones; `BALSA_LONG=1` runs for minutes. That it finds bugs is tested too, by [`Mutation`]s.

mod boot;
mod chance;
mod cluster;
mod failure;
mod faults;
mod lease_watch;
mod ledger;
mod model;
mod mutation;
mod process;
mod shadow;
mod simulation;
mod watchers;
mod workload;

pub use cluster::{Cluster, Summary};
pub use failure::Failure;
pub use mutation::Mutation;
pub use simulation::{Report, Simulation};

/// Id of the member that is there from the start, whatever happens later.
pub(crate) const MEMBER: u64 = 1;
