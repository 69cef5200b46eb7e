//! Applying: the [`Store`]'s only writer. Never awaits, never reads the clock for a decision.
//!
//! This is the apply thread's; only while a member has so little to do that the apply thread sleeps, whoever does the
//! raft thread's work executes the few entries itself rather than wake it. One round takes everything that waits, executes
//! it, and then tells everybody at once: answers, events, the applied index. Maintenance is bounded steps between rounds.

mod snapshot;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use snapshot::Files;

use ::raft::{Entry, EntryKind, Index, SoftState, Term};
use mvcc::EventBatch;
use node::Input;
use parking_lot::Mutex;
use prost::Message as _;
use proto::raftpb;
use store::{Outcome, Store};

use super::mailbox::{Receiver, Sender};
use super::{commit, raft, snap};
use crate::applied::Applied;
use crate::log;
use crate::peer::Peers;
use crate::task::lease::Leases;
use crate::task::watch::Hub;
use crate::tokens::Tokens;
use crate::waiters::{Answer, Batch, Room, Waiter, Waiters, request_id};

/// Bytes in the write buffer at which it is handed over, however few operations they are.
const BUFFER_BYTES: usize = 32 << 20;
/// Apply waits for the running commit when the write buffer holds so many entries, as multiples of the batch limit…
const BUFFER_FACTOR_MAX: usize = 10;
/// …or so many bytes. One entry that changes many keys is no reason to wait.
const BUFFER_BYTES_MAX: usize = 4 * BUFFER_BYTES;
/// Pause between two steps of a compaction unless another one is configured.
const COMPACTION_PAUSE: Duration = Duration::from_millis(10);

/// A thing to be done with the store by its owner.
pub type Task = Box<dyn FnOnce(&mut Store) + Send>;

/// Called when something is in the file.
pub type Flushed = Box<dyn FnOnce() + Send>;

/// What the apply thread is told.
pub enum Job {
    /// Committed entries, in order.
    Entries(Vec<Entry>),
    /// Role, leader or term changed.
    Leadership(SoftState),
    /// The store is to be replaced by this snapshot.
    Restore(::raft::Snapshot),
    /// A member lags too far: it wants the store itself.
    SendSnapshot(::raft::Message),
    /// A disk snapshot is wanted.
    SnapshotDue,
    /// The batch interval is over: hand the write buffer to the commit thread.
    CommitTick,
    /// The commit thread has finished with the write buffer sealed under this number, and all before it.
    Committed(u64),
    /// Bounded work for somebody who asks.
    Task(Task),
    /// To be called when the file holds all that is applied by now. Nobody waits for it here.
    Flush(Flushed),
    /// A compaction has begun.
    Compact,
    /// Commit and end the thread.
    Stop,
}

/// The store and those who hear from it.
pub struct Apply {
    /// This member.
    pub member_id: u64,
    /// Its cluster.
    pub cluster_id: u64,
    /// The state machine.
    pub store: Store,
    /// Acknowledgements go here.
    pub raft: Sender<raft::Job>,
    /// Disk snapshots go here.
    pub snap: Sender<snap::Job>,
    /// Sealed write buffers go here.
    pub commit: Sender<commit::Job>,
    /// Who waits for answers.
    pub waiters: Arc<Waiters>,
    /// Where the applied index is published.
    pub applied: Arc<Applied>,
    /// Events go here.
    pub hub: Hub,
    /// The lease clock.
    pub leases: Leases,
    /// Auth tokens.
    pub tokens: Arc<Tokens>,
    /// The other members.
    pub peers: Peers,
    /// The database.
    pub files: Files,
    /// Called when this member was removed from the cluster.
    pub removed: Box<dyn Fn() + Send>,
    /// Operations after which the write buffer is handed over without waiting for the interval.
    pub batch_limit: usize,
    /// An entry that takes longer is logged.
    pub warn_after: Duration,
    /// Records one step of a compaction may touch, and the pause before the next one.
    pub compaction: (usize, Duration),
    /// What the thread keeps track of.
    pub state: State,
}

/// The apply thread's own memory.
#[derive(Default)]
pub struct State {
    /// Last applied entry.
    index: Index,
    term: Term,
    /// The term this member leads in, if it leads.
    leads: Option<Term>,
    armed: bool,
    /// For the next round's answers.
    room: Room,
    /// What this round changed.
    events: Vec<Arc<EventBatch>>,
    /// Entries executed since the last write buffer was sealed.
    unsealed: usize,
    /// Write buffers sealed so far, and how many of them are known to be in the file.
    sealed: u64,
    committed: u64,
    /// When the next step of a compaction is due.
    next_step: Option<Instant>,
    /// When the compaction under way began.
    compaction_begun: Option<Instant>,
    /// A snapshot that may be saved once the file holds all that it covers.
    snapshot: Option<Waiting<::raft::Snapshot>>,
    /// Who wants to hear that the file holds what was applied when they asked.
    flushes: Vec<Waiting<Flushed>>,
}

/// What waits for a commit, and the number of the write buffer that ends with it, once that is sealed.
struct Waiting<T> {
    what: T,
    sealed: Option<u64>,
}

impl<T> Waiting<T> {
    fn is_ripe(&self, committed: u64) -> bool {
        self.sealed.is_some_and(|sealed| sealed <= committed)
    }
}

impl State {
    /// As restored from disk.
    pub fn new(index: Index, term: Term) -> State {
        State { index, term, ..State::default() }
    }

    fn is_committing(&self) -> bool {
        self.committed < self.sealed
    }

    /// Whether something waits for a commit of what is not even sealed.
    fn wants_seal(&self) -> bool {
        self.snapshot.as_ref().is_some_and(|waiting| waiting.sealed.is_none())
            || self.flushes.iter().any(|waiting| waiting.sealed.is_none())
    }
}

/// Runs the apply thread until it is told to stop.
pub fn run(apply: Arc<Mutex<Apply>>, work: Receiver<Job>) {
    let mut jobs = Vec::new();
    let mut next_step = apply.lock().first_step();
    loop {
        work.take(&mut jobs, next_step);
        let mut apply = apply.lock();
        apply.compact_step();
        if apply.round(jobs.drain(..)) {
            return apply.commit();
        }
        next_step = apply.state.next_step;
    }
}

impl Apply {
    fn first_step(&mut self) -> Option<Instant> {
        self.state.next_step = self.store.needs_maintenance().then(Instant::now);
        self.state.next_step
    }

    /// Executes entries on another thread than apply's, which is idle. Gives them back if that could mean to wait for a
    /// commit.
    pub fn in_line(&mut self, entries: Vec<Entry>, idle: &Sender<Job>) -> Vec<Entry> {
        let bytes: usize = entries.iter().map(|entry| entry.data.len()).sum();
        let overflows = self.state.unsealed + entries.len() >= self.ops_max()
            || self.store.pending_bytes() + bytes >= BUFFER_BYTES_MAX;
        if overflows || self.fills() {
            return entries;
        }
        let before = self.state.next_step;
        self.round([Job::Entries(entries)]);
        if self.state.next_step != before {
            let _ = idle.push(Job::Compact);
        }
        Vec::new()
    }

    /// Does all this, then tells everybody. True when the thread is to end.
    fn round(&mut self, jobs: impl IntoIterator<Item = Job>) -> bool {
        let waiters = self.waiters.clone();
        let mut batch = waiters.batch_in(std::mem::take(&mut self.state.room));
        let before = self.state.index;
        let mut stop = false;
        for job in jobs {
            match job {
                Job::Entries(entries) => self.entries(&entries, &mut batch),
                Job::Stop => stop = true,
                other => self.other(other),
            }
        }
        self.finish_round(before, batch);
        stop
    }

    /// A step of a compaction, if one is due.
    fn compact_step(&mut self) {
        if self.state.next_step.is_none_or(|at| Instant::now() < at) {
            return;
        }
        let (budget, pause) = self.compaction;
        let start = Instant::now();
        if self.state.is_committing() && self.store.pending_ops() >= self.ops_max() {
            // It makes changes faster than the disk takes them.
            self.state.next_step = Some(start + COMPACTION_PAUSE);
            return;
        }
        let begun = *self.state.compaction_begun.get_or_insert(start);
        match self.store.maintain(budget) {
            Ok(more) => {
                crate::stats::compacted(start.elapsed(), begun, !more);
                if !more {
                    self.state.compaction_begun = None;
                }
                let pause = if pause.is_zero() { COMPACTION_PAUSE } else { pause };
                self.state.next_step = more.then(|| Instant::now() + pause);
            }
            Err(error) => super::fatal("failed to compact", &error),
        }
    }

    /// Publishes what a round did: first the index, then the answers and events, then the acknowledgement.
    fn finish_round(&mut self, before: Index, batch: Batch<'_>) {
        if self.state.index > before {
            self.applied.publish(self.state.index.0, self.state.term.0);
        }
        self.state.room = batch.sent();
        self.hub.notify(&mut self.state.events);
        if self.state.index > before {
            let _ = self.raft.push_later(raft::Job::Input(Input::Applied { index: self.state.index }));
        }
        self.hand_over();
    }

    /// Keeps the write buffer moving: arms the interval, seals when it is full, waits when it is far too full.
    fn hand_over(&mut self) {
        if self.fills() || self.state.wants_seal() {
            self.seal();
        } else if self.store.pending_ops() > 0 && !self.state.armed && !self.state.is_committing() {
            self.state.armed = true;
            let _ = self.commit.push(commit::Job::Arm);
        }
        // Not if the seal has taken it all, however much a single txn has written.
        if self.overflows() {
            self.commit();
        }
        self.end_waiting();
    }

    /// Puts all that was executed into the file, and waits for it.
    fn commit(&mut self) {
        if let Err(error) = self.store.commit() {
            super::fatal("failed to commit to the backend", &error);
        }
        self.state.unsealed = 0;
    }

    /// More changes than these are not made while a commit runs, but by a single entry.
    fn ops_max(&self) -> usize {
        self.batch_limit.saturating_mul(BUFFER_FACTOR_MAX)
    }

    /// Whether the write buffer is due, however young it is.
    fn fills(&self) -> bool {
        self.store.pending_ops() >= self.batch_limit || self.store.pending_bytes() >= BUFFER_BYTES
    }

    /// Whether more is executed than can be committed.
    fn overflows(&self) -> bool {
        self.state.unsealed >= self.ops_max() || self.store.pending_bytes() >= BUFFER_BYTES_MAX
    }

    fn seal(&mut self) {
        if self.store.seal() {
            self.state.sealed += 1;
            self.state.unsealed = 0;
            let _ = self.commit.push(commit::Job::Sealed(self.state.sealed));
        } else if self.store.pending_ops() > 0 || self.state.is_committing() {
            return;
        }
        if let Some(waiting) = &mut self.state.snapshot {
            waiting.sealed.get_or_insert(self.state.sealed);
        }
        for waiting in &mut self.state.flushes {
            waiting.sealed.get_or_insert(self.state.sealed);
        }
    }

    /// Passes a waiting snapshot on if the file holds all that it covers: a start from its record relies on that. Tells
    /// whoever else waits for the file.
    fn end_waiting(&mut self) {
        let committed = self.state.committed;
        if let Some(waiting) = self.state.snapshot.take_if(|waiting| waiting.is_ripe(committed)) {
            let _ = self.snap.push(snap::Job::Save(waiting.what));
        }
        for waiting in self.state.flushes.extract_if(.., |waiting| waiting.is_ripe(committed)) {
            (waiting.what)();
        }
    }

    fn other(&mut self, job: Job) {
        match job {
            Job::Leadership(soft) => self.leadership(soft),
            Job::Restore(snapshot) => self.restore(&snapshot),
            Job::SendSnapshot(message) => self.send_snapshot(message),
            Job::SnapshotDue => self.begin_snapshot(),
            Job::CommitTick => {
                self.state.armed = false;
                self.seal();
            }
            Job::Committed(sealed) => self.state.committed = sealed,
            Job::Task(task) => {
                task(&mut self.store);
                if self.store.is_defragmenting() {
                    let _ = self.commit.push(commit::Job::Defragment);
                }
            }
            Job::Flush(what) => self.state.flushes.push(Waiting { what, sealed: None }),
            Job::Entries(_) | Job::Compact | Job::Stop => {}
        }
    }

    fn leadership(&mut self, soft: SoftState) {
        let leads = (soft.role == ::raft::Role::Leader).then_some(soft.term);
        if self.state.leads.is_some() && leads.is_none() {
            self.leases.demote();
        }
        self.state.leads = leads;
    }

    fn begin_snapshot(&mut self) {
        if self.state.snapshot.is_none() {
            crate::stats::v2_store_made(self.store.members());
            self.state.snapshot = Some(Waiting { what: self.snapshot(), sealed: None });
        }
    }

    fn entries(&mut self, entries: &[Entry], batch: &mut Batch<'_>) {
        // The clock is read once per entry: one ends where the next begins.
        self.state.unsealed += entries.len();
        let mut start = Instant::now();
        for entry in entries {
            let begun = start;
            let success = match entry.kind {
                EntryKind::Normal => Some(self.normal(entry, batch)),
                EntryKind::ConfChange => {
                    self.conf_change(entry, batch);
                    None
                }
                EntryKind::ConfChangeV2 => {
                    super::fatal("unexpected entry type", &"EntryConfChangeV2 is never produced by etcd");
                }
            };
            self.state.index = entry.index;
            self.state.term = entry.term;
            start = Instant::now();
            let took = start.duration_since(begun);
            if let Some(success) = success {
                crate::stats::applied(&entry.data, success, took);
            }
            if took > self.warn_after {
                crate::stats::slow_apply(took, self.warn_after, entry);
            }
        }
    }

    /// Answers whether the request was executed.
    fn normal(&mut self, entry: &Entry, batch: &mut Batch<'_>) -> bool {
        let waiter = self.waiters.claim(request_id(&entry.data));
        let decoded = store::Entry { index: entry.index.0, term: entry.term.0, data: &entry.data };
        let outcome = self.store.apply(decoded, waiter.is_some());
        if let Err(error) = &outcome.result
            && error.is_fatal()
        {
            super::fatal("failed to apply a committed entry", error);
        }
        crate::stats::changed(&outcome);
        let success = outcome.result.is_ok();
        self.tell(entry, outcome, waiter, batch);
        success
    }

    fn tell(&mut self, entry: &Entry, outcome: Outcome, waiter: Option<Arc<Waiter>>, batch: &mut Batch<'_>) {
        if let Some(events) = outcome.events {
            self.state.events.push(events);
        }
        for change in outcome.leases {
            self.leases.observe(change);
        }
        for change in &outcome.tokens {
            self.tokens.observe(change);
        }
        if outcome.is_leader_start {
            self.applied.leader_started(entry.term.0);
            // Consensus also puts an empty entry in the place of a conf change that came too early.
            if self.state.leads == Some(entry.term) && !self.leases.is_primary() {
                self.leases.promote(&self.store.reader());
            }
        }
        if let Some(version) = outcome.cluster_version {
            self.applied.cluster_version_changed(version);
        }
        if outcome.cluster_version_lowered {
            let _ = self.raft.push(raft::Job::Input(Input::ForceSnapshot));
        }
        if matches!(outcome.result, Ok(store::Response::Compaction { .. })) {
            self.state.next_step.get_or_insert_with(Instant::now);
        }
        if let Some(waiter) = waiter {
            let raise_nospace = outcome.wants_nospace_alarm;
            batch.answer(waiter, Answer::Applied { result: outcome.result, raise_nospace });
        }
    }

    fn conf_change(&mut self, entry: &Entry, batch: &mut Batch<'_>) {
        let decoded = ::wal::codec::decode_conf_change(entry.data.clone())
            .and_then(|change| Ok((change, raftpb::ConfChange::decode(entry.data.clone())?)));
        let (change, as_stored) = match decoded {
            Ok(decoded) => decoded,
            Err(error) => super::fatal("failed to decode a conf change", &error),
        };
        let outcome = self.store.apply_conf_change(entry.index.0, entry.term.0, &as_stored);
        if let Err(error) = &outcome.result
            && error.is_fatal()
        {
            super::fatal("failed to apply a committed conf change", error);
        }
        let effective = outcome.to_raft.then_some(change);
        let _ = self
            .raft
            .push(raft::Job::Input(Input::ConfChangeApplied { index: entry.index, change: effective }));
        if outcome.removed_self && !outcome.is_replay {
            (self.removed)();
        }
        if outcome.change.is_some() {
            self.peers.set_members(self.store.members());
        }
        if let Some(store::MemberChange::Added(member)) = outcome.change {
            log::info!(
                if outcome.is_replay { "ignore already added member" } else { "added member" },
                "cluster-id" = format!("{:x}", self.cluster_id),
                "local-member-id" = format!("{:x}", self.member_id),
                "added-peer-id" = format!("{:x}", member.id),
                "added-peer-peer-urls" = log::Value::list(&member.peer_urls),
                "added-peer-is-learner" = member.is_learner
            );
        }
        batch.add(outcome.id, Answer::ConfChanged(outcome.result));
    }
}
