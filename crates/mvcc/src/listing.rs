//! A long answer whose records are read when they are wanted. Until then each takes a few bytes.
//!
//! What the length of the answer is has to be known before its first record is sent: so a first pass looks at all records
//! and remembers their revisions, and they are looked up again, some at a time. Both times that is done in the order of
//! revisions, in which they lie in the file: much cheaper than in the order of keys.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use backend::{Bucket, ReadTx};
use bytes::Bytes;
use prost::encoding::{decode_varint, encode_varint, encoded_len_varint};

use crate::key_index::Seen;
use crate::select::{self, Sink};
use crate::{Error, KvReader, RangeQuery, Revision, View};

/// Records looked up together.
const BATCH: usize = if cfg!(test) { 8 } else { 1024 };
/// Records of the first pass that are kept at hand: short lists are not read twice.
const HELD_MAX: usize = if cfg!(test) { 20 } else { 16 * 1024 };
/// Revisions are packed into pieces of this length, which go as they are used up.
const PIECE_BYTES: usize = if cfg!(test) { 64 } else { 64 * 1024 };

/// The answer to a [`RangeQuery`]: an iterator over its records, encoded `mvccpb.KeyValue`s as stored, in key order. What
/// it will yield is fixed: neither writes nor compactions change it.
pub struct Listing {
    tx: ReadTx,
    held: VecDeque<Bytes>,
    packed: Packed,
    len: usize,
    encoded_len: usize,
    count: i64,
    more: bool,
    revision: i64,
}

impl RangeQuery {
    /// Whether [`KvReader::list`] can answer: whole records in rising order of keys.
    pub fn is_list(&self) -> bool {
        let rising = self.sort_order != crate::SortOrder::Descend;
        rising && self.sort_target == crate::SortTarget::Key && !self.keys_only && !self.count_only
    }
}

impl KvReader {
    /// Reads a range as [`KvReader::range`] does; for a query that [`RangeQuery::is_list`].
    ///
    /// # Errors
    /// [`Error::FutureRevision`], [`Error::Compacted`]; [`Error::Damaged`] when a record is missing.
    pub fn list(&self, query: &RangeQuery) -> Result<Listing, Error> {
        loop {
            match self.view(query.revision).and_then(|view| Listing::new(&view, query)) {
                // Overtaken while reading, as in `view`.
                Err(Error::Compacted) if query.revision <= 0 => {}
                answer => return answer,
            }
        }
    }
}

impl Listing {
    fn new(view: &View, query: &RangeQuery) -> Result<Listing, Error> {
        let listing = Listing {
            tx: view.tx.clone(),
            held: VecDeque::new(),
            packed: Packed::default(),
            len: 0,
            encoded_len: 0,
            count: 0,
            more: false,
            revision: view.current_revision(),
        };
        let limit = usize::try_from(query.limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        let mut first_pass = FirstPass { view, listing, limit, batch: Vec::new() };
        let count = select::walk(&view.shared.index, query, view.revision(), &mut first_pass)?;
        first_pass.look_up()?;
        view.check()?;
        Ok(Listing { count, ..first_pass.listing })
    }

    /// Keys in the range, whatever limit and filters say.
    pub fn total(&self) -> i64 {
        self.count
    }

    /// There were more than the limit.
    pub fn more(&self) -> bool {
        self.more
    }

    /// The current revision when the read began.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Records that are still to come.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no record is left.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Length of all records, in bytes, as elements of a field whose tag takes one byte.
    pub fn encoded_len(&self) -> usize {
        self.encoded_len
    }

    /// Looks up the next records that are not at hand.
    fn refill(&mut self) -> Result<(), Error> {
        let batch: Vec<Revision> = std::iter::from_fn(|| self.packed.pop()).take(BATCH).collect();
        let missing = |revision| Error::Damaged(format!("no record at revision {revision}, which was there"));
        self.held = look_up(&self.tx, &batch, missing)?.into();
        Ok(())
    }
}

impl Iterator for Listing {
    type Item = Result<Bytes, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.len > 0
            && self.held.is_empty()
            && let Err(error) = self.refill()
        {
            self.len = 0;
            return Some(Err(error));
        }
        self.len = self.len.checked_sub(1)?;
        self.held.pop_front().map(Ok)
    }
}

/// Finds out what is in the answer, and how long it is.
struct FirstPass<'a> {
    view: &'a View,
    listing: Listing,
    limit: usize,
    batch: Vec<Revision>,
}

impl FirstPass<'_> {
    fn look_up(&mut self) -> Result<(), Error> {
        let Listing { held, packed, len, encoded_len, .. } = &mut self.listing;
        let records = self.view.records(&self.batch)?;
        *encoded_len +=
            records.iter().map(|r| 1 + encoded_len_varint(r.len() as u64) + r.len()).sum::<usize>();
        if *len + records.len() <= HELD_MAX {
            held.extend(records);
        } else {
            self.batch.iter().for_each(|revision| packed.push(*revision));
        }
        *len += self.batch.len();
        self.batch.clear();
        Ok(())
    }
}

impl Sink for FirstPass<'_> {
    fn found(&mut self, _: &[u8], seen: Seen) -> ControlFlow<()> {
        if self.listing.len + self.batch.len() == self.limit {
            self.listing.more = true;
            return ControlFlow::Break(());
        }
        self.batch.push(seen.modified);
        ControlFlow::Continue(())
    }

    fn unlocked(&mut self) -> Result<(), Error> {
        if self.batch.len() >= BATCH { self.look_up() } else { Ok(()) }
    }
}

/// The records at some revisions.
pub(crate) fn look_up(
    tx: &ReadTx,
    revisions: &[Revision],
    missing: impl Fn(Revision) -> Error,
) -> Result<Vec<Bytes>, Error> {
    let mut order: Vec<usize> = (0..revisions.len()).collect();
    order.sort_unstable_by_key(|place| revisions[*place]);
    let mut records = vec![Bytes::new(); revisions.len()];
    let mut lookup = tx.lookup(Bucket::Key);
    for place in order {
        let revision = revisions[place];
        records[place] = lookup.get(&revision.to_bytes())?.ok_or_else(|| missing(revision))?;
    }
    Ok(records)
}

/// A queue of revisions. Each is written as its distance from the one before: keys that are neighbours are often written
/// together.
#[derive(Default)]
struct Packed {
    pieces: VecDeque<Vec<u8>>,
    /// Where in the first piece the next one begins.
    at: usize,
    pushed: i64,
    popped: i64,
}

impl Packed {
    fn push(&mut self, revision: Revision) {
        const LONGEST: usize = 20;
        if self.pieces.back().is_none_or(|piece| piece.len() + LONGEST > PIECE_BYTES) {
            self.pieces.push_back(Vec::with_capacity(PIECE_BYTES));
        }
        let Some(piece) = self.pieces.back_mut() else { return };
        let distance = revision.main.wrapping_sub(self.pushed);
        // Small ones in either direction become short.
        encode_varint(((distance << 1) ^ (distance >> 63)) as u64, piece);
        encode_varint(revision.sub as u64, piece);
        self.pushed = revision.main;
    }

    fn pop(&mut self) -> Option<Revision> {
        let piece = self.pieces.front()?;
        let mut rest = &piece[self.at..];
        let zigzag = decode_varint(&mut rest).ok()?;
        let sub = decode_varint(&mut rest).ok()? as i64;
        let distance = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
        self.popped = self.popped.wrapping_add(distance);
        self.at = piece.len() - rest.len();
        if rest.is_empty() {
            self.pieces.pop_front();
            self.at = 0;
        }
        Some(Revision::new(self.popped, sub))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_revisions_come_out_as_they_went_in() {
        let mut packed = Packed::default();
        let mains = [5, 6, 4, 1 << 40, 7, i64::MAX, 1, 1, 300, i64::MAX - 1, 2];
        let revisions: Vec<Revision> =
            (0..200).map(|n| Revision::new(mains[n % mains.len()], (n % 3) as i64 * 1000)).collect();
        revisions.iter().for_each(|revision| packed.push(*revision));
        assert!(packed.pieces.len() > 3);
        let popped: Vec<Revision> = std::iter::from_fn(|| packed.pop()).collect();
        assert_eq!(popped, revisions);
        assert!(packed.pieces.is_empty());
    }
}
