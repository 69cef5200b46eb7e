//! What a peer listener answers besides the peer protocol itself: version, members, probing.

use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use super::door::{Answer, Service};
use super::{method_not_allowed, not_found, typed, version};
use crate::log;
use crate::member::Member;
use crate::rpc::body::Body;

/// Everything on a peer listener.
pub fn service(member: Arc<Member>) -> Service {
    let requests = move |request| -> Answer {
        let response = answer(&member, &request);
        Box::pin(std::future::ready(response))
    };
    Service { requests: Arc::new(requests), calls: None }
}

fn answer(member: &Member, request: &Request<Incoming>) -> Response<Body> {
    match request.uri().path() {
        "/version" => version(member, request.method()),
        "/members" => members(member, request.method()),
        "/raft/probing" => probing(),
        _ => not_found(),
    }
}

/// The member list as joining members read it.
fn members(member: &Member, method: &Method) -> Response<Body> {
    if method != Method::GET {
        return method_not_allowed("GET");
    }
    let list: Vec<String> = member
        .store
        .members()
        .list
        .values()
        .map(|m| String::from_utf8_lossy(&m.to_json()).into_owned())
        .collect();
    let mut response = typed(StatusCode::OK, "application/json", format!("[{}]\n", list.join(",")));
    if let Ok(id) = HeaderValue::from_str(&format!("{:x}", member.cluster_id)) {
        response.headers_mut().insert("x-etcd-cluster-id", id);
    }
    response
}

fn probing() -> Response<Body> {
    let now = log::timestamp(SystemTime::now());
    typed(StatusCode::OK, "text/plain; charset=utf-8", format!("{{\"OK\":true,\"Now\":\"{now}\"}}\n"))
}
