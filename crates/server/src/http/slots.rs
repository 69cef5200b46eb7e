//! Work of one connection's streams, polled where the connection is: each piece has a waker of its own, so that only
//! what can go on is looked at.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;

/// Pieces of work by slot.
pub struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<usize>,
    ready: Arc<Ready>,
    taken: Vec<usize>,
}

struct Slot<T> {
    work: Option<T>,
    waker: Waker,
}

/// The slots that were woken, and the task to be woken for them.
#[derive(Default)]
struct Ready(Mutex<(Vec<usize>, Option<Waker>)>);

struct SlotWaker {
    at: usize,
    ready: Arc<Ready>,
}

impl Wake for SlotWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let task = {
            let (woken, task) = &mut *self.ready.0.lock();
            woken.push(self.at);
            if woken.len() == 1 { task.take() } else { None }
        };
        if let Some(task) = task {
            task.wake();
        }
    }
}

impl<T> Slots<T> {
    /// No work.
    pub fn new() -> Slots<T> {
        Slots { slots: Vec::new(), free: Vec::new(), ready: Arc::default(), taken: Vec::new() }
    }

    /// Puts work into a slot, to be polled first when the slots are next polled.
    pub fn insert(&mut self, work: T) -> usize {
        let at = self.free.pop().unwrap_or_else(|| {
            let at = self.slots.len();
            let waker = Waker::from(Arc::new(SlotWaker { at, ready: self.ready.clone() }));
            self.slots.push(Slot { work: None, waker });
            at
        });
        self.slots[at].work = Some(work);
        self.ready.0.lock().0.push(at);
        at
    }

    /// Drops the work in a slot.
    pub fn remove(&mut self, at: usize) {
        if self.slots[at].work.take().is_some() {
            self.free.push(at);
        }
    }

    /// Polls what was woken; what `poll` says is done leaves its slot and goes to `done`. False if nothing was woken:
    /// then the task of `cx` will be.
    pub fn poll<O>(
        &mut self,
        cx: &Context<'_>,
        mut poll: impl FnMut(&mut T, &mut Context<'_>) -> Poll<O>,
        done: &mut Vec<(T, O)>,
    ) -> bool {
        {
            let (woken, task) = &mut *self.ready.0.lock();
            std::mem::swap(woken, &mut self.taken);
            if self.taken.is_empty() {
                if !task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
                    *task = Some(cx.waker().clone());
                }
                return false;
            }
        }
        for at in self.taken.drain(..) {
            let Slot { work, waker } = &mut self.slots[at];
            // A slot may have been woken twice, or emptied since.
            let Some(running) = work else { continue };
            if let Poll::Ready(output) = poll(running, &mut Context::from_waker(waker))
                && let Some(work) = work.take()
            {
                self.free.push(at);
                done.push((work, output));
            }
        }
        true
    }
}
