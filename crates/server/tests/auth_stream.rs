//! Permissions that are taken away while an answer is under way.
mod harness;

use bytes::{BufMut, Bytes, BytesMut};
use client::{Client, Options};
use harness::{Member, Ports, balsa};
use http::Request;
use prost::Message as _;
use proto::etcdserverpb as pb;

/// Enough for many chunks beyond what a client that reads nothing leaves room for.
const KEYS: usize = 1000;
/// With chunks of a few keys.
const FLAGS: [&str; 3] = ["--max-request-bytes=2000", "--unsafe-no-fsync", "--bcrypt-cost=4"];

fn user_add(name: &str, password: &str) -> pb::AuthUserAddRequest {
    pb::AuthUserAddRequest { name: name.into(), password: password.into(), ..Default::default() }
}

fn grant(user: &str, role: &str) -> pb::AuthUserGrantRoleRequest {
    pb::AuthUserGrantRoleRequest { user: user.into(), role: role.into() }
}

/// Keys under `k`, which `u` may read; auth is on. Answers with a client that may do everything.
async fn prepare(endpoint: &str) -> Client {
    let client = Client::connect(Options::to([endpoint])).await.expect("a client");
    for n in 0..KEYS {
        let value = vec![b'v'; 300].into();
        let put = pb::PutRequest { key: format!("k{n:04}").into(), value, ..Default::default() };
        client.put(put).await.expect("a key");
    }
    for (user, password, role) in [("root", "r", "root"), ("u", "p", "reader")] {
        client.user_add(user_add(user, password)).await.expect("a user");
        client.role_add(pb::AuthRoleAddRequest { name: role.into() }).await.expect("a role");
        client.user_grant_role(grant(user, role)).await.expect("granted");
    }
    let perm = proto::authpb::Permission { perm_type: 0, key: "k".into(), range_end: "l".into() };
    let granted = pb::AuthRoleGrantPermissionRequest { name: "reader".into(), perm: Some(perm) };
    client.role_grant_permission(granted).await.expect("granted");
    client.auth_enable(pb::AuthEnableRequest {}).await.expect("auth is on");
    let user = Some(("root".into(), "r".into()));
    Client::connect(Options { user, ..Options::to([endpoint]) }).await.expect("a client")
}

/// Opens a RangeStream over all keys, waits for the first of the answer, and makes no room for more than comes unasked.
async fn open(port: u16, token: &str) -> (Bytes, h2::RecvStream) {
    let socket = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("connect");
    let (sender, connection) = h2::client::handshake(socket).await.expect("handshake");
    tokio::spawn(connection);
    let request = Request::post(format!("http://127.0.0.1:{port}/etcdserverpb.KV/RangeStream"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("token", token)
        .body(())
        .expect("a request");
    let range =
        pb::RangeRequest { key: "k".into(), range_end: "l".into(), ..Default::default() }.encode_to_vec();
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(range.len()).expect("short"));
    framed.put_slice(&range);
    let mut sender = sender.ready().await.expect("ready");
    let (response, mut stream) = sender.send_request(request, false).expect("sent");
    stream.send_data(framed.freeze(), true).expect("sent");
    let mut body = response.await.expect("an answer").into_body();
    let first = body.data().await.expect("no end yet").expect("data");
    (first, body)
}

/// Reads the rest: the length of all, and how it ended.
async fn rest((first, mut body): (Bytes, h2::RecvStream)) -> (usize, String) {
    let mut len = 0;
    let mut next = Some(Ok(first));
    while let Some(data) = next {
        let data: Bytes = data.expect("data");
        len += data.len();
        body.flow_control().release_capacity(data.len()).expect("it was given");
        next = body.data().await;
    }
    let trailers = body.trailers().await.expect("an end").expect("trailers");
    let message = trailers.get("grpc-message").map(|text| text.to_str().expect("a text").to_owned());
    (len, message.unwrap_or_default())
}

#[tokio::test]
async fn a_range_stream_ends_when_its_user_may_no_longer_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let member = Member::start(&balsa(), &dir.path().join("d"), Ports::free(), &FLAGS);
    let root = prepare(&member.ports.endpoint()).await;
    let request = pb::AuthenticateRequest { name: "u".into(), password: "p".into() };
    let token = root.fetch_token(request).await.expect("a token").token;
    let (all, end) = rest(open(member.ports.client, &token).await).await;
    assert!(all > KEYS * 300 && end.is_empty(), "{all} bytes, {end:?}");

    let stopped = open(member.ports.client, &token).await;
    let revoked = pb::AuthUserRevokeRoleRequest { name: "u".into(), role: "reader".into() };
    root.user_revoke_role(revoked).await.expect("revoked");
    let (some, end) = rest(stopped).await;
    assert!(some < all, "{some} bytes of {all}");
    // The second if the change comes between the look at who asks and the look at what they may.
    let ends = ["etcdserver: permission denied", "etcdserver: revision of auth store is old"];
    assert!(ends.contains(&end.as_str()), "{end}");
}
