//! The body of a request on its way from the connection to its handler. What the handler takes is given back to the
//! client's windows; what it leaves is bounded by them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http2::StreamId;
use parking_lot::Mutex;

/// The handler's end of a request's body.
pub enum Inbox {
    /// All of it.
    Whole(Bytes),
    /// Piece by piece.
    Pieces(Pieces),
}

/// A body that is still coming.
pub struct Pieces {
    body: Arc<Mutex<Coming>>,
    stream: StreamId,
    releases: Arc<Releases>,
}

/// The connection's end of a body that is still coming. A body that it is dropped before has been cut short.
pub struct Feed(Arc<Mutex<Coming>>);

/// What has come and was not taken yet: no more than the client's windows let it send.
#[derive(Default)]
struct Coming {
    pieces: VecDeque<Bytes>,
    ended: bool,
    cut_short: bool,
    /// The handler wants no more.
    unwanted: bool,
    waker: Option<Waker>,
}

/// The client gave the request up.
#[derive(Debug)]
pub struct Gone;

impl Feed {
    /// Hands over what has come of a body, and whether that was the last of it; false if nobody wants it.
    pub fn push(&self, bytes: Bytes, end: bool) -> bool {
        self.tell(|body| {
            if !body.unwanted && !bytes.is_empty() {
                body.pieces.push_back(bytes);
            }
            body.ended |= end;
        })
    }

    fn tell(&self, what: impl FnOnce(&mut Coming)) -> bool {
        let (is_wanted, waker) = {
            let body = &mut *self.0.lock();
            what(body);
            (!body.unwanted, body.waker.take())
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        is_wanted
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.tell(|body| body.cut_short = true);
    }
}

impl Inbox {
    /// A body that is to come, and the end it is fed by.
    pub fn pieces(stream: StreamId, releases: Arc<Releases>) -> (Feed, Inbox) {
        let body = Arc::<Mutex<Coming>>::default();
        (Feed(body.clone()), Inbox::Pieces(Pieces { body, stream, releases }))
    }

    /// The next bytes; none when the client has closed its side.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Gone>> {
        let pieces = match self {
            Inbox::Whole(bytes) => {
                return Poll::Ready(Ok(Some(std::mem::take(bytes)).filter(|bytes| !bytes.is_empty())));
            }
            Inbox::Pieces(pieces) => pieces,
        };
        let mut body = pieces.body.lock();
        if let Some(bytes) = body.pieces.pop_front() {
            drop(body);
            pieces.releases.add(pieces.stream, bytes.len());
            return Poll::Ready(Ok(Some(bytes)));
        }
        if body.ended {
            drop(body);
            *self = Inbox::Whole(Bytes::new());
            return Poll::Ready(Ok(None));
        }
        if body.cut_short {
            return Poll::Ready(Err(Gone));
        }
        if !body.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            body.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// The same, waiting.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Gone> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        let left = {
            let mut body = self.body.lock();
            body.unwanted = true;
            std::mem::take(&mut body.pieces)
        };
        for bytes in left {
            self.releases.add(self.stream, bytes.len());
        }
    }
}

/// What handlers have taken and the connection has not yet given back to the client.
#[derive(Default)]
pub struct Releases(Mutex<Taken>);

/// Bytes by stream, and the task to be woken for them.
type Taken = (Vec<(StreamId, usize)>, Option<Waker>);

impl Releases {
    fn add(&self, stream: StreamId, len: usize) {
        let task = {
            let (list, task) = &mut *self.0.lock();
            list.push((stream, len));
            task.take()
        };
        if let Some(task) = task {
            task.wake();
        }
    }

    /// Takes what is on the list into `list`, which is empty. Nobody is woken for what comes onto it from now on but, if
    /// there was nothing, `waker`.
    pub fn take(&self, list: &mut Vec<(StreamId, usize)>, waker: Option<&Waker>) {
        let (taken, task) = &mut *self.0.lock();
        std::mem::swap(taken, list);
        match waker.filter(|_| list.is_empty()) {
            Some(waker) if task.as_ref().is_some_and(|task| task.will_wake(waker)) => {}
            waker => *task = waker.cloned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn data(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn taken(releases: &Releases, waker: Option<&Waker>) -> Vec<(StreamId, usize)> {
        let mut list = Vec::new();
        releases.take(&mut list, waker);
        list
    }

    #[tokio::test]
    async fn pieces_come_in_order_and_are_released_as_they_are_taken() {
        let releases = Arc::<Releases>::default();
        let (feed, mut inbox) = Inbox::pieces(7, releases.clone());
        assert!(feed.push(data("ab"), false));
        assert!(feed.push(data("c"), true));
        assert_eq!(inbox.next().await.unwrap().unwrap(), "ab");
        assert_eq!(taken(&releases, None), [(7, 2)]);
        assert_eq!(inbox.next().await.unwrap().unwrap(), "c");
        assert_eq!(inbox.next().await.unwrap(), None);
        assert_eq!(inbox.next().await.unwrap(), None, "the end stays the end");
        assert_eq!(taken(&releases, None), [(7, 1)]);
        assert!(!feed.push(data("late"), false), "nobody waits for more");
    }

    #[tokio::test]
    async fn whoever_waits_is_woken_by_a_piece_the_end_and_the_break() {
        let (feed, mut inbox) = Inbox::pieces(7, Arc::default());
        let task = Arc::new(Task::default());
        let waker = Waker::from(task.clone());
        let mut poll = || inbox.poll_next(&mut Context::from_waker(&waker)).map(Result::ok);
        assert_eq!((poll(), poll()), (Poll::Pending, Poll::Pending));
        feed.push(data("ab"), false);
        feed.push(data("c"), false);
        assert_eq!(task.0.load(Ordering::Relaxed), 1, "once for both");
        assert_eq!(poll(), Poll::Ready(Some(Some(data("ab")))));
        assert_eq!((poll(), poll()), (Poll::Ready(Some(Some(data("c")))), Poll::Pending));
        drop(feed);
        assert_eq!((task.0.load(Ordering::Relaxed), poll()), (2, Poll::Ready(None)));
        let (feed, mut inbox) = Inbox::pieces(7, Arc::default());
        assert!(inbox.poll_next(&mut Context::from_waker(&waker)).is_pending());
        feed.push(Bytes::new(), true);
        assert_eq!(task.0.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn a_body_cut_short_is_no_end() {
        let (feed, mut inbox) = Inbox::pieces(7, Arc::default());
        assert!(feed.push(data("ab"), false));
        drop(feed);
        assert_eq!(inbox.next().await.unwrap().unwrap(), "ab");
        assert!(inbox.next().await.is_err());
    }

    #[tokio::test]
    async fn a_whole_body_comes_once() {
        let mut inbox = Inbox::Whole(Bytes::from_static(b"ab"));
        assert_eq!(inbox.next().await.unwrap().unwrap(), "ab");
        assert_eq!(inbox.next().await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_a_handler_leaves_is_released_when_it_goes() {
        let releases = Arc::<Releases>::default();
        let (feed, mut inbox) = Inbox::pieces(7, releases.clone());
        for piece in [data("ab"), data("cde"), data("f")] {
            assert!(feed.push(piece, false));
        }
        inbox.next().await.unwrap();
        drop(inbox);
        assert_eq!(taken(&releases, None), [(7, 2), (7, 3), (7, 1)]);
        assert!(!feed.push(data("late"), false), "its sender releases this one");
        assert_eq!(taken(&releases, None), []);
    }

    #[test]
    fn the_task_is_woken_for_what_comes_after_it_found_nothing() {
        let (task, releases) = (Arc::new(Task::default()), Releases::default());
        let waker = Waker::from(task.clone());
        let woken = || task.0.load(Ordering::Relaxed);
        for nth in 0..3 {
            assert_eq!(taken(&releases, Some(&waker)), []);
            releases.add(1, 10);
            releases.add(3, 5);
            assert_eq!(woken(), nth + 1, "once for both");
            assert_eq!(taken(&releases, Some(&waker)), [(1, 10), (3, 5)]);
            releases.add(1, 1);
            assert_eq!(woken(), nth + 1, "it is at work");
            assert_eq!(taken(&releases, None), [(1, 1)]);
            releases.add(1, 2);
            assert_eq!((woken(), taken(&releases, None)), (nth + 1, vec![(1, 2)]));
        }
    }
}
