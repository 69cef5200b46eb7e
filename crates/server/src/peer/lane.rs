//! A stream to a peer, from our side: the answer to a request of the peer's that never ends. Messages wait here until
//! the connection takes them.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use parking_lot::Mutex;
use raft::Message;
use tokio::time::{Interval, MissedTickBehavior};

use super::codec::{Encoder, Kind, Pieces};
use super::{Peer, Peers};
use crate::log;

/// Messages that wait for a connection.
const WAITING_MAX: usize = 4096;
/// What the entries in them may amount to; a single message may be longer.
const WAITING_BYTES_MAX: usize = 64 << 20;
/// Encoded at once, then offered to the connection.
const BATCH_BYTES: usize = 1 << 20;
/// How often a stream gives a sign of life: a third of the least that the other side waits for one.
const HEARTBEAT: Duration = Duration::from_millis(5000 / 3);

/// Messages of one kind for one peer.
#[derive(Default)]
pub struct Lane(Mutex<State>);

#[derive(Default)]
struct State {
    /// Number of the newest stream.
    stream: u64,
    attached: bool,
    waiting: VecDeque<Message>,
    waiting_bytes: usize,
    task: Option<Waker>,
}

/// Why a lane does not take a message.
pub enum Refused {
    /// The peer has dialed no stream.
    Detached(Box<Message>),
    /// Too much waits.
    Full,
}

fn size(message: &Message) -> usize {
    message.entries.iter().map(raft::Entry::size).sum::<usize>() + 64
}

impl Lane {
    /// Takes a message for the stream.
    pub fn push(&self, message: Message) -> Result<(), Refused> {
        let mut state = self.0.lock();
        if !state.attached {
            return Err(Refused::Detached(Box::new(message)));
        }
        let bytes = state.waiting_bytes + size(&message);
        if state.waiting.len() >= WAITING_MAX || (state.waiting_bytes > 0 && bytes > WAITING_BYTES_MAX) {
            return Err(Refused::Full);
        }
        state.waiting_bytes = bytes;
        state.waiting.push_back(message);
        let task = state.task.take();
        drop(state);
        if let Some(task) = task {
            task.wake();
        }
        Ok(())
    }

    /// The peer has dialed a stream: an older one ends.
    fn attach(&self) -> u64 {
        let mut state = self.0.lock();
        state.stream += 1;
        state.attached = true;
        if let Some(task) = state.task.take() {
            task.wake();
        }
        state.stream
    }

    /// Ends the stream, whichever it is.
    pub fn close(&self) {
        let mut state = self.0.lock();
        state.stream += 1;
        state.attached = false;
        state.waiting.clear();
        state.waiting_bytes = 0;
        if let Some(task) = state.task.take() {
            task.wake();
        }
    }

    /// The stream has ended, and with it all that waited for it. True if something did.
    fn detach(&self, stream: u64) -> Option<bool> {
        let mut state = self.0.lock();
        if state.stream != stream {
            return None;
        }
        state.attached = false;
        state.waiting_bytes = 0;
        Some(!std::mem::take(&mut state.waiting).is_empty())
    }

    /// What waits for the stream, at least one message and at most about a batch. `None`: another stream has its place.
    fn take(&self, stream: u64, waker: &Waker, into: &mut Vec<Message>) -> Option<()> {
        let mut state = self.0.lock();
        if state.stream != stream {
            return None;
        }
        let mut bytes = 0;
        while bytes < BATCH_BYTES
            && let Some(message) = state.waiting.pop_front()
        {
            bytes += size(&message);
            into.push(message);
        }
        state.waiting_bytes = state.waiting_bytes.saturating_sub(bytes);
        if into.is_empty() {
            state.task = Some(waker.clone());
        }
        Some(())
    }
}

/// The body of the answer.
pub struct Stream {
    peers: Peers,
    peer: Arc<Peer>,
    kind: Kind,
    stream: u64,
    encoder: Encoder,
    pieces: Pieces,
    taken: Vec<Message>,
    heartbeats: Interval,
}

impl Stream {
    /// What `peer` has dialed. Must be made inside a runtime.
    pub fn attach(peers: &Peers, peer: Arc<Peer>, kind: Kind) -> Stream {
        let stream = peer.lane(kind).attach();
        let mut heartbeats = tokio::time::interval(HEARTBEAT);
        heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        log::info!(
            "set message encoder",
            "from" = peers.identity().id.to_string(),
            "to" = peer.id.to_string(),
            "stream-type" = kind.shown()
        );
        told(&peer, peers, kind, "established TCP streaming connection with remote peer");
        let (encoder, pieces, taken) = (Encoder::new(kind), Pieces::default(), Vec::new());
        Stream { peers: peers.clone(), peer, kind, stream, encoder, pieces, taken, heartbeats }
    }
}

fn told(peer: &Peer, peers: &Peers, kind: Kind, what: &'static str) {
    let (kind, local, remote) = (kind.shown(), peers.identity().id.to_string(), peer.id.to_string());
    if what.starts_with("lost") {
        log::warning!(
            what,
            "stream-writer-type" = kind,
            "local-member-id" = local,
            "remote-peer-id" = remote
        );
    } else {
        log::info!(what, "stream-writer-type" = kind, "local-member-id" = local, "remote-peer-id" = remote);
    }
}

impl http_body::Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let stream = self.get_mut();
        loop {
            if let Some(piece) = stream.pieces.next_piece() {
                stream.peer.sent_bytes.add(piece.len() as u64);
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            let lane = stream.peer.lane(stream.kind);
            if lane.take(stream.stream, cx.waker(), &mut stream.taken).is_none() {
                return Poll::Ready(None);
            }
            // Also when there is much to send: the other side takes nothing else for a sign of life.
            if stream.heartbeats.poll_tick(cx).is_ready() {
                stream.encoder.put_heartbeat(&mut stream.pieces);
            }
            if !stream.taken.is_empty() {
                let mut last = stream.peers.0.entries.lock();
                for message in stream.taken.drain(..) {
                    stream.encoder.put(&message, &mut last, &mut stream.pieces);
                }
            }
            if stream.pieces.is_empty() {
                return Poll::Pending;
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(lost) = self.peer.lane(self.kind).detach(self.stream) {
            if lost || !self.pieces.is_empty() {
                self.peers.unreachable(self.peer.id);
            }
            told(&self.peer, &self.peers, self.kind, "lost TCP streaming connection with remote peer");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft::{MemberId, MessageKind};

    fn message(n: u64) -> Message {
        Message { kind: MessageKind::AppResp, to: MemberId(n), ..Message::default() }
    }

    fn taken(lane: &Lane, stream: u64) -> Option<Vec<u64>> {
        let mut messages = Vec::new();
        lane.take(stream, Waker::noop(), &mut messages)?;
        Some(messages.iter().map(|message| message.to.0).collect())
    }

    #[test]
    fn messages_leave_in_order_by_the_newest_stream_alone() {
        let lane = Lane::default();
        assert!(matches!(lane.push(message(0)), Err(Refused::Detached(_))));
        let old = lane.attach();
        assert!(lane.push(message(1)).is_ok() && lane.push(message(2)).is_ok());
        let new = lane.attach();
        assert_eq!(taken(&lane, old), None);
        assert_eq!(lane.detach(old), None, "an older stream takes nothing along");
        assert_eq!(taken(&lane, new), Some(vec![1, 2]));
        assert_eq!(taken(&lane, new), Some(vec![]));
        assert!(lane.push(message(3)).is_ok());
        assert_eq!(lane.detach(new), Some(true));
        assert!(matches!(lane.push(message(4)), Err(Refused::Detached(_))));
    }

    #[test]
    fn a_peer_that_does_not_read_makes_its_lane_full() {
        let lane = Lane::default();
        let stream = lane.attach();
        (0..WAITING_MAX as u64).for_each(|n| assert!(lane.push(message(n)).is_ok()));
        assert!(matches!(lane.push(message(0)), Err(Refused::Full)));
        assert_eq!(taken(&lane, stream).unwrap().len(), WAITING_MAX);
        let long = raft::Entry { data: Bytes::from(vec![0; WAITING_BYTES_MAX]), ..Default::default() };
        let long = Message { entries: vec![long], ..message(1) };
        assert!(lane.push(long.clone()).is_ok(), "a single one may be longer");
        assert!(matches!(lane.push(long), Err(Refused::Full)));
        lane.close();
        assert_eq!(taken(&lane, stream), None);
    }
}
