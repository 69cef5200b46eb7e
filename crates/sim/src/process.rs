//! One life of the member: what the server's threads do, one step at a time. Queues stand for their mailboxes, and each
//! step takes what one thread would do at a stretch.

use std::collections::VecDeque;
use std::path::Path;

use bytes::Bytes;
use disk::MemDisk;
use mvcc::watch::WatchHub;
use node::{Config, Input, Node, Output, Persist, Proposal, Role};
use prost::Message;
use proto::raftpb;
use raft::{ConfState, Entry, Index, MemberId, Snapshot, Term};
use store::Store;
use wal::{SnapshotRecord, Wal, codec};

use crate::boot::{Booted, SNAP_DIR, WAL_DIR};
use crate::chance::Chance;
use crate::ledger::Ledger;
use crate::watchers::{STREAM, Watchers};
use crate::{MEMBER, Mutation};

/// Entries between disk snapshots, and entries kept in memory behind one.
const SNAPSHOT_COUNT: u64 = 15;
const CATCH_UP_ENTRIES: u64 = 5;
/// Segments and `.snap` files kept.
const KEEP: usize = 2;

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
    Snapshot,
    Apply,
    Seal,
    Commit,
    Compact,
    CatchUp,
    Deliver,
}

impl Move {
    pub const ALL: [Move; 11] = [
        Move::Tick,
        Move::Node,
        Move::Write,
        Move::Sync,
        Move::Snapshot,
        Move::Apply,
        Move::Seal,
        Move::Commit,
        Move::Compact,
        Move::CatchUp,
        Move::Deliver,
    ];
}

enum ApplyJob {
    Entry(Entry),
    ConfState(ConfState),
    SnapshotDue,
    Committed,
}

/// What was appended since the last sync.
#[derive(Default)]
struct Unsynced {
    seq: Option<u64>,
    must_sync: bool,
}

/// A running member.
pub(crate) struct Process {
    disk: MemDisk,
    mutation: Option<Mutation>,
    node: Node,
    wal: Wal,
    pub store: Store,
    hub: WatchHub,
    to_node: VecDeque<Input>,
    to_wal: VecDeque<Persist>,
    unsynced: Unsynced,
    /// Saved by the WAL thread once the database holds them.
    snapshots: VecDeque<Snapshot>,
    to_apply: VecDeque<ApplyJob>,
    /// Entries executed whose clients wait (only a mutation makes them wait).
    unanswered: Vec<u64>,
    index: Index,
    term: Term,
    conf_state: ConfState,
    committing: bool,
    /// A commit has ended, of which the apply thread has not heard.
    unheard: bool,
    snapshot: Option<Snapshot>,
    snapshot_sealed: bool,
    proposed: u64,
    pub snapshots_saved: u64,
}

impl Process {
    pub fn new(
        disk: &MemDisk,
        booted: Booted,
        seed: u64,
        mutation: Option<Mutation>,
    ) -> Result<Self, String> {
        let Booted { wal, store, restored } = booted;
        let mut config = Config::new(MemberId(MEMBER), seed);
        config.snapshot_index = restored.snapshot_index;
        config.snapshot_count = SNAPSHOT_COUNT;
        config.catch_up_entries = CATCH_UP_ENTRIES;
        Ok(Process {
            disk: disk.clone(),
            mutation,
            wal,
            hub: WatchHub::new(store.revision()),
            to_node: VecDeque::new(),
            to_wal: VecDeque::new(),
            unsynced: Unsynced::default(),
            snapshots: VecDeque::new(),
            to_apply: VecDeque::new(),
            unanswered: Vec::new(),
            index: restored.applied,
            term: Term(store.consistent_term()),
            conf_state: restored.conf_state.clone(),
            committing: false,
            unheard: false,
            snapshot: None,
            snapshot_sealed: false,
            proposed: 0,
            snapshots_saved: 0,
            node: Node::new(config, restored).map_err(|error| format!("the node does not start: {error}"))?,
            store,
        })
    }

    /// Watchers resume.
    pub fn resume(&mut self, watchers: &Watchers) -> Result<(), String> {
        watchers.resume(&mut self.hub, self.store.revision())
    }

    /// A client asks for something.
    pub fn propose(&mut self, id: u64, data: Bytes) {
        self.proposed += 1;
        self.to_node.push_back(Input::Propose(Proposal { id, data }));
    }

    /// Whether this move has anything to do; ticks always have.
    pub fn can(&self, step: Move) -> bool {
        match step {
            Move::Tick | Move::Node => true,
            Move::Write => !self.to_wal.is_empty(),
            Move::Sync => self.unsynced.seq.is_some(),
            Move::Snapshot => !self.snapshots.is_empty() && self.unsynced.seq.is_none(),
            Move::Apply => !self.to_apply.is_empty(),
            Move::Seal => {
                let heard = !self.unheard || self.mutation == Some(Mutation::SealedUnheard);
                self.store.pending_ops() > 0 && !self.committing && heard
            }
            Move::Commit => self.committing,
            Move::Compact => self.store.needs_maintenance(),
            Move::CatchUp => self.hub.has_lagging(),
            Move::Deliver => self.hub.waiting(STREAM) > 0,
        }
    }

    /// All is written, executed, committed and told.
    pub fn is_idle(&self) -> bool {
        let busy = [
            Move::Write,
            Move::Sync,
            Move::Snapshot,
            Move::Apply,
            Move::Seal,
            Move::Commit,
            Move::Compact,
            Move::CatchUp,
            Move::Deliver,
        ];
        self.to_node.is_empty() && !busy.iter().any(|step| self.can(*step)) && self.unanswered.is_empty()
    }

    /// Does one step; says what was done.
    pub fn step(
        &mut self,
        step: Move,
        chance: &mut Chance,
        ledger: &mut Ledger,
        watchers: &mut Watchers,
    ) -> Step {
        match step {
            Move::Tick => {
                self.to_node.push_back(Input::Tick);
                Ok("tick".into())
            }
            Move::Node => self.decide(chance, ledger),
            Move::Write => self.write(chance),
            Move::Sync => self.sync(ledger),
            Move::Snapshot => self.save_snapshot(),
            Move::Apply => self.apply(chance, ledger),
            Move::Seal => {
                self.seal();
                Ok("seal".into())
            }
            Move::Commit => self.commit(),
            Move::Compact => {
                let budget = 1 + chance.below(12) as usize;
                let more = self.store.maintain(budget).map_err(died("compact"))?;
                Ok(format!("compact {budget} records, more: {more}"))
            }
            Move::CatchUp => {
                let reader = self.store.reader();
                let budget = 1 + chance.below(20) as usize;
                self.hub.catch_up_step(reader.kv(), budget).map_err(|e| Halt::Wrong(e.to_string()))?;
                Ok("catch up".into())
            }
            Move::Deliver => {
                let outputs = self.hub.poll(STREAM, 1 + chance.below(1000) as usize);
                let count = outputs.len();
                for output in outputs {
                    watchers.receive(output, &mut self.hub, ledger).map_err(Halt::Wrong)?;
                }
                Ok(format!("deliver {count} watch responses"))
            }
        }
    }

    /// The raft thread: some inputs, one output.
    fn decide(&mut self, chance: &mut Chance, ledger: &mut Ledger) -> Step {
        let count = (1 + chance.below(4) as usize).min(self.to_node.len());
        for input in self.to_node.drain(..count) {
            self.node.step(input);
        }
        let output = self.node.take_output();
        let Output { persist, apply, failed, leadership, conf_state, snapshot_due, .. } = output;
        let mut said = format!("node takes {count} inputs");
        if let Some(persist) = persist {
            let (seq, entries) = (persist.seq, persist.entries.len());
            said += &format!(", persist {seq}: {entries} entries, {:?}", persist.hard_state);
            self.to_wal.push_back(persist);
        }
        if let Some(soft) = leadership {
            said += &format!(", {:?} in term {}", soft.role, soft.term);
            if soft.role == Role::Leader {
                ledger.leads(soft.term).map_err(Halt::Wrong)?;
            }
        }
        if let Some(conf_state) = conf_state {
            self.to_apply.push_back(ApplyJob::ConfState(conf_state));
        }
        if let (Some(first), Some(last)) = (apply.first(), apply.last()) {
            said += &format!(", apply {} to {}", first.index, last.index);
        }
        self.to_apply.extend(apply.into_iter().map(ApplyJob::Entry));
        if let Some(index) = snapshot_due {
            said += &format!(", snapshot due at {index}");
            self.to_apply.push_back(ApplyJob::SnapshotDue);
        }
        if !failed.is_empty() {
            said += &format!(", refused {failed:?}");
        }
        Ok(said)
    }

    /// The WAL thread, first half: some of what waits is appended.
    fn write(&mut self, chance: &mut Chance) -> Step {
        let count = 1 + chance.below(self.to_wal.len() as u64) as usize;
        for mut persist in self.to_wal.drain(..count) {
            if self.mutation == Some(Mutation::HardStateForgotten) {
                persist.hard_state = None;
            }
            self.wal.append(persist.hard_state.as_ref(), &persist.entries).map_err(died("append"))?;
            self.unsynced.seq = Some(persist.seq);
            self.unsynced.must_sync |= persist.must_sync;
        }
        if matches!(self.mutation, Some(Mutation::AcknowledgedBeforeSync | Mutation::CommittedBeforeSync)) {
            self.to_node.extend(self.unsynced.seq.map(|seq| Input::Persisted { seq }));
        }
        Ok(format!("append {count}"))
    }

    /// The WAL thread, second half.
    fn sync(&mut self, ledger: &mut Ledger) -> Step {
        let Unsynced { seq, must_sync } = std::mem::take(&mut self.unsynced);
        if must_sync {
            self.wal.sync().map_err(died("sync"))?;
        }
        self.to_node.extend(seq.map(|seq| Input::Persisted { seq }));
        self.unanswered.drain(..).for_each(|index| ledger.answered(index));
        Ok(format!("persisted {seq:?}, synced: {must_sync}"))
    }

    fn save_snapshot(&mut self) -> Step {
        let Some(snapshot) = self.snapshots.pop_front() else { return Ok(String::new()) };
        wal::snap::save(&self.disk, Path::new(SNAP_DIR), &snapshot).map_err(died("save snapshot"))?;
        let Snapshot { index, term, conf_state, .. } = snapshot;
        let record = SnapshotRecord { index, term, conf_state: Some(conf_state) };
        self.wal.save_snapshot(&record).map_err(died("record snapshot"))?;
        self.wal.release(index).map_err(died("release"))?;
        self.to_node.push_back(Input::SnapshotSaved { index });
        self.snapshots_saved += 1;
        // As in the server, a failure here is only logged.
        let wals = Wal::purge(&self.disk, Path::new(WAL_DIR), KEEP);
        let snaps = wal::snap::purge(&self.disk, Path::new(SNAP_DIR), KEEP);
        Ok(format!("snapshot at {index} saved, purged {wals:?} {snaps:?}"))
    }

    /// The apply thread: some of what waits.
    fn apply(&mut self, chance: &mut Chance, ledger: &mut Ledger) -> Step {
        let count = (1 + chance.below(5) as usize).min(self.to_apply.len());
        let before = self.index;
        let jobs: Vec<ApplyJob> = self.to_apply.drain(..count).collect();
        let mut done = Vec::new();
        for job in jobs {
            match job {
                ApplyJob::Entry(entry) => {
                    self.execute(&entry, ledger).map_err(Halt::Wrong)?;
                    done.push(entry.index.0);
                }
                ApplyJob::ConfState(state) => {
                    let ids = |list: &[MemberId]| list.iter().map(|id| id.0).collect();
                    self.store.set_conf_state(store::ConfState {
                        voters: ids(&state.voters),
                        learners: ids(&state.learners),
                        ..store::ConfState::default()
                    });
                    self.conf_state = state;
                }
                ApplyJob::SnapshotDue => self.begin_snapshot(),
                ApplyJob::Committed => self.committed(),
            }
        }
        if self.index > before {
            self.to_node.push_back(Input::Applied { index: self.index });
        }
        if self.mutation == Some(Mutation::CommittedBeforeSync) && self.unsynced.seq.is_some() {
            self.unanswered.extend(done.iter().copied());
        } else {
            done.iter().for_each(|index| ledger.answered(*index));
        }
        Ok(format!("apply {count} jobs, entries {done:?}"))
    }

    fn execute(&mut self, entry: &Entry, ledger: &mut Ledger) -> Result<(), String> {
        if entry.changes_members() {
            let change = codec::decode_conf_change(entry.data.clone()).map_err(|error| error.to_string())?;
            let stored = raftpb::ConfChange::decode(entry.data.clone()).map_err(|error| error.to_string())?;
            let outcome = self.store.apply_conf_change(entry.index.0, entry.term.0, &stored);
            let change = outcome.to_raft.then_some(change);
            self.to_node.push_back(Input::ConfChangeApplied { index: entry.index, change });
            ledger.executed(entry, None)?;
        } else {
            let (index, term) = (entry.index.0, entry.term.0);
            let outcome = self.store.apply(store::Entry { index, term, data: &entry.data }, true);
            ledger.executed(entry, Some(&outcome))?;
            if let Some(events) = &outcome.events {
                let reader = self.store.reader();
                self.hub.notify(events, reader.kv()).map_err(|error| error.to_string())?;
            }
        }
        self.index = entry.index;
        self.term = entry.term;
        Ok(())
    }

    fn begin_snapshot(&mut self) {
        if self.snapshot.is_some() {
            return;
        }
        let snapshot = Snapshot {
            index: self.index,
            term: self.term,
            conf_state: self.conf_state.clone(),
            data: self.store.snapshot_data(),
        };
        if self.mutation == Some(Mutation::SnapshotBeforeCommit) {
            self.snapshots.push_back(snapshot);
            return;
        }
        self.snapshot = Some(snapshot);
        self.snapshot_sealed = false;
    }

    fn seal(&mut self) {
        if self.store.seal() {
            self.committing = true;
            self.snapshot_sealed = self.snapshot.is_some();
        }
    }

    fn commit(&mut self) -> Step {
        let committed = self.store.committer().commit_sealed().map_err(died("commit"))?;
        self.committing = false;
        self.unheard = true;
        self.to_apply.push_back(ApplyJob::Committed);
        Ok(format!("commit the database: {committed}"))
    }

    fn committed(&mut self) {
        self.unheard = false;
        if std::mem::take(&mut self.snapshot_sealed) {
            self.snapshots.extend(self.snapshot.take());
        }
    }

    /// The end in good order: nothing new, the buffer committed, the log closed.
    pub fn stop(mut self) -> Result<(), Halt> {
        self.node.step(Input::Stop);
        if let Some(persist) = self.node.take_output().persist {
            self.to_wal.push_back(persist);
        }
        for persist in self.to_wal.drain(..) {
            self.wal.append(persist.hard_state.as_ref(), &persist.entries).map_err(died("append"))?;
        }
        self.store.commit().map_err(died("commit"))?;
        self.wal.close().map_err(died("close"))
    }
}

fn died<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> Halt {
    move |error| Halt::Died(format!("{what}: {error}"))
}
