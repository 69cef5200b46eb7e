//! What nobody may forget: the log as it was agreed on, what clients were told, and what must follow from both.
//!
//! An entry is agreed on once a member has executed it, because by then it is committed, and on that member's disk
//! (invariants 1 and 2). From then on every member, in all its lives, must find the same entry at the same index.

use std::collections::BTreeMap;

use disk::MemDisk;
use mvcc::HashKv;
use prost::Message;
use proto::{etcdserverpb as pb, raftpb};
use raft::{ConfState, Entry, EntryKind, Index, Raft, Restored, Term};
use store::{ConfChangeOutcome, Outcome, Store};
use wal::codec;

use crate::boot::{DB, SNAP_DIR, open_store};
use crate::lease_watch::LeaseWatch;
use crate::model::{Change, Effect, Model};

/// What executing an entry came to.
pub(crate) enum Done<'a> {
    Request(&'a Outcome),
    ConfChange(&'a ConfChangeOutcome),
}

/// The memory that survives every crash.
pub(crate) struct Ledger {
    /// Entry `i + 1` of the log, and the lowest term in which it was known to be agreed on.
    agreed: Vec<(Entry, Term)>,
    /// What it did.
    effects: Vec<Effect>,
    /// The state after the first `i` entries.
    models: Vec<Model>,
    /// All changes, in order.
    pub changes: Vec<Change>,
    /// Last entry whose answer a client has got.
    pub acknowledged: u64,
    /// Number of answers.
    pub answers: u64,
    /// Which member has led in each term.
    led: BTreeMap<Term, u64>,
    /// Hashes that some member has named, by revision and compaction.
    hashes: BTreeMap<(i64, i64), u32>,
    /// When leases may end.
    pub leases: LeaseWatch,
    /// A real store that executes the same entries and never crashes.
    reference: Store,
    referenced: usize,
}

impl Ledger {
    pub fn new() -> Result<Ledger, String> {
        let disk = MemDisk::new(0);
        disk::Disk::create_dir_all(&disk, SNAP_DIR.as_ref(), 0o700).map_err(|error| error.to_string())?;
        let reference = open_store(&disk, DB, 1).map_err(|error| error.0)?;
        Ok(Ledger {
            agreed: Vec::new(),
            effects: Vec::new(),
            models: vec![Model::new()],
            changes: Vec::new(),
            acknowledged: 0,
            answers: 0,
            led: BTreeMap::new(),
            hashes: BTreeMap::new(),
            leases: LeaseWatch::default(),
            reference,
            referenced: 0,
        })
    }

    /// Entries executed so far.
    pub fn agreed(&self) -> u64 {
        self.agreed.len() as u64
    }

    /// The state after all of them.
    pub fn newest(&self) -> &Model {
        &self.models[self.agreed.len()]
    }

    /// The membership after the entry at `index`.
    pub fn conf_at(&self, index: Index) -> Option<ConfState> {
        self.models.get(index.0 as usize).map(Model::conf_state)
    }

    /// Terms in which somebody has led.
    pub fn leaders(&self) -> u64 {
        self.led.len() as u64
    }

    /// Changes of membership that took place.
    pub fn conf_changes(&self) -> u64 {
        let took_place =
            |((entry, _), effect): &(&(Entry, Term), &Effect)| entry.changes_members() && !effect.refused;
        self.agreed.iter().zip(&self.effects).filter(took_place).count() as u64
    }

    /// The newest term in which somebody has led.
    pub fn newest_term(&self) -> Term {
        self.led.last_key_value().map_or(Term(0), |(term, _)| *term)
    }

    /// A member leads: nobody may have led in that term (invariant 11), and it has all that was agreed on before.
    pub fn leads(&mut self, term: Term, member: u64, raft: &Raft) -> Result<(), String> {
        if let Some(before) = self.led.insert(term, member) {
            return Err(format!("member {member} leads in term {term}, in which member {before} has led"));
        }
        for (entry, known_in) in self.agreed.iter().filter(|(entry, _)| entry.index >= raft.first_index()) {
            if *known_in < term && raft.term_at(entry.index) != Some(entry.term) {
                return Err(format!("member {member} leads in term {term} and lacks entry {}", entry.index));
            }
        }
        Ok(())
    }

    /// A member that knows of `term` has executed an entry.
    pub fn executed(&mut self, entry: &Entry, done: &Done<'_>, term: Term) -> Result<(), String> {
        let at = entry.index.0 as usize;
        let known = self.agreed.len();
        match self.agreed.get_mut(at - 1) {
            Some((before, _)) if before != entry => {
                return Err(format!("entry {at} was {before:?} elsewhere or earlier and is {entry:?} now"));
            }
            Some((_, known_in)) => *known_in = (*known_in).min(term),
            None if at == known + 1 => self.learn(entry, term)?,
            None => return Err(format!("entry {at} is executed after entry {known}")),
        }
        let effect = &self.effects[at - 1];
        let (refused, events) = match done {
            Done::Request(outcome) if outcome.is_replay => return Ok(()),
            Done::ConfChange(outcome) if outcome.is_replay => return Ok(()),
            Done::Request(outcome) => {
                let events = outcome.events.as_ref().map_or(0, |batch| batch.len());
                (outcome.result.is_err(), events)
            }
            Done::ConfChange(outcome) => (outcome.result.is_err(), 0),
        };
        if refused != effect.refused {
            return Err(format!("entry {at}: refused is {refused}, the model disagrees"));
        }
        let due = effect.changes.len();
        if events != due {
            return Err(format!("entry {at} made {events} events, the model {due}"));
        }
        Ok(())
    }

    fn learn(&mut self, entry: &Entry, term: Term) -> Result<(), String> {
        let mut model = self.newest().clone();
        let mut effect = Effect::default();
        if entry.changes_members() {
            let change = codec::decode_conf_change(entry.data.clone()).map_err(|error| error.to_string())?;
            effect.refused = !model.change_members(&change);
        } else if entry.kind == EntryKind::Normal && !entry.data.is_empty() {
            let request =
                pb::InternalRaftRequest::decode(entry.data.clone()).map_err(|error| error.to_string())?;
            effect = model.apply(&request);
            if !effect.refused {
                self.leases.executed(entry.index.0, &request)?;
            }
        }
        self.changes.extend(effect.changes.iter().cloned());
        self.effects.push(effect);
        self.models.push(model);
        self.agreed.push((entry.clone(), term));
        Ok(())
    }

    /// The client got the answer to the entry at `index`.
    pub fn answered(&mut self, index: u64) {
        self.acknowledged = self.acknowledged.max(index);
        self.answers += 1;
    }

    /// A life of a lone member begins with what it found on disk: there is nobody else to have it.
    pub fn check_lone_start(&self, restored: &Restored, store: &Store) -> Result<(), String> {
        let last = restored.entries.last().map_or(restored.snapshot_index.0, |entry| entry.index.0);
        if last < self.acknowledged {
            return Err(format!("entry {} was acknowledged, the log ends at {last}", self.acknowledged));
        }
        if last < self.agreed() {
            return Err(format!("entry {} was executed, the log ends at {last}", self.agreed()));
        }
        self.check_start(restored, store)
    }

    /// A life begins with what it found on disk.
    pub fn check_start(&self, restored: &Restored, store: &Store) -> Result<(), String> {
        let start = restored.snapshot_index.0;
        let last = restored.entries.last().map_or(start, |entry| entry.index.0);
        let consistent = store.consistent_index();
        if consistent > last {
            return Err(format!("the consistent index {consistent} is above the last log entry {last}"));
        }
        for entry in restored.entries.iter().filter(|entry| entry.index <= restored.hard_state.commit) {
            let known = self.agreed.get(entry.index.0 as usize - 1);
            if known.is_some_and(|(known, _)| known != entry) {
                return Err(format!("entry {} is not the one that was executed", entry.index));
            }
        }
        self.check_state(consistent, store)
    }

    /// Members at one revision have one hash, unless a compaction is under way: as in etcd, what it leaves of a store
    /// without keys counts until it is deleted.
    pub fn check_hash(&mut self, store: &Store) -> Result<(), String> {
        let reader = store.reader();
        let revision = reader.revision();
        if revision == reader.compact_revision() || store.needs_maintenance() {
            return Ok(());
        }
        let found: HashKv = reader.kv().hash_kv(revision).map_err(|error| error.to_string())?;
        let known = *self.hashes.entry((revision, found.compact_revision)).or_insert(found.hash);
        if known != found.hash {
            return Err(format!("the hash at revision {revision} is {:x}, elsewhere {known:x}", found.hash));
        }
        Ok(())
    }

    /// The store holds what the first `index` entries lead to, and its file is sound.
    pub fn check_state(&self, index: u64, store: &Store) -> Result<(), String> {
        self.check_model(index, &Model::of(&store.reader())?)?;
        match store.backend().check().as_slice() {
            [] => Ok(()),
            [first, ..] => Err(format!("the database is damaged: {first}")),
        }
    }

    /// What a store shows is what the first `index` entries lead to.
    pub fn check_model(&self, index: u64, found: &Model) -> Result<(), String> {
        let model = self.models.get(index as usize).ok_or_else(|| {
            format!("the store is at {index}, only {} entries were executed", self.agreed())
        })?;
        if found != model {
            return Err(format!("after entry {index} the store shows\n  {found:?}\nand should\n  {model:?}"));
        }
        Ok(())
    }

    /// The store has executed everything: it equals one that never crashed.
    pub fn check_equal(&mut self, store: &mut Store) -> Result<(), String> {
        self.follow()?;
        self.check_state(self.agreed(), store)?;
        // A hash left by a compaction is forgotten with a restart; finished compactions delete the same everywhere.
        finish(store)?;
        finish(&mut self.reference)?;
        let (ours, theirs) = (store.reader(), self.reference.reader());
        let revision = ours.revision();
        if revision != ours.compact_revision() {
            let hash = |reader: &store::StoreReader| reader.kv().hash_kv(revision).map_err(|e| e.to_string());
            let (ours, theirs) = (hash(&ours)?, hash(&theirs)?);
            if ours != theirs {
                return Err(format!("hashes at revision {revision}: {ours:?}, without crashes {theirs:?}"));
            }
        }
        let (ours, theirs) = (records(store)?, records(&self.reference)?);
        match ours.iter().zip(&theirs).find(|(a, b)| a != b) {
            Some((a, b)) => Err(format!("the file holds {a}, without crashes {b}")),
            None if ours.len() != theirs.len() => {
                Err(format!("{} records, without crashes {}", ours.len(), theirs.len()))
            }
            None => Ok(()),
        }
    }

    fn follow(&mut self) -> Result<(), String> {
        for (entry, _) in &self.agreed[self.referenced..] {
            let (index, term) = (entry.index.0, entry.term.0);
            if entry.changes_members() {
                let change =
                    raftpb::ConfChange::decode(entry.data.clone()).map_err(|error| error.to_string())?;
                self.reference.apply_conf_change(index, term, &change);
                self.reference.set_conf_state(self.reference.members().conf_state());
            } else {
                self.reference.apply(store::Entry { index, term, data: &entry.data }, false);
            }
        }
        self.referenced = self.agreed.len();
        self.reference.commit().map_err(|error| error.to_string())
    }
}

fn finish(store: &mut Store) -> Result<(), String> {
    while store.needs_maintenance() {
        store.maintain(1000).map_err(|error| error.to_string())?;
    }
    store.commit().map_err(|error| error.to_string())
}

/// All records of all buckets as text.
fn records(store: &Store) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    for bucket in backend::Bucket::ALL {
        for record in store.backend().range(bucket, b"", None) {
            let (key, value) = record.map_err(|error| error.to_string())?;
            all.push(format!("{}/{} = {}", bucket.name(), key.escape_ascii(), value.escape_ascii()));
        }
    }
    Ok(all)
}
