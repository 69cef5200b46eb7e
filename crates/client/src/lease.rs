//! Renewing a lease over its stream.
use std::time::Duration;

use proto::etcdserverpb::{LeaseKeepAliveRequest, LeaseKeepAliveResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::{Client, Error, Incoming};

const METHOD: &str = "/etcdserverpb.Lease/LeaseKeepAlive";
/// After a failure, and between renewals of leases so short that a third of them is less.
const PAUSE_MIN: Duration = Duration::from_millis(500);

/// Renews one lease every third of its time to live, until it is gone.
pub struct KeepAlive {
    client: Client,
    id: i64,
    stream: Option<(mpsc::Sender<LeaseKeepAliveRequest>, Incoming<LeaseKeepAliveResponse>)>,
    pause: Duration,
}

impl Client {
    /// Renews `id` once. A TTL of 0 in the answer means that there is no such lease.
    ///
    /// # Errors
    /// As every call.
    pub async fn lease_keep_alive_once(&self, id: i64) -> Result<LeaseKeepAliveResponse, Error> {
        let request = self.dress(tokio_stream::once(LeaseKeepAliveRequest { id }));
        let renewal = async { self.open(request, METHOD).await?.next().await };
        let answer = match self.timeout {
            Some(limit) => tokio::time::timeout(limit, renewal).await.unwrap_or(Err(Error::Deadline)),
            None => renewal.await,
        };
        Ok(answer?.unwrap_or_default())
    }

    /// Starts renewing `id`; the first renewal is sent by the first [`KeepAlive::next`].
    #[must_use]
    pub fn lease_keep_alive(&self, id: i64) -> KeepAlive {
        KeepAlive { client: self.clone().with_timeout(None), id, stream: None, pause: Duration::ZERO }
    }
}

impl KeepAlive {
    /// Waits until the next renewal is due, renews, and tells the answer; `None` when the lease is gone.
    ///
    /// # Errors
    /// Errors that a new stream cannot mend.
    pub async fn next(&mut self) -> Result<Option<LeaseKeepAliveResponse>, Error> {
        loop {
            tokio::time::sleep(self.pause).await;
            match self.renew().await {
                Ok(Some(answer)) if answer.ttl <= 0 => return Ok(None),
                Ok(Some(answer)) => {
                    let third_ms = u64::try_from(answer.ttl).unwrap_or(0).saturating_mul(1000) / 3;
                    self.pause = Duration::from_millis(third_ms).max(PAUSE_MIN);
                    return Ok(Some(answer));
                }
                Ok(None) => {}
                Err(Error::Server(status)) if status.code() == Code::Unavailable => {}
                Err(error) => return Err(error),
            }
            self.stream = None;
            self.pause = PAUSE_MIN;
        }
    }

    async fn renew(&mut self) -> Result<Option<LeaseKeepAliveResponse>, Error> {
        if self.stream.is_none() {
            let (sender, receiver) = mpsc::channel(1);
            // Sent before opening: a server may hold back its headers until it has heard a first request.
            let _ = sender.try_send(LeaseKeepAliveRequest { id: self.id });
            let request = self.client.dress(ReceiverStream::new(receiver));
            let incoming = self.client.open(request, METHOD).await?;
            self.stream = Some((sender, incoming));
        } else if let Some((sender, _)) = &self.stream {
            // A closed stream is noticed by the reading side.
            let _ = sender.send(LeaseKeepAliveRequest { id: self.id }).await;
        }
        match self.stream.as_mut() {
            Some((_, incoming)) => incoming.next().await,
            None => Ok(None),
        }
    }
}
