//! One life of a member: what the server's threads do, one step at a time. Queues stand for their mailboxes, and each
//! step takes what one thread would do at a stretch. Here is the raft thread; the others are beside.

mod apply;
mod log;
mod snap;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use disk::MemDisk;
use mvcc::watch::WatchHub;
use node::{Config, Input, Node, Output, Persist, Proposal, Role};
use proto::mvccpb::KeyValue;
use raft::{ConfChange, ConfState, Entry, Index, MemberId, Message, Snapshot, SoftState, Term};
use store::lease::{ClockOptions, LeaseClock};
use store::{ApplyError, Response, Store};
use wal::{SnapshotRecord, Wal};

use crate::Mutation;
use crate::boot::{Booted, Identity};
use crate::chance::Chance;
use crate::lease_watch::BY_CLOCK;
use crate::ledger::Ledger;
use crate::shadow::Shadow;
use crate::watchers::Watchers;
use snap::{Past, SnapJob};

/// Entries between disk snapshots, and entries kept in memory behind one.
const SNAPSHOT_COUNT: u64 = 15;
const CATCH_UP_ENTRIES: u64 = 5;
/// The log in memory is shortened in small steps, and held for a short time while a snapshot is on its way.
const MEMORY_STEP: u64 = 5;
const HELD_TICKS: u64 = 10;
/// Of an election, in ticks: short, so that a run sees many.
const ELECTION_TICKS: u32 = 5;
/// Ticks between two looks for files that may go, about.
const PURGE_TICKS: u64 = 20;
/// Added to every lease by a new leader.
const LEASE_EXTEND_MS: u64 = 1000;

/// Why a step did not end well.
#[derive(Debug)]
pub(crate) enum Halt {
    /// The disk refused something: the process ends, as it must.
    Died(String),
    /// Something is wrong that no fault explains.
    Wrong(String),
}

type Step = Result<String, Halt>;

/// A thing a thread can do next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Move {
    Tick,
    Node,
    Write,
    Sync,
    Record,
    Snap,
    Receive,
    Apply,
    Seal,
    Commit,
    Compact,
    CatchUp,
    Deliver,
    Read,
    Expire,
}

impl Move {
    pub const ALL: [Move; 15] = [
        Move::Tick,
        Move::Node,
        Move::Write,
        Move::Sync,
        Move::Record,
        Move::Snap,
        Move::Receive,
        Move::Apply,
        Move::Seal,
        Move::Commit,
        Move::Compact,
        Move::CatchUp,
        Move::Deliver,
        Move::Read,
        Move::Expire,
    ];
}

/// What a client hears.
#[derive(Debug)]
pub(crate) enum Told {
    /// Its request was executed here.
    Entry { index: u64, id: u64, result: Box<Result<Response, ApplyError>> },
    /// What a linearizable read has found, and at which revision.
    Read { id: u64, kv: Option<KeyValue>, revision: i64 },
    /// Its request was not taken, and never will be.
    Refused { id: u64 },
}

/// What is to go to other members.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Message(Message),
    /// With a copy of the database.
    Snapshot(Message, Bytes),
    /// The snapshot of this member has arrived.
    Received(u64),
}

enum ApplyJob {
    Entry(Entry),
    Leadership(SoftState),
    Restore(Snapshot),
    SendSnapshot(Message),
    SnapshotDue,
    Committed,
}

enum LogJob {
    Persist(Persist),
    /// The file of a snapshot is there.
    SnapshotSaved(SnapshotRecord),
}

/// How far a leader's snapshot is, with which the next write begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Received {
    Waits,
    HasFile,
    HasRecord,
}

/// What was appended since the last sync.
#[derive(Default)]
struct Unsynced {
    seq: Option<u64>,
    must_sync: bool,
    send: Vec<Message>,
}

/// What surrounds a process and outlives it.
pub(crate) struct Around<'a> {
    pub chance: &'a mut Chance,
    pub ledger: &'a mut Ledger,
    pub watchers: &'a mut Watchers,
    pub shadow: &'a mut Shadow,
}

/// A running member.
pub(crate) struct Process {
    who: Identity,
    disk: MemDisk,
    mutation: Option<Mutation>,
    pub node: Node,
    wal: Wal,
    pub store: Store,
    pub hub: WatchHub,
    to_node: VecDeque<Input>,
    to_log: VecDeque<LogJob>,
    received: Received,
    unsynced: Unsynced,
    past: Past,
    /// Arriving from leaders, each with its database.
    incoming: VecDeque<(Message, Bytes)>,
    to_apply: VecDeque<ApplyJob>,
    /// Entries executed whose clients wait (only a mutation makes them wait).
    unanswered: Vec<Told>,
    pub told: Vec<Told>,
    pub out: Vec<Outgoing>,
    pub index: Index,
    term: Term,
    /// Consensus was told of the conf change at this index.
    conf_told: Index,
    /// It knows the membership after this entry.
    conf_index: Index,
    conf_at_start: ConfState,
    leads: Option<Term>,
    committing: bool,
    /// A commit has ended, of which the apply thread has not heard.
    unheard: bool,
    snapshot: Option<Snapshot>,
    snapshot_sealed: bool,
    pub clock: LeaseClock,
    /// Keys of reads that wait for their index.
    asked: BTreeMap<u64, Bytes>,
    /// Reads that may be served once an index is applied.
    confirmed: VecDeque<(u64, Index)>,
    /// Leases whose end awaits a proof that this member still leads, and in which term it did.
    ending: BTreeMap<u64, (Vec<i64>, Term)>,
    next_id: u64,
    /// This member was removed: it has to stop.
    pub removed: bool,
    pub snapshots_saved: u64,
    pub restores: u64,
}

impl Process {
    pub fn new(
        disk: &MemDisk,
        who: Identity,
        booted: Booted,
        seed: u64,
        mutation: Option<Mutation>,
    ) -> Result<Self, String> {
        let Booted { wal, store, restored } = booted;
        let mut config = Config::new(MemberId(who.member), seed);
        config.election_ticks = ELECTION_TICKS;
        config.snapshot_index = restored.snapshot_index;
        config.snapshot_count = SNAPSHOT_COUNT;
        config.catch_up_entries = CATCH_UP_ENTRIES;
        config.memory_step = MEMORY_STEP;
        config.held_ticks = HELD_TICKS;
        config.sabotage = mutation.and_then(Mutation::in_consensus);
        let mut hub = WatchHub::new(store.revision());
        if mutation == Some(Mutation::CatchUpSkipsRevision) {
            hub.skip_at_catch_up();
        }
        Ok(Process {
            who,
            disk: disk.clone(),
            mutation,
            wal,
            hub,
            to_node: VecDeque::new(),
            to_log: VecDeque::new(),
            received: Received::Waits,
            unsynced: Unsynced::default(),
            past: Past::new(restored.snapshot_index, 1 + seed as usize % 2),
            incoming: VecDeque::new(),
            to_apply: VecDeque::new(),
            unanswered: Vec::new(),
            told: Vec::new(),
            out: Vec::new(),
            index: restored.applied,
            term: Term(store.consistent_term()),
            conf_told: Index(store.consistent_index()),
            conf_index: Index(store.consistent_index()),
            conf_at_start: restored.conf_state.clone(),
            leads: None,
            committing: false,
            unheard: false,
            snapshot: None,
            snapshot_sealed: false,
            clock: LeaseClock::new(ClockOptions::default()),
            asked: BTreeMap::new(),
            confirmed: VecDeque::new(),
            ending: BTreeMap::new(),
            next_id: BY_CLOCK | seed << 20,
            removed: false,
            snapshots_saved: 0,
            restores: 0,
            node: Node::new(config, restored).map_err(|error| format!("the node does not start: {error}"))?,
            store,
        })
    }

    pub fn id(&self) -> u64 {
        self.who.member
    }

    /// A client asks for something.
    pub fn propose(&mut self, id: u64, data: Bytes) {
        self.to_node.push_back(Input::Propose(Proposal { id, data }));
    }

    /// Only as the leader of this term.
    pub fn propose_as_leader(&mut self, id: u64, data: Bytes, term: raft::Term) {
        self.to_node.push_back(Input::ProposeAsLeader { proposal: Proposal { id, data }, term });
    }

    /// Somebody wants another membership.
    pub fn change_members(&mut self, id: u64, change: ConfChange) {
        self.to_node.push_back(Input::ProposeConfChange { id, change });
    }

    /// A client asks for a key.
    pub fn read(&mut self, id: u64, key: Bytes) {
        self.asked.insert(id, key);
        if self.mutation == Some(Mutation::ReadWithoutQuorum) {
            self.confirmed.push_back((id, self.index));
        } else {
            self.to_node.push_back(Input::ReadIndex { id });
        }
    }

    /// Something for the node that comes from outside.
    pub fn input(&mut self, input: Input) {
        self.to_node.push_back(input);
    }

    /// A snapshot arrives.
    pub fn arrive(&mut self, message: Message, db: Bytes) {
        self.incoming.push_back((message, db));
    }

    /// Whether this move has anything to do; ticks always have.
    pub fn can(&self, step: Move, watchers: &Watchers, now_ms: u64) -> bool {
        match step {
            Move::Tick | Move::Node => true,
            Move::Write => self.can_write(),
            Move::Sync => self.can_sync(),
            Move::Record => self.can_record(),
            Move::Snap => !self.past.jobs.is_empty(),
            Move::Receive => !self.incoming.is_empty(),
            Move::Apply => !self.to_apply.is_empty(),
            Move::Seal => {
                let heard = !self.unheard || self.mutation == Some(Mutation::SealedUnheard);
                self.store.pending_ops() > 0 && !self.committing && heard
            }
            Move::Commit => self.committing,
            Move::Compact => self.store.needs_maintenance(),
            Move::CatchUp => self.hub.has_lagging(),
            Move::Deliver => watchers.streams().any(|stream| self.hub.waiting(stream) > 0),
            Move::Read => self.confirmed.iter().any(|(_, index)| *index <= self.readable()),
            Move::Expire => self.clock.is_due(now_ms),
        }
    }

    /// All is written, executed, committed and told.
    pub fn is_idle(&self, watchers: &Watchers, now_ms: u64) -> bool {
        let always = [Move::Tick, Move::Node];
        let busy = |step: &Move| !always.contains(step) && self.can(*step, watchers, now_ms);
        self.to_node.is_empty() && !Move::ALL.iter().any(busy) && self.unanswered.is_empty()
    }

    /// Inputs wait for the node.
    pub fn has_inputs(&self) -> bool {
        !self.to_node.is_empty()
    }

    /// Does one step; says what was done.
    pub fn step(&mut self, step: Move, around: &mut Around<'_>) -> Step {
        match step {
            Move::Tick => {
                self.to_node.push_back(Input::Tick);
                if around.chance.once_in(PURGE_TICKS) {
                    self.past.jobs.push_back(SnapJob::PurgeLog);
                }
                Ok("tick".into())
            }
            Move::Node => self.decide(around).map_err(Halt::Wrong),
            Move::Write => self.write(around),
            Move::Sync => self.sync(around),
            Move::Record => self.record(around),
            Move::Snap => self.snap(),
            Move::Receive => self.receive(),
            Move::Apply => self.apply(around),
            Move::Seal => {
                self.seal();
                Ok("seal".into())
            }
            Move::Commit => self.commit(),
            Move::Compact => {
                let budget = 1 + around.chance.below(12) as usize;
                let more = self.store.maintain(budget).map_err(died("compact"))?;
                Ok(format!("compact {budget} records, more: {more}"))
            }
            Move::CatchUp => {
                let reader = self.store.reader();
                let budget = 1 + around.chance.below(20) as usize;
                self.hub.catch_up_step(reader.kv(), budget).map_err(|e| Halt::Wrong(e.to_string()))?;
                Ok("catch up".into())
            }
            Move::Deliver => self.deliver(around).map_err(Halt::Wrong),
            Move::Read => self.serve_read(around).map_err(Halt::Wrong),
            Move::Expire => Ok(self.expire(around)),
        }
    }

    /// The raft thread: some inputs, one output.
    fn decide(&mut self, around: &mut Around<'_>) -> Result<String, String> {
        let count = (1 + around.chance.below(4) as usize).min(self.to_node.len());
        for input in self.to_node.drain(..count) {
            if let Input::ConfChangeApplied { index, .. } = input {
                self.conf_told = self.conf_told.max(index);
                self.conf_index = self.conf_index.max(index);
            }
            self.node.step(input);
        }
        let output = self.node.take_output();
        let said = told_of(count, &output);
        self.dispatch(output, around)?;
        Ok(said)
    }

    fn dispatch(&mut self, output: Output, around: &mut Around<'_>) -> Result<(), String> {
        let Output { persist, send, apply, reads, failed, leadership, conf_state, restore, .. } = output;
        self.send(send, around.shadow)?;
        if let Some(mut persist) = persist {
            around.shadow.asked(&persist);
            if let Some(snapshot) = &persist.snapshot {
                self.conf_index = self.conf_index.max(snapshot.index);
            }
            if self.mutation == Some(Mutation::MessagesBeforeSync) {
                self.send(std::mem::take(&mut persist.send), around.shadow)?;
            }
            self.to_log.push_back(LogJob::Persist(persist));
        }
        if let Some(soft) = leadership {
            if soft.role == Role::Leader {
                around.ledger.leads(soft.term, self.id(), self.node.raft())?;
            }
            self.to_apply.push_back(ApplyJob::Leadership(soft));
        }
        if let Some(found) = conf_state {
            // A snapshot may have come in after the change of which this is the outcome.
            let due = [self.conf_told, self.conf_index].map(|index| around.ledger.conf_at(index));
            if !due.contains(&Some(found.clone())) {
                return Err(format!("membership after entry {}: {found:?}, not {due:?}", self.conf_index));
            }
        }
        self.to_apply.extend(restore.map(ApplyJob::Restore));
        for entry in apply {
            let committed = self.node.raft().committed();
            if entry.index > committed || !around.shadow.holds(entry.index, entry.term) {
                let index = entry.index;
                return Err(format!(
                    "entry {index} goes to apply; committed is {committed}, or it is not here"
                ));
            }
            self.to_apply.push_back(ApplyJob::Entry(entry));
        }
        self.confirmed.extend(reads.into_iter().map(|read| (read.id, read.index)));
        for (id, _) in failed {
            self.asked.remove(&id);
            self.ending.remove(&id);
            self.told.push(Told::Refused { id });
        }
        self.to_apply.extend(output.send_snapshot.into_iter().map(ApplyJob::SendSnapshot));
        self.to_apply.extend(output.snapshot_due.map(|_| ApplyJob::SnapshotDue));
        Ok(())
    }

    fn send(&mut self, messages: Vec<Message>, shadow: &Shadow) -> Result<(), String> {
        for message in messages {
            shadow.check_promise(&message)?;
            self.out.push(Outgoing::Message(message));
        }
        Ok(())
    }
}

fn died<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> Halt {
    move |error| Halt::Died(format!("{what}: {error}"))
}

/// An output in a few words.
fn told_of(count: usize, output: &Output) -> String {
    let mut said = format!("node takes {count} inputs");
    if let Some(persist) = &output.persist {
        let (seq, entries) = (persist.seq, persist.entries.len());
        said += &format!(", persist {seq}: {entries} entries, {:?}", persist.hard_state);
        if let Some(snapshot) = &persist.snapshot {
            said += &format!(", snapshot {}", snapshot.index);
        }
    }
    if let Some(soft) = &output.leadership {
        said += &format!(", {:?} of {} in term {}", soft.role, soft.leader, soft.term);
    }
    if let (Some(first), Some(last)) = (output.apply.first(), output.apply.last()) {
        said += &format!(", apply {} to {}", first.index, last.index);
    }
    if let Some(conf) = &output.conf_state {
        said += &format!(", voters {:?} learners {:?}", conf.voters, conf.learners);
    }
    if let Some(snapshot) = &output.restore {
        said += &format!(", restore {}", snapshot.index);
    }
    for read in &output.reads {
        said += &format!(", read {:x} at {}", read.id, read.index);
    }
    for message in &output.send_snapshot {
        said += &format!(", snapshot wanted for {}", message.to);
    }
    if let Some(index) = output.snapshot_due {
        said += &format!(", snapshot due at {index}");
    }
    if !output.failed.is_empty() {
        said += &format!(", refused {:?}", output.failed);
    }
    said
}
