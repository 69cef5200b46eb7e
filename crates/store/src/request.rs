//! From entry data to a request. formats 4.1 to 4.3.

use bytes::{Buf, Bytes};
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use proto::etcdserverpb as pb;
use proto::membershippb as mpb;

use crate::Member;
use crate::auth::Identity;
use crate::record::parse_hex_id;

/// A decoded entry.
pub(crate) struct Request {
    /// Whom to answer.
    pub id: u64,
    user: String,
    auth_revision: u64,
    pub kind: Kind,
}

/// What is asked for.
pub(crate) enum Kind {
    Put(pb::PutRequest),
    Range(pb::RangeRequest),
    DeleteRange(pb::DeleteRangeRequest),
    Txn(pb::TxnRequest),
    Compaction(pb::CompactionRequest),
    LeaseGrant(pb::LeaseGrantRequest),
    LeaseRevoke(pb::LeaseRevokeRequest),
    LeaseCheckpoint(pb::LeaseCheckpointRequest),
    Alarm(pb::AlarmRequest),
    AuthEnable,
    AuthDisable,
    AuthStatus,
    Authenticate(pb::InternalAuthenticateRequest),
    UserAdd(pb::AuthUserAddRequest),
    UserDelete(pb::AuthUserDeleteRequest),
    UserGet(pb::AuthUserGetRequest),
    UserChangePassword(pb::AuthUserChangePasswordRequest),
    UserGrantRole(pb::AuthUserGrantRoleRequest),
    UserRevokeRole(pb::AuthUserRevokeRoleRequest),
    UserList,
    RoleList,
    RoleAdd(pb::AuthRoleAddRequest),
    RoleDelete(pb::AuthRoleDeleteRequest),
    RoleGet(pb::AuthRoleGetRequest),
    RoleGrantPermission(pb::AuthRoleGrantPermissionRequest),
    RoleRevokePermission(pb::AuthRoleRevokePermissionRequest),
    ClusterVersionSet(mpb::ClusterVersionSetRequest),
    MemberAttrSet(mpb::ClusterMemberAttrSetRequest),
    DowngradeInfoSet(mpb::DowngradeInfoSetRequest),
    /// Tests of etcd only: does nothing.
    DowngradeVersionTest,
}

impl Request {
    /// Decodes entry data; keys and values become slices of it.
    ///
    /// # Errors
    /// Says why no member can execute the entry.
    pub fn decode(data: &Bytes) -> Result<Self, String> {
        if let Some(put) = decode_put(data) {
            return Ok(put);
        }
        match pb::InternalRaftRequest::decode(data.clone()) {
            Ok(request) => Self::from_internal(request),
            // 3.5 wrote some requests in the form of the v2 API.
            Err(error) => match pb::Request::decode(data.clone()) {
                Ok(v2) if v2.method.is_some() => Self::from_v2(&v2),
                _ => decode_deep_txn(data).ok_or_else(|| format!("entry does not decode: {error}")),
            },
        }
    }

    /// Executing it changes a key or a lease, and reads no record.
    fn is_brief(&self) -> bool {
        match &self.kind {
            Kind::Put(put) => !(put.prev_kv || put.ignore_value || put.ignore_lease),
            Kind::DeleteRange(delete) => delete.range_end.is_empty() && !delete.prev_kv,
            Kind::LeaseGrant(_) => true,
            _ => false,
        }
    }

    /// On whose behalf.
    pub fn who(&self) -> Identity<'_> {
        Identity { user: &self.user, revision: self.auth_revision }
    }

    fn from_internal(mut r: pb::InternalRaftRequest) -> Result<Self, String> {
        let has_header = r.header.is_some();
        let header = r.header.take().unwrap_or_default();
        let id = if r.id != 0 { r.id } else { header.id };
        if let Some(v2) = r.v2.take() {
            return Self::from_v2(&v2);
        }
        if id == 0 && !has_header {
            return Err("entry has neither header nor id".to_owned());
        }
        let kind = Kind::of(r).ok_or("entry holds no request this version knows")?;
        Ok(Self { id, user: header.username, auth_revision: header.auth_revision, kind })
    }

    /// Publication of a member and the cluster version, as members of 3.5 proposed them.
    fn from_v2(r: &pb::Request) -> Result<Self, String> {
        let (method, path) = (r.method(), r.path());
        let kind = match path.strip_prefix("/0/members/").and_then(|rest| rest.strip_suffix("/attributes")) {
            Some(id) if method == "PUT" => {
                let member_id =
                    parse_hex_id(id).ok_or_else(|| format!("v2 request names no member: {path:?}"))?;
                let attributes: Member = serde_json::from_str(r.val())
                    .map_err(|e| format!("v2 request holds malformed attributes: {e}"))?;
                let member_attributes =
                    Some(mpb::Attributes { name: attributes.name, client_urls: attributes.client_urls });
                Kind::MemberAttrSet(mpb::ClusterMemberAttrSetRequest { member_id, member_attributes })
            }
            None if method == "PUT" && path == "/0/version" => {
                Kind::ClusterVersionSet(mpb::ClusterVersionSetRequest { ver: r.val().to_owned() })
            }
            _ => return Err(format!("v2 request is not supported: {method} {path:?}")),
        };
        Ok(Self { id: r.id(), user: String::new(), auth_revision: 0, kind })
    }
}

/// Whether executing the request in an entry takes a few microseconds, whatever the disk does: that of one key, which reads
/// no record. The record may not be in memory. An entry that does not decode is not brief.
#[must_use]
pub fn is_brief(data: &Bytes) -> bool {
    Request::decode(data).is_ok_and(|request| request.is_brief())
}

impl Kind {
    /// The one field that is set; several: the first in etcd's order of dispatch.
    fn of(r: pb::InternalRaftRequest) -> Option<Self> {
        let membership = (r.cluster_version_set.map(Kind::ClusterVersionSet))
            .or_else(|| r.cluster_member_attr_set.map(Kind::MemberAttrSet))
            .or_else(|| r.downgrade_info_set.map(Kind::DowngradeInfoSet))
            .or_else(|| r.downgrade_version_test.map(|_| Kind::DowngradeVersionTest));
        membership
            .or_else(|| r.range.map(Kind::Range))
            .or_else(|| r.put.map(Kind::Put))
            .or_else(|| r.delete_range.map(Kind::DeleteRange))
            .or_else(|| r.txn.map(Kind::Txn))
            .or_else(|| r.compaction.map(Kind::Compaction))
            .or_else(|| r.lease_grant.map(Kind::LeaseGrant))
            .or_else(|| r.lease_revoke.map(Kind::LeaseRevoke))
            .or_else(|| r.lease_checkpoint.map(Kind::LeaseCheckpoint))
            .or_else(|| r.alarm.map(Kind::Alarm))
            .or_else(|| r.authenticate.map(Kind::Authenticate))
            .or_else(|| r.auth_enable.map(|_| Kind::AuthEnable))
            .or_else(|| r.auth_disable.map(|_| Kind::AuthDisable))
            .or_else(|| r.auth_status.map(|_| Kind::AuthStatus))
            .or_else(|| r.auth_user_add.map(Kind::UserAdd))
            .or_else(|| r.auth_user_delete.map(Kind::UserDelete))
            .or_else(|| r.auth_user_change_password.map(Kind::UserChangePassword))
            .or_else(|| r.auth_user_grant_role.map(Kind::UserGrantRole))
            .or_else(|| r.auth_user_get.map(Kind::UserGet))
            .or_else(|| r.auth_user_revoke_role.map(Kind::UserRevokeRole))
            .or_else(|| r.auth_role_add.map(Kind::RoleAdd))
            .or_else(|| r.auth_role_grant_permission.map(Kind::RoleGrantPermission))
            .or_else(|| r.auth_role_get.map(Kind::RoleGet))
            .or_else(|| r.auth_role_revoke_permission.map(Kind::RoleRevokePermission))
            .or_else(|| r.auth_role_delete.map(Kind::RoleDelete))
            .or_else(|| r.auth_user_list.map(|_| Kind::UserList))
            .or_else(|| r.auth_role_list.map(|_| Kind::RoleList))
    }
}

/// The common case without the wide message: a header and one put, nothing else. Anything unusual: `None`.
fn decode_put(data: &Bytes) -> Option<Request> {
    const ID: u32 = 1;
    const PUT: u32 = 4;
    const HEADER: u32 = 100;
    let mut rest = data.clone();
    let (mut id, mut header, mut put) = (0, None, None);
    while rest.has_remaining() {
        match decode_key(&mut rest).ok()? {
            (ID, WireType::Varint) => id = decode_varint(&mut rest).ok()?,
            (PUT, WireType::LengthDelimited) if put.is_none() => {
                put = Some(pb::PutRequest::decode(field(&mut rest)?).ok()?);
            }
            (HEADER, WireType::LengthDelimited) if header.is_none() => {
                header = Some(pb::RequestHeader::decode(field(&mut rest)?).ok()?);
            }
            _ => return None,
        }
    }
    let header = header?;
    let id = if id != 0 { id } else { header.id };
    Some(Request { id, user: header.username, auth_revision: header.auth_revision, kind: Kind::Put(put?) })
}

/// Txns nested deeper are refused. Members take as many levels as `--max-txn-ops` says, 128 unless raised, but prost
/// stops at 48, and an entry that another member could execute must not stop this one.
const TXN_DEPTH_MAX: usize = 256;

/// Why bytes are not taken for a txn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTxn {
    /// It has more levels than anybody executes here.
    TooDeep,
    /// They are something else.
    Malformed,
}

impl From<prost::DecodeError> for NoTxn {
    fn from(_: prost::DecodeError) -> NoTxn {
        NoTxn::Malformed
    }
}

/// A client's txn, nested as deep as members execute it.
///
/// # Errors
/// Says why it is not taken.
pub fn decode_txn(data: &Bytes) -> Result<pb::TxnRequest, NoTxn> {
    pb::TxnRequest::decode(data.clone()).or_else(|_| txn_levels(data.clone(), TXN_DEPTH_MAX))
}

/// A header and a txn, whatever its depth up to [`TXN_DEPTH_MAX`].
fn decode_deep_txn(data: &Bytes) -> Option<Request> {
    const ID: u32 = 1;
    const TXN: u32 = 6;
    const HEADER: u32 = 100;
    let mut rest = data.clone();
    let (mut id, mut header, mut txn) = (0, None, None);
    while rest.has_remaining() {
        match decode_key(&mut rest).ok()? {
            (ID, WireType::Varint) => id = decode_varint(&mut rest).ok()?,
            (TXN, WireType::LengthDelimited) if txn.is_none() => {
                txn = Some(txn_levels(field(&mut rest)?, TXN_DEPTH_MAX).ok()?);
            }
            (HEADER, WireType::LengthDelimited) if header.is_none() => {
                header = Some(pb::RequestHeader::decode(field(&mut rest)?).ok()?);
            }
            _ => return None,
        }
    }
    let header = header?;
    let id = if id != 0 { id } else { header.id };
    Some(Request { id, user: header.username, auth_revision: header.auth_revision, kind: Kind::Txn(txn?) })
}

/// A txn of at most `levels` levels; its other parts are left to prost.
fn txn_levels(mut rest: Bytes, levels: usize) -> Result<pb::TxnRequest, NoTxn> {
    const COMPARE: u32 = 1;
    const SUCCESS: u32 = 2;
    const FAILURE: u32 = 3;
    let below = levels.checked_sub(1).ok_or(NoTxn::TooDeep)?;
    let mut txn = pb::TxnRequest::default();
    while rest.has_remaining() {
        let (number, wire) = decode_key(&mut rest)?;
        if wire != WireType::LengthDelimited || !(COMPARE..=FAILURE).contains(&number) {
            skip_field(wire, number, &mut rest, DecodeContext::default())?;
            continue;
        }
        let part = field(&mut rest).ok_or(NoTxn::Malformed)?;
        match number {
            COMPARE => txn.compare.push(pb::Compare::decode(part)?),
            SUCCESS => txn.success.push(op_levels(part, below)?),
            _ => txn.failure.push(op_levels(part, below)?),
        }
    }
    Ok(txn)
}

fn op_levels(op: Bytes, levels: usize) -> Result<pb::RequestOp, NoTxn> {
    const TXN: u32 = 4;
    let mut rest = op.clone();
    if rest.has_remaining() && decode_key(&mut rest)? == (TXN, WireType::LengthDelimited) {
        let txn = txn_levels(field(&mut rest).ok_or(NoTxn::Malformed)?, levels)?;
        let request = Some(pb::request_op::Request::RequestTxn(txn));
        return if rest.has_remaining() { Err(NoTxn::Malformed) } else { Ok(pb::RequestOp { request }) };
    }
    Ok(pb::RequestOp::decode(op)?)
}

fn field(rest: &mut Bytes) -> Option<Bytes> {
    let len = usize::try_from(decode_varint(rest).ok()?).ok()?;
    (len <= rest.len()).then(|| rest.split_to(len))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn internal(id: u64) -> pb::InternalRaftRequest {
        let header = Some(pb::RequestHeader { id, username: "u".into(), auth_revision: 3 });
        pb::InternalRaftRequest { header, ..Default::default() }
    }

    fn decode(r: &pb::InternalRaftRequest) -> Result<Request, String> {
        Request::decode(&r.encode_to_vec().into())
    }

    #[test]
    fn what_changes_one_key_and_reads_no_record_is_brief() {
        let brief = |r: pb::InternalRaftRequest| is_brief(&r.encode_to_vec().into());
        let put = |put| brief(pb::InternalRaftRequest { put: Some(put), ..internal(7) });
        assert!(put(pb::PutRequest { key: "a".into(), lease: 3, ..Default::default() }));
        assert!(!put(pb::PutRequest { prev_kv: true, ..Default::default() }));
        assert!(!put(pb::PutRequest { ignore_value: true, ..Default::default() }));
        assert!(!put(pb::PutRequest { ignore_lease: true, ..Default::default() }));
        let delete = |delete| brief(pb::InternalRaftRequest { delete_range: Some(delete), ..internal(7) });
        assert!(delete(pb::DeleteRangeRequest { key: "a".into(), ..Default::default() }));
        assert!(!delete(pb::DeleteRangeRequest { range_end: "z".into(), ..Default::default() }));
        assert!(!delete(pb::DeleteRangeRequest { prev_kv: true, ..Default::default() }));
        let txn = Some(pb::TxnRequest::default());
        assert!(!brief(pb::InternalRaftRequest { txn, ..internal(7) }));
        assert!(!is_brief(&Bytes::from_static(b"\xff")));
    }

    #[test]
    fn keys_and_values_of_a_put_are_slices_of_the_entry() {
        let mut r = internal(7);
        r.put = Some(pb::PutRequest { key: "key".into(), value: vec![5; 1000].into(), ..Default::default() });
        let data = Bytes::from(r.encode_to_vec());
        let request = Request::decode(&data).unwrap();
        assert_eq!((request.id, request.who()), (7, Identity { user: "u", revision: 3 }));
        let Kind::Put(put) = request.kind else { panic!("not a put") };
        assert!(data.as_ptr_range().contains(&put.value.as_ptr()));
        assert!(data.as_ptr_range().contains(&put.key.as_ptr()));
    }

    #[test]
    fn the_short_way_and_the_long_way_read_the_same_put() {
        let mut r = internal(7);
        r.id = 9;
        r.put = Some(pb::PutRequest {
            key: "k".into(),
            value: "v".into(),
            lease: -3,
            prev_kv: true,
            ignore_value: true,
            ignore_lease: true,
        });
        let short = decode_put(&r.encode_to_vec().into()).unwrap();
        let long = Request::from_internal(r.clone()).unwrap();
        let (Kind::Put(a), Kind::Put(b)) = (&short.kind, &long.kind) else { panic!("not puts") };
        assert_eq!((short.id, short.who(), a), (long.id, long.who(), b));
        assert_eq!(short.id, 9);
        r.txn = Some(pb::TxnRequest::default());
        assert!(decode_put(&r.encode_to_vec().into()).is_none());
    }

    /// A put within `depth` txns.
    fn nested(depth: usize) -> pb::InternalRaftRequest {
        let put = pb::PutRequest { key: "k".into(), ..Default::default() };
        let mut op = pb::request_op::Request::RequestPut(put);
        for level in 0..depth - 1 {
            let ops = vec![pb::RequestOp { request: Some(op) }];
            let txn = match level % 2 {
                0 => pb::TxnRequest { success: ops, ..Default::default() },
                _ => pb::TxnRequest {
                    failure: ops,
                    compare: vec![pb::Compare::default()],
                    ..Default::default()
                },
            };
            op = pb::request_op::Request::RequestTxn(txn);
        }
        let success = vec![pb::RequestOp { request: Some(op) }];
        pb::InternalRaftRequest { txn: Some(pb::TxnRequest { success, ..Default::default() }), ..internal(7) }
    }

    #[test]
    fn txns_are_read_as_deep_as_other_members_may_nest_them() {
        for depth in [1, 48, 49, 128, TXN_DEPTH_MAX] {
            let r = nested(depth);
            let request = decode(&r).unwrap_or_else(|what| panic!("depth {depth}: {what}"));
            assert_eq!((request.id, request.who()), (7, Identity { user: "u", revision: 3 }));
            let Kind::Txn(txn) = request.kind else { panic!("not a txn") };
            assert_eq!(Some(txn), r.txn, "depth {depth}");
        }
        assert!(decode(&nested(TXN_DEPTH_MAX + 1)).is_err());
        assert!(decode(&nested(4000)).is_err());
    }

    #[test]
    fn membership_requests_go_before_all_others() {
        let mut r = internal(7);
        r.put = Some(pb::PutRequest::default());
        r.downgrade_info_set = Some(mpb::DowngradeInfoSetRequest { enabled: true, ver: "3.6.0".into() });
        assert!(matches!(decode(&r).unwrap().kind, Kind::DowngradeInfoSet(_)));
    }

    #[test]
    fn entries_nobody_can_execute_are_refused() {
        let no_kind = decode(&internal(7)).err().unwrap();
        assert!(no_kind.contains("no request"), "{no_kind}");
        let nobody =
            pb::InternalRaftRequest { range: Some(pb::RangeRequest::default()), ..Default::default() };
        let no_header = decode(&nobody).err().unwrap();
        assert!(no_header.contains("neither header nor id"), "{no_header}");
        assert!(Request::decode(&Bytes::from_static(b"\xff\xff")).is_err());
    }

    #[test]
    fn requests_in_the_form_of_3_5_are_understood_bare_and_wrapped() {
        let publication = pb::Request {
            id: Some(12),
            method: Some("PUT".into()),
            path: Some("/0/members/23c1e410bf81210/attributes".into()),
            val: Some(r#"{"name":"n","clientURLs":["http://c:1"]}"#.into()),
            ..Default::default()
        };
        let wrapped = pb::InternalRaftRequest { v2: Some(publication.clone()), ..Default::default() };
        for data in [publication.encode_to_vec(), wrapped.encode_to_vec()] {
            let request = Request::decode(&data.into()).unwrap();
            assert_eq!(request.id, 12);
            let Kind::MemberAttrSet(set) = request.kind else { panic!("not a publication") };
            assert_eq!(set.member_id, 0x23c_1e41_0bf8_1210);
            let attributes = set.member_attributes.unwrap();
            assert_eq!((attributes.name.as_str(), attributes.client_urls.len()), ("n", 1));
        }
        let version = pb::Request {
            id: Some(13),
            method: Some("PUT".into()),
            path: Some("/0/version".into()),
            val: Some("3.5.0".into()),
            ..Default::default()
        };
        let request = Request::decode(&version.encode_to_vec().into()).unwrap();
        assert!(matches!(request.kind, Kind::ClusterVersionSet(v) if v.ver == "3.5.0"));
        let other = pb::Request { path: Some("/1/x".into()), ..version };
        assert!(Request::decode(&other.encode_to_vec().into()).is_err());
    }
}
