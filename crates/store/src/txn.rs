//! Txn: decide everything, check everything, then do it. formats 4.7, 9.6.

use proto::etcdserverpb as pb;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::request_op::Request as Op;
use proto::etcdserverpb::response_op::Response as Answer;
use proto::mvccpb::KeyValue;

use std::cmp::Ordering;

use bytes::Bytes;
use mvcc::{KvReader, RangeQuery, View};

use crate::apply::kv::{Writing, decode};
use crate::apply::{header, kv_error};
use crate::{ApplyError, Outcome, Response, Store, range};

impl Store {
    pub(crate) fn txn(
        &mut self,
        r: &pb::TxnRequest,
        wanted: bool,
        outcome: &mut Outcome,
    ) -> Result<Response, ApplyError> {
        let compact_revision = self.kv.compact_revision();
        let mut writing = self.begin();
        let mut path = Vec::new();
        decide(&writing, r, &mut path)?;
        check(&writing, r, &mut path.iter(), compact_revision)?;
        let mut response = execute(&mut writing, r, &mut path.iter(), wanted)?;
        response.header = header(writing.txn.revision());
        outcome.events = writing.finish();
        Ok(Response::Txn(response))
    }
}

/// A Txn that only reads (see [`crate::check::is_txn_read_only`]), answered from the readers' side at one revision.
///
/// # Errors
/// As a Txn that passes through the log; [`ApplyError::Fatal`] if the store is damaged.
pub fn read_only(kv: &KvReader, r: &pb::TxnRequest) -> Result<pb::TxnResponse, ApplyError> {
    loop {
        let view = kv.view(0).map_err(kv_error)?;
        match read_at(kv, &view, r) {
            // A compaction above the view has overtaken it: nobody asked for that revision, so read a newer one.
            Err(ApplyError::Compacted) if view.revision() < kv.compact_revision() => {}
            answer => return answer,
        }
    }
}

fn read_at(kv: &KvReader, view: &View, r: &pb::TxnRequest) -> Result<pb::TxnResponse, ApplyError> {
    let succeeded = r.compare.iter().try_fold(true, |all, compare| -> Result<bool, ApplyError> {
        let found = view.range(&RangeQuery::range(compare.key.clone(), compare.range_end.clone()));
        Ok(all && holds(compare, found.map_err(kv_error)?.kvs)?)
    })?;
    let current = view.revision();
    let ranges = || {
        branch(r, succeeded).iter().filter_map(|op| match &op.request {
            Some(Op::RequestRange(range)) => Some(range),
            _ => None,
        })
    };
    ranges().try_for_each(|range| check_revision(range.revision, current, kv.compact_revision()))?;
    let mut responses = Vec::new();
    for request in ranges() {
        let query = range::query(request);
        let result = match request.revision {
            ..=0 => view.range(&query),
            past => kv.view(past).and_then(|view| view.range(&query)),
        };
        let mut answer =
            range::response(result.map_err(kv_error)?).map_err(|e| ApplyError::Fatal(e.to_string()))?;
        answer.header = header(current);
        responses.push(pb::ResponseOp { response: Some(Answer::ResponseRange(answer)) });
    }
    Ok(pb::TxnResponse { header: header(current), succeeded, responses })
}

fn branch(r: &pb::TxnRequest, succeeded: bool) -> &[pb::RequestOp] {
    if succeeded { &r.success } else { &r.failure }
}

/// Evaluates the compares of the txn and of all nested txns that will run, against the state before: depth first.
fn decide(writing: &Writing<'_>, r: &pb::TxnRequest, path: &mut Vec<bool>) -> Result<(), ApplyError> {
    let mut succeeded = true;
    for compare in &r.compare {
        let records = match &compare.range_end[..] {
            b"" => writing.txn.get(&compare.key).map(|record| record.into_iter().collect()),
            _ => writing
                .txn
                .range(&RangeQuery::range(compare.key.clone(), compare.range_end.clone()))
                .map(|result| result.kvs),
        };
        if !holds(compare, records.map_err(kv_error)?)? {
            succeeded = false;
            break;
        }
    }
    path.push(succeeded);
    for op in branch(r, succeeded) {
        if let Some(Op::RequestTxn(nested)) = &op.request {
            decide(writing, nested, path)?;
        }
    }
    Ok(())
}

/// Refuses what could fail half-way.
fn check<'p>(
    writing: &Writing<'_>,
    r: &pb::TxnRequest,
    path: &mut impl Iterator<Item = &'p bool>,
    compact_revision: i64,
) -> Result<(), ApplyError> {
    for op in branch(r, taken(path)) {
        match &op.request {
            Some(Op::RequestRange(r)) => {
                check_revision(r.revision, writing.txn.revision(), compact_revision)?
            }
            Some(Op::RequestPut(r)) => writing.check_put(r)?,
            Some(Op::RequestTxn(nested)) => check(writing, nested, path, compact_revision)?,
            Some(Op::RequestDeleteRange(_)) | None => {}
        }
    }
    Ok(())
}

/// Only 0 means "now" here: a negative revision below the compacted one is refused.
fn check_revision(revision: i64, current: i64, compact_revision: i64) -> Result<(), ApplyError> {
    match revision {
        0 => Ok(()),
        _ if revision > current => Err(ApplyError::FutureRevision),
        _ if revision < compact_revision => Err(ApplyError::Compacted),
        _ => Ok(()),
    }
}

fn execute<'p>(
    writing: &mut Writing<'_>,
    r: &pb::TxnRequest,
    path: &mut impl Iterator<Item = &'p bool>,
    wanted: bool,
) -> Result<pb::TxnResponse, ApplyError> {
    let succeeded = taken(path);
    let ops = branch(r, succeeded);
    let mut responses = Vec::with_capacity(ops.len());
    for op in ops {
        let answer = match &op.request {
            Some(Op::RequestRange(r)) if wanted => Some(Answer::ResponseRange(writing.range(r)?)),
            Some(Op::RequestRange(_)) => Some(Answer::ResponseRange(pb::RangeResponse::default())),
            Some(Op::RequestPut(r)) => Some(Answer::ResponsePut(writing.put(r)?)),
            Some(Op::RequestDeleteRange(r)) => Some(Answer::ResponseDeleteRange(writing.delete_range(r)?)),
            Some(Op::RequestTxn(nested)) => {
                let mut response = execute(writing, nested, path, wanted)?;
                response.header = Some(pb::ResponseHeader::default());
                Some(Answer::ResponseTxn(response))
            }
            None => None,
        };
        responses.push(pb::ResponseOp { response: answer });
    }
    Ok(pb::TxnResponse { header: None, succeeded, responses })
}

fn taken<'p>(path: &mut impl Iterator<Item = &'p bool>) -> bool {
    *path.next().expect("decide walked the same tree")
}

/// A compare holds if it does for every record it names; without any, for one that was never written.
fn holds(compare: &pb::Compare, records: Vec<Bytes>) -> Result<bool, ApplyError> {
    if records.is_empty() {
        let of_value = compare.target == i32::from(CompareTarget::Value);
        return Ok(!of_value && holds_for(compare, &KeyValue::default()));
    }
    for record in &records {
        if !holds_for(compare, &decode(record)?) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn holds_for(compare: &pb::Compare, kv: &KeyValue) -> bool {
    use TargetUnion::{CreateRevision, Lease, ModRevision, Value, Version};
    // A union of another target than the one named counts as zero.
    let with = compare.target_union.as_ref();
    let ordering = match CompareTarget::try_from(compare.target) {
        Ok(CompareTarget::Version) => kv.version.cmp(&match with {
            Some(Version(n)) => *n,
            _ => 0,
        }),
        Ok(CompareTarget::Create) => kv.create_revision.cmp(&match with {
            Some(CreateRevision(n)) => *n,
            _ => 0,
        }),
        Ok(CompareTarget::Mod) => kv.mod_revision.cmp(&match with {
            Some(ModRevision(n)) => *n,
            _ => 0,
        }),
        Ok(CompareTarget::Lease) => kv.lease.cmp(&match with {
            Some(Lease(n)) => *n,
            _ => 0,
        }),
        Ok(CompareTarget::Value) => match with {
            Some(Value(bytes)) => kv.value.cmp(bytes),
            _ => kv.value[..].cmp(&[]),
        },
        Err(_) => Ordering::Equal,
    };
    match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => ordering.is_eq(),
        Ok(CompareResult::NotEqual) => ordering.is_ne(),
        Ok(CompareResult::Greater) => ordering.is_gt(),
        Ok(CompareResult::Less) => ordering.is_lt(),
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    #[test]
    fn a_txn_that_only_reads_now_never_hears_of_a_compaction() {
        let disk = Arc::new(disk::MemDisk::new(0));
        let path = std::path::Path::new("/db");
        let mut backend = backend::Backend::open(disk, path, backend::Options::default()).unwrap();
        let (mut kv, _) = mvcc::Kv::open(&mut backend).unwrap();
        let reader = kv.reader(&backend);
        let range = pb::RangeRequest { key: "k".into(), ..Default::default() };
        let ops = vec![pb::RequestOp { request: Some(Op::RequestRange(range)) }; 50];
        let txn = pb::TxnRequest { success: ops, ..Default::default() };
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..1000 {
                    let mut write = kv.begin(&mut backend);
                    write.put("k".into(), "v".into(), 0).unwrap();
                    write.finish();
                    let revision = kv.current_revision();
                    kv.compact(&mut backend, revision).unwrap();
                    while kv.compacting() {
                        kv.compact_step(&mut backend, 1000).unwrap();
                    }
                    backend.commit().unwrap();
                }
                done.store(true, Relaxed);
            });
            while !done.load(Relaxed) {
                let answer = read_only(&reader, &txn);
                if answer.is_err() {
                    done.store(true, Relaxed);
                }
                answer.unwrap();
            }
        });
    }
}
