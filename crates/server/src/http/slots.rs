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

    /// The task of the last [`poll`](Self::poll) that found nothing is at work: nobody needs to wake it until it polls
    /// again.
    pub fn at_work(&self) {
        self.ready.0.lock().1 = None;
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Counts how often it was woken.
    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Says its name when it is done, and what wakes it.
    struct Work {
        name: char,
        polls_left: usize,
        waker: Option<Waker>,
    }

    fn work(name: char, polls_left: usize) -> Work {
        Work { name, polls_left, waker: None }
    }

    struct Run {
        slots: Slots<Work>,
        task: Arc<Task>,
        polled: String,
        done: Vec<(Work, char)>,
        /// Whether work wakes itself while it is polled.
        eager: bool,
    }

    impl Run {
        fn new() -> Run {
            Run {
                slots: Slots::new(),
                task: Arc::default(),
                polled: String::new(),
                done: Vec::new(),
                eager: false,
            }
        }

        fn poll(&mut self) -> bool {
            let waker = Waker::from(self.task.clone());
            let step = |work: &mut Work, cx: &mut Context<'_>| {
                self.polled.push(work.name);
                work.waker = Some(cx.waker().clone());
                if self.eager {
                    cx.waker().wake_by_ref();
                }
                work.polls_left -= 1;
                if work.polls_left == 0 { Poll::Ready(work.name) } else { Poll::Pending }
            };
            self.slots.poll(&Context::from_waker(&waker), step, &mut self.done)
        }

        fn wake(&self, at: usize) {
            self.slots.slots[at].waker.wake_by_ref();
        }

        fn woken(&self) -> usize {
            self.task.0.load(Ordering::Relaxed)
        }

        fn done(&self) -> String {
            self.done.iter().map(|(_, name)| name).collect()
        }
    }

    #[test]
    fn work_is_polled_when_it_is_new_and_when_it_was_woken_and_never_else() {
        let mut run = Run::new();
        assert!(!run.poll());
        let a = run.slots.insert(work('a', 3));
        let b = run.slots.insert(work('b', 2));
        assert!(run.poll());
        assert!(!run.poll(), "both have been polled");
        run.wake(b);
        run.wake(a);
        run.wake(a);
        assert_eq!(run.woken(), 1, "the task knows after the first");
        assert!(run.poll());
        assert_eq!((&run.polled[..], &run.done()[..]), ("abbaa", "ba"));
        assert!(!run.poll());
        run.wake(a);
        assert!(run.poll(), "there was a wake, for nobody");
        assert_eq!(run.polled, "abbaa");
    }

    #[test]
    fn a_wake_while_the_work_is_polled_is_not_lost() {
        let mut run = Run::new();
        run.eager = true;
        run.slots.insert(work('a', 3));
        for _ in 0..3 {
            assert!(run.poll());
        }
        assert_eq!((&run.polled[..], &run.done()[..]), ("aaa", "a"));
    }

    #[test]
    fn the_task_is_woken_for_everything_after_it_found_nothing() {
        let mut run = Run::new();
        let a = run.slots.insert(work('a', 100));
        run.poll();
        for nth in 1..5 {
            assert!(!run.poll());
            run.wake(a);
            assert_eq!(run.woken(), nth);
            assert!(run.poll());
        }
    }

    #[test]
    fn a_task_that_is_at_work_is_not_woken_but_finds_the_work() {
        let mut run = Run::new();
        let a = run.slots.insert(work('a', 100));
        run.poll();
        assert!(!run.poll());
        run.slots.at_work();
        run.wake(a);
        assert_eq!(run.woken(), 0);
        assert!(run.poll() && !run.poll());
        run.wake(a);
        assert_eq!((&run.polled[..], run.woken()), ("aa", 1));
    }

    #[test]
    fn removed_work_is_not_polled_and_its_slot_serves_the_next() {
        let mut run = Run::new();
        let (a, b) = (run.slots.insert(work('a', 9)), run.slots.insert(work('b', 9)));
        run.poll();
        run.wake(a);
        run.slots.remove(a);
        run.slots.remove(a);
        run.poll();
        assert_eq!(run.polled, "ab");
        let (c, d) = (run.slots.insert(work('c', 1)), run.slots.insert(work('d', 1)));
        assert_eq!(c, a);
        assert!(d != a && d != b, "removed once, free once");
        run.poll();
        assert_eq!((&run.polled[..], &run.done()[..]), ("abcd", "cd"));
        run.slots.remove(c);
        assert_eq!(run.slots.free.len(), 2, "what is done is free already");
    }

    #[test]
    fn a_late_wake_of_work_that_is_gone_harms_nobody() {
        let mut run = Run::new();
        let a = run.slots.insert(work('a', 1));
        run.poll();
        let late = run.done[0].0.waker.take().unwrap();
        drop(std::mem::replace(&mut run.slots, Slots::new()));
        late.wake_by_ref();
        assert!(!run.poll());
        assert_eq!(run.slots.insert(work('b', 1)), a);
        late.wake();
        assert!(run.poll());
        assert_eq!(run.polled, "ab");
    }
}
