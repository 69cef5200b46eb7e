//! What the store should be, in the simplest words: maps, no history. It shares no code with the store.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::compare::{CompareResult, TargetUnion};
use proto::etcdserverpb::request_op::Request as Op;
use proto::mvccpb::KeyValue;
use raft::{ConfChange, ConfChangeKind, ConfState, MemberId};
use store::StoreReader;

/// The visible state after some entries of the log.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Model {
    pub revision: i64,
    pub compacted: i64,
    pub keys: BTreeMap<Bytes, KeyValue>,
    /// Granted seconds by id.
    pub leases: BTreeMap<i64, i64>,
    /// Members whose disk is full.
    pub full: BTreeSet<u64>,
    /// Whether each member is a learner.
    pub members: BTreeMap<u64, bool>,
    /// Members that never come back.
    pub removed: BTreeSet<u64>,
}

/// One change as a watcher should see it; `None` is a delete.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Change {
    pub revision: i64,
    pub key: Bytes,
    pub now: Option<KeyValue>,
}

/// What executing an entry should do.
#[derive(Clone, Debug, PartialEq, Default)]
pub(crate) struct Effect {
    pub refused: bool,
    pub changes: Vec<Change>,
}

impl Model {
    pub fn new() -> Model {
        Model {
            revision: 1,
            compacted: -1,
            keys: BTreeMap::new(),
            leases: BTreeMap::new(),
            full: BTreeSet::new(),
            members: BTreeMap::new(),
            removed: BTreeSet::new(),
        }
    }

    /// What a store shows.
    pub fn of(reader: &StoreReader) -> Result<Model, String> {
        let all = mvcc::RangeQuery::range(Bytes::from_static(&[0]), Bytes::from_static(&[0]));
        let found = reader.kv().range(&all).map_err(|error| format!("reading all keys: {error}"))?;
        let mut keys = BTreeMap::new();
        for record in found.kvs {
            let kv = KeyValue::decode(record).map_err(|error| format!("a stored record: {error}"))?;
            keys.insert(kv.key.clone(), kv);
        }
        let leases: BTreeMap<_, _> = reader.leases().iter().map(|lease| (lease.id, lease.ttl)).collect();
        for id in leases.keys() {
            let of_keys = keys.values().filter(|kv| kv.lease == *id).map(|kv| kv.key.clone());
            let attached = reader.lease_keys(*id);
            if !of_keys.eq(attached.iter().cloned()) {
                return Err(format!("lease {id} holds {attached:?}, which is not what the keys say"));
            }
        }
        let alarms = reader.alarms().list(pb::AlarmType::Nospace.into());
        let members = reader.members();
        Ok(Model {
            revision: reader.revision(),
            compacted: reader.compact_revision(),
            keys,
            leases,
            full: alarms.iter().map(|alarm| alarm.member_id).collect(),
            members: members.list.values().map(|member| (member.id, member.is_learner)).collect(),
            removed: members.removed.clone(),
        })
    }

    /// The membership in raft's words.
    pub fn conf_state(&self) -> ConfState {
        let ids = |learners| {
            let of_kind = move |(_, is_learner): &(&u64, &bool)| **is_learner == learners;
            self.members.iter().filter(of_kind).map(|(id, _)| MemberId(*id)).collect()
        };
        ConfState { voters: ids(false), learners: ids(true), ..ConfState::default() }
    }

    /// Executes a change of membership; false: refused. The context of a promotion says so.
    pub fn change_members(&mut self, change: &ConfChange) -> bool {
        let id = change.node_id.0;
        let promotes = change.context.windows(9).any(|part| part == b"isPromote");
        let present = self.members.get(&id).copied();
        let learners = self.members.values().filter(|is_learner| **is_learner).count();
        let fits = !self.removed.contains(&id)
            && match (change.kind, promotes) {
                (ConfChangeKind::AddNode, true) => present == Some(true),
                (ConfChangeKind::AddNode, false) => present.is_none(),
                (ConfChangeKind::AddLearnerNode, _) => present.is_none() && learners == 0,
                (ConfChangeKind::RemoveNode | ConfChangeKind::UpdateNode, _) => present.is_some(),
            };
        match change.kind {
            _ if !fits => {}
            ConfChangeKind::AddNode => _ = self.members.insert(id, false),
            ConfChangeKind::AddLearnerNode => _ = self.members.insert(id, true),
            ConfChangeKind::UpdateNode => {}
            ConfChangeKind::RemoveNode => {
                self.members.remove(&id);
                self.removed.insert(id);
            }
        }
        fits
    }

    /// Executes an entry's request.
    pub fn apply(&mut self, r: &pb::InternalRaftRequest) -> Effect {
        let mut effect = Effect::default();
        let next = self.revision + 1;
        effect.refused = !self.execute(r, next, &mut effect.changes);
        if !effect.changes.is_empty() {
            self.revision = next;
        }
        effect
    }

    /// False: refused, and then nothing has changed.
    fn execute(&mut self, r: &pb::InternalRaftRequest, next: i64, changes: &mut Vec<Change>) -> bool {
        if let Some(put) = &r.put {
            let lease_known = put.lease == 0 || self.leases.contains_key(&put.lease);
            return self.full.is_empty() && lease_known && self.put(put, next, changes);
        }
        if let Some(delete) = &r.delete_range {
            return self.delete(delete, next, changes);
        }
        if let Some(txn) = &r.txn {
            return self.txn(txn, next, changes);
        }
        if let Some(grant) = &r.lease_grant {
            let free = self.full.is_empty() && !self.leases.contains_key(&grant.id);
            if free {
                self.leases.insert(grant.id, grant.ttl.max(2));
            }
            return free;
        }
        if let Some(revoke) = &r.lease_revoke {
            let held: Vec<Bytes> =
                self.keys.values().filter(|kv| kv.lease == revoke.id).map(|kv| kv.key.clone()).collect();
            held.iter().for_each(|key| self.remove(key, next, changes));
            return self.leases.remove(&revoke.id).is_some();
        }
        if let Some(compaction) = &r.compaction {
            let fits = compaction.revision > self.compacted && compaction.revision <= self.revision;
            if fits {
                self.compacted = compaction.revision;
            }
            return fits;
        }
        if let Some(alarm) = &r.alarm {
            if alarm.action == 1 {
                self.full.insert(alarm.member_id);
            } else {
                self.full.remove(&alarm.member_id);
            }
        }
        true
    }

    fn put(&mut self, put: &pb::PutRequest, next: i64, changes: &mut Vec<Change>) -> bool {
        let old = self.keys.get(&put.key);
        let now = KeyValue {
            key: put.key.clone(),
            create_revision: old.map_or(next, |old| old.create_revision),
            mod_revision: next,
            version: old.map_or(1, |old| old.version + 1),
            value: put.value.clone(),
            lease: put.lease,
        };
        self.keys.insert(put.key.clone(), now.clone());
        changes.push(Change { revision: next, key: put.key.clone(), now: Some(now) });
        true
    }

    fn delete(&mut self, delete: &pb::DeleteRangeRequest, next: i64, changes: &mut Vec<Change>) -> bool {
        let doomed: Vec<Bytes> = self
            .keys
            .keys()
            .filter(|key| {
                let one = delete.range_end.is_empty();
                if one { **key == delete.key } else { **key >= delete.key && **key < delete.range_end }
            })
            .cloned()
            .collect();
        doomed.iter().for_each(|key| self.remove(key, next, changes));
        true
    }

    fn remove(&mut self, key: &Bytes, next: i64, changes: &mut Vec<Change>) {
        if self.keys.remove(key).is_some() {
            changes.push(Change { revision: next, key: key.clone(), now: None });
        }
    }

    fn txn(&mut self, txn: &pb::TxnRequest, next: i64, changes: &mut Vec<Change>) -> bool {
        let puts = |ops: &[pb::RequestOp]| ops.iter().any(|op| matches!(op.request, Some(Op::RequestPut(_))));
        if !self.full.is_empty() && (puts(&txn.success) || puts(&txn.failure)) {
            return false;
        }
        let holds = txn.compare.iter().all(|compare| self.holds(compare));
        for op in if holds { &txn.success } else { &txn.failure } {
            match &op.request {
                Some(Op::RequestPut(put)) => self.put(put, next, changes),
                Some(Op::RequestDeleteRange(delete)) => self.delete(delete, next, changes),
                _ => false,
            };
        }
        true
    }

    fn holds(&self, compare: &pb::Compare) -> bool {
        if let Some(TargetUnion::Value(wanted)) = &compare.target_union {
            return self.keys.get(&compare.key).is_some_and(|kv| kv.value == *wanted);
        }
        let none = KeyValue::default();
        let kv = self.keys.get(&compare.key).unwrap_or(&none);
        let (found, wanted) = match &compare.target_union {
            Some(TargetUnion::Version(wanted)) => (kv.version, *wanted),
            Some(TargetUnion::CreateRevision(wanted)) => (kv.create_revision, *wanted),
            Some(TargetUnion::ModRevision(wanted)) => (kv.mod_revision, *wanted),
            _ => return false,
        };
        match compare.result() {
            CompareResult::Equal => found == wanted,
            CompareResult::Greater => found > wanted,
            CompareResult::Less => found < wanted,
            CompareResult::NotEqual => found != wanted,
        }
    }
}
