//! One connection at a time, moved to the next endpoint when it breaks.
use std::time::Duration;

use parking_lot::Mutex;
use tonic::transport::{Channel, Endpoint};

use crate::Options;

/// Pause after all endpoints refused, doubled up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// HTTP/2 windows: big lists and snapshots should not wait for window updates.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// A live channel and the address it leads to.
#[derive(Clone)]
pub(crate) struct Line {
    pub channel: Channel,
    pub address: String,
    /// Tells an old failure from a new one: only the line that broke is dropped.
    serial: u64,
}

pub(crate) struct Connection {
    addresses: Vec<String>,
    dial_timeout: Duration,
    keepalive_time: Duration,
    keepalive_timeout: Duration,
    state: Mutex<State>,
    /// Only one task dials at a time.
    dialing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    line: Option<Line>,
    /// Endpoint to try first, as an index.
    next: usize,
    serial: u64,
    last_failure: Option<String>,
}

impl Connection {
    pub fn new(options: &Options) -> Connection {
        Connection {
            addresses: options.endpoints.iter().map(|text| address(text).to_owned()).collect(),
            dial_timeout: options.dial_timeout,
            keepalive_time: options.keepalive_time,
            keepalive_timeout: options.keepalive_timeout,
            state: Mutex::default(),
            dialing: tokio::sync::Mutex::default(),
        }
    }

    pub fn first_address(&self) -> &str {
        self.addresses.first().map_or("", String::as_str)
    }

    /// Why the last attempt to connect failed; nothing once connected.
    pub fn last_failure(&self) -> Option<String> {
        self.state.lock().last_failure.clone()
    }

    /// The open line, or a new one. Goes round the endpoints until one answers; the caller sets the limit.
    pub async fn line(&self) -> Line {
        if let Some(line) = self.open_line() {
            return line;
        }
        let _one_at_a_time = self.dialing.lock().await;
        let mut pause = PAUSE_FIRST;
        loop {
            for _ in &self.addresses {
                if let Some(line) = self.open_line() {
                    return line;
                }
                let turn = self.state.lock().next;
                let address = &self.addresses[turn % self.addresses.len()];
                match self.dial(address).await {
                    Ok(channel) => return self.adopt(channel, address),
                    Err(reason) => {
                        let mut state = self.state.lock();
                        state.last_failure = Some(reason);
                        state.next = turn.wrapping_add(1);
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Forgets a line that broke, so that the next call turns to another endpoint.
    pub fn drop_line(&self, broken: &Line) {
        let mut state = self.state.lock();
        if state.line.as_ref().is_some_and(|line| line.serial == broken.serial) {
            state.line = None;
            state.next = state.next.wrapping_add(1);
        }
    }

    fn open_line(&self) -> Option<Line> {
        self.state.lock().line.clone()
    }

    fn adopt(&self, channel: Channel, address: &str) -> Line {
        let mut state = self.state.lock();
        state.serial += 1;
        state.last_failure = None;
        let line = Line { channel, address: address.to_owned(), serial: state.serial };
        state.line = Some(line.clone());
        line
    }

    async fn dial(&self, address: &str) -> Result<Channel, String> {
        let (network, uri) = match socket_file(address) {
            Some(_) => ("unix", address.to_owned()),
            None => ("tcp", format!("http://{address}")),
        };
        let endpoint = Endpoint::from_shared(uri)
            .map_err(|_| format!("dial {network}: address {address}: not an address"))?
            .connect_timeout(self.dial_timeout)
            .tcp_nodelay(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_keep_alive_interval(self.keepalive_time)
            .keep_alive_timeout(self.keepalive_timeout);
        let at = socket_file(address).unwrap_or(address);
        endpoint.connect().await.map_err(|error| format!("dial {network} {at}: {}", reason(&error)))
    }
}

/// The path of `unix:///path` and `unix:/path`.
fn socket_file(address: &str) -> Option<&str> {
    let path = address.strip_prefix("unix:")?;
    Some(path.strip_prefix("//").unwrap_or(path))
}

/// `host:port` of an endpoint as users write it; that of a socket file stays as it is.
fn address(endpoint: &str) -> &str {
    let endpoint = endpoint.trim();
    if socket_file(endpoint).is_some() {
        return endpoint;
    }
    let bare = endpoint.strip_prefix("http://").unwrap_or(endpoint);
    bare.split('/').next().filter(|host| !host.is_empty() && !bare.contains("://")).unwrap_or(bare)
}

/// The innermost cause, as the operating system words it.
fn reason(error: &tonic::transport::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let text = cause.to_string();
    let bare = text.split(" (os error").next().unwrap_or(&text);
    if bare == text { text } else { format!("connect: {}", bare.to_lowercase()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_taken_with_or_without_scheme_blanks_and_path() {
        for text in ["127.0.0.1:2379", " 127.0.0.1:2379 ", "http://127.0.0.1:2379", "http://127.0.0.1:2379/"]
        {
            assert_eq!(address(text), "127.0.0.1:2379", "{text:?}");
        }
    }

    #[tokio::test]
    async fn a_socket_file_is_an_endpoint() {
        let dir = std::env::temp_dir().join(format!("balsa-client-{}", std::process::id()));
        let endpoint = format!("unix://{}", dir.display());
        assert_eq!(address(&format!(" {endpoint}")), endpoint);
        let connection = Connection::new(&Options::to([endpoint.clone()]));
        let refused = connection.dial(&endpoint).await.unwrap_err();
        let missing = "no such file or directory";
        assert_eq!(refused, format!("dial unix {}: connect: {missing}", dir.display()));
        let listener = tokio::net::UnixListener::bind(&dir).unwrap();
        connection.dial(&endpoint).await.unwrap();
        listener.accept().await.unwrap();
        std::fs::remove_file(&dir).unwrap();
    }

    #[tokio::test]
    async fn a_dead_endpoint_is_passed_over_and_the_reason_kept_meanwhile() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dead = listener.local_addr().unwrap().to_string();
        drop(listener);
        let connection = Connection::new(&Options::to([dead.clone()]));
        let waited = tokio::time::timeout(Duration::from_millis(120), connection.line()).await;
        assert!(waited.is_err(), "there is nobody to connect to");
        let reason = connection.last_failure().unwrap();
        assert_eq!(reason, format!("dial tcp {dead}: connect: connection refused"));
    }
}
