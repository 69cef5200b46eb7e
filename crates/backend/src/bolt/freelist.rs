//! Which pages may be written to. Kept in memory only: rebuilt on open, as etcd's files do not store it.
//!
//! A page freed by transaction t was last needed by the tree of t-1. It waits until no reader is left whose tree
//! may hold it: a tree between the transaction that wrote the page (`born`, 0 if unknown) and t-1.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::page::PageId;
use crate::error::Error;
use crate::turn::Turn;

/// Contiguous pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Extent {
    pub(crate) start: PageId,
    pub(crate) pages: u64,
}

impl Extent {
    pub(crate) fn end(self) -> PageId {
        self.start + self.pages
    }
}

#[derive(Debug)]
struct Waiting {
    extent: Extent,
    born: u64,
    freed: u64,
}

/// Free pages, and freed ones that readers may still look at.
#[derive(Default)]
pub(crate) struct Freelist {
    by_start: BTreeMap<PageId, u64>,
    by_size: BTreeSet<(u64, PageId)>,
    free_pages: u64,
    waiting: Vec<Waiting>,
    waiting_pages: u64,
    /// First pages written since the oldest living reader, with their transaction.
    born: HashMap<PageId, u64>,
    /// Runs, too, are taken from the lowest place instead of the best fit: while the file is defragmented.
    pub(crate) low_first: bool,
}

impl Freelist {
    /// Adds pages that nobody uses, joining them with their neighbours.
    pub(crate) fn add(&mut self, extent: Extent) -> Result<(), Error> {
        let before =
            self.by_start.range(..extent.end()).next_back().map(|(s, n)| Extent { start: *s, pages: *n });
        let mut joined = extent;
        if let Some(before) = before {
            if before.end() > extent.start {
                return Err(Error::damaged(extent.start, "a page is free twice"));
            }
            if before.end() == extent.start {
                self.take_out(before);
                joined = Extent { start: before.start, pages: before.pages + extent.pages };
            }
        }
        if let Some(pages) = self.by_start.get(&extent.end()).copied() {
            self.take_out(Extent { start: extent.end(), pages });
            joined.pages += pages;
        }
        self.put_in(joined);
        Ok(())
    }

    fn put_in(&mut self, extent: Extent) {
        if extent.pages > 0 {
            self.by_start.insert(extent.start, extent.pages);
            self.by_size.insert((extent.pages, extent.start));
            self.free_pages += extent.pages;
        }
    }

    fn take_out(&mut self, extent: Extent) {
        self.by_start.remove(&extent.start);
        self.by_size.remove(&(extent.pages, extent.start));
        self.free_pages -= extent.pages;
    }

    /// Takes `pages` contiguous pages for transaction `txid`: a single one at the lowest place, a run where it fits
    /// best. `None`: the file must grow.
    pub(crate) fn allocate(&mut self, pages: u64, txid: u64) -> Option<PageId> {
        let found = if pages == 1 || self.low_first {
            let fits = self.by_start.iter().find(|(_, free)| **free >= pages);
            fits.map(|(start, pages)| Extent { start: *start, pages: *pages })
        } else {
            self.by_size
                .range((pages, 0)..)
                .next()
                .map(|(pages, start)| Extent { start: *start, pages: *pages })
        }?;
        self.take_out(found);
        self.put_in(Extent { start: found.start + pages, pages: found.pages - pages });
        self.born.insert(found.start, txid);
        Some(found.start)
    }

    /// Remembers that `txid` wrote a page at the end of the file.
    pub(crate) fn grown(&mut self, start: PageId, txid: u64) {
        self.born.insert(start, txid);
    }

    /// Marks pages as no longer used from transaction `txid` on.
    pub(crate) fn free(&mut self, extent: Extent, txid: u64) {
        let born = self.born.remove(&extent.start).unwrap_or(0);
        self.waiting_pages += extent.pages;
        self.waiting.push(Waiting { extent, born, freed: txid });
    }

    /// Makes waiting pages free that none of the living readers (their transactions, rising) can look at.
    pub(crate) fn release(&mut self, readers: &[u64]) -> Result<(), Error> {
        let needed = |w: &Waiting| {
            let next = readers.partition_point(|reader| *reader < w.born);
            readers.get(next).is_some_and(|reader| *reader < w.freed)
        };
        let (still, done): (Vec<_>, Vec<_>) = std::mem::take(&mut self.waiting).into_iter().partition(needed);
        self.waiting = still;
        let mut turn = Turn::default();
        for released in done {
            turn.pass(1);
            self.waiting_pages -= released.extent.pages;
            self.add(released.extent)?;
        }
        // A birth before the oldest reader says no more than "unknown".
        let oldest = readers.first().copied().unwrap_or(u64::MAX);
        self.born.retain(|_, born| *born > oldest);
        Ok(())
    }

    /// Pages free to be taken now.
    pub(crate) fn free_pages(&self) -> u64 {
        self.free_pages
    }

    /// Pages freed but perhaps still looked at.
    pub(crate) fn waiting_pages(&self) -> u64 {
        self.waiting_pages
    }

    /// Gives up the free pages just below `hwm`; answers the lower mark.
    pub(crate) fn cut(&mut self, hwm: PageId) -> PageId {
        match self.by_start.last_key_value().map(|(start, pages)| Extent { start: *start, pages: *pages }) {
            Some(last) if last.end() == hwm => {
                self.take_out(last);
                last.start
            }
            _ => hwm,
        }
    }

    /// Whether any page of `extent` is free to be taken.
    #[cfg(test)]
    pub(crate) fn is_free(&self, page: PageId) -> bool {
        self.by_start.range(..=page).next_back().is_some_and(|(start, pages)| page < start + pages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(start: PageId, pages: u64) -> Extent {
        Extent { start, pages }
    }

    #[test]
    fn neighbours_join_and_runs_are_cut_from_the_best_fit() {
        let mut list = Freelist::default();
        for (start, pages) in [(10, 2), (20, 5), (12, 1)] {
            list.add(extent(start, pages)).unwrap();
        }
        assert_eq!(list.allocate(3, 1), Some(10), "10..13 joined");
        assert_eq!(list.allocate(1, 1), Some(20));
        assert_eq!(list.allocate(5, 1), None);
        assert_eq!(list.free_pages(), 4);
        assert!(list.add(extent(22, 1)).is_err(), "free twice");
    }

    #[test]
    fn a_freed_page_waits_for_readers_that_may_see_it() {
        let mut list = Freelist::default();
        list.grown(7, 5);
        list.free(extent(7, 1), 9);
        list.free(extent(30, 1), 9);
        list.release(&[4, 9]).unwrap();
        assert!(list.is_free(7), "born after reader 4 and gone before reader 9");
        assert!(!list.is_free(30), "may be in the tree of reader 4");
        list.release(&[9]).unwrap();
        assert!(list.is_free(30), "the tree of 9 no longer holds it");
    }

    #[test]
    fn the_free_end_of_the_file_can_be_given_up() {
        let mut list = Freelist::default();
        list.add(extent(5, 3)).unwrap();
        assert_eq!(list.cut(9), 9);
        assert_eq!(list.cut(8), 5);
        assert_eq!(list.free_pages(), 0);
    }
}
