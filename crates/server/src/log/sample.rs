//! Keeps a flood of equal lines from filling the disk: per second and per level and message the first hundred pass,
//! then every hundredth.
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::Level;

const FIRST: u64 = 100;
const THEN_EVERY: u64 = 100;
const SLOTS: usize = 1024;

/// Counters by hash of level and message; two messages may share one, as in zap.
pub(super) struct Sampler {
    slots: [Slot; SLOTS],
}

struct Slot {
    second: AtomicU64,
    count: AtomicU64,
}

impl Sampler {
    pub(super) const fn new() -> Sampler {
        Sampler { slots: [const { Slot { second: AtomicU64::new(0), count: AtomicU64::new(0) } }; SLOTS] }
    }

    pub(super) fn admits(&self, level: Level, message: &str, now: SystemTime) -> bool {
        let mut hash = std::hash::DefaultHasher::new();
        (level as u8, message).hash(&mut hash);
        let slot = &self.slots[usize::try_from(hash.finish() % SLOTS as u64).unwrap_or(0)];
        let second = now.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        if slot.second.swap(second, Ordering::Relaxed) != second {
            slot.count.store(0, Ordering::Relaxed);
        }
        let n = slot.count.fetch_add(1, Ordering::Relaxed) + 1;
        n <= FIRST || (n - FIRST).is_multiple_of(THEN_EVERY)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_hundred_equal_lines_pass_then_one_in_a_hundred_until_the_next_second() {
        let sampler = Sampler::new();
        let pass = |message: &str, now, n: usize| {
            (0..n).filter(|_| sampler.admits(Level::Warn, message, now)).count()
        };
        let now = UNIX_EPOCH + Duration::from_secs(5);
        assert_eq!(pass("again", now, 1000), 109);
        assert_eq!(pass("other", now, 1), 1);
        assert_eq!(pass("again", now + Duration::from_secs(1), 100), 100);
    }
}
