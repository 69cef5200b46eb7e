//! v3electionpb.Election: the leader is the oldest key under the election's name; its value is what it proclaims.

use bytes::Bytes;
use mvcc::watch::{Kind, WatchSpec};
use prost::Message as _;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::request_op::Request as Op;
use proto::v3electionpb as electionpb;

use super::body::Message;
use super::error::{self, Status};
use super::{Call, Sink, kv, recipe};
use crate::member::Who;

fn not_leader() -> Status {
    Status::unknown("election: not leader")
}

/// Election/Campaign: answers once elected.
pub async fn campaign(
    call: Call,
    request: electionpb::CampaignRequest,
) -> Result<electionpb::CampaignResponse, Status> {
    let who = call.who().await?;
    let lease = recipe::session(&call, request.lease).await?;
    let claim = recipe::claim(&call, &who, &request.name, request.value.clone(), lease).await?;
    let abandon = recipe::Abandon::new(&call, &who, &claim.key);
    let leader = electionpb::LeaderKey {
        name: request.name.clone(),
        key: claim.key.clone(),
        rev: claim.revision,
        lease,
    };
    let mut header = claim.header;
    if claim.existing.is_some_and(|record| record.value != request.value) {
        header = put_as(&call, &who, &leader, request.value).await?;
    }
    recipe::wait_turn(&call, &who, &recipe::prefix(&request.name), claim.revision).await?;
    abandon.keep();
    call.member.fill(&mut header);
    Ok(electionpb::CampaignResponse { header, leader: Some(leader) })
}

/// Election/Proclaim: a new value without a new election.
pub async fn proclaim(
    call: Call,
    request: electionpb::ProclaimRequest,
) -> Result<electionpb::ProclaimResponse, Status> {
    let leader = given(request.leader)?;
    let who = call.who().await?;
    let mut header = put_as(&call, &who, &leader, request.value).await?;
    call.member.fill(&mut header);
    Ok(electionpb::ProclaimResponse { header })
}

fn given(leader: Option<electionpb::LeaderKey>) -> Result<electionpb::LeaderKey, Status> {
    leader.ok_or_else(|| Status::unknown("\"leader\" field must be provided"))
}

/// Writes the leader's value while its key is still the one it was elected with.
async fn put_as(
    call: &Call,
    who: &Who,
    leader: &electionpb::LeaderKey,
    value: Bytes,
) -> Result<Option<pb::ResponseHeader>, Status> {
    let put = pb::PutRequest { key: leader.key.clone(), value, lease: leader.lease, ..Default::default() };
    let response = if_still(call, who, leader, Op::RequestPut(put)).await?;
    if response.succeeded { Ok(response.header) } else { Err(not_leader()) }
}

async fn if_still(
    call: &Call,
    who: &Who,
    leader: &electionpb::LeaderKey,
    then: Op,
) -> Result<pb::TxnResponse, Status> {
    let request = pb::TxnRequest {
        compare: vec![recipe::created_at(&leader.key, leader.rev)],
        success: vec![recipe::op(then)],
        failure: Vec::new(),
    };
    kv::run_txn(&call.member, who, &request, None).await
}

/// Election/Leader.
pub async fn leader(
    call: Call,
    request: electionpb::LeaderRequest,
) -> Result<electionpb::LeaderResponse, Status> {
    let who = call.who().await?;
    let (found, revision) = recipe::oldest(&call, &who, &recipe::prefix(&request.name)).await?;
    let record = found.ok_or_else(|| Status::unknown("election: no leader"))?;
    let mut header = Some(pb::ResponseHeader { revision, ..Default::default() });
    call.member.fill(&mut header);
    Ok(electionpb::LeaderResponse { header, kv: Some(record) })
}

/// Election/Observe: the leader, and again whenever leader or value changes.
pub async fn observe(call: Call, request: electionpb::LeaderRequest, sink: Sink) -> Result<(), Status> {
    let who = call.who().await?;
    let prefix = recipe::prefix(&request.name);
    let mut last = None;
    loop {
        let (found, revision) = recipe::oldest(&call, &who, &prefix).await?;
        if let Some(record) = found
            && last != Some((record.create_revision, record.mod_revision))
        {
            last = Some((record.create_revision, record.mod_revision));
            let mut header = Some(pb::ResponseHeader { revision, ..Default::default() });
            call.member.fill(&mut header);
            let response = electionpb::LeaderResponse { header, kv: Some(record) };
            let message = Message::Whole(response.encode_to_vec().into());
            sink.send(Ok(message)).await.map_err(|_| error::CANCELED)?;
        }
        changed(&call, &prefix, revision + 1).await?;
    }
}

/// Waits for a change under the prefix at or after `from`.
async fn changed(call: &Call, prefix: &Bytes, from: i64) -> Result<(), Status> {
    let mut stream = call.member.hub.open();
    stream.asker().add(WatchSpec {
        key: prefix.clone(),
        end: recipe::prefix_end(prefix),
        start_revision: from,
        ..WatchSpec::default()
    });
    loop {
        let outputs = tokio::select! {
            outputs = stream.next() => outputs.ok_or(error::STOPPED)?,
            () = call.member.stopping() => return Err(error::STOPPED),
        };
        if outputs.iter().any(|o| matches!(o.kind, Kind::Events { .. } | Kind::Compacted { .. })) {
            return Ok(());
        }
    }
}

/// Election/Resign.
pub async fn resign(
    call: Call,
    request: electionpb::ResignRequest,
) -> Result<electionpb::ResignResponse, Status> {
    let leader = given(request.leader)?;
    let who = call.who().await?;
    let delete = pb::DeleteRangeRequest { key: leader.key.clone(), ..Default::default() };
    let response = if_still(&call, &who, &leader, Op::RequestDeleteRange(delete)).await?;
    let mut header = response.header;
    call.member.fill(&mut header);
    Ok(electionpb::ResignResponse { header })
}
