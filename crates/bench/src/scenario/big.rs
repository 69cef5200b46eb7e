//! Two versions of a million keys of 1 KB: a file of 2 GB and more.
use bytes::Bytes;
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::{PutRequest, RequestOp, TxnRequest};

use super::Stand;
use super::kv::many;
use crate::Result;
use crate::load::{Loop, Shape};
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

fn put(key: Bytes, value: &Bytes) -> RequestOp {
    let put = PutRequest { key, value: value.clone(), ..PutRequest::default() };
    RequestOp { request: Some(Request::RequestPut(put)) }
}
