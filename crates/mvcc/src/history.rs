//! A key's history as the index holds it. Most keys have a single kept revision, and that takes three words.

use std::num::NonZeroU32;

use crate::Revision;
use crate::key_index::{KeyIndex, Seen};

/// All that is kept of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum History {
    /// One kept revision of a key that exists.
    One(One),
    /// Anything else.
    More(Box<KeyIndex>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct One {
    main: i64,
    create_revision: i64,
    sub: u32,
    /// Never 0, so that the enum around needs no room for a tag.
    version: NonZeroU32,
}

impl One {
    /// None if a number is too large for its place.
    fn new(seen: Seen) -> Option<One> {
        let Revision { main, sub } = seen.modified;
        let (sub, version) = (u32::try_from(sub).ok()?, u32::try_from(seen.version).ok()?);
        Some(One { main, create_revision: seen.create_revision, sub, version: NonZeroU32::new(version)? })
    }

    fn seen(self) -> Seen {
        Seen {
            modified: Revision::new(self.main, i64::from(self.sub)),
            create_revision: self.create_revision,
            version: i64::from(self.version.get()),
        }
    }
}

impl History {
    /// Of a key first met at a put, which may have lost its older revisions to a compaction.
    pub fn restored(create_revision: i64, version: i64, revision: Revision) -> History {
        match One::new(Seen { modified: revision, create_revision, version }) {
            Some(one) => History::One(one),
            None => History::More(Box::new(KeyIndex::restored(create_revision, version, revision))),
        }
    }

    /// Of a key of which only a tombstone is left.
    pub fn restored_tombstone(revision: Revision) -> History {
        History::More(Box::new(KeyIndex::restored_tombstone(revision)))
    }

    /// Records a put; false, and nothing changed, if `revision` is not newer than all before.
    #[must_use]
    pub fn put(&mut self, revision: Revision) -> bool {
        self.change(|whole| whole.put(revision))
    }

    /// Records a delete; false, and nothing changed, if the key does not exist or `revision` is not newer.
    #[must_use]
    pub fn tombstone(&mut self, revision: Revision) -> bool {
        self.change(|whole| whole.tombstone(revision))
    }

    fn change(&mut self, change: impl FnOnce(&mut KeyIndex) -> bool) -> bool {
        let one = match self {
            History::More(whole) => return change(whole),
            History::One(one) => one.seen(),
        };
        let mut whole = Box::new(KeyIndex::restored(one.create_revision, one.version, one.modified));
        let changed = change(&mut whole);
        if changed {
            *self = History::More(whole);
        }
        changed
    }

    /// The key as it was at revision `at`; none if it did not exist then.
    pub fn get(&self, at: i64) -> Option<Seen> {
        match self {
            History::One(one) => (one.main <= at).then(|| one.seen()),
            History::More(whole) => whole.get(at),
        }
    }

    /// The newest revision, tombstones included.
    pub fn newest(&self) -> Option<Revision> {
        match self {
            History::One(one) => Some(one.seen().modified),
            History::More(whole) => whole.newest(),
        }
    }

    /// Whether `revision` is one of those kept.
    pub fn holds(&self, revision: Revision) -> bool {
        match self {
            History::One(one) => one.seen().modified == revision,
            History::More(whole) => whole.holds(revision),
        }
    }

    /// As [`KeyIndex::compact`].
    pub fn compact(&mut self, at: i64) -> Option<Revision> {
        match self {
            History::One(_) => self.keep(at),
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
            History::One(one) => (one.main <= at).then(|| one.seen().modified),
            History::More(whole) => whole.keep(at),
        }
    }

    /// Whether nothing is left, so that the key leaves the index.
    pub fn is_empty(&self) -> bool {
        matches!(self, History::More(whole) if whole.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_revision_takes_three_words() {
        assert_eq!(size_of::<History>(), 24);
    }

    #[test]
    fn a_packed_history_behaves_as_the_whole_one() {
        let long = i64::from(u32::MAX) + 1;
        for (version, sub) in [(1, 0), (7, 3), (i64::from(u32::MAX), 0), (long, 0), (1, long), (0, 0)] {
            let first = Revision::new(5, sub);
            let mut packed = History::restored(2, version, first);
            let mut whole = KeyIndex::restored(2, version, first);
            for step in 0..7 {
                for at in 0..30 {
                    assert_eq!(packed.get(at), whole.get(at), "version {version}, sub {sub}, step {step}");
                    assert_eq!(packed.keep(at), whole.keep(at));
                }
                assert_eq!((packed.newest(), packed.is_empty()), (whole.newest(), whole.is_empty()));
                assert_eq!(packed.holds(first), whole.holds(first));
                let revision = Revision::new(10 + step, 0);
                match step {
                    0 => assert_eq!(packed.compact(4), whole.compact(4)),
                    1 => assert_eq!(packed.put(first), whole.put(first)),
                    2 | 3 => assert_eq!(packed.put(revision), whole.put(revision)),
                    4 => {
                        assert_eq!(packed.compact(20), whole.compact(20));
                        assert_eq!(matches!(packed, History::One(_)), version < long - 2);
                    }
                    5 => assert_eq!(packed.tombstone(revision), whole.tombstone(revision)),
                    _ => assert_eq!(packed.compact(25), whole.compact(25)),
                }
            }
            assert!(packed.is_empty());
        }
    }
}
