//! One page as read from the file: header, elements, and the rules that make it safe to look at.
//!
//! Every number in a page is foreign. An accessor either stays within the page or answers [`Error::Damaged`].

use std::cmp::Ordering;
use std::ops::Range;

use crate::error::Error;

/// Number of a page: its offset in the file divided by the page size.
pub(crate) type PageId = u64;

pub(crate) const HEADER: usize = 16;
pub(crate) const ELEMENT: usize = 16;
pub(crate) const BRANCH: u16 = 0x01;
pub(crate) const LEAF: u16 = 0x02;
pub(crate) const META: u16 = 0x04;
pub(crate) const FREELIST: u16 = 0x10;
/// Flag of a leaf element whose value is a bucket header.
pub(crate) const BUCKET: u32 = 0x01;
/// Bucket header: root page and sequence number.
pub(crate) const BUCKET_HEADER: usize = 16;
/// No tree of 2^63 pages is deeper; a cycle is.
pub(crate) const DEPTH_MAX: usize = 48;

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The 16 bytes every page starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) id: PageId,
    pub(crate) flags: u16,
    pub(crate) count: u16,
    /// Contiguous pages that follow and belong to this one.
    pub(crate) overflow: u32,
}

impl Header {
    pub(crate) fn parse(bytes: &[u8]) -> Option<Header> {
        Some(Header {
            id: u64_at(bytes, 0)?,
            flags: u16_at(bytes, 8)?,
            count: u16_at(bytes, 10)?,
            overflow: u32_at(bytes, 12)?,
        })
    }

    pub(crate) fn write(self, out: &mut [u8]) {
        out[0..8].copy_from_slice(&self.id.to_le_bytes());
        out[8..10].copy_from_slice(&self.flags.to_le_bytes());
        out[10..12].copy_from_slice(&self.count.to_le_bytes());
        out[12..16].copy_from_slice(&self.overflow.to_le_bytes());
    }
}

/// A tree page (leaf or branch), or the inline image of a leaf inside a bucket's value.
#[derive(Clone, Copy)]
pub(crate) struct Page<'a> {
    /// For error messages; of an inline image, the page that holds it.
    pub(crate) id: PageId,
    pub(crate) leaf: bool,
    pub(crate) count: usize,
    pub(crate) bytes: &'a [u8],
}

/// A record, or a nested bucket, of a leaf.
pub(crate) struct LeafElement<'a> {
    pub(crate) flags: u32,
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
}

/// A child of a branch.
pub(crate) struct BranchElement<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) child: PageId,
}

impl<'a> Page<'a> {
    /// A page whose bytes (with its overflow) and header were already fetched.
    pub(crate) fn new(header: Header, bytes: &'a [u8]) -> Result<Page<'a>, Error> {
        let leaf = match header.flags {
            LEAF => true,
            BRANCH => false,
            _ => return Err(Error::damaged(header.id, "neither leaf nor branch")),
        };
        let count = usize::from(header.count);
        if HEADER + count * ELEMENT > bytes.len() {
            return Err(Error::damaged(header.id, "more elements than fit"));
        }
        if !leaf && count == 0 {
            return Err(Error::damaged(header.id, "a branch without children"));
        }
        Ok(Page { id: header.id, leaf, count, bytes })
    }

    /// The leaf that follows a bucket header inside a value of page `container`.
    pub(crate) fn inline(container: PageId, bytes: &'a [u8]) -> Result<Page<'a>, Error> {
        let header = Header::parse(bytes).ok_or(Error::damaged(container, "inline bucket without a page"))?;
        if header.flags != LEAF {
            return Err(Error::damaged(container, "inline bucket is not a leaf"));
        }
        Page::new(Header { id: container, ..header }, bytes)
    }

    fn damaged(&self, what: &'static str) -> Error {
        Error::damaged(self.id, what)
    }

    fn key(&self, range: Option<Range<usize>>) -> Result<&'a [u8], Error> {
        match range.and_then(|range| self.bytes.get(range)) {
            None => Err(self.damaged("a key reaches beyond the page")),
            Some([]) => Err(self.damaged("an empty key")),
            Some(key) => Ok(key),
        }
    }

    /// Where key and value of leaf element `index` lie within the page.
    fn leaf_ranges(&self, index: usize) -> Option<(u32, Range<usize>, Range<usize>)> {
        let element = HEADER + index * ELEMENT;
        let field = |at| u32_at(self.bytes, element + at);
        let start = element.checked_add(field(4)? as usize)?;
        let middle = start.checked_add(field(8)? as usize)?;
        let end = middle.checked_add(field(12)? as usize)?;
        Some((field(0)?, start..middle, middle..end))
    }

    pub(crate) fn leaf_element(&self, index: usize) -> Result<LeafElement<'a>, Error> {
        let ranges = if self.leaf && index < self.count { self.leaf_ranges(index) } else { None };
        let (flags, key, value) = ranges.ok_or(self.damaged("an element reaches beyond the page"))?;
        let key = self.key(Some(key))?;
        let value = self.bytes.get(value).ok_or(self.damaged("a value reaches beyond the page"))?;
        Ok(LeafElement { flags, key, value })
    }

    fn branch_range(&self, index: usize) -> Option<(Range<usize>, PageId)> {
        let element = HEADER + index * ELEMENT;
        let start = element.checked_add(u32_at(self.bytes, element)? as usize)?;
        let end = start.checked_add(u32_at(self.bytes, element + 4)? as usize)?;
        Some((start..end, u64_at(self.bytes, element + 8)?))
    }

    pub(crate) fn branch_element(&self, index: usize) -> Result<BranchElement<'a>, Error> {
        let range = if !self.leaf && index < self.count { self.branch_range(index) } else { None };
        let (key, child) = range.ok_or(self.damaged("an element reaches beyond the page"))?;
        Ok(BranchElement { key: self.key(Some(key))?, child })
    }

    pub(crate) fn key_at(&self, index: usize) -> Result<&'a [u8], Error> {
        if self.leaf { Ok(self.leaf_element(index)?.key) } else { Ok(self.branch_element(index)?.key) }
    }

    /// The first element whose key is not below `key`, and whether it is that key.
    pub(crate) fn search(&self, key: &[u8]) -> Result<(usize, bool), Error> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            match order(self.key_at(middle)?, key) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok((middle, true)),
                Ordering::Greater => high = middle,
            }
        }
        Ok((low, false))
    }

    /// The child of a branch whose subtree would hold `key`.
    pub(crate) fn child_for(&self, key: &[u8]) -> Result<usize, Error> {
        let (index, exact) = self.search(key)?;
        Ok(if exact { index } else { index.saturating_sub(1) })
    }
}

/// As `a.cmp(b)`. Most keys are as long as a revision: comparing numbers is cheaper than the call that compares bytes.
pub(crate) fn order(a: &[u8], b: &[u8]) -> Ordering {
    let numbers = |key: &[u8]| {
        let (first, last) = <&[u8; 17]>::try_from(key).ok()?.split_first_chunk()?;
        Some((u128::from_be_bytes(*first), last[0]))
    };
    match (numbers(a), numbers(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => a.cmp(b),
    }
}

/// Where the keys of a leaf say that they begin, and how long they are, if there are no more than `max`. For the cache
/// alone: what is wrong with the page is left to who reads it.
pub(crate) fn keys_of(leaf: &[u8], max: usize) -> impl Iterator<Item = (u64, usize)> {
    let count = u16_at(leaf, 10).map_or(0, usize::from);
    let elements = leaf.chunks_exact(ELEMENT).enumerate().skip(HEADER / ELEMENT);
    elements.take(if count <= max { count } else { 0 }).map(|(nth, element)| {
        let number = |at| u32_at(element, at).unwrap_or(0);
        ((nth * ELEMENT) as u64 + u64::from(number(4)), number(8) as usize)
    })
}

/// A bucket header as stored in a leaf value: root page (0: the rest of the value is the bucket) and sequence.
pub(crate) fn bucket_header(container: PageId, value: &[u8]) -> Result<(PageId, u64), Error> {
    match (u64_at(value, 0), u64_at(value, 8)) {
        (Some(root), Some(sequence)) => Ok((root, sequence)),
        _ => Err(Error::damaged(container, "a bucket header is cut short")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_order_of_their_bytes_whatever_their_length() {
        let mut keys: Vec<Vec<u8>> = (0..20).map(|len| vec![7; len]).collect();
        for (place, byte) in (0..17).flat_map(|place| [0, 8, 0xff].map(|byte| (place, byte))) {
            let mut key = vec![7; 17];
            key[place] = byte;
            keys.push(key);
        }
        for (a, b) in keys.iter().flat_map(|a| keys.iter().map(move |b| (a, b))) {
            assert_eq!(order(a, b), a.cmp(b), "{a:?} {b:?}");
        }
    }
}
