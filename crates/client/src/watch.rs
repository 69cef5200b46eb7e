//! One watch on one stream, reopened after the last seen revision when the stream breaks.
use std::time::Duration;

use proto::etcdserverpb::watch_request::RequestUnion;
use proto::etcdserverpb::{WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::metadata::AsciiMetadataValue;

use crate::{Client, Error, Incoming};

const PAUSE_BEFORE_REOPENING: Duration = Duration::from_millis(100);
/// Requests of ours waiting to be sent on the stream.
const REQUESTS_MAX: usize = 16;

/// A running watch. Each response carries whole revisions, in order, none twice, none missing.
pub struct Watcher {
    client: Client,
    create: WatchCreateRequest,
    stream: Option<(mpsc::Sender<WatchRequest>, Incoming<WatchResponse>)>,
    over: bool,
    progress_in: mpsc::Receiver<()>,
    progress_out: mpsc::Sender<()>,
}

/// Asks for a progress notice from another task.
#[derive(Clone)]
pub struct Progress(mpsc::Sender<()>);

impl Progress {
    /// The watch answers with a response without events, once everything before it is delivered.
    pub async fn request(&self) {
        // A watch that is over has nothing to report.
        let _ = self.0.send(()).await;
    }
}

enum Heard {
    Message(Result<Option<WatchResponse>, Error>),
    ProgressWanted,
}

impl Client {
    /// Starts a watch; nothing is sent before the first [`Watcher::next`].
    #[must_use]
    pub fn watch(&self, create: WatchCreateRequest) -> Watcher {
        let (progress_out, progress_in) = mpsc::channel(REQUESTS_MAX);
        let client = self.clone().with_timeout(None);
        Watcher { client, create, stream: None, over: false, progress_in, progress_out }
    }
}

impl Watcher {
    /// A handle to ask for progress notices.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress(self.progress_out.clone())
    }

    /// The next response with events, progress or the cancellation that ends the watch; then `None`.
    ///
    /// # Errors
    /// [`Error::WatchRefused`]; errors that reopening cannot mend.
    pub async fn next(&mut self) -> Result<Option<WatchResponse>, Error> {
        while !self.over {
            let heard = self.hear().await?;
            match heard {
                Heard::ProgressWanted => {
                    self.send(RequestUnion::ProgressRequest(WatchProgressRequest {})).await
                }
                Heard::Message(Ok(Some(response))) => {
                    if let Some(response) = self.digest(response)? {
                        return Ok(Some(response));
                    }
                }
                Heard::Message(Ok(None)) => self.reopen_later().await,
                Heard::Message(Err(error)) if mendable(&error) => self.reopen_later().await,
                Heard::Message(Err(error)) => return Err(error),
            }
        }
        Ok(None)
    }

    async fn hear(&mut self) -> Result<Heard, Error> {
        if self.stream.is_none() {
            match self.open().await {
                Ok(stream) => self.stream = Some(stream),
                Err(error) => return Ok(Heard::Message(Err(error))),
            }
        }
        let Some((_, incoming)) = self.stream.as_mut() else { return Ok(Heard::Message(Ok(None))) };
        tokio::select! {
            message = incoming.next() => Ok(Heard::Message(message)),
            Some(()) = self.progress_in.recv() => Ok(Heard::ProgressWanted),
        }
    }

    async fn open(&self) -> Result<(mpsc::Sender<WatchRequest>, Incoming<WatchResponse>), Error> {
        let (sender, receiver) = mpsc::channel(REQUESTS_MAX);
        let create = RequestUnion::CreateRequest(self.create.clone());
        // The channel was just made and has room.
        let _ = sender.try_send(WatchRequest { request_union: Some(create) });
        let mut request = self.client.dress(ReceiverStream::new(receiver));
        request.metadata_mut().insert("hasleader", AsciiMetadataValue::from_static("true"));
        let incoming = self.client.open(request, "/etcdserverpb.Watch/Watch").await?;
        Ok((sender, incoming))
    }

    async fn send(&mut self, request: RequestUnion) {
        if let Some((sender, _)) = &self.stream {
            // A closed stream is noticed by the reading side.
            let _ = sender.send(WatchRequest { request_union: Some(request) }).await;
        }
    }

    /// Notes where to resume; keeps the bare acknowledgement of creation to itself.
    fn digest(&mut self, response: WatchResponse) -> Result<Option<WatchResponse>, Error> {
        let revision = response.header.as_ref().map_or(0, |header| header.revision);
        if response.canceled {
            self.over = true;
            if response.created {
                return Err(Error::WatchRefused(response.cancel_reason));
            }
            return Ok(Some(response));
        }
        if response.created {
            if self.create.start_revision == 0 {
                self.create.start_revision = revision + 1;
            }
            return Ok(None);
        }
        let last_event = response.events.last().and_then(|event| event.kv.as_ref()).map(|kv| kv.mod_revision);
        let seen = last_event.unwrap_or(revision);
        self.create.start_revision = self.create.start_revision.max(seen + 1);
        Ok(Some(response))
    }

    async fn reopen_later(&mut self) {
        self.stream = None;
        tokio::time::sleep(PAUSE_BEFORE_REOPENING).await;
    }
}

/// Whether another stream may fare better.
fn mendable(error: &Error) -> bool {
    match error {
        Error::Server(status) => {
            matches!(status.code(), Code::Unavailable | Code::Internal | Code::Unknown | Code::Cancelled)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::etcdserverpb::ResponseHeader;
    use proto::mvccpb::{Event, KeyValue};

    async fn watcher(start_revision: i64) -> Watcher {
        let client = Client::connect(crate::Options::to(["127.0.0.1:1"])).await.unwrap();
        client.watch(WatchCreateRequest { start_revision, ..WatchCreateRequest::default() })
    }

    fn response(revision: i64, events: &[i64]) -> WatchResponse {
        let event = |rev: &i64| Event {
            kv: Some(KeyValue { mod_revision: *rev, ..KeyValue::default() }),
            ..Event::default()
        };
        WatchResponse {
            header: Some(ResponseHeader { revision, ..ResponseHeader::default() }),
            events: events.iter().map(event).collect(),
            ..WatchResponse::default()
        }
    }

    #[tokio::test]
    async fn a_broken_watch_resumes_after_the_last_event_not_after_the_header() {
        let mut watcher = watcher(0).await;
        let created = WatchResponse { created: true, ..response(7, &[]) };
        assert_eq!(watcher.digest(created).unwrap(), None);
        assert_eq!(watcher.create.start_revision, 8, "from now on");
        assert!(watcher.digest(response(30, &[9, 12])).unwrap().is_some());
        assert_eq!(watcher.create.start_revision, 13, "history up to 30 may still be on its way");
        assert!(watcher.digest(response(30, &[])).unwrap().is_some());
        assert_eq!(watcher.create.start_revision, 31, "a progress notice proves that all before it came");
    }

    #[tokio::test]
    async fn a_refused_watch_is_an_error_and_a_cancelled_one_a_last_response() {
        let mut refused = watcher(5).await;
        let answer = WatchResponse {
            created: true,
            canceled: true,
            cancel_reason: "no".into(),
            ..WatchResponse::default()
        };
        assert_eq!(refused.digest(answer).unwrap_err().to_string(), "no");
        let mut cancelled = watcher(5).await;
        let answer = WatchResponse { canceled: true, compact_revision: 9, ..WatchResponse::default() };
        assert!(cancelled.digest(answer).unwrap().is_some());
        assert!(cancelled.next().await.unwrap().is_none());
    }
}
