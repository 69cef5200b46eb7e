//! Looking up many records of a bucket, each near the one before: the way from the root is kept.

use super::page::{BUCKET, DEPTH_MAX, Page, PageId, order};
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
    /// Behind the element where the last key belongs: where the next one most likely is.
    next: usize,
}

impl<'a> Subtree<'a> {
    fn is_elsewhere(&self, key: &[u8]) -> bool {
        order(key, self.from).is_lt() || self.to.is_some_and(|to| order(key, to).is_ge())
    }

    /// The child whose subtree would hold `key`.
    fn child_for(&mut self, key: &[u8]) -> Result<usize, Error> {
        let (page, next) = (&self.page, self.next);
        let is_next = next < page.count
            && order(key, page.key_at(next)?).is_ge()
            && (next + 1 == page.count || order(key, page.key_at(next + 1)?).is_lt());
        let index = if is_next { next } else { page.child_for(key)? };
        self.next = index + 1;
        Ok(index)
    }

    /// What a leaf has under `key`.
    fn value_of(&mut self, key: &[u8]) -> Result<Option<&'a [u8]>, Error> {
        if self.next < self.page.count {
            let element = self.page.leaf_element(self.next)?;
            if order(element.key, key).is_eq() {
                self.next += 1;
                return Ok((element.flags & BUCKET == 0).then_some(element.value));
            }
        }
        let (index, exact) = self.page.search(key)?;
        self.next = index + usize::from(exact);
        if !exact {
            return Ok(None);
        }
        let element = self.page.leaf_element(index)?;
        Ok((element.flags & BUCKET == 0).then_some(element.value))
    }
}

impl<'a> Seeker<'a> {
    pub(crate) fn new(snapshot: &'a Snapshot, bucket: Bucket) -> Seeker<'a> {
        Seeker { snapshot, bucket, way: Vec::new() }
    }

    /// The value under `key`.
    pub(crate) fn find(&mut self, key: &[u8]) -> Result<Option<&'a [u8]>, Error> {
        let root = match self.snapshot.root(self.bucket) {
            None => return Ok(None),
            Some(Root::Page(root)) => *root,
            Some(inline) => {
                let found = self.snapshot.pages.find(inline, key)?;
                return Ok(found.filter(|found| !found.bucket).map(|found| found.value));
            }
        };
        self.turn_towards(root, key)?;
        while let Some(tree) = self.way.last_mut() {
            if tree.page.leaf {
                return tree.value_of(key);
            }
            self.descend(key)?;
        }
        Ok(None)
    }

    /// Goes back to where the ways to the last key and to `key` part.
    fn turn_towards(&mut self, root: PageId, key: &[u8]) -> Result<(), Error> {
        while self.way.pop_if(|tree| tree.is_elsewhere(key)).is_some() {}
        if self.way.is_empty() {
            let page = self.snapshot.pages.page(root)?;
            self.way.push(Subtree { page, from: &[], to: None, next: 0 });
        }
        Ok(())
    }

    /// Goes from a branch to the child where `key` belongs.
    fn descend(&mut self, key: &[u8]) -> Result<(), Error> {
        let is_deep = self.way.len() > DEPTH_MAX;
        let Some(Subtree { page, from, to, .. }) = self.way.last() else { return Ok(()) };
        if is_deep {
            return Err(Error::damaged(page.id, "the tree is too deep or has a cycle"));
        }
        let (page, from, to) = (*page, *from, *to);
        let Some(tree) = self.way.last_mut() else { return Ok(()) };
        let index = tree.child_for(key)?;
        let element = page.branch_element(index)?;
        // Keys before the first belong to it, too.
        let from = if index == 0 { from } else { element.key };
        let to = if index + 1 < page.count { Some(page.branch_element(index + 1)?.key) } else { to };
        let page = self.snapshot.pages.page(element.child)?;
        self.way.push(Subtree { page, from, to, next: 0 });
        Ok(())
    }

    /// Shows the values under `keys`, which rise, each with the number of its key. The leaves are fetched from memory all
    /// at once: looking up one key after the other would wait for one after the other.
    pub(crate) fn find_all<K: AsRef<[u8]>>(
        &mut self,
        keys: &[K],
        mut found: impl FnMut(usize, Option<&'a [u8]>),
    ) -> Result<(), Error> {
        let Some(Root::Page(root)) = self.snapshot.root(self.bucket) else {
            return keys.iter().enumerate().try_for_each(|(nth, key)| {
                found(nth, self.find(key.as_ref())?);
                Ok(())
            });
        };
        let shares = self.shares(*root, keys)?;
        self.snapshot.pages.prefetch_leaves(shares.iter().map(|share| (share.leaf, share.end - share.begin)));
        for Share { leaf, begin, end } in shares {
            let page = self.snapshot.pages.page(leaf)?;
            let mut leaf = Subtree { page, from: &[], to: None, next: 0 };
            for (nth, key) in keys.iter().enumerate().take(end).skip(begin) {
                found(nth, leaf.value_of(key.as_ref())?);
            }
        }
        Ok(())
    }

    /// The leaves where `keys` belong, without looking at any but the first.
    fn shares<K: AsRef<[u8]>>(&mut self, root: PageId, keys: &[K]) -> Result<Vec<Share>, Error> {
        let (mut shares, mut depth, mut behind) = (Vec::<Share>::new(), 0, None);
        for (nth, key) in keys.iter().enumerate() {
            let key = key.as_ref();
            if let Some(last) =
                shares.last_mut().filter(|_| behind.is_none_or(|behind| order(key, behind).is_lt()))
            {
                last.end = nth + 1;
                continue;
            }
            if depth == 0 {
                // All leaves are as deep as the first.
                self.find(key)?;
                depth = self.way.len();
            }
            self.way.truncate(depth - 1);
            let mut leaf = root;
            if depth > 1 {
                self.turn_towards(root, key)?;
                while self.way.len() + 1 < depth {
                    self.descend(key)?;
                }
                let Some(branch) = self.way.last_mut() else { continue };
                let index = branch.child_for(key)?;
                leaf = branch.page.branch_element(index)?.child;
                behind = match index + 1 < branch.page.count {
                    true => Some(branch.page.branch_element(index + 1)?.key),
                    false => branch.to,
                };
            }
            shares.push(Share { leaf, begin: nth, end: nth + 1 });
        }
        Ok(shares)
    }
}

/// The keys of many that belong in one leaf.
struct Share {
    leaf: PageId,
    begin: usize,
    end: usize,
}
