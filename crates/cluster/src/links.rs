//! The links between members: every peer URL leads through a proxy that knows who dials and what may pass.
//!
//! A dialing member names itself in `X-Server-From` (formats 5.2). Bytes towards the dialed member carry its posts;
//! bytes back carry the streams that the dialer opened, so each connection has traffic of both directions of a link, and
//! each is held back by its own switch. What is held back waits as in a network: it arrives once the link is healed, unless
//! somebody has given up on the connection.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often a held direction looks whether it may go on.
const LOOK: Duration = Duration::from_millis(5);
/// Longest head of a request that is searched for the dialer's name.
const HEAD_BYTES_MAX: usize = 16 << 10;

#[derive(Default)]
struct Direction {
    cut: AtomicBool,
    delay_ms: AtomicU64,
}

struct Shared {
    members: usize,
    directions: Vec<Direction>,
    /// Member ids as their requests show them, to places.
    places: Mutex<HashMap<String, usize>>,
}

/// One end of a connection.
#[derive(Clone)]
enum End {
    Member(usize),
    /// Who dialed, by id if it told one; which member that is may be known only later.
    Dialer(Option<String>),
}

/// The switches of all links. Members are numbered from 0.
#[derive(Clone)]
pub struct Links(Arc<Shared>);

impl Links {
    /// Links among so many members, all whole.
    #[must_use]
    pub fn new(members: usize) -> Links {
        let directions = (0..members * members).map(|_| Direction::default()).collect();
        Links(Arc::new(Shared { members, directions, places: Mutex::default() }))
    }

    /// Opens the proxy at `front` before the peer listener of member `to`, which listens at `behind`.
    ///
    /// # Errors
    /// The address is taken.
    pub fn open(&self, front: SocketAddr, to: usize, behind: SocketAddr) -> std::io::Result<()> {
        let listener = TcpListener::bind(front)?;
        let links = self.clone();
        std::thread::spawn(move || {
            for dialer in listener.incoming().flatten() {
                let links = links.clone();
                std::thread::spawn(move || {
                    // A connection that breaks is what a network has, too.
                    let _ = links.carry(dialer, to, behind);
                });
            }
        });
        Ok(())
    }

    /// Member `place` has this id, as in `etcdctl member list`.
    pub fn name(&self, place: usize, id: &str) {
        self.places().insert(id.to_owned(), place);
    }

    /// Nothing from `from` reaches `to` any more; the other direction stays as it is.
    pub fn cut(&self, from: usize, to: usize) {
        self.direction(from, to).cut.store(true, Ordering::Relaxed);
    }

    /// Cuts this member off from all others, both ways.
    pub fn isolate(&self, member: usize) {
        for other in (0..self.0.members).filter(|other| *other != member) {
            self.cut(member, other);
            self.cut(other, member);
        }
    }

    /// What leaves `from` for `to` arrives so much later, piece by piece.
    pub fn delay(&self, from: usize, to: usize, by: Duration) {
        let ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.direction(from, to).delay_ms.store(ms, Ordering::Relaxed);
    }

    /// All links are whole and quick.
    pub fn heal(&self) {
        for direction in &self.0.directions {
            direction.cut.store(false, Ordering::Relaxed);
            direction.delay_ms.store(0, Ordering::Relaxed);
        }
    }

    fn place(&self, end: &End) -> Option<usize> {
        match end {
            End::Member(place) => Some(*place),
            End::Dialer(id) => self.places().get(id.as_deref()?).copied(),
        }
    }

    fn direction(&self, from: usize, to: usize) -> &Direction {
        &self.0.directions[from * self.0.members + to]
    }

    fn places(&self) -> std::sync::MutexGuard<'_, HashMap<String, usize>> {
        self.0.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries one connection until it ends.
    fn carry(&self, mut dialer: TcpStream, to: usize, behind: SocketAddr) -> std::io::Result<()> {
        dialer.set_nodelay(true)?;
        let head = read_head(&mut dialer)?;
        let from = End::Dialer(dialer_of(&head).map(str::to_owned));
        // A link that is cut swallows the first bytes as well.
        self.pass(&from, &End::Member(to));
        let mut listener = TcpStream::connect(behind)?;
        listener.set_nodelay(true)?;
        listener.write_all(&head)?;
        let back = (listener.try_clone()?, dialer.try_clone()?);
        let (links, dialing) = (self.clone(), from.clone());
        let thread = std::thread::spawn(move || links.pump(back.0, back.1, &End::Member(to), &dialing));
        self.pump(dialer, listener, &from, &End::Member(to));
        let _ = thread.join();
        Ok(())
    }

    fn pump(&self, mut source: TcpStream, mut sink: TcpStream, from: &End, to: &End) {
        let mut piece = vec![0; 64 << 10];
        loop {
            let len = match source.read(&mut piece) {
                Ok(0) => break,
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            self.pass(from, to);
            if sink.write_all(&piece[..len]).is_err() {
                break;
            }
        }
        // Either end is done: so is the other.
        let _ = sink.shutdown(Shutdown::Both);
        let _ = source.shutdown(Shutdown::Both);
    }

    /// Returns when what goes from `from` to `to` may arrive. Of somebody unnamed, from outside, no link is known.
    fn pass(&self, from: &End, to: &End) {
        let (Some(from), Some(to)) = (self.place(from), self.place(to)) else { return };
        let direction = self.direction(from, to);
        let delay = direction.delay_ms.load(Ordering::Relaxed);
        if delay > 0 {
            std::thread::sleep(Duration::from_millis(delay));
        }
        while direction.cut.load(Ordering::Relaxed) {
            std::thread::sleep(LOOK);
        }
    }
}

/// The first request up to its blank line, and whatever came with it.
fn read_head(dialer: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut piece = [0; 4096];
    while head.len() < HEAD_BYTES_MAX && !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let len = dialer.read(&mut piece)?;
        if len == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        head.extend_from_slice(&piece[..len]);
    }
    Ok(head)
}

fn dialer_of(head: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(head.split(|byte| *byte == 0).next()?).ok().or_else(|| {
        // A body of any bytes may follow the head.
        let end = head.windows(4).position(|end| end == b"\r\n\r\n")?;
        std::str::from_utf8(&head[..end]).ok()
    })?;
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("x-server-from").then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dialer_is_the_one_who_names_itself() {
        let head =
            b"GET /raft/stream/message/1 HTTP/1.1\r\nHost: a\r\nX-Server-From: 8e9e05c52164694d\r\n\r\n";
        assert_eq!(dialer_of(head), Some("8e9e05c52164694d"));
        let mut post = b"POST /raft HTTP/1.1\r\nx-server-from: ab\r\n\r\n".to_vec();
        post.extend([0xff, 0, 0xfe]);
        assert_eq!(dialer_of(&post), Some("ab"));
        assert_eq!(dialer_of(b"GET /version HTTP/1.1\r\n\r\n"), None);
    }

    /// A listener that says what it got, and answers it with the same.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for mut socket in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    let mut piece = [0; 1024];
                    while let Ok(len @ 1..) = socket.read(&mut piece) {
                        if socket.write_all(&piece[..len]).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        address
    }

    #[test]
    fn each_direction_of_a_link_has_its_own_switch() {
        let links = Links::new(2);
        let front = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        links.open(front, 1, echo()).unwrap();
        let mut dialer = TcpStream::connect(front).unwrap();
        let head = b"GET / HTTP/1.1\r\nX-Server-From: aa\r\n\r\n";
        let mut answer = vec![0; head.len()];
        dialer.write_all(head).unwrap();
        dialer.read_exact(&mut answer).unwrap();
        assert_eq!(answer, head);

        // Connections outlive the moment in which it becomes known who dialed.
        links.name(0, "aa");
        // The answer is held back on its way from 1 to 0, and comes when the link is healed.
        links.cut(1, 0);
        dialer.write_all(b"x").unwrap();
        dialer.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert!(dialer.read(&mut answer).is_err(), "it passed a link that is cut");
        links.heal();
        dialer.set_read_timeout(None).unwrap();
        dialer.read_exact(&mut answer[..1]).unwrap();
        assert_eq!(answer[0], b'x');
    }
}
