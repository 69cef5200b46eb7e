//! Txns nested in txns end as under Go etcd, whatever their depth. Written by hand: client libraries refuse to decode the
//! answers to deep ones.
mod harness;
use bytes::{BufMut, Bytes, BytesMut};
use harness::{Member, Ports, balsa, reference};
use http::Request;
use prost::Message as _;
use proto::etcdserverpb as pb;
use std::path::Path;

/// A put within `depth` txns, in a gRPC frame.
fn nested(depth: usize) -> Bytes {
    let put = pb::PutRequest { key: "k".into(), value: depth.to_string().into(), ..Default::default() };
    let mut op = pb::request_op::Request::RequestPut(put);
    for _ in 1..depth {
        let success = vec![pb::RequestOp { request: Some(op) }];
        op = pb::request_op::Request::RequestTxn(pb::TxnRequest { success, ..Default::default() });
    }
    let success = vec![pb::RequestOp { request: Some(op) }];
    let message = pb::TxnRequest { success, ..Default::default() }.encode_to_vec();
    let mut out = BytesMut::new();
    out.put_u8(0);
    out.put_u32(u32::try_from(message.len()).expect("short"));
    out.put_slice(&message);
    out.freeze()
}

/// gRPC status and text of a Txn, and how long the answer's body is.
async fn txn(port: u16, body: Bytes) -> (String, String, usize) {
    let socket = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("connect");
    let (sender, connection) = h2::client::handshake(socket).await.expect("handshake");
    tokio::spawn(connection);
    let request = Request::post(format!("http://127.0.0.1:{port}/etcdserverpb.KV/Txn"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .expect("request");
    let mut sender = sender.ready().await.expect("ready");
    let (response, mut stream) = sender.send_request(request, false).expect("send");
    stream.send_data(body, true).expect("send");
    let (head, mut body) = response.await.expect("answer").into_parts();
    let mut length = 0;
    while let Some(data) = body.data().await {
        let data = data.expect("data");
        length += data.len();
        body.flow_control().release_capacity(data.len()).expect("capacity");
    }
    let trailers = body.trailers().await.expect("trailers").unwrap_or(head.headers);
    let text = |name| {
        trailers.get(name).map_or(String::new(), |v| String::from_utf8_lossy(v.as_bytes()).into_owned())
    };
    (text("grpc-status"), text("grpc-message"), length)
}

fn transcript(server: &Path, ports: Ports, more: &[String]) -> Vec<(usize, (String, String, usize))> {
    let dir = tempfile::tempdir().expect("temporary directory");
    let _member = Member::start(server, &dir.path().join("data"), ports, more);
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let depths = [1, 2, 48, 49, 100, 127, 128, 129, 256, 257, 1000, 4000];
    runtime.block_on(async {
        let mut all = Vec::new();
        for depth in depths {
            all.push((depth, txn(ports.client, nested(depth)).await));
        }
        all
    })
}

#[test]
fn txns_nested_to_any_depth_end_as_under_go_etcd() {
    let ports = Ports::free();
    let go = transcript(&reference().etcd, ports, &[]);
    assert_eq!(go.iter().filter(|(_, (status, ..))| status == "0").count(), 7, "{go:?}");
    assert_eq!(transcript(&balsa(), ports, &reference().emulation()), go);
}
