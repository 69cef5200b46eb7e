//! The history of one key: its generations, from creation to tombstone (formats 3.10, 3.11(b)).

use crate::Revision;

/// A key as seen at some revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Where its record is stored.
    pub modified: Revision,
    /// Revision that created it.
    pub create_revision: i64,
    /// Puts since then, this one included.
    pub version: i64,
    /// Length of its record in bytes; 0: not known. It is kept of the last put of each life.
    pub record_len: u32,
}

/// The kept revisions of one life of a key. Most keys have one, so it is held without an allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Revisions {
    #[default]
    None,
    One(Revision),
    Many(Vec<Revision>),
}

/// One life of a key: created, changed, and, unless it is the newest, ended by a tombstone, its last revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Generation {
    create_revision: i64,
    /// Version after the last revision; compaction drops revisions, not this.
    version: i64,
    /// Length of the last put's record; 0: not known.
    last_len: u32,
    revisions: Revisions,
}

/// All lives of a key, oldest first, and the one that is open (empty when the key is deleted).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyIndex {
    open: Generation,
    /// Boxed because most keys were never deleted.
    #[allow(clippy::box_collection)]
    closed: Option<Box<Vec<Generation>>>,
}

impl KeyIndex {
    /// The index of a key first met at a put, which may have lost its older revisions to a compaction.
    pub fn restored(seen: Seen) -> KeyIndex {
        let Seen { modified, create_revision, version, record_len } = seen;
        let revisions = Revisions::One(modified);
        KeyIndex {
            open: Generation { create_revision, version, last_len: record_len, revisions },
            closed: None,
        }
    }

    /// The index of a key of which only a tombstone is left.
    pub fn restored_tombstone(revision: Revision) -> KeyIndex {
        let tombstone = Seen { modified: revision, create_revision: 0, version: 1, record_len: 0 };
        let mut index = KeyIndex::restored(tombstone);
        index.close();
        index
    }

    /// Records a put; false, and nothing changed, if `revision` is not newer than all before. `record_len` says how long the
    /// record of a key is that was created at that revision and now has that version.
    #[must_use]
    pub fn put(&mut self, revision: Revision, record_len: impl FnOnce(i64, i64) -> u32) -> bool {
        if !self.is_next(revision) {
            return false;
        }
        if self.open.is_empty() {
            self.open.create_revision = revision.main;
        }
        self.open.push(revision);
        self.open.last_len = record_len(self.open.create_revision, self.open.version);
        true
    }

    /// Records a delete; false, and nothing changed, if the key does not exist or `revision` is not newer.
    #[must_use]
    pub fn tombstone(&mut self, revision: Revision) -> bool {
        if self.open.is_empty() || !self.is_next(revision) {
            return false;
        }
        self.open.push(revision);
        self.close();
        true
    }

    fn is_next(&self, revision: Revision) -> bool {
        self.newest().is_none_or(|newest| newest < revision)
    }

    /// The key as it was at revision `at`; none if it did not exist then.
    pub fn get(&self, at: i64) -> Option<Seen> {
        if let Some(seen) = self.open.get(at, 0) {
            return Some(seen);
        }
        let generation = self.closed().iter().rev().find(|g| g.first_main() <= at)?;
        // A generation that ended at or before `at` says that the key did not exist then.
        if generation.last().is_none_or(|tombstone| tombstone.main <= at) {
            None
        } else {
            generation.get(at, 1)
        }
    }

    /// The newest revision, tombstones included.
    pub fn newest(&self) -> Option<Revision> {
        self.open.last().or_else(|| self.closed().last().and_then(Generation::last))
    }

    /// Whether `revision` is one of those kept.
    pub fn holds(&self, revision: Revision) -> bool {
        self.open.revisions().contains(&revision)
            || self.closed().iter().any(|g| g.revisions().contains(&revision))
    }

    /// Drops what no read at `at` or later needs; answers the revision kept for reads at `at` itself.
    /// A tombstone at exactly `at` is kept until a later compaction.
    pub fn compact(&mut self, at: i64) -> Option<Revision> {
        let (generation, place) = self.needed(at);
        let closed = self.closed.as_deref_mut();
        let chosen = match closed {
            Some(closed) => {
                closed.drain(..generation);
                closed.first_mut().unwrap_or(&mut self.open)
            }
            None => &mut self.open,
        };
        let kept = place.map(|place| {
            chosen.drop_before(place);
            chosen.revisions()[0]
        });
        if self.closed().is_empty() {
            self.closed = None;
        }
        kept
    }

    /// The revision that a hash at `at` counts as kept: as [`KeyIndex::compact`], but never a tombstone.
    pub fn keep(&self, at: i64) -> Option<Revision> {
        let (generation, place) = self.needed(at);
        let place = place?;
        let chosen = self.closed().get(generation);
        if chosen.is_some_and(|g| place + 1 == g.revisions().len()) {
            return None;
        }
        chosen.unwrap_or(&self.open).revisions().get(place).copied()
    }

    /// The one revision that is kept, if it is one and the key exists.
    pub fn only(&self) -> Option<Seen> {
        match self.open.revisions {
            Revisions::One(_) if self.closed.is_none() => self.open.get(i64::MAX, 0),
            _ => None,
        }
    }

    /// Whether nothing is left, so that the key leaves the index.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty() && self.closed().is_empty()
    }

    /// The oldest generation that lives at or after `at` (its place among closed ones; their number means the open
    /// one) and the place in it of its newest revision not above `at`.
    fn needed(&self, at: i64) -> (usize, Option<usize>) {
        let closed = self.closed();
        let begun = |generation: usize| closed.get(generation).unwrap_or(&self.open).first_main() <= at;
        let mut generation =
            closed.partition_point(|g| g.last().is_some_and(|tombstone| tombstone.main < at));
        // One txn may delete a key and put it again. etcd then drops the put's record, which its index still names.
        while generation < closed.len() && begun(generation + 1) {
            generation += 1;
        }
        (generation, closed.get(generation).unwrap_or(&self.open).place(at))
    }

    fn closed(&self) -> &[Generation] {
        self.closed.as_deref().map_or(&[], Vec::as_slice)
    }

    fn close(&mut self) {
        let closed = self.closed.get_or_insert_default();
        if closed.is_empty() {
            // Mostly it stays the only one.
            closed.reserve_exact(1);
        }
        closed.push(std::mem::take(&mut self.open));
    }
}

impl Generation {
    fn revisions(&self) -> &[Revision] {
        match &self.revisions {
            Revisions::None => &[],
            Revisions::One(revision) => std::slice::from_ref(revision),
            Revisions::Many(revisions) => revisions,
        }
    }

    fn is_empty(&self) -> bool {
        self.revisions().is_empty()
    }

    fn last(&self) -> Option<Revision> {
        self.revisions().last().copied()
    }

    fn first_main(&self) -> i64 {
        self.revisions().first().map_or(i64::MAX, |first| first.main)
    }

    fn push(&mut self, revision: Revision) {
        self.version += 1;
        match &mut self.revisions {
            Revisions::None => self.revisions = Revisions::One(revision),
            Revisions::One(first) => self.revisions = Revisions::Many(vec![*first, revision]),
            Revisions::Many(revisions) => revisions.push(revision),
        }
    }

    /// Place of the newest revision not above `at`.
    fn place(&self, at: i64) -> Option<usize> {
        let revisions = self.revisions();
        match revisions.last() {
            // Mostly the newest is wanted: no search has to wait for what lies between.
            Some(last) if last.main <= at => Some(revisions.len() - 1),
            _ => revisions.partition_point(|revision| revision.main <= at).checked_sub(1),
        }
    }

    /// As seen at revision `at`; the last revisions, so many, are no puts but tombstones.
    fn get(&self, at: i64, tombstones: i64) -> Option<Seen> {
        let place = self.place(at)?;
        let revisions = self.revisions();
        let later = (revisions.len() - 1 - place) as i64;
        let create_revision = self.create_revision;
        Some(Seen {
            modified: revisions[place],
            create_revision,
            version: self.version.saturating_sub(later),
            record_len: if later == tombstones { self.last_len } else { 0 },
        })
    }

    fn drop_before(&mut self, place: usize) {
        let rest = &self.revisions()[place..];
        match rest {
            [only] => self.revisions = Revisions::One(*only),
            _ if place > 0 => self.revisions = Revisions::Many(rest.to_vec()),
            _ => {}
        }
    }
}

/// What tests take for the length of a record.
#[cfg(test)]
pub(crate) fn len_of(create_revision: i64, version: i64) -> u32 {
    (create_revision * 1000 + version) as u32
}

/// A key as tests see it at a put.
#[cfg(test)]
pub(crate) fn seen_at(create_revision: i64, version: i64, modified: Revision) -> Seen {
    Seen { modified, create_revision, version, record_len: len_of(create_revision, version) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts at 2, 4 and 6, deleted at 8; put at 10, deleted at 12; put at 14.
    fn three_lives() -> KeyIndex {
        let mut index = KeyIndex::restored(seen_at(2, 1, Revision::new(2, 0)));
        for main in [4, 6] {
            assert!(index.put(Revision::new(main, 0), len_of));
        }
        assert!(index.tombstone(Revision::new(8, 0)));
        assert!(index.put(Revision::new(10, 0), len_of));
        assert!(index.tombstone(Revision::new(12, 0)));
        assert!(index.put(Revision::new(14, 0), len_of));
        index
    }

    fn seen(index: &KeyIndex, at: i64) -> Option<(i64, i64, i64)> {
        index.get(at).map(|seen| (seen.modified.main, seen.create_revision, seen.version))
    }

    #[test]
    fn a_key_is_seen_as_it_was_at_each_revision() {
        let index = three_lives();
        let expected = [
            (1, None),
            (2, Some((2, 2, 1))),
            (3, Some((2, 2, 1))),
            (5, Some((4, 2, 2))),
            (7, Some((6, 2, 3))),
            (8, None),
            (9, None),
            (11, Some((10, 10, 1))),
            (13, None),
            (99, Some((14, 14, 1))),
        ];
        for (at, expected) in expected {
            assert_eq!(seen(&index, at), expected, "at {at}");
        }
    }

    #[test]
    fn compaction_keeps_what_later_reads_need_and_the_tombstone_at_its_own_revision() {
        // The compaction, what it keeps for reads at it, what a hash counts as kept.
        let expected = [
            (1, None, None),
            (2, Some(2), Some(2)),
            (5, Some(4), Some(4)),
            (8, Some(8), None),
            (9, None, None),
            (12, Some(12), None),
            (13, None, None),
            (20, Some(14), Some(14)),
        ];
        for (at, kept, hashed) in expected {
            let mut index = three_lives();
            assert_eq!(index.keep(at).map(|kept| kept.main), hashed, "at {at}");
            assert_eq!(index.compact(at).map(|kept| kept.main), kept, "at {at}");
            for later in at..20 {
                assert_eq!(seen(&index, later), seen(&three_lives(), later), "at {later} after {at}");
            }
            assert!(!index.holds(Revision::new(2, 0)) || at <= 2);
        }
    }

    #[test]
    fn a_deleted_key_leaves_the_index_with_the_compaction_behind_its_tombstone() {
        let mut index = KeyIndex::restored_tombstone(Revision::new(8, 0));
        index.compact(8);
        assert!(!index.is_empty());
        index.compact(9);
        assert!(index.is_empty());
    }

    #[test]
    fn a_key_deleted_and_put_again_by_one_txn_survives_compaction_there() {
        let mut index = KeyIndex::restored(seen_at(2, 1, Revision::new(2, 0)));
        assert!(index.tombstone(Revision::new(5, 0)));
        assert!(index.put(Revision::new(5, 1), len_of));
        assert_eq!(index.keep(5), Some(Revision::new(5, 1)));
        assert_eq!(index.compact(5), Some(Revision::new(5, 1)));
        assert_eq!(seen(&index, 5), Some((5, 5, 1)));
    }

    #[test]
    fn revisions_that_do_not_rise_and_deletes_of_nothing_are_refused() {
        let mut index = three_lives();
        let before = index.clone();
        assert!(!index.put(Revision::new(14, 0), len_of));
        assert!(!index.tombstone(Revision::new(13, 0)));
        assert_eq!(index, before);
        assert!(index.tombstone(Revision::new(14, 1)));
        assert!(!index.tombstone(Revision::new(15, 0)));
        assert!(!index.put(Revision::new(14, 1), len_of));
    }
}
