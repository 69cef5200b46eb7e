//! A name server on loopback that knows just the records it was given.
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::str::FromStr;
use std::thread::JoinHandle;

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record};

/// Answers over UDP until this is dropped.
pub struct NameServer {
    pub address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl NameServer {
    /// Listens at `address`.
    pub fn start(address: SocketAddr, zone: Vec<Record>) -> io::Result<NameServer> {
        let socket = UdpSocket::bind(address)?;
        let address = socket.local_addr()?;
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((length, from)) = socket.recv_from(&mut buffer)
                && let Ok(query) = Message::from_vec(&buffer[..length])
            {
                let answer = answer(&zone, &query).to_vec().expect("a message");
                let _ = socket.send_to(&answer, from);
            }
        });
        Ok(NameServer { address, thread: Some(thread) })
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        // What is no query ends it.
        let said = UdpSocket::bind((self.address.ip(), 0)).and_then(|s| s.send_to(b"", self.address));
        if said.is_ok() {
            let _ = self.thread.take().map(JoinHandle::join);
        }
    }
}

fn answer(zone: &[Record], query: &Message) -> Message {
    let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
    let Some(asked) = query.queries.first() else { return answer };
    answer.add_query(asked.clone());
    let there: Vec<&Record> = zone.iter().filter(|record| record.name == *asked.name()).collect();
    if there.is_empty() {
        answer.metadata.response_code = ResponseCode::NXDomain;
    }
    let wanted = |record: &&&Record| record.record_type() == asked.query_type();
    answer.add_answers(there.iter().filter(wanted).map(|record| (*record).clone()));
    answer
}

/// A name that ends in a dot.
pub fn name(text: &str) -> Name {
    Name::from_str(text).expect("a name")
}

/// A member of `_service._tcp.example.com`.
pub fn srv(service: &str, priority: u16, target: &str, port: u16) -> Record {
    let data = SRV::new(priority, 0, port, name(target));
    Record::from_rdata(name(&format!("_{service}._tcp.example.com.")), 60, RData::SRV(data))
}

/// The address of a host.
pub fn host(text: &str, address: [u8; 4]) -> Record {
    Record::from_rdata(name(text), 60, RData::A(A(address.into())))
}
