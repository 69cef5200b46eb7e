//! A stream from a peer: dialed by this member, again and again.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request, StatusCode};
use hyper::body::Incoming;
use raft::MemberId;
use thiserror::Error;

use super::codec::{self, Decoder, Kind};
use super::{Peer, Peers, client, identity};
use crate::log;
use crate::rpc::body::Body;
use crate::stats::METRICS;

/// Pause between two tries.
const RETRY: Duration = Duration::from_millis(100);
/// Longest reason for a refusal that is looked at.
const REASON_BYTES_MAX: usize = 64 * 1024;

/// Why there is no stream, or no longer.
#[derive(Debug, Error)]
enum Error {
    #[error(transparent)]
    Client(#[from] client::Error),
    #[error(transparent)]
    Codec(#[from] codec::Error),
    #[error("{0}")]
    Broken(#[from] hyper::Error),
    #[error("unhandled error {0:?} when precondition failed")]
    Refused(String),
    #[error("unexpected http status {0}")]
    Status(StatusCode),
    #[error("the member has been permanently removed from the cluster")]
    Removed,
    #[error("unsupported stream type")]
    Version,
    #[error("EOF")]
    Ended,
}

/// Keeps a stream of one kind from `peer` up until the task is ended.
pub(super) async fn run(peers: Peers, peer: Arc<Peer>, kind: Kind) {
    let (local, remote) = (peers.identity().id, peer.id);
    log::info!(
        "started stream reader with remote peer",
        "stream-reader-type" = kind.shown(),
        "local-member-id" = local.to_string(),
        "remote-peer-id" = remote.to_string()
    );
    loop {
        let url = peer.url();
        let error = match dial(&peers, remote, kind, &url).await {
            Ok(body) => {
                peer.reached();
                told(kind, local, remote, None);
                let error = read(&peers, &peer, kind, body).await;
                told(kind, local, remote, Some(&error));
                METRICS.etcd_network_peer_received_failures_total.with(&[&remote.to_string()]).inc();
                error
            }
            Err(error) => {
                peer.url_failed(&url);
                error
            }
        };
        peer.missed(&format_args!("failed to dial or read {} from peer {remote}: {error}", kind.shown()));
        if matches!(error, Error::Removed) {
            (peers.0.links.removed)();
            return;
        }
        tokio::time::sleep(RETRY).await;
    }
}

fn told(kind: Kind, local: MemberId, remote: MemberId, error: Option<&Error>) {
    let (kind, local, remote) = (kind.shown(), local.to_string(), remote.to_string());
    match error {
        None => log::info!(
            "established TCP streaming connection with remote peer",
            "stream-reader-type" = kind,
            "local-member-id" = local,
            "remote-peer-id" = remote
        ),
        Some(error) => log::warning!(
            "lost TCP streaming connection with remote peer",
            "stream-reader-type" = kind,
            "local-member-id" = local,
            "remote-peer-id" = remote,
            "error" = error.to_string()
        ),
    }
}

async fn dial(peers: &Peers, remote: MemberId, kind: Kind, url: &str) -> Result<Incoming, Error> {
    let own = peers.identity();
    let mut request = Request::new(Body::Empty);
    *request.uri_mut() =
        format!("/raft/stream/{}/{}", kind.path(), own.id).parse().map_err(|_| Error::Ended)?;
    own.introduce(request.headers_mut());
    if let Ok(to) = HeaderValue::from_str(&remote.to_string()) {
        request.headers_mut().insert(identity::RAFT_TO, to);
    }
    let patience = peers.dialer().read_timeout();
    let answered = tokio::time::timeout(patience, peers.dialer().send(url, request)).await;
    let response = answered.map_err(|_| client::Error::Timeout)??;
    match response.status() {
        StatusCode::OK if identity::said(response.headers(), identity::SERVER_VERSION).is_empty() => {
            Err(Error::Version)
        }
        StatusCode::OK => Ok(response.into_body()),
        StatusCode::GONE => Err(Error::Removed),
        StatusCode::PRECONDITION_FAILED => {
            let reason = client::collect(response.into_body(), REASON_BYTES_MAX);
            let reason =
                tokio::time::timeout(patience, reason).await.map_err(|_| client::Error::Timeout)??;
            Err(Error::Refused(String::from_utf8_lossy(&reason).trim_end().to_owned()))
        }
        other => Err(Error::Status(other)),
    }
}

/// Reads messages until the stream is lost.
async fn read(peers: &Peers, peer: &Peer, kind: Kind, mut body: Incoming) -> Error {
    let (mut decoder, mut received) = (Decoder::new(kind, peers.identity().id, peer.id), Vec::new());
    let patience = peers.dialer().read_timeout();
    loop {
        let piece = match tokio::time::timeout(patience, client::next_piece(&mut body)).await {
            Err(_) => return client::Error::Timeout.into(),
            Ok(None) => return Error::Ended,
            Ok(Some(Err(error))) => return error.into(),
            Ok(Some(Ok(piece))) => piece,
        };
        peer.received_bytes.add(piece.len() as u64);
        decoder.push(piece);
        let broken = loop {
            match decoder.next_message() {
                Ok(Some(message)) => received.push(message),
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        peers.receive_all(&mut received);
        if let Some(error) = broken {
            return error.into();
        }
    }
}
