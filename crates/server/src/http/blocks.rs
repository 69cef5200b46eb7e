//! Header blocks of answers. Those of nearly every call are made once.

use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use http2::hpack::{put_literal, put_status};

use crate::rpc::body::{trailers_of, trailers_ok};
use crate::rpc::error::Status;

static HEAD: LazyLock<Bytes> = LazyLock::new(|| head_with(StatusCode::OK, &HeaderMap::new()));
static OK: LazyLock<Bytes> = LazyLock::new(|| trailers(&trailers_ok()));

/// Block of the head of an answer with messages.
pub fn head() -> &'static [u8] {
    &HEAD
}

/// Block of what follows the messages of a call that went well.
pub fn ok() -> Bytes {
    OK.clone()
}

/// Block of what follows messages.
pub fn trailers(trailers: &HeaderMap) -> Bytes {
    let mut out = BytesMut::new();
    put(&mut out, trailers);
    out.freeze()
}

/// Block of an answer that is no more than a status.
pub fn status(http: StatusCode, status: &Status) -> Bytes {
    head_with(http, &trailers_of(status))
}

fn head_with(http: StatusCode, fields: &HeaderMap) -> Bytes {
    let mut out = BytesMut::new();
    put_status(&mut out, http.as_u16());
    put_literal(&mut out, b"content-type", b"application/grpc");
    put(&mut out, fields);
    out.freeze()
}

fn put(out: &mut BytesMut, fields: &HeaderMap) {
    for (name, value) in fields {
        put_literal(out, name.as_str().as_bytes(), value.as_bytes());
    }
}
