//! Watch: many watchers over one stream.

use std::future::Future;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes};
use mvcc::watch::{Changes, Kind, Refusal, WatchId, WatchOutput, WatchSpec, split};
use prost::{Message as _, encoding};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::watch_create_request::FilterType;
use proto::etcdserverpb::watch_request::RequestUnion;
use rand::Rng;

use super::Call;
use super::body::{Batch, Message};
use super::error::{self, Status};
use super::frame::{self, Messages};
use crate::member::Member;
use crate::task::watch::Asker;

/// Default of `--watch-progress-notify-interval`.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(600);
/// Fields of a WatchResponse.
const HEADER_TAG: u32 = 1;
const WATCH_ID_TAG: u32 = 2;
/// Of a watch id and its tag.
const WATCH_ID_BYTES_MAX: usize = 11;

/// What the transport gets: a message, a status that ends the stream, or its end.
type Next = Poll<Option<Result<Message, Status>>>;

/// Parcels sent in a row before the client's requests are looked at all the same.
const PARCELS_MAX: usize = 16;

/// Watch/Watch. Without a task of its own: what the hub has goes from the transport's task straight into its output.
/// While the client takes nothing, neither its requests are taken.
pub fn watch(call: Call, messages: Messages) -> impl FnMut(&mut Context<'_>) -> Next + Send + 'static {
    let member = call.member.clone();
    let limit_bytes = super::message_limit(&member);
    let mut stream = member.hub.open();
    let mut aside = Box::pin(aside(call, messages, stream.asker()));
    let mut parcels = 0;
    move |cx| loop {
        let is_turn_of_stream = parcels < PARCELS_MAX;
        if is_turn_of_stream && let Poll::Ready(outputs) = stream.poll_next(cx) {
            parcels += 1;
            let answer = outputs.map(|outputs| parcel(&member, outputs, limit_bytes));
            return Poll::Ready(Some(answer.ok_or(error::STOPPED)));
        }
        parcels = 0;
        if let Poll::Ready(ended) = aside.as_mut().poll(cx) {
            return Poll::Ready(ended.err().map(Err));
        }
        if is_turn_of_stream {
            return Poll::Pending;
        }
    }
}

/// All of a watch but its answers; ends when the watch is to end.
async fn aside(call: Call, messages: Messages, asker: Asker) -> Result<(), Status> {
    tokio::select! {
        ended = ask(&call, messages, &asker) => ended.inspect_err(|status| super::not_received(status, "watch")),
        () = ticks(&call.member, &asker) => Ok(()),
        () = call.member.stopping() => Err(error::STOPPED),
    }
}

/// Reads requests. A client that has closed its side goes on receiving.
async fn ask(call: &Call, mut messages: Messages, asker: &Asker) -> Result<(), Status> {
    loop {
        asker.ready().await;
        let bytes = match messages.next().await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return std::future::pending().await,
            Err(status) if status == error::CANCELED => return Err(error::WATCH_CANCELED),
            Err(status) => return Err(status),
        };
        match frame::decode_streamed::<pb::WatchRequest>(bytes)?.request_union {
            Some(RequestUnion::CreateRequest(create)) => self::create(call, create, asker).await,
            Some(RequestUnion::CancelRequest(cancel)) => asker.cancel(cancel.watch_id),
            Some(RequestUnion::ProgressRequest(_)) => asker.progress(),
            None => {}
        }
    }
}

async fn create(call: &Call, create: pb::WatchCreateRequest, asker: &Asker) {
    let key = if create.key.is_empty() { Bytes::from_static(b"\0") } else { create.key.clone() };
    let permitted = match call.who().await {
        Ok(who) => {
            call.member.store.check_watch(who.identity(), &key, &create.range_end).map_err(Status::from)
        }
        Err(status) => Err(status),
    };
    if let Err(status) = permitted {
        return asker.refuse(Refusal::Other(status.as_rpc_error().into()));
    }
    let filtered = |kind: FilterType| create.filters.contains(&i32::from(kind));
    asker.add(WatchSpec {
        id: create.watch_id,
        no_put: filtered(FilterType::Noput),
        no_delete: filtered(FilterType::Nodelete),
        key,
        end: create.range_end,
        start_revision: create.start_revision,
        prev_kv: create.prev_kv,
        fragment: create.fragment,
        progress_notify: create.progress_notify,
    });
}

/// The responses that the hub has for a stream, as they are sent.
fn parcel(member: &Member, outputs: Vec<WatchOutput>, limit_bytes: usize) -> Message {
    let start = Instant::now();
    let mut batch = Batch::with_room(outputs.iter().map(room).sum());
    let (mut batches, mut events, mut controls) = (0, 0, 0);
    let header = member.bare_header().unwrap_or_default();
    for output in outputs {
        let responses = output.responses();
        match &output.kind {
            Kind::Events { events: sent, .. } => {
                batches += responses;
                events += responses * sent.len();
            }
            Kind::Progress | Kind::Compacted { .. } => batches += responses,
            Kind::Created | Kind::Refused(_) | Kind::Canceled => controls += responses,
        }
        let header = pb::ResponseHeader { revision: output.revision, ..header };
        encode(header, output, limit_bytes, &mut batch);
    }
    crate::stats::watch_sent(start, batches, events, controls);
    Message::Batch(batch)
}

/// About how many bytes an output takes in its batch, long events aside.
fn room(output: &WatchOutput) -> usize {
    const ALL_BUT_EVENTS: usize = 64;
    let copied = |piece: &&Bytes| piece.len() < super::body::SPLICE_BYTES;
    let each = match &output.kind {
        Kind::Events { events, .. } => {
            let events = events.encoded().iter().filter(copied);
            ALL_BUT_EVENTS + events.map(Bytes::len).sum::<usize>()
        }
        _ => ALL_BUT_EVENTS,
    };
    output.responses() * each
}

/// Adds the responses one output makes.
fn encode(header: pb::ResponseHeader, output: WatchOutput, limit_bytes: usize, batch: &mut Batch) {
    let WatchOutput { watch_id, others, kind, .. } = output;
    let mut response = pb::WatchResponse { header: Some(header), watch_id, ..Default::default() };
    match kind {
        Kind::Events { events, fragment } => {
            let longest = response.encoded_len() + WATCH_ID_BYTES_MAX + events.encoded_len();
            let ids = std::iter::once(watch_id).chain(others);
            if fragment && longest >= limit_bytes {
                return ids.for_each(|id| encode_split(&header, id, &events, limit_bytes, batch));
            }
            return encode_shared(&header, ids, events.encoded(), batch);
        }
        Kind::Created => response.created = true,
        Kind::Refused(why) => {
            response.created = true;
            response.canceled = true;
            response.cancel_reason = why.reason().to_owned();
        }
        Kind::Progress => {}
        Kind::Canceled => response.canceled = true,
        Kind::Compacted { compact_revision } => {
            response.canceled = true;
            response.compact_revision = compact_revision;
        }
    }
    add(batch, &response, &[]);
}

/// Adds a response for each watcher. They differ only in the watcher's id, and nothing else is encoded again.
fn encode_shared(
    header: &pb::ResponseHeader,
    ids: impl Iterator<Item = WatchId>,
    events: &[Bytes],
    batch: &mut Batch,
) {
    let mut head = Vec::with_capacity(64);
    encoding::message::encode(HEADER_TAG, header, &mut head);
    let header_len = head.len();
    for id in ids {
        head.truncate(header_len);
        if id != 0 {
            encoding::int64::encode(WATCH_ID_TAG, &id, &mut head);
        }
        batch.add(head.len(), |out| out.put_slice(&head), events);
    }
}

/// Adds the responses for one watcher that shall not get long ones, if it has to be several.
fn encode_split(
    header: &pb::ResponseHeader,
    watch_id: WatchId,
    events: &Changes,
    limit_bytes: usize,
    batch: &mut Batch,
) {
    let mut response = pb::WatchResponse { header: Some(*header), watch_id, ..Default::default() };
    let overhead_bytes = response.encoded_len();
    if overhead_bytes + events.encoded_len() < limit_bytes {
        return add(batch, &response, events.encoded());
    }
    let parts = split(events, overhead_bytes, limit_bytes);
    let last = parts.len() - 1;
    for (at, part) in parts.into_iter().enumerate() {
        response.fragment = at < last;
        add(batch, &response, &mvcc::watch::encode(&events[part]));
    }
}

/// Adds a response whose events are encoded already.
fn add(batch: &mut Batch, response: &pb::WatchResponse, events: &[Bytes]) {
    batch.add(response.encoded_len(), |out| response.encode_raw(out), events);
}

/// Tells the hub each time the progress interval has passed; the jitter keeps streams from doing so together.
async fn ticks(member: &Member, asker: &Asker) {
    let configured = member.config.watch_progress_notify_interval;
    let interval =
        if configured.is_zero() { PROGRESS_INTERVAL } else { configured.max(Duration::from_millis(100)) };
    let jitter = rand::rng().random_range(0.0..0.1);
    loop {
        tokio::time::sleep(interval.mul_f64(1.0 + jitter)).await;
        let start = Instant::now();
        asker.periodic();
        crate::stats::METRICS
            .etcd_debugging_server_watch_send_loop_progress_duration_seconds
            .observe_time(start.elapsed());
    }
}
