//! Response bodies: whole, spliced from stored records, or fed by a stream; always under the reader's flow control.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use http_body::{Frame, SizeHint};
use mvcc::{Listing, Stored};
use tokio::sync::mpsc;

use super::error::Status;
use crate::stats::Started;

/// Chunks handed to the transport are this long, long records aside: two HTTP/2 frames of the usual size.
const CHUNK_BYTES: usize = 32 * 1024;
/// A record at least this long is passed on as it is; a shorter one is cheaper to copy into a chunk.
pub const SPLICE_BYTES: usize = 8 * 1024;

/// What one message of a response is made of. Long lists stay as the stored pieces until the transport asks for them.
pub enum Message {
    /// An encoded message.
    Whole(Bytes),
    /// The same behind its frame header.
    Framed(Bytes),
    /// `head`, then every record as field 2 (length-delimited), then `tail`.
    List {
        /// Encoded fields before the records.
        head: Bytes,
        /// Encoded `mvccpb.KeyValue`s.
        records: Records,
        /// Encoded fields after the records.
        tail: Bytes,
    },
    /// Several messages of a stream at once.
    Batch(Batch),
}

/// The records of a list.
pub enum Records {
    /// All at hand.
    Held(std::vec::IntoIter<Bytes>),
    /// Known by their revisions, to be looked up when they are wanted.
    Listing(Box<Listing>),
}

impl Records {
    fn is_empty(&self) -> bool {
        match self {
            Records::Held(records) => records.len() == 0,
            Records::Listing(listing) => listing.is_empty(),
        }
    }

    fn next(&mut self) -> Option<Result<Stored<'_>, mvcc::Error>> {
        match self {
            Records::Held(records) => records.next().map(|record| Ok(Stored::Pending(record))),
            Records::Listing(listing) => listing.next_stored(),
        }
    }

    /// Length in bytes, headers included.
    fn encoded_len(&self) -> usize {
        match self {
            Records::Held(records) => records.as_slice().iter().map(|record| framed_len(record.len())).sum(),
            Records::Listing(listing) => listing.encoded_len(),
        }
    }
}

impl From<Vec<Bytes>> for Records {
    fn from(records: Vec<Bytes>) -> Records {
        Records::Held(records.into_iter())
    }
}

/// Messages of a stream with their frame headers, in pieces: what is long stays where it is stored.
#[derive(Default)]
pub struct Batch {
    messages: usize,
    len_bytes: usize,
    pieces: Vec<Bytes>,
    open: BytesMut,
}

impl Batch {
    /// An empty one with room for messages that take so many bytes together, but for those that stay where they are.
    pub fn with_room(bytes: usize) -> Batch {
        Batch { open: BytesMut::with_capacity(bytes), ..Batch::default() }
    }

    /// Adds one message: the encoded fields that `head` writes, `head_len` bytes, then `rest`.
    pub fn add(&mut self, head_len: usize, head: impl FnOnce(&mut BytesMut), rest: &[Bytes]) {
        let len = head_len + rest.iter().map(Bytes::len).sum::<usize>();
        if self.open.capacity() == 0 {
            // What is said alone takes no more than it needs.
            let copied = rest.iter().map(Bytes::len).filter(|len| *len < SPLICE_BYTES).sum::<usize>();
            self.open.reserve(FRAME_HEADER_BYTES + head_len + copied);
        }
        self.messages += 1;
        self.len_bytes += len;
        put_frame_header(&mut self.open, len);
        head(&mut self.open);
        for piece in rest {
            if piece.len() < SPLICE_BYTES {
                self.open.put_slice(piece);
            } else {
                self.pieces.push(self.open.split().freeze());
                self.pieces.push(piece.clone());
            }
        }
    }

    /// Messages in it.
    pub fn len(&self) -> usize {
        self.messages
    }

    /// Whether there is no message in it.
    pub fn is_empty(&self) -> bool {
        self.messages == 0
    }

    fn into_pieces(mut self) -> VecDeque<Bytes> {
        if !self.open.is_empty() {
            self.pieces.push(self.open.freeze());
        }
        self.pieces.into()
    }
}

impl Message {
    /// Encodes a message.
    pub fn of(message: &impl prost::Message) -> Message {
        let len = message.encoded_len();
        let mut out = Vec::with_capacity(FRAME_HEADER_BYTES + len);
        put_frame_header(&mut out, len);
        message.encode_raw(&mut out);
        Message::Framed(out.into())
    }

    /// Length of the encoded message in bytes.
    pub fn encoded_len(&self) -> usize {
        match self {
            Message::Whole(bytes) => bytes.len(),
            Message::Framed(bytes) => bytes.len().saturating_sub(FRAME_HEADER_BYTES),
            Message::List { head, records, tail } => list_len(head, records, tail),
            Message::Batch(batch) => batch.len_bytes,
        }
    }

    /// How many messages it is.
    pub fn count(&self) -> usize {
        if let Message::Batch(batch) = self { batch.messages } else { 1 }
    }
}

/// Length of what [`put_frame_header`] puts.
const FRAME_HEADER_BYTES: usize = 5;

/// Tag and length of field 2, wire type 2.
fn put_record_header(out: &mut impl BufMut, len: usize) {
    out.put_u8(0x12);
    prost::encoding::encode_varint(len as u64, out);
}

/// Length of a [`Message::List`] in bytes.
pub fn list_len(head: &Bytes, records: &Records, tail: &Bytes) -> usize {
    head.len() + tail.len() + records.encoded_len()
}

fn framed_len(len: usize) -> usize {
    1 + prost::encoding::encoded_len_varint(len as u64) + len
}

/// The five bytes before each gRPC message: not compressed, length.
fn put_frame_header(out: &mut impl BufMut, len: usize) {
    out.put_u8(0);
    out.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
}

/// A response body of the front door.
pub enum Body {
    /// Nothing: the headers say it all.
    Empty,
    /// A plain HTTP answer.
    Plain(Option<Bytes>),
    /// One gRPC message, then the trailers.
    Unary(Unary),
    /// Messages as they come, then the trailers.
    Stream(Box<Stream>),
    /// What goes to a peer, until the connection breaks.
    Endless(Box<crate::peer::lane::Stream>),
}

/// State of a [`Body::Unary`].
pub struct Unary {
    /// Goes first, if it is not empty.
    first: Bytes,
    ready: VecDeque<Bytes>,
    /// Begins the next chunk.
    begun: Vec<u8>,
    records: Records,
    tail: Bytes,
    trailers: bool,
    /// Why the rest cannot be sent.
    failed: Option<Status>,
}

/// What a stream has to say: a message, a status that ends it, or that it is over.
type Next = Poll<Option<Result<Message, Status>>>;

/// Where the messages of a stream come from.
enum Source {
    /// A task.
    Channel(mpsc::Receiver<Result<Message, Status>>),
    /// Whoever is asked here; not once more after the end.
    Polled(Box<dyn FnMut(&mut Context<'_>) -> Next + Send>),
}

/// State of a [`Body::Stream`].
pub struct Stream {
    source: Source,
    current: Option<Unary>,
    trailers: Option<HeaderMap>,
    done: bool,
    counted: Started,
}

impl Body {
    /// A plain HTTP body.
    pub fn plain(bytes: impl Into<Bytes>) -> Body {
        Body::Plain(Some(bytes.into()))
    }

    /// One message and status OK.
    pub fn unary(message: Message) -> Body {
        Body::Unary(Unary::new(message, true))
    }

    /// Messages from `source` until it closes (status OK) or yields a status.
    pub fn stream(source: mpsc::Receiver<Result<Message, Status>>, counted: Started) -> Body {
        Body::streamed(Source::Channel(source), counted)
    }

    /// The same from a `source` that is asked whenever the transport takes more.
    pub fn polled(source: impl FnMut(&mut Context<'_>) -> Next + Send + 'static, counted: Started) -> Body {
        Body::streamed(Source::Polled(Box::new(source)), counted)
    }

    fn streamed(source: Source, counted: Started) -> Body {
        Body::Stream(Box::new(Stream { source, current: None, trailers: None, done: false, counted }))
    }
}

impl Body {
    /// The next bytes of a body all of which is there. After the last ones of a [`Body::Unary`] comes status OK.
    pub fn next_piece(&mut self) -> Option<Bytes> {
        match self {
            Body::Plain(bytes) => bytes.take(),
            Body::Unary(unary) => unary.next(),
            Body::Empty | Body::Stream(_) | Body::Endless(_) => None,
        }
    }

    /// Trailers of a [`Body::Unary`] whose rest could not be read.
    pub fn failure(&self) -> Option<HeaderMap> {
        match self {
            Body::Unary(unary) => unary.failed.as_ref().map(trailers_of),
            _ => None,
        }
    }
}

impl Unary {
    fn new(message: Message, trailers: bool) -> Unary {
        let len = message.encoded_len();
        match message {
            Message::Framed(first) => Unary { first, ..Unary::of_pieces(VecDeque::new(), trailers) },
            Message::Whole(bytes) => {
                let is_short = bytes.len() < SPLICE_BYTES;
                let mut out = BytesMut::with_capacity(FRAME_HEADER_BYTES + bytes.len().min(SPLICE_BYTES));
                put_frame_header(&mut out, len);
                out.put_slice(if is_short { &bytes } else { b"" });
                let rest = if is_short { VecDeque::new() } else { [bytes].into() };
                Unary { first: out.freeze(), ..Unary::of_pieces(rest, trailers) }
            }
            Message::Batch(batch) if batch.pieces.is_empty() => {
                Unary { first: batch.open.freeze(), ..Unary::of_pieces(VecDeque::new(), trailers) }
            }
            Message::Batch(batch) => Unary::of_pieces(batch.into_pieces(), trailers),
            Message::List { head, records, tail } => {
                let mut out = BytesMut::with_capacity((5 + len).min(CHUNK_BYTES + SPLICE_BYTES));
                put_frame_header(&mut out, len);
                out.put_slice(&head);
                let mut unary =
                    Unary { records, tail, ..Unary::of_pieces(VecDeque::with_capacity(2), trailers) };
                unary.fill(out);
                unary
            }
        }
    }

    fn of_pieces(ready: VecDeque<Bytes>, trailers: bool) -> Unary {
        Unary {
            first: Bytes::new(),
            ready,
            begun: Vec::new(),
            records: Vec::new().into(),
            tail: Bytes::new(),
            trailers,
            failed: None,
        }
    }

    /// Puts the next chunk (and perhaps a long record behind it) into `ready`.
    fn fill(&mut self, mut out: BytesMut) {
        while let Some(record) = self.records.next() {
            let record = match record {
                Ok(record) => record,
                Err(error) => {
                    // The client was told a length that it will not get: it must hear why.
                    crate::log::error!(
                        "failed to read a record of a long answer",
                        "error" = error.to_string()
                    );
                    self.failed = Some(Status::unknown(error.to_string()));
                    self.tail = Bytes::new();
                    break;
                }
            };
            put_record_header(&mut out, record.len());
            if record.len() >= SPLICE_BYTES {
                self.ready.push_back(out.freeze());
                self.ready.push_back(record.into());
                return;
            }
            out.put_slice(&record);
            if out.len() >= CHUNK_BYTES {
                // A few bytes more would take a frame of their own.
                self.begun.extend_from_slice(&out[CHUNK_BYTES..]);
                out.truncate(CHUNK_BYTES);
                self.ready.push_back(out.freeze());
                return;
            }
        }
        out.put_slice(&std::mem::take(&mut self.tail));
        if !out.is_empty() {
            self.ready.push_back(out.freeze());
        }
    }

    fn next(&mut self) -> Option<Bytes> {
        if !self.first.is_empty() {
            return Some(std::mem::take(&mut self.first));
        }
        let is_all = self.begun.is_empty() && self.records.is_empty() && self.tail.is_empty();
        if self.ready.is_empty() && !is_all {
            let mut out = BytesMut::with_capacity(CHUNK_BYTES + SPLICE_BYTES);
            out.put_slice(&self.begun);
            self.begun.clear();
            self.fill(out);
        }
        self.ready.pop_front()
    }
}

impl Source {
    fn poll(&mut self, cx: &mut Context<'_>) -> Next {
        match self {
            Source::Channel(source) => source.poll_recv(cx),
            Source::Polled(source) => source(cx),
        }
    }

    /// Nothing more is wanted.
    fn close(&mut self) {
        if let Source::Channel(source) = self {
            source.close();
        }
    }
}

impl Stream {
    /// The next piece, or the trailers.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame<Bytes>>> {
        loop {
            if let Some(unary) = &mut self.current {
                if let Some(bytes) = unary.next() {
                    return Poll::Ready(Some(Frame::data(bytes)));
                }
                if let Some(status) = &unary.failed {
                    self.source.close();
                    self.trailers = Some(trailers_of(status));
                }
                self.current = None;
            }
            if let Some(trailers) = self.trailers.take() {
                self.done = true;
                return Poll::Ready(Some(Frame::trailers(trailers)));
            }
            if self.done {
                return Poll::Ready(None);
            }
            match self.source.poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(message))) => {
                    self.counted.sent(message.count(), message.encoded_len());
                    self.current = Some(Unary::new(message, false));
                }
                Poll::Ready(Some(Err(status))) => {
                    self.source.close();
                    self.trailers = Some(trailers_of(&status));
                }
                Poll::Ready(None) => self.trailers = Some(trailers_ok()),
            }
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Body::Empty => Poll::Ready(None),
            Body::Plain(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Body::Unary(unary) => Poll::Ready(match unary.next() {
                Some(bytes) => Some(Ok(Frame::data(bytes))),
                None if unary.trailers => {
                    unary.trailers = false;
                    let trailers = unary.failed.as_ref().map_or_else(trailers_ok, trailers_of);
                    Some(Ok(Frame::trailers(trailers)))
                }
                None => None,
            }),
            Body::Stream(stream) => stream.poll(cx).map(|frame| frame.map(Ok)),
            Body::Endless(stream) => Pin::new(&mut **stream).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Empty | Body::Plain(None) => true,
            Body::Plain(Some(bytes)) => bytes.is_empty(),
            _ => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Empty | Body::Plain(None) => SizeHint::with_exact(0),
            Body::Plain(Some(bytes)) => SizeHint::with_exact(bytes.len() as u64),
            _ => SizeHint::default(),
        }
    }
}

/// `grpc-status` of a call that went well.
pub fn trailers_ok() -> HeaderMap {
    let mut map = HeaderMap::with_capacity(1);
    map.insert("grpc-status", HeaderValue::from_static("0"));
    map
}

/// `grpc-status` and `grpc-message` of a failed call.
pub fn trailers_of(status: &Status) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(2);
    map.insert("grpc-status", HeaderValue::from(status.code as u16));
    if let Ok(text) = HeaderValue::from_str(&percent_encode(&status.message)) {
        map.insert("grpc-message", text);
    }
    map
}

/// gRPC's percent encoding: printable ASCII but `%` stays.
fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (0x20..=0x7e).contains(&byte) && byte != b'%' {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(mut unary: Unary) -> (Vec<u8>, usize) {
        let (mut all, mut longest) = (Vec::new(), 0);
        while let Some(bytes) = unary.next() {
            longest = longest.max(bytes.len());
            all.extend_from_slice(&bytes);
        }
        (all, longest)
    }

    #[test]
    fn a_spliced_list_is_byte_for_byte_the_encoded_message_and_leaves_in_small_chunks() {
        for record_len in [0_usize, 1, 300, SPLICE_BYTES - 1, SPLICE_BYTES, 100_000] {
            let records: Vec<Bytes> = (0..50).map(|i| Bytes::from(vec![i as u8; record_len])).collect();
            let mut whole = Vec::from(&b"\x0a\x00"[..]);
            for record in &records {
                put_record_header(&mut whole, record.len());
                whole.put_slice(record);
            }
            whole.put_slice(b"\x20\x32");
            let list = Message::List {
                head: Bytes::from_static(b"\x0a\x00"),
                records: records.into(),
                tail: Bytes::from_static(b"\x20\x32"),
            };
            let (sent, longest) = drain(Unary::new(list, true));
            assert_eq!(sent[0], 0);
            assert_eq!(sent[1..5], u32::try_from(whole.len()).unwrap().to_be_bytes());
            assert_eq!(&sent[5..], &whole[..]);
            assert!(longest <= (CHUNK_BYTES + SPLICE_BYTES + 16).max(record_len), "{longest}");
        }
    }

    #[test]
    fn a_list_that_cannot_be_read_to_its_end_says_so_behind_what_it_sent() {
        let disk = std::sync::Arc::new(disk::MemDisk::new(0));
        let path = std::path::Path::new("/db");
        let mut backend = backend::Backend::open(disk, path, backend::Options::default()).unwrap();
        let (mut kv, _) = mvcc::Kv::open(&mut backend).unwrap();
        for n in 0..1000 {
            let mut txn = kv.begin(&mut backend);
            txn.put(format!("{n:03}").into(), vec![b'v'; 300].into(), 0).unwrap();
            txn.finish();
        }
        for lost in [false, true] {
            if lost {
                backend.commit().unwrap();
                backend.delete(backend::Bucket::Key, &mvcc::Revision::new(502, 0).to_bytes());
                backend.commit().unwrap();
            }
            let query = mvcc::RangeQuery::range("0", "\0");
            let records = Records::Listing(Box::new(kv.reader(&backend).list(&query).unwrap()));
            let message =
                Message::List { head: Bytes::new(), records, tail: Bytes::from_static(b"\x20\x01") };
            let promised = FRAME_HEADER_BYTES + message.encoded_len();
            let mut body = Body::unary(message);
            let sent: usize = std::iter::from_fn(|| body.next_piece()).map(|piece| piece.len()).sum();
            assert_eq!(sent == promised, !lost);
            assert!(0 < sent && sent <= promised);
            let status = body.failure().map(|trailers| trailers["grpc-status"].clone());
            assert_eq!(status, lost.then(|| HeaderValue::from_static("2")));
        }
    }

    #[test]
    fn a_batch_is_its_messages_one_after_the_other_whether_copied_or_spliced() {
        let mut batch = Batch::default();
        let rests: [&[usize]; 4] = [&[], &[3], &[SPLICE_BYTES, 2, SPLICE_BYTES + 1], &[1, 1]];
        let mut expected = Vec::new();
        for (n, rest) in rests.iter().enumerate() {
            let rest: Vec<Bytes> = rest.iter().map(|len| vec![n as u8; *len].into()).collect();
            batch.add(2, |out| out.put_slice(b"ab"), &rest);
            put_frame_header(&mut expected, 2 + rest.iter().map(Bytes::len).sum::<usize>());
            expected.extend(b"ab");
            rest.iter().for_each(|piece| expected.extend(&piece[..]));
        }
        let message = Message::Batch(batch);
        assert_eq!((message.count(), message.encoded_len() + 4 * 5), (4, expected.len()));
        assert_eq!(drain(Unary::new(message, false)).0, expected);
    }

    #[test]
    fn messages_outside_printable_ascii_are_percent_encoded() {
        assert_eq!(percent_encode("a%b\n\u{e9}"), "a%25b%0A%C3%A9");
        assert_eq!(percent_encode("etcdserver: no leader"), "etcdserver: no leader");
    }
}
