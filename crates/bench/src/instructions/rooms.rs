//! The paths within rooms: the same operation many times, on one thread, with nothing random.
use std::hint::black_box;
use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use backend::Backend;
use bytes::{BufMut, Bytes, BytesMut};
use disk::{Disk, OsDisk};
use http2::{Connection, Event, Limits};
use mvcc::watch::{Kind, StreamId, WatchHub, WatchSpec};
use mvcc::{EventBatch, EventKind, RangeQuery};
use node::{Config, Input, Node, Proposal, Restored};
use prost::Message;
use proto::etcdserverpb::{InternalRaftRequest, RequestHeader};
use raft::{ConfChange, ConfChangeKind, Entry, EntryKind, HardState, Index, MemberId, Term};
use store::Store;
use wal::{Wal, codec};

use crate::Result;
use crate::request::{self, Numbered};
use crate::wire::{frame, hpack};

const KEYS: Numbered = Numbered { prefix: "count", bytes: 24 };
const KEY_COUNT: u64 = 1_000;
const VALUE_BYTES: usize = 256;
const ME: MemberId = MemberId(1);
const CLUSTER: u64 = 7;
/// Entries of one write of the log.
const BATCH: u64 = 10;
/// Operations of one commit, as in a server.
const COMMIT: u64 = 10_000;
const WATCHERS: u64 = 100;
const STREAMS: u64 = 10;
/// What a stream takes at once, as in a server.
const PARCEL_BYTES: usize = 64 << 10;

/// Puts as they are in the log: each key in turn.
fn puts() -> Vec<Bytes> {
    let value = request::value(VALUE_BYTES);
    let put = |number| {
        let mut bytes = Vec::new();
        request::put(KEYS.key(number), &value, &mut bytes);
        let put = proto::etcdserverpb::PutRequest::decode(&bytes[..]).ok();
        let header = Some(RequestHeader { id: number + 1, ..RequestHeader::default() });
        InternalRaftRequest { header, put, ..InternalRaftRequest::default() }.encode_to_vec().into()
    };
    (0..KEY_COUNT).map(put).collect()
}

/// The nth of those that come in turn.
fn turn<T>(of: &[T], nth: u64) -> &T {
    &of[(nth % of.len() as u64) as usize]
}

fn open_store(dir: &Path) -> Result<Store> {
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let backend = Backend::open(disk, &dir.join("db"), backend::Options::default())?;
    let options = store::Options { member_id: ME.0, cluster_id: CLUSTER, ..store::Options::default() };
    Ok(Store::open(backend, options)?)
}

fn apply_put(store: &mut Store, index: u64, data: &Bytes) -> Result<store::Outcome> {
    let outcome = store.apply(store::Entry { index, term: 1, data }, true);
    match &outcome.result {
        Ok(_) => Ok(outcome),
        Err(error) => Err(format!("entry {index}: {error}").into()),
    }
}

pub fn apply(times: u64) -> Result<()> {
    let dir = super::scratch()?;
    let mut store = open_store(dir.path())?;
    let puts = puts();
    for nth in 0..times {
        black_box(apply_put(&mut store, nth + 1, turn(&puts, nth))?);
        if (nth + 1) % COMMIT == 0 {
            store.commit()?;
        }
    }
    Ok(())
}

pub fn range(times: u64) -> Result<()> {
    let dir = super::scratch()?;
    let mut store = open_store(dir.path())?;
    for (index, put) in (1..).zip(&puts()) {
        apply_put(&mut store, index, put)?;
    }
    store.commit()?;
    let reader = store.reader();
    let queries: Vec<RangeQuery> = (0..KEY_COUNT).map(|n| RangeQuery::key(KEYS.key(n))).collect();
    for nth in 0..times {
        let found = reader.kv().range(turn(&queries, nth))?;
        if black_box(found).kvs.len() != 1 {
            return Err("a key is missing".into());
        }
    }
    Ok(())
}

/// `times` events: each put is one for every watcher.
pub fn event(times: u64) -> Result<()> {
    let dir = super::scratch()?;
    let store = open_store(dir.path())?;
    let reader = store.reader();
    let mut hub = WatchHub::new(1);
    for watcher in 0..WATCHERS {
        let spec = WatchSpec { key: KEYS.key(0), end: KEYS.end(), ..WatchSpec::default() };
        hub.add(StreamId(watcher % STREAMS), spec, 1).map_err(|refusal| refusal.reason().to_owned())?;
    }
    let record = request::value(VALUE_BYTES);
    let mut sent = 0;
    for nth in 0..times / WATCHERS {
        let revision = nth as i64 + 2;
        let event = mvcc::Event {
            kind: EventKind::Put,
            key: KEYS.key(0),
            record: record.clone(),
            create_revision: 2,
            mod_revision: revision,
            prev_kv: None,
        };
        hub.notify(&Arc::new(EventBatch::of(revision, vec![event])), reader.kv())?;
        for stream in hub.take_ready() {
            for output in hub.poll(stream, PARCEL_BYTES) {
                if let Kind::Events { events, .. } = &output.kind {
                    sent += output.responses() as u64;
                    black_box(events.encoded());
                }
            }
        }
    }
    if sent == times { Ok(()) } else { Err(format!("{sent} of {times} events were sent").into()) }
}

pub fn entry(times: u64) -> Result<()> {
    let dir = super::scratch()?;
    let metadata = codec::encode_metadata(ME, CLUSTER);
    let mut wal = Wal::create(Arc::new(OsDisk), &dir.path().join("wal"), &metadata, wal::Options::default())?;
    let puts = puts();
    for batch in 0..times / BATCH {
        let index = |nth: u64| batch * BATCH + nth + 1;
        let entry = |nth| Entry {
            term: Term(1),
            index: Index(index(nth)),
            kind: EntryKind::Normal,
            data: turn(&puts, index(nth)).clone(),
        };
        let entries: Vec<Entry> = (0..BATCH).map(entry).collect();
        let commit = HardState { term: Term(1), vote: ME, commit: Index(batch * BATCH) };
        wal.append(Some(&commit), &entries)?;
        wal.sync()?;
    }
    Ok(())
}

pub fn proposal(times: u64) -> Result<()> {
    let change = ConfChange { id: 0, kind: ConfChangeKind::AddNode, node_id: ME, context: Bytes::new() };
    let restored = Restored {
        hard_state: HardState { term: Term(1), vote: MemberId::NONE, commit: Index(1) },
        entries: vec![Entry {
            term: Term(1),
            index: Index(1),
            kind: EntryKind::ConfChange,
            data: change.encode(),
        }],
        ..Restored::default()
    };
    let mut node = Node::new(Config::new(ME, 1), restored)?;
    let mut applied = settle(&mut node, &change);
    let (before, puts) = (applied, puts());
    for nth in 0..times {
        node.step(Input::Propose(Proposal { id: nth + 1, data: turn(&puts, nth).clone() }));
        if (nth + 1) % BATCH == 0 {
            applied = settle(&mut node, &change).max(applied);
        }
    }
    let wanted = before + times / BATCH * BATCH;
    if applied == wanted { Ok(()) } else { Err(format!("applied {applied}, not {wanted}").into()) }
}

/// Carries out what the node wants, at once; the last entry applied.
fn settle(node: &mut Node, change: &ConfChange) -> u64 {
    let mut applied = 0;
    loop {
        let output = node.take_output();
        if output.is_empty() {
            return applied;
        }
        if let Some(persist) = output.persist {
            node.step(Input::Persisted { seq: persist.seq });
        }
        for entry in &output.apply {
            applied = entry.index.0;
            if entry.kind == EntryKind::ConfChange {
                let change = Some(change.clone());
                node.step(Input::ConfChangeApplied { index: entry.index, change });
            }
        }
        if applied > 0 {
            node.step(Input::Applied { index: Index(applied) });
        }
    }
}

pub fn call(times: u64) -> Result<()> {
    let limits = Limits {
        streams_max: None,
        header_list_bytes: 16 << 20,
        stream_window_bytes: 1 << 20,
        connection_window_bytes: 4 << 20,
    };
    let mut connection = Connection::new(limits);
    let (mut encoder, mut input, mut events) = (hpack::Encoder::default(), BytesMut::new(), Vec::new());
    greet(&mut input);
    let (head, trailers) = answer_blocks();
    let answer = Bytes::from_static(&[0; 30]);
    let mut request = Vec::new();
    request::put(KEYS.key(0), &request::value(VALUE_BYTES), &mut request);
    for nth in 0..times {
        push_call(&mut encoder, 2 * nth as u32 + 1, &request, &mut input);
        connection.receive(&mut input, &mut events)?;
        for event in events.drain(..) {
            let Event::Data { stream, bytes, end: true } = event else { continue };
            connection.release(stream, bytes.len());
            connection.head(stream, &head);
            connection.data(stream, answer.clone());
            connection.trailers(stream, trailers.clone());
        }
        send(&mut connection);
    }
    if connection.streams() == 0 { Ok(()) } else { Err("a call was not answered".into()) }
}

/// The client's first bytes: a window that lasts.
fn greet(out: &mut BytesMut) {
    let mut bytes = frame::PREFACE.to_vec();
    frame::push_settings(&mut bytes, &[]);
    frame::push(&mut bytes, frame::kind::WINDOW_UPDATE, 0, 0, &[&(1u32 << 30).to_be_bytes()]);
    out.put_slice(&bytes);
}

fn push_call(encoder: &mut hpack::Encoder, stream: u32, message: &[u8], out: &mut BytesMut) {
    let (mut block, mut bytes) = (Vec::with_capacity(256), Vec::with_capacity(512));
    encoder.call(request::PUT, "127.0.0.1:2379", &mut block);
    frame::push(&mut bytes, frame::kind::HEADERS, frame::flag::END_HEADERS, stream, &[&block]);
    let length = (message.len() as u32).to_be_bytes();
    let end = frame::flag::END_STREAM;
    frame::push(&mut bytes, frame::kind::DATA, end, stream, &[&[0], &length, message]);
    out.put_slice(&bytes);
}

fn answer_blocks() -> (Bytes, Bytes) {
    let (mut head, mut trailers) = (BytesMut::new(), BytesMut::new());
    http2::hpack::put_status(&mut head, 200);
    http2::hpack::put_literal(&mut head, b"content-type", b"application/grpc");
    http2::hpack::put_literal(&mut trailers, b"grpc-status", b"0");
    (head.freeze(), trailers.freeze())
}

fn send(connection: &mut Connection) {
    while connection.output_len() > 0 {
        let mut slices = [IoSlice::new(&[]); 32];
        let count = connection.output(&mut slices);
        let length = slices[..count].iter().map(|slice| slice.len()).sum();
        connection.sent(length);
    }
}
