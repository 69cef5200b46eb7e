//! One other member: where it is, how it is reached, since when it answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use raft::{MemberId, Message, MessageKind};
use tokio::sync::mpsc;

use super::codec::Kind;
use super::lane::{Lane, Refused};
use super::{Peers, dial, pipeline, probe};
use crate::log;
use crate::metrics::Counter;
use crate::stats::METRICS;

/// Another member.
pub struct Peer {
    /// Its id.
    pub id: MemberId,
    /// It is only answered, by single requests: this member does not know it as one of the cluster yet.
    pub is_remote: bool,
    local: MemberId,
    urls: Mutex<Arc<Vec<String>>>,
    /// Which of them.
    tried: AtomicUsize,
    messages: Lane,
    appends: Lane,
    pipeline: mpsc::Sender<Message>,
    active: Mutex<Option<Instant>>,
    tasks: Mutex<Vec<tokio::task::AbortHandle>>,
    /// Bytes sent to it.
    pub sent_bytes: Arc<Counter>,
    /// Bytes received from it.
    pub received_bytes: Arc<Counter>,
}

impl Peer {
    /// Begins to talk to a member.
    pub(super) fn start(peers: &Peers, id: MemberId, urls: &[String], is_remote: bool) -> Arc<Peer> {
        let local = peers.identity().id;
        let (local_text, text) = (local.to_string(), id.to_string());
        log::info!("starting remote peer", "remote-peer-id" = text.clone());
        let (pipeline, waiting) = mpsc::channel(pipeline::WAITING_MAX);
        let peer = Arc::new(Peer {
            id,
            is_remote,
            local,
            urls: Mutex::new(Arc::new(urls.to_vec())),
            tried: AtomicUsize::new(0),
            messages: Lane::default(),
            appends: Lane::default(),
            pipeline,
            active: Mutex::new(None),
            tasks: Mutex::default(),
            sent_bytes: METRICS.etcd_network_peer_sent_bytes_total.with(&[&text]),
            received_bytes: METRICS.etcd_network_peer_received_bytes_total.with(&[&text]),
        });
        let mut tasks = pipeline::start(peers, &peer, waiting);
        if !is_remote {
            METRICS.etcd_network_known_peers.with(&[&local_text, &text]).set(1.0);
            METRICS.etcd_network_active_peers.with(&[&local_text, &text]).set(0.0);
            for kind in Kind::ALL {
                tasks.push(peers.spawn(dial::run(peers.clone(), peer.clone(), kind)));
            }
            tasks.push(peers.spawn(probe::run(peers.clone(), peer.clone())));
        }
        *peer.tasks.lock() = tasks;
        let what = if is_remote { "added new remote peer" } else { "added remote peer" };
        log::info!(
            what,
            "local-member-id" = local_text,
            "remote-peer-id" = text,
            "remote-peer-urls" = log::Value::list(urls)
        );
        peer
    }

    /// Its addresses changed, perhaps.
    pub(super) fn set_urls(&self, urls: &[String], local: MemberId) {
        if self.urls()[..] == *urls {
            return;
        }
        *self.urls.lock() = Arc::new(urls.to_vec());
        log::info!(
            "updated remote peer",
            "local-member-id" = local.to_string(),
            "updated-remote-peer-id" = self.id.to_string(),
            "updated-remote-peer-urls" = log::Value::list(urls)
        );
    }

    /// The one of its URLs that is tried now.
    pub fn url(&self) -> String {
        let urls = self.urls();
        urls.get(self.tried.load(Ordering::Relaxed) % urls.len().max(1)).cloned().unwrap_or_default()
    }

    /// It did not answer at `url`: the next one is tried.
    pub(super) fn url_failed(&self, url: &str) {
        if self.url() == url {
            self.tried.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// All of its URLs.
    pub fn urls(&self) -> Arc<Vec<String>> {
        self.urls.lock().clone()
    }

    /// Ends everything with it.
    pub(super) fn stop(&self) {
        log::info!("stopping remote peer", "remote-peer-id" = self.id.to_string());
        self.tasks.lock().drain(..).for_each(|task| task.abort());
        self.messages.close();
        self.appends.close();
        if !self.is_remote {
            let labels = [&*self.local.to_string(), &*self.id.to_string()];
            METRICS.etcd_network_known_peers.with(&labels).set(0.0);
            METRICS.etcd_network_active_peers.with(&labels).set(0.0);
        }
        log::info!("stopped remote peer", "remote-peer-id" = self.id.to_string());
    }

    pub(super) fn lane(&self, kind: Kind) -> &Lane {
        match kind {
            Kind::Message => &self.messages,
            Kind::MsgApp => &self.appends,
        }
    }

    /// Sends by the best way there is. False if there is no room.
    pub(super) fn send(&self, message: Message) -> bool {
        let lanes = [Kind::MsgApp, Kind::Message];
        let lanes = if message.kind == MessageKind::App { &lanes[..] } else { &lanes[1..] };
        let mut message = message;
        for kind in lanes {
            match self.lane(*kind).push(message) {
                Ok(()) => return true,
                Err(Refused::Full) => return false,
                Err(Refused::Detached(back)) => message = *back,
            }
        }
        self.pipeline.try_send(message).is_ok()
    }

    /// Since when it has been reachable.
    pub fn active_since(&self) -> Option<Instant> {
        *self.active.lock()
    }

    /// It was reached.
    pub(super) fn reached(&self) {
        let mut active = self.active.lock();
        if active.is_none() && !self.is_remote {
            *active = Some(Instant::now());
            log::info!("peer became active", "peer-id" = self.id.to_string());
            let labels = [&*self.local.to_string(), &*self.id.to_string()];
            METRICS.etcd_network_active_peers.with(&labels).set(1.0);
        }
    }

    /// It was not reached.
    pub(super) fn missed(&self, why: &dyn std::fmt::Display) {
        if self.active.lock().take().is_some() {
            log::warning!(
                "peer became inactive (message send to peer failed)",
                "peer-id" = self.id.to_string(),
                "error" = why.to_string()
            );
            let labels = [&*self.local.to_string(), &*self.id.to_string()];
            METRICS.etcd_network_active_peers.with(&labels).set(0.0);
            METRICS.etcd_network_disconnected_peers_total.with(&labels).inc();
        }
    }
}
