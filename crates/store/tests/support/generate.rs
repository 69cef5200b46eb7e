//! Random requests over a small world of keys, leases, users and members, so that they meet each other often.

use prost::Message;
use proto::authpb;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::compare::TargetUnion;
use proto::etcdserverpb::request_op::Request as Op;
use proto::membershippb as mpb;
use proto::raftpb;
use store::{ConfChangeContext, Member};

use super::{Logged, Random};

const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];
const ENDS: [&str; 6] = ["", "", "c", "e", "z", "\0"];
const USERS: [&str; 3] = ["root", "u", "v"];
const ROLES: [&str; 3] = ["root", "r", "s"];

/// The next entry of a random log.
pub fn entry(random: &mut Random) -> Logged {
    if random.chance(12) {
        return Logged::Conf(conf_change(random));
    }
    if random.chance(30) {
        return Logged::Normal(bytes::Bytes::new());
    }
    Logged::Normal(request(random).encode_to_vec().into())
}

pub fn request(random: &mut Random) -> pb::InternalRaftRequest {
    let (username, auth_revision) = match random.below(4) {
        0 => (String::new(), 0),
        1 => ("u".to_owned(), random.below(30)),
        _ => ("root".to_owned(), 1000),
    };
    let header = Some(pb::RequestHeader { id: random.next() | 1, username, auth_revision });
    let mut r = pb::InternalRaftRequest { header, ..Default::default() };
    match random.below(20) {
        0..=5 => r.put = Some(put(random)),
        6 => r.delete_range = Some(delete(random)),
        7..=10 => r.txn = Some(txn(random, 2)),
        11 => {
            let revision = 1 + random.below(40) as i64;
            r.compaction = Some(pb::CompactionRequest { revision, physical: false });
        }
        12 => r.lease_grant = Some(pb::LeaseGrantRequest { ttl: random.below(50) as i64, id: lease(random) }),
        13 => r.lease_revoke = Some(pb::LeaseRevokeRequest { id: lease(random) }),
        14 => {
            let checkpoints = vec![pb::LeaseCheckpoint { id: lease(random), remaining_ttl: 5 }];
            r.lease_checkpoint = Some(pb::LeaseCheckpointRequest { checkpoints });
        }
        15 => {
            let (action, alarm) = (random.below(3) as i32, random.below(2) as i32);
            // Seldom the corrupt alarm: nothing but its end goes on after it.
            let alarm = if random.chance(20) { 2 } else { alarm };
            r.alarm = Some(pb::AlarmRequest { action, member_id: 1 + random.below(2), alarm });
        }
        16 => cluster(random, &mut r),
        _ => auth(random, &mut r),
    }
    r
}

fn cluster(random: &mut Random, r: &mut pb::InternalRaftRequest) {
    match random.below(3) {
        0 => {
            let ver = if random.chance(2) { "3.6.0" } else { "3.7.0" };
            r.cluster_version_set = Some(mpb::ClusterVersionSetRequest { ver: ver.to_owned() });
        }
        1 => {
            let enabled = random.chance(2);
            r.downgrade_info_set = Some(mpb::DowngradeInfoSetRequest { enabled, ver: "3.6.0".to_owned() });
        }
        _ => {
            // Members 1 and 2 are added by the first entries of every log and may be removed, which is allowed.
            let attributes = mpb::Attributes { name: "n".into(), client_urls: vec!["http://c:1".into()] };
            r.cluster_member_attr_set = Some(mpb::ClusterMemberAttrSetRequest {
                member_id: 1 + random.below(2),
                member_attributes: Some(attributes),
            });
        }
    }
}

fn auth(random: &mut Random, r: &mut pb::InternalRaftRequest) {
    let name = (*random.pick(&USERS)).to_owned();
    let role = (*random.pick(&ROLES)).to_owned();
    match random.below(13) {
        0 => {
            let options = Some(authpb::UserAddOptions { no_password: random.chance(3) });
            let hashed_password = "Zm9v".to_owned();
            r.auth_user_add =
                Some(pb::AuthUserAddRequest { name, password: String::new(), options, hashed_password });
        }
        1 => r.auth_user_delete = Some(pb::AuthUserDeleteRequest { name }),
        2 => {
            let hashed_password = "YmFy".to_owned();
            r.auth_user_change_password =
                Some(pb::AuthUserChangePasswordRequest { name, password: String::new(), hashed_password });
        }
        3 | 4 => r.auth_user_grant_role = Some(pb::AuthUserGrantRoleRequest { user: name, role }),
        5 => r.auth_user_revoke_role = Some(pb::AuthUserRevokeRoleRequest { name, role }),
        6 => r.auth_role_add = Some(pb::AuthRoleAddRequest { name: role }),
        7 => r.auth_role_delete = Some(pb::AuthRoleDeleteRequest { role }),
        8 | 9 => {
            let perm = authpb::Permission {
                perm_type: random.below(3) as i32,
                key: key(random).into(),
                range_end: end(random).into(),
            };
            r.auth_role_grant_permission =
                Some(pb::AuthRoleGrantPermissionRequest { name: role, perm: Some(perm) });
        }
        10 => {
            r.auth_role_revoke_permission = Some(pb::AuthRoleRevokePermissionRequest {
                role,
                key: key(random).into(),
                range_end: end(random).into(),
            });
        }
        11 if random.chance(3) => r.auth_enable = Some(pb::AuthEnableRequest {}),
        _ => r.auth_disable = Some(pb::AuthDisableRequest {}),
    }
}

fn conf_change(random: &mut Random) -> raftpb::ConfChange {
    use raftpb::ConfChangeType as Type;
    let id = 1 + random.below(6);
    let kind = *random.pick(&[
        Type::ConfChangeAddNode,
        Type::ConfChangeAddNode,
        Type::ConfChangeAddLearnerNode,
        Type::ConfChangeRemoveNode,
        Type::ConfChangeUpdateNode,
    ]);
    let is_promote = kind == Type::ConfChangeAddNode && random.chance(2);
    let url = format!("http://m{}:2380", random.below(8));
    let is_learner = kind == Type::ConfChangeAddLearnerNode;
    let member = Member { id, peer_urls: vec![url], is_learner, ..Member::default() };
    let context = ConfChangeContext { member, is_promote };
    raftpb::ConfChange {
        id: Some(random.next()),
        r#type: Some(kind.into()),
        node_id: Some(id),
        context: Some(context.to_json().into()),
    }
}

/// The additions with which every log begins.
pub fn first_members() -> Vec<Logged> {
    let added = |id: u64| {
        let member = Member { id, peer_urls: vec![format!("http://first{id}:1")], ..Member::default() };
        Logged::Conf(raftpb::ConfChange {
            id: Some(0),
            r#type: Some(raftpb::ConfChangeType::ConfChangeAddNode.into()),
            node_id: Some(id),
            context: Some(member.to_json().into()),
        })
    };
    vec![added(1), added(2)]
}

pub fn key(random: &mut Random) -> &'static str {
    KEYS[random.below(KEYS.len() as u64) as usize]
}

fn end(random: &mut Random) -> &'static str {
    ENDS[random.below(ENDS.len() as u64) as usize]
}

fn lease(random: &mut Random) -> i64 {
    random.below(4) as i64
}

pub fn put(random: &mut Random) -> pb::PutRequest {
    let (ignore_value, ignore_lease) = (random.chance(8), random.chance(8));
    let value = if ignore_value { String::new() } else { random.below(4).to_string() };
    let lease = if ignore_lease || random.chance(2) { 0 } else { lease(random) };
    pb::PutRequest {
        key: key(random).into(),
        value: value.into(),
        lease,
        prev_kv: random.chance(2),
        ignore_value,
        ignore_lease,
    }
}

pub fn delete(random: &mut Random) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest {
        key: key(random).into(),
        range_end: end(random).into(),
        prev_kv: random.chance(2),
    }
}

pub fn range(random: &mut Random) -> pb::RangeRequest {
    pb::RangeRequest {
        key: key(random).into(),
        range_end: end(random).into(),
        limit: random.below(3) as i64,
        revision: if random.chance(4) { random.below(30) as i64 } else { 0 },
        count_only: random.chance(5),
        ..Default::default()
    }
}

pub fn compare(random: &mut Random) -> pb::Compare {
    let n = random.below(3) as i64;
    let target = random.below(5) as i32;
    let union = match if random.chance(8) { random.below(5) as i32 } else { target } {
        0 => TargetUnion::Version(n),
        1 => TargetUnion::CreateRevision(n),
        2 => TargetUnion::ModRevision(n),
        3 => TargetUnion::Value(n.to_string().into()),
        _ => TargetUnion::Lease(n),
    };
    pb::Compare {
        result: random.below(4) as i32,
        target,
        key: key(random).into(),
        range_end: if random.chance(3) { end(random).into() } else { "".into() },
        target_union: Some(union),
    }
}

/// A txn with nested ones up to `depth`, of good shape: see [`store::check::check_txn`].
pub fn txn(random: &mut Random, depth: u32) -> pb::TxnRequest {
    loop {
        let txn = any_txn(random, depth);
        if store::check::check_txn(&txn, store::check::TXN_OPS_MAX).is_ok() {
            return txn;
        }
    }
}

fn any_txn(random: &mut Random, depth: u32) -> pb::TxnRequest {
    pb::TxnRequest {
        compare: (0..random.below(3)).map(|_| compare(random)).collect(),
        success: (0..random.below(4)).map(|_| op(random, depth)).collect(),
        failure: (0..random.below(4)).map(|_| op(random, depth)).collect(),
    }
}

fn op(random: &mut Random, depth: u32) -> pb::RequestOp {
    let op = match random.below(8) {
        0..=2 => Op::RequestPut(put(random)),
        3 => Op::RequestDeleteRange(delete(random)),
        4 | 5 if depth > 0 => Op::RequestTxn(any_txn(random, depth - 1)),
        _ => Op::RequestRange(range(random)),
    };
    pb::RequestOp { request: Some(op) }
}
