//! Bad, slow and greedy clients: each is refused with etcd's words or simply bears the loss, the server stays small, and
//! everybody else is served meanwhile.
//!
//! With `ETCD_GO` naming a Go etcd 3.7 the table of answers is checked against it, too.
mod harness;
use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use harness::{Member, Ports, balsa};
use http::{HeaderMap, Request};
use prost::Message as _;
use proto::etcdserverpb as pb;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// How a call ended: HTTP status, gRPC status, text.
#[derive(Debug, PartialEq)]
struct Ended(u16, String, String);

type Sender = SendRequest<Bytes>;

async fn connect(port: u16) -> Sender {
    let socket = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("connect");
    let (sender, connection) = h2::client::handshake(socket).await.expect("handshake");
    tokio::spawn(connection);
    sender
}

fn framed(message: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(5 + message.len());
    out.put_u8(0);
    out.put_u32(u32::try_from(message.len()).expect("short"));
    out.put_slice(message);
    out.freeze()
}

/// One call with exactly this body and these headers beside the usual ones (an empty value removes one).
async fn call(port: u16, path: &str, body: Bytes, more: &[(&'static str, &str)]) -> Ended {
    let mut sender = connect(port).await.ready().await.expect("ready");
    let mut request = Request::post(format!("http://127.0.0.1{path}"));
    let headers = request.headers_mut().expect("headers");
    headers.insert("content-type", "application/grpc".parse().expect("valid"));
    headers.insert("te", "trailers".parse().expect("valid"));
    for (name, value) in more {
        headers.remove(*name);
        if !value.is_empty() {
            headers.insert(*name, value.parse().expect("valid"));
        }
    }
    let (response, mut stream) =
        sender.send_request(request.body(()).expect("request"), false).expect("send");
    // The server may answer before it has read all of it.
    let sent = tokio::spawn(async move { send_all(&mut stream, body).await });
    let ended =
        match tokio::time::timeout(Duration::from_secs(10), response).await.expect("an answer in 10 s") {
            Ok(response) => {
                let (parts, mut body) = response.into_parts();
                while let Some(Ok(data)) = body.data().await {
                    let _ = body.flow_control().release_capacity(data.len());
                }
                let trailers = body.trailers().await.ok().flatten().unwrap_or(parts.headers);
                Ended(parts.status.as_u16(), text(&trailers, "grpc-status"), text(&trailers, "grpc-message"))
            }
            Err(error) => Ended(0, "reset".into(), error.to_string()),
        };
    sent.abort();
    ended
}

async fn send_all(stream: &mut h2::SendStream<Bytes>, mut body: Bytes) {
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let Some(Ok(room)) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await else { return };
        if stream.send_data(body.split_to(room.min(body.len())), false).is_err() {
            return;
        }
    }
    let _ = stream.send_data(Bytes::new(), true);
}

fn text(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).map_or(String::new(), |v| String::from_utf8_lossy(v.as_bytes()).into_owned())
}

fn put(key: &str, value_len: usize) -> Bytes {
    let request = pb::PutRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: vec![b'v'; value_len].into(),
        ..Default::default()
    };
    framed(&request.encode_to_vec())
}

fn txn(puts: usize) -> Bytes {
    let op = |n: usize| pb::RequestOp {
        request: Some(pb::request_op::Request::RequestPut(pb::PutRequest {
            key: format!("k{n}").into(),
            ..Default::default()
        })),
    };
    let request = pb::TxnRequest { success: (0..puts).map(op).collect(), ..Default::default() };
    framed(&request.encode_to_vec())
}

const PUT: &str = "/etcdserverpb.KV/Put";
const RANGE: &str = "/etcdserverpb.KV/Range";
const WATCH: &str = "/etcdserverpb.Watch/Watch";
const KEEP_ALIVE: &str = "/etcdserverpb.Lease/LeaseKeepAlive";

/// Path, body, headers, and how Go 3.7.1 ends the call.
type Row = (&'static str, &'static str, Bytes, Vec<(&'static str, &'static str)>, Ended);

fn ended(status: u16, code: &str, message: &str) -> Ended {
    Ended(status, code.into(), message.into())
}

fn rows() -> Vec<Row> {
    let garbage = || framed(b"\xff\xff\xff\xff");
    let mut compressed = put("a", 1).to_vec();
    compressed[0] = 1;
    let compressed = Bytes::from(compressed);
    let mut odd = put("a", 1).to_vec();
    odd[0] = 7;
    let odd = Bytes::from(odd);
    let short = put("a", 100).slice(0..50);
    let wide = Bytes::from_static(b"\0\xff\xff\xff\xff");
    vec![
        ("a good put", PUT, put("a", 1), vec![], ended(200, "0", "")),
        (
            "a request above --max-request-bytes",
            PUT,
            put("a", 1_600_000),
            vec![],
            ended(200, "3", "etcdserver: request is too large"),
        ),
        (
            "a message above gRPC's limit",
            PUT,
            put("a", 3_000_000),
            vec![],
            ended(200, "8", "grpc: received message larger than max (3000008 vs. 2097152)"),
        ),
        (
            "a message that says it has 4 GiB",
            PUT,
            wide,
            vec![],
            ended(200, "8", "grpc: received message larger than max (4294967295 vs. 2097152)"),
        ),
        ("a message cut short", PUT, short, vec![], ended(200, "2", "unexpected EOF")),
        ("no message", PUT, Bytes::new(), vec![], ended(200, "2", "EOF")),
        (
            "two messages to a unary call",
            PUT,
            [put("a", 1), put("b", 1)].concat().into(),
            vec![],
            ended(200, "0", ""),
        ),
        (
            "malformed protobuf",
            PUT,
            garbage(),
            vec![],
            ended(
                200,
                "13",
                "grpc: error unmarshalling request: proto: cannot parse invalid wire-format data",
            ),
        ),
        (
            "malformed protobuf in a stream",
            WATCH,
            garbage(),
            vec![],
            ended(
                200,
                "13",
                "grpc: failed to unmarshal the received message: proto: cannot parse invalid wire-format data",
            ),
        ),
        (
            "malformed protobuf to a server stream",
            "/etcdserverpb.Maintenance/Snapshot",
            garbage(),
            vec![],
            ended(
                200,
                "13",
                "grpc: failed to unmarshal the received message: proto: cannot parse invalid wire-format data",
            ),
        ),
        (
            "a reserved payload format",
            PUT,
            odd,
            vec![],
            ended(200, "13", "grpc: received unexpected payload format 7"),
        ),
        (
            "a compressed message without an encoding",
            PUT,
            compressed.clone(),
            vec![],
            ended(200, "13", "grpc: compressed flag set with identity or empty encoding"),
        ),
        (
            "a compressed message",
            PUT,
            compressed,
            vec![("grpc-encoding", "snappy")],
            ended(200, "12", "grpc: Decompressor is not installed for grpc-encoding \"snappy\""),
        ),
        ("identity encoding", PUT, put("a", 1), vec![("grpc-encoding", "identity")], ended(200, "0", "")),
        (
            "an unknown service",
            "/foo.Bar/Baz",
            put("a", 1),
            vec![],
            ended(200, "12", "unknown service foo.Bar"),
        ),
        (
            "an unknown method",
            "/etcdserverpb.KV/Nope",
            put("a", 1),
            vec![],
            ended(200, "12", "unknown method Nope for service etcdserverpb.KV"),
        ),
        (
            "a path without a method",
            "/foo",
            put("a", 1),
            vec![],
            ended(200, "12", "malformed method name: \"/foo\""),
        ),
        (
            "another content type",
            PUT,
            put("a", 1),
            vec![("content-type", "application/json")],
            ended(415, "3", "invalid gRPC request content-type \"application/json\""),
        ),
        (
            "no content type",
            PUT,
            put("a", 1),
            vec![("content-type", "")],
            ended(415, "3", "invalid gRPC request content-type \"\""),
        ),
        (
            "a content subtype",
            PUT,
            put("a", 1),
            vec![("content-type", "application/grpc+proto")],
            ended(200, "0", ""),
        ),
        (
            "a deadline that has passed",
            RANGE,
            framed(&pb::RangeRequest { key: "a".into(), ..Default::default() }.encode_to_vec()),
            vec![("grpc-timeout", "0n")],
            ended(200, "4", "context deadline exceeded"),
        ),
        (
            "a malformed deadline",
            PUT,
            put("a", 1),
            vec![("grpc-timeout", "1x")],
            ended(400, "13", "malformed grpc-timeout: transport: timeout unit is not recognized: \"1x\""),
        ),
        ("the most operations of a txn", "/etcdserverpb.KV/Txn", txn(128), vec![], ended(200, "0", "")),
        (
            "too many operations in a txn",
            "/etcdserverpb.KV/Txn",
            txn(129),
            vec![],
            ended(200, "3", "etcdserver: too many operations in txn request"),
        ),
        (
            "a lock on an unknown lease",
            "/v3lockpb.Lock/Lock",
            framed(&proto::v3lockpb::LockRequest { name: "l".into(), lease: 77 }.encode_to_vec()),
            vec![],
            ended(200, "2", "etcdserver: requested lease not found"),
        ),
        (
            "a campaign on an unknown lease",
            "/v3electionpb.Election/Campaign",
            framed(
                &proto::v3electionpb::CampaignRequest { name: "l".into(), lease: 77, ..Default::default() }
                    .encode_to_vec(),
            ),
            vec![],
            ended(200, "2", "etcdserver: requested lease not found"),
        ),
        (
            "an API version that is no text",
            PUT,
            put("a", 1),
            vec![("client-api-version", "\u{e9}")],
            ended(200, "0", ""),
        ),
    ]
}

async fn wrong_answers(port: u16) -> Vec<String> {
    let mut wrong = Vec::new();
    for (what, path, body, headers, expected) in rows() {
        let got = call(port, path, body, &headers).await;
        if got != expected {
            wrong.push(format!("{what}: {got:?} instead of {expected:?}"));
        }
    }
    wrong
}

fn start(more: &[&str]) -> (tempfile::TempDir, Member) {
    let dir = tempfile::tempdir().expect("temporary directory");
    let member = Member::start(&balsa(), &dir.path().join("d"), Ports::free(), more);
    (dir, member)
}

#[tokio::test]
async fn bad_calls_end_with_the_codes_and_texts_of_go() {
    let (_dir, member) = start(&[]);
    let wrong = wrong_answers(member.ports.client).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn go_itself_ends_bad_calls_so() {
    let reference = std::env::var_os("ETCD_GO").map(|_| harness::reference());
    let Some(reference) = reference.filter(|r| r.version() == "3.7") else { return };
    let dir = tempfile::tempdir().expect("temporary directory");
    let none: &[&str] = &[];
    let member = Member::start(&reference.etcd, &dir.path().join("d"), Ports::free(), none);
    let wrong = wrong_answers(member.ports.client).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn resident_kib(member: &Member) -> u64 {
    memory_kib(member, "VmRSS:")
}

fn memory_kib(member: &Member, kind: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", member.pid())).expect("status");
    let line = status.lines().find(|l| l.starts_with(kind)).expect("a line of this kind");
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("KiB")
}

/// Puts of another client: the longest of `count` must stay below two seconds on any machine.
async fn others_are_served(port: u16, count: usize) {
    let mut longest = Duration::ZERO;
    for n in 0..count {
        let start = Instant::now();
        let got = call(port, PUT, put(&format!("other{n}"), 10), &[]).await;
        assert_eq!(got, ended(200, "0", ""));
        longest = longest.max(start.elapsed());
    }
    assert!(longest < Duration::from_secs(2), "a put took {longest:?}");
}

/// Opens a call and leaves it open; nothing of the answer is read.
async fn open_call(
    sender: &Sender,
    path: &str,
    body: Bytes,
) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
    let mut sender = sender.clone().ready().await.expect("ready");
    let request = Request::post(format!("http://127.0.0.1{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .expect("request");
    let (response, mut stream) = sender.send_request(request, false).expect("send");
    stream.send_data(body, false).expect("send");
    (response, stream)
}

#[tokio::test]
async fn clients_that_stop_reading_cost_little_memory_and_harm_nobody() {
    const VALUE: usize = 1 << 20;
    let (_dir, member) = start(&[]);
    let port = member.ports.client;
    for n in 0..32 {
        assert_eq!(call(port, PUT, put(&format!("big{n}"), VALUE), &[]).await.1, "0");
    }
    let before = memory_kib(&member, "RssAnon:");
    let all = Bytes::from_static(b"\0");
    let list = framed(
        &pb::RangeRequest { key: all.clone(), range_end: all.clone(), ..Default::default() }.encode_to_vec(),
    );
    let create = pb::WatchCreateRequest {
        key: all.clone(),
        range_end: all,
        start_revision: 1,
        prev_kv: true,
        ..Default::default()
    };
    let watch = framed(
        &pb::WatchRequest { request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)) }
            .encode_to_vec(),
    );
    let mut open = Vec::new();
    for _ in 0..20 {
        let sender = connect(port).await;
        open.push((open_call(&sender, RANGE, list.clone()).await, sender.clone()));
        open.push((open_call(&sender, WATCH, watch.clone()).await, sender));
    }
    for n in 0..32 {
        assert_eq!(call(port, PUT, put(&format!("big{n}"), VALUE), &[]).await.1, "0");
    }
    others_are_served(port, 20).await;
    let grown = memory_kib(&member, "RssAnon:").saturating_sub(before) / 1024;
    // What they asked for is 640 MiB of lists and 1,280 MiB of events with previous values. The writes under way and
    // the log's tail are not theirs but count here.
    assert!(grown < 200, "{grown} MiB more");
    drop(open);
    others_are_served(port, 5).await;
}

/// There is always something to be sent to it.
#[tokio::test]
async fn the_deadline_of_a_watch_ends_it_however_much_is_left_to_send() {
    let (_dir, member) = start(&[]);
    let port = member.ports.client;
    for _ in 0..32 {
        assert_eq!(call(port, PUT, put("big", 1 << 20), &[]).await.1, "0");
    }
    let create = pb::WatchCreateRequest { key: "big".into(), start_revision: 1, ..Default::default() };
    let request =
        pb::WatchRequest { request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)) };
    let mut sender = connect(port).await.ready().await.expect("ready");
    let call = Request::post(format!("http://127.0.0.1{WATCH}"))
        .header("content-type", "application/grpc")
        .header("grpc-timeout", "1S")
        .body(())
        .expect("request");
    let asked = Instant::now();
    let (response, mut stream) = sender.send_request(call, false).expect("send");
    stream.send_data(framed(&request.encode_to_vec()), false).expect("send");
    let mut body = response.await.expect("an answer").into_body();
    while let Some(Ok(data)) = body.data().await {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let _ = body.flow_control().release_capacity(data.len());
        assert!(asked.elapsed() < Duration::from_secs(4), "it goes on");
    }
    let trailers = body.trailers().await.expect("whole").expect("trailers");
    assert_eq!(text(&trailers, "grpc-status"), "4");
}

/// Every request of a watch stream is answered, and who does not read the answers must not be able to ask for ever.
#[tokio::test]
async fn watch_requests_of_a_client_that_does_not_read_wait_with_the_client() {
    let (_dir, member) = start(&[]);
    let port = member.ports.client;
    let before = memory_kib(&member, "RssAnon:");
    let sender = connect(port).await;
    let create = pb::WatchCreateRequest { key: vec![b'k'; 1000].into(), watch_id: 7, ..Default::default() };
    let request =
        pb::WatchRequest { request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)) };
    let many: Bytes = framed(&request.encode_to_vec()).repeat(1000).into();
    let (_response, mut stream) = open_call(&sender, WATCH, many.clone()).await;
    let flood = async { while stream.send_data(many.clone(), false).is_ok() && room(&mut stream).await {} };
    let _ = tokio::time::timeout(Duration::from_secs(5), flood).await;
    others_are_served(port, 20).await;
    let grown = memory_kib(&member, "RssAnon:").saturating_sub(before) / 1024;
    assert!(grown < 32, "{grown} MiB more");
}

/// Waits until all that was given to the stream is on its way.
async fn room(stream: &mut h2::SendStream<Bytes>) -> bool {
    stream.reserve_capacity(1);
    matches!(std::future::poll_fn(|cx| stream.poll_capacity(cx)).await, Some(Ok(_)))
}

/// Some clients say only in a frame of its own, and a little later, that a request is complete.
#[tokio::test]
async fn requests_that_are_closed_late_do_not_wear_a_connection_out() {
    let (_dir, member) = start(&[]);
    let sender = connect(member.ports.client).await;
    let get = framed(&pb::RangeRequest { key: "a".into(), ..Default::default() }.encode_to_vec());
    for round in 0..80 {
        let mut open = Vec::new();
        for _ in 0..20 {
            open.push(open_call(&sender, RANGE, get.clone()).await);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        for (response, mut stream) in open {
            let closed = stream.send_data(Bytes::new(), true);
            assert!(closed.is_ok(), "round {round}: {closed:?}");
            let status = response.await.map(|response| response.status().as_u16());
            assert!(matches!(status, Ok(200)), "round {round}: {status:?}");
        }
    }
}

#[tokio::test]
async fn connections_that_say_nothing_or_half_a_thing_harm_nobody() {
    let (_dir, member) = start(&[]);
    let port = member.ports.client;
    let before = resident_kib(&member);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let starts: [&[u8]; 7] = [
        b"",
        &preface[..10],
        preface,
        b"GET /health HTTP/1.1\r\nHo",
        b"POST /v3/kv/range HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x20\x01",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
    ];
    let mut sockets = Vec::new();
    for n in 0..700 {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).expect("connect");
        let _ = socket.write_all(starts[n % starts.len()]);
        sockets.push(socket);
    }
    others_are_served(port, 20).await;
    let grown = resident_kib(&member).saturating_sub(before);
    assert!(grown < 64 * 1024, "{grown} KiB more for 700 connections");
    drop(sockets);
    others_are_served(port, 5).await;
}

/// A small generator, so that a failure can be repeated.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    std::iter::repeat_with(step).take(len).collect()
}

#[tokio::test]
async fn garbage_on_either_port_ends_that_connection_alone() {
    let (_dir, member) = start(&[]);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    for seed in 0..200_u64 {
        let port = if seed % 4 == 3 { member.ports.peer } else { member.ports.client };
        let mut socket = TcpStream::connect(("127.0.0.1", port)).expect("connect");
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("timeout");
        let mut bytes = if seed % 2 == 0 { preface.clone() } else { Vec::new() };
        bytes.extend(noise(seed, 20 + (seed as usize * 37) % 3000));
        // The server may have closed already.
        let _ = socket.write_all(&bytes);
        let _ = socket.read(&mut [0; 1024]);
    }
    others_are_served(member.ports.client, 10).await;
}

#[tokio::test]
async fn streams_beyond_max_concurrent_streams_wait_for_a_place() {
    let (_dir, member) = start(&["--max-concurrent-streams=3"]);
    let port = member.ports.client;
    let sender = connect(port).await;
    let watch = framed(
        &pb::WatchRequest {
            request_union: Some(pb::watch_request::RequestUnion::CreateRequest(pb::WatchCreateRequest {
                key: "a".into(),
                ..Default::default()
            })),
        }
        .encode_to_vec(),
    );
    let mut open = Vec::new();
    for _ in 0..3 {
        let (response, stream) = open_call(&sender, WATCH, watch.clone()).await;
        open.push((response.await.expect("an open watch"), stream));
    }
    assert_eq!(sender.current_max_send_streams(), 3);
    let (fourth, _stream) = {
        let mut waiting = sender.clone();
        let request = Request::post(format!("http://127.0.0.1{WATCH}"))
            .header("content-type", "application/grpc")
            .body(())
            .expect("request");
        waiting.send_request(request, false).expect("queued by the client")
    };
    assert!(
        tokio::time::timeout(Duration::from_millis(300), fourth).await.is_err(),
        "a fourth stream is served"
    );
    others_are_served(port, 3).await;
}

#[tokio::test]
async fn streams_of_clients_that_send_nonsense_are_counted_and_those_of_clients_that_leave_are_not() {
    let (_dir, member) = start(&[]);
    let port = member.ports.client;
    let failures = |api: &str| {
        let page = harness::http_get(port, "/metrics").expect("the page");
        let name = format!("etcd_network_server_stream_failures_total{{API=\"{api}\",Type=\"receive\"}} ");
        page.lines().find_map(|line| line.strip_prefix(&name)?.parse::<u32>().ok()).unwrap_or(0)
    };
    for (path, api) in [(WATCH, "watch"), (KEEP_ALIVE, "lease-keepalive")] {
        let sender = connect(port).await;
        drop(open_call(&sender, path, Bytes::new()).await);
        drop(sender);
        // What left is not among them.
        for n in 1..=2 {
            assert_ne!(call(port, path, framed(b"\xff\xff"), &[]).await.1, "0");
            assert_eq!(failures(api), n, "{api}");
        }
    }
}

#[tokio::test]
async fn rapid_resets_are_bounded_and_harm_nobody() {
    let (_dir, member) = start(&[]);
    let port = member.ports.client;
    let before = resident_kib(&member);
    let mut ended = 0;
    for _ in 0..5 {
        let sender = connect(port).await;
        for _ in 0..2000 {
            let Ok(mut ready) = sender.clone().ready().await else {
                ended += 1;
                break;
            };
            let request = Request::post(format!("http://127.0.0.1{WATCH}"))
                .header("content-type", "application/grpc")
                .body(())
                .expect("request");
            let Ok((response, mut stream)) = ready.send_request(request, false) else {
                ended += 1;
                break;
            };
            stream.send_reset(h2::Reason::CANCEL);
            drop(response);
            tokio::task::yield_now().await;
        }
    }
    others_are_served(port, 10).await;
    let grown = resident_kib(&member).saturating_sub(before);
    assert!(grown < 64 * 1024, "{grown} KiB more; {ended} connections were ended by the server");
}

#[tokio::test]
async fn a_header_list_above_the_limit_is_refused() {
    let (_dir, member) = start(&[]);
    let port = member.ports.client;
    let big = "x".repeat(64 * 1024);
    // Go takes headers of this size, too.
    assert_eq!(call(port, PUT, put("a", 1), &[("x-big", &big)]).await, ended(200, "0", ""));
    let mut socket = TcpStream::connect(("127.0.0.1", port)).expect("connect");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
    let _ = socket.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n");
    let line = format!("X-Big: {big}\r\n");
    for _ in 0..400 {
        if socket.write_all(line.as_bytes()).is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer);
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 431"), "{text}");
    others_are_served(port, 3).await;
}

#[tokio::test]
async fn pings_are_answered_and_silent_clients_are_pinged() {
    let (_dir, member) = start(&["--grpc-keepalive-interval=1s", "--grpc-keepalive-timeout=1s"]);
    let port = member.ports.client;
    let socket = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("connect");
    let (_sender, mut connection) = h2::client::handshake(socket).await.expect("handshake");
    let mut pings = connection.ping_pong().expect("ping");
    tokio::spawn(connection);
    pings.ping(h2::Ping::opaque()).await.expect("pong");
    // One that never answers a ping is dropped.
    let mut silent = TcpStream::connect(("127.0.0.1", port)).expect("connect");
    silent.set_read_timeout(Some(Duration::from_secs(8))).expect("timeout");
    silent.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").expect("preface");
    let start = Instant::now();
    let mut all = Vec::new();
    let _ = silent.read_to_end(&mut all);
    assert!(start.elapsed() < Duration::from_secs(6), "still open after {:?}", start.elapsed());
    // 8 bytes of frame type 6: a ping.
    assert!(all.windows(9).any(|w| w == [0, 0, 8, 6, 0, 0, 0, 0, 0]), "no ping in {all:?}");
}
