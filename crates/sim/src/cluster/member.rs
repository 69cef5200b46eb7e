//! A member with all its lives: the disk and the shadow of its log outlive each of them.

use disk::MemDisk;

use crate::boot::Identity;
use crate::chance::Chance;
use crate::process::{Move, Process};
use crate::shadow::Shadow;

/// Why a member does not come back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Gone {
    /// The cluster has removed it.
    Removed,
    /// With its disk.
    Lost,
}

/// One member.
pub(super) struct Member {
    pub who: Identity,
    pub disk: MemDisk,
    pub process: Option<Process>,
    pub shadow: Shadow,
    /// When it is started (again).
    pub starts_ms: u64,
    /// It does nothing before.
    pub paused_until_ms: u64,
    pub next_tick_ms: u64,
    /// A fault of its disk was set up: it may end of it.
    pub disk_is_sick: bool,
    pub gone: Option<Gone>,
    /// How often each move is made, drawn anew in each life: some disks are slow.
    pub weights: Vec<u64>,
}

impl Member {
    pub fn new(who: Identity, seed: u64, starts_ms: u64) -> Member {
        Member {
            who,
            disk: MemDisk::new(seed),
            process: None,
            shadow: Shadow::default(),
            starts_ms,
            paused_until_ms: 0,
            next_tick_ms: 0,
            disk_is_sick: false,
            gone: None,
            weights: Vec::new(),
        }
    }

    /// Others are as quick as each other in everything.
    pub fn draw_weights(&mut self, chance: &mut Chance) {
        let slow_disk = chance.once_in(8);
        self.weights = Move::ALL
            .iter()
            .map(|step| match step {
                Move::Tick => 0,
                Move::Write | Move::Sync | Move::Record | Move::Snap | Move::Commit if slow_disk => 1,
                Move::Node => 24,
                _ => *chance.pick(&[4, 8, 16, 16]),
            })
            .collect();
    }

    /// Something that this member can do now, if there is anything.
    pub fn choose(
        &self,
        chance: &mut Chance,
        watchers: &crate::watchers::Watchers,
        now_ms: u64,
    ) -> Option<Move> {
        let process = self.process.as_ref()?;
        let possible: Vec<(Move, u64)> = Move::ALL
            .into_iter()
            .zip(self.weights.iter().copied())
            .filter(|(step, weight)| {
                let idle = *step == Move::Node && !process.has_inputs();
                *weight > 0 && !idle && process.can(*step, watchers, now_ms)
            })
            .collect();
        let mut at = chance.below(possible.iter().map(|(_, weight)| weight).sum::<u64>().max(1));
        for (step, weight) in possible {
            if at < weight {
                return Some(step);
            }
            at -= weight;
        }
        None
    }
}
