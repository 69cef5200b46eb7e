//! Asks a peer now and then whether it is there, and how long the way is. For metrics and the log alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode};

use super::{Peer, Peers};
use crate::log;
use crate::stats::METRICS;

/// Pause between two probes.
const INTERVAL: Duration = Duration::from_secs(4);
/// How often what is wrong is told.
const NOTICE: Duration = Duration::from_secs(30);
/// Longest answer that is looked at.
const ANSWER_BYTES_MAX: usize = 4096;

/// Probes until the task is ended.
pub(super) async fn run(peers: Peers, peer: Arc<Peer>) {
    let took = METRICS.etcd_network_peer_round_trip_time_seconds.with(&[&peer.id.to_string()]);
    let mut noticed = Instant::now();
    loop {
        tokio::time::sleep(INTERVAL).await;
        for url in peer.urls().iter() {
            let start = Instant::now();
            let request = Request::get("/raft/probing").body(Bytes::new()).unwrap_or_default();
            let answer = peers.dialer().request(url, request, ANSWER_BYTES_MAX, INTERVAL).await;
            let why = match answer {
                Ok(response) if response.status() == StatusCode::OK => {
                    took.observe_time(start.elapsed());
                    continue;
                }
                Ok(response) => format!("unexpected http status {}", response.status()),
                Err(error) => error.to_string(),
            };
            if noticed.elapsed() >= NOTICE {
                noticed = Instant::now();
                log::warning!(
                    "prober detected unhealthy status",
                    "round-tripper-name" = "ROUND_TRIPPER_RAFT_MESSAGE",
                    "remote-peer-id" = peer.id.to_string(),
                    "rtt" = start.elapsed(),
                    "error" = why
                );
            }
        }
    }
}
