//! Who waits for which request: from the id in a log entry back to the task that proposed it.
//!
//! Ids are counted up, so each has its place in a ring, and finding who waits is one look there. Apply fills the answers
//! of a whole batch and then wakes each front loop once; the loop hands them to its own tasks without crossing a core.
//! Nobody keeps a timer of his own: one sweep ends the waits that have lasted too long, one call ends all at the stop.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prost::Message as _;
use tokio::sync::Notify;

/// Requests that may be under way at a time; above that the answer is "too many requests".
pub const IN_FLIGHT_MAX: usize = 32_768;
/// Places in the ring. An id whose place is taken is passed over, so there must be some that are free.
const PLACES: usize = 2 * IN_FLIGHT_MAX;
/// How often waits that have lasted too long are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_millis(250);

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
    /// Nothing came in time.
    TimedOut,
    /// The member is going down.
    Stopped,
}

thread_local! {
    static LOOP: Cell<usize> = const { Cell::new(0) };
}

/// Tells [`Waiters`] that this thread is front loop `at`.
pub fn enter_loop(at: usize) {
    LOOP.set(at);
}

/// One request and, in the end, its answer.
pub struct Waiter {
    id: u64,
    /// Its front loop.
    at: usize,
    since: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    answer: Option<Answer>,
    task: Option<Waker>,
}

impl Waiter {
    fn fill(&self, answer: Answer) {
        let mut state = self.state.lock();
        state.answer = Some(answer);
        let task = state.task.take();
        drop(state);
        if let Some(task) = task {
            task.wake();
        }
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<Answer> {
        let mut state = self.state.lock();
        if let Some(answer) = state.answer.take() {
            return Poll::Ready(answer);
        }
        if state.task.as_ref().is_none_or(|task| !task.will_wake(cx.waker())) {
            state.task = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// Answers on their way to those who wait.
type Answers = Vec<(Arc<Waiter>, Answer)>;

/// The front loop of this thread; the first one if it is none.
pub fn this_loop() -> usize {
    LOOP.get()
}

#[derive(Default)]
struct Mail {
    answers: Mutex<Answers>,
    arrived: Notify,
}

/// The table of waiting requests.
pub struct Waiters {
    ring: Box<[Mutex<Option<Arc<Waiter>>>]>,
    mail: Vec<Mail>,
    in_flight: AtomicUsize,
    closed: AtomicBool,
}

impl Waiters {
    /// A table for `loops` front loops.
    pub fn new(loops: usize) -> Waiters {
        Waiters {
            ring: (0..PLACES).map(|_| Mutex::default()).collect(),
            mail: (0..loops.max(1)).map(|_| Mail::default()).collect(),
            in_flight: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        }
    }

    /// Registers a new request; `None` when too many wait already. Its place is given up when the ticket drops.
    pub fn register(&self, ids: &RequestIds) -> Option<Ticket<'_>> {
        if self.in_flight.fetch_add(1, Ordering::Relaxed) >= IN_FLIGHT_MAX {
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let at = LOOP.get().min(self.mail.len() - 1);
        let mut waiter = Waiter { id: 0, at, since: Instant::now(), state: Mutex::default() };
        let waiter = loop {
            waiter.id = ids.next();
            let mut place = self.place(waiter.id).lock();
            if place.is_none() {
                break place.insert(Arc::new(waiter)).clone();
            }
        };
        // Whoever closes the table either finds this request in it or is seen here.
        if self.closed.load(Ordering::SeqCst) && self.claim(waiter.id).is_some() {
            waiter.fill(Answer::Stopped);
        }
        Some(Ticket { waiter, table: self })
    }

    /// Front loops.
    pub fn loops(&self) -> usize {
        self.mail.len()
    }

    /// Requests under way.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Takes out who waits here for `id`, to be answered.
    pub fn claim(&self, id: u64) -> Option<Arc<Waiter>> {
        self.place(id).lock().take_if(|waiter| waiter.id == id)
    }

    /// A batch of answers to be delivered together.
    pub fn batch(&self) -> Batch<'_> {
        self.batch_in(Room::default())
    }

    /// The same with the room of an earlier one.
    pub fn batch_in(&self, Room(mut mail): Room) -> Batch<'_> {
        mail.resize_with(self.mail.len(), Vec::new);
        Batch { table: self, mail }
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
            for (waiter, answer) in taken.drain(..) {
                waiter.fill(answer);
            }
            taken.shrink_to(ROOM_MAX);
        }
    }

    /// Ends waits that have lasted longer than `longest`; never returns.
    pub async fn sweep(self: Arc<Waiters>, longest: Duration) {
        // Nobody has waited for longer than since then: the ring is looked through when that may be too long.
        let mut oldest = Instant::now();
        loop {
            tokio::time::sleep(SWEEP_INTERVAL).await;
            let now = Instant::now();
            if self.in_flight() == 0 {
                oldest = now;
            }
            if now.duration_since(oldest) < longest {
                continue;
            }
            oldest = now;
            let is_over = |waiter: &Waiter| {
                let is_over = now.duration_since(waiter.since) >= longest;
                if !is_over {
                    oldest = oldest.min(waiter.since);
                }
                is_over
            };
            self.end(is_over, || Answer::TimedOut);
        }
    }

    /// Ends all waits, those to come included: the member is going down.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.end(|_| true, || Answer::Stopped);
    }

    fn end(&self, mut whose: impl FnMut(&Waiter) -> bool, answer: impl Fn() -> Answer) {
        for place in &self.ring {
            let ended = place.lock().take_if(|waiter| whose(waiter));
            if let Some(waiter) = ended {
                waiter.fill(answer());
            }
        }
    }

    fn place(&self, id: u64) -> &Mutex<Option<Arc<Waiter>>> {
        &self.ring[id as usize % PLACES]
    }
}

/// Answers for which a batch keeps room at most.
const ROOM_MAX: usize = 2048;

/// The room of a batch that has been sent.
#[derive(Default)]
pub struct Room(Vec<Answers>);

/// Answers collected while a batch of entries is applied.
pub struct Batch<'a> {
    table: &'a Waiters,
    mail: Vec<Answers>,
}

impl Batch<'_> {
    /// Adds an answer; dropped when nobody waits for it.
    pub fn add(&mut self, id: u64, answer: Answer) {
        if let Some(waiter) = self.table.claim(id) {
            self.answer(waiter, answer);
        }
    }

    /// Adds an answer to somebody claimed before.
    pub fn answer(&mut self, waiter: Arc<Waiter>, answer: Answer) {
        self.mail[waiter.at].push((waiter, answer));
    }

    /// Delivers everything, waking each front loop once.
    pub fn send(&mut self) {
        for (answers, mail) in self.mail.iter_mut().zip(&self.table.mail) {
            if !answers.is_empty() {
                let mut waiting = mail.answers.lock();
                if waiting.is_empty() {
                    std::mem::swap(&mut *waiting, answers);
                } else {
                    waiting.append(answers);
                }
                drop(waiting);
                mail.arrived.notify_one();
            }
        }
    }

    /// Delivers everything; the next batch may have the room.
    pub fn sent(mut self) -> Room {
        self.send();
        for answers in &mut self.mail {
            answers.shrink_to(ROOM_MAX);
        }
        Room(self.mail)
    }
}

/// A registered request.
pub struct Ticket<'a> {
    waiter: Arc<Waiter>,
    table: &'a Waiters,
}

impl Ticket<'_> {
    /// What the request is known by.
    pub fn id(&self) -> u64 {
        self.waiter.id
    }

    /// When it was registered.
    pub fn since(&self) -> Instant {
        self.waiter.since
    }

    /// Waits for the answer. It comes once, and always.
    pub async fn wait(&self) -> Answer {
        std::future::poll_fn(|cx| self.waiter.poll(cx)).await
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        // Nobody is to look for an answer any more.
        drop(self.table.claim(self.waiter.id));
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
        let (table, ids) = (Arc::new(Waiters::new(1)), RequestIds::new(1, 1));
        tokio::spawn(table.clone().deliver(0));
        let stays = table.register(&ids).unwrap();
        let left = table.register(&ids).unwrap().id();
        assert!(table.claim(left).is_none());
        let mut batch = table.batch();
        batch.add(stays.id(), Answer::ReadAt(7));
        batch.add(left, Answer::ReadAt(8));
        batch.send();
        assert!(matches!(stays.wait().await, Answer::ReadAt(7)));
        drop(stays);
        assert_eq!(table.in_flight(), 0);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_wait_ends_when_it_has_lasted_too_long_and_when_the_member_stops() {
        let (table, ids) = (Arc::new(Waiters::new(1)), RequestIds::new(1, 1));
        tokio::spawn(table.clone().sweep(Duration::from_millis(300)));
        assert!(matches!(table.register(&ids).unwrap().wait().await, Answer::TimedOut));
        let before = table.register(&ids).unwrap();
        table.close();
        assert!(matches!(before.wait().await, Answer::Stopped));
        assert!(matches!(table.register(&ids).unwrap().wait().await, Answer::Stopped));
    }

    #[test]
    fn an_id_whose_place_is_taken_is_passed_over() {
        let (table, ids) = (Waiters::new(1), RequestIds::new(1, 1));
        let long = table.register(&ids).unwrap();
        for _ in 1..PLACES {
            table.register(&ids).unwrap();
        }
        assert_eq!(table.register(&ids).unwrap().id(), long.id() + PLACES as u64 + 1);
    }
}
