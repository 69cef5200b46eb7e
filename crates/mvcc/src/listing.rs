//! A long answer whose records are read when they are wanted. Until then each takes a few bytes.
//!
//! What the length of the answer is has to be known before its first record is sent: so a first pass finds all records
//! and remembers where they stand in the file, without looking at them; they are read from there when their turn comes.
//! It finds them in the order of revisions, in which they lie in the file: much cheaper than in the order of keys.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use backend::{Bucket, Lookup, Place, ReadTx, Stored};
use bytes::Bytes;
use prost::encoding::{decode_varint, encode_varint, encoded_len_varint};

use crate::key_index::Seen;
use crate::revision::REVISION_LEN;
use crate::select::{self, Sink};
use crate::{Error, KvReader, RangeQuery, Revision, View};

/// Records found together.
const BATCH: usize = if cfg!(test) { 8 } else { 1024 };
/// Records that are fetched from memory while others are copied.
const AHEAD: usize = 8;
/// Places are packed into pieces of this length, which go as they are used up.
const PIECE_BYTES: usize = if cfg!(test) { 64 } else { 64 * 1024 };

/// The answer to a [`RangeQuery`]: an iterator over its records, encoded `mvccpb.KeyValue`s as stored, in key order. What
/// it will yield is fixed: neither writes nor compactions change it.
pub struct Listing {
    tx: ReadTx,
    packed: Packed,
    /// The next of them, which the processor is fetching.
    ahead: VecDeque<Option<Place>>,
    /// Records that are not in the file yet.
    pending: VecDeque<Bytes>,
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
            packed: Packed::default(),
            ahead: VecDeque::new(),
            pending: VecDeque::new(),
            len: 0,
            encoded_len: 0,
            count: 0,
            more: false,
            revision: view.current_revision(),
        };
        let limit = usize::try_from(query.limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        let lookup = view.tx.lookup(Bucket::Key);
        let mut first_pass = FirstPass { view, listing, limit, lookup, batch: Vec::new() };
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

    /// The next record, where it stands. Nothing comes after an error.
    pub fn next_stored(&mut self) -> Option<Result<Stored<'_>, Error>> {
        self.len = self.len.checked_sub(1)?;
        while self.ahead.len() < AHEAD
            && let Some(place) = self.packed.pop()
        {
            if let Some(place) = place {
                self.tx.prefetch(place);
            }
            self.ahead.push_back(place);
        }
        let record = match self.ahead.pop_front() {
            None => None,
            Some(None) => self.pending.pop_front().map(Stored::Pending),
            Some(Some(place)) => self.tx.at(place),
        };
        if record.is_none() {
            self.len = 0;
        }
        Some(record.ok_or_else(|| Error::Damaged("a record of a list is gone".into())))
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
    lookup: Lookup<'a>,
    batch: Vec<Revision>,
}

impl FirstPass<'_> {
    fn look_up(&mut self) -> Result<(), Error> {
        let Listing { packed, pending, len, encoded_len, .. } = &mut self.listing;
        let mut found: Vec<_> = self.batch.iter().map(|_| None).collect();
        let (keys, places) = in_order(&self.batch);
        for (stored, place) in self.lookup.find_all(&keys)?.into_iter().zip(places) {
            found[place] = Some(stored.ok_or_else(|| self.view.missing(self.batch[place]))?);
        }
        for stored in found.into_iter().flatten() {
            *len += 1;
            *encoded_len += 1 + encoded_len_varint(stored.len() as u64) + stored.len();
            packed.push(stored.place());
            if let Stored::Pending(record) = stored {
                pending.push_back(record);
            }
        }
        self.batch.clear();
        Ok(())
    }
}

/// Revisions as they are stored, in rising order, and where each came from.
fn in_order(revisions: &[Revision]) -> (Vec<[u8; REVISION_LEN]>, Vec<usize>) {
    let mut places: Vec<usize> = (0..revisions.len()).collect();
    places.sort_unstable_by_key(|place| revisions[*place]);
    (places.iter().map(|place| revisions[*place].to_bytes()).collect(), places)
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
    let mut records = vec![Bytes::new(); revisions.len()];
    let (keys, places) = in_order(revisions);
    for (stored, place) in tx.lookup(Bucket::Key).find_all(&keys)?.into_iter().zip(places) {
        records[place] = stored.ok_or_else(|| missing(revisions[place]))?.into();
    }
    Ok(records)
}

/// A queue of places in the file, or nothing where a record has none. Each is written as its distance from the end of the
/// one before: keys that are neighbours are often written together.
#[derive(Default)]
struct Packed {
    pieces: VecDeque<Vec<u8>>,
    /// Where in the first piece the next one begins.
    at: usize,
    pushed: u64,
    popped: u64,
}

impl Packed {
    fn push(&mut self, place: Option<Place>) {
        const LONGEST: usize = 20;
        if self.pieces.back().is_none_or(|piece| piece.len() + LONGEST > PIECE_BYTES) {
            // Most lists are short.
            let capacity = if self.pieces.is_empty() { 0 } else { PIECE_BYTES };
            self.pieces.push_back(Vec::with_capacity(capacity));
        }
        let Some(piece) = self.pieces.back_mut() else { return };
        let Some(Place { offset, len }) = place else { return piece.push(0) };
        encode_varint(len as u64 + 1, piece);
        let distance = offset.wrapping_sub(self.pushed) as i64;
        // Small ones in either direction become short.
        encode_varint(((distance << 1) ^ (distance >> 63)) as u64, piece);
        self.pushed = offset.wrapping_add(len as u64);
    }

    /// The next one, if there is one.
    fn pop(&mut self) -> Option<Option<Place>> {
        let piece = self.pieces.front()?;
        let mut rest = &piece[self.at..];
        let place = match decode_varint(&mut rest).ok()?.checked_sub(1) {
            None => None,
            Some(len) => {
                let zigzag = decode_varint(&mut rest).ok()?;
                let distance = (zigzag >> 1) ^ (zigzag & 1).wrapping_neg();
                let offset = self.popped.wrapping_add(distance);
                self.popped = offset.wrapping_add(len);
                Some(Place { offset, len: usize::try_from(len).ok()? })
            }
        };
        self.at = piece.len() - rest.len();
        if rest.is_empty() {
            self.pieces.pop_front();
            self.at = 0;
        }
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_places_come_out_as_they_went_in() {
        let mut packed = Packed::default();
        let offsets = [5, 6, 4, 1 << 40, 7, u64::MAX - 1, 1, 1, 300, u64::MAX >> 1, 0];
        let place = |n: usize| Place { offset: offsets[n % offsets.len()], len: n % 3 * 1000 };
        let places: Vec<_> = (0..200).map(|n| (n % 7 > 0).then(|| place(n))).collect();
        places.iter().for_each(|place| packed.push(*place));
        assert!(packed.pieces.len() > 3);
        let popped: Vec<_> = std::iter::from_fn(|| packed.pop()).collect();
        assert_eq!(popped, places);
        assert!(packed.pieces.is_empty());
    }
}
