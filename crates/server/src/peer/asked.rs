//! Answers what other members ask for outside of consensus: leases, a promotion, hashes, whether a downgrade runs.
//! Formats 5.1, 5.7, 5.8; the asking side is `ask`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use proto::{etcdserverpb as pb, leasepb};
use serde::Deserialize;

use super::client;
use crate::http::{method_not_allowed, not_found, text_answer, typed};
use crate::log;
use crate::member::Member;
use crate::rpc::body::Body;
use crate::rpc::cluster;
use crate::rpc::error::{self, Status};
use crate::rpc::lease::{self, Renewed};

/// Longest body of a question.
const QUESTION_BYTES_MAX: usize = 64 << 10;
/// Longest wait for the body of a question.
const QUESTION_WAIT: Duration = Duration::from_secs(10);
/// Longest wait for what is committed to be applied.
const APPLY_WAIT: Duration = Duration::from_secs(1);

/// Answers `request`, or says that this is no such question.
pub async fn answer(member: &Arc<Member>, request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    match path.as_str() {
        "/leases" => renew(member, request).await,
        "/leases/internal" => time_to_live(member, request).await,
        "/members/hashkv" => hash_kv(member, request).await,
        "/downgrade/enabled" => downgrade_enabled(member, request.method()).await,
        _ => match path.strip_prefix("/members/promote/") {
            Some(id) => with_cluster_id(member, promote(member, &request, id).await),
            None => not_found(),
        },
    }
}

/// The answer with the header that names the cluster.
pub fn with_cluster_id(member: &Member, mut response: Response<Body>) -> Response<Body> {
    if let Ok(id) = HeaderValue::from_str(&format!("{:x}", member.cluster_id)) {
        response.headers_mut().insert("x-etcd-cluster-id", id);
    }
    response
}

/// An error as Go's `http.Error` writes it.
fn refuse(status: StatusCode, text: &str) -> Response<Body> {
    text_answer(status, format!("{text}\n"))
}

/// The body, if it is short enough.
async fn body(request: Request<Incoming>) -> Result<Bytes, Response<Body>> {
    let collected = client::collect(request.into_body(), QUESTION_BYTES_MAX);
    match tokio::time::timeout(QUESTION_WAIT, collected).await.unwrap_or(Err(client::Error::Timeout)) {
        Ok(body) => Ok(body),
        Err(client::Error::TooLong(_)) => {
            Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, "request body too large"))
        }
        Err(_) => Err(refuse(StatusCode::BAD_REQUEST, "error reading body")),
    }
}

/// The decoded body of a question about leases, once this member has applied what it knew to be committed.
async fn lease_question<M: prost::Message + Default>(
    member: &Member,
    request: Request<Incoming>,
) -> Result<M, Response<Body>> {
    if request.method() != Method::POST {
        return Err(refuse(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed"));
    }
    let body = body(request).await?;
    let question =
        M::decode(body).map_err(|_| refuse(StatusCode::BAD_REQUEST, "error unmarshalling request"))?;
    let reached = member.applied.reach(member.leadership.commit_index());
    match tokio::time::timeout(APPLY_WAIT, reached).await {
        Ok(()) => Ok(question),
        Err(_) => {
            let text = "waiting for node to catch up its applied index has timed out";
            Err(refuse(StatusCode::REQUEST_TIMEOUT, text))
        }
    }
}

fn protobuf(message: &impl prost::Message) -> Response<Body> {
    typed(StatusCode::OK, "application/protobuf", message.encode_to_vec())
}

async fn renew(member: &Arc<Member>, request: Request<Incoming>) -> Response<Body> {
    let question: pb::LeaseKeepAliveRequest = match lease_question(member, request).await {
        Ok(question) => question,
        Err(refused) => return refused,
    };
    match lease::renew_here(member, question.id).await {
        Ok(Renewed::Ttl(0)) => refuse(StatusCode::NOT_FOUND, "lease not found"),
        Ok(Renewed::Ttl(ttl)) => protobuf(&pb::LeaseKeepAliveResponse { header: None, id: question.id, ttl }),
        Ok(Renewed::NotPrimary) => {
            refuse(StatusCode::BAD_REQUEST, error::NOT_PRIMARY_LESSOR.message.as_ref())
        }
        Err(status) => refuse(StatusCode::BAD_REQUEST, status.message.as_ref()),
    }
}

async fn time_to_live(member: &Arc<Member>, request: Request<Incoming>) -> Response<Body> {
    let question: leasepb::LeaseInternalRequest = match lease_question(member, request).await {
        Ok(question) => question,
        Err(refused) => return refused,
    };
    let Some(asked) = question.lease_time_to_live_request else {
        return refuse(StatusCode::BAD_REQUEST, "error unmarshalling request");
    };
    let known = member.store.leases().iter().any(|lease| lease.id == asked.id);
    if !known {
        return refuse(StatusCode::NOT_FOUND, "lease not found");
    }
    if !member.leases.is_primary() {
        return refuse(StatusCode::INTERNAL_SERVER_ERROR, error::NOT_PRIMARY_LESSOR.message.as_ref());
    }
    let mut response = lease::what_is_left(member, &asked);
    response.header = Some(pb::ResponseHeader::default());
    protobuf(&leasepb::LeaseInternalResponse { lease_time_to_live_response: Some(response) })
}

async fn promote(member: &Arc<Member>, request: &Request<Incoming>, id: &str) -> Response<Body> {
    if request.method() != Method::POST {
        return method_not_allowed("POST");
    }
    let Ok(number) = id.parse::<u64>() else {
        return refuse(StatusCode::NOT_FOUND, &format!("member {id} not found in cluster"));
    };
    let token = request.headers().get(header::AUTHORIZATION).and_then(|token| token.to_str().ok());
    match promote_as(member, token, number).await {
        Ok(members) => {
            let list = store::members_to_json(&members);
            typed(StatusCode::OK, "application/json", list)
        }
        Err(status) => {
            log::warning!(
                "failed to promote a member",
                "member-id" = format!("{number:x}"),
                "error" = status.message.as_ref()
            );
            refuse_promotion(&status)
        }
    }
}

async fn promote_as(
    member: &Arc<Member>,
    token: Option<&str>,
    id: u64,
) -> Result<Vec<store::Member>, Status> {
    let who = member.who(token).await?;
    member.store.check_admin(who.identity())?;
    cluster::promote_here(member, id).await
}

fn refuse_promotion(status: &Status) -> Response<Body> {
    if *status == error::MEMBER_NOT_FOUND {
        refuse(StatusCode::NOT_FOUND, "membership: ID not found")
    } else if *status == error::MEMBER_NOT_LEARNER {
        refuse(StatusCode::PRECONDITION_FAILED, "membership: can only promote a learner member")
    } else if *status == error::LEARNER_NOT_READY {
        refuse(StatusCode::PRECONDITION_FAILED, status.message.as_ref())
    } else {
        let text = "{\"message\":\"Internal Server Error\"}";
        typed(StatusCode::INTERNAL_SERVER_ERROR, "application/json", text)
    }
}

async fn hash_kv(member: &Arc<Member>, request: Request<Incoming>) -> Response<Body> {
    #[derive(Deserialize)]
    struct Question {
        #[serde(default)]
        revision: i64,
    }
    if request.method() != Method::GET {
        return method_not_allowed("GET");
    }
    let own = format!("{:x}", member.cluster_id);
    let asked = request.headers().get("x-etcd-cluster-id").filter(|id| !id.is_empty());
    if asked.is_some_and(|id| id.as_bytes() != own.as_bytes()) {
        return refuse(StatusCode::PRECONDITION_FAILED, "cluster ID mismatch");
    }
    let body = match body(request).await {
        Ok(body) => body,
        Err(refused) => return refused,
    };
    let Ok(Question { revision }) = serde_json::from_slice(&body) else {
        return refuse(StatusCode::BAD_REQUEST, "error unmarshalling request");
    };
    let kv = member.store.kv().clone();
    match member.background.run(move || kv.hash_kv(revision)).await {
        Some(Ok(found)) => {
            let json = hash_json(&found);
            with_cluster_id(member, typed(StatusCode::OK, "application/json", json))
        }
        Some(Err(error)) => {
            log::warning!(
                "failed to get hashKV",
                "requested-revision" = revision,
                "error" = error.to_string()
            );
            refuse(StatusCode::BAD_REQUEST, &error.to_string())
        }
        None => refuse(StatusCode::INTERNAL_SERVER_ERROR, error::STOPPED.message.as_ref()),
    }
}

/// Go's JSON of the protobuf struct: zero fields are left out.
fn hash_json(found: &mvcc::HashKv) -> String {
    let field = |name: &str, value: i64| match value {
        0 => String::new(),
        value => format!(",\"{name}\":{value}"),
    };
    format!(
        "{{\"header\":{{{}}}{}{}{}}}",
        field("revision", found.revision).trim_start_matches(','),
        field("hash", found.hash.into()),
        field("compact_revision", found.compact_revision),
        field("hash_revision", found.hash_revision),
    )
}

async fn downgrade_enabled(member: &Arc<Member>, method: &Method) -> Response<Body> {
    if method != Method::GET {
        return method_not_allowed("GET");
    }
    let response = match member.linearize().await {
        Ok(()) => {
            let text = if member.store.members().downgrade.enabled { "true" } else { "false" };
            typed(StatusCode::OK, "text/plain", text)
        }
        Err(status) => {
            refuse(StatusCode::INTERNAL_SERVER_ERROR, &format!("failed linearized read: {}", status.message))
        }
    };
    with_cluster_id(member, response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_written_as_go_writes_it() {
        let mut hash = mvcc::HashKv { hash: 123, compact_revision: 4, revision: 7, hash_revision: 5 };
        let full = r#"{"header":{"revision":7},"hash":123,"compact_revision":4,"hash_revision":5}"#;
        assert_eq!(hash_json(&hash), full);
        hash = mvcc::HashKv { hash: 0, compact_revision: -1, revision: 0, hash_revision: 0 };
        assert_eq!(hash_json(&hash), r#"{"header":{},"compact_revision":-1}"#);
    }
}
