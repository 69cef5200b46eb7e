//! gRPC over HTTP/2 as Go's library speaks it: message frames in, and checks of the headers.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::error::{Code, Status};
use crate::http::inbox::{Gone, Inbox};
use crate::stats::Started;

const HEADER_BYTES: usize = 5;

/// Reads the messages of a request body.
pub struct Messages {
    body: Inbox,
    buffered: BytesMut,
    single: Bytes,
    limit_bytes: usize,
    ended: bool,
    counted: Started,
}

impl Messages {
    /// Messages longer than `limit_bytes` are refused.
    pub fn new(body: Inbox, limit_bytes: usize, counted: Started) -> Messages {
        Messages { body, buffered: BytesMut::new(), single: Bytes::new(), limit_bytes, ended: false, counted }
    }

    /// The next message; `None` when the client has closed its side.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Status>> {
        loop {
            if let Some(message) = self.take_message()? {
                self.counted.received(message.len());
                return Poll::Ready(Ok(Some(message)));
            }
            if self.ended {
                return Poll::Ready(match self.pending_len() {
                    0 => Ok(None),
                    _ => Err(Status::fixed(Code::Unknown, "unexpected EOF")),
                });
            }
            match ready!(self.body.poll_next(cx)) {
                Ok(Some(data)) => self.push(data),
                Ok(None) => self.ended = true,
                Err(Gone) => return Poll::Ready(Err(super::error::CANCELED)),
            }
        }
    }

    /// The same, waiting.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The only message of a call, which must come.
    pub fn poll_one(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Status>> {
        self.poll_next(cx).map(|next| next?.ok_or(Status::fixed(Code::Unknown, "EOF")))
    }

    /// Keeps a lone chunk as it came, so that the usual small request is never copied.
    fn push(&mut self, data: Bytes) {
        if self.buffered.is_empty() && self.single.is_empty() {
            self.single = data;
        } else {
            if !self.single.is_empty() {
                self.buffered.extend_from_slice(&std::mem::take(&mut self.single));
            }
            self.buffered.extend_from_slice(&data);
        }
    }

    fn pending_len(&self) -> usize {
        self.single.len() + self.buffered.len()
    }

    fn take_message(&mut self) -> Result<Option<Bytes>, Status> {
        let head: &[u8] = if self.single.is_empty() { &self.buffered } else { &self.single };
        if head.len() < HEADER_BYTES {
            return Ok(None);
        }
        let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        match head[0] {
            0 => {}
            1 => {
                return Err(Status::fixed(
                    Code::Internal,
                    "grpc: compressed flag set with identity or empty encoding",
                ));
            }
            other => {
                return Err(Status::new(
                    Code::Internal,
                    format!("grpc: received unexpected payload format {other}"),
                ));
            }
        }
        if len > self.limit_bytes {
            return Err(Status::new(
                Code::ResourceExhausted,
                format!("grpc: received message larger than max ({len} vs. {})", self.limit_bytes),
            ));
        }
        if head.len() < HEADER_BYTES + len {
            if self.single.is_empty() {
                self.buffered.reserve(HEADER_BYTES + len - self.buffered.len());
            }
            return Ok(None);
        }
        Ok(Some(if self.single.is_empty() {
            self.buffered.advance(HEADER_BYTES);
            self.buffered.split_to(len).freeze()
        } else {
            self.single.advance(HEADER_BYTES);
            self.single.split_to(len)
        }))
    }
}

/// Decodes one message of a unary (or server-streaming) call.
pub fn decode_unary<M: prost::Message + Default>(bytes: Bytes) -> Result<M, Status> {
    M::decode(bytes).map_err(|_| MALFORMED)
}

/// A unary request that is no message of its type.
pub const MALFORMED: Status = Status::fixed(
    Code::Internal,
    "grpc: error unmarshalling request: proto: cannot parse invalid wire-format data",
);

/// Decodes one message of a stream the client sends.
pub fn decode_streamed<M: prost::Message + Default>(bytes: Bytes) -> Result<M, Status> {
    M::decode(bytes).map_err(|_| {
        Status::fixed(
            Code::Internal,
            "grpc: failed to unmarshal the received message: proto: cannot parse invalid wire-format data",
        )
    })
}

/// What the request's headers say about the call; an error is the whole answer.
pub fn check_headers(method: &Method, headers: &HeaderMap) -> Result<Option<Duration>, (StatusCode, Status)> {
    let refuse = |http: StatusCode, code: Code, text: String| (http, Status::new(code, text));
    let content_type = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    if !is_grpc(content_type) {
        let text = format!("invalid gRPC request content-type {:?}", String::from_utf8_lossy(content_type));
        return Err(refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::InvalidArgument, text));
    }
    if method != Method::POST {
        let text =
            format!("Received a HEADERS frame with :method {:?} which should be POST", method.as_str());
        return Err(refuse(StatusCode::METHOD_NOT_ALLOWED, Code::Internal, text));
    }
    let timeout = match headers.get("grpc-timeout").map(HeaderValue::as_bytes).map(parse_timeout) {
        None => None,
        Some(Ok(timeout)) => Some(timeout),
        Some(Err(text)) => {
            return Err(refuse(
                StatusCode::BAD_REQUEST,
                Code::Internal,
                format!("malformed grpc-timeout: {text}"),
            ));
        }
    };
    match headers.get("grpc-encoding").map(HeaderValue::as_bytes) {
        None | Some(b"" | b"identity") => Ok(timeout),
        Some(other) => Err(refuse(
            StatusCode::OK,
            Code::Unimplemented,
            format!(
                "grpc: Decompressor is not installed for grpc-encoding {:?}",
                String::from_utf8_lossy(other)
            ),
        )),
    }
}

/// `application/grpc`, alone or followed by `+subtype` or `;parameter`.
pub fn is_grpc(content_type: &[u8]) -> bool {
    match content_type.get(..16) {
        Some(start) if start.eq_ignore_ascii_case(b"application/grpc") => {
            matches!(content_type.get(16), None | Some(b'+' | b';'))
        }
        _ => false,
    }
}

/// gRPC's `<digits><unit>`, at most eight digits.
fn parse_timeout(text: &[u8]) -> Result<Duration, String> {
    let shown = || String::from_utf8_lossy(text).into_owned();
    if text.len() < 2 {
        return Err(format!("transport: timeout string is too short: {:?}", shown()));
    }
    if text.len() > 9 {
        return Err(format!("transport: timeout string is too long: {:?}", shown()));
    }
    let (digits, unit) = text.split_at(text.len() - 1);
    let amount = std::str::from_utf8(digits)
        .ok()
        .filter(|d| d.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|d| d.parse::<u64>().ok());
    let seconds = |n: u64| amount.map(|a| Duration::from_secs(a.saturating_mul(n)));
    let parsed = match unit {
        b"H" => seconds(3600),
        b"M" => seconds(60),
        b"S" => seconds(1),
        b"m" => amount.map(Duration::from_millis),
        b"u" => amount.map(Duration::from_micros),
        b"n" => amount.map(Duration::from_nanos),
        _ => return Err(format!("transport: timeout unit is not recognized: {:?}", shown())),
    };
    parsed.ok_or_else(|| {
        format!("strconv.ParseInt: parsing {:?}: invalid syntax", String::from_utf8_lossy(digits))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_take_every_unit_and_refuse_the_rest_in_gos_words() {
        assert_eq!(parse_timeout(b"7S"), Ok(Duration::from_secs(7)));
        assert_eq!(parse_timeout(b"99999999m"), Ok(Duration::from_millis(99_999_999)));
        assert_eq!(parse_timeout(b"5u"), Ok(Duration::from_micros(5)));
        assert_eq!(parse_timeout(b"2H"), Ok(Duration::from_secs(7200)));
        assert!(parse_timeout(b"7x").unwrap_err().contains("not recognized"));
        assert!(parse_timeout(b"S").unwrap_err().contains("too short"));
        assert!(parse_timeout(b"123456789S").unwrap_err().contains("too long"));
        assert!(parse_timeout(b"-1S").is_err());
    }

    #[test]
    fn only_grpc_content_types_pass() {
        assert!(is_grpc(b"application/grpc"));
        assert!(is_grpc(b"application/grpc+proto"));
        assert!(is_grpc(b"application/grpc;charset=utf-8"));
        assert!(!is_grpc(b"application/grpcweb"));
        assert!(!is_grpc(b"application/json"));
        assert!(!is_grpc(b""));
    }
}
