//! Txns against a naive model: a map of whole histories, no index, no buckets, no sharing.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::collections::BTreeMap;

use prost::Message;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::compare::TargetUnion as With;
use proto::etcdserverpb::request_op::Request as Op;
use proto::etcdserverpb::response_op::Response as Answer;
use proto::mvccpb::KeyValue;
use store::{ApplyError, Options, Response};
use support::{Machine, Random, cases, generate};

/// Every state the keys ever had, by revision.
#[derive(Default)]
struct Model {
    states: BTreeMap<i64, BTreeMap<Vec<u8>, KeyValue>>,
    compacted: i64,
}

struct Run {
    begin: i64,
    changed: bool,
    now: BTreeMap<Vec<u8>, KeyValue>,
}

impl Run {
    fn revision(&self) -> i64 {
        self.begin + i64::from(self.changed)
    }
}

fn within(key: &[u8], from: &[u8], end: &[u8]) -> bool {
    match end {
        b"" => key == from,
        b"\0" => key >= from,
        _ => key >= from && key < end,
    }
}

fn header(revision: i64) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader { revision, ..Default::default() })
}

impl Model {
    fn new() -> Self {
        Self { states: [(1, BTreeMap::new())].into(), compacted: -1 }
    }

    fn current(&self) -> i64 {
        *self.states.keys().next_back().unwrap()
    }

    fn txn(&mut self, r: &pb::TxnRequest, leases: &[i64]) -> Result<pb::TxnResponse, ApplyError> {
        let begin = self.current();
        let before = self.states[&begin].clone();
        self.check(r, &before, leases)?;
        let mut run = Run { begin, changed: false, now: before.clone() };
        let mut response = self.run(r, &before, &mut run);
        response.header = header(run.revision());
        if run.changed {
            self.states.insert(begin + 1, run.now);
        }
        Ok(response)
    }

    fn taken<'r>(r: &'r pb::TxnRequest, before: &BTreeMap<Vec<u8>, KeyValue>) -> (bool, &'r [pb::RequestOp]) {
        let all = r.compare.iter().all(|c| {
            let mut met = before.values().filter(|kv| within(&kv.key, &c.key, &c.range_end)).peekable();
            if met.peek().is_none() {
                return c.target != 3 && compare(c, &KeyValue::default());
            }
            met.all(|kv| compare(c, kv))
        });
        (all, if all { &r.success } else { &r.failure })
    }

    fn check(
        &self,
        r: &pb::TxnRequest,
        before: &BTreeMap<Vec<u8>, KeyValue>,
        leases: &[i64],
    ) -> Result<(), ApplyError> {
        for op in Self::taken(r, before).1 {
            match op.request.as_ref().unwrap() {
                Op::RequestRange(r) if r.revision > self.current() => return Err(ApplyError::FutureRevision),
                Op::RequestRange(r) if r.revision != 0 && r.revision < self.compacted => {
                    return Err(ApplyError::Compacted);
                }
                Op::RequestPut(r) => {
                    if r.lease != 0 && !leases.contains(&r.lease) {
                        return Err(ApplyError::LeaseNotFound);
                    }
                    if (r.ignore_value || r.ignore_lease) && !before.contains_key(&r.key[..]) {
                        return Err(ApplyError::KeyNotFound);
                    }
                }
                Op::RequestTxn(r) => self.check(r, before, leases)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn run(
        &self,
        r: &pb::TxnRequest,
        before: &BTreeMap<Vec<u8>, KeyValue>,
        run: &mut Run,
    ) -> pb::TxnResponse {
        let (succeeded, ops) = Self::taken(r, before);
        let answers = ops.iter().map(|op| match op.request.as_ref().unwrap() {
            Op::RequestRange(r) => Answer::ResponseRange(self.range(r, run)),
            Op::RequestPut(r) => Answer::ResponsePut(put(r, run)),
            Op::RequestDeleteRange(r) => Answer::ResponseDeleteRange(delete(r, run)),
            Op::RequestTxn(r) => {
                let mut response = self.run(r, before, run);
                response.header = Some(pb::ResponseHeader::default());
                Answer::ResponseTxn(response)
            }
        });
        let responses = answers.map(|answer| pb::ResponseOp { response: Some(answer) }).collect();
        pb::TxnResponse { header: None, succeeded, responses }
    }

    fn range(&self, r: &pb::RangeRequest, run: &Run) -> pb::RangeResponse {
        let state = match r.revision {
            0 => &run.now,
            past if past == run.begin + 1 => &run.now,
            past => self.states.range(..=past).next_back().map_or(&run.now, |(_, state)| state),
        };
        let met: Vec<KeyValue> =
            state.values().filter(|kv| within(&kv.key, &r.key, &r.range_end)).cloned().collect();
        let limit = if r.limit == 0 { met.len() } else { r.limit as usize };
        pb::RangeResponse {
            header: header(run.revision()),
            count: met.len() as i64,
            more: !r.count_only && met.len() > limit,
            kvs: if r.count_only { Vec::new() } else { met.into_iter().take(limit).collect() },
        }
    }
}

fn put(r: &pb::PutRequest, run: &mut Run) -> pb::PutResponse {
    let main = run.begin + 1;
    let old = run.now.get(&r.key[..]).cloned();
    let kept = old.clone().unwrap_or_default();
    let kv = KeyValue {
        key: r.key.clone(),
        create_revision: old.as_ref().map_or(main, |old| old.create_revision),
        mod_revision: main,
        version: kept.version + 1,
        value: if r.ignore_value { kept.value } else { r.value.clone() },
        lease: if r.ignore_lease { kept.lease } else { r.lease },
    };
    run.now.insert(r.key.to_vec(), kv);
    run.changed = true;
    pb::PutResponse { header: header(main), prev_kv: old.filter(|_| r.prev_kv) }
}

fn delete(r: &pb::DeleteRangeRequest, run: &mut Run) -> pb::DeleteRangeResponse {
    let (gone, left) = std::mem::take(&mut run.now)
        .into_iter()
        .partition::<BTreeMap<_, _>, _>(|(key, _)| within(key, &r.key, &r.range_end));
    run.now = left;
    run.changed |= !gone.is_empty();
    pb::DeleteRangeResponse {
        header: header(run.revision()),
        deleted: gone.len() as i64,
        prev_kvs: if r.prev_kv { gone.into_values().collect() } else { Vec::new() },
    }
}

fn compare(c: &pb::Compare, kv: &KeyValue) -> bool {
    let with = c.target_union.clone();
    let order = match (c.target, with) {
        (0, Some(With::Version(n))) => kv.version.cmp(&n),
        (0, _) => kv.version.cmp(&0),
        (1, Some(With::CreateRevision(n))) => kv.create_revision.cmp(&n),
        (1, _) => kv.create_revision.cmp(&0),
        (2, Some(With::ModRevision(n))) => kv.mod_revision.cmp(&n),
        (2, _) => kv.mod_revision.cmp(&0),
        (3, Some(With::Value(v))) => kv.value.cmp(&v),
        (3, _) => kv.value.cmp(&bytes::Bytes::new()),
        (4, Some(With::Lease(n))) => kv.lease.cmp(&n),
        (4, _) => kv.lease.cmp(&0),
        _ => std::cmp::Ordering::Equal,
    };
    match c.result {
        0 => order.is_eq(),
        1 => order.is_gt(),
        2 => order.is_lt(),
        _ => order.is_ne(),
    }
}

fn request(fill: impl FnOnce(&mut pb::InternalRaftRequest)) -> pb::InternalRaftRequest {
    let header = Some(pb::RequestHeader { id: 1, ..Default::default() });
    let mut r = pb::InternalRaftRequest { header, ..Default::default() };
    fill(&mut r);
    r
}

#[test]
fn random_txns_answer_and_change_what_a_naive_model_says() {
    let (mut answered, mut refused) = (0, 0);
    for seed in 0..cases(60) {
        let mut random = Random(seed);
        let mut machine = Machine::new(Options { quota_bytes: -1, ..Options::default() });
        let mut model = Model::new();
        let leases = [1, 2];
        for id in leases {
            let grant = pb::LeaseGrantRequest { ttl: 60, id };
            machine.request(&request(|r| r.lease_grant = Some(grant)));
        }
        for step in 0..80 {
            let txn = generate::txn(&mut random, 3);
            let expected = model.txn(&txn, &leases).map(Response::Txn);
            // Through bytes, as the log carries it.
            let outcome = machine.request(&request(|r| r.txn = Some(txn.clone())));
            assert_eq!(outcome.result, expected, "seed {seed} step {step}: {txn:#?}");
            if expected.is_ok() {
                answered += 1
            } else {
                refused += 1
            }
            let revision = model.current();
            assert_eq!(machine.store().revision(), revision);
            let batch = outcome.events.map(|batch| batch.revision);
            assert!(batch.is_none_or(|batch| batch == revision));
            if random.chance(20) && revision > model.compacted {
                let compaction = pb::CompactionRequest { revision, physical: false };
                let done = machine.request(&request(|r| r.compaction = Some(compaction)));
                assert!(done.result.is_ok());
                model.compacted = revision;
            }
        }
        let kept: Vec<KeyValue> = model.states[&model.current()].values().cloned().collect();
        let everything = mvcc::RangeQuery::range("\0", "\0");
        let stored = machine.store().reader().kv().range(&everything).unwrap().kvs;
        let stored: Vec<KeyValue> = stored.into_iter().map(|kv| KeyValue::decode(kv).unwrap()).collect();
        assert_eq!(stored, kept, "seed {seed}");
        check_leases(&mut machine, &kept, &leases);
    }
    assert!(answered > 1000 && refused > 500, "{answered} answered, {refused} refused");
}

/// What hangs on each lease is what the records say.
fn check_leases(machine: &mut Machine, kept: &[KeyValue], leases: &[i64]) {
    for &id in leases {
        let expected: Vec<_> = kept.iter().filter(|kv| kv.lease == id).map(|kv| kv.key.clone()).collect();
        assert_eq!(machine.store().reader().lease_keys(id), expected);
    }
}

#[test]
fn read_only_txns_answer_the_same_to_readers_as_through_the_log() {
    let mut random = Random(99);
    let mut machine = Machine::new(Options::default());
    let mut asked = 0;
    for _ in 0..cases(2000) {
        let put = generate::put(&mut random);
        machine.request(&request(|r| r.put = Some(pb::PutRequest { lease: 0, ..put })));
        let txn = generate::txn(&mut random, 0);
        if store::check::is_txn_read_only(&txn) {
            let reader = machine.store().reader();
            let here = store::txn::read_only(reader.kv(), &txn).map(Response::Txn);
            let logged = machine.request(&request(|r| r.txn = Some(txn))).result;
            assert_eq!(here, logged);
            asked += 1;
        }
    }
    assert!(asked > 20, "{asked}");
}
