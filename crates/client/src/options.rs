//! What a client is told at birth.
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Settings of a [`crate::Client`]; the defaults are etcd's.
#[derive(Clone)]
pub struct Options {
    /// `host:port`, with or without `http://`.
    pub endpoints: Vec<String>,
    /// Limit of one attempt to connect.
    pub dial_timeout: Duration,
    /// Silence after which the connection is probed.
    pub keepalive_time: Duration,
    /// Wait for the answer to such a probe.
    pub keepalive_timeout: Duration,
    /// Name and password, exchanged for a token.
    pub user: Option<(String, String)>,
    /// A token to send as it is (a JWT).
    pub token: Option<String>,
    /// Largest request in bytes.
    pub max_send_bytes: usize,
    /// Largest answer in bytes.
    pub max_recv_bytes: usize,
    /// Told about every failed attempt of a unary call, the last one included.
    pub on_failed_attempt: Option<Arc<Listener>>,
}

/// Somebody who hears of failed attempts.
pub type Listener = dyn Fn(&FailedAttempt<'_>) + Send + Sync;

/// What is known about one failed attempt; the fields of etcd's `retrying of unary invoker failed` line.
pub struct FailedAttempt<'a> {
    /// All endpoints of the client start here.
    pub endpoint: &'a str,
    /// Address of the member that answered, if one was reached.
    pub peer: Option<&'a str>,
    /// Full gRPC method.
    pub method: &'a str,
    /// Counts from 0.
    pub attempt: usize,
    /// In the form `rpc error: code = X desc = Y`.
    pub error: &'a str,
}

impl Options {
    /// Default settings for these endpoints.
    pub fn to<S: Into<String>>(endpoints: impl IntoIterator<Item = S>) -> Options {
        Options { endpoints: endpoints.into_iter().map(Into::into).collect(), ..Options::default() }
    }
}

impl Default for Options {
    fn default() -> Options {
        Options {
            endpoints: Vec::new(),
            dial_timeout: Duration::from_secs(2),
            keepalive_time: Duration::from_secs(2),
            keepalive_timeout: Duration::from_secs(6),
            user: None,
            token: None,
            max_send_bytes: 2 * 1024 * 1024,
            max_recv_bytes: i32::MAX as usize,
            on_failed_attempt: None,
        }
    }
}

impl fmt::Debug for Options {
    /// Without secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("endpoints", &self.endpoints).finish_non_exhaustive()
    }
}
