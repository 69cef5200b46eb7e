//! Random requests of clients, over so few keys and leases that they meet each other often.

use bytes::Bytes;
use prost::Message;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::request_op::Request as Op;

use crate::MEMBER;
use crate::chance::Chance;

const KEYS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const LEASES: i64 = 4;

/// The next request, encoded as the server proposes it. `revision` is near what the store has reached; leases are granted
/// for less than `ttl_max` seconds.
pub(crate) fn request(chance: &mut Chance, id: u64, revision: i64, ttl_max: u64) -> Bytes {
    let header = Some(pb::RequestHeader { id, ..Default::default() });
    let mut r = pb::InternalRaftRequest { header, ..Default::default() };
    match chance.below(40) {
        0..=15 => r.put = Some(put(chance, id)),
        16..=20 => r.delete_range = Some(delete(chance)),
        21..=27 => r.txn = Some(txn(chance, id)),
        28..=31 => {
            let (id, ttl) = (lease(chance), chance.below(ttl_max) as i64);
            r.lease_grant = Some(pb::LeaseGrantRequest { id, ttl });
        }
        32..=33 => r.lease_revoke = Some(pb::LeaseRevokeRequest { id: lease(chance) }),
        34..=37 => {
            // Never at 0: as in etcd, a restart may forget that one before it is carried out.
            let revision = (revision - 6 + chance.below(8) as i64).max(1);
            r.compaction = Some(pb::CompactionRequest { revision, physical: false });
        }
        _ => {
            // Raised for short times only: little happens meanwhile.
            let action = if chance.once_in(3) { 1 } else { 2 };
            r.alarm = Some(pb::AlarmRequest { action, member_id: MEMBER, alarm: 1 });
        }
    }
    r.encode_to_vec().into()
}

/// A request of one kind.
pub(crate) fn encoded(id: u64, fill: impl FnOnce(&mut pb::InternalRaftRequest)) -> Bytes {
    let header = Some(pb::RequestHeader { id, ..Default::default() });
    let mut r = pb::InternalRaftRequest { header, ..Default::default() };
    fill(&mut r);
    r.encode_to_vec().into()
}

fn lease(chance: &mut Chance) -> i64 {
    1 + chance.below(LEASES as u64) as i64
}

fn key(chance: &mut Chance) -> Bytes {
    (*chance.pick(&KEYS)).into()
}

fn put(chance: &mut Chance, id: u64) -> pb::PutRequest {
    let length = if chance.once_in(8) { chance.below(3000) } else { chance.below(30) };
    let mut value = id.to_string().into_bytes();
    value.resize(value.len() + length as usize, b'.');
    let lease = if chance.once_in(3) { lease(chance) } else { 0 };
    pb::PutRequest { key: key(chance), value: value.into(), lease, ..Default::default() }
}

fn delete(chance: &mut Chance) -> pb::DeleteRangeRequest {
    let range_end = if chance.once_in(3) { "d".into() } else { Bytes::new() };
    pb::DeleteRangeRequest { key: key(chance), range_end, prev_kv: false }
}

/// Compares one key's version, create revision or value; each branch puts some keys and deletes others.
fn txn(chance: &mut Chance, id: u64) -> pb::TxnRequest {
    let union = match chance.below(3) {
        0 => TargetUnion::Version(chance.below(3) as i64),
        1 => TargetUnion::CreateRevision(0),
        _ => TargetUnion::ModRevision(chance.below(30) as i64),
    };
    let target = match union {
        TargetUnion::Version(_) => CompareTarget::Version,
        TargetUnion::CreateRevision(_) => CompareTarget::Create,
        _ => CompareTarget::Mod,
    };
    let result = *chance.pick(&[CompareResult::Equal, CompareResult::Greater, CompareResult::Less]);
    let compare = pb::Compare {
        result: result.into(),
        target: target.into(),
        key: key(chance),
        target_union: Some(union),
        ..Default::default()
    };
    pb::TxnRequest { compare: vec![compare], success: branch(chance, id), failure: branch(chance, id) }
}

fn branch(chance: &mut Chance, id: u64) -> Vec<pb::RequestOp> {
    let mut ops = Vec::new();
    for key in KEYS {
        let op = match chance.below(6) {
            0 => Op::RequestPut(pb::PutRequest { lease: 0, ..put_of(key, id) }),
            1 => Op::RequestDeleteRange(pb::DeleteRangeRequest { key: key.into(), ..Default::default() }),
            _ => continue,
        };
        ops.push(pb::RequestOp { request: Some(op) });
    }
    ops
}

fn put_of(key: &'static str, id: u64) -> pb::PutRequest {
    pb::PutRequest { key: key.into(), value: format!("txn {id}").into(), ..Default::default() }
}

/// A request that changes nothing, to see whether the member answers.
pub(crate) fn harmless(id: u64) -> Bytes {
    let delete = pb::DeleteRangeRequest { key: "none".into(), ..Default::default() };
    encoded(id, |r| r.delete_range = Some(delete))
}

/// A request in a few words.
pub(crate) fn shown(data: &bytes::Bytes) -> String {
    let Ok(r) = pb::InternalRaftRequest::decode(data.clone()) else { return "?".into() };
    let cut = |text: String| text.chars().take(160).collect();
    match (&r.put, &r.delete_range, &r.txn, &r.compaction, &r.alarm) {
        (Some(put), ..) => {
            format!("put {:?} of {} bytes, lease {}", put.key, put.value.len(), put.lease)
        }
        (_, Some(delete), ..) => cut(format!("delete {:?} {:?}", delete.key, delete.range_end)),
        (_, _, Some(txn), ..) => cut(format!("txn {:?} {:?}", txn.compare, txn.success)),
        (_, _, _, Some(compaction), _) => format!("compact {}", compaction.revision),
        (.., Some(alarm)) => format!("alarm action {}", alarm.action),
        _ => cut(format!("{:?} {:?}", r.lease_grant, r.lease_revoke)),
    }
}
