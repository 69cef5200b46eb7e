//! One question, one answer: limit, metadata, retries.
use std::time::Duration;

use http::uri::PathAndQuery;
use prost::Message;
use tonic::metadata::AsciiMetadataValue;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::connection::Line;
use crate::error::{self, Error};
use crate::{Client, FailedAttempt};

/// Reads are tried again this often, as etcd's client does.
const ATTEMPTS_MAX: usize = 100;
const PAUSE_BETWEEN_ATTEMPTS: Duration = Duration::from_millis(25);
/// Sent as `client-api-version`; servers count clients by it.
const API_VERSION: &str = "3.7";

/// Whether a call may be sent again when it is not known what became of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Changes nothing.
    Reads,
    /// Might be executed twice: never sent again once a server may have seen it.
    Writes,
}

impl Client {
    /// Sends `request` to `method` and waits at most the client's limit.
    pub(crate) async fn unary<Q, R>(
        &self,
        method: &'static str,
        repeat: Repeat,
        request: Q,
    ) -> Result<R, Error>
    where
        Q: Message + Clone + 'static,
        R: Message + Default + 'static,
    {
        let attempts = self.attempts(method, repeat, request);
        let Some(limit) = self.timeout else { return attempts.await };
        match tokio::time::timeout(limit, attempts).await {
            Ok(answer) => answer,
            Err(_) => {
                self.tell(method, 0, None, &self.deadline_text());
                Err(Error::Deadline)
            }
        }
    }

    async fn attempts<Q, R>(&self, method: &'static str, repeat: Repeat, request: Q) -> Result<R, Error>
    where
        Q: Message + Clone + 'static,
        R: Message + Default + 'static,
    {
        let size = request.encoded_len();
        if size > self.options.max_send_bytes {
            let max = self.options.max_send_bytes;
            let text = format!("trying to send message larger than max ({size} vs. {max})");
            return Err(Status::resource_exhausted(text).into());
        }
        let mut renewed = false;
        for attempt in 0.. {
            let line = self.connection.line().await;
            let status = match self.ask(&line, method, request.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(status) => error::as_go_says(status),
            };
            self.tell(method, attempt, Some(&line.address), &error::long_form(&status));
            if status.message() == error::INVALID_TOKEN && self.options.user.is_some() && !renewed {
                renewed = true;
                Box::pin(self.renew_token()).await?;
                continue;
            }
            if status.code() != Code::Unavailable {
                return Err(status.into());
            }
            self.connection.drop_line(&line);
            if repeat == Repeat::Writes || attempt + 1 == ATTEMPTS_MAX {
                return Err(status.into());
            }
            tokio::time::sleep(PAUSE_BETWEEN_ATTEMPTS).await;
        }
        Err(Error::Deadline)
    }

    async fn ask<Q, R>(&self, line: &Line, method: &'static str, request: Q) -> Result<R, Status>
    where
        Q: Message + 'static,
        R: Message + Default + 'static,
    {
        let mut request = self.dress(request);
        if let Some(limit) = self.timeout {
            request.set_timeout(limit);
        }
        let mut grpc = self.grpc(line);
        grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let codec = ProstCodec::<Q, R>::default();
        Ok(grpc.unary(request, PathAndQuery::from_static(method), codec).await?.into_inner())
    }

    pub(crate) fn grpc(&self, line: &Line) -> tonic::client::Grpc<tonic::transport::Channel> {
        tonic::client::Grpc::new(line.channel.clone())
            .max_decoding_message_size(self.options.max_recv_bytes)
            .max_encoding_message_size(usize::MAX)
    }

    /// Adds the metadata every call carries.
    pub(crate) fn dress<Q>(&self, message: Q) -> Request<Q> {
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        metadata.insert("client-api-version", AsciiMetadataValue::from_static(API_VERSION));
        if let Some(token) = self.token.read().as_ref().and_then(|token| token.parse().ok()) {
            metadata.insert("token", token);
        }
        request
    }

    async fn renew_token(&self) -> Result<(), Error> {
        *self.token.write() = None;
        self.authenticate().await
    }

    fn tell(&self, method: &str, attempt: usize, peer: Option<&str>, error: &str) {
        if let Some(told) = &self.options.on_failed_attempt {
            told(&FailedAttempt { endpoint: self.connection.first_address(), peer, method, attempt, error });
        }
    }

    fn deadline_text(&self) -> String {
        match self.connection.last_failure() {
            Some(reason) => format!(
                "rpc error: code = DeadlineExceeded desc = latest balancer error: connection error: desc = {:?}",
                format!("transport: Error while dialing: {reason}")
            ),
            None => "rpc error: code = DeadlineExceeded desc = context deadline exceeded".to_owned(),
        }
    }
}
