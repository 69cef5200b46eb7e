//! The apply thread and those that live on the store: the commit thread, reads, watch streams, the lease clock.

use bytes::Bytes;
use mvcc::RangeQuery;
use node::Input;
use prost::Message as _;
use proto::mvccpb::KeyValue;
use proto::{etcdserverpb as pb, raftpb};
use raft::{Entry, Index, Message, Role, Snapshot, SoftState};
use store::lease::clock::EXPIRED_MAX;
use wal::codec;

use super::snap::SnapJob;
use super::{ApplyJob, Around, Halt, LEASE_EXTEND_MS, Outgoing, Process, Step, Told, died};
use crate::boot::{adopt_received, conf_state};
use crate::ledger::Done;
use crate::model::Model;
use crate::{Mutation, workload};

impl Process {
    /// Some of what waits.
    pub(super) fn apply(&mut self, around: &mut Around<'_>) -> Step {
        let count = (1 + around.chance.below(5) as usize).min(self.to_apply.len());
        let before = self.index;
        let mut said = format!("apply {count} jobs");
        for job in self.to_apply.drain(..count).collect::<Vec<_>>() {
            match job {
                ApplyJob::Entry(entry) => {
                    self.execute(&entry, around).map_err(Halt::Wrong)?;
                    said += &format!(", {}", entry.index);
                }
                ApplyJob::Leadership(soft) => self.leadership(soft),
                ApplyJob::Restore(snapshot) => {
                    self.restore(&snapshot, around)?;
                    said += &format!(", restored at {}", snapshot.index);
                }
                ApplyJob::SendSnapshot(message) => self.send_snapshot(message)?,
                ApplyJob::SnapshotDue => self.begin_snapshot(),
                ApplyJob::Committed => self.committed(),
            }
        }
        if self.index > before {
            self.to_node.push_back(Input::Applied { index: self.index });
        }
        if self.mutation == Some(Mutation::CommittedBeforeSync) && self.unsynced.seq.is_some() {
            self.unanswered.append(&mut self.told);
        }
        Ok(said)
    }

    fn execute(&mut self, entry: &Entry, around: &mut Around<'_>) -> Result<(), String> {
        let known_in = self.node.raft().soft_state().term;
        let now_ms = around.ledger.leases.now_ms;
        let (index, term) = (entry.index.0, entry.term.0);
        if entry.changes_members() {
            let change = codec::decode_conf_change(entry.data.clone()).map_err(|error| error.to_string())?;
            let stored = raftpb::ConfChange::decode(entry.data.clone()).map_err(|error| error.to_string())?;
            let outcome = self.store.apply_conf_change(index, term, &stored);
            let twice = self.mutation == Some(Mutation::ConfChangeTwice) && outcome.is_replay;
            let id = change.id;
            let change = (outcome.to_raft || twice).then_some(change);
            self.to_node.push_back(Input::ConfChangeApplied { index: entry.index, change });
            around.ledger.executed(entry, &Done::ConfChange(&outcome), known_in)?;
            self.removed |= outcome.removed_self && !outcome.is_replay;
            let result = Box::new(outcome.result.map(|_| store::Response::Nothing));
            self.told.push(Told::Entry { index, id, result });
        } else {
            let outcome = self.store.apply(store::Entry { index, term, data: &entry.data }, true);
            around.ledger.executed(entry, &Done::Request(&outcome), known_in)?;
            for change in outcome.leases {
                self.clock.observe(now_ms, change);
            }
            let follows = self.mutation == Some(Mutation::LeaseExpiredByFollower);
            // Consensus also puts an empty entry in the place of a conf change that came too early.
            let begins = self.leads == Some(entry.term) && !self.clock.is_primary();
            if outcome.is_leader_start && (begins || follows) {
                let leases = self.store.reader().leases();
                let leases = leases.into_iter().map(|lease| (lease.id, lease.ttl, lease.remaining_ttl));
                self.clock.promote(now_ms, LEASE_EXTEND_MS, leases);
            }
            if let Some(events) = &outcome.events {
                let reader = self.store.reader();
                self.hub.notify(events, reader.kv()).map_err(|error| error.to_string())?;
            }
            self.told.push(Told::Entry { index, id: outcome.id, result: Box::new(outcome.result) });
        }
        self.index = entry.index;
        self.term = entry.term;
        Ok(())
    }

    fn leadership(&mut self, soft: SoftState) {
        let leads = (soft.role == Role::Leader).then_some(soft.term);
        if self.leads.is_some() && leads.is_none() && self.mutation != Some(Mutation::LeaseExpiredByFollower)
        {
            self.clock.demote();
        }
        self.leads = leads;
    }

    /// The received database takes the place of this one.
    fn restore(&mut self, snapshot: &Snapshot, around: &mut Around<'_>) -> Result<(), Halt> {
        if snapshot.index <= self.index {
            return Err(Halt::Wrong(format!("a snapshot at {} takes {} back", snapshot.index, self.index)));
        }
        let (index, term) = (snapshot.index.0, snapshot.term.0);
        let restored = adopt_received(&self.disk, snapshot.index)
            .and_then(|backend| Ok(self.store.restore(backend, index, term)?));
        restored.map_err(|refused| died("restore")(refused.0))?;
        let found = Model::of(&self.store.reader()).map_err(Halt::Wrong)?;
        around.ledger.check_model(index, &found).map_err(Halt::Wrong)?;
        self.snapshot = None;
        self.snapshot_sealed = false;
        self.index = snapshot.index;
        self.term = snapshot.term;
        self.restores += 1;
        if self.mutation == Some(Mutation::RestoreUnwatched) {
            self.hub = mvcc::watch::WatchHub::new(self.store.revision());
        } else {
            self.hub.missed(self.store.revision());
        }
        Ok(())
    }

    fn snapshot_now(&self) -> Snapshot {
        let (index, term) = (self.index, self.term);
        Snapshot { index, term, conf_state: conf_state(&self.store), data: self.store.snapshot_data() }
    }

    /// A copy of the database that ends exactly with the snapshot leaves for a member that lags.
    fn send_snapshot(&mut self, mut message: Message) -> Result<(), Halt> {
        if self.mutation != Some(Mutation::SnapshotAheadOfItsCopy) {
            self.store.commit().map_err(died("commit"))?;
        }
        let mut snapshot = self.snapshot_now();
        if self.mutation == Some(Mutation::SnapshotWithoutItsMembers) {
            snapshot.conf_state = self.conf_at_start.clone();
        }
        let copy = self.store.backend().read().copy();
        let mut db = vec![0; copy.len() as usize];
        copy.read_at(&mut db, 0).map_err(died("copy the database"))?;
        message.snapshot = Some(Box::new(snapshot));
        self.out.push(Outgoing::Snapshot(message, db.into()));
        Ok(())
    }

    fn begin_snapshot(&mut self) {
        if self.snapshot.is_some() {
            return;
        }
        let snapshot = self.snapshot_now();
        if self.mutation == Some(Mutation::SnapshotBeforeCommit) {
            self.past.jobs.push_back(SnapJob::Save(snapshot));
            return;
        }
        self.snapshot = Some(snapshot);
        self.snapshot_sealed = false;
    }

    pub(super) fn seal(&mut self) {
        if self.store.seal() {
            self.committing = true;
            self.snapshot_sealed = self.snapshot.is_some();
        }
    }

    /// The commit thread.
    pub(super) fn commit(&mut self) -> Step {
        let committed = self.store.committer().commit_sealed().map_err(died("commit"))?;
        self.committing = false;
        self.unheard = true;
        self.to_apply.push_back(ApplyJob::Committed);
        Ok(format!("commit the database: {committed}"))
    }

    fn committed(&mut self) {
        self.unheard = false;
        if std::mem::take(&mut self.snapshot_sealed) {
            self.past.jobs.extend(self.snapshot.take().map(SnapJob::Save));
        }
    }

    /// Up to where reads may rely on the store.
    pub(super) fn readable(&self) -> Index {
        if self.mutation == Some(Mutation::ReadBeforeApplied) { Index(u64::MAX) } else { self.index }
    }

    pub(super) fn serve_read(&mut self, around: &mut Around<'_>) -> Result<String, String> {
        let readable = self.readable();
        let Some(at) = self.confirmed.iter().position(|(_, index)| *index <= readable) else {
            return Ok(String::new());
        };
        let Some((id, index)) = self.confirmed.remove(at) else { return Ok(String::new()) };
        if let Some((leases, term)) = self.ending.remove(&id) {
            return Ok(self.revoke(leases, term, around));
        }
        let Some(key) = self.asked.remove(&id) else { return Ok(String::new()) };
        let found = self.store.reader().kv().range(&RangeQuery { key, ..RangeQuery::default() });
        let found = found.map_err(|error| format!("a read: {error}"))?;
        let kv = found.kvs.into_iter().next().map(KeyValue::decode).transpose();
        let kv = kv.map_err(|error| format!("a stored record: {error}"))?;
        self.told.push(Told::Read { id, kv, revision: found.revision });
        Ok(format!("read {id} confirmed at {index} is served at {}", self.index))
    }

    pub(super) fn deliver(&mut self, around: &mut Around<'_>) -> Result<String, String> {
        let waiting: Vec<_> = around.watchers.streams().filter(|id| self.hub.waiting(*id) > 0).collect();
        let stream = *around.chance.pick(&waiting);
        let outputs = self.hub.poll(stream, 1 + around.chance.below(1000) as usize);
        let count = outputs.len();
        let (id, revision) = (self.id(), self.store.revision());
        for output in outputs {
            around.watchers.receive(output, id, &mut self.hub, revision, around.ledger)?;
        }
        Ok(format!("deliver {count} watch responses of stream {}", stream.0))
    }

    /// Leases have ended on this member's clock, which is trusted only if it still leads.
    pub(super) fn expire(&mut self, around: &mut Around<'_>) -> String {
        let leases = self.clock.expired(around.ledger.leases.now_ms, EXPIRED_MAX);
        let said = format!("leases {leases:?} have ended");
        if self.mutation == Some(Mutation::LeaseExpiredByFollower) {
            return said + &self.propose_revocations(leases, None, around);
        }
        if let (Some(term), false) = (self.leads, leases.is_empty()) {
            self.next_id += 1;
            self.ending.insert(self.next_id, (leases, term));
            self.to_node.push_back(Input::ReadIndex { id: self.next_id });
        }
        said
    }

    fn revoke(&mut self, leases: Vec<i64>, term: raft::Term, around: &mut Around<'_>) -> String {
        if self.leads != Some(term) {
            return format!("leads no longer: leases {leases:?} stay");
        }
        let now_ms = around.ledger.leases.now_ms;
        let leases = leases.into_iter().filter(|id| self.clock.has_ended(now_ms, *id)).collect();
        self.propose_revocations(leases, Some(term), around)
    }

    fn propose_revocations(
        &mut self,
        leases: Vec<i64>,
        term: Option<raft::Term>,
        around: &mut Around<'_>,
    ) -> String {
        for id in &leases {
            self.next_id += 1;
            around.ledger.leases.ends(self.next_id, self.index.0);
            let revoke = pb::LeaseRevokeRequest { id: *id };
            let data: Bytes = workload::encoded(self.next_id, |r| r.lease_revoke = Some(revoke));
            match term {
                Some(term) => self.propose_as_leader(self.next_id, data, term),
                None => self.propose(self.next_id, data),
            }
        }
        format!("propose to revoke {leases:?}")
    }
}
