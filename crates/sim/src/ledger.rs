//! What nobody may forget: the log as it was agreed on, what clients were told, and what must follow from both.
//!
//! A lone member's entry is agreed on once it was executed, because by then it is on disk (invariant 2). From then on
//! every life of the member must find the same entry at the same index.

use std::collections::BTreeSet;

use disk::MemDisk;
use prost::Message;
use proto::{etcdserverpb as pb, raftpb};
use raft::{Entry, EntryKind, Restored, Term};
use store::{Outcome, Store};

use crate::boot::{DB, SNAP_DIR, open_store};
use crate::model::{Change, Effect, Model};

/// The memory that survives every crash.
pub(crate) struct Ledger {
    /// Entry `i + 1` of the log.
    agreed: Vec<Entry>,
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
    /// Terms in which a life of this member has led.
    led: BTreeSet<Term>,
    /// A real store that executes the same entries and never crashes.
    reference: Store,
    referenced: usize,
}

impl Ledger {
    pub fn new() -> Result<Ledger, String> {
        let disk = MemDisk::new(0);
        disk::Disk::create_dir_all(&disk, SNAP_DIR.as_ref(), 0o700).map_err(|error| error.to_string())?;
        let reference = open_store(&disk, DB).map_err(|error| error.0)?;
        Ok(Ledger {
            agreed: Vec::new(),
            effects: Vec::new(),
            models: vec![Model::new()],
            changes: Vec::new(),
            acknowledged: 0,
            answers: 0,
            led: BTreeSet::new(),
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

    /// A life of the member leads: no other may have led in that term (invariant 11).
    pub fn leads(&mut self, term: Term) -> Result<(), String> {
        if self.led.last().is_some_and(|last| *last >= term) {
            return Err(format!("leads in term {term}, in which or above which an earlier life has led"));
        }
        self.led.insert(term);
        Ok(())
    }

    /// An entry was executed; `outcome` is none for a conf change.
    pub fn executed(&mut self, entry: &Entry, outcome: Option<&Outcome>) -> Result<(), String> {
        let at = entry.index.0 as usize;
        match self.agreed.get(at - 1) {
            Some(before) if before != entry => {
                return Err(format!("entry {at} was {before:?} in an earlier life and is {entry:?} now"));
            }
            Some(_) => {}
            None if at == self.agreed.len() + 1 => self.learn(entry)?,
            None => return Err(format!("entry {at} is executed after entry {}", self.agreed.len())),
        }
        let Some(outcome) = outcome else { return Ok(()) };
        if outcome.result.is_err() != self.effects[at - 1].refused {
            return Err(format!("entry {at} ended as {:?}, the model disagrees", outcome.result));
        }
        let told = outcome.events.as_ref().map_or(0, |batch| batch.events.len());
        let due = self.effects[at - 1].changes.len();
        if told != due {
            return Err(format!("entry {at} made {told} events, the model {due}"));
        }
        Ok(())
    }

    fn learn(&mut self, entry: &Entry) -> Result<(), String> {
        let mut model = self.newest().clone();
        let effect = if entry.kind == EntryKind::Normal && !entry.data.is_empty() {
            let request =
                pb::InternalRaftRequest::decode(entry.data.clone()).map_err(|error| error.to_string())?;
            model.apply(&request)
        } else {
            Effect::default()
        };
        self.changes.extend(effect.changes.iter().cloned());
        self.effects.push(effect);
        self.models.push(model);
        self.agreed.push(entry.clone());
        Ok(())
    }

    /// The client got the answer to the entry at `index`.
    pub fn answered(&mut self, index: u64) {
        self.acknowledged = self.acknowledged.max(index);
        self.answers += 1;
    }

    /// A life begins with what it found on disk.
    pub fn check_start(&self, restored: &Restored, store: &Store) -> Result<(), String> {
        let start = restored.snapshot_index.0;
        let last = restored.entries.last().map_or(start, |entry| entry.index.0);
        let consistent = store.consistent_index();
        if consistent > last {
            return Err(format!("the consistent index {consistent} is above the last log entry {last}"));
        }
        if last < self.acknowledged {
            return Err(format!("entry {} was acknowledged, the log ends at {last}", self.acknowledged));
        }
        if last < self.agreed() {
            return Err(format!("entry {} was executed, the log ends at {last}", self.agreed()));
        }
        for entry in &restored.entries {
            let known = self.agreed.get(entry.index.0 as usize - 1);
            if known.is_some_and(|known| known != entry) {
                return Err(format!("entry {} is not the one that was executed", entry.index));
            }
        }
        self.check_state(consistent, store)
    }

    /// The store holds what the first `index` entries lead to, and its file is sound.
    pub fn check_state(&self, index: u64, store: &Store) -> Result<(), String> {
        let model = self.models.get(index as usize).ok_or_else(|| {
            format!("the store is at {index}, only {} entries were executed", self.agreed())
        })?;
        let found = Model::of(&store.reader())?;
        if found != *model {
            return Err(format!("after entry {index} the store shows\n  {found:?}\nand should\n  {model:?}"));
        }
        match store.backend().check().as_slice() {
            [] => Ok(()),
            [first, ..] => Err(format!("the database is damaged: {first}")),
        }
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
        for entry in &self.agreed[self.referenced..] {
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
