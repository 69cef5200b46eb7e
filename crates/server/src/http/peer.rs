//! Everything on a peer listener: the peer protocol (formats 5), version, members, probing.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use super::door::{Answer, Service};
use super::{method_not_allowed, text_answer, typed, version};
use crate::log;
use crate::member::Member;
use crate::peer::asked::{self, with_cluster_id};
use crate::peer::codec::{Kind, MESSAGE_BYTES_MAX};
use crate::peer::identity::{self, said};
use crate::peer::lane::Stream;
use crate::peer::snapshot::ReceiveError;
use crate::peer::{client, parse_id};
use crate::rpc::body::Body;

/// How long the body of a message may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(300);

/// Everything on a peer listener.
pub fn service(member: Arc<Member>) -> Service {
    let requests = move |request| -> Answer {
        let member = member.clone();
        Box::pin(async move { answer(&member, request).await })
    };
    Service { requests: Arc::new(requests), calls: None }
}

async fn answer(member: &Arc<Member>, request: Request<Incoming>) -> Response<Body> {
    match request.uri().path() {
        "/version" => version(member, request.method()),
        "/members" => members(member, request.method()),
        "/raft/probing" => probing(),
        "/raft" => with_cluster_id(member, message(member, request).await),
        "/raft/snapshot" => with_cluster_id(member, receive_snapshot(member, request).await),
        path if path.starts_with("/raft/stream/") => {
            let mut response = stream(member, &request);
            let version = HeaderValue::from_static(member.peers.identity().version);
            response.headers_mut().insert(identity::SERVER_VERSION, version);
            with_cluster_id(member, response)
        }
        _ => asked::answer(member, request).await,
    }
}

/// An error in Go's shape.
fn refused(status: StatusCode, why: impl std::fmt::Display) -> Response<Body> {
    text_answer(status, format!("{why}\n"))
}

fn done() -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// One message.
async fn message(member: &Arc<Member>, request: Request<Incoming>) -> Response<Body> {
    if request.method() != Method::POST {
        return method_not_allowed("POST");
    }
    let peers = &member.peers;
    if let Err(why) = peers.identity().check(request.headers()) {
        return refused(StatusCode::PRECONDITION_FAILED, why);
    }
    peers.remember(request.headers());
    let body = client::collect(request.into_body(), usize::try_from(MESSAGE_BYTES_MAX).unwrap_or(usize::MAX));
    let Ok(Ok(body)) = tokio::time::timeout(BODY_TIMEOUT, body).await else {
        return refused(StatusCode::BAD_REQUEST, "error reading raft message");
    };
    let len = body.len() as u64;
    let Ok(message) = wal::codec::decode_message(body) else {
        return refused(StatusCode::BAD_REQUEST, "error unmarshalling raft message");
    };
    let from = peers.shown(Some(message.from));
    match peers.receive(message) {
        Ok(()) => {
            crate::stats::METRICS.etcd_network_peer_received_bytes_total.with(&[&from]).add(len);
            done()
        }
        Err(_) => refused(StatusCode::INTERNAL_SERVER_ERROR, "error processing raft message"),
    }
}

/// A snapshot and its database.
async fn receive_snapshot(member: &Arc<Member>, request: Request<Incoming>) -> Response<Body> {
    if request.method() != Method::POST {
        return method_not_allowed("POST");
    }
    let peers = &member.peers;
    if let Err(why) = peers.identity().check(request.headers()) {
        return refused(StatusCode::PRECONDITION_FAILED, why);
    }
    peers.remember(request.headers());
    let from = peers.shown(parse_id(said(request.headers(), identity::SERVER_FROM)));
    match peers.receive_snapshot(&from, request.into_body()).await {
        Ok(()) => done(),
        Err(why @ (ReceiveError::Head(_) | ReceiveError::WrongType)) => refused(StatusCode::BAD_REQUEST, why),
        Err(why) => refused(StatusCode::INTERNAL_SERVER_ERROR, why),
    }
}

/// A stream of messages to whoever asks for one.
fn stream(member: &Arc<Member>, request: &Request<Incoming>) -> Response<Body> {
    if request.method() != Method::GET {
        return method_not_allowed("GET");
    }
    let (peers, headers) = (&member.peers, request.headers());
    if let Err(why) = peers.identity().check(headers) {
        return refused(StatusCode::PRECONDITION_FAILED, why);
    }
    let path = request.uri().path();
    let local = peers.identity().id.to_string();
    let Some((kind, from)) = stream_of(path) else {
        return refused(StatusCode::NOT_FOUND, "invalid path");
    };
    let Some(from) = parse_id(from) else {
        log::warning!(
            "failed to parse path into ID",
            "local-member-id" = local,
            "remote-peer-id-stream-handler" = peers.identity().id.to_string(),
            "path" = path.to_owned()
        );
        return refused(StatusCode::NOT_FOUND, "invalid from");
    };
    if peers.is_removed(from) {
        log::warning!(
            "rejected stream from remote peer because it was removed",
            "local-member-id" = local,
            "remote-peer-id-stream-handler" = peers.identity().id.to_string(),
            "remote-peer-id-from" = from.to_string()
        );
        return refused(StatusCode::GONE, "removed member");
    }
    let Some(peer) = peers.get(from) else {
        peers.remember(headers);
        log::warning!(
            "failed to find remote peer in cluster",
            "local-member-id" = local,
            "remote-peer-id-stream-handler" = peers.identity().id.to_string(),
            "remote-peer-id-from" = from.to_string(),
            "cluster-id" = format!("{:x}", member.cluster_id)
        );
        return refused(StatusCode::NOT_FOUND, "error sender not found");
    };
    let to = said(headers, identity::RAFT_TO);
    if to != local {
        log::warning!(
            "ignored streaming request; ID mismatch",
            "local-member-id" = local.clone(),
            "remote-peer-id-stream-handler" = local,
            "remote-peer-id-header" = to.to_owned(),
            "remote-peer-id-from" = from.to_string(),
            "cluster-id" = format!("{:x}", member.cluster_id)
        );
        return refused(StatusCode::PRECONDITION_FAILED, "to field mismatch");
    }
    Response::new(Body::Endless(Box::new(Stream::attach(peers, peer, kind))))
}

/// Kind and sender in the path of a stream.
fn stream_of(path: &str) -> Option<(Kind, &str)> {
    let (kind, from) = path.strip_prefix("/raft/stream/")?.split_once('/')?;
    Some((Kind::ALL.into_iter().find(|known| known.path() == kind)?, from))
}

/// The member list as joining members read it.
fn members(member: &Member, method: &Method) -> Response<Body> {
    if method != Method::GET {
        return method_not_allowed("GET");
    }
    let list = store::members_to_json(member.store.members().list.values());
    with_cluster_id(member, typed(StatusCode::OK, "application/json", list))
}

fn probing() -> Response<Body> {
    let now = log::timestamp(SystemTime::now());
    typed(StatusCode::OK, "text/plain; charset=utf-8", format!("{{\"OK\":true,\"Now\":\"{now}\"}}\n"))
}
