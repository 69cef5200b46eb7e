//! How other members are called: over HTTP/1.1 connections that are kept for the next request, or that end with their
//! stream.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, Response, header};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::config::{Config, Url};
use crate::rpc::body::Body;

/// Why a request to another member got no answer.
#[derive(Debug, Error)]
#[allow(missing_docs)]
pub enum Error {
    #[error("{0}")]
    Url(String),
    #[error("dial tcp {0}: {1}")]
    Dial(String, std::io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    #[error("i/o timeout")]
    Timeout,
}

/// A connection to another member, encrypted or not.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// Connections to one URL that wait for a request; more are closed.
const IDLE_MAX: usize = 4;

type Sender<B> = http1::SendRequest<B>;

/// Dials other members. Where TLS will be added: nobody else opens a connection to a peer.
#[derive(Clone, Debug)]
pub struct Dialer {
    timeout: Duration,
    read_timeout: Duration,
    /// By URL.
    idle: Arc<Mutex<HashMap<String, Vec<Sender<Body>>>>>,
}

impl Dialer {
    /// With the timeout that etcd has: a second and an election.
    pub fn new(config: &Config) -> Dialer {
        Dialer {
            timeout: Duration::from_millis(1000 + config.election_ms),
            read_timeout: config.raft_read_timeout,
            idle: Arc::default(),
        }
    }

    /// A stream without a sign of life for so long is lost.
    pub fn read_timeout(&self) -> Duration {
        self.read_timeout
    }

    /// Opens a connection to `url`, the base of a member's URLs. It ends when what is sent is not taken for as long as
    /// `unread` says.
    async fn connect(&self, url: &str, unread: Option<Duration>) -> Result<Box<dyn Connection>, Error> {
        let url = Url::parse(url).map_err(Error::Url)?;
        if url.scheme != crate::config::Scheme::Http {
            return Err(Error::Url(format!("cannot reach {url}: only http is supported yet")));
        }
        let dialed = tokio::time::timeout(self.timeout, dial(&url.host, unread)).await;
        let socket = dialed.map_err(|_| Error::Timeout)?.map_err(|e| Error::Dial(url.host.clone(), e))?;
        Ok(Box::new(socket))
    }

    /// Sends one request to the member at `url` and answers with the head of the response; the body is still to come.
    /// The connection ends with the body.
    pub async fn send<B>(&self, url: &str, request: Request<B>) -> Result<Response<Incoming>, Error>
    where
        B: http_body::Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
        B: Send + 'static,
    {
        // The receiver of a snapshot may wait for its disk.
        Ok(self.open(url, None).await?.send_request(named(url, request)?).await?)
    }

    async fn open<B>(&self, url: &str, unread: Option<Duration>) -> Result<Sender<B>, Error>
    where
        B: http_body::Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
        B: Send + 'static,
    {
        let connection = self.connect(url, unread).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(connection)).await?;
        tokio::spawn(async move {
            // Whoever waits for the answer hears of errors.
            let _ = connection.await;
        });
        Ok(sender)
    }

    /// Sends one request to the member at `url` and collects the answer, of which at most `body_max` bytes are taken.
    /// `request` has a path for its URI.
    pub async fn request(
        &self,
        url: &str,
        request: Request<Bytes>,
        body_max: usize,
        timeout: Duration,
    ) -> Result<Response<Bytes>, Error> {
        let (head, body) = request.into_parts();
        let body = if body.is_empty() { Body::Empty } else { Body::plain(body) };
        let answered = async {
            let (response, sender) = self.send_kept(url, Request::from_parts(head, body)).await?;
            let (head, body) = response.into_parts();
            let body = collect(body, body_max).await?;
            self.keep(url, sender);
            Ok(Response::from_parts(head, body))
        };
        let response = tokio::time::timeout(timeout, answered).await.unwrap_or(Err(Error::Timeout));
        if response.is_err() {
            // The host may be gone without a word: the next request shall not wait on another connection to it.
            self.idle.lock().remove(url);
        }
        response
    }

    /// Sends over a kept connection, or a new one if there is none or it ended before the request left.
    async fn send_kept(
        &self,
        url: &str,
        request: Request<Body>,
    ) -> Result<(Response<Incoming>, Sender<Body>), Error> {
        let mut request = named(url, request)?;
        while let Some(mut sender) = self.kept(url) {
            match sender.try_send_request(request).await {
                Ok(response) => return Ok((response, sender)),
                Err(mut failed) => match failed.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(failed.into_error().into()),
                },
            }
        }
        let mut sender = self.open(url, Some(self.timeout)).await?;
        Ok((sender.send_request(request).await?, sender))
    }

    fn kept(&self, url: &str) -> Option<Sender<Body>> {
        let mut idle = self.idle.lock();
        let senders = idle.get_mut(url)?;
        senders.retain(|sender| !sender.is_closed());
        let ready = senders.iter().rposition(Sender::is_ready)?;
        Some(senders.swap_remove(ready))
    }

    fn keep(&self, url: &str, sender: Sender<Body>) {
        let mut idle = self.idle.lock();
        idle.retain(|_, senders| {
            senders.retain(|sender| !sender.is_closed());
            !senders.is_empty()
        });
        let senders = idle.entry(url.to_owned()).or_default();
        if senders.len() < IDLE_MAX {
            senders.push(sender);
        }
    }
}

/// The request with the host it goes to.
fn named<B>(url: &str, mut request: Request<B>) -> Result<Request<B>, Error> {
    let host = Url::parse(url).map_err(Error::Url)?.host;
    if let Ok(host) = HeaderValue::from_str(&host) {
        request.headers_mut().insert(header::HOST, host);
    }
    Ok(request)
}

async fn dial(host: &str, unread: Option<Duration>) -> std::io::Result<TcpStream> {
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host(host).await?.collect();
    let socket = TcpStream::connect(&addresses[..]).await?;
    socket.set_nodelay(true)?;
    if let Some(unread) = unread {
        let unread_ms = u32::try_from(unread.as_millis()).unwrap_or(u32::MAX).min(i32::MAX.unsigned_abs());
        rustix::net::sockopt::set_tcp_user_timeout(&socket, unread_ms)?;
    }
    Ok(socket)
}

/// The next piece of a body, `None` at its end.
pub async fn next_piece(body: &mut Incoming) -> Option<Result<Bytes, hyper::Error>> {
    loop {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await?;
        match frame.map(http_body::Frame::into_data) {
            Ok(Ok(data)) => return Some(Ok(data)),
            // Trailers say nothing here.
            Ok(Err(_)) => {}
            Err(error) => return Some(Err(error)),
        }
    }
}

/// All of a body, if it is not longer than `max`.
pub async fn collect(mut body: Incoming, max: usize) -> Result<Bytes, Error> {
    let mut all = BytesMut::new();
    while let Some(piece) = next_piece(&mut body).await {
        let piece = piece?;
        if all.len() + piece.len() > max {
            return Err(Error::TooLong(max));
        }
        if all.is_empty() && body.is_end_stream() {
            return Ok(piece);
        }
        all.extend_from_slice(&piece);
    }
    Ok(all.freeze())
}

#[cfg(test)]
pub(super) mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A member that answers one request with these bytes; gives back what it was asked.
    pub async fn answering(answer: &'static [u8]) -> (String, tokio::task::JoinHandle<String>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let served = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; 4096];
            let len = socket.read(&mut asked).await.unwrap();
            socket.write_all(answer).await.unwrap();
            String::from_utf8_lossy(&asked[..len]).into_owned()
        });
        (url, served)
    }

    #[tokio::test]
    async fn a_request_is_answered_with_head_and_body() {
        let (url, served) = answering(b"HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 3\r\n\r\nabc").await;
        let dialer = Dialer::new(&Config::default());
        let request = Request::get("/members").body(Bytes::new()).unwrap();
        let response = dialer.request(&url, request, 3, Duration::from_secs(5)).await.unwrap();
        assert_eq!((response.headers()["x-a"].as_bytes(), &response.body()[..]), (&b"b"[..], &b"abc"[..]));
        let asked = served.await.unwrap();
        assert!(asked.starts_with("GET /members HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains(&format!("host: {}\r\n", url.trim_start_matches("http://"))), "{asked}");
    }

    #[tokio::test]
    async fn connections_are_kept_for_the_next_request_and_dialed_anew_when_they_ended() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        // Two answers on each connection, then it ends without a word.
        let served = tokio::spawn(async move {
            for _ in 0..3 {
                let (mut socket, _) = listener.accept().await.unwrap();
                for _ in 0..2 {
                    let mut asked = vec![0; 4096];
                    assert!(socket.read(&mut asked).await.unwrap() > 0);
                    socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
                }
            }
        });
        let dialer = Dialer::new(&Config::default());
        for asked in 1..=6 {
            let request = Request::get("/version").body(Bytes::new()).unwrap();
            let response = dialer.request(&url, request, 10, Duration::from_secs(5)).await.unwrap();
            assert_eq!(&response.body()[..], b"ok");
            // The end of a connection is noticed by its task.
            let ended = || dialer.idle.lock()[&url].iter().all(Sender::is_closed);
            while asked % 2 == 0 && !ended() {
                tokio::task::yield_now().await;
            }
        }
        served.await.unwrap();
    }

    #[tokio::test]
    async fn connections_to_a_host_that_fell_silent_are_not_tried_one_after_the_other() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let dialer = Dialer::new(&Config::default());
        // Two are kept; then nobody answers on them.
        let served = tokio::spawn(async move {
            let (mut one, _) = listener.accept().await.unwrap();
            let (mut two, _) = listener.accept().await.unwrap();
            for socket in [&mut one, &mut two] {
                assert!(socket.read(&mut [0; 4096]).await.unwrap() > 0);
                socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
            }
            let (mut new, _) = listener.accept().await.unwrap();
            assert!(new.read(&mut [0; 4096]).await.unwrap() > 0);
            new.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nnew").await.unwrap();
        });
        let ask = |timeout| {
            let request = Request::get("/version").body(Bytes::new()).unwrap();
            dialer.request(&url, request, 10, timeout)
        };
        let patient = Duration::from_secs(5);
        let (one, two) = tokio::join!(ask(patient), ask(patient));
        assert!(one.is_ok() && two.is_ok());
        assert_eq!(dialer.idle.lock()[&url].len(), 2);
        let silence = ask(Duration::from_millis(1)).await;
        assert!(matches!(silence, Err(Error::Timeout)), "{silence:?}");
        assert_eq!(&ask(patient).await.unwrap().body()[..], b"new");
        served.await.unwrap();
    }

    #[tokio::test]
    async fn an_answer_longer_than_allowed_is_refused() {
        let (url, _served) = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd").await;
        let request = Request::get("/").body(Bytes::new()).unwrap();
        let dialer = Dialer::new(&Config::default());
        let response = dialer.request(&url, request, 3, Duration::from_secs(5)).await;
        assert!(matches!(response, Err(Error::TooLong(3))), "{response:?}");
    }

    #[tokio::test]
    async fn urls_that_cannot_be_dialed_are_refused() {
        let dialer = Dialer::new(&Config::default());
        for url in ["", "127.0.0.1:1", "https://127.0.0.1:1", "http://127.0.0.1"] {
            assert!(matches!(dialer.connect(url, None).await, Err(Error::Url(_))), "{url}");
        }
    }
}
