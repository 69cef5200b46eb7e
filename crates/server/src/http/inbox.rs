//! The body of a request on its way from the connection to its handler. What the handler takes is given back to the
//! client's windows; what it leaves is bounded by them.

use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http2::StreamId;
use parking_lot::Mutex;
use tokio::sync::mpsc;

/// The handler's end of a request's body.
pub enum Inbox {
    /// All of it.
    Whole(Bytes),
    /// Piece by piece.
    Pieces(Pieces),
}

/// A body that is still coming.
pub struct Pieces {
    from: mpsc::UnboundedReceiver<Piece>,
    stream: StreamId,
    releases: Arc<Releases>,
}

/// A piece of a body, or its end.
pub enum Piece {
    /// Bytes.
    Data(Bytes),
    /// There is no more.
    End,
}

/// The client gave the request up.
#[derive(Debug)]
pub struct Gone;

impl Inbox {
    /// A body that is to come, and the end it is fed by.
    pub fn pieces(stream: StreamId, releases: Arc<Releases>) -> (mpsc::UnboundedSender<Piece>, Inbox) {
        let (to, from) = mpsc::unbounded_channel();
        (to, Inbox::Pieces(Pieces { from, stream, releases }))
    }

    /// The next bytes; none when the client has closed its side.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Gone>> {
        Poll::Ready(match self {
            Inbox::Whole(bytes) => Ok(Some(std::mem::take(bytes)).filter(|bytes| !bytes.is_empty())),
            Inbox::Pieces(pieces) => match ready!(pieces.from.poll_recv(cx)) {
                Some(Piece::Data(bytes)) => {
                    pieces.releases.add(pieces.stream, bytes.len());
                    Ok(Some(bytes))
                }
                Some(Piece::End) => {
                    *self = Inbox::Whole(Bytes::new());
                    Ok(None)
                }
                None => Err(Gone),
            },
        })
    }

    /// The same, waiting.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Gone> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        self.from.close();
        while let Ok(piece) = self.from.try_recv() {
            if let Piece::Data(bytes) = piece {
                self.releases.add(self.stream, bytes.len());
            }
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

    /// Takes the list; `waker` is woken when there is something on it again.
    pub fn take(&self, waker: &Waker) -> Vec<(StreamId, usize)> {
        let (list, task) = &mut *self.0.lock();
        if !task.as_ref().is_some_and(|task| task.will_wake(waker)) {
            *task = Some(waker.clone());
        }
        std::mem::take(list)
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

    fn data(text: &'static str) -> Piece {
        Piece::Data(Bytes::from_static(text.as_bytes()))
    }

    #[tokio::test]
    async fn pieces_come_in_order_and_are_released_as_they_are_taken() {
        let releases = Arc::<Releases>::default();
        let (to, mut inbox) = Inbox::pieces(7, releases.clone());
        for piece in [data("ab"), data("c"), Piece::End] {
            assert!(to.send(piece).is_ok());
        }
        assert_eq!(inbox.next().await.unwrap().unwrap(), "ab");
        assert_eq!(releases.take(Waker::noop()), [(7, 2)]);
        assert_eq!(inbox.next().await.unwrap().unwrap(), "c");
        assert_eq!(inbox.next().await.unwrap(), None);
        assert_eq!(inbox.next().await.unwrap(), None, "the end stays the end");
        assert_eq!(releases.take(Waker::noop()), [(7, 1)]);
        assert!(to.send(data("late")).is_err(), "nobody waits for more");
    }

    #[tokio::test]
    async fn a_body_cut_short_is_no_end() {
        let (to, mut inbox) = Inbox::pieces(7, Arc::default());
        assert!(to.send(data("ab")).is_ok());
        drop(to);
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
        let (to, mut inbox) = Inbox::pieces(7, releases.clone());
        for piece in [data("ab"), data("cde"), data("f")] {
            assert!(to.send(piece).is_ok());
        }
        inbox.next().await.unwrap();
        drop(inbox);
        assert_eq!(releases.take(Waker::noop()), [(7, 2), (7, 3), (7, 1)]);
        assert!(to.send(data("late")).is_err(), "its sender releases this one");
        assert_eq!(releases.take(Waker::noop()), []);
    }

    #[test]
    fn every_release_after_a_take_wakes_the_task_whatever_the_take_found() {
        let (task, releases) = (Arc::new(Task::default()), Releases::default());
        let waker = Waker::from(task.clone());
        assert_eq!(releases.take(&waker), []);
        for nth in 1..4 {
            releases.add(1, 10);
            releases.add(3, 5);
            assert_eq!(task.0.load(Ordering::Relaxed), nth, "once for both");
            assert_eq!(releases.take(&waker), [(1, 10), (3, 5)]);
        }
    }
}
