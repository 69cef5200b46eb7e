//! A running member as its handlers see it: read the store, propose to the cluster, ask who leads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes};
use node::{Input, Proposal, ProposalError};
use parking_lot::Mutex;
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use proto::etcdserverpb as pb;
use store::{Identity, Response, Store, StoreReader};
use tokio::sync::{Notify, oneshot, watch};

use ::raft::{MemberId, SoftState, Term};

use crate::applied::{Applied, Leadership};
use crate::config::Config;
use crate::notices::hex;
use crate::peer::Peers;
use crate::rpc::error::{self, Status};
use crate::task::lease::Leases;
use crate::task::watch::Hub;
use crate::thread::background::Background;
use crate::thread::mailbox::Sender;
use crate::thread::{apply, raft};
use crate::tokens::Tokens;
use crate::waiters::{Answer, RequestIds, Ticket, Waiters};

/// Entries apply may be behind commit before new proposals are refused.
const APPLY_GAP_MAX: u64 = 5000;
/// The same for requests that make room, with feature PriorityRequest.
const APPLY_GAP_PRIORITY_MAX: u64 = 10_000;
/// How long a member that has handed leadership over goes on before it stops, in heartbeats.
const HANDOVER_TICKS: u32 = 3;
/// How long a read round waits before it asks again.
const READ_RETRY: Duration = Duration::from_millis(500);

/// Who asks: an owned [`Identity`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Who {
    /// User name, empty for nobody.
    pub user: String,
    /// Auth revision at authentication, 0 for nobody.
    pub revision: u64,
}

impl Who {
    /// In the store's form.
    pub fn identity(&self) -> Identity<'_> {
        Identity { user: &self.user, revision: self.revision }
    }
}

/// Field numbers of `InternalRaftRequest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
#[repr(u32)]
pub enum Field {
    Put = 4,
    DeleteRange = 5,
    Txn = 6,
    Compaction = 7,
    LeaseGrant = 8,
    LeaseRevoke = 9,
    Alarm = 10,
    LeaseCheckpoint = 11,
    AuthEnable = 1000,
    AuthDisable = 1011,
    Authenticate = 1012,
    AuthStatus = 1013,
    UserAdd = 1100,
    UserDelete = 1101,
    UserGet = 1102,
    UserChangePassword = 1103,
    UserGrantRole = 1104,
    UserRevokeRole = 1105,
    UserList = 1106,
    RoleList = 1107,
    RoleAdd = 1200,
    RoleDelete = 1201,
    RoleGet = 1202,
    RoleGrantPermission = 1203,
    RoleRevokePermission = 1204,
    ClusterVersionSet = 1300,
    ClusterMemberAttrSet = 1301,
    DowngradeInfoSet = 1302,
}

/// Everything handlers and tasks share.
pub struct Member {
    /// As configured.
    pub config: Arc<Config>,
    /// This member.
    pub id: u64,
    /// Its cluster.
    pub cluster_id: u64,
    /// The version announced, "3.7.1" unless another one is emulated.
    pub version: &'static str,
    /// The other members.
    pub peers: Peers,
    /// The raft thread, and its work.
    pub helm: Arc<raft::Helm>,
    /// The apply thread.
    pub apply: Sender<apply::Job>,
    /// Who waits for answers.
    pub waiters: Arc<Waiters>,
    /// Request and lease ids.
    pub ids: RequestIds,
    /// Progress of apply.
    pub applied: Arc<Applied>,
    /// Role and leader.
    pub leadership: Arc<Leadership>,
    /// Views of the store.
    pub store: StoreReader,
    /// Watches.
    pub hub: Hub,
    /// The lease clock.
    pub leases: Leases,
    /// Auth tokens.
    pub tokens: Arc<Tokens>,
    /// Reads waiting for a quorum check.
    pub reads: ReadRounds,
    /// Longest a proposal or linearizable read may take.
    pub request_timeout: Duration,
    /// Threads for long work.
    pub background: Background,
    /// True once the member is going down.
    pub stop: watch::Receiver<bool>,
    /// A defragmentation runs.
    pub defragmenting: AtomicBool,
}

impl Member {
    /// Proposes a request and waits until this member has executed it.
    pub async fn propose<M: prost::Message>(
        &self,
        who: &Who,
        field: Field,
        request: &M,
    ) -> Result<Response, Status> {
        self.propose_bytes(who, field, &request.encode_to_vec()).await
    }

    /// As [`Member::propose`], for a request that is already encoded.
    pub async fn propose_bytes(&self, who: &Who, field: Field, request: &[u8]) -> Result<Response, Status> {
        let start = Instant::now();
        let result = self.propose_once(who, field, request, None).await;
        crate::stats::requested(field as u32, start.elapsed(), result.is_ok());
        result
    }

    /// As [`Member::propose`], but only as the leader of this term: never sent on to another one.
    pub async fn propose_as_leader<M: prost::Message>(
        &self,
        term: Term,
        who: &Who,
        field: Field,
        request: &M,
    ) -> Result<Response, Status> {
        self.propose_once(who, field, &request.encode_to_vec(), Some(term)).await
    }

    async fn propose_once(
        &self,
        who: &Who,
        field: Field,
        request: &[u8],
        only_in: Option<Term>,
    ) -> Result<Response, Status> {
        self.check_apply_gap(field)?;
        let ticket = self.waiters.register(&self.ids).ok_or(error::TOO_MANY_REQUESTS)?;
        let id = ticket.id();
        let data = encode_request(id, who, field, request);
        if data.len() as u64 > self.config.max_request_bytes {
            return Err(error::REQUEST_TOO_LARGE);
        }
        let proposal = Proposal { id, data };
        self.hand_over(match only_in {
            Some(term) => Input::ProposeAsLeader { proposal, term },
            None => Input::Propose(proposal),
        })?;
        match self.answer(&ticket).await? {
            Answer::Applied { result, raise_nospace } => {
                if raise_nospace {
                    self.raise_nospace().await;
                }
                Ok(result?)
            }
            Answer::Refused(why) => Err(refused(why)),
            _ => Err(error::TIMEOUT),
        }
    }

    /// Proposes a change of membership; answers with the member list after it.
    pub async fn propose_conf_change(
        &self,
        kind: ::raft::ConfChangeKind,
        node: u64,
        context: Vec<u8>,
    ) -> Result<Vec<store::Member>, Status> {
        let ticket = self.waiters.register(&self.ids).ok_or(error::TOO_MANY_REQUESTS)?;
        let id = ticket.id();
        let change =
            ::raft::ConfChange { id, kind, node_id: ::raft::MemberId(node), context: context.into() };
        self.push(Input::ProposeConfChange { id, change })?;
        match self.answer(&ticket).await? {
            Answer::ConfChanged(result) => {
                let members = result?;
                crate::notices::conf_changed(self.id, kind, node);
                Ok(members)
            }
            Answer::Refused(why) => Err(refused(why)),
            _ => Err(error::TIMEOUT),
        }
    }

    /// Whose token this is; nobody while auth is off or without a token.
    pub async fn who(&self, token: Option<&str>) -> Result<Who, Status> {
        let auth = self.store.auth();
        let Some(token) = token.filter(|_| auth.enabled) else { return Ok(Who::default()) };
        let token = token.strip_prefix("Bearer ").unwrap_or(token);
        self.tokens.resolve(token, &self.applied, auth.revision).await.ok_or(error::INVALID_AUTH_TOKEN)
    }

    /// Where other members reach the leader, unless this member leads itself or knows of none.
    pub fn leader_urls(&self) -> Option<Vec<String>> {
        let leader = self.leadership.now().leader.0;
        let members = self.store.members();
        (leader != self.id).then(|| members.list.get(&leader).map(|member| member.peer_urls.clone()))?
    }

    /// Returns when a read of the store sees everything that was acknowledged before this call.
    pub async fn linearize(&self) -> Result<(), Status> {
        if self.reads_at_once() {
            return Ok(());
        }
        let joined = self.reads.join();
        match tokio::time::timeout(self.request_timeout, joined).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(error::STOPPED),
            Err(_) => Err(error::TIMEOUT),
        }
    }

    /// A lone voter that has executed the first entry of its own term: whatever was acknowledged is applied here, since
    /// acknowledgements follow apply.
    fn reads_at_once(&self) -> bool {
        let soft = self.leadership.now();
        soft.role == ::raft::Role::Leader
            && *self.applied.leader_starts().borrow() == soft.term.0
            // A leader that was removed still believes to lead while the only voter left is another one.
            && self.store.members().voters().eq([self.id])
    }

    /// Waits until this member has applied what it knows to be committed, `within` at most.
    pub async fn catch_up(&self, within: Duration) {
        let reached = self.applied.reach(self.leadership.commit_index());
        // Whoever asks then goes on with what there is.
        let _ = tokio::time::timeout(within, reached).await;
    }

    /// Something committed is not applied here yet.
    pub fn lags(&self) -> bool {
        self.applied.index() < self.leadership.commit_index()
    }

    /// Runs `task` on the apply thread.
    pub async fn with_store<T: Send + 'static>(
        &self,
        task: impl FnOnce(&mut Store) -> T + Send + 'static,
    ) -> Result<T, Status> {
        let (to, from) = oneshot::channel();
        let task: apply::Task = Box::new(move |store| {
            // Whoever asked may have left.
            let _ = to.send(task(store));
        });
        self.apply.push(apply::Job::Task(task)).map_err(|_| error::STOPPED)?;
        from.await.map_err(|_| error::STOPPED)
    }

    /// Waits until the file holds all that is applied now; the apply thread goes on meanwhile.
    pub async fn flush(&self) -> Result<(), Status> {
        let (to, from) = oneshot::channel();
        let flushed: apply::Flushed = Box::new(move || {
            // Whoever asked may have left.
            let _ = to.send(());
        });
        self.apply.push(apply::Job::Flush(flushed)).map_err(|_| error::STOPPED)?;
        from.await.map_err(|_| error::STOPPED)
    }

    /// The node's picture of itself.
    pub async fn node_status(&self) -> Result<node::Status, Status> {
        let (to, from) = oneshot::channel();
        self.tell_raft(raft::Job::Status(to))?;
        from.await.map_err(|_| error::STOPPED)
    }

    /// Fills ids and term into a response header, and the revision unless it is there already.
    pub fn fill(&self, header: &mut Option<pb::ResponseHeader>) {
        let header = header.get_or_insert_default();
        self.fill_ids(header);
        if header.revision == 0 {
            header.revision = self.store.kv().current_revision();
        }
    }

    /// Has `to` lead from now on. Returns when it does.
    pub async fn transfer_leadership(&self, to: u64) -> Result<(), Status> {
        let former = self.leadership.now().leader;
        let start = Instant::now();
        crate::log::info!(
            "leadership transfer starting",
            "local-member-id" = hex(self.id),
            "current-leader-member-id" = hex(former.0),
            "transferee-member-id" = hex(to)
        );
        let mut changes = self.leadership.changes();
        self.push(Input::TransferLeader { to: MemberId(to) })?;
        let moved = changes.wait_for(|soft| soft.leader == MemberId(to));
        if tokio::time::timeout(self.request_timeout, moved).await.is_err() {
            return Err(error::TIMEOUT_TRANSFER);
        }
        crate::log::info!(
            "leadership transfer finished",
            "local-member-id" = hex(self.id),
            "former-leader-member-id" = hex(former.0),
            "new-leader-member-id" = hex(to),
            "took" = start.elapsed()
        );
        Ok(())
    }

    /// Before a planned stop: somebody else leads, so that nobody has to wait for an election.
    pub async fn hand_over_leadership(&self) {
        let soft = self.leadership.now();
        let (local, leader) = (hex(self.id), hex(soft.leader.0));
        if soft.leader.0 != self.id {
            crate::log::info!(
                "skipped leadership transfer; local server is not leader",
                "local-member-id" = local,
                "current-leader-member-id" = leader
            );
            return;
        }
        if self.store.members().voters().count() <= 1 {
            crate::log::info!(
                "skipped leadership transfer for single voting member cluster",
                "local-member-id" = local,
                "current-leader-member-id" = leader
            );
            return;
        }
        let moved = match self.best_successor().await {
            Some(to) => self.transfer_leadership(to).await,
            None => Err(error::UNHEALTHY),
        };
        if moved.is_ok() {
            // Others may have sent proposals here before they knew: these are still passed on.
            tokio::time::sleep(self.config.tick() * HANDOVER_TICKS).await;
        }
        if let Err(status) = moved {
            crate::log::warning!(
                "leadership transfer failed",
                "local-member-id" = local,
                "error" = status.message.as_ref()
            );
        }
    }

    /// The voter, other than this member, that is heard of and has most of the log.
    async fn best_successor(&self) -> Option<u64> {
        let status = self.node_status().await.ok()?;
        let others = status.peers.iter().filter(|peer| peer.id.0 != self.id);
        let able = others.filter(|peer| !peer.is_learner && peer.recent_active);
        able.max_by_key(|peer| peer.matched).map(|peer| peer.id.0)
    }

    /// A header with ids, term and revision.
    pub fn header(&self) -> Option<pb::ResponseHeader> {
        let mut header = None;
        self.fill(&mut header);
        header
    }

    /// A header without a revision, as cluster answers have.
    pub fn bare_header(&self) -> Option<pb::ResponseHeader> {
        let mut header = pb::ResponseHeader::default();
        self.fill_ids(&mut header);
        Some(header)
    }

    fn fill_ids(&self, header: &mut pb::ResponseHeader) {
        header.cluster_id = self.cluster_id;
        header.member_id = self.id;
        header.raft_term = self.applied.term();
    }

    /// This member is a learner.
    pub fn is_learner(&self) -> bool {
        self.store.members().list.get(&self.id).is_some_and(|m| m.is_learner)
    }

    /// Tells the cluster that this member is out of space. Best effort: the next write tries again.
    pub async fn raise_nospace(&self) {
        let request = pb::AlarmRequest {
            member_id: self.id,
            action: pb::alarm_request::AlarmAction::Activate.into(),
            alarm: pb::AlarmType::Nospace.into(),
        };
        let raised = Box::pin(self.propose(&Who::default(), Field::Alarm, &request)).await;
        if let Err(status) = raised {
            crate::log::warning!("failed to raise alarm", "error" = status.message.as_ref());
        }
    }

    /// The member is going down.
    pub fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Resolves when the member goes down.
    pub async fn stopping(&self) {
        // A closed channel is a member that is gone already.
        let _ = self.stop.clone().wait_for(|stop| *stop).await;
    }

    /// Waits for the answer to a proposal, no longer than etcd would.
    async fn answer(&self, ticket: &Ticket<'_>) -> Result<Answer, Status> {
        match ticket.wait().await {
            Answer::TimedOut => {
                crate::stats::METRICS.etcd_server_proposals_failed_total.inc();
                Err(self.timed_out(ticket.since()))
            }
            Answer::Stopped => Err(error::STOPPED),
            answer => Ok(answer),
        }
    }

    fn timed_out(&self, start: Instant) -> Status {
        if !self.leadership.has_leader() {
            return error::DEADLINE;
        }
        let elected = self.leadership.leader_since();
        let before = Duration::from_millis(2 * self.config.election_ms);
        if start < elected && start + before > elected { error::TIMEOUT_LEADER_FAIL } else { error::TIMEOUT }
    }

    fn check_apply_gap(&self, field: Field) -> Result<(), Status> {
        let priority = field == Field::LeaseRevoke && self.config.features.priority_request;
        let limit = if priority { APPLY_GAP_PRIORITY_MAX } else { APPLY_GAP_MAX };
        if self.leadership.commit_index() > self.applied.index() + limit {
            return Err(error::TOO_MANY_REQUESTS);
        }
        Ok(())
    }

    /// Hands a proposal to the raft thread, or does its work here when nobody is kept waiting by that: two wakes less.
    fn hand_over(&self, proposal: Input) -> Result<(), Status> {
        if !crate::http::alone::is_alone() {
            return self.push(proposal);
        }
        self.helm.in_line(vec![proposal], true).into_iter().try_for_each(|proposal| self.push(proposal))
    }

    /// Hands an input to the raft thread.
    pub fn push(&self, input: Input) -> Result<(), Status> {
        self.tell_raft(raft::Job::Input(input))
    }

    fn tell_raft(&self, job: raft::Job) -> Result<(), Status> {
        if self.helm.push(job) { Ok(()) } else { Err(error::STOPPED) }
    }

    /// Runs a defragmentation flag for as long as the guard lives; `None` when one runs already.
    pub fn begin_defragment(self: &Arc<Member>) -> Option<Defragmenting> {
        (!self.defragmenting.swap(true, Ordering::AcqRel)).then(|| Defragmenting(self.clone()))
    }
}

/// A defragmentation under way.
pub struct Defragmenting(Arc<Member>);

impl Drop for Defragmenting {
    fn drop(&mut self) {
        self.0.defragmenting.store(false, Ordering::Release);
    }
}

fn refused(why: ProposalError) -> Status {
    crate::stats::METRICS.etcd_server_proposals_failed_total.inc();
    match why {
        ProposalError::Dropped => error::PROPOSAL_DROPPED,
        ProposalError::NoLeader => error::DEADLINE,
        ProposalError::TooManyRequests => error::TOO_MANY_REQUESTS,
        ProposalError::ConfChangePending => error::TIMEOUT,
        ProposalError::Stopped => error::STOPPED,
    }
}

/// `InternalRaftRequest` with one request field and a header (formats 4.1). The request's bytes go in as they came.
fn encode_request(id: u64, who: &Who, field: Field, request: &[u8]) -> Bytes {
    let header = pb::RequestHeader { id, username: who.user.clone(), auth_revision: who.revision };
    let header_len = header.encoded_len();
    let framed_len = |number, len: usize| key_len(number) + encoded_len_varint(len as u64) + len;
    // No longer than needed: it becomes `Bytes` as it is.
    let len = framed_len(field as u32, request.len()) + framed_len(100, header_len);
    let mut out = Vec::with_capacity(len);
    let put_request = |out: &mut Vec<u8>| {
        encode_key(field as u32, WireType::LengthDelimited, out);
        encode_varint(request.len() as u64, out);
        out.put_slice(request);
    };
    if (field as u32) < 100 {
        put_request(&mut out);
    }
    encode_key(100, WireType::LengthDelimited, &mut out);
    encode_varint(header_len as u64, &mut out);
    header.encode_raw(&mut out);
    if (field as u32) > 100 {
        put_request(&mut out);
    }
    out.into()
}

/// Linearizable reads in rounds: one quorum check serves all who wait when it starts.
#[derive(Default)]
pub struct ReadRounds {
    waiting: Mutex<Vec<oneshot::Sender<Result<(), Status>>>>,
    arrived: Notify,
}

impl ReadRounds {
    fn join(&self) -> oneshot::Receiver<Result<(), Status>> {
        let (to, from) = oneshot::channel();
        self.waiting.lock().push(to);
        self.arrived.notify_one();
        from
    }

    /// Serves rounds for as long as anybody asks, also while the doors close.
    pub async fn run(member: Arc<Member>) {
        loop {
            member.reads.arrived.notified().await;
            let waiting = std::mem::take(&mut *member.reads.waiting.lock());
            if waiting.is_empty() {
                continue;
            }
            let result = ReadRounds::round(&member).await;
            for slot in waiting {
                // Whoever asked may have left.
                let _ = slot.send(result.clone());
            }
        }
    }

    async fn round(member: &Member) -> Result<(), Status> {
        let deadline = Instant::now() + member.request_timeout;
        let mut changes = member.leadership.changes();
        let leader = member.leadership.now().leader;
        while Instant::now() < deadline {
            let ticket = member.waiters.register(&member.ids).ok_or(error::TOO_MANY_REQUESTS)?;
            member.push(Input::ReadIndex { id: ticket.id() })?;
            tokio::select! {
                answer = ticket.wait() => match answer {
                    Answer::ReadAt(index) => {
                        let left = deadline.saturating_duration_since(Instant::now());
                        let reached = tokio::time::timeout(left, member.applied.reach(index)).await;
                        return reached.map_err(|_| error::TIMEOUT);
                    }
                    Answer::Refused(ProposalError::Stopped) | Answer::Stopped => return Err(error::STOPPED),
                    _ => tokio::time::sleep(Duration::from_millis(20)).await,
                },
                () = tokio::time::sleep(READ_RETRY) => {
                    crate::stats::METRICS.etcd_server_slow_read_indexes_total.inc();
                }
                () = changed(&mut changes, leader) => return Err(error::LEADER_CHANGED),
            }
        }
        crate::stats::METRICS.etcd_server_read_indexes_failed_total.inc();
        Err(error::TIMEOUT)
    }
}

/// Resolves when somebody else leads than `leader`, who must be somebody.
async fn changed(changes: &mut watch::Receiver<SoftState>, leader: MemberId) {
    // The sender lives in the member: the wait cannot fail.
    let _ = changes.wait_for(|soft| !leader.is_none() && soft.leader != leader).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proposal_decodes_to_the_request_it_was_made_of() {
        let who = Who { user: "u".into(), revision: 3 };
        let put = pb::PutRequest { key: "k".into(), value: "v".into(), ..Default::default() };
        let data = encode_request(7, &who, Field::Put, &put.encode_to_vec());
        let decoded = pb::InternalRaftRequest::decode(data).unwrap();
        assert_eq!(decoded.put, Some(put));
        let header = decoded.header.unwrap();
        assert_eq!((header.id, header.username.as_str(), header.auth_revision), (7, "u", 3));

        let data = encode_request(8, &who, Field::AuthEnable, &[]);
        let decoded = pb::InternalRaftRequest::decode(data.clone()).unwrap();
        assert!(decoded.auth_enable.is_some());
        assert_eq!(crate::waiters::request_id(&data), 8);
    }
}
