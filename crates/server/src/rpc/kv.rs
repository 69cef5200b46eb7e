//! Range, RangeStream, Put, DeleteRange, Txn, Compact.

use bytes::{BufMut, Bytes, BytesMut};
use mvcc::{KvReader, Listing, RangeQuery, RangeResult};
use prost::Message as _;
use prost::encoding::WireType;
use proto::etcdserverpb as pb;
use store::{NoTxn, Response};

use super::body::{Message, Records, list_len};
use super::error::{self, Status};
use super::{Call, Sink, frame};
use crate::member::{Field, Member, Who};

/// What a range answers, its records at hand or only known of.
struct Found {
    records: Records,
    count: i64,
    more: bool,
    revision: i64,
}

impl From<RangeResult> for Found {
    fn from(RangeResult { kvs, count, more, revision }: RangeResult) -> Found {
        Found { records: kvs.into(), count, more, revision }
    }
}

impl From<Listing> for Found {
    fn from(listing: Listing) -> Found {
        let (count, more, revision) = (listing.total(), listing.more(), listing.revision());
        Found { records: Records::Listing(Box::new(listing)), count, more, revision }
    }
}

/// Longest message that is sent: Go's `MaxInt32`.
const MESSAGE_BYTES_MAX: usize = i32::MAX as usize;

/// KV/Range.
pub async fn range(call: Call, request: pb::RangeRequest) -> Result<Message, Status> {
    let timer = std::time::Instant::now();
    let result = read(&call, &request).await;
    crate::stats::ranged(timer, result.is_ok());
    let found = result?;
    let mut header = Some(pb::ResponseHeader { revision: found.revision, ..Default::default() });
    call.member.fill(&mut header);
    let (head, records, tail) = parts(header, found);
    let len = list_len(&head, &records, &tail);
    if len > MESSAGE_BYTES_MAX {
        let text = format!("grpc: trying to send message larger than max ({len} vs. {MESSAGE_BYTES_MAX})");
        return Err(Status::new(error::Code::ResourceExhausted, text));
    }
    Ok(Message::List { head, records, tail })
}

/// The checks, the wait and the read of one Range.
async fn read(call: &Call, request: &pb::RangeRequest) -> Result<Found, Status> {
    let member = &call.member;
    if !request.serializable && member.is_learner() {
        return Err(error::NOT_FOR_LEARNER);
    }
    store::check::check_range(request)?;
    if !request.serializable {
        member.linearize().await?;
    }
    let who = call.who().await?;
    member.store.check_range(who.identity(), request)?;
    let query = store::range::query(request);
    let kv = member.store.kv().clone();
    let found = if is_long(request) {
        let long = move || match query.is_list() {
            true => kv.list(&query).map(Found::from),
            false => kv.range(&query).map(Found::from),
        };
        // Not on a front loop, where it would hold up everybody else's requests.
        tokio::task::spawn_blocking(long).await.map_err(|_| error::STOPPED)??
    } else {
        kv.range(&query)?.into()
    };
    if who.revision != 0 {
        member.store.check_still_current(who.identity())?;
    }
    Ok(found)
}

/// Whether a range may touch many keys.
fn is_long(request: &pb::RangeRequest) -> bool {
    !request.range_end.is_empty() && !(1..=SHORT_RANGE_KEYS).contains(&request.limit)
}

/// What is encoded before the records, they themselves, and what is encoded behind them.
fn parts(header: Option<pb::ResponseHeader>, found: Found) -> (Bytes, Records, Bytes) {
    let Found { records, count, more, .. } = found;
    let head = pb::RangeResponse { header, ..Default::default() }.encode_to_vec();
    let tail = pb::RangeResponse { more, count, ..Default::default() }.encode_to_vec();
    (head.into(), records, tail.into())
}

/// Most keys of a range that is read on a front loop.
const SHORT_RANGE_KEYS: i64 = 512;
/// First chunk of a RangeStream, in keys.
const STREAM_CHUNK_FIRST: i64 = 10;

/// KV/RangeStream: the range in chunks of growing size, all at the revision of the first.
pub async fn range_stream(call: Call, mut request: pb::RangeRequest, sink: Sink) -> Result<(), Status> {
    let filters = [
        request.min_mod_revision,
        request.max_mod_revision,
        request.min_create_revision,
        request.max_create_revision,
    ];
    // A target without an order is let through, as etcd does, and sorted as Range sorts it.
    if request.sort_order != 0 {
        return Err(error::RANGE_STREAM_SORT);
    }
    if filters.iter().any(|f| *f != 0) {
        return Err(error::RANGE_STREAM_FILTER);
    }
    let first = read(&call, &pb::RangeRequest { count_only: true, ..request.clone() }).await?;
    let (count, revision) = (first.count, first.revision);
    if request.revision <= 0 {
        request.revision = revision;
    }
    let wanted = if request.limit > 0 { request.limit.min(count) } else { count };
    let mut sent = 0;
    let mut chunk = if request.sort_target == 0 { STREAM_CHUNK_FIRST } else { wanted };
    let target_bytes = usize::try_from(call.member.config.max_request_bytes).unwrap_or(usize::MAX);
    while !request.count_only && sent < wanted {
        // Permissions may have changed since the chunk before.
        let who = call.who().await?;
        call.member.store.check_range(who.identity(), &request)?;
        let limit = chunk.min(wanted - sent);
        let query = RangeQuery { limit, skip_count: true, ..store::range::query(&request) };
        let part = chunk_of(call.member.store.kv(), &query)?;
        let bytes: usize = part.kvs.iter().map(Bytes::len).sum();
        let Some(last) = part.kvs.last() else { break };
        sent += part.kvs.len() as i64;
        request.key = mvcc::key_after(&record_key(last));
        if sent >= wanted {
            let header = stream_header(&call.member, revision);
            let result = RangeResult { count, more: count > wanted, revision, ..part };
            return send(&sink, part_message(header, result)).await;
        }
        send(&sink, part_message(None, RangeResult { count: 0, more: false, ..part })).await?;
        if bytes < target_bytes / 2 {
            chunk = chunk.saturating_mul(2);
        } else if bytes > target_bytes * 2 {
            chunk = (chunk / 2).max(1);
        }
    }
    let result = RangeResult { count, revision, ..RangeResult::default() };
    send(&sink, part_message(stream_header(&call.member, revision), result)).await
}

/// A chunk of a RangeStream. As a list its records are read in the order in which they lie in the file.
fn chunk_of(kv: &KvReader, query: &RangeQuery) -> Result<RangeResult, mvcc::Error> {
    if !query.is_list() {
        return kv.range(query);
    }
    let list = kv.list(query)?;
    let (count, more, revision) = (list.total(), list.more(), list.revision());
    Ok(RangeResult { kvs: list.collect::<Result<_, _>>()?, count, more, revision })
}

fn stream_header(member: &Member, revision: i64) -> Option<pb::ResponseHeader> {
    let mut header = Some(pb::ResponseHeader { revision, ..Default::default() });
    member.fill(&mut header);
    header
}

/// Key of an encoded `mvccpb.KeyValue`.
fn record_key(record: &Bytes) -> Bytes {
    proto::mvccpb::KeyValue::decode(record.clone()).map(|kv| kv.key).unwrap_or_default()
}

/// A RangeResponse as field 1 of a RangeStreamResponse.
fn part_message(header: Option<pb::ResponseHeader>, result: RangeResult) -> Message {
    let (head, records, tail) = parts(header, result.into());
    let mut wrapped = BytesMut::with_capacity(head.len() + 12);
    prost::encoding::encode_key(1, WireType::LengthDelimited, &mut wrapped);
    prost::encoding::encode_varint(list_len(&head, &records, &tail) as u64, &mut wrapped);
    wrapped.put_slice(&head);
    Message::List { head: wrapped.freeze(), records, tail }
}

async fn send(sink: &Sink, message: Message) -> Result<(), Status> {
    sink.send(Ok(message)).await.map_err(|_| error::CANCELED)
}

/// KV/Put.
pub async fn put(call: Call, request: pb::PutRequest, bytes: Bytes) -> Result<pb::PutResponse, Status> {
    store::check::check_put(&request)?;
    room(&call.member, store::quota::put_cost(&request)).await?;
    let who = call.who().await?;
    match call.member.propose_bytes(&who, Field::Put, &bytes).await? {
        Response::Put(mut response) => {
            call.member.fill(&mut response.header);
            Ok(response)
        }
        _ => Err(error::TIMEOUT),
    }
}

/// KV/DeleteRange.
pub async fn delete_range(
    call: Call,
    request: pb::DeleteRangeRequest,
    bytes: Bytes,
) -> Result<pb::DeleteRangeResponse, Status> {
    store::check::check_delete_range(&request)?;
    let who = call.who().await?;
    match call.member.propose_bytes(&who, Field::DeleteRange, &bytes).await? {
        Response::DeleteRange(mut response) => {
            call.member.fill(&mut response.header);
            Ok(response)
        }
        _ => Err(error::TIMEOUT),
    }
}

/// KV/Txn. One too deep to be decoded has more levels than the greatest `--max-txn-ops` that makes sense.
pub async fn txn(call: Call, bytes: Bytes) -> Result<pb::TxnResponse, Status> {
    let request = store::decode_txn(&bytes).map_err(|why| match why {
        NoTxn::TooDeep => store::ApplyError::TooManyOps.into(),
        NoTxn::Malformed => frame::MALFORMED,
    })?;
    let max_ops = usize::try_from(call.member.config.max_txn_ops).unwrap_or(usize::MAX);
    store::check::check_txn(&request, max_ops)?;
    let who = call.who().await?;
    run_txn(&call.member, &who, &request, Some(bytes)).await
}

/// Executes a checked Txn for `who`: by reading alone if it only reads, else through the log.
pub async fn run_txn(
    member: &Member,
    who: &Who,
    request: &pb::TxnRequest,
    bytes: Option<Bytes>,
) -> Result<pb::TxnResponse, Status> {
    if store::check::is_txn_read_only(request) {
        if !store::check::is_txn_serializable(request) {
            member.linearize().await?;
        }
        member.store.check_txn(who.identity(), request)?;
        let mut response = store::txn::read_only(member.store.kv(), request)?;
        if who.revision != 0 {
            member.store.check_still_current(who.identity())?;
        }
        member.fill(&mut response.header);
        return Ok(response);
    }
    room(member, store::quota::txn_cost(request)).await?;
    let encoded = bytes.unwrap_or_else(|| request.encode_to_vec().into());
    match member.propose_bytes(who, Field::Txn, &encoded).await? {
        Response::Txn(mut response) => {
            member.fill(&mut response.header);
            Ok(response)
        }
        _ => Err(error::TIMEOUT),
    }
}

/// Refuses, and raises the alarm, before a write that would not fit is proposed.
pub async fn room(member: &Member, cost_bytes: u64) -> Result<(), Status> {
    if member.store.has_room(cost_bytes) {
        return Ok(());
    }
    member.raise_nospace().await;
    Err(error::NO_SPACE)
}

/// KV/Compact.
pub async fn compact(call: Call, request: pb::CompactionRequest) -> Result<pb::CompactionResponse, Status> {
    let who = call.admin().await?;
    match call.member.propose(&who, Field::Compaction, &request).await? {
        Response::Compaction { mut response, physical, revision } => {
            crate::task::compact::follow(&call.member, revision);
            if physical {
                physically_compacted(&call.member, revision).await?;
            }
            call.member.fill(&mut response.header);
            Ok(response)
        }
        _ => Err(error::TIMEOUT),
    }
}

/// Waits for the background work of a compaction, then for its commit.
async fn physically_compacted(member: &Member, revision: i64) -> Result<(), Status> {
    while member.store.compaction_done() < revision {
        tokio::select! {
            () = tokio::time::sleep(std::time::Duration::from_millis(5)) => {}
            () = member.stopping() => return Err(error::STOPPED),
        }
    }
    member.flush().await
}
