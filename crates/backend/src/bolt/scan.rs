//! Reading many records of a bucket at once, without counting references to each.

use super::page::{BUCKET, DEPTH_MAX, Page, PageId};
use super::snapshot::{Root, Snapshot};
use crate::error::Error;
use crate::schema::Bucket;
use crate::turn::Turn;

impl Snapshot {
    /// Keys that cut the bucket into at most `parts` parts of about as many pages.
    pub(crate) fn cuts(&self, bucket: Bucket, parts: usize) -> Result<Vec<Vec<u8>>, Error> {
        let Some(Root::Page(root)) = self.root(bucket) else { return Ok(Vec::new()) };
        // The lowest level of branches is fine enough, and its pages are read anyway.
        let mut level = vec![(Vec::new(), *root)];
        for depth in 0.. {
            let mut below = Vec::new();
            for (_, id) in &level {
                let page = self.pages.page(*id)?;
                if page.leaf {
                    return Ok(Vec::new());
                }
                for index in 0..page.count {
                    let element = page.branch_element(index)?;
                    below.push((element.key.to_vec(), element.child));
                }
            }
            let is_lowest =
                below.first().is_some_and(|(_, id)| self.pages.page(*id).is_ok_and(|page| page.leaf));
            if depth > DEPTH_MAX || below.len() as u64 > self.meta.hwm {
                return Err(Error::damaged(*root, "the tree is too deep or has a cycle"));
            }
            let cuts = if is_lowest && level.len() > 1 { level } else { below };
            if is_lowest {
                let step = cuts.len().div_ceil(parts).max(1);
                return Ok(cuts.into_iter().step_by(step).skip(1).map(|(key, _)| key).collect());
            }
            level = cuts;
        }
        Ok(Vec::new())
    }

    /// Shows the records with `from <= key < to` in rising order.
    pub(crate) fn for_each<E: From<Error>>(
        &self,
        bucket: Bucket,
        (from, to): (&[u8], Option<&[u8]>),
        mut each: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut walk = Walk { snapshot: self, from, to, visited: 0, turn: Turn::default() };
        match self.root(bucket) {
            None => Ok(()),
            Some(Root::Page(id)) => walk.tree(*id, 0, &mut each),
            Some(Root::Inline { container, image }) => walk.leaf(Page::inline(*container, image)?, &mut each),
        }
    }
}

struct Walk<'a> {
    snapshot: &'a Snapshot,
    from: &'a [u8],
    to: Option<&'a [u8]>,
    visited: u64,
    turn: Turn,
}

impl Walk<'_> {
    fn is_behind(&self, key: &[u8]) -> bool {
        self.to.is_some_and(|to| key >= to)
    }

    fn tree<E: From<Error>>(
        &mut self,
        id: PageId,
        depth: usize,
        each: &mut impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.visited += 1;
        if depth > DEPTH_MAX || self.visited > self.snapshot.meta.hwm {
            return Err(Error::damaged(id, "the tree is too deep or has a cycle").into());
        }
        let page = self.snapshot.pages.page(id)?;
        // A record costs whoever takes it more than the way to it.
        self.turn.pass(1 + page.count / 4);
        if page.leaf {
            return self.leaf(page, each);
        }
        for index in page.child_for(self.from)?..page.count {
            let element = page.branch_element(index)?;
            if self.is_behind(element.key) {
                break;
            }
            self.tree(element.child, depth + 1, each)?;
        }
        Ok(())
    }

    fn leaf<E: From<Error>>(
        &self,
        page: Page<'_>,
        each: &mut impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let end = self.to.map_or(Ok(page.count), |to| page.search(to).map(|(end, _)| end))?;
        for index in page.search(self.from)?.0..end {
            let element = page.leaf_element(index)?;
            if element.flags & BUCKET == 0 {
                each(element.key, element.value)?;
            }
        }
        Ok(())
    }
}
