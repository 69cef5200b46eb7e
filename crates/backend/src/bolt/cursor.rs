//! Walking the records of a bucket in key order, forwards or backwards, over committed pages.

use std::sync::Arc;

use bytes::Bytes;

use super::page::{BUCKET, DEPTH_MAX, Page, PageId};
use super::snapshot::{Root, Snapshot};
use crate::error::Error;
use crate::layer::Record;
use crate::schema::Bucket;

/// A branch on the way down and the child taken.
struct Step {
    page: PageId,
    count: usize,
    index: usize,
}

/// The leaf being read. Records before `next` are behind, when falling those from `next` on.
struct Leaf {
    id: PageId,
    bytes: Bytes,
    count: usize,
    next: usize,
}

/// Iterator over the records with `from <= key < to`. After an error it ends.
pub struct Range {
    snapshot: Arc<Snapshot>,
    from: Bytes,
    to: Option<Bytes>,
    falling: bool,
    steps: Vec<Step>,
    leaf: Option<Leaf>,
    state: State,
    /// Pages visited; more than the file has means that the tree bites its tail.
    visited: u64,
}

enum State {
    Fresh(Bucket),
    Running,
    Done,
}

/// Which child to take on the way down.
enum Way<'a> {
    First,
    Last,
    /// Towards a key; records from it on (or before it, when falling) are wanted.
    To(&'a [u8]),
}

impl Range {
    pub(crate) fn new(
        snapshot: Arc<Snapshot>,
        bucket: Bucket,
        from: &[u8],
        to: Option<&[u8]>,
        falling: bool,
    ) -> Range {
        let empty = to.is_some_and(|to| to <= from);
        Range {
            snapshot,
            from: Bytes::copy_from_slice(from),
            to: to.map(Bytes::copy_from_slice),
            falling,
            steps: Vec::new(),
            leaf: None,
            state: if empty { State::Done } else { State::Fresh(bucket) },
            visited: 0,
        }
    }

    /// Goes down from a page to a leaf.
    fn descend(&mut self, mut id: PageId, way: &Way<'_>) -> Result<(), Error> {
        let snapshot = self.snapshot.clone();
        loop {
            self.visited += 1;
            if self.steps.len() > DEPTH_MAX || self.visited > snapshot.meta.hwm {
                return Err(Error::damaged(id, "the tree is too deep or has a cycle"));
            }
            let page = snapshot.pages.page(id)?;
            if page.leaf {
                return self.enter(page, snapshot.pages.bytes(page.bytes), way);
            }
            let index = match way {
                Way::First => 0,
                Way::Last => page.count - 1,
                Way::To(key) => page.child_for(key)?,
            };
            self.steps.push(Step { page: id, count: page.count, index });
            id = page.branch_element(index)?.child;
        }
    }

    fn enter(&mut self, page: Page<'_>, bytes: Bytes, way: &Way<'_>) -> Result<(), Error> {
        let next = match way {
            Way::First => 0,
            Way::Last => page.count,
            Way::To(key) => page.search(key)?.0,
        };
        self.leaf = Some(Leaf { id: page.id, bytes, count: page.count, next });
        Ok(())
    }

    fn start(&mut self, bucket: Bucket) -> Result<(), Error> {
        let snapshot = self.snapshot.clone();
        let (from, to) = (self.from.clone(), self.to.clone());
        let way = match (self.falling, &to) {
            (false, _) => Way::To(&from),
            (true, None) => Way::Last,
            (true, Some(to)) => Way::To(to),
        };
        match snapshot.root(bucket) {
            None => Ok(()),
            Some(Root::Page(id)) => self.descend(*id, &way),
            Some(Root::Inline { container, image }) => {
                self.enter(Page::inline(*container, image)?, image.clone(), &way)
            }
        }
    }

    /// Goes to the leaf beside the one just read; false at the end of the bucket.
    fn sideways(&mut self) -> Result<bool, Error> {
        self.leaf = None;
        while let Some(step) = self.steps.last_mut() {
            let beside = if self.falling { step.index.checked_sub(1) } else { Some(step.index + 1) };
            match beside.filter(|index| *index < step.count) {
                None => drop(self.steps.pop()),
                Some(index) => {
                    step.index = index;
                    let snapshot = self.snapshot.clone();
                    let child = snapshot.pages.page(step.page)?.branch_element(index)?.child;
                    self.descend(child, if self.falling { &Way::Last } else { &Way::First })?;
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn advance(&mut self) -> Result<Option<Record>, Error> {
        loop {
            let Some(leaf) = &mut self.leaf else { return Ok(None) };
            let at = if self.falling { leaf.next.checked_sub(1) } else { Some(leaf.next) };
            let Some(at) = at.filter(|at| *at < leaf.count) else {
                if self.sideways()? {
                    continue;
                }
                return Ok(None);
            };
            leaf.next = if self.falling { at } else { at + 1 };
            let page = Page { id: leaf.id, leaf: true, count: leaf.count, bytes: &leaf.bytes };
            let element = page.leaf_element(at)?;
            let beyond = if self.falling {
                element.key < self.from.as_ref()
            } else {
                self.to.as_ref().is_some_and(|to| element.key >= to.as_ref())
            };
            if beyond {
                return Ok(None);
            }
            if element.flags & BUCKET == 0 {
                let value =
                    if element.value.is_empty() { Bytes::new() } else { leaf.bytes.slice_ref(element.value) };
                return Ok(Some((leaf.bytes.slice_ref(element.key), value)));
            }
        }
    }
}

impl Iterator for Range {
    type Item = Result<Record, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let started = match std::mem::replace(&mut self.state, State::Done) {
            State::Fresh(bucket) => self.start(bucket),
            State::Running => Ok(()),
            State::Done => return None,
        };
        let record = started.and_then(|()| self.advance()).transpose();
        if matches!(record, Some(Ok(_))) {
            self.state = State::Running;
        }
        record
    }
}
