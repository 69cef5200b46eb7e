//! The part of a bucket's tree that a transaction has touched, on the heap; the rest stays in the file.
//!
//! Only pages on the way to a change are loaded. Before a commit, nodes that lost records are merged with a neighbour
//! ([`Tree::settle`]); then all loaded nodes are split to page size and written to new places ([`Tree::spill`]).

use bytes::Bytes;

use super::freelist::Extent;
use super::image::{LeafItem, Part, branch_image, branch_size, leaf_image, leaf_size, split};
use super::page::{BUCKET, DEPTH_MAX, HEADER, Header, Page, PageId};
use super::snapshot::{Pages, Root};
use crate::error::Error;
use crate::turn::Turn;

/// Moving a page costs as much of the budget as looking at so many.
pub(crate) const TOUCH_COST: usize = 8;

/// How much of a tree [`Tree::touch`] may still look at, in pages.
pub(crate) struct Budget {
    left: usize,
    turn: Turn,
}

impl Budget {
    pub(crate) fn of(pages: usize) -> Budget {
        Budget { left: pages, turn: Turn::default() }
    }

    fn spend(&mut self, pages: usize) {
        self.left = self.left.saturating_sub(pages);
        self.turn.pass(pages);
    }
}

struct BranchItem {
    key: Bytes,
    child: Child,
}

enum Child {
    Page(PageId),
    Loaded(Box<Node>),
}

enum Items {
    Leaf(Vec<LeafItem>),
    Branch(Vec<BranchItem>),
}

struct Node {
    /// The pages it was read from, which are free once it is written elsewhere.
    origin: Option<Extent>,
    items: Items,
    /// It may be too empty: look at it before the commit.
    shrunk: bool,
}

/// Where spilled pages go and freed ones are noted.
pub(crate) trait PageStore {
    /// Writes an image of one or more whole pages; the page number in its header is filled in.
    fn write(&mut self, image: Vec<u8>) -> Result<PageId, Error>;
    /// Notes that pages are no longer part of the tree.
    fn free(&mut self, extent: Extent);
}

impl Node {
    fn load(pages: &Pages, id: PageId) -> Result<Node, Error> {
        let (header, bytes) = pages.raw(id)?;
        let page = Page::new(header, bytes)?;
        let items = if page.leaf {
            Items::Leaf(leaf_items(page, &|slice| pages.bytes(slice))?)
        } else {
            let item = |index| {
                let element = page.branch_element(index)?;
                Ok(BranchItem { key: pages.bytes(element.key), child: Child::Page(element.child) })
            };
            Items::Branch((0..page.count).map(item).collect::<Result<_, Error>>()?)
        };
        let origin = Some(Extent { start: id, pages: 1 + u64::from(header.overflow) });
        Ok(Node { origin, items, shrunk: false })
    }

    fn len(&self) -> usize {
        match &self.items {
            Items::Leaf(items) => items.len(),
            Items::Branch(items) => items.len(),
        }
    }

    fn size(&self) -> usize {
        HEADER
            + match &self.items {
                Items::Leaf(items) => items.iter().map(leaf_size).sum::<usize>(),
                Items::Branch(items) => items.iter().map(|item| branch_size(&item.key)).sum::<usize>(),
            }
    }

    fn too_empty(&self, threshold: usize) -> bool {
        let few = match &self.items {
            Items::Leaf(items) => items.len() <= 1,
            Items::Branch(items) => items.len() <= 2,
        };
        few || self.size() <= threshold
    }

    /// Takes over the items of the neighbour to the right.
    fn absorb(&mut self, right: Node) -> Result<(), Error> {
        match (&mut self.items, right.items) {
            (Items::Leaf(items), Items::Leaf(more)) => items.extend(more),
            (Items::Branch(items), Items::Branch(more)) => items.extend(more),
            _ => {
                let page = right.origin.map_or(0, |origin| origin.start);
                return Err(Error::damaged(page, "leaf and branch on one level"));
            }
        }
        self.shrunk = true;
        Ok(())
    }
}

fn leaf_items(page: Page<'_>, bytes: &dyn Fn(&[u8]) -> Bytes) -> Result<Vec<LeafItem>, Error> {
    let item = |index| {
        let element = page.leaf_element(index)?;
        Ok(LeafItem { flags: element.flags, key: bytes(element.key), value: bytes(element.value) })
    };
    (0..page.count).map(item).collect()
}

impl Child {
    /// The child as a node, loaded if it is not yet.
    fn node(&mut self, pages: &Pages) -> Result<&mut Node, Error> {
        if let Child::Page(id) = self {
            *self = Child::Loaded(Box::new(Node::load(pages, *id)?));
        }
        match self {
            Child::Loaded(node) => Ok(node),
            Child::Page(id) => Err(Error::damaged(*id, "not loaded")),
        }
    }
}

fn child_for(items: &[BranchItem], key: &[u8]) -> usize {
    items.partition_point(|item| item.key.as_ref() <= key).saturating_sub(1)
}

/// A bucket's tree in a write transaction.
pub(crate) struct Tree {
    root: TreeRoot,
    /// How full a page is made by a split, 0 to 1.
    fill: f64,
}

enum TreeRoot {
    Stored(Root),
    Node(Box<Node>),
}

/// What a bucket's header shall say after the spill.
pub(crate) enum Spilled {
    Page(PageId),
    /// The image of a single leaf small enough to live in the bucket's value.
    Inline(Vec<u8>),
}

impl Tree {
    pub(crate) fn stored(root: Root, fill: f64) -> Tree {
        Tree { root: TreeRoot::Stored(root), fill }
    }

    pub(crate) fn empty(fill: f64) -> Tree {
        let node = Node { origin: None, items: Items::Leaf(Vec::new()), shrunk: false };
        Tree { root: TreeRoot::Node(Box::new(node)), fill }
    }

    fn root(&mut self, pages: &Pages) -> Result<&mut Node, Error> {
        if let TreeRoot::Stored(root) = &self.root {
            let node = match root {
                Root::Page(id) => Node::load(pages, *id)?,
                Root::Inline { container, image } => {
                    let slice = |s: &[u8]| if s.is_empty() { Bytes::new() } else { image.slice_ref(s) };
                    let items = leaf_items(Page::inline(*container, image)?, &slice)?;
                    Node { origin: None, items: Items::Leaf(items), shrunk: false }
                }
            };
            self.root = TreeRoot::Node(Box::new(node));
        }
        match &mut self.root {
            TreeRoot::Node(node) => Ok(node),
            TreeRoot::Stored(_) => Err(Error::damaged(0, "not loaded")),
        }
    }

    /// The leaf where `key` belongs, loaded with all branches above it.
    fn leaf(&mut self, pages: &Pages, key: &[u8]) -> Result<(&mut Vec<LeafItem>, &mut bool), Error> {
        let mut node = self.root(pages)?;
        for _ in 0..=DEPTH_MAX {
            match &mut node.items {
                Items::Leaf(items) => return Ok((items, &mut node.shrunk)),
                Items::Branch(items) => {
                    let index = child_for(items, key);
                    let item = items.get_mut(index).ok_or(Error::damaged(0, "a branch without children"))?;
                    node = item.child.node(pages)?;
                }
            }
        }
        Err(Error::damaged(node.origin.map_or(0, |o| o.start), "the tree is too deep or has a cycle"))
    }

    pub(crate) fn put(&mut self, pages: &Pages, item: LeafItem) -> Result<(), Error> {
        let (items, _) = self.leaf(pages, &item.key)?;
        if items.last().is_none_or(|last| last.key < item.key) {
            items.push(item);
            return Ok(());
        }
        match items.binary_search_by(|old| old.key.cmp(&item.key)) {
            Ok(at) if (items[at].flags ^ item.flags) & BUCKET != 0 => return Err(Error::NestedBucket),
            Ok(at) => items[at] = item,
            Err(at) => items.insert(at, item),
        }
        Ok(())
    }

    /// Deletes a record; one that is not there touches nothing.
    pub(crate) fn delete(&mut self, pages: &Pages, key: &[u8]) -> Result<(), Error> {
        if !self.contains(pages, key)? {
            return Ok(());
        }
        let (items, shrunk) = self.leaf(pages, key)?;
        if let Ok(at) = items.binary_search_by(|old| old.key.as_ref().cmp(key)) {
            if items[at].flags & BUCKET != 0 {
                return Err(Error::NestedBucket);
            }
            items.remove(at);
            *shrunk = true;
        }
        Ok(())
    }

    fn contains(&self, pages: &Pages, key: &[u8]) -> Result<bool, Error> {
        let mut node = match &self.root {
            TreeRoot::Stored(root) => return Ok(pages.find(root, key)?.is_some()),
            TreeRoot::Node(node) => node,
        };
        loop {
            match &node.items {
                Items::Leaf(items) => {
                    return Ok(items.binary_search_by(|old| old.key.as_ref().cmp(key)).is_ok());
                }
                Items::Branch(items) => match items.get(child_for(items, key)).map(|item| &item.child) {
                    None => return Ok(false),
                    Some(Child::Page(id)) => return Ok(pages.find(&Root::Page(*id), key)?.is_some()),
                    Some(Child::Loaded(child)) => node = child,
                },
            }
        }
    }

    /// Loads the leaves from `from` on that reach to `beyond` or further back in the file, and all branches on the way, so
    /// that the spill gives them a place nearer to its head. Stops when `budget` is used up; answers the key to go on from,
    /// `None` at the end of the tree.
    pub(crate) fn touch(
        &mut self,
        pages: &Pages,
        from: &[u8],
        beyond: PageId,
        budget: &mut Budget,
    ) -> Result<Option<Bytes>, Error> {
        match &self.root {
            TreeRoot::Stored(Root::Inline { .. }) => return Ok(None),
            TreeRoot::Stored(Root::Page(id)) => {
                let (header, bytes) = pages.raw(*id)?;
                if Page::new(header, bytes)?.leaf && !reaches(beyond, *id, header) {
                    return Ok(None);
                }
            }
            TreeRoot::Node(_) => {}
        }
        touch(self.root(pages)?, pages, from, beyond, budget, 0)
    }

    /// Merges nodes that have become too empty, and lowers the tree where its root has a single child.
    pub(crate) fn settle(&mut self, pages: &Pages, store: &mut dyn PageStore) -> Result<(), Error> {
        let threshold = (pages.page_size() as f64 * self.fill) as usize / 2;
        let TreeRoot::Node(root) = &mut self.root else { return Ok(()) };
        settle(root, pages, threshold, store)?;
        loop {
            let TreeRoot::Node(root) = &mut self.root else { return Ok(()) };
            let Items::Branch(items) = &mut root.items else { return Ok(()) };
            if items.len() > 1 {
                return Ok(());
            }
            if let Some(origin) = root.origin.take() {
                store.free(origin);
            }
            self.root = match items.pop().map(|item| item.child) {
                Some(Child::Page(id)) => TreeRoot::Stored(Root::Page(id)),
                Some(Child::Loaded(node)) => TreeRoot::Node(node),
                None => Tree::empty(self.fill).root,
            };
        }
    }

    /// Writes all loaded nodes. `None`: nothing was loaded, the stored root stays.
    pub(crate) fn spill(
        self,
        page_size: usize,
        may_be_inline: bool,
        store: &mut dyn PageStore,
    ) -> Result<Option<Spilled>, Error> {
        let root = match self.root {
            TreeRoot::Stored(Root::Page(id)) => return Ok(Some(Spilled::Page(id))),
            TreeRoot::Stored(Root::Inline { .. }) => return Ok(None),
            TreeRoot::Node(root) => root,
        };
        if let Items::Leaf(items) = &root.items
            && may_be_inline
            && root.size() <= page_size / 4
            && items.iter().all(|item| item.flags & BUCKET == 0)
        {
            if let Some(origin) = root.origin {
                store.free(origin);
            }
            return Ok(Some(Spilled::Inline(leaf_image(items, None))));
        }
        let mut spill = Spill { page_size, threshold: (page_size as f64 * self.fill) as usize, store };
        let mut parts = spill.node(*root)?;
        while parts.len() > 1 {
            parts = spill.branches(&parts)?;
        }
        let root = parts.pop().ok_or(Error::damaged(0, "a tree without a root"))?;
        Ok(Some(Spilled::Page(root.page)))
    }
}

/// Whether a page or its overflow lies at `beyond` or further back.
fn reaches(beyond: PageId, id: PageId, header: Header) -> bool {
    id + u64::from(header.overflow) >= beyond
}

fn touch(
    node: &mut Node,
    pages: &Pages,
    from: &[u8],
    beyond: PageId,
    budget: &mut Budget,
    depth: usize,
) -> Result<Option<Bytes>, Error> {
    let Items::Branch(items) = &mut node.items else { return Ok(None) };
    let first = child_for(items, from);
    for item in &mut items[first..] {
        if budget.left == 0 {
            return Ok(Some(item.key.clone()));
        }
        if let Child::Page(id) = item.child {
            let (header, bytes) = pages.raw(id)?;
            let len = 1 + u64::from(header.overflow);
            if depth > DEPTH_MAX {
                return Err(Error::damaged(id, "the tree is too deep or has a cycle"));
            }
            if Page::new(header, bytes)?.leaf && !reaches(beyond, id, header) {
                budget.spend(1);
                continue;
            }
            budget.spend(TOUCH_COST * len as usize);
        }
        if let Some(rest) = touch(item.child.node(pages)?, pages, from, beyond, budget, depth + 1)? {
            return Ok(Some(rest));
        }
    }
    Ok(None)
}

fn settle(node: &mut Node, pages: &Pages, threshold: usize, store: &mut dyn PageStore) -> Result<(), Error> {
    let Items::Branch(items) = &mut node.items else { return Ok(()) };
    for item in items.iter_mut() {
        if let Child::Loaded(child) = &mut item.child {
            settle(child, pages, threshold, store)?;
        }
    }
    let mut at = 0;
    while at < items.len() {
        let Child::Loaded(child) = &mut items[at].child else {
            at += 1;
            continue;
        };
        if !child.shrunk || !child.too_empty(threshold) {
            at += 1;
        } else if child.len() == 0 {
            if let Some(origin) = child.origin {
                store.free(origin);
            }
            items.remove(at);
            node.shrunk = true;
        } else if items.len() == 1 {
            break;
        } else {
            let left = at.saturating_sub(1);
            let mut right = items.remove(left + 1);
            right.child.node(pages)?;
            let Child::Loaded(right) = right.child else { continue };
            if let Some(origin) = right.origin {
                store.free(origin);
            }
            items[left].child.node(pages)?.absorb(*right)?;
            node.shrunk = true;
            at = left;
        }
    }
    Ok(())
}

struct Spill<'a> {
    page_size: usize,
    threshold: usize,
    store: &'a mut dyn PageStore,
}

impl Spill<'_> {
    /// Writes a subtree; answers what its parent shall hold instead.
    fn node(&mut self, node: Node) -> Result<Vec<Part>, Error> {
        if let Some(origin) = node.origin {
            self.store.free(origin);
        }
        match node.items {
            Items::Leaf(items) => self.leaves(&items),
            Items::Branch(items) => {
                let mut children = Vec::with_capacity(items.len());
                for item in items {
                    match item.child {
                        Child::Page(page) => children.push(Part { key: item.key, page }),
                        Child::Loaded(child) => children.extend(self.node(*child)?),
                    }
                }
                self.branches(&children)
            }
        }
    }

    fn leaves(&mut self, items: &[LeafItem]) -> Result<Vec<Part>, Error> {
        let write = |part: &[LeafItem]| {
            let key = part.first().map_or_else(Bytes::new, |item| item.key.clone());
            Ok(Part { key, page: self.store.write(leaf_image(part, Some(self.page_size)))? })
        };
        split(items, self.page_size, self.threshold, leaf_size).map(write).collect()
    }

    fn branches(&mut self, children: &[Part]) -> Result<Vec<Part>, Error> {
        let write = |part: &[Part]| {
            let key = part.first().map_or_else(Bytes::new, |child| child.key.clone());
            Ok(Part { key, page: self.store.write(branch_image(part, self.page_size))? })
        };
        split(children, self.page_size, self.threshold, |part| branch_size(&part.key)).map(write).collect()
    }
}
