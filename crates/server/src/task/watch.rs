//! The watch thread: owns the [`WatchHub`]. Takes event batches from apply, reads history for lagging watchers between
//! them, and hands each stream what it may send.
//!
//! Bounds: a stream's outbox is the hub's (1 MiB); what is on the way to the stream's connection is [`AHEAD_MAX`]
//! parcels. A full batch queue drops batches: the watchers concerned read them back from the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering, fence};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use backend::Turn;
use mvcc::watch::{Refusal, StreamId, WatchHub, WatchId, WatchOutput, WatchSpec};
use mvcc::{EventBatch, KvReader};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};

use crate::thread::mailbox::{Receiver, Sender, mailbox};
use crate::waiters;

/// Event batches that may wait for the hub.
const BATCHES_MAX: usize = 8192;
/// What the responses of one parcel to a stream cost together; a single one may be longer.
const PARCEL_BYTES: usize = 64 << 10;
/// Parcels on the way to a stream.
const AHEAD_MAX: usize = 2;
/// Requests of a stream on the way to the hub.
const ASKED_MAX: usize = 256;
/// How often watchers are counted for metrics.
const COUNT_INTERVAL: Duration = Duration::from_millis(200);
/// Records one catch-up step may read.
const CATCH_UP_BUDGET: usize = 1000;

enum Job {
    Notify(Vec<Arc<EventBatch>>),
    Open(StreamId, Box<Outlet>),
    Add(StreamId, Box<WatchSpec>),
    Refuse(StreamId, Refusal),
    Cancel(StreamId, WatchId),
    Progress(StreamId),
    Periodic(StreamId),
    Room(StreamId),
    Drop(StreamId),
    Stop,
}

/// The door to the watch thread; cheap to clone.
#[derive(Clone)]
pub struct Hub {
    jobs: Sender<Job>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Streams opened so far.
    streams: AtomicU64,
    /// Streams that are open.
    open: AtomicUsize,
    /// Event batches in the queue.
    waiting: AtomicUsize,
    /// Batches up to this revision were not queued.
    missed: AtomicI64,
    /// By front loop.
    mail: Vec<Mail>,
}

/// Parcels for the streams of one front loop: it is woken once for all of them.
#[derive(Default)]
struct Mail {
    parcels: Mutex<Vec<Parcel>>,
    arrived: Notify,
}

type Parcel = (mpsc::OwnedPermit<Vec<WatchOutput>>, Vec<WatchOutput>);

/// Keeps a client from asking faster than its stream can answer.
#[derive(Default)]
struct Gate {
    /// Requests on the way to the hub.
    asked: AtomicUsize,
    /// The outbox is full.
    full: AtomicBool,
    changed: Notify,
}

/// One watch stream. Dropping it forgets all its watchers.
pub struct WatchStream {
    id: StreamId,
    hub: Hub,
    outputs: mpsc::Receiver<Vec<WatchOutput>>,
    stuck: Arc<AtomicBool>,
    gate: Arc<Gate>,
}

/// The sending half of a stream: what the client asks for.
pub struct Asker {
    id: StreamId,
    hub: Hub,
    gate: Arc<Gate>,
}

impl Hub {
    /// Starts the thread over a store's reader, for streams on `loops` front loops.
    pub fn start(reader: KvReader, loops: usize) -> std::io::Result<(Hub, std::thread::JoinHandle<()>)> {
        let (jobs, taken) = mailbox();
        let mail = (0..loops.max(1)).map(|_| Mail::default()).collect();
        let shared = Arc::new(Shared { mail, ..Shared::default() });
        let hub = Hub { jobs, shared: shared.clone() };
        let owner = Owner {
            hub: WatchHub::new(reader.current_revision()),
            reader,
            streams: Default::default(),
            outgoing: shared.mail.iter().map(|_| Vec::new()).collect(),
            turn: Turn::default(),
        };
        let thread =
            std::thread::Builder::new().name("watch".into()).spawn(move || owner.run(&taken, &shared))?;
        Ok((hub, thread))
    }

    /// Apply made these revisions. Never waits: a full queue drops the batches, and watchers read them back. While no
    /// stream is open the watch thread sleeps on: apply shows a revision before it looks here, so a watcher of a later
    /// stream begins behind it or reads it back, too.
    pub fn notify(&self, batches: &mut Vec<Arc<EventBatch>>) {
        let Some(last) = batches.last() else { return };
        let shared = &self.shared;
        if shared.open.load(Ordering::SeqCst) == 0 || shared.waiting.load(Ordering::Relaxed) >= BATCHES_MAX {
            shared.missed.fetch_max(last.revision, Ordering::AcqRel);
            batches.clear();
        } else {
            shared.waiting.fetch_add(batches.len(), Ordering::Relaxed);
            self.tell(Job::Notify(std::mem::take(batches)));
        }
    }

    /// The store was replaced by a state as of `revision`: watchers read back what they have not seen.
    pub fn restored(&self, revision: i64) {
        self.shared.missed.fetch_max(revision, Ordering::AcqRel);
        self.tell(Job::Notify(Vec::new()));
    }

    /// A new stream.
    pub fn open(&self) -> WatchStream {
        self.shared.open.fetch_add(1, Ordering::SeqCst);
        let id = StreamId(self.shared.streams.fetch_add(1, Ordering::Relaxed));
        let (to, outputs) = mpsc::channel(AHEAD_MAX);
        let (stuck, gate) = (Arc::new(AtomicBool::new(false)), Arc::<Gate>::default());
        let at = waiters::this_loop().min(self.shared.mail.len() - 1);
        self.tell(Job::Open(id, Box::new(Outlet { to, stuck: stuck.clone(), gate: gate.clone(), at })));
        WatchStream { id, hub: self.clone(), outputs, stuck, gate }
    }

    /// Hands parcels to the streams of front loop `at`; never returns.
    pub async fn deliver(self, at: usize) {
        let Some(mail) = self.shared.mail.get(at) else { return };
        let mut parcels = Vec::new();
        loop {
            mail.arrived.notified().await;
            std::mem::swap(&mut *mail.parcels.lock(), &mut parcels);
            for (permit, outputs) in parcels.drain(..) {
                permit.send(outputs);
            }
        }
    }

    /// Ends the thread.
    pub fn stop(&self) {
        self.tell(Job::Stop);
    }

    fn tell(&self, job: Job) {
        // A thread that has ended is a member that is going down.
        let _ = self.jobs.push(job);
    }
}

impl WatchStream {
    /// The half that asks.
    pub fn asker(&self) -> Asker {
        Asker { id: self.id, hub: self.hub.clone(), gate: self.gate.clone() }
    }

    /// The next responses, in order; `None` when the member goes down.
    pub async fn next(&mut self) -> Option<Vec<WatchOutput>> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The same for who polls.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Vec<WatchOutput>>> {
        let outputs = ready!(self.outputs.poll_recv(cx));
        // Room was made before the mark is looked at, as the hub looks for room after it has set the mark.
        fence(Ordering::SeqCst);
        if self.stuck.load(Ordering::SeqCst) && self.stuck.swap(false, Ordering::SeqCst) {
            self.hub.tell(Job::Room(self.id));
        }
        Poll::Ready(outputs)
    }
}

impl Drop for WatchStream {
    fn drop(&mut self) {
        self.hub.shared.open.fetch_sub(1, Ordering::SeqCst);
        self.hub.tell(Job::Drop(self.id));
    }
}

impl Asker {
    /// Waits until the stream can take another request: few are on their way, and the outbox has room.
    pub async fn ready(&self) {
        while self.gate.asked.load(Ordering::Acquire) >= ASKED_MAX || self.gate.full.load(Ordering::Acquire) {
            self.gate.changed.notified().await;
        }
    }

    fn ask(&self, job: Job) {
        self.gate.asked.fetch_add(1, Ordering::AcqRel);
        self.hub.tell(job);
    }

    /// Creates a watcher; the stream answers.
    pub fn add(&self, spec: WatchSpec) {
        self.ask(Job::Add(self.id, Box::new(spec)));
    }

    /// Refuses a watcher for a reason of the caller's; the stream answers.
    pub fn refuse(&self, why: Refusal) {
        self.ask(Job::Refuse(self.id, why));
    }

    /// Removes a watcher; the stream answers if there is one.
    pub fn cancel(&self, id: WatchId) {
        self.ask(Job::Cancel(self.id, id));
    }

    /// Asks how far the stream is.
    pub fn progress(&self) {
        self.ask(Job::Progress(self.id));
    }

    /// The stream's progress interval has passed.
    pub fn periodic(&self) {
        self.hub.tell(Job::Periodic(self.id));
    }
}

struct Outlet {
    to: mpsc::Sender<Vec<WatchOutput>>,
    stuck: Arc<AtomicBool>,
    gate: Arc<Gate>,
    /// The front loop of the stream.
    at: usize,
}

struct Owner {
    hub: WatchHub,
    reader: KvReader,
    streams: std::collections::HashMap<StreamId, Box<Outlet>>,
    /// Parcels of this round, by front loop.
    outgoing: Vec<Vec<Parcel>>,
    turn: Turn,
}

impl Owner {
    fn run(mut self, jobs: &Receiver<Job>, shared: &Shared) {
        let mut taken = Vec::new();
        let mut counted = Instant::now();
        loop {
            if self.hub.has_lagging() {
                jobs.take_now(&mut taken);
            } else {
                jobs.take(&mut taken, Some(Instant::now() + COUNT_INTERVAL * 10));
            }
            if self.streams.is_empty() {
                // Nobody lags by what passed before the first stream.
                self.hub.missed(shared.missed.load(Ordering::Acquire));
            }
            for job in taken.drain(..) {
                match job {
                    Job::Stop => return,
                    Job::Notify(batches) => self.events(&batches, shared),
                    other => self.job(other),
                }
            }
            self.hub.missed(shared.missed.load(Ordering::Acquire));
            if self.hub.has_lagging()
                && let Err(error) = self.hub.catch_up_step(&self.reader, CATCH_UP_BUDGET)
            {
                crate::thread::fatal("failed to read the history of keys", &error);
            }
            for stream in self.hub.take_ready() {
                self.deliver(stream);
            }
            self.send(shared);
            if self.hub.has_lagging() {
                self.turn.pass(CATCH_UP_BUDGET);
            }
            if counted.elapsed() >= COUNT_INTERVAL {
                counted = Instant::now();
                crate::stats::watching(self.hub.stats());
            }
        }
    }

    fn job(&mut self, job: Job) {
        match job {
            Job::Open(stream, outlet) => {
                self.streams.insert(stream, outlet);
            }
            Job::Add(stream, spec) => {
                // A refusal has gone to the stream.
                let _ = self.hub.add(stream, *spec, self.reader.current_revision());
                self.answered(stream);
            }
            Job::Refuse(stream, why) => {
                self.hub.refuse(stream, why, self.reader.current_revision());
                self.answered(stream);
            }
            Job::Cancel(stream, id) => {
                self.hub.cancel(stream, id);
                self.answered(stream);
            }
            Job::Progress(stream) => {
                self.hub.progress(stream, self.reader.current_revision());
                self.answered(stream);
            }
            Job::Periodic(stream) => self.hub.periodic_progress(stream),
            Job::Room(stream) => self.deliver(stream),
            Job::Drop(stream) => {
                self.hub.drop_stream(stream);
                self.streams.remove(&stream);
            }
            Job::Notify(_) | Job::Stop => {}
        }
    }

    fn events(&mut self, batches: &[Arc<EventBatch>], shared: &Shared) {
        shared.waiting.fetch_sub(batches.len(), Ordering::Relaxed);
        for batch in batches {
            if let Err(error) = self.hub.notify(batch, &self.reader) {
                crate::thread::fatal("failed to read the history of keys", &error);
            }
        }
    }

    /// A request of a stream has been dealt with.
    fn answered(&mut self, stream: StreamId) {
        if let Some(outlet) = self.streams.get(&stream) {
            outlet.gate.asked.fetch_sub(1, Ordering::AcqRel);
            outlet.gate.full.store(self.hub.is_full(stream), Ordering::Release);
            outlet.gate.changed.notify_one();
        }
    }

    /// Hands over what the stream has room for; the rest stays in the outbox until the stream says so.
    fn deliver(&mut self, stream: StreamId) {
        let Some(outlet) = self.streams.get(&stream) else { return };
        while self.hub.waiting(stream) > 0 {
            let permit = match outlet.to.clone().try_reserve_owned() {
                Ok(permit) => permit,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    outlet.stuck.store(true, Ordering::SeqCst);
                    fence(Ordering::SeqCst);
                    // The stream may have made room before it could see the mark.
                    match outlet.to.clone().try_reserve_owned() {
                        Ok(permit) => permit,
                        Err(_) => return,
                    }
                }
                Err(mpsc::error::TrySendError::Closed(_)) => return,
            };
            self.outgoing[outlet.at].push((permit, self.hub.poll(stream, PARCEL_BYTES)));
            if outlet.gate.full.load(Ordering::Acquire) && !self.hub.is_full(stream) {
                outlet.gate.full.store(false, Ordering::Release);
                outlet.gate.changed.notify_one();
            }
        }
    }

    /// Sends off the parcels of a round.
    fn send(&mut self, shared: &Shared) {
        for (parcels, mail) in self.outgoing.iter_mut().zip(&shared.mail) {
            if !parcels.is_empty() {
                mail.parcels.lock().append(parcels);
                mail.arrived.notify_one();
            }
        }
    }
}
