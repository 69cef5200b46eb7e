//! Room left in the file. formats 4.6.

use proto::etcdserverpb as pb;
use proto::etcdserverpb::request_op::Request as Op;

/// What etcd takes when no quota is given.
pub const QUOTA_DEFAULT_BYTES: u64 = 2 * 1024 * 1024 * 1024;
const LEASE_COST: u64 = 64;
const KEY_COST: u64 = 256;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Quota(Option<u64>);

impl Quota {
    /// 0 is the default, negative is none.
    pub fn new(option_bytes: i64) -> Self {
        match option_bytes {
            0 => Self(Some(QUOTA_DEFAULT_BYTES)),
            bytes => Self(u64::try_from(bytes).ok()),
        }
    }

    pub fn limit(self) -> Option<u64> {
        self.0
    }

    pub fn has_room(self, size_bytes: impl FnOnce() -> u64, cost_bytes: u64) -> bool {
        match self.0 {
            Some(limit) => cost_bytes == 0 || size_bytes().saturating_add(cost_bytes) < limit,
            None => true,
        }
    }
}

/// What a Put may add to the file, in bytes.
#[must_use]
pub fn put_cost(r: &pb::PutRequest) -> u64 {
    KEY_COST + r.key.len() as u64 + r.value.len() as u64
}

/// What a LeaseGrant may add to the file, in bytes.
#[must_use]
pub fn lease_grant_cost() -> u64 {
    LEASE_COST
}

/// What a Txn may add to the file, in bytes: its dearer branch. 0 exactly if neither branch puts.
#[must_use]
pub fn txn_cost(r: &pb::TxnRequest) -> u64 {
    branch_cost(&r.success).max(branch_cost(&r.failure))
}

fn branch_cost(ops: &[pb::RequestOp]) -> u64 {
    let cost = |op: &pb::RequestOp| match &op.request {
        Some(Op::RequestPut(r)) => put_cost(r),
        Some(Op::RequestTxn(r)) => txn_cost(r),
        _ => 0,
    };
    ops.iter().map(cost).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &'static str, value: &'static str) -> pb::RequestOp {
        let put = pb::PutRequest { key: key.into(), value: value.into(), ..Default::default() };
        pb::RequestOp { request: Some(Op::RequestPut(put)) }
    }

    #[test]
    fn a_txn_costs_its_dearer_branch_with_nested_txns() {
        let inner = pb::TxnRequest { success: vec![put("a", "b")], ..Default::default() };
        let nested = pb::RequestOp { request: Some(Op::RequestTxn(inner)) };
        let txn = pb::TxnRequest {
            success: vec![put("k", "")],
            failure: vec![put("k", "vv"), nested],
            ..Default::default()
        };
        assert_eq!(txn_cost(&txn), 259 + 258);
        assert_eq!(txn_cost(&pb::TxnRequest::default()), 0);
    }

    #[test]
    fn room_ends_below_the_quota_and_costless_requests_always_fit() {
        let quota = Quota::new(100);
        assert!(quota.has_room(|| 49, 50));
        assert!(!quota.has_room(|| 50, 50));
        assert!(quota.has_room(|| 1000, 0));
        assert!(Quota::new(-1).has_room(|| u64::MAX, u64::MAX));
        assert_eq!(Quota::new(0).limit(), Some(QUOTA_DEFAULT_BYTES));
    }
}
