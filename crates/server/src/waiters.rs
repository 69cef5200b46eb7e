//! Who waits for which request: from the id in a log entry back to the task that proposed it.
//!
//! Apply fills the slots of a whole batch and then wakes each front loop once; the loop hands the answers to its own
//! tasks without crossing a core.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use prost::Message as _;
use tokio::sync::{Notify, oneshot};

/// Requests that may be under way at a time; above that the answer is "too many requests".
pub const IN_FLIGHT_MAX: usize = 32_768;
const SHARDS: usize = 16;

/// What became of a proposal or read.
#[derive(Debug)]
pub enum Answer {
    /// A normal entry was executed.
    Applied {
        /// What it did, or why it was refused.
        result: Result<store::Response, store::ApplyError>,
        /// The quota was exceeded and nobody has said so yet: raise the alarm before answering.
        raise_nospace: bool,
    },
    /// A change of membership was executed or refused.
    ConfChanged(Result<Vec<store::Member>, store::ApplyError>),
    /// A linearizable read may be served once this index is applied.
    ReadAt(u64),
    /// Consensus did not take it.
    Refused(node::ProposalError),
}

thread_local! {
    static LOOP: Cell<usize> = const { Cell::new(0) };
}

/// Tells [`Waiters`] that this thread is front loop `at`.
pub fn enter_loop(at: usize) {
    LOOP.set(at);
}

#[derive(Default)]
struct Mail {
    answers: Mutex<Vec<(oneshot::Sender<Answer>, Answer)>>,
    arrived: Notify,
}

struct Waiter {
    slot: oneshot::Sender<Answer>,
    at: usize,
}

/// The table of waiting requests.
pub struct Waiters {
    shards: Vec<Mutex<HashMap<u64, Waiter>>>,
    mail: Vec<Mail>,
    in_flight: AtomicUsize,
}

impl Waiters {
    /// A table for `loops` front loops.
    pub fn new(loops: usize) -> Waiters {
        Waiters {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            mail: (0..loops.max(1)).map(|_| Mail::default()).collect(),
            in_flight: AtomicUsize::new(0),
        }
    }

    /// Registers `id`; `None` when too many wait already. The slot is given up when the ticket drops.
    pub fn register(self: &Arc<Waiters>, id: u64) -> Option<Ticket> {
        if self.in_flight.fetch_add(1, Ordering::Relaxed) >= IN_FLIGHT_MAX {
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let (slot, answer) = oneshot::channel();
        let at = LOOP.get().min(self.mail.len() - 1);
        self.shard(id).lock().insert(id, Waiter { slot, at });
        Some(Ticket { id, answer, table: self.clone() })
    }

    /// Requests under way.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether somebody here waits for `id`.
    pub fn wanted(&self, id: u64) -> bool {
        self.shard(id).lock().get(&id).is_some_and(|waiter| !waiter.slot.is_closed())
    }

    /// A batch of answers to be delivered together.
    pub fn batch(&self) -> Batch<'_> {
        Batch { table: self, mail: (0..self.mail.len()).map(|_| Vec::new()).collect() }
    }

    /// Delivers one answer.
    pub fn answer(&self, id: u64, answer: Answer) {
        let mut batch = self.batch();
        batch.add(id, answer);
        batch.send();
    }

    /// Hands answers to the tasks of front loop `at`; never returns.
    pub async fn deliver(self: Arc<Waiters>, at: usize) {
        let mut taken = Vec::new();
        loop {
            std::mem::swap(&mut *self.mail[at].answers.lock(), &mut taken);
            if taken.is_empty() {
                self.mail[at].arrived.notified().await;
                continue;
            }
            for (slot, answer) in taken.drain(..) {
                // A closed slot is a client that did not wait.
                let _ = slot.send(answer);
            }
            tokio::task::yield_now().await;
        }
    }

    fn shard(&self, id: u64) -> &Mutex<HashMap<u64, Waiter>> {
        &self.shards[(id as usize) % SHARDS]
    }
}

/// Answers collected while a batch of entries is applied.
pub struct Batch<'a> {
    table: &'a Waiters,
    mail: Vec<Vec<(oneshot::Sender<Answer>, Answer)>>,
}

impl Batch<'_> {
    /// Adds an answer; dropped when nobody waits for it.
    pub fn add(&mut self, id: u64, answer: Answer) {
        if let Some(waiter) = self.table.shard(id).lock().remove(&id) {
            self.mail[waiter.at].push((waiter.slot, answer));
        }
    }

    /// Delivers everything, waking each front loop once.
    pub fn send(&mut self) {
        for (answers, mail) in self.mail.iter_mut().zip(&self.table.mail) {
            if !answers.is_empty() {
                mail.answers.lock().append(answers);
                mail.arrived.notify_one();
            }
        }
    }
}

/// A registered request.
pub struct Ticket {
    id: u64,
    answer: oneshot::Receiver<Answer>,
    table: Arc<Waiters>,
}

impl Ticket {
    /// Waits for the answer; `None` when it will never come.
    pub async fn wait(&mut self) -> Option<Answer> {
        (&mut self.answer).await.ok()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.table.shard(self.id).lock().remove(&self.id);
        self.table.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Request ids (formats 4.2): low 16 bits of the member id, then a counter that starts at the time.
pub struct RequestIds {
    prefix: u64,
    counter: AtomicU64,
}

impl RequestIds {
    /// Ids of `member_id` from `unix_ms` on.
    pub fn new(member_id: u64, unix_ms: u64) -> RequestIds {
        RequestIds {
            prefix: (member_id & 0xffff) << 48,
            counter: AtomicU64::new((unix_ms & ((1 << 40) - 1)) << 8),
        }
    }

    /// The next id.
    pub fn next(&self) -> u64 {
        let count = self.counter.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        self.prefix | (count & ((1 << 48) - 1))
    }
}

/// The id of an encoded `InternalRaftRequest`: its field 1 if set, else that of its header (field 100); 0 when there is
/// none. Looks at nothing else of the request.
pub fn request_id(data: &[u8]) -> u64 {
    use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
    let (mut rest, mut from_header) = (data, 0);
    while !rest.is_empty() {
        let Ok((field, wire)) = decode_key(&mut rest) else { return 0 };
        match (field, wire) {
            (1, WireType::Varint) => match decode_varint(&mut rest) {
                Ok(0) => {}
                Ok(id) => return id,
                Err(_) => return 0,
            },
            (100, WireType::LengthDelimited) => {
                let Ok(len) = decode_varint(&mut rest) else { return 0 };
                let Some(header) = usize::try_from(len).ok().and_then(|len| rest.split_off(..len)) else {
                    return 0;
                };
                from_header = proto::etcdserverpb::RequestHeader::decode(header).map_or(0, |h| h.id);
            }
            _ if skip_field(wire, field, &mut rest, DecodeContext::default()).is_err() => return 0,
            _ => {}
        }
    }
    from_header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_carry_the_low_bits_of_the_member_and_grow() {
        let ids = RequestIds::new(0x8e9e_05c5_2164_694d, 1);
        assert_eq!(ids.next(), 0x694d_0000_0000_0101);
        assert_eq!(ids.next(), 0x694d_0000_0000_0102);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_batch_reaches_whoever_waits_and_forgets_whoever_left() {
        let table = Arc::new(Waiters::new(1));
        tokio::spawn(table.clone().deliver(0));
        let mut stays = table.register(1).unwrap();
        drop(table.register(2).unwrap());
        assert!(table.wanted(1) && !table.wanted(2));
        let mut batch = table.batch();
        batch.add(1, Answer::ReadAt(7));
        batch.add(2, Answer::ReadAt(8));
        batch.send();
        assert!(matches!(stays.wait().await, Some(Answer::ReadAt(7))));
        drop(stays);
        assert_eq!(table.in_flight(), 0);
    }
}
