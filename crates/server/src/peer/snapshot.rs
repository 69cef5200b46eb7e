//! The whole state from member to member: a message, then the database as a file (formats 5.5, 6.5).
//!
//! What is sent is pinned by apply and read from the file as it goes out, at a bounded rate. What is received becomes a
//! file beside the database, durable and looked at, before the node hears of it.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use backend::SnapshotSource;
use bytes::{BufMut, Bytes, BytesMut};
use disk::{Disk, Open};
use http_body::Frame;
use hyper::body::Incoming;
use node::Input;
use raft::{Index, Message, MessageKind};
use thiserror::Error;
use tokio::sync::mpsc;
use wal::codec;

use super::{Peer, Peers, Rejected, client, pipeline};
use crate::log;
use crate::stats::METRICS;

/// Longest message at the head of a snapshot.
const HEAD_BYTES_MAX: u64 = 64 << 20;
/// Bytes of the database read at once.
const CHUNK_BYTES: usize = 128 * 1024;
/// Chunks between the file and the connection.
const CHUNKS_MAX: usize = 4;
/// A database leaves no faster than this: followers that are well want their share of disk and link, too.
const BYTES_PER_SECOND: u64 = 128 << 20;
/// A transfer of which nothing moves for so long is given up.
const STALL: Duration = Duration::from_secs(30);
/// How long the other side may take to store all of it once it has come.
const STORE: Duration = Duration::from_secs(120);
/// Longest answer that is looked at.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Where snapshots are received.
pub struct Files {
    /// The member's disk.
    pub disk: Arc<dyn Disk>,
    /// `member/snap`.
    pub dir: PathBuf,
}

impl Peers {
    /// Sends a snapshot whose database is `source`; tells the node how that went.
    pub fn send_snapshot(&self, message: Message, source: SnapshotSource) {
        let peers = self.clone();
        self.spawn(async move {
            let to = message.to;
            let ok = match peers.get(to) {
                Some(peer) => peers.send_to(&peer, message, source).await,
                None => false,
            };
            peers.input(Input::SnapshotSent { peer: to, ok });
        });
    }

    async fn send_to(&self, peer: &Arc<Peer>, message: Message, source: SnapshotSource) -> bool {
        let to = peer.id.to_string();
        let index = message.snapshot.as_ref().map_or(0, |snapshot| snapshot.index.0);
        let head = encode_head(&message);
        let total = head.len() as u64 + source.len();
        let shown = |what: &'static str, error: Option<String>| match error {
            None => log::info!(
                what,
                "snapshot-index" = index,
                "remote-peer-id" = to.clone(),
                "bytes" = total,
                "size" = log::size(total)
            ),
            Some(error) => log::warning!(
                what,
                "snapshot-index" = index,
                "remote-peer-id" = to.clone(),
                "bytes" = total,
                "size" = log::size(total),
                "error" = error
            ),
        };
        shown("sending database snapshot", None);
        let under_way = METRICS.etcd_network_snapshot_send_inflights_total.with(&[&to]);
        under_way.set(1.0);
        let start = Instant::now();
        let url = peer.url();
        let sent = self.post_snapshot(peer, &url, head, source).await;
        under_way.set(0.0);
        match sent {
            Ok(()) => {
                shown("sent database snapshot", None);
                METRICS.etcd_network_snapshot_send_success.with(&[&to]).inc();
                METRICS
                    .etcd_network_snapshot_send_total_duration_seconds
                    .with(&[&to])
                    .observe_time(start.elapsed());
                peer.reached();
                true
            }
            Err(error) => {
                peer.url_failed(&url);
                peer.missed(&error);
                shown("failed to send database snapshot", Some(error));
                METRICS.etcd_network_snapshot_send_failures.with(&[&to]).inc();
                self.unreachable(peer.id);
                false
            }
        }
    }

    async fn post_snapshot(
        &self,
        peer: &Arc<Peer>,
        url: &str,
        head: Bytes,
        source: SnapshotSource,
    ) -> Result<(), String> {
        let (to, chunks) = mpsc::channel(CHUNKS_MAX);
        let moved = Arc::new(AtomicU64::new(0));
        let total = head.len() as u64 + source.len();
        let feeding = tokio::task::spawn_blocking(move || feed(head, &source, &to));
        let outgoing = Outgoing { chunks, moved: moved.clone(), sent_bytes: peer.sent_bytes.clone() };
        let request = pipeline::request(self, "/raft/snapshot", "application/octet-stream", outgoing);
        let answered = async {
            let response = self.dialer().send(url, request).await?;
            let status = response.status();
            Ok::<_, client::Error>((status, client::collect(response.into_body(), ANSWER_BYTES_MAX).await?))
        };
        let (status, body) = tokio::select! {
            answered = answered => answered.map_err(|error| error.to_string())?,
            () = stalled(&moved, total) => return Err("the transfer does not move".into()),
        };
        pipeline::judge(self, peer, status, &body)?;
        match feeding.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the reader of the database has ended".into()),
        }
    }

    /// Takes a snapshot in from a request's body.
    pub async fn receive_snapshot(&self, from: &str, body: Incoming) -> Result<(), ReceiveError> {
        let start = Instant::now();
        let under_way = METRICS.etcd_network_snapshot_receive_inflights_total.with(&[from]);
        under_way.set(1.0);
        let received = self.receive_from(from, body).await;
        under_way.set(0.0);
        let failures = METRICS.etcd_network_snapshot_receive_failures.with(&[from]);
        match received {
            Ok(()) => {
                METRICS.etcd_network_snapshot_receive_success.with(&[from]).inc();
                let took = METRICS.etcd_network_snapshot_receive_total_duration_seconds.with(&[from]);
                took.observe_time(start.elapsed());
            }
            Err(_) => failures.inc(),
        }
        received
    }

    async fn receive_from(&self, from: &str, mut body: Incoming) -> Result<(), ReceiveError> {
        let start = Instant::now();
        let local = self.identity().id.to_string();
        let (message, rest) = read_head(&mut body).await.inspect_err(|error| {
            log::warning!(
                "failed to decode Raft message",
                "local-member-id" = local.clone(),
                "remote-snapshot-sender-id" = from.to_owned(),
                "error" = error.to_string()
            );
        })?;
        let index = match &message.snapshot {
            Some(snapshot) if message.kind == MessageKind::Snap => snapshot.index,
            _ => return Err(ReceiveError::WrongType),
        };
        log::info!(
            "receiving database snapshot",
            "local-member-id" = local.clone(),
            "remote-snapshot-sender-id" = from.to_owned(),
            "incoming-snapshot-index" = index.0
        );
        let bytes = self.store(index, rest, body).await.inspect_err(|error| {
            log::warning!(
                "failed to save incoming database snapshot",
                "local-member-id" = local.clone(),
                "remote-snapshot-sender-id" = from.to_owned(),
                "incoming-snapshot-index" = index.0,
                "error" = error.to_string()
            );
        })?;
        log::info!(
            "received and saved database snapshot",
            "local-member-id" = local.clone(),
            "remote-snapshot-sender-id" = from.to_owned(),
            "incoming-snapshot-index" = index.0,
            "incoming-snapshot-size-bytes" = bytes,
            "incoming-snapshot-size" = log::size(bytes),
            "download-took" = start.elapsed()
        );
        METRICS.etcd_network_peer_received_bytes_total.with(&[from]).add(bytes);
        Ok(self.take(message)?)
    }

    /// Writes the database of the snapshot at `index` beside ours. Answers with its length.
    async fn store(&self, index: Index, first: Bytes, mut body: Incoming) -> Result<u64, ReceiveError> {
        let (to, chunks) = mpsc::channel(CHUNKS_MAX);
        let (disk, dir) = (self.0.links.files.disk.clone(), self.0.links.files.dir.clone());
        let writing = tokio::task::spawn_blocking(move || save(disk.as_ref(), &dir, index, chunks));
        let failed = |why: String| ReceiveError::Save(why);
        if !first.is_empty() && to.send(Some(first)).await.is_err() {
            return writing.await.unwrap_or_else(|_| Err(failed("the writer has ended".into())));
        }
        loop {
            let piece = match tokio::time::timeout(STALL, client::next_piece(&mut body)).await {
                Err(_) => return Err(failed("the transfer does not move".into())),
                Ok(Some(Err(error))) => return Err(failed(error.to_string())),
                Ok(Some(Ok(piece))) => Some(piece),
                Ok(None) => None,
            };
            let end = piece.is_none();
            // A writer that is gone says why below.
            if to.send(piece).await.is_err() || end {
                break;
            }
        }
        writing.await.unwrap_or_else(|_| Err(failed("the writer has ended".into())))
    }
}

/// Resolves when nothing has moved for too long.
async fn stalled(moved: &AtomicU64, total: u64) {
    let mut seen = 0;
    loop {
        let patience = if seen >= total { STORE } else { STALL };
        tokio::time::sleep(patience).await;
        let now = moved.load(Ordering::Relaxed);
        if now == seen {
            return;
        }
        seen = now;
    }
}

fn encode_head(message: &Message) -> Bytes {
    let encoded = codec::encode_message(message);
    let mut head = BytesMut::with_capacity(8 + encoded.len());
    head.put_u64(encoded.len() as u64);
    head.put_slice(&encoded);
    head.freeze()
}

/// Reads the database into the channel, no faster than allowed.
fn feed(
    head: Bytes,
    source: &SnapshotSource,
    to: &mpsc::Sender<std::io::Result<Bytes>>,
) -> std::io::Result<()> {
    let gone = |_| std::io::Error::from(std::io::ErrorKind::BrokenPipe);
    to.blocking_send(Ok(head)).map_err(gone)?;
    let (mut offset, start) = (0, Instant::now());
    while offset < source.len() {
        let mut chunk = vec![0; CHUNK_BYTES];
        let read = source.read_at(&mut chunk, offset);
        match read {
            Ok(len) => {
                chunk.truncate(len);
                offset += len as u64;
                to.blocking_send(Ok(chunk.into())).map_err(gone)?;
            }
            Err(error) => {
                let told = std::io::Error::new(error.kind(), error.to_string());
                // The transfer must not look as if it had ended well.
                let _ = to.blocking_send(Err(error));
                return Err(told);
            }
        }
        let due = Duration::from_millis(offset / (BYTES_PER_SECOND / 1000));
        if let Some(early) = due.checked_sub(start.elapsed()) {
            std::thread::sleep(early);
        }
    }
    Ok(())
}

/// The body of the request that carries a snapshot.
struct Outgoing {
    chunks: mpsc::Receiver<std::io::Result<Bytes>>,
    moved: Arc<AtomicU64>,
    sent_bytes: Arc<crate::metrics::Counter>,
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let outgoing = self.get_mut();
        outgoing.chunks.poll_recv(cx).map(|chunk| {
            chunk.map(|chunk| {
                let chunk = chunk?;
                outgoing.moved.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                outgoing.sent_bytes.add(chunk.len() as u64);
                Ok(Frame::data(chunk))
            })
        })
    }
}

/// Why a snapshot was not received.
#[derive(Debug, Error)]
#[allow(missing_docs)]
pub enum ReceiveError {
    #[error("failed to decode raft message ({0})")]
    Head(String),
    #[error("wrong raft message type")]
    WrongType,
    #[error("failed to save KV snapshot ({0})")]
    Save(String),
    #[error("failed to process raft message ({0})")]
    Rejected(#[from] Rejected),
}

/// The message before the database, and what came of the database with it.
async fn read_head(body: &mut Incoming) -> Result<(Message, Bytes), ReceiveError> {
    let failed = |why: &dyn std::fmt::Display| ReceiveError::Head(why.to_string());
    let mut begun = BytesMut::new();
    loop {
        if let Some(len) = begun.first_chunk().map(|len| u64::from_be_bytes(*len)) {
            if len > HEAD_BYTES_MAX {
                return Err(failed(&"raftsnap: error message too long"));
            }
            if begun.len() as u64 - 8 >= len {
                let mut all = begun.freeze();
                let _ = all.split_to(8);
                let head = all.split_to(usize::try_from(len).unwrap_or(0));
                return Ok((codec::decode_message(head).map_err(|error| failed(&error))?, all));
            }
        }
        let piece = tokio::time::timeout(STALL, client::next_piece(body)).await;
        match piece.map_err(|_| failed(&"i/o timeout"))? {
            Some(piece) => begun.extend_from_slice(&piece.map_err(|error| failed(&error))?),
            None => return Err(failed(&"unexpected EOF")),
        }
    }
}

/// Writes what comes into a file beside the database: under a passing name until it is whole, looked at and durable.
/// Only a `None` is its end; a channel that closes is a transfer that broke off.
fn save(
    disk: &dyn Disk,
    dir: &Path,
    index: Index,
    mut chunks: mpsc::Receiver<Option<Bytes>>,
) -> Result<u64, ReceiveError> {
    let start = Instant::now();
    let passing = dir.join(format!("tmp{:016x}", rand::random::<u64>()));
    let saved = write(disk, &passing, &mut chunks).and_then(|len| {
        let name = dir.join(wal::snap::received_db_name(index));
        if disk.exists(&name) {
            disk.remove(&passing)?;
        } else {
            disk.rename(&passing, &name)?;
            disk.sync_dir(dir)?;
        }
        METRICS.etcd_snap_db_save_total_duration_seconds.observe_time(start.elapsed());
        Ok(len)
    });
    saved.map_err(|error| {
        // If it stays, the next start removes it.
        let _ = disk.remove(&passing);
        ReceiveError::Save(error.to_string())
    })
}

fn write(disk: &dyn Disk, path: &Path, chunks: &mut mpsc::Receiver<Option<Bytes>>) -> std::io::Result<u64> {
    let file = disk.open(path, Open::create_new(0o600))?;
    let mut len = 0;
    loop {
        match chunks.blocking_recv() {
            Some(Some(chunk)) => {
                file.write_at(&chunk, len)?;
                len += chunk.len() as u64;
            }
            Some(None) => break,
            None => return Err(std::io::ErrorKind::UnexpectedEof.into()),
        }
    }
    let start = Instant::now();
    file.sync()?;
    METRICS.etcd_snap_db_fsync_duration_seconds.observe_time(start.elapsed());
    drop(file);
    // A file that is none would leave this member without any.
    backend::ReadTx::open(disk, path).map_err(std::io::Error::other)?;
    Ok(len)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use disk::MemDisk;

    use super::*;

    const DIR: &str = "/snap";

    fn empty(seed: u64) -> MemDisk {
        let disk = MemDisk::new(seed);
        disk.create_dir_all(Path::new(DIR), 0o700).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        disk
    }

    fn database() -> Bytes {
        let mut backend =
            backend::Backend::open(Arc::new(MemDisk::new(0)), Path::new("/db"), Default::default()).unwrap();
        backend.put(backend::Bucket::Key, Bytes::from_static(b"k"), Bytes::from_static(b"v"));
        backend.commit().unwrap();
        let (to, mut from) = mpsc::channel(1000);
        feed(Bytes::from_static(b"head"), &backend.read().copy(), &to).unwrap();
        assert_eq!(from.try_recv().unwrap().unwrap(), "head");
        let mut all = BytesMut::new();
        while let Ok(chunk) = from.try_recv() {
            all.extend_from_slice(&chunk.unwrap());
        }
        assert_eq!(all.len() as u64, backend.size());
        all.freeze()
    }

    fn saved(disk: &MemDisk, bytes: &Bytes, ended: bool) -> Result<u64, ReceiveError> {
        let (to, from) = mpsc::channel(1000);
        for start in (0..bytes.len()).step_by(5000) {
            to.try_send(Some(bytes.slice(start..bytes.len().min(start + 5000)))).unwrap();
        }
        if ended {
            to.try_send(None).unwrap();
        }
        drop(to);
        save(disk, Path::new(DIR), Index(0x1f), from)
    }

    #[test]
    fn a_received_database_is_there_whole_or_not_at_all_wherever_a_crash_comes() {
        let bytes = database();
        let path = Path::new(DIR).join("000000000000001f.snap.db");
        for op in 1.. {
            let disk = empty(op);
            disk.crash_at_op(op);
            let done = saved(&disk, &bytes, true).is_ok();
            let after = disk.crash(op);
            assert!(after.exists(&path) || !done, "acknowledged and lost, at change {op}");
            if after.exists(&path) {
                let found = backend::ReadTx::open(&after, &path).unwrap();
                assert_eq!(found.get(backend::Bucket::Key, b"k").unwrap().unwrap(), "v");
                assert_eq!(found.size(), bytes.len() as u64);
            }
            if done {
                assert!(op > 5, "only {op} changes");
                return;
            }
        }
    }

    #[test]
    fn what_breaks_off_or_is_no_database_is_not_kept() {
        let (disk, bytes) = (empty(0), database());
        for (bytes, ended) in [(&bytes, false), (&bytes.slice(..8192), true), (&Bytes::new(), true)] {
            assert!(matches!(saved(&disk, bytes, ended), Err(ReceiveError::Save(_))));
        }
        assert!(disk.list(Path::new(DIR)).unwrap().is_empty());
        assert!(saved(&disk, &bytes, true).is_ok());
        assert!(saved(&disk, &bytes, true).is_ok(), "the same one again is passed over");
        assert_eq!(disk.list(Path::new(DIR)).unwrap(), ["000000000000001f.snap.db"]);
    }
}
