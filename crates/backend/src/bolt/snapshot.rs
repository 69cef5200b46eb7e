//! A committed state of the file, pinned: its pages are not written to while it, or any `Bytes` read through it, lives.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use disk::{File, Map};
use parking_lot::Mutex;

use super::check;
use super::cursor::Range;
use super::meta::{Meta, NO_FREELIST};
use super::page::{
    self, BUCKET, BUCKET_HEADER, DEPTH_MAX, ELEMENT, HEADER, Header, Page, PageId, bucket_header,
};
use crate::error::Error;
use crate::schema::Bucket;

/// Transactions whose trees are being looked at, with the number of pins.
#[derive(Clone, Default)]
pub(crate) struct Readers {
    pinned: Arc<Mutex<BTreeMap<u64, usize>>>,
}

impl Readers {
    fn pin(&self, txid: u64) {
        *self.pinned.lock().entry(txid).or_insert(0) += 1;
    }

    fn unpin(&self, txid: u64) {
        let mut pinned = self.pinned.lock();
        if let Some(count) = pinned.get_mut(&txid) {
            *count -= 1;
            if *count == 0 {
                pinned.remove(&txid);
            }
        }
    }

    /// The transactions pinned now, rising.
    pub(crate) fn pinned(&self) -> Vec<u64> {
        self.pinned.lock().keys().copied().collect()
    }
}

/// The owner behind every `Bytes` of a snapshot.
struct Pinned {
    map: Map,
    readers: Readers,
    txid: u64,
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.readers.unpin(self.txid);
    }
}

impl AsRef<[u8]> for Pinned {
    fn as_ref(&self) -> &[u8] {
        self.map.as_ref()
    }
}

/// The pages of one committed tree.
#[derive(Clone)]
pub(crate) struct Pages {
    map: Map,
    /// The whole mapping, as the owner of slices; only ranges that `map` vouched for are ever cut from it.
    whole: Bytes,
    page_size: u64,
    pub(crate) hwm: PageId,
}

impl Pages {
    pub(crate) fn new(map: Map, meta: &Meta, readers: &Readers) -> Pages {
        readers.pin(meta.txid);
        let owner = Pinned { map: map.clone(), readers: readers.clone(), txid: meta.txid };
        Pages { map, whole: Bytes::from_owner(owner), page_size: u64::from(meta.page_size), hwm: meta.hwm }
    }

    pub(crate) fn page_size(&self) -> usize {
        self.page_size as usize
    }

    /// Header and bytes (overflow included) of any page that is not a meta page.
    pub(crate) fn raw(&self, id: PageId) -> Result<(Header, &[u8]), Error> {
        if !(2..self.hwm).contains(&id) {
            return Err(Error::damaged(id, "referenced, but outside of the file"));
        }
        let offset = id * self.page_size;
        let first = self.map.get(offset, self.page_size());
        let header = first.and_then(Header::parse).ok_or(Error::damaged(id, "beyond the end of the file"))?;
        if header.id != id {
            return Err(Error::damaged(id, "its header names another page"));
        }
        let pages = 1 + u64::from(header.overflow);
        if pages > self.hwm - id {
            return Err(Error::damaged(id, "its overflow reaches beyond the end of the file"));
        }
        let len = usize::try_from(pages * self.page_size).ok();
        let bytes = len.and_then(|len| self.map.get(offset, len));
        Ok((header, bytes.ok_or(Error::damaged(id, "beyond the end of the file"))?))
    }

    /// A leaf or branch page.
    pub(crate) fn page(&self, id: PageId) -> Result<Page<'_>, Error> {
        let (header, bytes) = self.raw(id)?;
        Page::new(header, bytes)
    }

    /// The same bytes as a pinning `Bytes`.
    pub(crate) fn bytes(&self, slice: &[u8]) -> Bytes {
        if slice.is_empty() { Bytes::new() } else { self.whole.slice_ref(slice) }
    }

    /// Where a value that came from here stands in the file.
    pub(crate) fn place_of(&self, value: &[u8]) -> Place {
        let offset = (value.as_ptr() as usize).wrapping_sub(self.whole.as_ptr() as usize);
        Place { offset: offset as u64, len: value.len() }
    }

    /// What stands there.
    pub(crate) fn at(&self, place: Place) -> Option<&[u8]> {
        self.map.get(place.offset, place.len)
    }

    /// What stands there will be looked at soon.
    pub(crate) fn prefetch(&self, place: Place) {
        self.map.prefetch(place.offset, place.len);
    }

    /// Leaves of which so many elements are wanted will be looked at soon: has their headers fetched, then the keys of those
    /// that are wanted for the most part.
    pub(crate) fn prefetch_leaves(&self, leaves: impl Iterator<Item = (PageId, usize)> + Clone) {
        let leaves = leaves.filter_map(|(id, wanted)| Some((id.checked_mul(self.page_size)?, wanted)));
        for (offset, wanted) in leaves.clone() {
            self.map.prefetch(offset, HEADER + wanted * ELEMENT);
        }
        for (offset, wanted) in leaves {
            let leaf = self.map.get(offset, self.page_size()).unwrap_or_default();
            for (at, len) in page::keys_of(leaf, 2 * wanted) {
                self.map.prefetch(offset + at, len);
            }
        }
    }

    /// Where the bucket starts whose header is `value`, found in page `container`.
    pub(crate) fn root_of(&self, container: PageId, value: &[u8]) -> Result<Root, Error> {
        match bucket_header(container, value)? {
            (0, _) => {
                let image = value.get(BUCKET_HEADER..).unwrap_or_default();
                Page::inline(container, image)?;
                Ok(Root::Inline { container, image: self.bytes(image) })
            }
            (page, _) => Ok(Root::Page(page)),
        }
    }

    /// What stands under `key` in the tree at `root`.
    pub(crate) fn find<'a>(&'a self, root: &'a Root, key: &[u8]) -> Result<Option<Found<'a>>, Error> {
        let mut page = self.root_page(root)?;
        for _ in 0..DEPTH_MAX {
            if page.leaf {
                let (index, exact) = page.search(key)?;
                if !exact {
                    return Ok(None);
                }
                let element = page.leaf_element(index)?;
                let found =
                    Found { bucket: element.flags & BUCKET != 0, value: element.value, page: page.id };
                return Ok(Some(found));
            }
            page = self.page(page.branch_element(page.child_for(key)?)?.child)?;
        }
        Err(Error::damaged(page.id, "the tree is too deep or has a cycle"))
    }

    pub(crate) fn root_page<'a>(&'a self, root: &'a Root) -> Result<Page<'a>, Error> {
        match root {
            Root::Page(id) => self.page(*id),
            Root::Inline { container, image } => Page::inline(*container, image),
        }
    }
}

/// Where a committed value stands in the file, for who reads it later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// From the beginning of the file.
    pub offset: u64,
    /// In bytes.
    pub len: usize,
}

/// An entry of a leaf.
pub(crate) struct Found<'a> {
    /// The value is a bucket header.
    pub(crate) bucket: bool,
    pub(crate) value: &'a [u8],
    /// The page that holds it.
    pub(crate) page: PageId,
}

/// Where the tree of a bucket starts.
#[derive(Clone, Debug)]
pub(crate) enum Root {
    Page(PageId),
    /// A single leaf inside the bucket's value.
    Inline {
        container: PageId,
        image: Bytes,
    },
}

/// A committed state of the file.
pub struct Snapshot {
    pub(crate) pages: Pages,
    pub(crate) meta: Meta,
    file: Arc<dyn File>,
    roots: [Option<Root>; Bucket::ALL.len()],
    unused: Unused,
}

/// Pages outside of the tree at the time of a commit.
#[derive(Clone, Copy)]
pub(crate) struct Unused {
    pub(crate) free: u64,
    /// Freed, but readers may still look at them.
    pub(crate) waiting: u64,
}

impl Snapshot {
    pub(crate) fn new(
        pages: Pages,
        meta: Meta,
        file: Arc<dyn File>,
        unused: Unused,
    ) -> Result<Snapshot, Error> {
        let mut roots = [const { None }; Bucket::ALL.len()];
        for bucket in Bucket::ALL {
            roots[bucket.slot()] = match pages.find(&Root::Page(meta.root), bucket.name().as_bytes())? {
                None => None,
                Some(Found { bucket: true, value, page }) => Some(pages.root_of(page, value)?),
                Some(Found { page, .. }) => {
                    return Err(Error::damaged(page, "a record stands where a bucket belongs"));
                }
            };
        }
        Ok(Snapshot { pages, meta, file, roots, unused })
    }

    pub(crate) fn root(&self, bucket: Bucket) -> Option<&Root> {
        self.roots[bucket.slot()].as_ref()
    }

    pub(crate) fn get(&self, bucket: Bucket, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let Some(root) = self.root(bucket) else { return Ok(None) };
        match self.pages.find(root, key)? {
            Some(Found { bucket: false, value, .. }) => Ok(Some(if let Root::Inline { image, .. } = root {
                if value.is_empty() { Bytes::new() } else { image.slice_ref(value) }
            } else {
                self.pages.bytes(value)
            })),
            _ => Ok(None),
        }
    }

    pub(crate) fn range(self: &Arc<Self>, bucket: Bucket, from: &[u8], to: Option<&[u8]>) -> Range {
        Range::new(self.clone(), bucket, from, to, false)
    }

    pub(crate) fn range_rev(self: &Arc<Self>, bucket: Bucket, from: &[u8], to: Option<&[u8]>) -> Range {
        Range::new(self.clone(), bucket, from, to, true)
    }

    /// Bytes up to the high-water mark.
    pub(crate) fn size(&self) -> u64 {
        self.meta.hwm * u64::from(self.meta.page_size)
    }

    /// [`Snapshot::size`] less the free pages.
    pub(crate) fn size_in_use(&self) -> u64 {
        self.size().saturating_sub(self.unused.free * u64::from(self.meta.page_size))
    }

    /// See [`Map::give_back`].
    pub(crate) fn give_back(&self) {
        self.pages.map.give_back();
    }

    pub(crate) fn check(&self) -> Vec<Error> {
        check::check(&self.pages, &self.meta, self.unused.free + self.unused.waiting)
    }
}

/// A committed state as the bytes of a whole bolt file: both meta pages made from the snapshot's own, then the pages
/// as they lie on disk. Free pages hold whatever is there.
pub struct SnapshotSource {
    snapshot: Arc<Snapshot>,
    /// The two meta pages.
    head: Vec<u8>,
}

impl SnapshotSource {
    pub(crate) fn new(snapshot: Arc<Snapshot>) -> SnapshotSource {
        let meta = snapshot.meta;
        let older = Meta { txid: meta.txid.saturating_sub(1), ..meta };
        // As bbolt writes them: the newer one first, whatever its number.
        let mut head = meta.page(0);
        head.extend_from_slice(&older.page(1));
        SnapshotSource { snapshot, head }
    }

    /// Length in bytes: whole pages up to the high-water mark.
    pub fn len(&self) -> u64 {
        self.snapshot.size()
    }

    /// Never: a file has at least four pages.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `buf` from `offset`; the number of bytes is short only at the end.
    ///
    /// # Errors
    /// The disk's.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let wanted =
            usize::try_from(self.len().saturating_sub(offset)).map_or(buf.len(), |left| left.min(buf.len()));
        let buf = &mut buf[..wanted];
        let head =
            usize::try_from(offset).ok().and_then(|offset| self.head.get(offset..)).unwrap_or_default();
        let from_head = head.len().min(wanted);
        buf[..from_head].copy_from_slice(&head[..from_head]);
        let mut at = from_head;
        while at < wanted {
            let n = self.snapshot.file.read_at(&mut buf[at..], offset + at as u64)?;
            if n == 0 {
                // The file was cut meanwhile: only free pages can be missing.
                buf[at..].fill(0);
                break;
            }
            at += n;
        }
        Ok(wanted)
    }
}

/// The freelist page of a file that stores one: its ids, checked, and the pages it takes itself.
pub(crate) fn stored_freelist(pages: &Pages, meta: &Meta) -> Result<Option<(Vec<PageId>, u64)>, Error> {
    use super::page::{FREELIST, u64_at};
    if meta.freelist == NO_FREELIST {
        return Ok(None);
    }
    let (header, bytes) = pages.raw(meta.freelist)?;
    let damaged = |what| Error::damaged(meta.freelist, what);
    if header.flags != FREELIST {
        return Err(damaged("not a freelist"));
    }
    let (count, first) = match header.count {
        u16::MAX => (u64_at(bytes, HEADER).ok_or(damaged("a freelist without its count"))?, HEADER + 8),
        count => (u64::from(count), HEADER),
    };
    if count > (bytes.len() - first) as u64 / 8 {
        return Err(damaged("the freelist is longer than its page"));
    }
    let ids: Vec<PageId> =
        bytes[first..].chunks_exact(8).take(count as usize).filter_map(|id| u64_at(id, 0)).collect();
    if ids.windows(2).any(|pair| pair[0] >= pair[1]) {
        return Err(damaged("the freelist is not in order"));
    }
    if ids.first().is_some_and(|id| *id < 2) || ids.last().is_some_and(|id| *id >= meta.hwm) {
        return Err(damaged("the freelist names a page outside of the file"));
    }
    Ok(Some((ids, 1 + u64::from(header.overflow))))
}
