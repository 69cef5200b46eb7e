//! A cluster from one seed: a run of many steps under faults, then peace, in which all must come to agree.

mod admin;
mod clients;
mod ending;
mod linear;
mod member;
mod misfortune;
mod network;
mod world;

use crate::Mutation;
use crate::failure::{Broken, Failure, unwound};
use world::World;

/// A run to be made: everything follows from the seed and these settings.
#[derive(Clone, Debug)]
pub struct Cluster {
    seed: u64,
    mutation: Option<Mutation>,
    steps: u64,
}

/// What runs went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Steps of all members, messages and clients.
    pub steps: u64,
    /// Simulated time.
    pub seconds: u64,
    /// Times the power was cut.
    pub crashes: u64,
    /// Other ends: killed, stopped, failed sync, full disk.
    pub other_ends: u64,
    /// Times the links were cut.
    pub partitions: u64,
    /// Terms in which somebody has led.
    pub leaders: u64,
    /// Entries agreed on.
    pub entries: u64,
    /// Changes of membership that took place.
    pub conf_changes: u64,
    /// Requests answered, and those whose answer nobody got.
    pub answers: u64,
    /// Requests without an answer.
    pub unanswered: u64,
    /// Linearizable reads among the answers.
    pub reads: u64,
    /// Disk snapshots saved, and snapshots of a leader installed.
    pub snapshots: u64,
    /// Snapshots of a leader installed.
    pub restores: u64,
    /// Events that watchers got.
    pub events: u64,
    /// Watchers told that what they want is compacted.
    pub compacted: u64,
    /// Leases that a clock has ended.
    pub leases_ended: u64,
    /// Keep-alives answered.
    pub leases_renewed: u64,
    /// Runs that ended without a quorum that could come back.
    pub stranded: u64,
    /// Registers whose history was too entangled to judge.
    pub undecided: u64,
}

impl Cluster {
    /// The random run of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Cluster {
        Cluster { seed, mutation: None, steps: 20_000 }
    }

    /// With a mistake in it.
    #[must_use]
    pub fn with(self, mutation: Mutation) -> Cluster {
        Cluster { mutation: Some(mutation), ..self }
    }

    /// Makes the random run of this seed.
    ///
    /// # Errors
    /// A broken promise, with its timeline.
    pub fn run(seed: u64) -> Result<Summary, Failure> {
        Cluster::new(seed).go()
    }

    /// Makes this run.
    ///
    /// # Errors
    /// A broken promise, with its timeline.
    pub fn go(&self) -> Result<Summary, Failure> {
        Failure::traced(self.seed, "cargo xtask sim --seed {}", |traced| {
            let start = |what| Broken { what, timeline: Vec::new() };
            let mut world = World::new(self.seed, self.mutation, traced).map_err(start)?;
            unwound(|| {
                world.suffer(self.steps)?;
                world.settle()
            })
            .map_err(|what| Broken { what, timeline: std::mem::take(&mut world.timeline) })
        })
    }
}

impl std::ops::AddAssign for Summary {
    fn add_assign(&mut self, other: Summary) {
        self.steps += other.steps;
        self.seconds += other.seconds;
        self.crashes += other.crashes;
        self.other_ends += other.other_ends;
        self.partitions += other.partitions;
        self.leaders += other.leaders;
        self.entries += other.entries;
        self.conf_changes += other.conf_changes;
        self.answers += other.answers;
        self.unanswered += other.unanswered;
        self.reads += other.reads;
        self.snapshots += other.snapshots;
        self.restores += other.restores;
        self.events += other.events;
        self.compacted += other.compacted;
        self.leases_ended += other.leases_ended;
        self.leases_renewed += other.leases_renewed;
        self.stranded += other.stranded;
        self.undecided += other.undecided;
    }
}
