//! Talking to the other members of the cluster over etcd's peer protocol (formats 5).
//!
//! Each member dials two streams to every other and reads messages from the answers ([`dial`]); it writes on the
//! answers to what the others dialed ([`lane`]). What no stream is there for goes out as single requests
//! ([`pipeline`]). All of it runs on one thread of its own, beside the listener for peers, so that neither clients nor
//! the disk hold up a heartbeat.
//!
//! Bounds: see docs/bounds.md. What is full drops, and tells the node that the peer was not reached.

pub mod ask;
pub mod asked;
pub mod client;
pub mod codec;
mod contact;
mod dial;
pub mod identity;
pub mod lane;
mod pipeline;
mod probe;
pub mod snapshot;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use node::Input;
use parking_lot::{Mutex, RwLock};
use raft::{MemberId, Message, MessageKind};
use store::{Members, StoreReader};
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::log;
use crate::notices::hex;
use crate::stats::METRICS;
use crate::thread::mailbox::Sender;
use crate::thread::{apply, raft as raft_thread};
use crate::waiters;
use client::Dialer;
use codec::LastEntries;
pub use contact::Peer;
use identity::Identity;

/// Messages handed over by the owner threads that wait to be given to lanes.
const OUTGOING_MAX: usize = 16 * 1024;
/// What may wait for the raft thread when a message comes: all that clients may have asked for, and as many messages
/// as etcd lets wait. More are dropped.
const RECEIVED_MAX: usize = waiters::IN_FLIGHT_MAX + 8 * 1024;
/// Members heard of that this one does not know as such yet.
const REMOTES_MAX: usize = 16;

/// The other members. Cheap to clone.
#[derive(Clone)]
pub struct Peers(Arc<Shared>);

/// What the transport is made with.
pub struct Links {
    /// Who this member is.
    pub identity: Identity,
    /// How others are dialed.
    pub dialer: Dialer,
    /// Where snapshots are received.
    pub files: snapshot::Files,
    /// Messages go here.
    pub helm: Arc<raft_thread::Helm>,
    /// Wishes for snapshots go here.
    pub apply: Sender<apply::Job>,
    /// Who was removed.
    pub store: StoreReader,
    /// Where the transport's tasks run.
    pub runtime: Handle,
    /// Called when others say that this member was removed.
    pub removed: Box<dyn Fn() + Send + Sync>,
}

struct Shared {
    links: Links,
    table: RwLock<BTreeMap<MemberId, Arc<Peer>>>,
    outgoing: Mutex<Vec<Message>>,
    arrived: Notify,
    entries: Mutex<LastEntries>,
}

/// Why a message from a peer was not taken, in etcd's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Rejected {
    #[error("cannot process message from removed member")]
    Removed,
    #[error("cannot process message to mismatch member")]
    Mismatch,
    #[error("cannot process a snapshot without its database")]
    LoneSnapshot,
}

impl Peers {
    /// Begins to talk to `members`.
    pub fn start(links: Links, members: &Members) -> Peers {
        let peers = Peers(Arc::new(Shared {
            links,
            table: RwLock::default(),
            outgoing: Mutex::default(),
            arrived: Notify::new(),
            entries: Mutex::default(),
        }));
        peers.set_members(members);
        peers.spawn(peers.clone().dispatch());
        peers
    }

    /// This member.
    pub fn identity(&self) -> &Identity {
        &self.0.links.identity
    }

    /// How others are dialed.
    pub fn dialer(&self) -> &Dialer {
        &self.0.links.dialer
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> tokio::task::AbortHandle {
        self.0.links.runtime.spawn(task).abort_handle()
    }

    /// The membership is this one now.
    pub fn set_members(&self, members: &Members) {
        let own = self.identity().id;
        let mut table = self.0.table.write();
        let gone = |id: &MemberId, peer: &Arc<Peer>| !members.list.contains_key(&id.0) && !peer.is_remote;
        let ends = |(id, peer): &(&MemberId, &Arc<Peer>)| gone(id, peer) || members.removed.contains(&id.0);
        let ended: Vec<MemberId> = table.iter().filter(ends).map(|(id, _)| *id).collect();
        for id in ended {
            if let Some(peer) = table.remove(&id) {
                peer.stop();
            }
            log::info!(
                "removed remote peer",
                "local-member-id" = own.to_string(),
                "removed-remote-peer-id" = id.to_string()
            );
        }
        for member in members.list.values().filter(|member| member.id != own.0) {
            let id = MemberId(member.id);
            match table.get(&id) {
                Some(peer) if !peer.is_remote => peer.set_urls(&member.peer_urls, own),
                known => {
                    if let Some(remote) = known {
                        remote.stop();
                    }
                    table.insert(id, Peer::start(self, id, &member.peer_urls, false));
                }
            }
        }
    }

    /// A member that this one may answer although it does not know it yet.
    pub fn add_remote(&self, id: MemberId, urls: &[String]) {
        if urls.is_empty() || id == self.identity().id || self.0.table.read().contains_key(&id) {
            return;
        }
        let mut table = self.0.table.write();
        let remotes = table.values().filter(|peer| peer.is_remote).count();
        if remotes < REMOTES_MAX && !table.contains_key(&id) && !self.is_removed(id) {
            table.insert(id, Peer::start(self, id, urls, true));
        }
    }

    /// This one was a member and is no longer.
    pub fn is_removed(&self, id: MemberId) -> bool {
        self.0.links.store.members().removed.contains(&id.0)
    }

    /// A member other than this one.
    pub fn get(&self, id: MemberId) -> Option<Arc<Peer>> {
        self.0.table.read().get(&id).filter(|peer| !peer.is_remote).cloned()
    }

    /// Since when a member has been reachable; `None` if it is not.
    pub fn active_since(&self, id: MemberId) -> Option<Instant> {
        self.get(id)?.active_since()
    }

    /// How a sender is called in log lines and metrics: strangers all the same.
    pub fn shown(&self, from: Option<MemberId>) -> String {
        let known = from.filter(|id| self.0.table.read().contains_key(id));
        known.map_or_else(|| "unknown".to_owned(), |id| id.to_string())
    }

    /// Ends all streams; what runs on goes down with its runtime.
    pub fn stop(&self) {
        for peer in self.0.table.read().values() {
            peer.stop();
        }
    }

    /// Takes a message that came from a peer.
    pub fn receive(&self, message: Message) -> Result<(), Rejected> {
        if message.kind == MessageKind::Snap {
            return Err(Rejected::LoneSnapshot);
        }
        self.take(message)
    }

    /// Takes messages that came together. Who sends what is not for this member was told so in the log.
    pub fn receive_all(&self, messages: &mut Vec<Message>) {
        let mut inputs = Vec::with_capacity(messages.len());
        for message in messages.drain(..).filter(|message| message.kind != MessageKind::Snap) {
            if self.is_for_us(&message, inputs.len()) == Ok(true) {
                inputs.push(Input::Message(message));
            }
        }
        self.0.links.helm.take(inputs);
    }

    /// The same, for a snapshot whose database has been received, too.
    fn take(&self, message: Message) -> Result<(), Rejected> {
        if self.is_for_us(&message, 0)? {
            self.input(Input::Message(message));
        }
        Ok(())
    }

    /// Whether the raft thread is to see it, beside so many `others`; it may be one that is to be passed over.
    fn is_for_us(&self, message: &Message, others: usize) -> Result<bool, Rejected> {
        if self.is_removed(message.from) {
            log::warning!(
                "rejected Raft message from removed member",
                "local-member-id" = self.identity().id.to_string(),
                "removed-member-id" = message.from.to_string()
            );
            return Err(Rejected::Removed);
        }
        if message.to != self.identity().id {
            log::warning!(
                "rejected Raft message to mismatch member",
                "local-member-id" = self.identity().id.to_string(),
                "mismatch-member-id" = message.to.to_string()
            );
            return Err(Rejected::Mismatch);
        }
        if message.kind.is_local() {
            return Ok(false);
        }
        if self.0.links.helm.waiting() + others >= RECEIVED_MAX {
            let from = self.shown(Some(message.from));
            METRICS.etcd_network_peer_received_failures_total.with(&[&from]).inc();
            log::warning!(
                "dropped internal Raft message since receiving buffer is full (overloaded network)",
                "message-type" = format!("Msg{:?}", message.kind),
                "local-member-id" = self.identity().id.to_string(),
                "from" = message.from.to_string(),
                "remote-peer-id" = message.from.to_string(),
                "remote-peer-active" = self.active_since(message.from).is_some()
            );
            return Ok(false);
        }
        Ok(true)
    }

    fn input(&self, input: Input) {
        // A thread that has ended is a member that is going down.
        self.0.links.helm.push(raft_thread::Job::Input(input));
    }

    /// A message to `peer` was lost.
    fn unreachable(&self, peer: MemberId) {
        METRICS.etcd_network_peer_sent_failures_total.with(&[&peer.to_string()]).inc();
        self.input(Input::Unreachable { peer });
    }

    /// Gives what the owner threads hand over to the lanes.
    async fn dispatch(self) {
        loop {
            self.0.arrived.notified().await;
            let messages = std::mem::take(&mut *self.0.outgoing.lock());
            for message in messages {
                self.route(message);
            }
        }
    }

    fn route(&self, message: Message) {
        let Some(peer) = self.0.table.read().get(&message.to).cloned() else { return };
        let (kind, to) = (message.kind, message.to);
        if !peer.send(message) {
            log::warning!(
                "dropped internal Raft message since sending buffer is full",
                "message-type" = format!("Msg{kind:?}"),
                "local-member-id" = self.identity().id.to_string(),
                "from" = self.identity().id.to_string(),
                "remote-peer-id" = to.to_string(),
                "remote-peer-active" = peer.active_since().is_some()
            );
            self.unreachable(to);
        }
    }
}

impl raft_thread::Outbox for Peers {
    fn send(&mut self, messages: Vec<Message>) {
        let mut outgoing = self.0.outgoing.lock();
        if outgoing.len() + messages.len() > OUTGOING_MAX {
            drop(outgoing);
            messages.iter().for_each(|message| self.unreachable(message.to));
            return;
        }
        if outgoing.is_empty() {
            *outgoing = messages;
        } else {
            outgoing.extend(messages);
        }
        drop(outgoing);
        self.0.arrived.notify_one();
    }

    fn send_snapshot(&mut self, message: Message) {
        // Only apply can say what the newest state is, and pin it.
        let _ = self.0.links.apply.push(apply::Job::SendSnapshot(message));
    }
}

/// An id from its text in lower-case hex.
pub fn parse_id(text: &str) -> Option<MemberId> {
    u64::from_str_radix(text, 16).ok().map(MemberId).filter(|id| hex(id.0) == text.to_ascii_lowercase())
}
