//! Watch: many watchers over one stream.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mvcc::watch::{Kind, Refusal, WatchOutput, WatchSpec, split};
use prost::Message as _;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::watch_create_request::FilterType;
use proto::etcdserverpb::watch_request::RequestUnion;
use rand::Rng;

use super::body::{Batch, Message};
use super::error::{self, Status};
use super::frame::{self, Messages};
use super::{Call, Sink};
use crate::member::Member;
use crate::task::watch::{Asker, WatchStream};

/// Default of `--watch-progress-notify-interval`.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(600);

/// Watch/Watch.
pub async fn watch(call: Call, messages: Messages, sink: Sink) -> Result<(), Status> {
    let stream = call.member.hub.open();
    let asker = stream.asker();
    tokio::select! {
        ended = ask(&call, messages, &asker) => ended.inspect_err(|status| super::not_received(status, "watch")),
        ended = answer(call.member.clone(), stream, sink) => ended,
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

/// Sends what the hub has for the stream.
async fn answer(member: Arc<Member>, mut stream: WatchStream, sink: Sink) -> Result<(), Status> {
    let limit = super::message_limit(&member);
    while let Some(outputs) = stream.next().await {
        let start = Instant::now();
        let mut batch = Batch::with_room(outputs.iter().map(room).sum());
        let (mut batches, mut events) = (0, 0);
        let responses = outputs.len();
        for output in outputs {
            match &output.kind {
                Kind::Events { events: sent, .. } => {
                    batches += 1;
                    events += sent.len();
                }
                Kind::Progress | Kind::Compacted { .. } => batches += 1,
                Kind::Created | Kind::Refused(_) | Kind::Canceled => {}
            }
            encode(&member, output, limit, &mut batch);
        }
        sink.send(Ok(Message::Batch(batch))).await.map_err(|_| error::WATCH_CANCELED)?;
        crate::stats::watch_sent(start, batches, events, responses - batches);
    }
    Err(error::STOPPED)
}

/// About how many bytes a response takes in its batch, long events aside.
fn room(output: &WatchOutput) -> usize {
    const ALL_BUT_EVENTS: usize = 64;
    let copied = |piece: &&Bytes| piece.len() < super::body::SPLICE_BYTES;
    match &output.kind {
        Kind::Events { events, .. } => {
            let events = events.encoded().iter().filter(copied);
            ALL_BUT_EVENTS + events.map(Bytes::len).sum::<usize>()
        }
        _ => ALL_BUT_EVENTS,
    }
}

/// Adds the responses one output makes: several only when it is split.
fn encode(member: &Member, output: WatchOutput, limit_bytes: usize, batch: &mut Batch) {
    let mut header = Some(pb::ResponseHeader::default());
    member.fill(&mut header);
    if let Some(header) = &mut header {
        header.revision = output.revision;
    }
    let mut response = pb::WatchResponse { header, watch_id: output.watch_id, ..Default::default() };
    match output.kind {
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
        Kind::Events { events, fragment }
            if fragment && response.encoded_len() + events.encoded_len() >= limit_bytes =>
        {
            let parts = split(&events, response.encoded_len(), limit_bytes);
            let last = parts.len() - 1;
            for (at, part) in parts.into_iter().enumerate() {
                response.fragment = at < last;
                add(batch, &response, &mvcc::watch::encode(&events[part]));
            }
            return;
        }
        Kind::Events { events, .. } => return add(batch, &response, events.encoded()),
    }
    add(batch, &response, &[]);
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
