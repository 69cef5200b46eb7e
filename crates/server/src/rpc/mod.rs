//! gRPC services: a table from path to handler, and the three shapes a call can have.
//!
//! Handlers are plain async functions from request to response, written once, whatever door they are called through.

mod auth;
mod auth_lines;
pub mod body;
pub mod cluster;
mod election;
pub mod error;
pub mod frame;
mod health;
pub mod intercept;
pub mod kv;
pub mod lease;
mod lock;
mod maintenance;
mod recipe;
mod watch;

use std::future::{Future, poll_fn, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::StatusCode;
use http2::Head;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::http::inbox::Inbox;
use crate::http::listener::Remote;
use crate::member::Member;
use crate::stats::{Method, Started};
use body::{Body, Message};
use error::{Code, Status};
use frame::Messages;
pub use maintenance::quota;

/// Responses a handler may be ahead of the transport within one stream.
pub const STREAM_AHEAD_MAX: usize = 16;
/// gRPC's own allowance above `--max-request-bytes`.
pub const GRPC_OVERHEAD_BYTES: usize = 512 * 1024;

/// One call: who is asked, what came with it, and until when an answer counts.
#[derive(Clone)]
pub struct Call {
    /// The member that answers.
    pub member: Arc<Member>,
    /// Method, path and gRPC metadata.
    pub head: Arc<Head>,
    /// From `grpc-timeout`.
    pub deadline: Option<Instant>,
    /// Counts it.
    pub counted: Started,
}

/// How a call is answered.
pub enum Answered {
    /// With messages, then a status.
    Body(Body),
    /// With a status alone.
    Status(Status),
    /// It was no call; HTTP's word for that, and gRPC's.
    NoCall(StatusCode, Status),
}

/// An answer under way.
pub type Answer = Pin<Box<dyn Future<Output = Answered> + Send>>;
type Handler = fn(Call, Messages) -> Answer;

/// What a unary handler may return.
pub trait Reply: Send {
    /// The message to send.
    fn into_message(self) -> Message;
}

impl<M: prost::Message> Reply for M {
    fn into_message(self) -> Message {
        Message::of(&self)
    }
}

impl Reply for Message {
    fn into_message(self) -> Message {
        self
    }
}

/// Sends the messages of a streaming answer; ends the stream when dropped.
pub type Sink = mpsc::Sender<Result<Message, Status>>;

/// What the head of a call says: worked out once for all calls that share it.
struct Wanted {
    handler: Handler,
    method: Method,
    timeout: Option<Duration>,
    terms: Result<intercept::Terms, Status>,
}

impl Wanted {
    fn of(head: &Head) -> Result<Wanted, Box<Answered>> {
        let timeout = frame::check_headers(&head.method, &head.fields)
            .map_err(|(http, status)| Box::new(Answered::NoCall(http, status)))?;
        let path = path_of(head);
        let handler = route(path).ok_or_else(|| Box::new(Answered::Status(unknown(path))))?;
        let method = crate::stats::method(path);
        let terms = intercept::Terms::of(path, &head.fields, method);
        Ok(Wanted { handler, method, timeout, terms })
    }
}

fn path_of(head: &Head) -> &str {
    std::str::from_utf8(&head.path).unwrap_or("")
}

/// Answers one gRPC request that came from `remote`.
pub fn serve(member: &Arc<Member>, head: Arc<Head>, inbox: Inbox, remote: Remote) -> Answer {
    let noted = head.note.get().cloned().and_then(|note| note.downcast::<Wanted>().ok());
    let wanted = match noted.map_or_else(|| Wanted::of(&head).map(Arc::new), Ok) {
        Ok(wanted) => wanted,
        Err(answered) => return Box::pin(ready(*answered)),
    };
    // Whoever was quicker has noted the same.
    let _ = head.note.set(wanted.clone());
    let counted = crate::stats::started(wanted.method);
    let deadline = wanted.timeout.map(|t| Instant::now() + t.min(Duration::from_secs(86_400 * 365)));
    let admitted = wanted.terms.as_ref().map_err(Status::clone).and_then(|terms| terms.admit(member));
    if let Err(status) = admitted {
        counted.handled(status.code as u8);
        return Box::pin(ready(Answered::Status(status)));
    }
    let messages = Messages::new(inbox, message_limit(member), counted);
    let warn_after = member.config.warning_unary_request_duration;
    let call = Call { member: member.clone(), head: head.clone(), deadline, counted };
    let end = move |answered: Answered| {
        match &answered {
            Answered::Status(status) | Answered::NoCall(_, status) => counted.handled(status.code as u8),
            // A stream counts its own end.
            Answered::Body(_) if counted.is_stream() => {}
            Answered::Body(_) => counted.handled(0),
        }
        let took = counted.since().elapsed();
        if took > warn_after && !warn_after.is_zero() {
            crate::stats::slow_request(path_of(&head), took, remote);
        }
        answered
    };
    let work = (wanted.handler)(call, messages);
    match deadline {
        None => Box::pin(work.map(end)),
        Some(at) => Box::pin(async move {
            let in_time = match at <= Instant::now() {
                true => None,
                false => tokio::time::timeout_at(at, work).await.ok(),
            };
            end(in_time.unwrap_or(Answered::Status(error::DEADLINE)))
        }),
    }
}

/// Longest message a client may send, in bytes.
pub fn message_limit(member: &Member) -> usize {
    usize::try_from(member.config.max_request_bytes).unwrap_or(usize::MAX).saturating_add(GRPC_OVERHEAD_BYTES)
}

/// One request message in, one response message out.
fn unary<Q, A, F, W>(call: Call, messages: Messages, handler: F) -> Answer
where
    Q: prost::Message + Default,
    A: Reply,
    F: FnOnce(Call, Q) -> W + Send + 'static,
    W: Future<Output = Result<A, Status>> + Send + 'static,
{
    answer(call, messages, |call, bytes| Ok(handler(call, frame::decode_unary::<Q>(bytes)?)))
}

/// As [`unary`], but the handler also gets the bytes as they came.
fn unary_raw<Q, A, F, W>(call: Call, messages: Messages, handler: F) -> Answer
where
    Q: prost::Message + Default,
    A: Reply,
    F: FnOnce(Call, Q, Bytes) -> W + Send + 'static,
    W: Future<Output = Result<A, Status>> + Send + 'static,
{
    answer(call, messages, |call, bytes| Ok(handler(call, frame::decode_unary::<Q>(bytes.clone())?, bytes)))
}

/// As [`unary`], but the handler decodes.
fn unary_bytes<A, F, W>(call: Call, messages: Messages, handler: F) -> Answer
where
    A: Reply,
    F: FnOnce(Call, Bytes) -> W + Send + 'static,
    W: Future<Output = Result<A, Status>> + Send + 'static,
{
    answer(call, messages, |call, bytes| Ok(handler(call, bytes)))
}

/// Begins with the message and answers with what comes of it.
fn answer<A, F, W>(call: Call, mut messages: Messages, begin: F) -> Answer
where
    A: Reply,
    F: FnOnce(Call, Bytes) -> Result<W, Status> + Send + 'static,
    W: Future<Output = Result<A, Status>> + Send + 'static,
{
    let counted = call.counted;
    // It has usually come with the head: then there is nothing to wait for, and nothing to keep.
    if let Poll::Ready(one) = messages.poll_one(&mut Context::from_waker(Waker::noop())) {
        return match one.and_then(|bytes| begin(call, bytes)) {
            Ok(work) => Box::pin(work.map(move |result| reply(result, counted))),
            Err(status) => Box::pin(ready(Answered::Status(status))),
        };
    }
    Box::pin(async move {
        match one(&mut messages).await.and_then(|bytes| begin(call, bytes)) {
            Ok(work) => reply(work.await, counted),
            Err(status) => Answered::Status(status),
        }
    })
}

fn reply(result: Result<impl Reply, Status>, counted: Started) -> Answered {
    match result {
        Ok(reply) => {
            let message = reply.into_message();
            counted.sent(1, message.encoded_len());
            Answered::Body(Body::unary(message))
        }
        Err(status) => Answered::Status(status),
    }
}

/// One request message in, a stream of responses out. The handler runs as a task of its own until it returns or the
/// client goes away.
async fn server_stream<Q, F, W>(call: Call, mut messages: Messages, handler: F) -> Answered
where
    Q: prost::Message + Default,
    F: FnOnce(Call, Q, Sink) -> W,
    W: Future<Output = Result<(), Status>> + Send + 'static,
{
    let request = match one(&mut messages).await.and_then(frame::decode_streamed::<Q>) {
        Ok(request) => request,
        Err(status) => return Answered::Status(status),
    };
    let (sink, source) = mpsc::channel(STREAM_AHEAD_MAX);
    let counted = call.counted;
    spawn_stream(sink.clone(), call.clone(), handler(call, request, sink));
    Answered::Body(Body::stream(source, counted))
}

/// Messages both ways, without a task between: the handler answers when the transport asks for more.
fn exchange<H>(call: Call, messages: Messages, begin: impl FnOnce(Call, Messages) -> H) -> Answer
where
    H: FnMut(&mut Context<'_>) -> Poll<Option<Result<Message, Status>>> + Send + 'static,
{
    let counted = call.counted;
    let mut end = End { counted, code: Code::Canceled };
    let is_limited = call.deadline.is_some() || intercept::wants_leader(&call.head.fields);
    let mut limit = is_limited.then(|| Box::pin(limit(call.clone())));
    let mut handler = begin(call, messages);
    let source = move |cx: &mut Context<'_>| {
        // First: a handler may always have something.
        let over = match &mut limit {
            Some(limit) => limit.as_mut().poll(cx),
            None => Poll::Pending,
        };
        let next = match over {
            Poll::Ready(status) => Some(Err(status)),
            Poll::Pending => ready!(handler(cx)),
        };
        match &next {
            Some(Ok(_)) => {}
            Some(Err(status)) => end.by(status.code),
            None => end.by(Code::Ok),
        }
        Poll::Ready(next)
    };
    Box::pin(ready(Answered::Body(Body::polled(source, counted))))
}

/// What ends a stream whatever its handler does: the deadline passed, or the leader was lost that the client asked for.
async fn limit(call: Call) -> Status {
    let expired = async {
        match call.deadline {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = expired => error::DEADLINE,
        () = intercept::leader_lost(&call) => error::NO_LEADER,
    }
}

/// Counts the end of a stream, which the client gave up unless it was ended here.
struct End {
    counted: Started,
    code: Code,
}

impl End {
    fn by(&mut self, code: Code) {
        self.code = code;
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.counted.handled(self.code as u8);
    }
}

/// Runs a streaming handler beside its response body; stops it when the client has gone, its limit is reached, or it
/// returned.
fn spawn_stream<W>(sink: Sink, call: Call, work: W)
where
    W: Future<Output = Result<(), Status>> + Send + 'static,
{
    tokio::spawn(async move {
        let counted = call.counted;
        let ended = tokio::select! {
            ended = work => ended,
            () = sink.closed() => Err(error::CANCELED),
            status = limit(call) => Err(status),
        };
        counted.handled(ended.as_ref().map_or_else(|status| status.code as u8, |()| 0));
        if let Err(status) = ended {
            // The client may be gone already: then nobody needs the status.
            let _ = sink.send(Err(status)).await;
        }
    });
}

/// A request of a stream could not be read. A client that has left is no failure.
fn not_received(status: &Status, api: &str) {
    if !matches!(status.code, Code::Canceled | Code::DeadlineExceeded) {
        let what = api.replace('-', " ");
        crate::log::warning!(
            format!("failed to receive {what} request from gRPC stream"),
            "error" = status.message.as_ref()
        );
        crate::stats::stream_failed("receive", api);
    }
}

async fn one(messages: &mut Messages) -> Result<Bytes, Status> {
    poll_fn(|cx| messages.poll_one(cx)).await
}

const SERVICES: [&str; 9] = [
    "etcdserverpb.KV",
    "etcdserverpb.Watch",
    "etcdserverpb.Lease",
    "etcdserverpb.Cluster",
    "etcdserverpb.Maintenance",
    "etcdserverpb.Auth",
    "v3lockpb.Lock",
    "v3electionpb.Election",
    "grpc.health.v1.Health",
];

fn unknown(path: &str) -> Status {
    let text = match path.strip_prefix('/').unwrap_or(path).rsplit_once('/') {
        None => format!("malformed method name: {path:?}"),
        Some((service, method)) if SERVICES.contains(&service) => {
            format!("unknown method {method} for service {service}")
        }
        Some((service, _)) => format!("unknown service {service}"),
    };
    Status::new(Code::Unimplemented, text)
}

/// Every path there is a handler for.
pub const PATHS: &[&str] = &[
    "/etcdserverpb.Auth/AuthDisable",
    "/etcdserverpb.Auth/AuthEnable",
    "/etcdserverpb.Auth/AuthStatus",
    "/etcdserverpb.Auth/Authenticate",
    "/etcdserverpb.Auth/RoleAdd",
    "/etcdserverpb.Auth/RoleDelete",
    "/etcdserverpb.Auth/RoleGet",
    "/etcdserverpb.Auth/RoleGrantPermission",
    "/etcdserverpb.Auth/RoleList",
    "/etcdserverpb.Auth/RoleRevokePermission",
    "/etcdserverpb.Auth/UserAdd",
    "/etcdserverpb.Auth/UserChangePassword",
    "/etcdserverpb.Auth/UserDelete",
    "/etcdserverpb.Auth/UserGet",
    "/etcdserverpb.Auth/UserGrantRole",
    "/etcdserverpb.Auth/UserList",
    "/etcdserverpb.Auth/UserRevokeRole",
    "/etcdserverpb.Cluster/MemberAdd",
    "/etcdserverpb.Cluster/MemberList",
    "/etcdserverpb.Cluster/MemberPromote",
    "/etcdserverpb.Cluster/MemberRemove",
    "/etcdserverpb.Cluster/MemberUpdate",
    "/etcdserverpb.KV/Compact",
    "/etcdserverpb.KV/DeleteRange",
    "/etcdserverpb.KV/Put",
    "/etcdserverpb.KV/Range",
    "/etcdserverpb.KV/RangeStream",
    "/etcdserverpb.KV/Txn",
    "/etcdserverpb.Lease/LeaseGrant",
    "/etcdserverpb.Lease/LeaseKeepAlive",
    "/etcdserverpb.Lease/LeaseLeases",
    "/etcdserverpb.Lease/LeaseRevoke",
    "/etcdserverpb.Lease/LeaseTimeToLive",
    "/etcdserverpb.Maintenance/Alarm",
    "/etcdserverpb.Maintenance/Defragment",
    "/etcdserverpb.Maintenance/Downgrade",
    "/etcdserverpb.Maintenance/Hash",
    "/etcdserverpb.Maintenance/HashKV",
    "/etcdserverpb.Maintenance/MoveLeader",
    "/etcdserverpb.Maintenance/Snapshot",
    "/etcdserverpb.Maintenance/Status",
    "/etcdserverpb.Watch/Watch",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/List",
    "/grpc.health.v1.Health/Watch",
    "/v3electionpb.Election/Campaign",
    "/v3electionpb.Election/Leader",
    "/v3electionpb.Election/Observe",
    "/v3electionpb.Election/Proclaim",
    "/v3electionpb.Election/Resign",
    "/v3lockpb.Lock/Lock",
    "/v3lockpb.Lock/Unlock",
];

fn route(path: &str) -> Option<Handler> {
    Some(match path {
        "/etcdserverpb.KV/Range" => |c, m| unary(c, m, kv::range),
        "/etcdserverpb.KV/RangeStream" => |c, m| Box::pin(server_stream(c, m, kv::range_stream)),
        "/etcdserverpb.KV/Put" => |c, m| unary_raw(c, m, kv::put),
        "/etcdserverpb.KV/DeleteRange" => |c, m| unary_raw(c, m, kv::delete_range),
        "/etcdserverpb.KV/Txn" => |c, m| unary_bytes(c, m, kv::txn),
        "/etcdserverpb.KV/Compact" => |c, m| unary(c, m, kv::compact),
        "/etcdserverpb.Watch/Watch" => |c, m| exchange(c, m, watch::watch),
        "/etcdserverpb.Lease/LeaseGrant" => |c, m| unary(c, m, lease::grant),
        "/etcdserverpb.Lease/LeaseRevoke" => |c, m| unary(c, m, lease::revoke),
        "/etcdserverpb.Lease/LeaseKeepAlive" => |c, m| exchange(c, m, lease::keep_alive),
        "/etcdserverpb.Lease/LeaseTimeToLive" => |c, m| unary(c, m, lease::time_to_live),
        "/etcdserverpb.Lease/LeaseLeases" => |c, m| unary(c, m, lease::leases),
        "/etcdserverpb.Cluster/MemberAdd" => |c, m| unary(c, m, cluster::add),
        "/etcdserverpb.Cluster/MemberRemove" => |c, m| unary(c, m, cluster::remove),
        "/etcdserverpb.Cluster/MemberUpdate" => |c, m| unary(c, m, cluster::update),
        "/etcdserverpb.Cluster/MemberList" => |c, m| unary(c, m, cluster::list),
        "/etcdserverpb.Cluster/MemberPromote" => |c, m| unary(c, m, cluster::promote),
        "/etcdserverpb.Maintenance/Alarm" => |c, m| unary(c, m, maintenance::alarm),
        "/etcdserverpb.Maintenance/Status" => |c, m| unary(c, m, maintenance::status),
        "/etcdserverpb.Maintenance/Defragment" => |c, m| unary(c, m, maintenance::defragment),
        "/etcdserverpb.Maintenance/Hash" => |c, m| unary(c, m, maintenance::hash),
        "/etcdserverpb.Maintenance/HashKV" => |c, m| unary(c, m, maintenance::hash_kv),
        "/etcdserverpb.Maintenance/Snapshot" => |c, m| Box::pin(server_stream(c, m, maintenance::snapshot)),
        "/etcdserverpb.Maintenance/MoveLeader" => |c, m| unary(c, m, maintenance::move_leader),
        "/etcdserverpb.Maintenance/Downgrade" => |c, m| unary(c, m, maintenance::downgrade),
        _ => return route_auth(path).or_else(|| route_recipes(path)),
    })
}

fn route_auth(path: &str) -> Option<Handler> {
    Some(match path.strip_prefix("/etcdserverpb.Auth/")? {
        "AuthEnable" => |c, m| unary(c, m, auth::enable),
        "AuthDisable" => |c, m| unary(c, m, auth::disable),
        "AuthStatus" => |c, m| unary(c, m, auth::status),
        "Authenticate" => |c, m| unary(c, m, auth::authenticate),
        "UserAdd" => |c, m| unary(c, m, auth::user_add),
        "UserGet" => |c, m| unary(c, m, auth::user_get),
        "UserList" => |c, m| unary(c, m, auth::user_list),
        "UserDelete" => |c, m| unary(c, m, auth::user_delete),
        "UserChangePassword" => |c, m| unary(c, m, auth::user_change_password),
        "UserGrantRole" => |c, m| unary(c, m, auth::user_grant_role),
        "UserRevokeRole" => |c, m| unary(c, m, auth::user_revoke_role),
        "RoleAdd" => |c, m| unary(c, m, auth::role_add),
        "RoleGet" => |c, m| unary(c, m, auth::role_get),
        "RoleList" => |c, m| unary(c, m, auth::role_list),
        "RoleDelete" => |c, m| unary(c, m, auth::role_delete),
        "RoleGrantPermission" => |c, m| unary(c, m, auth::role_grant_permission),
        "RoleRevokePermission" => |c, m| unary(c, m, auth::role_revoke_permission),
        _ => return None,
    })
}

fn route_recipes(path: &str) -> Option<Handler> {
    Some(match path {
        "/v3lockpb.Lock/Lock" => |c, m| unary(c, m, recipe::as_client(lock::lock)),
        "/v3lockpb.Lock/Unlock" => |c, m| unary(c, m, recipe::as_client(lock::unlock)),
        "/v3electionpb.Election/Campaign" => |c, m| unary(c, m, recipe::as_client(election::campaign)),
        "/v3electionpb.Election/Proclaim" => |c, m| unary(c, m, recipe::as_client(election::proclaim)),
        "/v3electionpb.Election/Leader" => |c, m| unary(c, m, recipe::as_client(election::leader)),
        "/v3electionpb.Election/Observe" => {
            |c, m| Box::pin(server_stream(c, m, recipe::as_client_stream(election::observe)))
        }
        "/v3electionpb.Election/Resign" => |c, m| unary(c, m, recipe::as_client(election::resign)),
        "/grpc.health.v1.Health/Check" => |c, m| unary(c, m, health::check),
        "/grpc.health.v1.Health/Watch" => |c, m| Box::pin(server_stream(c, m, health::watch)),
        "/grpc.health.v1.Health/List" => |c, m| unary(c, m, health::list),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_path_has_a_handler() {
        assert!(PATHS.iter().all(|path| route(path).is_some()));
        assert_eq!(PATHS.len(), 52);
    }

    #[test]
    fn unknown_paths_are_refused_in_gos_words() {
        assert_eq!(
            unknown("/etcdserverpb.KV/Nope").message,
            "unknown method Nope for service etcdserverpb.KV"
        );
        assert_eq!(unknown("/foo.Bar/Baz").message, "unknown service foo.Bar");
        assert_eq!(unknown("/foo").message, "malformed method name: \"/foo\"");
    }
}
