//! One simulated member: consensus in memory, a disk and a store that survive crashes, and work under way between them.

use std::collections::VecDeque;

use bytes::Bytes;
use raft::{
    ConfChange, ConfChangeKind, ConfChangeV2, ConfState, Config, Entry, EntryKind, HardState, Index,
    MemberId, Message, MessageKind, Persist, Raft, Ready, Restored, Snapshot, Term,
};

use crate::checks::Checks;

/// The log as the WAL keeps it.
#[derive(Clone, Default)]
pub struct Disk {
    pub hard_state: HardState,
    pub start: (Index, Term),
    pub entries: Vec<Entry>,
}

impl Disk {
    pub fn last_index(&self) -> Index {
        self.entries.last().map_or(self.start.0, |entry| entry.index)
    }

    pub fn term(&self, index: Index) -> Option<Term> {
        if index == self.start.0 {
            return Some(self.start.1);
        }
        let at = index.0.checked_sub(self.start.0.0 + 1)?;
        self.entries.get(at as usize).map(|entry| entry.term)
    }

    fn write(&mut self, persist: &Persist) {
        if let Some(snapshot) = &persist.snapshot {
            self.start = (snapshot.index, snapshot.term);
            self.entries.clear();
        }
        if let Some(first) = persist.entries.first() {
            let keep = first.index.0 - self.start.0.0 - 1;
            assert!(keep as usize <= self.entries.len(), "a write leaves a gap before {}", first.index);
            self.entries.truncate(keep as usize);
            self.entries.extend(persist.entries.iter().cloned());
        }
        self.hard_state = persist.hard_state.unwrap_or(self.hard_state);
    }

    fn forget(&mut self, index: Index) {
        if let Some(term) = self.term(index) {
            self.entries.drain(..(index.0 - self.start.0.0) as usize);
            self.start = (index, term);
        }
    }
}

/// The state machine: a chain of digests over everything applied.
#[derive(Clone, Default)]
pub struct Store {
    pub applied: Index,
    pub term: Term,
    pub digest: u64,
    pub conf_state: ConfState,
}

pub fn mix(digest: u64, entry: &Entry) -> u64 {
    let mut mixed = digest ^ entry.term.0.rotate_left(32) ^ entry.index.0;
    for byte in entry.data.iter() {
        mixed = (mixed ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    }
    mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31)
}

/// Work for the store, in order.
enum Task {
    Restore(Snapshot),
    Apply(Entry),
}

pub struct Member {
    pub id: MemberId,
    flavour: u64,
    pub raft: Raft,
    pub disk: Disk,
    pub store: Store,
    /// What of the store survives a crash.
    saved_store: Store,
    /// A received snapshot, saved beside the log and not installed yet.
    saved_snapshot: Option<Store>,
    writes: VecDeque<Persist>,
    tasks: VecDeque<Task>,
    pub out: Vec<Message>,
    pub reads: Vec<raft::ReadState>,
}

/// All members of a cluster have the same settings; `flavour` picks one of the four combinations.
fn config(id: MemberId, flavour: u64, seed: u64) -> Config {
    Config {
        election_ticks: 10,
        heartbeat_ticks: 2,
        message_bytes_max: 120,
        inflight_count_max: 4,
        inflight_bytes_max: 1000,
        applying_bytes_max: 300,
        pre_vote: !flavour.is_multiple_of(3),
        check_quorum: !flavour.is_multiple_of(5),
        ..Config::new(id, seed)
    }
}

impl Member {
    /// A member of the first hour starts from a log that names all of them; any other from nothing.
    pub fn new(id: MemberId, flavour: u64, founders: u64) -> Member {
        let mut disk = Disk::default();
        if id.0 <= founders {
            let entry = |n| {
                let change = ConfChange {
                    id: 0,
                    kind: ConfChangeKind::AddNode,
                    node_id: MemberId(n),
                    context: Bytes::new(),
                };
                Entry { term: Term(1), index: Index(n), kind: EntryKind::ConfChange, data: change.encode() }
            };
            disk.entries = (1..=founders).map(entry).collect();
            disk.hard_state = HardState { term: Term(1), vote: MemberId::NONE, commit: Index(founders) };
        }
        let restored =
            Restored { hard_state: disk.hard_state, entries: disk.entries.clone(), ..Restored::default() };
        Member {
            id,
            flavour,
            raft: Raft::new(config(id, flavour, flavour * 31 + id.0), restored).expect("a first log fits"),
            disk,
            saved_store: Store::default(),
            store: Store::default(),
            saved_snapshot: None,
            writes: VecDeque::new(),
            tasks: VecDeque::new(),
            out: Vec::new(),
            reads: Vec::new(),
        }
    }

    /// Drains consensus once.
    pub fn pump(&mut self, checks: &mut Checks) {
        let Ready { persist, messages, restore, apply, reads, soft_state, notes: _ } = self.raft.ready();
        checks.log(&self.raft);
        if let Some(state) = soft_state {
            checks.role(self.id, state, &self.raft);
        }
        checks.committed(&self.raft);
        for message in messages {
            self.emit(message, checks);
        }
        self.writes.extend(persist);
        self.tasks.extend(restore.map(Task::Restore));
        for entry in apply {
            assert!(entry.index <= self.raft.committed(), "applied before committed");
            assert_eq!(self.disk.term(entry.index), Some(entry.term), "applied before it was written here");
            self.tasks.push_back(Task::Apply(entry));
        }
        self.reads.extend(reads);
    }

    fn emit(&mut self, message: Message, checks: &mut Checks) {
        checks.promise(&message, &self.disk);
        self.out.push(message);
    }

    /// The oldest write reaches the disk.
    pub fn finish_write(&mut self, checks: &mut Checks) {
        let Some(persist) = self.writes.pop_front() else { return };
        self.land(&persist);
        self.raft.persisted(persist.seq);
        for message in persist.send {
            self.emit(message, checks);
        }
        self.pump(checks);
    }

    fn land(&mut self, persist: &Persist) {
        self.disk.write(persist);
        if let Some(snapshot) = &persist.snapshot {
            self.saved_snapshot = Some(decode(snapshot));
        }
    }

    /// The store executes the next thing it was given.
    pub fn work(&mut self, checks: &mut Checks) {
        match self.tasks.pop_front() {
            None => return,
            Some(Task::Restore(snapshot)) => {
                assert!(snapshot.index > self.store.applied, "a snapshot takes the store back");
                self.store = decode(&snapshot);
                self.saved_store = self.store.clone();
                checks.restored(&self.store);
            }
            Some(Task::Apply(entry)) => {
                assert_eq!(entry.index, self.store.applied.next(), "member {} applies in order", self.id);
                self.store.applied = entry.index;
                self.store.term = entry.term;
                self.store.digest = mix(self.store.digest, &entry);
                self.change_members(&entry);
                checks.applied(&entry, &self.store);
            }
        }
        self.raft.applied(self.store.applied);
        self.pump(checks);
    }

    fn change_members(&mut self, entry: &Entry) {
        let change = match entry.kind {
            EntryKind::Normal => return,
            EntryKind::ConfChange => {
                ConfChange::decode(&entry.data).map(|change| ConfChangeV2::from(&change))
            }
            EntryKind::ConfChangeV2 => ConfChangeV2::decode(&entry.data),
        };
        if let Ok(state) = self.raft.apply_conf_change(&change.expect("an encoded conf change")) {
            self.store.conf_state = state;
        }
    }

    /// The store commits its file.
    pub fn save_store(&mut self) {
        self.saved_store = self.store.clone();
    }

    /// A disk snapshot was taken: the log is shortened, in memory and on disk.
    pub fn compact(&mut self, keep: u64) {
        let index = Index(self.saved_store.applied.0.saturating_sub(keep));
        if index > self.disk.start.0 {
            self.raft.compact(index);
            self.disk.forget(index);
        }
    }

    /// Stops at once and starts again. Of the writes under way the first few may have reached the disk.
    pub fn crash(&mut self, seed: u64, landed: usize) {
        let writes = std::mem::take(&mut self.writes);
        for persist in writes.iter().take(landed) {
            self.land(persist);
        }
        self.tasks.clear();
        self.out.clear();
        self.reads.clear();
        if let Some(snapshot) =
            self.saved_snapshot.take().filter(|saved| saved.applied > self.saved_store.applied)
        {
            self.saved_store = snapshot;
        }
        self.store = self.saved_store.clone();
        let restored = Restored {
            hard_state: self.disk.hard_state,
            conf_state: self.store.conf_state.clone(),
            snapshot_index: self.disk.start.0,
            snapshot_term: self.disk.start.1,
            entries: self.disk.entries.clone(),
            applied: self.store.applied,
        };
        self.raft = Raft::new(config(self.id, self.flavour, seed), restored).expect("what was written fits");
    }

    /// The snapshot this member's store can give.
    pub fn snapshot(&self) -> Snapshot {
        let Store { applied: index, term, digest, conf_state } = self.store.clone();
        Snapshot { index, term, conf_state, data: Bytes::copy_from_slice(&digest.to_le_bytes()) }
    }

    /// Completes what consensus asked to be sent as a snapshot.
    pub fn fill_snapshot(&self, message: &mut Message) {
        assert_eq!(message.kind, MessageKind::Snap);
        message.snapshot = Some(Box::new(self.snapshot()));
    }
}

fn decode(snapshot: &Snapshot) -> Store {
    let digest = snapshot.data.as_ref().try_into().map(u64::from_le_bytes).expect("a digest");
    Store { applied: snapshot.index, term: snapshot.term, digest, conf_state: snapshot.conf_state.clone() }
}
