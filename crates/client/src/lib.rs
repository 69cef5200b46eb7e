//! # client: how a program talks to a cluster
//!
//! Lives here: endpoints with failover, time limits, retries, tokens, and one thin method per RPC that takes and
//! returns the protobuf messages whole, so that tools can print every field. May touch: the network.
//! Never: terminal, files, decisions about output; a write is never sent twice.
//! Test: `cargo test -p balsa-client`; the tools' comparisons with a real server exercise the rest.
//!
//! ```no_run
//! # async fn example() -> Result<(), client::Error> {
//! let client = client::Client::connect(client::Options::to(["127.0.0.1:2379"])).await?;
//! let answer = client.range(client::range::key("greeting")).await?;
//! # Ok(()) }
//! ```
mod calls;
mod connection;
mod error;
mod lease;
mod options;
pub mod range;
mod session;
mod stream;
mod unary;
mod watch;

use std::sync::Arc;
use std::time::Duration;

pub use error::{Error, code_name};
pub use lease::KeepAlive;
pub use options::{FailedAttempt, Listener, Options};
pub use session::{Place, Session};
pub use stream::Incoming;
pub use watch::{Progress, Watcher};

use connection::Connection;
use proto::etcdserverpb::AuthenticateRequest;

/// A handle to a cluster; cheap to clone, all clones share one connection.
#[derive(Clone)]
pub struct Client {
    options: Arc<Options>,
    connection: Arc<Connection>,
    /// Sent as `token` metadata; renewed when the server calls it invalid.
    token: Arc<parking_lot::RwLock<Option<String>>>,
    timeout: Option<Duration>,
}

impl Client {
    /// A client for `options.endpoints`. Connects lazily, except that a user name is exchanged for a token at once.
    ///
    /// # Errors
    /// [`Error::NoEndpoints`]; whatever Authenticate answers, except that auth is not enabled.
    pub async fn connect(options: Options) -> Result<Client, Error> {
        if options.endpoints.is_empty() {
            return Err(Error::NoEndpoints);
        }
        let client = Client {
            connection: Arc::new(Connection::new(&options)),
            token: Arc::new(parking_lot::RwLock::new(options.token.clone())),
            timeout: Some(options.dial_timeout),
            options: Arc::new(options),
        };
        client.authenticate().await?;
        Ok(client)
    }

    /// The same cluster, with a limit on each unary call (`None`: wait for ever).
    #[must_use]
    pub fn with_timeout(mut self, timeout: Option<Duration>) -> Client {
        self.timeout = timeout;
        self
    }

    /// The same user and limits, but bound to one endpoint: for questions put to a certain member.
    #[must_use]
    pub fn at(&self, endpoint: &str) -> Client {
        let options = Options { endpoints: vec![endpoint.to_owned()], ..(*self.options).clone() };
        Client {
            connection: Arc::new(Connection::new(&options)),
            options: Arc::new(options),
            token: Arc::clone(&self.token),
            timeout: self.timeout,
        }
    }

    /// The endpoints as configured.
    #[must_use]
    pub fn endpoints(&self) -> &[String] {
        &self.options.endpoints
    }

    async fn authenticate(&self) -> Result<(), Error> {
        let Some((name, password)) = self.options.user.clone() else { return Ok(()) };
        match self.fetch_token(AuthenticateRequest { name, password }).await {
            Ok(answer) => *self.token.write() = Some(answer.token),
            Err(Error::Server(status)) if status.message() == error::AUTH_NOT_ENABLED => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
