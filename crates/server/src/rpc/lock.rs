//! v3lockpb.Lock: a mutex whose holder is the oldest key under its name.

use proto::etcdserverpb as pb;
use proto::v3lockpb as lockpb;

use super::error::Status;
use super::{Call, recipe};
use crate::member::Field;

/// Lock/Lock.
pub async fn lock(call: Call, request: lockpb::LockRequest) -> Result<lockpb::LockResponse, Status> {
    let who = call.who().await?;
    let lease = recipe::session(&call, request.lease).await?;
    let claim = recipe::claim(&call, &who, &request.name, bytes::Bytes::new(), lease).await?;
    let abandon = recipe::Abandon::new(&call, &who, &claim.key);
    let prefix = recipe::prefix(&request.name);
    recipe::wait_turn(&call, &who, &prefix, claim.revision).await?;
    let mut header = claim.header;
    if header.is_none_or(|h| h.revision != claim.revision) || claim.existing.is_some() {
        // It took a while: the lease may have ended meanwhile, and the key with it.
        let query = mvcc::RangeQuery::key(claim.key.clone());
        let (found, revision) = recipe::read(&call, &who, &query).await?;
        if found.is_none() {
            return Err(Status::unknown("mutex: session is expired"));
        }
        header = Some(pb::ResponseHeader { revision, ..Default::default() });
    }
    abandon.keep();
    call.member.fill(&mut header);
    Ok(lockpb::LockResponse { header, key: claim.key })
}

/// Lock/Unlock.
pub async fn unlock(call: Call, request: lockpb::UnlockRequest) -> Result<lockpb::UnlockResponse, Status> {
    let delete = pb::DeleteRangeRequest { key: request.key, ..Default::default() };
    store::check::check_delete_range(&delete)?;
    let who = call.who().await?;
    let mut header = match call.member.propose(&who, Field::DeleteRange, &delete).await? {
        store::Response::DeleteRange(response) => response.header,
        _ => None,
    };
    call.member.fill(&mut header);
    Ok(lockpb::UnlockResponse { header })
}
