//! URLs of listeners and members: `scheme://host:port`, nothing else.
use std::fmt;

/// How a listener is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    /// Plain text.
    Http,
    /// TLS.
    Https,
    /// A Unix socket named `host:port`.
    Unix,
    /// A Unix socket with TLS.
    Unixs,
}

impl Scheme {
    /// TLS is spoken.
    pub fn is_secure(self) -> bool {
        matches!(self, Scheme::Https | Scheme::Unixs)
    }
}

/// One URL of a member.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Url {
    /// How it is reached.
    pub scheme: Scheme,
    /// `host:port` as given; for Unix sockets the path of the socket.
    pub host: String,
}

impl Url {
    /// `http://host:port`.
    pub fn plain(host: &str, port: u16) -> Url {
        Url { scheme: Scheme::Http, host: format!("{host}:{port}") }
    }

    /// One URL as flags and members give it.
    ///
    /// # Errors
    /// What is wrong with it, in Go's words.
    pub fn parse(text: &str) -> Result<Url, String> {
        super::golang::url(text)
    }

    /// A Unix socket.
    pub fn is_socket_file(&self) -> bool {
        matches!(self.scheme, Scheme::Unix | Scheme::Unixs)
    }

    /// The host without port and brackets.
    pub fn host_name(&self) -> &str {
        super::golang::split_host_port(&self.host).map_or(&self.host, |(host, _)| host)
    }

    /// The port, as given; empty for a Unix socket without one.
    pub fn port(&self) -> &str {
        super::golang::split_host_port(&self.host).map_or("", |(_, port)| port)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
            Scheme::Unix => "unix",
            Scheme::Unixs => "unixs",
        };
        write!(f, "{scheme}://{}", self.host)
    }
}
