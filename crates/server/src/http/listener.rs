//! What can be listened on: TCP ports and socket files. Behind this module nobody asks which it was.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream, UnixSocket, UnixStream};

use crate::config::{Scheme, Url, go_io_error};

/// Connections that may wait to be accepted, as Go asks for.
const BACKLOG: u32 = 4096;

/// A listening socket. Dropping one on a socket file removes the file.
pub enum Listener {
    /// On a port.
    Tcp(tokio::net::TcpListener),
    /// On a socket file.
    File(tokio::net::UnixListener, SocketFile),
}

/// A socket's name in the file system.
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // It may have been removed by hand.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Listener {
    /// Listens where `url` says. Must be called inside a runtime.
    ///
    /// # Errors
    /// The text of Go's `net.Listen`.
    pub fn bind(url: &Url, reuse_port: bool) -> Result<Listener, String> {
        match url.scheme {
            Scheme::Http => bind_port(&url.host, reuse_port),
            Scheme::Unix => bind_file(Path::new(&url.host)),
            Scheme::Https | Scheme::Unixs => {
                Err(format!("cannot listen on {url}: TLS is not supported yet: use http:// or unix://"))
            }
        }
    }

    /// The port; `None` for a socket file.
    pub fn port(&self) -> Option<SocketAddr> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            Listener::File(..) => None,
        }
    }

    /// Address or path, for the log.
    pub fn address(&self) -> String {
        match self {
            Listener::Tcp(listener) => {
                listener.local_addr().map_or_else(|_| String::new(), |a| a.to_string())
            }
            Listener::File(_, file) => file.0.display().to_string(),
        }
    }

    /// Connections whose client takes nothing of what is sent for so long end. Only ports know such a limit.
    pub fn end_unread(&self, after: Duration) -> io::Result<()> {
        match self {
            Listener::Tcp(listener) => {
                // What the kernel takes as a number is more than three weeks.
                let after_ms = u32::try_from(after.as_millis()).unwrap_or(u32::MAX);
                let after_ms = after_ms.min(i32::MAX.unsigned_abs());
                Ok(rustix::net::sockopt::set_tcp_user_timeout(listener, after_ms)?)
            }
            Listener::File(..) => Ok(()),
        }
    }

    /// The next connection.
    pub async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Listener::Tcp(listener) => {
                let (socket, remote) = listener.accept().await?;
                // Who has gone already is found out soon enough.
                let _ = socket.set_nodelay(true);
                Ok(Accepted::Tcp(socket.into_std()?, remote))
            }
            Listener::File(listener, _) => Ok(Accepted::File(listener.accept().await?.0.into_std()?)),
        }
    }
}

fn bind_port(host: &str, reuse_port: bool) -> Result<Listener, String> {
    let refused = |e| format!("listen tcp {host}: bind: {}", go_io_error(&e));
    let addresses: Vec<SocketAddr> = host.to_socket_addrs().map_err(refused)?.collect();
    // A name with several addresses means one of them, IPv4 first: another one is no way out of a port in use.
    let ipv4 = addresses.iter().find(|address| address.is_ipv4());
    let address = ipv4.or(addresses.first()).ok_or_else(|| format!("lookup {host}: no such host"))?;
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // Go sets this on every listener, so that a restart need not wait; --socket-reuse-address adds nothing.
        socket.set_reuseaddr(true)?;
        socket.set_reuseport(reuse_port)?;
        if address.ip().is_loopback() {
            // Nothing is lost there: a host that paces what it sends (BBR) would only set timers. Without it all goes well, too.
            let _ = rustix::net::sockopt::set_tcp_congestion(&socket, "reno");
        }
        socket.bind(*address)?;
        socket.listen(BACKLOG)
    };
    listen().map(Listener::Tcp).map_err(refused)
}

/// The file of an earlier life is taken over, as etcd does.
fn bind_file(path: &Path) -> Result<Listener, String> {
    let named = |doing: &str, e: &io::Error| format!("{doing}: {}", go_io_error(e));
    if let Err(e) = std::fs::remove_file(path)
        && e.kind() != io::ErrorKind::NotFound
    {
        return Err(named(&format!("remove {}", path.display()), &e));
    }
    let listen = || -> io::Result<Listener> {
        let socket = UnixSocket::new_stream()?;
        socket.bind(path)?;
        let file = SocketFile(path.to_owned());
        Ok(Listener::File(socket.listen(BACKLOG)?, file))
    };
    listen().map_err(|e| named(&format!("listen unix {}: bind", path.display()), &e))
}

/// A connection on its way to a front loop.
pub enum Accepted {
    /// Through a port, from there.
    Tcp(std::net::TcpStream, SocketAddr),
    /// Through a socket file.
    File(std::os::unix::net::UnixStream),
}

/// Who is at the other end; `None` behind a socket file.
pub type Remote = Option<SocketAddr>;

impl Accepted {
    /// Takes the connection into the runtime of the caller.
    ///
    /// # Errors
    /// When the runtime does not take it.
    pub fn enter(self) -> io::Result<(Socket, Remote)> {
        Ok(match self {
            Accepted::Tcp(socket, remote) => (Socket::Tcp(TcpStream::from_std(socket)?), Some(remote)),
            Accepted::File(socket) => (Socket::File(UnixStream::from_std(socket)?), None),
        })
    }
}

/// An open connection.
pub enum Socket {
    /// Through a port.
    Tcp(TcpStream),
    /// Through a socket file.
    File(UnixStream),
}

/// Calls the same method of whichever socket it is.
macro_rules! either {
    ($self:ident.$method:ident($($arg:expr),*)) => {
        match $self.get_mut() {
            Socket::Tcp(socket) => Pin::new(socket).$method($($arg),*),
            Socket::File(socket) => Pin::new(socket).$method($($arg),*),
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self.poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        either!(self.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_ends_when_nothing_is_taken_for_as_long_as_its_listener_says() {
        for (after, after_ms) in [(Duration::from_secs(7), 7_000), (Duration::MAX, i32::MAX.unsigned_abs())] {
            let url = Url::parse("http://127.0.0.1:0").expect("a URL");
            let listener = Listener::bind(&url, false).expect("a listener");
            listener.end_unread(after).expect("a limit");
            let _client = TcpStream::connect(listener.port().expect("a port")).await.expect("a connection");
            let Ok(Accepted::Tcp(socket, _)) = listener.accept().await else { panic!("none came") };
            assert_eq!(rustix::net::sockopt::tcp_user_timeout(&socket).expect("the limit"), after_ms);
        }
    }

    #[tokio::test]
    async fn only_on_loopback_nothing_is_paced() {
        let congestion = |host: &str| {
            let url = Url::parse(&format!("http://{host}:0")).expect("a URL");
            let listener = Listener::bind(&url, false).expect("a listener");
            async move {
                let port = listener.port().expect("a port").port();
                let _client = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
                let Ok(Accepted::Tcp(socket, _)) = listener.accept().await else { panic!("none came") };
                rustix::net::sockopt::tcp_congestion(&socket).expect("a name")
            }
        };
        let kernel =
            |name: &str| std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).expect("names");
        let usual = kernel("tcp_congestion_control");
        let allowed = kernel("tcp_allowed_congestion_control").split_whitespace().any(|name| name == "reno");
        assert_eq!(congestion("127.0.0.1").await, if allowed { "reno" } else { usual.trim() });
        assert_eq!(congestion("0.0.0.0").await, usual.trim());
    }
}
