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
    sleep: Sleep,
    closed: bool,
}

/// What the owner is woken for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sleep {
    /// It is awake.
    No,
    /// Anything.
    Light,
    /// What cannot wait.
    Deep,
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
    let state = Mutex::new(State { items: Vec::new(), sleep: Sleep::No, closed: false });
    let shared = Arc::new(Shared { state, wake: Condvar::new() });
    (Sender(shared.clone()), Receiver(shared))
}

impl<T> Sender<T> {
    /// Adds an item; gives it back when the owner is gone.
    pub fn push(&self, item: T) -> Result<(), T> {
        self.add(item, Sleep::Deep)
    }

    /// The same for an item that can wait until the owner wakes for another reason, if it said so.
    pub fn push_later(&self, item: T) -> Result<(), T> {
        self.add(item, Sleep::Light)
    }

    /// Wakes the owner unless its sleep is deeper than `deepest`.
    fn add(&self, item: T, deepest: Sleep) -> Result<(), T> {
        let mut state = self.0.state.lock();
        if state.closed {
            return Err(item);
        }
        state.items.push(item);
        let wake = state.sleep == Sleep::Light || state.sleep == deepest;
        if wake {
            state.sleep = Sleep::No;
        }
        drop(state);
        if wake {
            self.0.wake.notify_one();
        }
        Ok(())
    }

    /// The owner sleeps and nothing waits for it: it has done all that it was given.
    pub fn is_idle(&self) -> bool {
        let state = self.0.state.lock();
        state.sleep != Sleep::No && state.items.is_empty()
    }

    /// Moves what waits into `into` (which must be empty) if the owner sleeps: then whoever asks may do the owner's work.
    pub fn take_asleep(&self, into: &mut Vec<T>) -> bool {
        let mut state = self.0.state.lock();
        let sleeps = state.sleep != Sleep::No;
        if sleeps {
            std::mem::swap(&mut state.items, into);
        }
        sleeps
    }

    /// The owner sleeps so deep that [`Sender::push_later`] does not wake it.
    pub fn is_deep_asleep(&self) -> bool {
        self.0.state.lock().sleep == Sleep::Deep
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
        self.sleep(Sleep::Light, into, until);
    }

    /// The same, but [`Sender::push_later`] does not end the sleep.
    pub fn take_undisturbed(&self, into: &mut Vec<T>, until: Option<Instant>) {
        self.sleep(Sleep::Deep, into, until);
    }

    fn sleep(&self, sleep: Sleep, into: &mut Vec<T>, until: Option<Instant>) {
        let mut state = self.0.state.lock();
        while state.items.is_empty() {
            state.sleep = sleep;
            match until {
                None => self.0.wake.wait(&mut state),
                Some(until) => {
                    if self.0.wake.wait_until(&mut state, until).timed_out() {
                        break;
                    }
                }
            }
        }
        state.sleep = Sleep::No;
        std::mem::swap(&mut state.items, into);
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.0.state.lock().items.is_empty()
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_can_wait_wakes_only_light_sleepers() {
        const NIGHT: Duration = Duration::from_millis(100);
        let (to, from) = mailbox();
        let start = Instant::now();
        let pushing = std::thread::spawn(move || {
            std::thread::sleep(NIGHT / 10);
            to.push_later(1).unwrap();
            std::thread::sleep(NIGHT * 2);
            to.push_later(2).unwrap();
            to
        });
        let mut taken = Vec::new();
        from.take_undisturbed(&mut taken, Some(start + NIGHT));
        assert!(start.elapsed() >= NIGHT);
        assert_eq!(std::mem::take(&mut taken), [1]);
        from.take(&mut taken, None);
        assert_eq!(taken, [2]);
        drop(pushing.join());
    }

    #[test]
    fn what_waits_for_a_sleeper_can_be_taken_by_another() {
        let (to, from) = mailbox();
        let mut taken = Vec::new();
        assert!(!to.take_asleep(&mut taken), "the owner is awake");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut woken_for = Vec::new();
                from.take_undisturbed(&mut woken_for, None);
                assert_eq!(woken_for, [2]);
            });
            while !to.take_asleep(&mut taken) {
                std::thread::yield_now();
            }
            to.push_later(1).unwrap();
            assert!(to.take_asleep(&mut taken));
            assert_eq!(taken, [1]);
            to.push(2).unwrap();
        });
    }
}
