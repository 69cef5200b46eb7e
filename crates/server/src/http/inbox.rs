//! The body of a request on its way from the connection to its handler. What the handler takes is given back to the
//! client's windows; what it leaves is bounded by them.

use std::sync::Arc;
use std::task::Waker;

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
    pub async fn next(&mut self) -> Result<Option<Bytes>, Gone> {
        match self {
            Inbox::Whole(bytes) => Ok(Some(std::mem::take(bytes)).filter(|bytes| !bytes.is_empty())),
            Inbox::Pieces(pieces) => match pieces.from.recv().await {
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
        }
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
