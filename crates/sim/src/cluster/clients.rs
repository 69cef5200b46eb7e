//! Clients: registers that are put, swapped, deleted and read by their key alone, and whatever else a store can do.

use bytes::Bytes;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::request_op::Request as RequestOp;
use proto::etcdserverpb::response_op::Response as ResponseOp;
use proto::mvccpb::KeyValue;
use store::Response;

use super::linear::{self, Call, Op, Value, Verdict};
use crate::chance::Chance;
use crate::process::Told;
use crate::workload;

const CLIENTS: usize = 5;
const REGISTERS: [&str; 3] = ["r0", "r1", "r2"];
/// A client waits so long for an answer.
const PATIENCE_MS: u64 = 2500;
/// Longest lease that is granted, in seconds.
const TTL_MAX_S: u64 = 8;

/// What a client waits for.
struct Waiting {
    id: u64,
    member: u64,
    since_ms: u64,
    called: u64,
    /// The newest revision that anybody had seen when it asked.
    floor: i64,
    /// Which register, and what was asked of it; else anything else.
    register: Option<(usize, Op)>,
}

/// What goes to a member.
pub(super) enum Request {
    Propose(Bytes),
    Read(Bytes),
}

/// All clients, and all they have seen.
pub(super) struct Clients {
    waiting: Vec<Option<Waiting>>,
    next_id: u64,
    moment: u64,
    /// The newest revision that any answer has shown.
    newest: i64,
    last_seen: [Value; REGISTERS.len()],
    histories: [Vec<Call>; REGISTERS.len()],
    pub answers: u64,
    pub reads: u64,
    pub unanswered: u64,
}

impl Clients {
    pub fn new() -> Clients {
        Clients {
            waiting: (0..CLIENTS).map(|_| None).collect(),
            next_id: 0,
            moment: 0,
            newest: 0,
            last_seen: [None; REGISTERS.len()],
            histories: Default::default(),
            answers: 0,
            reads: 0,
            unanswered: 0,
        }
    }

    /// A number for a request.
    pub fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn moment(&mut self) -> u64 {
        self.moment += 1;
        self.moment
    }

    /// Some client turns to a member, if it is not waiting for another. `revision` is near the newest.
    pub fn ask(
        &mut self,
        member: u64,
        now_ms: u64,
        revision: i64,
        chance: &mut Chance,
    ) -> Option<(u64, Request, String)> {
        let at = chance.below(CLIENTS as u64) as usize;
        if let Some(waiting) = self.waiting[at].take_if(|w| w.since_ms + PATIENCE_MS < now_ms) {
            self.give_up(&waiting);
        }
        if self.waiting[at].is_some() {
            return None;
        }
        let id = self.id();
        let (register, request) = if chance.once_in(3) {
            (None, Request::Propose(workload::request(chance, id, revision, TTL_MAX_S)))
        } else {
            let key = chance.below(REGISTERS.len() as u64) as usize;
            let (op, request) = self.register_request(id, key, chance);
            (Some((key, op)), request)
        };
        let said = match (&register, &request) {
            (Some((key, op)), _) => format!("{} {op:?}", REGISTERS[*key]),
            (None, Request::Propose(data)) => workload::shown(data),
            (None, Request::Read(key)) => format!("{key:?}"),
        };
        let called = self.moment();
        self.waiting[at] =
            Some(Waiting { id, member, since_ms: now_ms, called, floor: self.newest, register });
        Some((id, request, said))
    }

    fn register_request(&self, id: u64, key: usize, chance: &mut Chance) -> (Op, Request) {
        let name = Bytes::from_static(REGISTERS[key].as_bytes());
        let put = pb::PutRequest { key: name.clone(), value: id.to_string().into(), ..Default::default() };
        match chance.below(12) {
            0..=3 => (Op::Write(Some(id)), Request::Propose(workload::encoded(id, |r| r.put = Some(put)))),
            4 => {
                let delete = pb::DeleteRangeRequest { key: name, ..Default::default() };
                (Op::Write(None), Request::Propose(workload::encoded(id, |r| r.delete_range = Some(delete))))
            }
            5..=6 => {
                let old = self.last_seen[key];
                let txn = swap(name, old, put);
                (Op::Swap { old, new: id }, Request::Propose(workload::encoded(id, |r| r.txn = Some(txn))))
            }
            _ => (Op::Read(None), Request::Read(name)),
        }
    }

    /// Nobody knows what became of it.
    fn give_up(&mut self, waiting: &Waiting) {
        self.unanswered += 1;
        if let Some((key, op)) = waiting.register.filter(|(_, op)| !matches!(op, Op::Read(_))) {
            self.histories[key].push(Call { called: waiting.called, returned: None, op });
        }
    }

    /// An answer from a member. True if somebody waited for it.
    pub fn hear(&mut self, member: u64, told: &Told) -> Result<bool, String> {
        let id = match told {
            Told::Entry { id, .. } | Told::Read { id, .. } | Told::Refused { id } => *id,
        };
        let mine = |w: &Option<Waiting>| w.as_ref().is_some_and(|w| w.id == id && w.member == member);
        let Some(waiting) = self.waiting.iter_mut().find(|w| mine(w)).and_then(Option::take) else {
            return Ok(false);
        };
        let Some((revision, op)) = seen(told, waiting.register.map(|(_, op)| op))? else { return Ok(true) };
        self.answers += 1;
        if revision < waiting.floor {
            let floor = waiting.floor;
            return Err(format!(
                "client: request {id} is answered at revision {revision}, but {floor} had been seen before"
            ));
        }
        self.newest = self.newest.max(revision);
        let (Some((key, _)), Some(op)) = (waiting.register, op) else { return Ok(true) };
        self.reads += u64::from(matches!(op, Op::Read(_)));
        self.last_seen[key] = match op {
            Op::Write(value) | Op::Read(value) => value,
            Op::Swap { new, .. } => Some(new),
        };
        let returned = Some(self.moment());
        self.histories[key].push(Call { called: waiting.called, returned, op });
        Ok(true)
    }

    /// Whether all that was seen can have happened in one order. Answers how many searches were given up.
    pub fn check(&mut self) -> Result<u64, String> {
        for at in 0..CLIENTS {
            if let Some(waiting) = self.waiting[at].take() {
                self.give_up(&waiting);
            }
        }
        let mut undecided = 0;
        for (name, calls) in REGISTERS.iter().zip(&self.histories) {
            match linear::check(calls) {
                Verdict::Linear => {}
                Verdict::Undecided => undecided += 1,
                Verdict::Broken(call) => {
                    let near = |other: &&Call| other.returned.is_none_or(|end| end + 40 > call.called);
                    let near: Vec<&Call> = calls.iter().filter(near).collect();
                    return Err(format!("no order explains {call:?} of {name} among {near:?}"));
                }
            }
        }
        Ok(undecided)
    }
}

/// Puts `put` if `old` is what the key holds; else answers what it holds.
fn swap(key: Bytes, old: Value, put: pb::PutRequest) -> pb::TxnRequest {
    let (target, union) = match old {
        Some(old) => (CompareTarget::Value, TargetUnion::Value(old.to_string().into())),
        None => (CompareTarget::Version, TargetUnion::Version(0)),
    };
    let compare = pb::Compare {
        result: CompareResult::Equal.into(),
        target: target.into(),
        key: key.clone(),
        target_union: Some(union),
        ..Default::default()
    };
    let get = pb::RangeRequest { key, ..Default::default() };
    let op = |request| vec![pb::RequestOp { request: Some(request) }];
    pb::TxnRequest {
        compare: vec![compare],
        success: op(RequestOp::RequestPut(put)),
        failure: op(RequestOp::RequestRange(get)),
    }
}

/// The revision an answer shows, and what it says about a register. None: the request has not taken effect.
fn seen(told: &Told, asked: Option<Op>) -> Result<Option<(i64, Option<Op>)>, String> {
    let revision = |header: &Option<pb::ResponseHeader>| header.as_ref().map_or(0, |header| header.revision);
    match told {
        Told::Refused { .. } => Ok(None),
        Told::Read { kv, revision, .. } => Ok(Some((*revision, Some(Op::Read(value(kv.as_ref())?))))),
        Told::Entry { result, .. } => match result.as_ref() {
            Err(_) => Ok(None),
            Ok(Response::Put(r)) => Ok(Some((revision(&r.header), asked))),
            Ok(Response::DeleteRange(r)) => Ok(Some((revision(&r.header), asked))),
            Ok(Response::Txn(r)) if r.succeeded => Ok(Some((revision(&r.header), asked))),
            Ok(Response::Txn(r)) => {
                let found = r.responses.first().and_then(|op| op.response.as_ref());
                let op = match found {
                    Some(ResponseOp::ResponseRange(range)) => Some(Op::Read(value(range.kvs.first())?)),
                    _ => None,
                };
                Ok(Some((revision(&r.header), op)))
            }
            Ok(_) => Ok(None),
        },
    }
}

fn value(kv: Option<&KeyValue>) -> Result<Value, String> {
    kv.map(|kv| std::str::from_utf8(&kv.value).ok().and_then(|text| text.parse().ok()))
        .map_or(Ok(None), |number| number.map(Some).ok_or_else(|| "a register holds no number".into()))
}
