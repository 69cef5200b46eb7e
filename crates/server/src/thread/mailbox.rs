//! The queue in front of an owner thread: many may push, one takes everything that waits at once.
//!
//! Pushing never blocks. What bounds a mailbox is written in docs/bounds.md: proposals are counted by the waiters,
//! acknowledgements by what was handed out.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

struct Shared<T> {
    state: Mutex<State<T>>,
    wake: Condvar,
}

struct State<T> {
    items: Vec<T>,
    asleep: bool,
    closed: bool,
}

/// The pushing end; cheap to clone.
pub struct Sender<T>(Arc<Shared<T>>);

/// The taking end; one per owner thread.
pub struct Receiver<T>(Arc<Shared<T>>);

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Sender(self.0.clone())
    }
}

/// A new mailbox.
pub fn mailbox<T>() -> (Sender<T>, Receiver<T>) {
    let state = Mutex::new(State { items: Vec::new(), asleep: false, closed: false });
    let shared = Arc::new(Shared { state, wake: Condvar::new() });
    (Sender(shared.clone()), Receiver(shared))
}

impl<T> Sender<T> {
    /// Adds an item; gives it back when the owner is gone.
    pub fn push(&self, item: T) -> Result<(), T> {
        let mut state = self.0.state.lock();
        if state.closed {
            return Err(item);
        }
        state.items.push(item);
        let wake = std::mem::take(&mut state.asleep);
        drop(state);
        if wake {
            self.0.wake.notify_one();
        }
        Ok(())
    }

    /// How many items wait.
    pub fn len(&self) -> usize {
        self.0.state.lock().items.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Receiver<T> {
    /// Moves all that waits into `into` (which must be empty); sleeps until there is something or `until` has come.
    pub fn take(&self, into: &mut Vec<T>, until: Option<Instant>) {
        let mut state = self.0.state.lock();
        while state.items.is_empty() {
            state.asleep = true;
            match until {
                None => self.0.wake.wait(&mut state),
                Some(until) => {
                    if self.0.wake.wait_until(&mut state, until).timed_out() {
                        state.asleep = false;
                        break;
                    }
                }
            }
        }
        std::mem::swap(&mut state.items, into);
    }

    /// Moves all that waits into `into` without sleeping.
    pub fn take_now(&self, into: &mut Vec<T>) {
        std::mem::swap(&mut self.0.state.lock().items, into);
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.closed = true;
        state.items.clear();
    }
}
