//! # http2: server connections of HTTP/2 as pure state machines
//!
//! Lives here: header compression ([`hpack`]). May touch: nothing; bytes come in, bytes go out. Must never: open a
//! socket, read a clock, block. Test: `tests/hpack` (examples of the RFC, a model encoder, hostile blocks).

pub mod hpack;
