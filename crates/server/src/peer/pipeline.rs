//! Messages to a peer as single requests, for when there is no stream (formats 5.4).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use raft::Message;
use tokio::sync::{Mutex, mpsc};
use wal::codec;

use super::{Peer, Peers};
use crate::log;

/// Messages that wait to be sent.
pub(super) const WAITING_MAX: usize = 64;
/// Requests under way.
const PARALLEL: usize = 4;
/// How long one may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest answer that is looked at.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Sends what comes over `waiting`.
pub(super) fn start(
    peers: &Peers,
    peer: &Arc<Peer>,
    waiting: mpsc::Receiver<Message>,
) -> Vec<tokio::task::AbortHandle> {
    log::info!(
        "started HTTP pipelining with remote peer",
        "local-member-id" = peers.identity().id.to_string(),
        "remote-peer-id" = peer.id.to_string()
    );
    let waiting = Arc::new(Mutex::new(waiting));
    (0..PARALLEL).map(|_| peers.spawn(run(peers.clone(), peer.clone(), waiting.clone()))).collect()
}

async fn run(peers: Peers, peer: Arc<Peer>, waiting: Arc<Mutex<mpsc::Receiver<Message>>>) {
    loop {
        let next = waiting.lock().await.recv().await;
        let Some(message) = next else { return };
        let url = peer.url();
        match post(&peers, &peer, &message, &url).await {
            Ok(()) => peer.reached(),
            Err(why) => {
                peer.url_failed(&url);
                peer.missed(&why);
                peers.unreachable(peer.id);
            }
        }
    }
}

async fn post(peers: &Peers, peer: &Peer, message: &Message, url: &str) -> Result<(), String> {
    let body = Bytes::from(codec::encode_message(message));
    let len = body.len() as u64;
    let request = request(peers, "/raft", "application/protobuf", body);
    let response = peers.dialer().request(url, request, ANSWER_BYTES_MAX, TIMEOUT).await;
    let response = response.map_err(|error| error.to_string())?;
    judge(peers, peer, response.status(), response.body())?;
    peer.sent_bytes.add(len);
    Ok(())
}

/// A POST that introduces this member.
pub(super) fn request<B>(peers: &Peers, path: &'static str, kind: &'static str, body: B) -> Request<B> {
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = http::Uri::from_static(path);
    request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    peers.identity().introduce(request.headers_mut());
    request
}

/// What the answer to a POST means.
pub(super) fn judge(peers: &Peers, peer: &Peer, status: StatusCode, body: &Bytes) -> Result<(), String> {
    let reason = String::from_utf8_lossy(body).trim_end().to_owned();
    match status {
        StatusCode::NO_CONTENT | StatusCode::OK => Ok(()),
        StatusCode::FORBIDDEN => {
            (peers.0.links.removed)();
            Err("the member has been permanently removed from the cluster".into())
        }
        StatusCode::PRECONDITION_FAILED if reason == "incompatible version" => {
            log::error!("request sent was ignored by peer", "remote-peer-id" = peer.id.to_string());
            Err(reason)
        }
        StatusCode::PRECONDITION_FAILED if reason == "cluster ID mismatch" => {
            log::error!(
                "request sent was ignored due to cluster ID mismatch",
                "remote-peer-id" = peer.id.to_string(),
                "local-member-cluster-id" = format!("{:x}", peers.identity().cluster_id)
            );
            Err(reason)
        }
        other => Err(format!("unexpected http status {other} while posting to peer {}: {reason}", peer.id)),
    }
}
