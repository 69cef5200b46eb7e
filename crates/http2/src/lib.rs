//! HTTP/2 (RFC 9113) as a server speaks it, without sockets and clocks: [`Connection`] takes the bytes a client sent,
//! says what they mean, and makes bytes of the answers.
//!
//! Lives here: frames, header compression, flow control, and the limits a client meets. May touch: nothing. Must never:
//! read the clock, wait, panic on a client's bytes, or keep more than its limits grant. Test it: feed it bytes; the
//! tests speak the client's side, and the fuzz targets `hpack` and `http2` speak anything.

mod connection;
mod frame;
mod head;
pub mod hpack;
mod output;
mod stream;

pub use connection::{Connection, Event, Limits, OUTPUT_MAX};
pub use frame::{PREFACE, Reason};
pub use head::Head;
pub use stream::StreamId;

/// Why a connection must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// What the client is told.
    pub reason: Reason,
    what: &'static str,
}

impl Error {
    pub(crate) const fn new(reason: Reason, what: &'static str) -> Error {
        Error { reason, what }
    }

    pub(crate) const fn protocol(what: &'static str) -> Error {
        Error::new(Reason::Protocol, what)
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.what)
    }
}

impl std::error::Error for Error {}
