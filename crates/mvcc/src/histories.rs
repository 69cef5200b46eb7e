//! The histories of a block's keys. All keys of a block may be deleted at once without touching any of them.

use crate::Revision;
use crate::history::History;
use crate::key_index::Seen;

/// Histories by a key's place in its block.
#[derive(Debug, Default)]
pub(crate) struct Histories {
    list: Vec<History>,
    /// Those in `list` that exist have since been deleted, in order, the first at this revision and each at the next
    /// sub-revision. The list learns of it when it is to change.
    ended: Option<Revision>,
}

impl From<Vec<History>> for Histories {
    fn from(list: Vec<History>) -> Histories {
        Histories { list, ended: None }
    }
}

impl Histories {
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether the key exists now.
    pub fn exists(&self, place: usize) -> bool {
        self.ended.is_none() && self.list[place].exists()
    }

    /// The key as it was at revision `at`; none if it did not exist then.
    pub fn get(&self, place: usize, at: i64) -> Option<Seen> {
        if self.ended.is_some_and(|ended| ended.main <= at) { None } else { self.list[place].get(at) }
    }

    /// As [`History::keep`].
    pub fn keep(&self, place: usize, at: i64) -> Option<Revision> {
        let history = &self.list[place];
        let deleted = self.ended.is_some_and(|ended| ended.main <= at) && history.exists();
        if deleted { None } else { history.keep(at) }
    }

    /// As [`History::holds`].
    pub fn holds(&self, place: usize, revision: Revision) -> bool {
        self.list[place].holds(revision) || self.tombstone(place) == Some(revision)
    }

    /// The main part of the newest revision of all; 0 without one.
    pub fn newest(&self) -> i64 {
        let newest = self.list.iter().filter_map(History::newest).chain(self.ended).max();
        newest.map_or(0, |newest| newest.main)
    }

    /// Of a key that the list does not know to be deleted.
    fn tombstone(&self, place: usize) -> Option<Revision> {
        let first = self.ended.filter(|_| self.list[place].exists())?;
        let before = self.list[..place].iter().filter(|history| history.exists()).count();
        Some(Revision::new(first.main, first.sub + before as i64))
    }

    /// Deletes all keys that exist, at least one, the first at this revision, which is newer than all before, and each at
    /// the next sub-revision.
    pub fn end_all(&mut self, first: Revision) {
        self.ended = Some(first);
    }

    /// Compacts those from `first` on; `kept` sees what stays for reads at `at`. What is left may be empty.
    pub fn compact(&mut self, first: usize, at: i64, kept: impl FnMut(Revision)) -> &mut Vec<History> {
        // A compaction below the delete leaves every key that it found.
        if self.ended.is_some_and(|ended| ended.main <= at) {
            self.settled();
        }
        self.list[first..].iter_mut().filter_map(|history| history.compact(at)).for_each(kept);
        &mut self.list
    }

    /// The list, to change it.
    pub fn settled(&mut self) -> &mut Vec<History> {
        if let Some(mut tombstone) = self.ended.take() {
            for history in self.list.iter_mut().filter(|history| history.exists()) {
                history.end(tombstone);
                tombstone.sub += 1;
            }
        }
        &mut self.list
    }
}
