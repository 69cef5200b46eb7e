//! What a peer listener answers besides the peer protocol itself: version, members, probing.

use std::sync::Arc;
use std::time::SystemTime;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use super::door::{Answer, Service};
use super::{method_not_allowed, typed, version};
use crate::log;
use crate::member::Member;
use crate::peer::asked;
use crate::rpc::body::Body;

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
        _ => asked::answer(member, request).await,
    }
}

/// The member list as joining members read it.
fn members(member: &Member, method: &Method) -> Response<Body> {
    if method != Method::GET {
        return method_not_allowed("GET");
    }
    let list = store::members_to_json(member.store.members().list.values());
    asked::with_cluster_id(member, typed(StatusCode::OK, "application/json", list))
}

fn probing() -> Response<Body> {
    let now = log::timestamp(SystemTime::now());
    typed(StatusCode::OK, "text/plain; charset=utf-8", format!("{{\"OK\":true,\"Now\":\"{now}\"}}\n"))
}
