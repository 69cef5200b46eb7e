//! A gRPC client that costs next to nothing: many connections in one thread over epoll, requests written in batches.
//! It knows just enough HTTP/2 to be a correct peer, and checks how every call ends.
mod connection;
pub mod frame;
pub mod hpack;
mod stream;

use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use connection::Connection;
pub use stream::Event;

use crate::Result;

/// Connections served before their answers are handled: more would let the first answers wait for the last.
const READY_MAX: usize = 16;

/// How long a single call may be silent.
const ASK_MAX: Duration = Duration::from_secs(600);

/// Where a call runs: connection and stream.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    connection: u32,
    stream: u32,
}

pub struct Client {
    epoll: Epoll,
    connections: Vec<Connection>,
    /// Which connections have something to write.
    unwritten: Vec<u32>,
    /// Which connections wait for their sockets to drain.
    full: Vec<bool>,
}

impl Client {
    /// Opens `connections` to a server. Without `keep_bodies` only the lengths of messages are known.
    pub fn connect(port: u16, connections: usize, keep_bodies: bool) -> Result<Client> {
        Client::connect_all(&[port], connections, keep_bodies)
    }

    /// The same to several servers in turn.
    pub fn connect_all(ports: &[u16], connections: usize, keep_bodies: bool) -> Result<Client> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let opened = ports.iter().cycle().take(connections).map(|port| Connection::open(*port, keep_bodies));
        let opened = opened.collect::<std::io::Result<Vec<_>>>()?;
        for (at, connection) in opened.iter().enumerate() {
            epoll.add(connection.socket(), EpollEvent::new(EpollFlags::EPOLLIN, at as u64))?;
        }
        let unwritten = (0..connections as u32).collect();
        Ok(Client { epoll, connections: opened, unwritten, full: vec![false; connections] })
    }

    /// Starts a call on the connection that is `nth` modulo their number. `last`: no further message follows.
    pub fn call(&mut self, nth: usize, method: &str, call: u32, message: &[u8], last: bool) -> Place {
        let connection = (nth % self.connections.len()) as u32;
        self.unwritten.push(connection);
        let stream = self.connections[connection as usize].call(method, call, message, last);
        Place { connection, stream }
    }

    /// Sends another message in a call.
    pub fn send(&mut self, place: Place, message: &[u8]) {
        self.unwritten.push(place.connection);
        self.connections[place.connection as usize].send(place.stream, message, false);
    }

    /// Writes what was called and sent, then waits for answers and appends them: none when `timeout` is over.
    pub fn turn(&mut self, timeout: Duration, events: &mut Vec<Event>) -> Result<()> {
        let start = Instant::now();
        loop {
            self.write()?;
            let rest = timeout.saturating_sub(start.elapsed());
            self.read(rest, events)?;
            if !events.is_empty() || start.elapsed() >= timeout {
                return Ok(());
            }
        }
    }

    fn read(&mut self, timeout: Duration, events: &mut Vec<Event>) -> Result<()> {
        let mut ready = [EpollEvent::empty(); READY_MAX];
        // In whole milliseconds, rounded up: less would spin.
        let timeout = Duration::from_millis(timeout.as_micros().div_ceil(1000) as u64);
        let count = match self.epoll.wait(&mut ready, EpollTimeout::try_from(timeout)?) {
            Err(nix::errno::Errno::EINTR) => 0,
            other => other?,
        };
        for event in &ready[..count] {
            let at = event.data() as usize;
            if event.events().intersects(!EpollFlags::EPOLLOUT) {
                self.connections[at].receive(events)?;
            }
            self.unwritten.push(at as u32);
        }
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        self.unwritten.sort_unstable();
        self.unwritten.dedup();
        for at in self.unwritten.drain(..) {
            let connection = &mut self.connections[at as usize];
            let full = connection.flush()?;
            if std::mem::replace(&mut self.full[at as usize], full) != full {
                let out = if full { EpollFlags::EPOLLOUT } else { EpollFlags::empty() };
                let mut event = EpollEvent::new(EpollFlags::EPOLLIN | out, u64::from(at));
                self.epoll.modify(connection.socket(), &mut event)?;
            }
        }
        Ok(())
    }

    /// One call from start to end on an idle client: its last message.
    pub fn ask(&mut self, method: &str, message: &impl prost::Message) -> Result<Vec<u8>> {
        self.call(0, method, 0, &message.encode_to_vec(), true);
        let (mut events, mut answer) = (Vec::new(), Vec::new());
        loop {
            self.turn(ASK_MAX, &mut events)?;
            if events.is_empty() {
                return Err(format!("{method}: no answer for {ASK_MAX:?}").into());
            }
            for event in events.drain(..) {
                match event {
                    Event::Message { body, .. } => answer = body,
                    Event::Ended { result, .. } => {
                        return result.map(|()| answer).map_err(|e| format!("{method}: {e}").into());
                    }
                }
            }
        }
    }
}
