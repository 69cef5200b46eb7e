//! Answers in pieces: snapshots and streamed ranges; and how every stream is opened.
use http::uri::PathAndQuery;
use prost::Message;
use proto::etcdserverpb::{
    RangeRequest, RangeResponse, RangeStreamResponse, SnapshotRequest, SnapshotResponse,
};
use tokio_stream::Stream;
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::{Client, Error};

/// A stream of answers that ends when the server is done.
pub struct Incoming<R>(Streaming<R>);

impl<R> Incoming<R> {
    /// The next answer; `None` at the end.
    ///
    /// # Errors
    /// Whatever ended the stream early.
    pub async fn next(&mut self) -> Result<Option<R>, Error> {
        Ok(self.0.message().await?)
    }
}

impl Client {
    /// The backend file of the member that answers, followed by its SHA-256 (formats: client snapshot stream).
    ///
    /// # Errors
    /// The server's error, or no connection within the client's limit.
    pub async fn snapshot(&self) -> Result<Incoming<SnapshotResponse>, Error> {
        let request = self.dress(tokio_stream::once(SnapshotRequest {}));
        self.open(request, "/etcdserverpb.Maintenance/Snapshot").await
    }

    /// As [`Client::range`], through the streaming RPC; the parts are put together.
    ///
    /// # Errors
    /// The server's error, or the limit passed.
    pub async fn range_stream(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        let gather = async {
            let request = self.dress(tokio_stream::once(request));
            let mut parts: Incoming<RangeStreamResponse> =
                self.open(request, "/etcdserverpb.KV/RangeStream").await?;
            let mut whole = RangeResponse::default();
            while let Some(part) = parts.next().await? {
                let Some(mut part) = part.range_response else { continue };
                whole.kvs.append(&mut part.kvs);
                whole = RangeResponse { kvs: whole.kvs, ..part };
            }
            Ok(whole)
        };
        match self.timeout {
            Some(limit) => tokio::time::timeout(limit, gather).await.unwrap_or(Err(Error::Deadline)),
            None => gather.await,
        }
    }

    /// Opens a stream within the client's limit, on another endpoint if the first one is gone.
    pub(crate) async fn open<Q, R, S>(
        &self,
        request: Request<S>,
        method: &'static str,
    ) -> Result<Incoming<R>, Error>
    where
        Q: Message + 'static,
        R: Message + Default + 'static,
        S: Stream<Item = Q> + Send + 'static,
    {
        let opening = async {
            let line = self.connection.line().await;
            let mut grpc = self.grpc(&line);
            let opened = match grpc.ready().await {
                Ok(()) => {
                    let codec = ProstCodec::<Q, R>::default();
                    grpc.streaming(request, PathAndQuery::from_static(method), codec).await
                }
                Err(error) => Err(Status::unavailable(error.to_string())),
            };
            if opened.as_ref().is_err_and(|status| status.code() == Code::Unavailable) {
                self.connection.drop_line(&line);
            }
            Ok(Incoming(opened?.into_inner()))
        };
        match self.timeout {
            Some(limit) => tokio::time::timeout(limit, opening).await.unwrap_or(Err(Error::Deadline)),
            None => opening.await,
        }
    }
}
