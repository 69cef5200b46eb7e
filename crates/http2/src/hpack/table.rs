//! What indexes refer to: the static table, and the dynamic one behind it (RFC 7541, sections 2.3 and 4).

use std::collections::VecDeque;

use super::Error;

/// What an entry costs besides its bytes.
const OVERHEAD_BYTES: usize = 32;

/// Appendix A; the first has index 1.
pub static STATIC: [(&[u8], &[u8]); 61] = [
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    (b"accept-language", b""),
    (b"accept-ranges", b""),
    (b"accept", b""),
    (b"access-control-allow-origin", b""),
    (b"age", b""),
    (b"allow", b""),
    (b"authorization", b""),
    (b"cache-control", b""),
    (b"content-disposition", b""),
    (b"content-encoding", b""),
    (b"content-language", b""),
    (b"content-length", b""),
    (b"content-location", b""),
    (b"content-range", b""),
    (b"content-type", b""),
    (b"cookie", b""),
    (b"date", b""),
    (b"etag", b""),
    (b"expect", b""),
    (b"expires", b""),
    (b"from", b""),
    (b"host", b""),
    (b"if-match", b""),
    (b"if-modified-since", b""),
    (b"if-none-match", b""),
    (b"if-range", b""),
    (b"if-unmodified-since", b""),
    (b"last-modified", b""),
    (b"link", b""),
    (b"location", b""),
    (b"max-forwards", b""),
    (b"proxy-authenticate", b""),
    (b"proxy-authorization", b""),
    (b"range", b""),
    (b"referer", b""),
    (b"refresh", b""),
    (b"retry-after", b""),
    (b"server", b""),
    (b"set-cookie", b""),
    (b"strict-transport-security", b""),
    (b"transfer-encoding", b""),
    (b"user-agent", b""),
    (b"vary", b""),
    (b"via", b""),
    (b"www-authenticate", b""),
];

/// A field of the dynamic table: the name, then the value.
#[derive(Debug)]
pub struct Entry {
    bytes: Box<[u8]>,
    name_len: usize,
}

impl Entry {
    pub fn new(name: &[u8], value: &[u8]) -> Entry {
        Entry { bytes: [name, value].concat().into_boxed_slice(), name_len: name.len() }
    }

    fn size(&self) -> usize {
        self.bytes.len() + OVERHEAD_BYTES
    }
}

/// The dynamic table, newest entry first.
#[derive(Debug)]
pub struct Table {
    entries: VecDeque<Entry>,
    size: usize,
    size_max: usize,
    generation: u64,
}

impl Table {
    pub fn new(size_max: usize) -> Table {
        Table { entries: VecDeque::new(), size: 0, size_max, generation: 0 }
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The field at an index of both tables.
    #[inline]
    pub fn get(&self, index: usize) -> Result<(&[u8], &[u8]), Error> {
        // Index 0 is in neither table.
        let index = index.wrapping_sub(1);
        if let Some(field) = STATIC.get(index) {
            return Ok(*field);
        }
        let entry = self.entries.get(index.wrapping_sub(STATIC.len()));
        let entry = entry.ok_or(Error("an index into nowhere"))?;
        entry.bytes.split_at_checked(entry.name_len).ok_or(Error("an index into nowhere"))
    }

    /// Whether a field is small enough to be an entry, if only after all others have left.
    pub fn takes(&self, name: &[u8], value: &[u8]) -> bool {
        name.len() + value.len() + OVERHEAD_BYTES <= self.size_max
    }

    /// Adds the field that came, or `None` for one that the table does not take: that empties it.
    pub fn insert(&mut self, entry: Option<Entry>) {
        let Some(entry) = entry else { return self.shrink_to(0) };
        self.shrink_to(self.size_max.saturating_sub(entry.size()));
        self.size += entry.size();
        self.entries.push_front(entry);
        self.generation += 1;
    }

    /// Follows a size update.
    pub fn resize(&mut self, size_max: usize) {
        if size_max != self.size_max {
            self.size_max = size_max;
            self.generation += 1;
            self.shrink_to(size_max);
        }
    }

    /// Evicts the oldest until `size` is not exceeded.
    fn shrink_to(&mut self, size: usize) {
        while self.size > size {
            let Some(oldest) = self.entries.pop_back() else { return };
            self.size -= oldest.size();
            self.generation += 1;
        }
    }
}
