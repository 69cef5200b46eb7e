//! Items of a node turned into page images: where a node is split, and the bytes of each page.

use bytes::Bytes;

use super::page::{BRANCH, ELEMENT, HEADER, Header, LEAF, PageId};

/// A page takes part in a split only with more records than this.
const SPLIT_MIN: usize = 4;
/// Every page made by a split holds at least so many.
const PER_PAGE_MIN: usize = 2;

/// A record, or a nested bucket's header, of a leaf.
#[derive(Clone)]
pub(crate) struct LeafItem {
    pub(crate) flags: u32,
    pub(crate) key: Bytes,
    pub(crate) value: Bytes,
}

/// A page written by the spill, as its parent shall hold it.
pub(super) struct Part {
    pub(super) key: Bytes,
    pub(super) page: PageId,
}

pub(super) fn leaf_size(item: &LeafItem) -> usize {
    ELEMENT + item.key.len() + item.value.len()
}

pub(super) fn branch_size(key: &Bytes) -> usize {
    ELEMENT + key.len()
}

/// Cuts items into pages: each but the last is filled up to `threshold` bytes, none has fewer than two items, and
/// what fits a page whole is not cut.
pub(super) fn split<T>(
    items: &[T],
    page_size: usize,
    threshold: usize,
    size: impl Fn(&T) -> usize,
) -> impl Iterator<Item = &[T]> {
    let mut rest = Some(items);
    let mut rest_size = HEADER + items.iter().map(&size).sum::<usize>();
    std::iter::from_fn(move || {
        let all = rest?;
        if all.len() <= SPLIT_MIN || rest_size <= page_size {
            return rest.take();
        }
        let (mut end, mut used) = (0, HEADER);
        while end < all.len() - PER_PAGE_MIN {
            let next = size(&all[end]);
            if end >= PER_PAGE_MIN && used + next > threshold {
                break;
            }
            used += next;
            end += 1;
        }
        let (part, others) = all.split_at(end);
        rest_size -= used - HEADER;
        rest = Some(others);
        Some(part)
    })
}

/// Buffer for an image: a whole number of pages, or (inline) just what is needed.
fn image(flags: u16, count: usize, size: usize, page_size: Option<usize>) -> Vec<u8> {
    let len = page_size.map_or(size, |page_size| size.next_multiple_of(page_size));
    let overflow = page_size.map_or(0, |page_size| len / page_size - 1);
    let mut image = Vec::with_capacity(len);
    image.resize(HEADER, 0);
    // A page never holds 65535 items: an item takes 17 bytes at least and a page is 64 KiB at most.
    Header { id: 0, flags, count: count as u16, overflow: overflow as u32 }.write(&mut image);
    image
}

pub(super) fn leaf_image(items: &[LeafItem], page_size: Option<usize>) -> Vec<u8> {
    let size = HEADER + items.iter().map(leaf_size).sum::<usize>();
    let mut out = image(LEAF, items.len(), size, page_size);
    let mut data = HEADER + items.len() * ELEMENT;
    for item in items {
        let (pos, key, value) = ((data - out.len()) as u32, item.key.len() as u32, item.value.len() as u32);
        for word in [item.flags, pos, key, value] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        data += item.key.len() + item.value.len();
    }
    for item in items {
        out.extend_from_slice(&item.key);
        out.extend_from_slice(&item.value);
    }
    pad(out, page_size)
}

pub(super) fn branch_image(children: &[Part], page_size: usize) -> Vec<u8> {
    let size = HEADER + children.iter().map(|child| branch_size(&child.key)).sum::<usize>();
    let mut out = image(BRANCH, children.len(), size, Some(page_size));
    let mut data = HEADER + children.len() * ELEMENT;
    for child in children {
        out.extend_from_slice(&((data - out.len()) as u32).to_le_bytes());
        out.extend_from_slice(&(child.key.len() as u32).to_le_bytes());
        out.extend_from_slice(&child.page.to_le_bytes());
        data += child.key.len();
    }
    for child in children {
        out.extend_from_slice(&child.key);
    }
    pad(out, Some(page_size))
}

fn pad(mut image: Vec<u8>, page_size: Option<usize>) -> Vec<u8> {
    if let Some(page_size) = page_size {
        image.resize(image.len().next_multiple_of(page_size), 0);
    }
    image
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_bucket_is_the_known_sixteen_bytes() {
        assert_eq!(leaf_image(&[], None), [0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn a_split_fills_pages_and_leaves_none_with_a_single_item() {
        let sizes =
            |items: &[usize]| -> Vec<usize> { split(items, 100, 90, |s| *s).map(<[usize]>::len).collect() };
        assert_eq!(sizes(&[10; 8]), [8], "fits whole");
        assert_eq!(sizes(&[10; 20]), [7, 7, 6]);
        assert_eq!(sizes(&[200; 4]), [4], "four items are never cut");
        assert_eq!(sizes(&[200; 7]), [2, 2, 3]);
        assert_eq!(sizes(&[10; 9]), [7, 2]);
    }
}
