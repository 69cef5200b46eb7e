//! LeaseGrant, LeaseRevoke, LeaseKeepAlive, LeaseTimeToLive, LeaseLeases.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use proto::etcdserverpb as pb;
use store::Response;
use store::lease::Renewal;
use tokio::time::Instant;

use super::Call;
use super::body::{Batch, Message};
use super::error::{self, Status};
use super::frame::{self, Messages};
use crate::member::{Field, Member};
use crate::peer::ask;

/// Pause before asking again while this member's clock does not run.
const RETRY: Duration = Duration::from_millis(50);
/// Keep-alives answered in one piece.
const KEEP_ALIVES_MAX: usize = 512;

/// Lease/LeaseGrant.
pub async fn grant(call: Call, mut request: pb::LeaseGrantRequest) -> Result<pb::LeaseGrantResponse, Status> {
    let who = call.user().await?;
    super::kv::room(&call.member, store::quota::lease_grant_cost()).await?;
    while request.id == 0 {
        request.id = (call.member.ids.next() & (i64::MAX as u64)) as i64;
    }
    match call.member.propose(&who, Field::LeaseGrant, &request).await? {
        Response::LeaseGrant(mut response) => {
            call.member.fill(&mut response.header);
            Ok(response)
        }
        _ => Err(error::TIMEOUT),
    }
}

/// Lease/LeaseRevoke.
pub async fn revoke(call: Call, request: pb::LeaseRevokeRequest) -> Result<pb::LeaseRevokeResponse, Status> {
    let who = call.user().await?;
    match call.member.propose(&who, Field::LeaseRevoke, &request).await? {
        Response::LeaseRevoke(mut response) => {
            call.member.fill(&mut response.header);
            Ok(response)
        }
        _ => Err(error::TIMEOUT),
    }
}

/// Lease/LeaseKeepAlive: one answer per message. What has come together is answered together.
pub fn keep_alive(
    call: Call,
    mut messages: Messages,
) -> impl FnMut(&mut Context<'_>) -> Poll<Option<Result<Message, Status>>> + Send + 'static {
    // A renewal that has to wait, and an end that comes after what was answered before.
    let mut waiting: Option<Waiting> = None;
    let mut ended: Option<Option<Status>> = None;
    move |cx| {
        let mut answers = Batch::default();
        while answers.len() < KEEP_ALIVES_MAX && ended.is_none() {
            let answered = match &mut waiting {
                Some(renewal) => renewal.as_mut().poll(cx),
                None => match messages.poll_next(cx) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(Ok(Some(bytes))) => match begin(&call, bytes) {
                        Begun::Done(answered) => Poll::Ready(answered),
                        Begun::Waits(renewal) => {
                            waiting = Some(renewal);
                            continue;
                        }
                    },
                    Poll::Ready(Ok(None)) => {
                        ended = Some(None);
                        break;
                    }
                    Poll::Ready(Err(status)) => Poll::Ready(Err(not_received(status))),
                },
            };
            match answered {
                Poll::Pending if answers.is_empty() => return Poll::Pending,
                Poll::Pending => break,
                Poll::Ready(Ok(response)) => {
                    let len = response.encoded_len();
                    answers.add(len, |out| response.encode_raw(out), &[]);
                }
                Poll::Ready(Err(status)) => ended = Some(Some(status)),
            }
            waiting = None;
        }
        Poll::Ready(match ended.take_if(|_| answers.is_empty()) {
            Some(end) => end.map(Err),
            None => Some(Ok(Message::Batch(answers))),
        })
    }
}

fn not_received(status: Status) -> Status {
    super::not_received(&status, "lease-keepalive");
    status
}

type KeptAlive = Result<pb::LeaseKeepAliveResponse, Status>;
type Waiting = Pin<Box<dyn Future<Output = KeptAlive> + Send>>;

enum Begun {
    Done(KeptAlive),
    Waits(Waiting),
}

/// Renews at once if nothing has to be waited for.
fn begin(call: &Call, bytes: Bytes) -> Begun {
    let request: pb::LeaseKeepAliveRequest = match frame::decode_streamed(bytes) {
        Ok(request) => request,
        Err(status) => return Begun::Done(Err(not_received(status))),
    };
    let (member, id) = (&call.member, request.id);
    if !member.store.auth().enabled {
        // The header is filled before renewing: it must not show more than the renewal knows.
        let header = member.header();
        let renewal = member.leases.renew(id);
        // A lease just granted through another member may be known there first.
        let is_sure = !matches!(renewal, Renewal::NotFound) || !member.lags();
        if let Some(ttl) = renewed(&renewal).filter(|_| is_sure) {
            return Begun::Done(Ok(pb::LeaseKeepAliveResponse { header, id, ttl }));
        }
    }
    let call = call.clone();
    Begun::Waits(Box::pin(async move {
        let header = call.member.header();
        let who = call.user().await?;
        call.member.store.check_lease_keys_write(who.identity(), id)?;
        let ttl = renew(&call.member, id).await?;
        Ok(pb::LeaseKeepAliveResponse { header, id, ttl })
    }))
}

/// The new TTL in seconds; 0 when there is no such lease. Whoever leads renews it.
async fn renew(member: &Member, id: i64) -> Result<i64, Status> {
    let deadline = Instant::now() + member.request_timeout;
    loop {
        if let Renewed::Ttl(ttl) = renew_here(member, id).await? {
            return Ok(ttl);
        }
        if let Some(urls) = member.leader_urls()
            && let Ok(renewed) = ask::renew(member.peers.dialer(), &urls, id, left(deadline)).await
        {
            return Ok(renewed.unwrap_or(0));
        }
        pause(member, deadline).await?;
    }
}

/// How a renewal on this member ended.
pub enum Renewed {
    /// The new TTL in seconds; 0 when there is no such lease.
    Ttl(i64),
    /// Another member leads, or none.
    NotPrimary,
}

/// Renews on this member, if its clock runs.
pub async fn renew_here(member: &Member, id: i64) -> Result<Renewed, Status> {
    let deadline = Instant::now() + member.request_timeout;
    while Instant::now() < deadline {
        let mut renewal = member.leases.renew(id);
        if matches!(renewal, Renewal::NotFound) && member.lags() {
            member.catch_up(left(deadline)).await;
            renewal = member.leases.renew(id);
        }
        if let Some(ttl) = renewed(&renewal) {
            return Ok(Renewed::Ttl(ttl));
        }
        match renewal {
            Renewal::Renewed { .. } | Renewal::NotFound => {}
            Renewal::Expired => member.leases.revocation(RETRY).await,
            Renewal::ClearCheckpointFirst => clear_checkpoint(member, id).await?,
            Renewal::NotPrimary => return Ok(Renewed::NotPrimary),
        }
    }
    Err(error::TIMEOUT)
}

/// The TTL, if that is decided.
fn renewed(renewal: &Renewal) -> Option<i64> {
    match renewal {
        Renewal::Renewed { ttl } => {
            crate::stats::METRICS.etcd_debugging_lease_renewed_total.inc();
            Some(*ttl)
        }
        Renewal::NotFound => Some(0),
        Renewal::Expired | Renewal::ClearCheckpointFirst | Renewal::NotPrimary => None,
    }
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// Waits before the leader is looked for again.
async fn pause(member: &Member, deadline: Instant) -> Result<(), Status> {
    if member.is_stopping() {
        return Err(error::STOPPED);
    }
    if Instant::now() >= deadline {
        return Err(if member.leadership.has_leader() { error::TIMEOUT } else { error::NO_LEADER });
    }
    tokio::time::sleep(RETRY).await;
    Ok(())
}

async fn clear_checkpoint(member: &Member, id: i64) -> Result<(), Status> {
    let request =
        pb::LeaseCheckpointRequest { checkpoints: vec![pb::LeaseCheckpoint { id, remaining_ttl: 0 }] };
    member.propose(&Default::default(), Field::LeaseCheckpoint, &request).await.map(|_| ())
}

/// Lease/LeaseTimeToLive.
pub async fn time_to_live(
    call: Call,
    request: pb::LeaseTimeToLiveRequest,
) -> Result<pb::LeaseTimeToLiveResponse, Status> {
    let member = &call.member;
    let who = call.user().await?;
    if request.keys {
        member.store.check_lease_keys_read(who.identity(), request.id)?;
    }
    let deadline = Instant::now() + member.request_timeout;
    let mut response = loop {
        if member.leases.is_primary() {
            member.catch_up(left(deadline)).await;
            break what_is_left(member, &request);
        }
        if let Some(urls) = member.leader_urls()
            && let Ok(found) = ask::time_to_live(member.peers.dialer(), &urls, request, left(deadline)).await
        {
            break found.unwrap_or_else(|| unknown(&request));
        }
        pause(member, deadline).await?;
    };
    response.header = None;
    member.fill(&mut response.header);
    Ok(response)
}

fn unknown(request: &pb::LeaseTimeToLiveRequest) -> pb::LeaseTimeToLiveResponse {
    pb::LeaseTimeToLiveResponse { id: request.id, ttl: -1, ..Default::default() }
}

/// What this member's clock says of a lease.
pub fn what_is_left(member: &Member, request: &pb::LeaseTimeToLiveRequest) -> pb::LeaseTimeToLiveResponse {
    let mut response = unknown(request);
    if let Some(left) = member.leases.time_to_live(request.id) {
        response.ttl = left.remaining;
        response.granted_ttl = left.granted;
        if request.keys {
            response.keys = member.store.lease_keys(request.id);
        }
    }
    response
}

/// Lease/LeaseLeases.
pub async fn leases(call: Call, _: pb::LeaseLeasesRequest) -> Result<pb::LeaseLeasesResponse, Status> {
    call.user().await?;
    let mut ids = call.member.leases.by_remaining();
    if ids.is_empty() {
        ids = call.member.store.leases().iter().map(|lease| lease.id).collect();
    }
    let leases = ids.into_iter().map(|id| pb::LeaseStatus { id }).collect();
    Ok(pb::LeaseLeasesResponse { header: call.member.header(), leases })
}
