//! What locks and elections share: keys `<name>/<lease in hex>` under a prefix, ordered by create revision; whoever holds
//! the oldest one owns the name. Built on the same Txn, Range and Watch that clients use.

use std::sync::Arc;

use bytes::Bytes;
use mvcc::watch::{Kind, WatchSpec};
use mvcc::{EventKind, RangeQuery, SortOrder, SortTarget};
use prost::Message as _;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::request_op::Request as Op;
use proto::mvccpb::KeyValue;

use super::error::{self, Code, Status};
use super::{Call, Sink, kv, lease};
use crate::member::{Field, Member, Who};

/// TTL of a lease granted to somebody who brought none, in seconds.
const SESSION_TTL: i64 = 60;

/// A claim on a name: the key that stands for it.
pub struct Claim {
    /// `<name>/<lease>`.
    pub key: Bytes,
    /// Create revision of the key.
    pub revision: i64,
    /// Header of the last answer.
    pub header: Option<pb::ResponseHeader>,
    /// The key existed before, with this record.
    pub existing: Option<KeyValue>,
}

/// Upstream these services are clients of their own server, whose errors lose their code on the way: code Unknown, text
/// unchanged. Cancellation and deadlines keep theirs.
fn from_client(status: Status) -> Status {
    match status.code {
        Code::Canceled | Code::DeadlineExceeded => status,
        _ => Status { code: Code::Unknown, ..status },
    }
}

/// A handler with the errors of [`from_client`].
pub fn as_client<Q, A, W>(
    handler: impl FnOnce(Call, Q) -> W,
) -> impl FnOnce(Call, Q) -> std::pin::Pin<Box<dyn Future<Output = Result<A, Status>> + Send>>
where
    W: Future<Output = Result<A, Status>> + Send + 'static,
{
    |call, request| {
        let work = handler(call, request);
        Box::pin(async { work.await.map_err(from_client) })
    }
}

type Streaming = std::pin::Pin<Box<dyn Future<Output = Result<(), Status>> + Send>>;

/// The same for a streaming handler.
pub fn as_client_stream<Q, W>(
    handler: impl FnOnce(Call, Q, Sink) -> W,
) -> impl FnOnce(Call, Q, Sink) -> Streaming
where
    W: Future<Output = Result<(), Status>> + Send + 'static,
{
    |call, request, sink| {
        let work = handler(call, request, sink);
        Box::pin(async { work.await.map_err(from_client) })
    }
}

/// The lease to use: the given one, or a new one.
pub async fn session(call: &Call, given: i64) -> Result<i64, Status> {
    if given != 0 {
        return Ok(given);
    }
    let request = pb::LeaseGrantRequest { ttl: SESSION_TTL, id: 0 };
    Ok(lease::grant(call.clone(), request).await?.id)
}

/// `<name>/`.
pub fn prefix(name: &[u8]) -> Bytes {
    [name, b"/"].concat().into()
}

/// First key behind all keys with this prefix.
pub fn prefix_end(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end.into();
        }
    }
    Bytes::from_static(b"\0")
}

/// Puts the claim's key unless it exists.
pub async fn claim(call: &Call, who: &Who, name: &[u8], value: Bytes, lease: i64) -> Result<Claim, Status> {
    let key: Bytes = [&prefix(name)[..], format!("{lease:x}").as_bytes()].concat().into();
    let put = pb::PutRequest { key: key.clone(), value, lease, ..Default::default() };
    let get = pb::RangeRequest { key: key.clone(), ..Default::default() };
    let request = pb::TxnRequest {
        compare: vec![created_at(&key, 0)],
        success: vec![op(Op::RequestPut(put))],
        failure: vec![op(Op::RequestRange(get))],
    };
    let response = kv::run_txn(&call.member, who, &request, None).await?;
    let mut claim = Claim {
        key,
        revision: response.header.map_or(0, |h| h.revision),
        header: response.header,
        existing: None,
    };
    if !response.succeeded {
        let found = response.responses.into_iter().next().and_then(|r| r.response);
        if let Some(pb::response_op::Response::ResponseRange(range)) = found
            && let Some(record) = range.kvs.into_iter().next()
        {
            claim.revision = record.create_revision;
            claim.existing = Some(record);
        }
    }
    Ok(claim)
}

/// `create revision of key == revision`.
pub fn created_at(key: &Bytes, revision: i64) -> pb::Compare {
    pb::Compare {
        result: pb::compare::CompareResult::Equal.into(),
        target: pb::compare::CompareTarget::Create.into(),
        key: key.clone(),
        range_end: Bytes::new(),
        target_union: Some(pb::compare::TargetUnion::CreateRevision(revision)),
    }
}

/// An operation of a Txn.
pub fn op(request: Op) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

/// Waits until no key of the prefix was created before `revision`.
pub async fn wait_turn(call: &Call, who: &Who, prefix: &Bytes, revision: i64) -> Result<(), Status> {
    loop {
        let query = RangeQuery {
            limit: 1,
            sort_order: SortOrder::Descend,
            sort_target: SortTarget::Create,
            max_create_revision: revision - 1,
            ..RangeQuery::range(prefix.clone(), prefix_end(prefix))
        };
        let (found, at) = read(call, who, &query).await?;
        let Some(ahead) = found else { return Ok(()) };
        wait_deleted(call, &ahead.key, at + 1).await?;
    }
}

/// The newest record of the oldest key under the prefix, and the revision it was read at.
pub async fn oldest(call: &Call, who: &Who, prefix: &Bytes) -> Result<(Option<KeyValue>, i64), Status> {
    let query = RangeQuery {
        limit: 1,
        sort_order: SortOrder::Ascend,
        sort_target: SortTarget::Create,
        ..RangeQuery::range(prefix.clone(), prefix_end(prefix))
    };
    read(call, who, &query).await
}

/// A linearizable read of at most one record.
pub async fn read(call: &Call, who: &Who, query: &RangeQuery) -> Result<(Option<KeyValue>, i64), Status> {
    let member = &call.member;
    let asked =
        pb::RangeRequest { key: query.key.clone(), range_end: query.end.clone(), ..Default::default() };
    member.linearize().await?;
    member.store.check_range(who.identity(), &asked)?;
    let result = member.store.kv().range(query)?;
    let record = result.kvs.into_iter().next().map(KeyValue::decode).transpose();
    Ok((record.map_err(|e| Status::unknown(e.to_string()))?, result.revision))
}

/// Waits until `key` is deleted at or after `from`.
async fn wait_deleted(call: &Call, key: &Bytes, from: i64) -> Result<(), Status> {
    let mut stream = call.member.hub.open();
    stream.asker().add(WatchSpec {
        key: key.clone(),
        start_revision: from,
        no_put: true,
        ..WatchSpec::default()
    });
    loop {
        let outputs = tokio::select! {
            outputs = stream.next() => outputs.ok_or(error::STOPPED)?,
            () = call.member.stopping() => return Err(error::STOPPED),
        };
        for output in outputs {
            match output.kind {
                Kind::Events { events, .. } if events.iter().any(|e| e.kind == EventKind::Delete) => {
                    return Ok(());
                }
                // History is gone: look again.
                Kind::Compacted { .. } => return Ok(()),
                _ => {}
            }
        }
    }
}

/// Gives up a claim when its waiter goes away before it was granted.
pub struct Abandon {
    member: Arc<Member>,
    who: Who,
    key: Option<Bytes>,
}

impl Abandon {
    /// Armed until [`Abandon::keep`].
    pub fn new(call: &Call, who: &Who, key: &Bytes) -> Abandon {
        Abandon { member: call.member.clone(), who: who.clone(), key: Some(key.clone()) }
    }

    /// The claim was granted.
    pub fn keep(mut self) {
        self.key = None;
    }
}

impl Drop for Abandon {
    fn drop(&mut self) {
        let Some(key) = self.key.take() else { return };
        let (member, who) = (self.member.clone(), self.who.clone());
        tokio::spawn(async move {
            let request = pb::DeleteRangeRequest { key, ..Default::default() };
            // If this fails, the lease ends the claim.
            let _ = member.propose(&who, Field::DeleteRange, &request).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_the_next_sibling() {
        assert_eq!(prefix_end(b"a/"), &b"a0"[..]);
        assert_eq!(prefix_end(b"a\xff"), &b"b"[..]);
        assert_eq!(prefix_end(b"\xff\xff"), &b"\0"[..]);
    }
}
