//! The head of a request: its fields, checked (RFC 9113, section 8), and remembered by the block that said it.

use std::any::Any;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::Error;
use crate::frame::Reason;
use crate::hpack::Decoder;

/// Blocks remembered: a client says few different ones, over and over.
const REMEMBERED: usize = 8;
/// A longer block is not worth remembering.
const REMEMBERED_BYTES: usize = 512;
/// What a list may count beyond twice the length of its block: a byte can stand for a field of kilobytes, over and over.
const EXPANDED_MAX_BYTES: usize = 64 * 1024;
/// What each field counts beside its bytes (RFC 9113, 6.5.2).
const FIELD_OVERHEAD_BYTES: usize = 32;

/// Method, path and fields of a request.
#[derive(Clone, Debug)]
pub struct Head {
    /// `:method`.
    pub method: Method,
    /// `:path`, as it came.
    pub path: Bytes,
    /// `:authority`, or nothing.
    pub authority: Bytes,
    /// Everything but the pseudo fields.
    pub fields: HeaderMap,
    /// What the server made of it, for all requests that share it.
    pub note: OnceLock<Arc<dyn Any + Send + Sync>>,
}

/// What a block turned out to be.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    /// A request, or trailers if it has no pseudo fields.
    Head(Arc<Head>),
    /// Fields that break the rules: the stream ends.
    Malformed,
    /// Longer than we take.
    TooLong,
}

/// Decodes the blocks of one connection.
#[derive(Debug)]
pub(crate) struct Heads {
    decoder: Decoder,
    list_max_bytes: usize,
    /// Which blocks said what under which generation of the decoder's table.
    remembered: Vec<(u64, Bytes, Arc<Head>)>,
    next: usize,
}

impl Heads {
    pub fn new(list_max_bytes: usize) -> Heads {
        let decoder = Decoder::new(crate::hpack::TABLE_DEFAULT_BYTES);
        Heads { decoder, list_max_bytes, remembered: Vec::new(), next: 0 }
    }

    /// Every block must come here, wanted or not: the decoder's table depends on all of them.
    pub fn decode(&mut self, block: &[u8]) -> Result<Said, Error> {
        let generation = self.decoder.generation();
        for (under, known, head) in &self.remembered {
            if *under == generation && known == block {
                return Ok(Said::Head(head.clone()));
            }
        }
        let mut reading = Reading::new(self.list_max_bytes.min(EXPANDED_MAX_BYTES + 2 * block.len()));
        self.decoder
            .decode(block, |name, value| reading.field(name, value))
            .map_err(|_| Error::new(Reason::Compression, "a header block that cannot be decoded"))?;
        let said = reading.said();
        if let Said::Head(head) = &said
            && self.decoder.generation() == generation
            && block.len() <= REMEMBERED_BYTES
        {
            // A copy, lest it keep the buffer it came in.
            let entry = (generation, Bytes::copy_from_slice(block), head.clone());
            if self.remembered.len() < REMEMBERED {
                self.remembered.push(entry);
            } else {
                self.remembered[self.next] = entry;
                self.next = (self.next + 1) % REMEMBERED;
            }
        }
        Ok(said)
    }
}

struct Reading {
    head: Head,
    has_method: bool,
    is_malformed: bool,
    left_bytes: usize,
    is_too_long: bool,
}

impl Reading {
    fn new(list_max_bytes: usize) -> Reading {
        let head = Head {
            method: Method::GET,
            path: Bytes::new(),
            authority: Bytes::new(),
            fields: HeaderMap::with_capacity(12),
            note: OnceLock::new(),
        };
        Reading {
            head,
            has_method: false,
            is_malformed: false,
            left_bytes: list_max_bytes,
            is_too_long: false,
        }
    }

    fn field(&mut self, name: &[u8], value: &[u8]) {
        let cost = name.len() + value.len() + FIELD_OVERHEAD_BYTES;
        let Some(left) = self.left_bytes.checked_sub(cost) else {
            self.left_bytes = 0;
            self.is_too_long = true;
            return;
        };
        self.left_bytes = left;
        let taken = match name.strip_prefix(b":") {
            Some(pseudo) => self.pseudo(pseudo, value),
            None => self.plain(name, value),
        };
        self.is_malformed |= taken.is_none();
    }

    fn pseudo(&mut self, name: &[u8], value: &[u8]) -> Option<()> {
        if !self.head.fields.is_empty() {
            return None;
        }
        let once = |slot: &mut Bytes| {
            let fresh = slot.is_empty() && !value.is_empty();
            *slot = Bytes::copy_from_slice(value);
            fresh.then_some(())
        };
        match name {
            b"method" if !self.has_method => {
                self.has_method = true;
                self.head.method = Method::from_bytes(value).ok()?;
                Some(())
            }
            b"path" => once(&mut self.head.path),
            b"authority" if self.head.authority.is_empty() => {
                self.head.authority = Bytes::copy_from_slice(value);
                Some(())
            }
            b"scheme" => Some(()),
            _ => None,
        }
    }

    fn plain(&mut self, name: &[u8], value: &[u8]) -> Option<()> {
        if matches!(
            name,
            b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade"
        ) || name == b"te" && value != b"trailers"
        {
            return None;
        }
        let name = HeaderName::from_lowercase(name).ok()?;
        let value = HeaderValue::from_bytes(value).ok()?;
        self.head.fields.try_append(name, value).ok().map(|_| ())
    }

    fn said(self) -> Said {
        if self.is_too_long {
            Said::TooLong
        } else if self.is_malformed || self.has_method == self.head.path.is_empty() {
            Said::Malformed
        } else {
            Said::Head(Arc::new(self.head))
        }
    }
}

impl Head {
    /// A request has a method and a path; trailers have neither.
    pub(crate) fn is_request(&self) -> bool {
        !self.path.is_empty()
    }
}
