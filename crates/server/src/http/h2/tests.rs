//! One connection with handlers made for the test, and the `h2` crate as its client.

use std::future::pending;
use std::io::Cursor;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

use http::Request;
use tokio::io::{DuplexStream, ReadBuf};
use tokio::sync::{Notify, mpsc};

use super::*;
use crate::rpc::body::Message;

type Client = h2::client::SendRequest<Bytes>;

fn serve(socket: DuplexStream, calls: Calls) {
    let limits = Limits {
        streams_max: None,
        keepalive_interval: Duration::ZERO,
        keepalive_timeout: Duration::ZERO,
        ping_interval_min: Duration::from_secs(1),
    };
    tokio::spawn(Serving::new(socket, BytesMut::new(), None, calls, limits, pending()));
}

/// A connection whose client takes `window` bytes of each answer unasked.
async fn connect(window: u32, calls: Calls) -> Client {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    serve(ours, calls);
    let (client, connection) =
        h2::client::Builder::new().initial_window_size(window).handshake(theirs).await.unwrap();
    tokio::spawn(connection);
    client.ready().await.unwrap()
}

fn request(path: &str) -> Request<()> {
    Request::post(format!("http://test{path}")).body(()).unwrap()
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), what).await.expect("in time")
}

/// A stream of one message, and what keeps it open.
fn long_body() -> (mpsc::Sender<Result<Message, crate::rpc::error::Status>>, Body) {
    let (sink, source) = mpsc::channel(4);
    sink.try_send(Ok(Message::Whole(vec![7; 100_000].into()))).unwrap();
    (sink, Body::stream(source, crate::stats::started(crate::stats::method("/test"))))
}

#[tokio::test]
async fn a_client_that_gives_up_a_stalled_answer_takes_nobody_with_it() {
    let go = Arc::new(Notify::new());
    let (calls_go, (sink, body)) = (go.clone(), long_body());
    let body = std::sync::Mutex::new(Some(body));
    let calls: Calls = Arc::new(move |head, _, _| match &head.path[..] {
        b"/long" => {
            let body = body.lock().unwrap().take().unwrap();
            Box::pin(async { Answered::Body(body) })
        }
        _ => {
            let go = calls_go.clone();
            Box::pin(async move {
                go.notified().await;
                Answered::NoCall(StatusCode::OK, crate::rpc::error::CANCELED)
            })
        }
    });
    let mut client = connect(10, calls).await;
    let (long, _) = client.send_request(request("/long"), true).unwrap();
    let mut long = soon(long).await.unwrap().into_body();
    assert!(!soon(long.data()).await.unwrap().unwrap().is_empty());
    // The rest of the answer waits for a window, its work for nothing; the next stream's work comes in its place.
    let (slow, _) = client.clone().send_request(request("/slow"), true).unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    drop(long);
    soon(sink.closed()).await;
    go.notify_one();
    assert!(soon(slow).await.unwrap().status().is_success());
}

#[tokio::test]
async fn a_handler_with_a_task_of_its_own_gets_a_body_of_any_length() {
    const LEN: usize = 5 << 20;
    let (got, mut gets) = mpsc::unbounded_channel();
    let calls: Calls = Arc::new(move |_, mut inbox, _| {
        let got = got.clone();
        tokio::spawn(async move {
            // The client has to stop; then the windows open again piece by piece.
            tokio::time::sleep(Duration::from_millis(50)).await;
            while let Some(bytes) = inbox.next().await.unwrap() {
                got.send(bytes.len()).unwrap();
                tokio::task::yield_now().await;
            }
        });
        Box::pin(pending())
    });
    let mut client = connect(1 << 20, calls).await;
    let (_answer, mut body) = client.send_request(request("/long"), false).unwrap();
    body.send_data(vec![1; LEN].into(), true).unwrap();
    let all = async {
        let mut all = 0;
        while all < LEN {
            all += gets.recv().await.unwrap();
        }
        all
    };
    assert_eq!(soon(all).await, LEN);
}

/// A socket whose client has said all it will, and takes everything at once until it has no room.
struct Greedy {
    said: Cursor<Vec<u8>>,
    taken: Arc<AtomicUsize>,
    room: usize,
}

impl AsyncRead for Greedy {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let rest = self.said.get_ref().len() - self.said.position() as usize;
        if rest == 0 {
            return Poll::Pending;
        }
        let mut bytes = vec![0; rest.min(buf.remaining())];
        std::io::Read::read_exact(&mut self.said, &mut bytes)?;
        buf.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Greedy {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let len = bytes.len().min(self.room - self.taken.load(Ordering::Relaxed));
        self.taken.fetch_add(len, Ordering::Relaxed);
        if len == 0 { Poll::Pending } else { Poll::Ready(Ok(len)) }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A connection with as large windows as there are, on which these paths (of one letter) are asked for, and what is taken
/// of its answers.
fn asked(paths: &[u8], room: usize, calls: Calls) -> (Serving<Greedy>, Arc<AtomicUsize>) {
    let mut said = http2::PREFACE.to_vec();
    said.extend(b"\0\0\x06\x04\0\0\0\0\0\0\x04\x7f\xff\xff\xff");
    said.extend(b"\0\0\x04\x08\0\0\0\0\0\x7f\0\0\0");
    for (nth, path) in paths.iter().enumerate() {
        said.extend(b"\0\0\x06\x01\x05\0\0\0");
        said.extend([2 * nth as u8 + 1, 0x83, 0x86, 0x04, 0x02, b'/', *path]);
    }
    let taken = Arc::default();
    let socket = Greedy { said: Cursor::new(said), taken: Arc::clone(&taken), room };
    let limits = Limits {
        streams_max: None,
        keepalive_interval: Duration::ZERO,
        keepalive_timeout: Duration::ZERO,
        ping_interval_min: Duration::from_secs(1),
    };
    (Serving::new(socket, BytesMut::new(), None, calls, limits, pending()), taken)
}

fn long_list(len: usize) -> Body {
    let (head, tail) = (Bytes::new(), Bytes::new());
    let records = vec![Bytes::from_static(&[7; 1024]); len / 1024].into();
    Body::unary(Message::List { head, records, tail })
}

/// Polls until the connection has nothing to do; how much was taken in each turn.
fn run(serving: &mut Serving<Greedy>, woken: &Arc<Woken>, taken: &AtomicUsize) -> Vec<usize> {
    let waker = Waker::from(woken.clone());
    let mut turns = Vec::new();
    woken.0.store(true, Ordering::Relaxed);
    while woken.0.swap(false, Ordering::Relaxed) {
        let before = taken.load(Ordering::Relaxed);
        assert!(Pin::new(&mut *serving).poll(&mut Context::from_waker(&waker)).is_pending());
        turns.push(taken.load(Ordering::Relaxed) - before);
    }
    turns
}

#[tokio::test]
async fn a_long_answer_that_is_taken_at_once_lets_others_go_between_its_bursts() {
    const LEN: usize = 10 << 20;
    let calls: Calls = Arc::new(|_, _, _| Box::pin(async { Answered::Body(long_list(LEN)) }));
    let (mut serving, taken) = asked(b"a", usize::MAX, calls);
    let bursts = run(&mut serving, &Arc::default(), &taken);
    assert!(taken.load(Ordering::Relaxed) > LEN, "{bursts:?}");
    assert!(bursts.iter().all(|burst| *burst < BURST_BYTES + 100_000), "{bursts:?}");
}

#[tokio::test]
async fn a_client_that_takes_nothing_does_not_keep_its_handlers_from_ending() {
    let (go, ended) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let (calls_go, calls_ended) = (go.clone(), ended.clone());
    let calls: Calls = Arc::new(move |head, _, _| match &head.path[..] {
        b"/a" => Box::pin(async { Answered::Body(long_list(10 << 20)) }),
        _ => {
            let (go, ended) = (calls_go.clone(), calls_ended.clone());
            Box::pin(async move {
                go.notified().await;
                ended.fetch_add(1, Ordering::Relaxed);
                Answered::NoCall(StatusCode::OK, crate::rpc::error::CANCELED)
            })
        }
    });
    let (mut serving, taken) = asked(b"bbba", 100_000, calls);
    let woken = Arc::<Woken>::default();
    run(&mut serving, &woken, &taken);
    assert_eq!((taken.load(Ordering::Relaxed), ended.load(Ordering::Relaxed)), (100_000, 0));
    for nth in 1..=3 {
        go.notify_one();
        assert!(woken.0.load(Ordering::Relaxed), "handler {nth} can go on");
        run(&mut serving, &woken, &taken);
        assert_eq!(ended.load(Ordering::Relaxed), nth);
    }
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn connections_share_what_may_wait_for_their_sockets_but_each_has_its_least() {
    assert_eq!([0, 1, 8].map(burst_bytes), [BURST_BYTES; 3]);
    assert_eq!([16, 31].map(burst_bytes), [512 << 10, (8 << 20) / 31]);
    assert_eq!([32, 33, 100_000].map(burst_bytes), [OUTPUT_MAX; 3]);
}
