//! A lease kept alive, and with it a place in a queue of keys: what locks and elections are made of.
use bytes::Bytes;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::*;
use proto::mvccpb::event::EventType;
use tokio::sync::watch;

use crate::{Client, Error, range};

/// A lease that is renewed in the background until the session is closed or lost.
pub struct Session {
    client: Client,
    lease: i64,
    lost: watch::Receiver<bool>,
    renewing: tokio::task::JoinHandle<()>,
}

/// A key in a queue, as old as its create revision; the oldest key of a prefix is first.
#[derive(Clone, Debug)]
pub struct Place {
    /// `prefix/lease` with the lease in hex.
    pub key: Bytes,
    /// Create revision of the key.
    pub revision: i64,
    prefix: Bytes,
}

impl Session {
    /// Grants a lease of `ttl` seconds and keeps it alive.
    ///
    /// # Errors
    /// As the grant.
    pub async fn open(client: &Client, ttl: i64) -> Result<Session, Error> {
        let client = client.clone().with_timeout(None);
        let lease = client.lease_grant(LeaseGrantRequest { ttl, id: 0 }).await?.id;
        let (tell, lost) = watch::channel(false);
        let mut renewals = client.lease_keep_alive(lease);
        let renewing = tokio::spawn(async move {
            while let Ok(Some(_)) = renewals.next().await {}
            // Without a receiver nobody is left to care.
            let _ = tell.send(true);
        });
        Ok(Session { client, lease, lost, renewing })
    }

    /// Returns when the lease is gone.
    pub async fn lost(&self) {
        let mut lost = self.lost.clone();
        // An error means that the renewing task ended, which comes to the same.
        let _ = lost.wait_for(|lost| *lost).await;
    }

    /// Revokes the lease and with it all places.
    ///
    /// # Errors
    /// As the revocation.
    pub async fn close(self) -> Result<(), Error> {
        self.renewing.abort();
        self.client.lease_revoke(LeaseRevokeRequest { id: self.lease }).await.map(drop)
    }

    /// Joins the queue under `name/`, holding `value` there; a session has one place per queue.
    ///
    /// # Errors
    /// As every call.
    pub async fn join(&self, name: &[u8], value: Bytes) -> Result<Place, Error> {
        let prefix = Bytes::from([name, b"/"].concat());
        let key = Bytes::from([&prefix[..], format!("{:x}", self.lease).as_bytes()].concat());
        let put = PutRequest { key: key.clone(), value, lease: self.lease, ..PutRequest::default() };
        let answer = self
            .client
            .txn(TxnRequest {
                compare: vec![created_at(&key, 0)],
                success: vec![RequestOp { request: Some(Request::RequestPut(put)) }],
                failure: vec![RequestOp { request: Some(Request::RequestRange(range::key(key.clone()))) }],
            })
            .await?;
        let found = answer.responses.first().and_then(|op| match &op.response {
            Some(response_op::Response::ResponseRange(found)) => {
                found.kvs.first().map(|kv| kv.create_revision)
            }
            _ => None,
        });
        let now = answer.header.map_or(0, |header| header.revision);
        Ok(Place { key, revision: found.unwrap_or(now), prefix })
    }

    /// Waits until `place` is first of its queue; returns the header of the last answer.
    ///
    /// # Errors
    /// As every call.
    pub async fn wait_for_turn(&self, place: &Place) -> Result<ResponseHeader, Error> {
        loop {
            let (key, range_end) = range::prefix(&place.prefix);
            let before = RangeRequest {
                key,
                range_end,
                limit: 1,
                sort_order: SortOrder::Descend.into(),
                sort_target: SortTarget::Create.into(),
                keys_only: true,
                max_create_revision: place.revision - 1,
                ..RangeRequest::default()
            };
            let answer = self.client.range(before).await?;
            let header = answer.header.unwrap_or_default();
            let Some(ahead) = answer.kvs.into_iter().next() else { return Ok(header) };
            self.wait_for_delete(ahead.key, header.revision + 1).await?;
        }
    }

    /// Gives `place` up.
    ///
    /// # Errors
    /// As every call.
    pub async fn leave(&self, place: &Place) -> Result<(), Error> {
        let delete = DeleteRangeRequest { key: place.key.clone(), ..DeleteRangeRequest::default() };
        self.client.delete_range(delete).await.map(drop)
    }

    async fn wait_for_delete(&self, key: Bytes, start_revision: i64) -> Result<(), Error> {
        let mut watcher =
            self.client.watch(WatchCreateRequest { key, start_revision, ..WatchCreateRequest::default() });
        while let Some(response) = watcher.next().await? {
            if response.events.iter().any(|event| event.r#type == i32::from(EventType::Delete)) {
                return Ok(());
            }
        }
        // Cancelled, for instance by a compaction: the caller looks again.
        Ok(())
    }
}

/// Holds if `key` was created at `revision`; 0 means that it does not exist.
fn created_at(key: &Bytes, revision: i64) -> Compare {
    Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Create.into(),
        key: key.clone(),
        target_union: Some(TargetUnion::CreateRevision(revision)),
        ..Compare::default()
    }
}
