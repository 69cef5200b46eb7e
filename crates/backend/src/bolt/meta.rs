//! The meta page: where the tree of the last commit starts. Two copies, written in turn.

use std::path::Path;

use disk::File;

use super::page::{HEADER, Header, META, PageId, u32_at, u64_at};
use crate::error::Error;

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;
/// Value of [`Meta::freelist`] when the free pages are not stored.
pub(crate) const NO_FREELIST: PageId = u64::MAX;
const SUMMED: usize = 56;
const SIZE: usize = SUMMED + 8;

/// Contents of a meta page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) page_size: u32,
    /// Root page of the tree of buckets, and its (unused) sequence.
    pub(crate) root: PageId,
    pub(crate) sequence: u64,
    pub(crate) freelist: PageId,
    /// High-water mark: the first page never allocated.
    pub(crate) hwm: PageId,
    /// The transaction that wrote it; its meta page is `txid % 2`.
    pub(crate) txid: u64,
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

impl Meta {
    /// The valid meta at the start of `page`, header included.
    pub(crate) fn parse(page: &[u8]) -> Option<Meta> {
        let body = page.get(HEADER..HEADER + SIZE)?;
        let sound = u32_at(body, 0)? == MAGIC
            && u32_at(body, 4)? == VERSION
            && u64_at(body, SUMMED)? == fnv1a(&body[..SUMMED]);
        let meta = Meta {
            page_size: u32_at(body, 8)?,
            root: u64_at(body, 16)?,
            sequence: u64_at(body, 24)?,
            freelist: u64_at(body, 32)?,
            hwm: u64_at(body, 40)?,
            txid: u64_at(body, 48)?,
        };
        (sound && meta.page_size.is_power_of_two() && (1024..=1 << 16).contains(&meta.page_size))
            .then_some(meta)
    }

    /// The whole page `slot` with this meta.
    pub(crate) fn page(&self, slot: PageId) -> Vec<u8> {
        let mut page = vec![0; self.page_size as usize];
        Header { id: slot, flags: META, count: 0, overflow: 0 }.write(&mut page);
        let body = &mut page[HEADER..HEADER + SIZE];
        body[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        body[4..8].copy_from_slice(&VERSION.to_le_bytes());
        body[8..12].copy_from_slice(&self.page_size.to_le_bytes());
        let words = [self.root, self.sequence, self.freelist, self.hwm, self.txid];
        for (at, word) in words.into_iter().enumerate() {
            body[16 + at * 8..24 + at * 8].copy_from_slice(&word.to_le_bytes());
        }
        let sum = fnv1a(&body[..SUMMED]);
        body[SUMMED..].copy_from_slice(&sum.to_le_bytes());
        page
    }

    /// Which of the two meta pages this one goes to.
    pub(crate) fn slot(&self) -> PageId {
        self.txid % 2
    }

    /// Reads both meta pages and takes the newer valid one. The page size is nobody's guess: the second page is
    /// looked for wherever it may lie.
    pub(crate) fn read(file: &dyn File, path: &Path) -> Result<Meta, Error> {
        let at = |offset: u64| -> Result<Option<Meta>, Error> {
            let mut buf = [0; HEADER + SIZE];
            match file.read_exact_at(&mut buf, offset) {
                Ok(()) => Ok(Meta::parse(&buf)),
                Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
                Err(e) => Err(Error::disk("read the meta pages")(e)),
            }
        };
        let first = at(0)?;
        let second = match first {
            Some(first) => {
                at(u64::from(first.page_size))?.filter(|second| second.page_size == first.page_size)
            }
            None => {
                let mut found = None;
                for page_size in (10..=16).map(|shift| 1_u64 << shift) {
                    found = found.or(at(page_size)?.filter(|meta| u64::from(meta.page_size) == page_size));
                }
                found
            }
        };
        let newest = [first, second].into_iter().flatten().max_by_key(|meta| meta.txid);
        newest.ok_or_else(|| Error::NotBolt(path.to_path_buf()))
    }

    /// Refuses a meta that points outside of the file.
    pub(crate) fn check(&self, file_len: u64) -> Result<(), Error> {
        let inside = |page: PageId| (2..self.hwm).contains(&page);
        let what = if self.hwm.checked_mul(u64::from(self.page_size)).is_none_or(|end| end > file_len) {
            "the file is shorter than its high-water mark"
        } else if !inside(self.root) {
            "the root lies outside of the file"
        } else if self.freelist != NO_FREELIST && !inside(self.freelist) {
            "the freelist lies outside of the file"
        } else {
            return Ok(());
        };
        Err(Error::damaged(self.slot(), what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_files_meta_pages_carry_the_known_checksums() {
        let meta = Meta { page_size: 4096, root: 3, sequence: 0, freelist: 2, hwm: 4, txid: 0 };
        assert_eq!(u64_at(&meta.page(0), HEADER + SUMMED), Some(0x0751_6e11_4689_fdee));
        let second = Meta { txid: 1, ..meta };
        assert_eq!(u64_at(&second.page(1), HEADER + SUMMED), Some(0x264c_351a_5179_480f));
        assert_eq!(Meta::parse(&second.page(1)), Some(second));
    }

    #[test]
    fn a_meta_with_any_flipped_bit_is_invalid() {
        let page = Meta { page_size: 4096, root: 3, sequence: 0, freelist: 2, hwm: 4, txid: 7 }.page(1);
        for bit in HEADER * 8..(HEADER + SIZE) * 8 {
            let mut page = page.clone();
            page[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Meta::parse(&page), None, "bit {bit}");
        }
    }
}
