//! Looking up many records of a bucket, each near the one before: the way from the root is kept.

use bytes::Bytes;

use super::page::{BUCKET, DEPTH_MAX, Page};
use super::snapshot::{Root, Snapshot};
use crate::error::Error;
use crate::schema::Bucket;

/// Finds records; cheap as long as the next key is near the last one.
pub(crate) struct Seeker<'a> {
    snapshot: &'a Snapshot,
    bucket: Bucket,
    /// Subtrees on the way to the leaf where the last key belongs; the last one is that leaf.
    way: Vec<Subtree<'a>>,
}

/// A page, and the keys that belong below it.
struct Subtree<'a> {
    page: Page<'a>,
    from: &'a [u8],
    to: Option<&'a [u8]>,
}

impl<'a> Seeker<'a> {
    pub(crate) fn new(snapshot: &'a Snapshot, bucket: Bucket) -> Seeker<'a> {
        Seeker { snapshot, bucket, way: Vec::new() }
    }

    pub(crate) fn get(&mut self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let root = match self.snapshot.root(self.bucket) {
            Some(Root::Page(root)) => *root,
            _ => return self.snapshot.get(self.bucket, key),
        };
        let is_elsewhere = |tree: &Subtree<'_>| key < tree.from || tree.to.is_some_and(|to| key >= to);
        while self.way.pop_if(|tree| is_elsewhere(tree)).is_some() {}
        if self.way.is_empty() {
            self.way.push(Subtree { page: self.snapshot.pages.page(root)?, from: &[], to: None });
        }
        while let Some(Subtree { page, from, to }) = self.way.last() {
            if page.leaf {
                let (index, exact) = page.search(key)?;
                if !exact {
                    return Ok(None);
                }
                let element = page.leaf_element(index)?;
                let record = element.flags & BUCKET == 0;
                return Ok(record.then(|| self.snapshot.pages.bytes(element.value)));
            }
            if self.way.len() > DEPTH_MAX {
                return Err(Error::damaged(page.id, "the tree is too deep or has a cycle"));
            }
            let index = page.child_for(key)?;
            let element = page.branch_element(index)?;
            // Keys before the first belong to it, too.
            let from = if index == 0 { from } else { element.key };
            let to = if index + 1 < page.count { Some(page.branch_element(index + 1)?.key) } else { *to };
            let page = self.snapshot.pages.page(element.child)?;
            self.way.push(Subtree { page, from, to });
        }
        Ok(None)
    }
}
