//! Long work that lets others have their turn.

use std::time::{Duration, Instant};

/// Works at most this long without offering its core to others.
const TURN: Duration = Duration::from_micros(500);
/// The clock is looked at after so many pieces of work, of about a microsecond each.
const PIECES: u32 = 32;

/// The turn of a thread that has much to do. Linux may leave a thread that has just been woken behind one that computes
/// until its next tick, 4 ms later, even if another core is idle: who waits for an answer would wait for a commit
/// (decision 0015).
pub(super) struct Turn {
    began: Instant,
    pieces: u32,
}

impl Turn {
    pub(super) fn begin() -> Turn {
        Turn { began: Instant::now(), pieces: 0 }
    }

    /// Call it after every piece of the work.
    pub(super) fn pass(&mut self) {
        self.pieces += 1;
        if self.pieces < PIECES {
            return;
        }
        self.pieces = 0;
        if self.began.elapsed() >= TURN {
            std::thread::yield_now();
            self.began = Instant::now();
        }
    }
}
