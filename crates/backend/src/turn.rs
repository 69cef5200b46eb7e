//! Long work that lets others have their turn: `docs/decisions/0015-long-work-passes-the-core-on.md`.

/// So much is done between two offers: some 300 µs of it.
const TURN: usize = 256;

/// The turn of a thread that has much to do. Linux may leave a thread that has just been woken behind one that computes
/// until its next tick, 4 ms later, even if another core is idle. So the thread offers its core now and then.
#[derive(Debug, Default)]
pub struct Turn {
    done: usize,
}

impl Turn {
    /// So many pieces of about a microsecond are done, or are next: a record that is changed, a page that is made or copied.
    pub fn pass(&mut self, pieces: usize) {
        self.done += pieces;
        if self.done >= TURN {
            self.done = 0;
            std::thread::yield_now();
        }
    }
}
