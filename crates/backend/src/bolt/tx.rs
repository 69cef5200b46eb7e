//! A write transaction: changes to buckets over a committed tree, turned into new pages and a new meta.

use std::sync::Arc;

use bytes::Bytes;

use super::freelist::{Extent, Freelist};
use super::image::LeafItem;
use super::meta::{Meta, NO_FREELIST};
use super::node::{PageStore, Spilled, Tree};
use super::page::{BUCKET, BUCKET_HEADER, PageId, bucket_header};
use super::snapshot::{Root, Snapshot};
use crate::error::Error;
use crate::schema::Bucket;
use crate::turn::Turn;

const KEY_MAX: usize = 32768;
const VALUE_MAX: usize = (1 << 31) - 2;

/// A page to be written: its place and image (whole pages).
pub(super) type NewPage = (PageId, Vec<u8>);

pub(super) struct Tx<'a> {
    pub(super) base: Arc<Snapshot>,
    pub(super) freelist: &'a mut Freelist,
    txid: u64,
    hwm: PageId,
    out: Vec<NewPage>,
    turn: Turn,
    /// Buckets with changes.
    buckets: [Option<Tree>; Bucket::ALL.len()],
}

/// A part of a commit, in their order; who can read a clock may measure them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Changing records in the pages on the way to them.
    Change,
    /// Merging pages that have become too empty.
    Rebalance,
    /// Turning changes into new pages.
    Spill,
    /// Bringing them to the disk, with all syncs.
    Write,
}

/// What a finished transaction asks of the disk.
pub(super) struct Finished {
    pub(super) pages: Vec<NewPage>,
    pub(super) meta: Meta,
}

impl<'a> Tx<'a> {
    pub(super) fn new(base: Arc<Snapshot>, freelist: &'a mut Freelist) -> Tx<'a> {
        let buckets = [const { None }; Bucket::ALL.len()];
        let (txid, hwm) = (base.meta.txid + 1, base.meta.hwm);
        Tx { base, freelist, txid, hwm, out: Vec::new(), turn: Turn::default(), buckets }
    }

    pub(super) fn bucket(&mut self, bucket: Bucket) -> &mut Tree {
        let root = self.base.root(bucket);
        self.buckets[bucket.slot()].get_or_insert_with(|| match root {
            Some(root) => Tree::stored(root.clone(), bucket.fill()),
            None => Tree::empty(bucket.fill()),
        })
    }

    pub(super) fn put(&mut self, bucket: Bucket, key: Bytes, value: Bytes) -> Result<(), Error> {
        if key.is_empty() || key.len() > KEY_MAX || value.len() > VALUE_MAX {
            return Err(Error::BadSize);
        }
        self.turn.pass(1);
        let base = self.base.clone();
        self.bucket(bucket).put(&base.pages, LeafItem { flags: 0, key, value })
    }

    pub(super) fn delete(&mut self, bucket: Bucket, key: &[u8]) -> Result<(), Error> {
        self.turn.pass(1);
        let base = self.base.clone();
        self.bucket(bucket).delete(&base.pages, key)
    }

    /// Lowers the high-water mark over free pages at the end of the file.
    pub(super) fn cut(&mut self) {
        self.hwm = self.freelist.cut(self.hwm);
    }

    /// Turns the changes into pages and the meta that makes them the committed state.
    pub(super) fn finish(mut self, passed: &mut dyn FnMut(Phase)) -> Result<Finished, Error> {
        let base = self.base.clone();
        let page_size = base.pages.page_size();
        let mut root = Tree::stored(Root::Page(base.meta.root), 0.5);
        for bucket in Bucket::BY_NAME {
            if let Some(mut tree) = self.buckets[bucket.slot()].take() {
                tree.settle(&base.pages, &mut self)?;
                self.buckets[bucket.slot()] = Some(tree);
            }
        }
        passed(Phase::Rebalance);
        for bucket in Bucket::BY_NAME {
            let Some(tree) = self.buckets[bucket.slot()].take() else { continue };
            let Some(spilled) = tree.spill(page_size, true, &mut self)? else { continue };
            if let (Spilled::Page(new), Some(Root::Page(old))) = (&spilled, base.root(bucket))
                && new == old
            {
                continue;
            }
            let value = self.header(bucket, spilled)?;
            let key = Bytes::from_static(bucket.name().as_bytes());
            root.put(&base.pages, LeafItem { flags: BUCKET, key, value })?;
        }
        let root = match root.spill(page_size, false, &mut self)? {
            Some(Spilled::Page(root)) => root,
            _ => base.meta.root,
        };
        if base.meta.freelist != NO_FREELIST {
            let (header, _) = base.pages.raw(base.meta.freelist)?;
            self.free(Extent { start: base.meta.freelist, pages: 1 + u64::from(header.overflow) });
        }
        let meta = Meta { root, freelist: NO_FREELIST, hwm: self.hwm, txid: self.txid, ..base.meta };
        passed(Phase::Spill);
        Ok(Finished { pages: self.out, meta })
    }

    /// The value under a bucket's name; its sequence stays.
    fn header(&self, bucket: Bucket, spilled: Spilled) -> Result<Bytes, Error> {
        let root = Root::Page(self.base.meta.root);
        let stored = self.base.pages.find(&root, bucket.name().as_bytes())?;
        let sequence = match stored {
            Some(found) => bucket_header(found.page, found.value)?.1,
            None => 0,
        };
        let (root, image) = match spilled {
            Spilled::Page(root) => (root, Vec::new()),
            Spilled::Inline(image) => (0, image),
        };
        let mut value = Vec::with_capacity(BUCKET_HEADER + image.len());
        value.extend_from_slice(&root.to_le_bytes());
        value.extend_from_slice(&sequence.to_le_bytes());
        value.extend_from_slice(&image);
        Ok(Bytes::from(value))
    }
}

impl PageStore for Tx<'_> {
    fn write(&mut self, mut image: Vec<u8>) -> Result<PageId, Error> {
        let pages = (image.len() / self.base.pages.page_size()) as u64;
        self.turn.pass(pages as usize);
        let id = self.freelist.allocate(pages, self.txid).unwrap_or_else(|| {
            let id = self.hwm;
            self.hwm += pages;
            self.freelist.grown(id, self.txid);
            id
        });
        image[..8].copy_from_slice(&id.to_le_bytes());
        self.out.push((id, image));
        Ok(id)
    }

    fn free(&mut self, extent: Extent) {
        self.turn.pass(1);
        self.freelist.free(extent, self.txid);
    }
}
