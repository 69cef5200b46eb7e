//! When to take a disk snapshot, and how much of the log to keep behind it.

use raft::Index;

use crate::Config;

/// The log in memory is shortened in steps of so many entries.
const MEMORY_STEP: u64 = 100;

/// One snapshot at a time: asked for, then saved.
#[derive(Debug)]
pub(crate) struct Compaction {
    snapshot_count: u64,
    catch_up_entries: u64,
    /// Newest disk snapshot.
    snapshot_index: Index,
    running: bool,
    forced: bool,
}

impl Compaction {
    pub(crate) fn new(config: &Config) -> Compaction {
        Compaction {
            snapshot_count: config.snapshot_count,
            catch_up_entries: config.catch_up_entries,
            snapshot_index: config.snapshot_index,
            running: false,
            forced: false,
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

    /// Up to where the log in memory may be forgotten, whatever is on disk: followers that lag more get the store itself.
    pub(crate) fn forgettable(&self, first: Index, applied: Index) -> Option<Index> {
        let keep_after = applied.0.saturating_sub(self.catch_up_entries);
        (keep_after >= first.0 + MEMORY_STEP).then_some(Index(keep_after))
    }

    /// A snapshot is on disk. Returns the index up to which the log may be forgotten.
    pub(crate) fn saved(&mut self, index: Index) -> Index {
        self.running = false;
        self.snapshot_index = self.snapshot_index.max(index);
        Index(index.0.saturating_sub(self.catch_up_entries))
    }
}
