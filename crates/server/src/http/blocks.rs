//! Header blocks of answers. Those of nearly every call are made once.

use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http2::hpack::{put_literal, put_status};

static GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
static GRPC_HEAD: LazyLock<Bytes> = LazyLock::new(|| {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, GRPC.clone());
    encode(Some(StatusCode::OK), &headers)
});
static GRPC_OK: LazyLock<Bytes> = LazyLock::new(|| encode(None, &crate::rpc::body::trailers_ok()));

/// Block of a response's head.
pub fn head(status: StatusCode, headers: &HeaderMap) -> Bytes {
    let is_usual = status == StatusCode::OK
        && headers.len() == 1
        && headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == GRPC);
    if is_usual { GRPC_HEAD.clone() } else { encode(Some(status), headers) }
}

/// Block of what follows a body.
pub fn trailers(trailers: &HeaderMap) -> Bytes {
    let is_ok = trailers.len() == 1 && trailers.get("grpc-status").is_some_and(|status| status == "0");
    if is_ok { GRPC_OK.clone() } else { encode(None, trailers) }
}

fn encode(status: Option<StatusCode>, headers: &HeaderMap) -> Bytes {
    let mut out = BytesMut::new();
    if let Some(status) = status {
        put_status(&mut out, status.as_u16());
    }
    for (name, value) in headers {
        put_literal(&mut out, name.as_str().as_bytes(), value.as_bytes());
    }
    out.freeze()
}
