//! Which watchers want a key: single keys in a map, ranges in an interval tree (a treap whose nodes know the greatest end
//! below them). A look-up costs the logarithm of the number of different ranges, and one step per hit.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::watcher::Serial;
use crate::index::KeyRange;

#[derive(Debug, Default)]
pub(super) struct RangeMap {
    keys: BTreeMap<Bytes, BTreeSet<Serial>>,
    ranges: Link,
    /// Counts insertions; the treap's priorities are drawn from it, so that equal histories build equal trees.
    draws: u64,
}

type Link = Option<Box<Node>>;

#[derive(Debug)]
struct Node {
    start: Bytes,
    end: End,
    /// The greatest end of this node and all below it.
    max_end: End,
    watchers: BTreeSet<Serial>,
    priority: u64,
    left: Link,
    right: Link,
}

/// Where a range ends; no end sorts behind all others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Before(Bytes),
    Never,
}

impl End {
    fn is_behind(&self, key: &[u8]) -> bool {
        match self {
            End::Before(end) => key < &end[..],
            End::Never => true,
        }
    }
}

impl RangeMap {
    pub fn insert(&mut self, range: &KeyRange, watcher: Serial) {
        let Some((start, end)) = interval(range) else {
            if let KeyRange::One(key) = range {
                self.keys.entry(key.clone()).or_default().insert(watcher);
            }
            return;
        };
        self.draws += 1;
        insert(&mut self.ranges, start, end, watcher, mix(self.draws));
    }

    pub fn remove(&mut self, range: &KeyRange, watcher: Serial) {
        if let Some((start, end)) = interval(range) {
            return remove(&mut self.ranges, &start, &end, watcher);
        }
        if let KeyRange::One(key) = range
            && let Some(watchers) = self.keys.get_mut(key)
        {
            watchers.remove(&watcher);
            if watchers.is_empty() {
                self.keys.remove(key);
            }
        }
    }

    /// Shows every watcher whose range holds `key`, each once, in a fixed but meaningless order.
    pub fn visit(&self, key: &[u8], mut each: impl FnMut(Serial)) {
        if let Some(watchers) = self.keys.get(key) {
            watchers.iter().copied().for_each(&mut each);
        }
        visit(&self.ranges, key, &mut each);
    }
}

fn interval(range: &KeyRange) -> Option<(Bytes, End)> {
    match range {
        KeyRange::One(_) => None,
        KeyRange::Between(start, end) => Some((start.clone(), End::Before(end.clone()))),
        KeyRange::From(start) => Some((start.clone(), End::Never)),
    }
}

/// A well spread number for each count (the finalizer of splitmix64).
fn mix(count: u64) -> u64 {
    let z = count.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Node {
    fn place(&self, start: &Bytes, end: &End) -> Ordering {
        start.cmp(&self.start).then_with(|| end.cmp(&self.end))
    }

    fn update(&mut self) {
        let below = [&self.left, &self.right].into_iter().flatten().map(|node| &node.max_end).max();
        self.max_end = below.map_or(&self.end, |below| below.max(&self.end)).clone();
    }
}

fn insert(link: &mut Link, start: Bytes, end: End, watcher: Serial, priority: u64) {
    let Some(node) = link else {
        let watchers = BTreeSet::from([watcher]);
        let max_end = end.clone();
        *link = Some(Box::new(Node { start, end, max_end, watchers, priority, left: None, right: None }));
        return;
    };
    match node.place(&start, &end) {
        Ordering::Equal => {
            node.watchers.insert(watcher);
        }
        Ordering::Less => {
            insert(&mut node.left, start, end, watcher, priority);
            node.update();
            if node.left.as_ref().is_some_and(|left| left.priority > node.priority) {
                rotate_right(link);
            }
        }
        Ordering::Greater => {
            insert(&mut node.right, start, end, watcher, priority);
            node.update();
            if node.right.as_ref().is_some_and(|right| right.priority > node.priority) {
                rotate_left(link);
            }
        }
    }
}

fn rotate_right(link: &mut Link) {
    let Some(mut node) = link.take() else { return };
    if let Some(mut left) = node.left.take() {
        node.left = left.right.take();
        node.update();
        left.right = Some(node);
        node = left;
    }
    node.update();
    *link = Some(node);
}

fn rotate_left(link: &mut Link) {
    let Some(mut node) = link.take() else { return };
    if let Some(mut right) = node.right.take() {
        node.right = right.left.take();
        node.update();
        right.left = Some(node);
        node = right;
    }
    node.update();
    *link = Some(node);
}

fn remove(link: &mut Link, start: &Bytes, end: &End, watcher: Serial) {
    let Some(node) = link else { return };
    match node.place(start, end) {
        Ordering::Less => remove(&mut node.left, start, end, watcher),
        Ordering::Greater => remove(&mut node.right, start, end, watcher),
        Ordering::Equal => {
            node.watchers.remove(&watcher);
            if node.watchers.is_empty() {
                let (left, right) = (node.left.take(), node.right.take());
                *link = merge(left, right);
                return;
            }
        }
    }
    node.update();
}

/// Joins two trees, all of `left` sorting before all of `right`.
fn merge(left: Link, right: Link) -> Link {
    match (left, right) {
        (None, rest) | (rest, None) => rest,
        (Some(mut left), Some(right)) if left.priority > right.priority => {
            left.right = merge(left.right.take(), Some(right));
            left.update();
            Some(left)
        }
        (left, Some(mut right)) => {
            right.left = merge(left, right.left.take());
            right.update();
            Some(right)
        }
    }
}

fn visit(link: &Link, key: &[u8], each: &mut impl FnMut(Serial)) {
    let Some(node) = link else { return };
    if !node.max_end.is_behind(key) {
        return;
    }
    visit(&node.left, key, each);
    if key >= &node.start[..] {
        if node.end.is_behind(key) {
            node.watchers.iter().copied().for_each(&mut *each);
        }
        visit(&node.right, key, each);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(map: &RangeMap, key: &[u8]) -> BTreeSet<Serial> {
        let mut found = BTreeSet::new();
        map.visit(key, |watcher| assert!(found.insert(watcher), "{watcher} shown twice"));
        found
    }

    fn holds(range: &KeyRange, key: &[u8]) -> bool {
        match range {
            KeyRange::One(one) => one == key,
            KeyRange::Between(start, end) => &start[..] <= key && key < &end[..],
            KeyRange::From(start) => &start[..] <= key,
        }
    }

    #[test]
    fn a_key_finds_exactly_the_watchers_whose_range_holds_it() {
        let mut state = 1u64;
        let mut draw = |below: u64| {
            state += 1;
            mix(state) % below
        };
        let mut map = RangeMap::default();
        let mut model: BTreeMap<Serial, KeyRange> = BTreeMap::new();
        for serial in 0..3000 {
            let key = Bytes::from(vec![draw(12) as u8; 1 + draw(2) as usize]);
            let end = Bytes::from(vec![draw(14) as u8; 1 + draw(3) as usize]);
            let range = match draw(3) {
                0 => KeyRange::One(key),
                1 if key < end => KeyRange::Between(key, end),
                _ => KeyRange::From(key),
            };
            map.insert(&range, serial);
            model.insert(serial, range);
            if draw(3) > 0 {
                let gone = draw(serial + 1);
                if let Some(range) = model.remove(&gone) {
                    map.remove(&range, gone);
                }
            }
            if serial % 10 == 0 {
                for key in 0..14u8 {
                    let key = [key, key];
                    let expected = model
                        .iter()
                        .filter(|(_, range)| holds(range, &key))
                        .map(|(serial, _)| *serial)
                        .collect();
                    assert_eq!(hits(&map, &key), expected);
                }
            }
        }
    }

    #[test]
    fn ten_thousand_ranges_in_rising_order_make_a_shallow_tree() {
        fn depth(link: &Link) -> usize {
            link.as_ref().map_or(0, |node| 1 + depth(&node.left).max(depth(&node.right)))
        }
        let mut map = RangeMap::default();
        let name = |n: u64| Bytes::from(format!("{n:06}"));
        for n in 0..10_000 {
            map.insert(&KeyRange::Between(name(n), name(n + 1)), n);
        }
        assert!(depth(&map.ranges) < 50, "depth {}", depth(&map.ranges));
        assert_eq!(hits(&map, &name(777)), BTreeSet::from([777]));
    }
}
