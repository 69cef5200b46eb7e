//! A key's history as the index holds it. Most keys have a single kept revision, and that takes three words.

use crate::Revision;
use crate::key_index::{KeyIndex, Seen};

/// All that is kept of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum History {
    /// One kept revision of a key that exists.
    One(One),
    /// Anything else of a key that exists.
    More(Box<KeyIndex>),
    /// What is kept of a key that was then deleted. A million keys may go at once: what was kept is not even looked at.
    Gone(Box<Gone>),
    /// Anything else of a key that is deleted.
    Dead(Box<KeyIndex>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct One {
    main: U48,
    create_revision: U48,
    version: u32,
    record_len: u32,
    /// Little end first.
    sub: [u8; 3],
    spare: Spare,
}

/// Little end first.
type U48 = [u8; 6];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gone {
    /// Of a key that exists.
    before: History,
    tombstone: Revision,
}

/// A byte of which one value is used: the others are room for the tag of the enum around.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Spare {
    Zero = 0,
}

impl One {
    /// Holds a place.
    const NOTHING: One = One {
        main: [0; 6],
        create_revision: [0; 6],
        version: 0,
        record_len: 0,
        sub: [0; 3],
        spare: Spare::Zero,
    };

    /// None if a number is too large for its place.
    fn new(seen: Seen) -> Option<One> {
        let Seen { modified: Revision { main, sub }, create_revision, version, record_len } = seen;
        let [a, b, c, 0] = u32::try_from(sub).ok()?.to_le_bytes() else { return None };
        let (main, create_revision) = (pack(main)?, pack(create_revision)?);
        let version = u32::try_from(version).ok()?;
        Some(One { main, create_revision, version, record_len, sub: [a, b, c], spare: Spare::Zero })
    }

    fn seen(self) -> Seen {
        Seen {
            modified: self.modified(),
            create_revision: unpack(self.create_revision),
            version: self.version.into(),
            record_len: self.record_len,
        }
    }

    fn main(self) -> i64 {
        unpack(self.main)
    }

    fn modified(self) -> Revision {
        let [a, b, c] = self.sub;
        Revision::new(self.main(), u32::from_le_bytes([a, b, c, 0]).into())
    }
}

fn pack(number: i64) -> Option<U48> {
    let [a, b, c, d, e, f, 0, 0] = number.to_le_bytes() else { return None };
    Some([a, b, c, d, e, f])
}

fn unpack([a, b, c, d, e, f]: U48) -> i64 {
    i64::from_le_bytes([a, b, c, d, e, f, 0, 0])
}

impl History {
    /// Of a key first met at a put, which may have lost its older revisions to a compaction.
    pub fn restored(seen: Seen) -> History {
        match One::new(seen) {
            Some(one) => History::One(one),
            None => History::More(Box::new(KeyIndex::restored(seen))),
        }
    }

    /// Of a key of which only a tombstone is left.
    pub fn restored_tombstone(revision: Revision) -> History {
        History::Dead(Box::new(KeyIndex::restored_tombstone(revision)))
    }

    /// Whether the key exists now.
    pub fn exists(&self) -> bool {
        matches!(self, History::One(_) | History::More(_))
    }

    /// As [`KeyIndex::put`].
    #[must_use]
    pub fn put(&mut self, revision: Revision, record_len: impl FnOnce(i64, i64) -> u32) -> bool {
        if self.newest() >= Some(revision) {
            return false;
        }
        if let History::More(whole) = self {
            return whole.put(revision, record_len);
        }
        let mut whole = self.take().into_whole();
        let changed = whole.put(revision, record_len);
        *self = History::More(whole);
        changed
    }

    /// Records a delete; false, and nothing changed, if the key does not exist or `revision` is not newer.
    #[must_use]
    pub fn tombstone(&mut self, revision: Revision) -> bool {
        let deletes = self.exists() && self.newest() < Some(revision);
        if deletes {
            self.end(revision);
        }
        deletes
    }

    /// Records a delete of a key that exists at a revision that is newer than all before.
    pub fn end(&mut self, tombstone: Revision) {
        let before = self.take();
        *self = History::Gone(Box::new(Gone { before, tombstone }));
    }

    /// To put another one in its place.
    fn take(&mut self) -> History {
        std::mem::replace(self, History::One(One::NOTHING))
    }

    /// In the form that can hold anything.
    fn into_whole(self) -> Box<KeyIndex> {
        match self {
            History::More(whole) | History::Dead(whole) => whole,
            History::One(one) => Box::new(KeyIndex::restored(one.seen())),
            History::Gone(gone) => {
                let mut whole = gone.before.into_whole();
                // It was newer then.
                let _changed = whole.tombstone(gone.tombstone);
                whole
            }
        }
    }

    /// The key as it was at revision `at`; none if it did not exist then.
    pub fn get(&self, at: i64) -> Option<Seen> {
        match self {
            History::One(one) => (one.main() <= at).then(|| one.seen()),
            History::Gone(gone) => gone.before.get(at).filter(|_| at < gone.tombstone.main),
            History::More(whole) | History::Dead(whole) => whole.get(at),
        }
    }

    /// The newest revision, tombstones included.
    pub fn newest(&self) -> Option<Revision> {
        match self {
            History::One(one) => Some(one.modified()),
            History::Gone(gone) => Some(gone.tombstone),
            History::More(whole) | History::Dead(whole) => whole.newest(),
        }
    }

    /// Whether `revision` is one of those kept.
    pub fn holds(&self, revision: Revision) -> bool {
        match self {
            History::One(one) => one.modified() == revision,
            History::Gone(gone) => gone.tombstone == revision || gone.before.holds(revision),
            History::More(whole) | History::Dead(whole) => whole.holds(revision),
        }
    }

    /// As [`KeyIndex::compact`].
    pub fn compact(&mut self, at: i64) -> Option<Revision> {
        match self {
            History::One(_) => self.keep(at),
            History::Gone(gone) if at < gone.tombstone.main => gone.before.compact(at),
            History::Gone(gone) if at > gone.tombstone.main => {
                *self = History::Dead(Box::default());
                None
            }
            History::Gone(gone) => {
                let tombstone = gone.tombstone;
                *self = History::restored_tombstone(tombstone);
                Some(tombstone)
            }
            History::Dead(whole) => whole.compact(at),
            History::More(whole) => {
                let kept = whole.compact(at);
                if let Some(one) = whole.only().and_then(One::new) {
                    *self = History::One(one);
                }
                kept
            }
        }
    }

    /// As [`KeyIndex::keep`].
    pub fn keep(&self, at: i64) -> Option<Revision> {
        match self {
            History::One(one) => (one.main() <= at).then(|| one.modified()),
            History::Gone(gone) => gone.before.keep(at).filter(|_| at < gone.tombstone.main),
            History::More(whole) | History::Dead(whole) => whole.keep(at),
        }
    }

    /// Whether nothing is left, so that the key leaves the index.
    pub fn is_empty(&self) -> bool {
        matches!(self, History::Dead(whole) if whole.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_index::{len_of, seen_at};

    #[test]
    fn a_single_revision_takes_three_words() {
        assert_eq!(size_of::<History>(), 24);
    }

    #[test]
    fn revisions_of_48_bits_are_packed_and_longer_ones_are_kept_whole() {
        let numbers =
            [0, 1, 255, (1 << 32) + 1, 1 << 40, (3 << 40) + 5, (1 << 48) - 1, 1 << 48, i64::MAX, -1];
        for (main, create_revision) in numbers.iter().flat_map(|a| numbers.map(|b| (*a, b))) {
            let modified = Revision::new(main, 0);
            let seen = Seen { modified, create_revision, version: 3, record_len: u32::MAX - 1 };
            let history = History::restored(seen);
            assert_eq!(history.get(i64::MAX), Some(seen));
            let fits = |number: i64| (0..1 << 48).contains(&number);
            assert_eq!(matches!(history, History::One(_)), fits(main) && fits(create_revision));
        }
    }

    #[test]
    fn a_packed_history_behaves_as_the_whole_one() {
        let (long, longest_sub) = (i64::from(u32::MAX) + 1, (1 << 24) - 1);
        let firsts = [
            (1, 0),
            (7, 3),
            (i64::from(u32::MAX), 0),
            (long, 0),
            (1, longest_sub),
            (1, longest_sub + 1),
            (0, 0),
        ];
        for ((version, sub), end) in firsts.into_iter().flat_map(|first| (0..4).map(move |end| (first, end)))
        {
            let first = Revision::new(5, sub);
            let mut packed = History::restored(seen_at(2, version, first));
            let mut whole = KeyIndex::restored(seen_at(2, version, first));
            for step in 0..10 {
                for at in 0..30 {
                    assert_eq!(packed.get(at), whole.get(at), "version {version}, sub {sub}, step {step}");
                    assert_eq!(packed.keep(at), whole.keep(at), "{packed:?} at {at}");
                }
                assert_eq!((packed.newest(), packed.is_empty()), (whole.newest(), whole.is_empty()));
                assert_eq!(packed.exists(), whole.get(i64::MAX).is_some());
                let revision = Revision::new(10 + step, 0);
                for known in [first, Revision::new(12, 0), Revision::new(15, 0), Revision::new(18, 0)] {
                    assert_eq!(packed.holds(known), whole.holds(known));
                }
                match step {
                    0 => assert_eq!(packed.compact(4), whole.compact(4)),
                    1 => assert_eq!(packed.put(first, len_of), whole.put(first, len_of)),
                    2 | 3 => assert_eq!(packed.put(revision, len_of), whole.put(revision, len_of)),
                    4 => {
                        assert_eq!(packed.compact(20), whole.compact(20));
                        let packs = version < long - 2;
                        assert_eq!(matches!(packed, History::One(_)), packs);
                        let older = Revision::new(13, 0);
                        assert_eq!(packed.tombstone(older), whole.tombstone(older));
                    }
                    5 => assert_eq!(packed.tombstone(revision), whole.tombstone(revision)),
                    6 => assert_eq!(packed.tombstone(revision), whole.tombstone(revision), "it is deleted"),
                    // Compacted before it was deleted, as it was, or later; or else written once more.
                    7 if end < 3 => assert_eq!(packed.compact(14 + end), whole.compact(14 + end)),
                    7 => {
                        for sub in 0..6 {
                            let revision = Revision::new(revision.main, sub);
                            assert_eq!(packed.put(revision, len_of), whole.put(revision, len_of));
                            assert_eq!(packed.tombstone(first), whole.tombstone(first));
                            let next = Revision::new(revision.main, sub + 1);
                            assert_eq!(packed.tombstone(next), whole.tombstone(next));
                        }
                    }
                    8 => assert_eq!(packed.put(revision, len_of), whole.put(revision, len_of)),
                    _ => assert_eq!(packed.compact(25), whole.compact(25)),
                }
            }
            assert_eq!(packed.is_empty(), whole.is_empty());
        }
    }
}
