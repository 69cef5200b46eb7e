//! Defragmentation without stopping: pages at the end of the file move towards its head, a few with every commit, and
//! then the file is cut.
//!
//! A sweep goes once through all buckets in key order. A leaf that lies beyond the length the file should have is
//! loaded unchanged, so the commit writes it to the lowest free place. Writes may put new leaves there faster than a sweep
//! moves them: it takes no more steps than twice what it would need without. Afterwards some commits drain: the moved
//! pages become free as soon as no reader can reach them, the high-water mark goes down over them, and the file is cut to
//! it. Readers that stay longer keep the end of the file; a later defragmentation gets it.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::freelist::Freelist;
use super::node::{Budget, TOUCH_COST};
use super::page::PageId;
use super::tx::Tx;
use crate::error::Error;
use crate::schema::Bucket;

/// Leaves looked at in one commit; a moved one counts several times.
const STEP: usize = 4096;
/// Steps of a sweep, however little there is to move.
const STEPS_MIN: usize = 8;
/// Commits that wait for readers to leave before the end of the file is given up to them.
const DRAIN_COMMITS: u32 = 6;

/// Whether a defragmentation is wanted; shared by whoever asks and the commit that does it.
#[derive(Default)]
pub struct VacuumRequest {
    running: AtomicBool,
}

impl VacuumRequest {
    pub(crate) fn start(&self) {
        self.running.store(true, Ordering::Release);
    }

    pub(crate) fn running(&self) -> bool {
        self.running.load(Ordering::Acquire)
    }

    pub(super) fn finish(&self) {
        self.running.store(false, Ordering::Release);
    }
}

/// How far a defragmentation has come.
pub(super) enum Vacuum {
    /// Next: buckets of [`Bucket::ALL`] from this one on, from this key on; pages from `beyond` on shall move. In so many
    /// steps at most.
    Sweep { bucket: usize, from: Bytes, beyond: PageId, steps: usize },
    /// Commits left to wait for readers; with none left there is still something to be cut.
    Drain(u32),
}

impl Vacuum {
    pub(super) fn plan(hwm: PageId, freelist: &Freelist) -> Vacuum {
        let used = hwm.saturating_sub(freelist.free_pages() + freelist.waiting_pages());
        // Room for the branches that every step writes anew and for ordinary writes meanwhile.
        let beyond = used + used / 64 + 16;
        if beyond >= hwm {
            Vacuum::Drain(DRAIN_COMMITS)
        } else {
            let cost = hwm as usize + TOUCH_COST * (hwm - beyond) as usize;
            Vacuum::Sweep { bucket: 0, from: Bytes::new(), beyond, steps: 2 * cost / STEP + STEPS_MIN }
        }
    }

    /// Does one commit's share within `tx`; `None` when all is done.
    pub(super) fn step(self, tx: &mut Tx<'_>) -> Result<Option<Vacuum>, Error> {
        let (first, mut from, beyond, steps) = match self {
            Vacuum::Sweep { steps: 0, .. } => return Ok(Some(Vacuum::Drain(DRAIN_COMMITS))),
            Vacuum::Sweep { bucket, from, beyond, steps } => (bucket, from, beyond, steps - 1),
            Vacuum::Drain(0) => return Ok(None),
            Vacuum::Drain(left) => {
                tx.cut();
                return Ok(Some(Vacuum::Drain(left - 1)));
            }
        };
        tx.freelist.low_first = true;
        let mut budget = Budget::of(STEP);
        for (slot, bucket) in Bucket::ALL.into_iter().enumerate().skip(first) {
            let base = tx.base.clone();
            let rest = tx.bucket(bucket).touch(&base.pages, &from, beyond, &mut budget)?;
            if let Some(from) = rest {
                return Ok(Some(Vacuum::Sweep { bucket: slot, from, beyond, steps }));
            }
            from = Bytes::new();
        }
        Ok(Some(Vacuum::Drain(DRAIN_COMMITS)))
    }
}
