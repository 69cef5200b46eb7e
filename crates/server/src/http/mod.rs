//! The HTTP side of the member: the front door, and everything on it that is not gRPC.

pub mod alone;
mod blocks;
pub mod door;
mod h2;
mod health;
pub mod inbox;
mod keepalive;
pub mod listener;
mod metrics;
pub mod peer;
mod slots;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;

use crate::member::Member;
use crate::rpc;
use crate::rpc::body::Body;
use door::{Answer, Calls, Service};

/// Everything on a client listener: HTTP/2 is gRPC, HTTP/1.1 the rest.
pub fn client_service(member: Arc<Member>) -> Service {
    Service { calls: Some(calls(&member)), ..http_service(member) }
}

/// A client listener beside one for plain HTTP: gRPC alone.
pub fn grpc_service(member: Arc<Member>) -> Service {
    Service { requests: Arc::new(|_| Box::pin(async { not_found() })), calls: Some(calls(&member)) }
}

/// A listener of `--listen-client-http-urls`: everything but gRPC.
pub fn http_service(member: Arc<Member>) -> Service {
    let requests = move |request| -> Answer {
        let member = member.clone();
        Box::pin(async move { with_cors(&member, request).await })
    };
    Service { requests: Arc::new(requests), calls: None }
}

/// A listener for health and metrics alone.
pub fn metrics_service(member: Arc<Member>) -> Service {
    let requests = move |request| -> Answer {
        let member = member.clone();
        Box::pin(async move { health_or_metrics(&member, &request).await.unwrap_or_else(not_found) })
    };
    Service { requests: Arc::new(requests), calls: None }
}

fn calls(member: &Arc<Member>) -> Calls {
    let member = member.clone();
    Arc::new(move |head, inbox, remote| rpc::serve(&member, head, inbox, remote))
}

/// Plain HTTP of a client listener, behind the rules about origins and host names.
async fn with_cors(member: &Arc<Member>, request: Request<Incoming>) -> Response<Body> {
    if !host_allowed(member, &request) {
        return misdirected(&request);
    }
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut response = if request.method() == Method::OPTIONS {
        Response::new(Body::Empty)
    } else {
        plain(member, request).await
    };
    let allowed = &member.config.cors;
    let any = allowed.is_empty() || allowed.iter().any(|o| o == "*");
    let listed = origin.as_ref().filter(|o| allowed.iter().any(|a| a.as_bytes() == o.as_bytes()));
    if let Some(value) = if any { Some(HeaderValue::from_static("*")) } else { listed.cloned() } {
        let headers = response.headers_mut();
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("POST, GET, OPTIONS, PUT, DELETE"),
        );
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static("accept, content-type, authorization"),
        );
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, value);
    }
    response
}

async fn plain(member: &Arc<Member>, request: Request<Incoming>) -> Response<Body> {
    match request.uri().path() {
        "/version" => version(member, request.method()),
        "/debug/vars" => metrics::vars(member),
        _ => health_or_metrics(member, &request).await.unwrap_or_else(not_found),
    }
}

async fn health_or_metrics(member: &Arc<Member>, request: &Request<Incoming>) -> Option<Response<Body>> {
    let path = request.uri().path();
    if path == "/metrics" {
        return Some(metrics::page(member));
    }
    health::answer(member, request.method(), path, request.uri().query().unwrap_or("")).await
}

/// `/version` of client and peer listeners.
pub fn version(member: &Member, method: &Method) -> Response<Body> {
    if method != Method::GET {
        return method_not_allowed("GET");
    }
    let cluster = member.store.members().cluster_version;
    let storage = member.store.storage_version();
    let body = format!(
        "{{\"etcdserver\":\"{}\",\"etcdcluster\":\"{}\",\"storage\":\"{}\"}}",
        member.version,
        cluster.map_or_else(|| "not_decided".to_owned(), |v| v.to_string()),
        storage.map_or_else(|| "unknown".to_owned(), |v| v.to_string()),
    );
    typed(StatusCode::OK, "application/json", body)
}

/// Hosts may be restricted against DNS rebinding.
fn host_allowed(member: &Member, request: &Request<Incoming>) -> bool {
    let allowed = &member.config.host_whitelist;
    if allowed.is_empty() || allowed.iter().any(|h| h == "*") {
        return true;
    }
    let host = host_of(request);
    allowed.iter().any(|h| h == host)
}

fn host_of(request: &Request<Incoming>) -> &str {
    let host = request.headers().get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or("");
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

fn misdirected(request: &Request<Incoming>) -> Response<Body> {
    let host = host_of(request);
    crate::log::warning!("rejecting HTTP request to prevent DNS rebinding attacks", "host" = host);
    let text = format!(
        "etcd received your request, but the Host header was unrecognized.\n\nTo fix this, choose one of the following \
         options:\n- Enable TLS, then any HTTPS request will be allowed.\n- Add the hostname you want to use to the \
         whitelist in settings.\n  - e.g. etcd --host-whitelist {host:?}\n\nThis requirement has been added to help \
         prevent \"DNS Rebinding\" attacks (CVE-2018-5702).\n"
    );
    text_answer(StatusCode::MISDIRECTED_REQUEST, text)
}

/// An answer of the given type.
pub fn typed(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::plain(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// An error in the shape of Go's `http.Error`.
pub fn text_answer(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = typed(status, "text/plain; charset=utf-8", body);
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

/// Go's answer for a path nobody knows.
pub fn not_found() -> Response<Body> {
    text_answer(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// Go's answer for another method.
pub fn method_not_allowed(allow: &'static str) -> Response<Body> {
    let mut response = text_answer(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}
