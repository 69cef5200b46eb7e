//! No key may be put twice, or put and deleted, on one way through a txn. formats 9.6.
//!
//! etcd's rule has holes, and they are kept because clients may live in them (seen on 3.7.1):
//! - an open-ended delete (end "\0") conflicts with nothing, since its end is taken literally;
//! - the branches of one nested txn never conflict with each other: only one of them runs;
//! - a nested txn may delete what an earlier nested txn puts, but not the other way round.

use std::collections::BTreeSet;

use proto::etcdserverpb as pb;
use proto::etcdserverpb::request_op::Request as Op;

use crate::ApplyError;

/// What a list of operations touches, nested txns included.
#[derive(Default)]
struct Touched<'a> {
    puts: BTreeSet<&'a [u8]>,
    deletes: Vec<(&'a [u8], End<'a>)>,
}

#[derive(Clone, Copy)]
enum End<'a> {
    /// The key alone.
    Point,
    /// Up to this key, taken literally.
    Before(&'a [u8]),
}

impl<'a> Touched<'a> {
    fn check_put(&self, key: &[u8]) -> Result<(), ApplyError> {
        let is_deleted = self.deletes.iter().any(|&(from, end)| match end {
            End::Point => from == key,
            End::Before(end) => from <= key && key < end,
        });
        if is_deleted || self.puts.contains(key) { Err(ApplyError::DuplicateKey) } else { Ok(()) }
    }

    fn unite(&mut self, other: Touched<'a>) {
        self.puts.extend(other.puts);
        self.deletes.extend(other.deletes);
    }
}

pub(super) fn check(ops: &[pb::RequestOp]) -> Result<(), ApplyError> {
    touched(ops).map(|_| ())
}

/// The deletes of this level first, then nested txns in order, then the puts of this level.
fn touched(ops: &[pb::RequestOp]) -> Result<Touched<'_>, ApplyError> {
    let mut all = Touched::default();
    for op in ops {
        if let Some(Op::RequestDeleteRange(r)) = &op.request {
            let end = if r.range_end.is_empty() { End::Point } else { End::Before(&r.range_end) };
            all.deletes.push((&r.key, end));
        }
    }
    for op in ops {
        if let Some(Op::RequestTxn(r)) = &op.request {
            let mut branches = touched(&r.success)?;
            branches.unite(touched(&r.failure)?);
            branches.puts.iter().try_for_each(|key| all.check_put(key))?;
            all.unite(branches);
        }
    }
    for op in ops {
        if let Some(Op::RequestPut(r)) = &op.request {
            all.check_put(&r.key)?;
            all.puts.insert(&r.key);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str) -> pb::RequestOp {
        let put = pb::PutRequest { key: key.to_owned().into(), ..Default::default() };
        pb::RequestOp { request: Some(Op::RequestPut(put)) }
    }

    fn delete(key: &str, end: &str) -> pb::RequestOp {
        let delete = pb::DeleteRangeRequest {
            key: key.to_owned().into(),
            range_end: end.to_owned().into(),
            prev_kv: false,
        };
        pb::RequestOp { request: Some(Op::RequestDeleteRange(delete)) }
    }

    fn txn(success: Vec<pb::RequestOp>, failure: Vec<pb::RequestOp>) -> pb::RequestOp {
        let txn = pb::TxnRequest { compare: Vec::new(), success, failure };
        pb::RequestOp { request: Some(Op::RequestTxn(txn)) }
    }

    #[test]
    fn duplicates_are_refused_exactly_where_etcd_refuses_them() {
        let nested_put = || txn(vec![put("k")], vec![]);
        let nested_delete = || txn(vec![delete("k", "")], vec![]);
        let table = [
            // Answers of etcd 3.7.1.
            ("then deletes, else puts", vec![txn(vec![delete("k", "")], vec![put("k")])], true),
            ("then puts, else deletes", vec![txn(vec![put("k")], vec![delete("k", "")])], true),
            ("nested put, nested delete", vec![nested_put(), nested_delete()], true),
            ("nested delete, nested put", vec![nested_delete(), nested_put()], false),
            ("nested put, delete", vec![nested_put(), delete("k", "")], false),
            ("open-ended delete, put", vec![delete("a", "\0"), put("b")], true),
            ("delete up to the put key", vec![delete("a", "b"), put("b")], true),
            ("delete over the put key", vec![delete("a", "c"), put("b")], false),
            ("nested put, nested else put", vec![nested_put(), txn(vec![], vec![put("k")])], false),
            ("put after nested delete", vec![nested_delete(), put("k")], false),
            ("deep, in different branches", vec![txn(vec![nested_put()], vec![nested_delete()])], true),
            ("deep, put then delete", vec![txn(vec![nested_put(), nested_delete()], vec![])], true),
            ("twice in a nested txn", vec![txn(vec![put("k"), put("k")], vec![])], false),
            (
                "deletes overlap",
                vec![delete("a", "c"), delete("b", ""), txn(vec![delete("b", "")], vec![])],
                true,
            ),
            // And the plain ones.
            ("twice", vec![put("k"), put("k")], false),
            ("put, delete", vec![put("k"), delete("k", "")], false),
            ("put, nested put", vec![put("k"), nested_put()], false),
            ("both branches put the same", vec![txn(vec![put("k")], vec![put("k")])], true),
            ("different keys", vec![put("k"), put("l"), delete("m", "")], true),
        ];
        for (name, ops, fits) in table {
            assert_eq!(check(&ops).is_ok(), fits, "{name}");
        }
    }
}
