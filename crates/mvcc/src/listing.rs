//! A long answer whose records are read when they are wanted. Until then each takes a few bytes.
//!
//! What the length of the answer is has to be known before its first record is sent: a first pass takes it from the index,
//! together with the revisions of the records. Where they stand in the file is looked up for many at a time, in the order
//! of revisions, in which they lie there: much cheaper than in the order of keys.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use backend::{Bucket, Place, ReadTx, Stored, Turn};
use bytes::Bytes;
use prost::encoding::{decode_varint, encode_varint, encoded_len_varint};

use crate::key_index::Seen;
use crate::revision::REVISION_LEN;
use crate::select::{self, Sink};
use crate::{Error, KvReader, RangeQuery, Revision, View};

/// Records looked up together. The file may have to be read for each: others of a front loop wait meanwhile.
const BATCH: usize = 256;
/// What looking them up counts for a [`Turn`].
const PIECES_PER_BATCH: usize = 32;
/// Records that are fetched from memory while others are copied.
const AHEAD: usize = 8;
/// Revisions are packed into pieces of this length, which go as they are used up.
const PIECE_BYTES: usize = if cfg!(test) { 64 } else { 64 * 1024 };

/// The answer to a [`RangeQuery`]: an iterator over its records, encoded `mvccpb.KeyValue`s as stored, in key order. What
/// it will yield is fixed: neither writes nor compactions change it.
pub struct Listing {
    tx: ReadTx,
    revisions: Packed,
    /// The next of them.
    found: std::vec::IntoIter<Found>,
    turn: Turn,
    len: usize,
    encoded_len: usize,
    count: i64,
    more: bool,
    revision: i64,
}

/// A record that was looked up.
enum Found {
    InFile(Place),
    Pending(Bytes),
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
    /// [`Error::FutureRevision`], [`Error::Compacted`]. That a record is missing mostly shows when its turn comes.
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
            revisions: Packed::default(),
            found: Vec::new().into_iter(),
            turn: Turn::default(),
            len: 0,
            encoded_len: 0,
            count: 0,
            more: false,
            revision: view.current_revision(),
        };
        let limit = usize::try_from(query.limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        let mut first_pass = FirstPass { view, listing, limit, unknown: Vec::new() };
        let count = select::walk(&view.shared.index, query, view.revision(), &mut first_pass)?;
        first_pass.measure()?;
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

    /// Length of those that are still to come, in bytes, as elements of a field whose tag takes one byte.
    pub fn encoded_len(&self) -> usize {
        self.encoded_len
    }

    /// The next record, where it stands. Nothing comes after an error.
    ///
    /// # Errors
    /// [`Error::Damaged`] when it is missing, or when with it the records are longer, or at the end shorter, than
    /// [`Listing::encoded_len`] said; [`Error::Backend`].
    pub fn next_stored(&mut self) -> Option<Result<Stored<'_>, Error>> {
        self.len = self.len.checked_sub(1)?;
        if self.found.len() == 0
            && let Err(error) = self.look_up()
        {
            self.len = 0;
            return Some(Err(error));
        }
        let record = match self.found.next() {
            None => None,
            Some(Found::Pending(record)) => Some(Stored::Pending(record)),
            Some(Found::InFile(place)) => self.tx.at(place),
        };
        self.prefetch(AHEAD - 1);
        let left = record.as_ref().and_then(|record| self.encoded_len.checked_sub(encoded_len(record.len())));
        match (record, left) {
            (Some(record), Some(left)) if self.len > 0 || left == 0 => {
                self.encoded_len = left;
                Some(Ok(record))
            }
            _ => {
                self.len = 0;
                Some(Err(Error::Damaged("the records of a list are not as long as the index says".into())))
            }
        }
    }

    /// Looks up the next records.
    fn look_up(&mut self) -> Result<(), Error> {
        let revisions: Vec<_> = std::iter::from_fn(|| self.revisions.pop()).take(BATCH).collect();
        self.turn.pass(PIECES_PER_BATCH);
        let mut found: Vec<_> = revisions.iter().map(|_| Found::Pending(Bytes::new())).collect();
        find(&self.tx, &revisions, Error::missing, |nth, record| {
            found[nth] = match record {
                Stored::Pending(record) => Found::Pending(record),
                Stored::Committed(record) => Found::InFile(record.place()),
            };
        })?;
        self.found = found.into_iter();
        (0..AHEAD).for_each(|nth| self.prefetch(nth));
        Ok(())
    }

    /// The record `nth` behind the next one will be wanted soon.
    fn prefetch(&self, nth: usize) {
        if let Some(Found::InFile(place)) = self.found.as_slice().get(nth) {
            self.tx.prefetch(*place);
        }
    }
}

impl Iterator for Listing {
    type Item = Result<Bytes, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_stored().map(|stored| stored.map(Bytes::from))
    }
}

/// Finds out what is in the answer, and how long it is.
struct FirstPass<'a> {
    view: &'a View,
    listing: Listing,
    limit: usize,
    /// Records whose length the index does not know.
    unknown: Vec<Revision>,
}

impl FirstPass<'_> {
    fn measure(&mut self) -> Result<(), Error> {
        let FirstPass { view, listing, unknown, .. } = self;
        let missing = |revision| view.missing(revision);
        find(&view.tx, unknown, missing, |_, record| listing.encoded_len += encoded_len(record.len()))?;
        unknown.clear();
        Ok(())
    }
}

impl Sink for FirstPass<'_> {
    fn found(&mut self, _: &[u8], seen: Seen) -> ControlFlow<()> {
        let listing = &mut self.listing;
        if listing.len == self.limit {
            listing.more = true;
            return ControlFlow::Break(());
        }
        listing.len += 1;
        listing.revisions.push(seen.modified);
        match seen.record_len {
            0 => self.unknown.push(seen.modified),
            len => listing.encoded_len += encoded_len(len as usize),
        }
        ControlFlow::Continue(())
    }

    fn unlocked(&mut self) -> Result<(), Error> {
        if self.unknown.len() >= BATCH { self.measure() } else { Ok(()) }
    }
}

/// What a record of so many bytes takes in the answer.
fn encoded_len(len: usize) -> usize {
    1 + encoded_len_varint(len as u64) + len
}

/// The records at some revisions.
pub(crate) fn look_up(
    tx: &ReadTx,
    revisions: &[Revision],
    missing: impl Fn(Revision) -> Error,
) -> Result<Vec<Bytes>, Error> {
    let mut records = vec![Bytes::new(); revisions.len()];
    find(tx, revisions, missing, |nth, record| records[nth] = record.into())?;
    Ok(records)
}

/// Shows them, left where they stand, each once with its number, in the order in which they lie in the file.
fn find<'a>(
    tx: &'a ReadTx,
    revisions: &[Revision],
    missing: impl Fn(Revision) -> Error,
    mut each: impl FnMut(usize, Stored<'a>),
) -> Result<(), Error> {
    let mut rising: Vec<(Revision, usize)> = revisions.iter().copied().zip(0..).collect();
    // Neighbours were often written one after the other, and a stable sort makes use of that.
    rising.sort_by_key(|(revision, _)| *revision);
    let keys: Vec<[u8; REVISION_LEN]> = rising.iter().map(|(revision, _)| revision.to_bytes()).collect();
    let mut gone = None;
    tx.lookup(Bucket::Key).find_all(&keys, |place, record| match (record, rising[place]) {
        (Some(record), (_, nth)) => each(nth, record),
        (None, (revision, _)) => gone = Some(revision),
    })?;
    gone.map_or(Ok(()), |revision| Err(missing(revision)))
}

/// A queue of revisions. Each is written as its distance from the one before: keys that are neighbours are often written
/// together.
#[derive(Default)]
struct Packed {
    pieces: VecDeque<Vec<u8>>,
    /// Where in the first piece the next one begins.
    at: usize,
    pushed: Revision,
    popped: Revision,
}

impl Packed {
    fn push(&mut self, revision: Revision) {
        const LONGEST: usize = 20;
        if self.pieces.back().is_none_or(|piece| piece.len() + LONGEST > PIECE_BYTES) {
            // Most lists are short.
            let capacity = if self.pieces.is_empty() { 0 } else { PIECE_BYTES };
            self.pieces.push_back(Vec::with_capacity(capacity));
        }
        let Some(piece) = self.pieces.back_mut() else { return };
        let before = std::mem::replace(&mut self.pushed, revision);
        for distance in [revision.main.wrapping_sub(before.main), revision.sub.wrapping_sub(before.sub)] {
            // Small ones in either direction become short.
            encode_varint(((distance << 1) ^ (distance >> 63)) as u64, piece);
        }
    }

    /// The next one, if there is one.
    fn pop(&mut self) -> Option<Revision> {
        let piece = self.pieces.front()?;
        let mut rest = &piece[self.at..];
        let mut behind = |number: i64| {
            let zigzag = decode_varint(&mut rest).ok()?;
            Some(number.wrapping_add(((zigzag >> 1) ^ (zigzag & 1).wrapping_neg()) as i64))
        };
        self.popped = Revision::new(behind(self.popped.main)?, behind(self.popped.sub)?);
        self.at = piece.len() - rest.len();
        if rest.is_empty() {
            self.pieces.pop_front();
            self.at = 0;
        }
        Some(self.popped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_revisions_come_out_as_they_went_in() {
        let mut packed = Packed::default();
        let numbers = [5, 6, 4, 1 << 40, 7, i64::MAX - 1, 1, 1, 300, i64::MAX, 0];
        let revisions: Vec<_> = (0..200).map(|n| Revision::new(numbers[n % 11], numbers[n % 7])).collect();
        revisions.iter().for_each(|revision| packed.push(*revision));
        assert!(packed.pieces.len() > 3);
        let popped: Vec<_> = std::iter::from_fn(|| packed.pop()).collect();
        assert_eq!(popped, revisions);
        assert!(packed.pieces.is_empty());
    }
}
