//! The shape of requests, checked by the API before anything is proposed. Pure functions. formats 9.4, 9.6.

mod duplicates;

use proto::etcdserverpb as pb;
use proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use proto::etcdserverpb::request_op::Request as Op;

use crate::ApplyError;

/// Most operations of a txn (--max-txn-ops).
pub const TXN_OPS_MAX: usize = 128;

/// Range: a key and known sort options.
pub fn check_range(r: &pb::RangeRequest) -> Result<(), ApplyError> {
    if r.key.is_empty() {
        return Err(ApplyError::EmptyKey);
    }
    if SortOrder::try_from(r.sort_order).is_err() || SortTarget::try_from(r.sort_target).is_err() {
        return Err(ApplyError::InvalidSortOption);
    }
    Ok(())
}

/// Put: a key, and no value or lease beside the wish to keep the old one.
pub fn check_put(r: &pb::PutRequest) -> Result<(), ApplyError> {
    if r.key.is_empty() {
        return Err(ApplyError::EmptyKey);
    }
    if r.ignore_value && !r.value.is_empty() {
        return Err(ApplyError::ValueProvided);
    }
    if r.ignore_lease && r.lease != 0 {
        return Err(ApplyError::LeaseProvided);
    }
    Ok(())
}

/// DeleteRange: a key.
pub fn check_delete_range(r: &pb::DeleteRangeRequest) -> Result<(), ApplyError> {
    if r.key.is_empty() { Err(ApplyError::EmptyKey) } else { Ok(()) }
}

/// Txn: number of operations, the shape of each, and no key touched twice.
pub fn check_txn(r: &pb::TxnRequest, ops_max: usize) -> Result<(), ApplyError> {
    check_ops(r, ops_max)?;
    duplicates::check(&r.success)?;
    duplicates::check(&r.failure)
}

/// True if a txn only reads (and holds no nested txn): it is answered without a proposal.
#[must_use]
pub fn is_txn_read_only(r: &pb::TxnRequest) -> bool {
    let is_range = |op: &pb::RequestOp| matches!(op.request, Some(Op::RequestRange(_)));
    r.success.iter().chain(&r.failure).all(is_range)
}

/// True if every range of a txn is serializable: it needs no linearizable read.
#[must_use]
pub fn is_txn_serializable(r: &pb::TxnRequest) -> bool {
    let serializable = |op: &pb::RequestOp| match &op.request {
        Some(Op::RequestRange(range)) => range.serializable,
        _ => false,
    };
    r.success.iter().chain(&r.failure).all(serializable)
}

fn check_ops(r: &pb::TxnRequest, ops_max: usize) -> Result<(), ApplyError> {
    let longest = r.compare.len().max(r.success.len()).max(r.failure.len());
    let left = ops_max.checked_sub(longest).ok_or(ApplyError::TooManyOps)?;
    if r.compare.iter().any(|c| c.key.is_empty()) {
        return Err(ApplyError::EmptyKey);
    }
    for op in r.success.iter().chain(&r.failure) {
        match &op.request {
            Some(Op::RequestRange(r)) => check_range(r)?,
            Some(Op::RequestPut(r)) => check_put(r)?,
            Some(Op::RequestDeleteRange(r)) => check_delete_range(r)?,
            Some(Op::RequestTxn(r)) => check_ops(r, left)?,
            None => return Err(ApplyError::KeyNotFound),
        }
    }
    Ok(())
}
