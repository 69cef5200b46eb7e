//! Two versions of a million keys of 1 KB: a file of 2 GB and more.
use bytes::Bytes;
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::{PutRequest, RequestOp, TxnRequest};

use super::Stand;
use super::kv::{many, one};
use super::large::all;
use crate::Result;
use crate::load::{Done, Loop, Shape};
use crate::request::{self, Numbered};

pub const KEYS: Numbered = Numbered { prefix: "big", bytes: 32 };
pub const VALUE_BYTES: usize = 1024;
const VERSIONS: u64 = 2;
/// Puts in one txn: to be done sooner.
const TXN_PUTS: u64 = 50;

/// Puts the keys unless they are there.
pub fn ensure(stand: &mut Stand<'_>) -> Result<()> {
    if std::mem::replace(&mut stand.has_big_keys, true) {
        return Ok(());
    }
    let (keys, value) = (stand.options.keys, request::value(VALUE_BYTES));
    let shape = Shape { connections: 20, clients: 40, ..many("/etcdserverpb.KV/Txn", 1) };
    let mut load = Loop::open(stand.member.port, shape)?;
    for _ in 0..VERSIONS {
        let done = load.run(keys.div_ceil(TXN_PUTS), &mut |number, _, out| {
            let first = number * TXN_PUTS;
            let puts = (first..keys.min(first + TXN_PUTS)).map(|key| put(KEYS.key(key), &value));
            request::push(&TxnRequest { success: puts.collect(), ..TxnRequest::default() }, out);
        })?;
        stand.failures.join(done.failures);
    }
    Ok(())
}

/// Lists all of them, in one answer.
pub fn list(port: u16, keys: u64) -> Result<Done> {
    // Puts meanwhile have made some a quarter as long.
    let shape = one(request::RANGE, keys as usize * VALUE_BYTES / 4);
    Loop::open(port, shape)?.run(1, &mut |_, _, out| request::push(&all(KEYS), out))
}

fn put(key: Bytes, value: &Bytes) -> RequestOp {
    let put = PutRequest { key, value: value.clone(), ..PutRequest::default() };
    RequestOp { request: Some(Request::RequestPut(put)) }
}
