//! The front door: HTTP/1.1 and HTTP/2 on one port, one current-thread runtime per core. HTTP/1.1 is hyper's; HTTP/2, on
//! which everything hot comes, our own (docs/decisions/0005).
//!
//! An accepted socket goes to the front loop with the fewest connections and stays there, so that nothing a request
//! touches on its way in or out is shared between cores.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncReadExt;
use tokio::sync::{mpsc, watch};

use super::alone;
use super::h2::Serving;
use super::inbox::Inbox;
use super::listener::{Accepted, Listener, Remote, Socket};
use crate::rpc::{self, body::Body};

/// Sockets that may wait for a front loop; above that the listener itself waits.
const HANDOVER_MAX: usize = 256;
/// How long open connections may finish what they do after a stop.
const DRAIN: Duration = Duration::from_secs(2);

/// One answer under way.
pub type Answer = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;
/// Answers one request of HTTP/1.1.
pub type Requests = Arc<dyn Fn(Request<Incoming>) -> Answer + Send + Sync>;
/// Answers one request of HTTP/2.
pub type Calls = Arc<dyn Fn(Arc<http2::Head>, Inbox, Remote) -> rpc::Answer + Send + Sync>;

/// What a listener serves.
#[derive(Clone)]
pub struct Service {
    /// HTTP/1.1.
    pub requests: Requests,
    /// HTTP/2, if at all.
    pub calls: Option<Calls>,
}

/// Limits of every connection.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// HTTP/2 streams at a time; `None` is no limit.
    pub streams_max: Option<u32>,
    /// Interval of the server's pings; zero turns them off.
    pub keepalive_interval: Duration,
    /// Wait for the answer to a ping.
    pub keepalive_timeout: Duration,
    /// Clients that ping more often than this are sent away.
    pub ping_interval_min: Duration,
}

struct Loop {
    runtime: tokio::runtime::Handle,
    sockets: mpsc::Sender<(Accepted, Service)>,
    connections: Arc<AtomicUsize>,
}

/// The front loops; they live until the sender of `stop` says true.
pub struct Door {
    loops: Arc<Vec<Loop>>,
    threads: Vec<std::thread::JoinHandle<()>>,
    stop: watch::Receiver<bool>,
}

impl Door {
    /// Starts `count` front loops, whose threads are called `name`. `enter` runs first on each loop's thread, inside its
    /// runtime.
    pub fn start(
        name: &str,
        count: usize,
        limits: Limits,
        stop: watch::Receiver<bool>,
        enter: impl Fn(usize) + Send + Sync + 'static,
    ) -> std::io::Result<Door> {
        let enter = Arc::new(enter);
        let (mut loops, mut threads) = (Vec::new(), Vec::new());
        for at in 0..count.max(1) {
            let (sockets, arriving) = mpsc::channel(HANDOVER_MAX);
            let connections = Arc::new(AtomicUsize::new(0));
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            loops.push(Loop { runtime: runtime.handle().clone(), sockets, connections: connections.clone() });
            let (stop, enter) = (stop.clone(), enter.clone());
            let run = move || {
                runtime.block_on(async move {
                    enter(at);
                    serve_loop(arriving, connections, limits, stop).await;
                });
            };
            threads.push(std::thread::Builder::new().name(format!("{name}-{at}")).spawn(run)?);
        }
        Ok(Door { loops: Arc::new(loops), threads, stop })
    }

    /// Where tasks run beside the connections of the first loop.
    pub fn runtime(&self) -> &tokio::runtime::Handle {
        // There is always one.
        &self.loops[0].runtime
    }

    /// Accepts on `listener` from now on. Must be called inside a runtime.
    pub fn open(&self, listener: Listener, service: Service) {
        let (loops, mut stop) = (self.loops.clone(), self.stop.clone());
        tokio::spawn(async move {
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    _ = stop.wait_for(|stop| *stop) => return,
                };
                match accepted {
                    Ok(socket) => hand_over(&loops, socket, &service).await,
                    // Out of descriptors, or the client left already: let things settle.
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        });
    }

    /// Waits until every loop has ended.
    pub fn join(self) {
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

async fn hand_over(loops: &[Loop], socket: Accepted, service: &Service) {
    let Some(least) = loops.iter().min_by_key(|l| l.connections.load(Ordering::Relaxed)) else { return };
    least.connections.fetch_add(1, Ordering::Relaxed);
    if least.sockets.send((socket, service.clone())).await.is_err() {
        least.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn serve_loop(
    mut arriving: mpsc::Receiver<(Accepted, Service)>,
    connections: Arc<AtomicUsize>,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let (socket, service) = tokio::select! {
            arrived = arriving.recv() => match arrived {
                Some(arrived) => arrived,
                None => break,
            },
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let Ok((socket, remote)) = socket.enter() else {
            connections.fetch_sub(1, Ordering::Relaxed);
            continue;
        };
        let (connections, stop) = (connections.clone(), stop.clone());
        tokio::spawn(async move {
            let _here = alone::Connection::begin();
            serve_connection(socket, remote, service, limits, stop).await;
            connections.fetch_sub(1, Ordering::Relaxed);
        });
    }
    let deadline = tokio::time::Instant::now() + DRAIN;
    while connections.load(Ordering::Relaxed) > 0 && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn serve_connection(
    mut socket: Socket,
    remote: Remote,
    service: Service,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) {
    let mut begun = BytesMut::new();
    let is_http2 = tokio::select! {
        is_http2 = begins_as_http2(&mut socket, &mut begun) => is_http2,
        _ = stop.wait_for(|stop| *stop) => return,
    };
    let stopped = async move {
        // A closed channel is a member that is gone already.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    match service.calls.filter(|_| is_http2) {
        Some(calls) => Serving::new(socket, begun, remote, calls, limits, stopped).await,
        None => serve_requests(socket, begun, service.requests, stopped).await,
    }
}

/// Reads as much as it takes to tell. No method of HTTP/1.1 begins as the preface of HTTP/2 does.
async fn begins_as_http2(socket: &mut Socket, begun: &mut BytesMut) -> bool {
    const TELLING: usize = 3;
    while begun.len() < TELLING && http2::PREFACE.starts_with(begun) {
        // What has ended is for the server of HTTP/1.1 to find out.
        if !matches!(socket.read_buf(begun).await, Ok(1..)) {
            return false;
        }
    }
    begun.starts_with(&http2::PREFACE[..TELLING])
}

async fn serve_requests(
    socket: Socket,
    begun: BytesMut,
    requests: Requests,
    stopped: impl Future<Output = ()>,
) {
    let (read, write) = tokio::io::split(socket);
    let socket = tokio::io::join(std::io::Cursor::new(begun).chain(read), write);
    let service = service_fn(move |request| {
        let answer = requests(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection =
        http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(socket), service);
    tokio::pin!(connection);
    // An error here is a client that broke off or broke the protocol; hyper has told it what there is to tell.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stopped => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
