//! Walking every page of the tree: to find the free ones on open, and to check the whole file while it is in use.

use super::meta::Meta;
use super::page::{BUCKET, BUCKET_HEADER, DEPTH_MAX, Page, PageId, bucket_header};
use super::snapshot::{Pages, stored_freelist};
use crate::error::Error;

/// More findings than this say nothing new.
const FINDINGS_MAX: usize = 100;

/// One bit per page of the file: set when a page is part of the tree.
pub(crate) struct Used {
    bits: Vec<u64>,
}

impl Used {
    fn new(hwm: PageId) -> Used {
        Used { bits: vec![0; (hwm as usize).div_ceil(64)] }
    }

    /// Marks a page; false if it was marked before.
    fn mark(&mut self, page: PageId) -> bool {
        let (word, bit) = (&mut self.bits[page as usize / 64], 1 << (page % 64));
        let fresh = *word & bit == 0;
        *word |= bit;
        fresh
    }

    fn count(&self) -> u64 {
        self.bits.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    pub(crate) fn contains(&self, page: PageId) -> bool {
        self.bits[page as usize / 64] & (1 << (page % 64)) != 0
    }
}

/// Finds the pages that are part of the tree, the stored freelist among them.
///
/// # Errors
/// The first damage met: a page that is referenced twice, lies outside of the file, or cannot be read.
pub(crate) fn used_pages(pages: &Pages, meta: &Meta) -> Result<Used, Error> {
    let mut walk = Walk {
        pages,
        used: Used::new(meta.hwm),
        order: false,
        inline_left: inline_max(meta),
        findings: None,
    };
    walk.tree(meta.root, 0, None, None)?;
    walk.freelist(meta)?;
    Ok(walk.used)
}

/// Everything wrong with the tree, keys and their order included. `unused` pages are known to be outside of it.
pub(crate) fn check(pages: &Pages, meta: &Meta, unused: u64) -> Vec<Error> {
    let mut walk = Walk {
        pages,
        used: Used::new(meta.hwm),
        order: true,
        inline_left: inline_max(meta),
        findings: Some(Vec::new()),
    };
    let rest = walk.tree(meta.root, 0, None, None).and_then(|()| walk.freelist(meta));
    let mut findings = walk.findings.unwrap_or_default();
    findings.extend(rest.err());
    if findings.is_empty() && walk.used.count() + unused + 2 != meta.hwm {
        findings.push(Error::damaged(meta.slot(), "some pages are neither used nor free"));
    }
    findings
}

fn inline_max(meta: &Meta) -> u64 {
    meta.hwm * u64::from(meta.page_size) / 4
}

struct Walk<'a> {
    pages: &'a Pages,
    used: Used,
    /// Look at keys too.
    order: bool,
    /// Elements of inline buckets that may still be met. A hostile page can let elements share bytes, so that buckets
    /// within buckets multiply.
    inline_left: u64,
    /// Where damage is noted; `None`: the first one ends the walk.
    findings: Option<Vec<Error>>,
}

impl<'a> Walk<'a> {
    fn found(&mut self, error: Error) -> Result<(), Error> {
        match &mut self.findings {
            Some(findings) if findings.len() < FINDINGS_MAX => {
                findings.push(error);
                Ok(())
            }
            _ => Err(error),
        }
    }

    fn mark(&mut self, start: PageId, pages: u64) -> Result<(), Error> {
        for page in start..start + pages {
            if !self.used.mark(page) {
                return Err(Error::damaged(page, "used twice"));
            }
        }
        Ok(())
    }

    /// A subtree, whose keys must be at least `lower` and below `upper`.
    fn tree(
        &mut self,
        id: PageId,
        depth: usize,
        lower: Option<&[u8]>,
        upper: Option<&[u8]>,
    ) -> Result<(), Error> {
        if depth > DEPTH_MAX {
            return Err(Error::damaged(id, "the tree is too deep"));
        }
        let page = self.pages.raw(id).and_then(|(header, bytes)| {
            let page = Page::new(header, bytes)?;
            self.mark(id, 1 + u64::from(header.overflow))?;
            Ok(page)
        });
        match page {
            Ok(page) => self.page(page, depth, lower, upper),
            Err(error) => self.found(error),
        }
    }

    fn page(
        &mut self,
        page: Page<'a>,
        depth: usize,
        lower: Option<&[u8]>,
        upper: Option<&[u8]>,
    ) -> Result<(), Error> {
        if self.order
            && let Err(error) = in_order(page, lower, upper)
        {
            self.found(error)?;
        }
        for index in 0..page.count {
            let walked = if page.leaf {
                self.record(page, index, depth)
            } else {
                self.child(page, index, depth, upper)
            };
            if let Err(error) = walked {
                self.found(error)?;
            }
        }
        Ok(())
    }

    fn child(
        &mut self,
        page: Page<'a>,
        index: usize,
        depth: usize,
        upper: Option<&[u8]>,
    ) -> Result<(), Error> {
        let element = page.branch_element(index)?;
        let next = if index + 1 < page.count { Some(page.key_at(index + 1)?) } else { upper };
        self.tree(element.child, depth + 1, Some(element.key), next)
    }

    fn record(&mut self, page: Page<'a>, index: usize, depth: usize) -> Result<(), Error> {
        let element = page.leaf_element(index)?;
        if element.flags & BUCKET == 0 {
            return Ok(());
        }
        let (root, _) = bucket_header(page.id, element.value)?;
        if root != 0 {
            return self.tree(root, depth + 1, None, None);
        }
        let image = Page::inline(page.id, &element.value[BUCKET_HEADER..])?;
        self.inline_left = self.inline_left.saturating_sub(image.count as u64);
        if depth > DEPTH_MAX || self.inline_left == 0 {
            return Err(Error::damaged(page.id, "buckets are nested too deep"));
        }
        self.page(image, depth + 1, None, None)
    }

    fn freelist(&mut self, meta: &Meta) -> Result<(), Error> {
        let Some((ids, own_pages)) = stored_freelist(self.pages, meta)? else { return Ok(()) };
        for id in ids {
            if self.used.contains(id) {
                self.found(Error::damaged(id, "both used and in the freelist"))?;
            }
        }
        self.mark(meta.freelist, own_pages)
    }
}

fn in_order(page: Page<'_>, lower: Option<&[u8]>, upper: Option<&[u8]>) -> Result<(), Error> {
    let mut last: Option<&[u8]> = None;
    for index in 0..page.count {
        let key = page.key_at(index)?;
        if last.is_some_and(|last| last >= key) {
            return Err(Error::damaged(page.id, "keys are not in order"));
        }
        if lower.is_some_and(|lower| key < lower) {
            return Err(Error::damaged(page.id, "a key is below its branch's"));
        }
        if upper.is_some_and(|upper| key >= upper) {
            return Err(Error::damaged(page.id, "a key is beyond its branch's end"));
        }
        last = Some(key);
    }
    Ok(())
}
