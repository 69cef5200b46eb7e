//! When to take a disk snapshot, and how much of the log to keep behind it.

use raft::{Index, MemberId};

use crate::Config;

/// One snapshot at a time: asked for, then saved.
#[derive(Debug)]
pub(crate) struct Compaction {
    snapshot_count: u64,
    catch_up_entries: u64,
    memory_step: u64,
    held_ticks: u64,
    /// Newest disk snapshot.
    snapshot_index: Index,
    running: bool,
    forced: bool,
    /// Members that a snapshot is on its way to, or was until not long ago, with the tick at which they count no more.
    held: Vec<(MemberId, u64)>,
}

impl Compaction {
    pub(crate) fn new(config: &Config) -> Compaction {
        Compaction {
            snapshot_count: config.snapshot_count,
            catch_up_entries: config.catch_up_entries,
            memory_step: config.memory_step,
            held_ticks: config.held_ticks,
            snapshot_index: config.snapshot_index,
            running: false,
            forced: false,
            held: Vec::new(),
        }
    }

    pub(crate) fn snapshot_index(&self) -> Index {
        self.snapshot_index
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running
    }

    pub(crate) fn force(&mut self) {
        self.forced = true;
    }

    /// Whether to take a snapshot now. Says so once, then waits for [`Compaction::saved`].
    pub(crate) fn due(&mut self, applied: Index) -> Option<Index> {
        let fresh = applied.0.saturating_sub(self.snapshot_index.0);
        let wanted = fresh > self.snapshot_count || (self.forced && fresh > 0);
        if self.running || !wanted {
            return None;
        }
        self.running = true;
        self.forced = false;
        Some(applied)
    }

    /// A snapshot is sent to `peer`: what it lacks after that must still be there when it has arrived.
    pub(crate) fn hold(&mut self, peer: MemberId) {
        self.release(peer);
        self.held.push((peer, u64::MAX));
    }

    /// It has arrived, or not.
    pub(crate) fn sent(&mut self, peer: MemberId, ok: bool, now: u64) {
        self.release(peer);
        if ok {
            self.held.push((peer, now + self.held_ticks));
        }
    }

    fn release(&mut self, peer: MemberId) {
        self.held.retain(|(held, _)| *held != peer);
    }

    /// Up to where the log in memory may be forgotten, whatever is on disk: followers that lag more get the store itself.
    pub(crate) fn forgettable(&mut self, first: Index, applied: Index, now: u64) -> Option<Index> {
        if self.holds(now) {
            return None;
        }
        let keep_after = applied.0.saturating_sub(self.catch_up_entries);
        (keep_after >= first.0 + self.memory_step).then_some(Index(keep_after))
    }

    /// A snapshot is on disk. Returns the index up to which the log may be forgotten.
    pub(crate) fn saved(&mut self, index: Index, now: u64) -> Option<Index> {
        self.running = false;
        self.snapshot_index = self.snapshot_index.max(index);
        (!self.holds(now)).then_some(Index(index.0.saturating_sub(self.catch_up_entries)))
    }

    fn holds(&mut self, now: u64) -> bool {
        self.held.retain(|(_, until)| *until > now);
        !self.held.is_empty()
    }
}
