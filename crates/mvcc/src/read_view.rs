//! Readers: any thread, no lock held longer than a few lookups, never waiting for the writer.

use std::sync::Arc;

use backend::{Bucket, ReadTx};
use bytes::Bytes;

use crate::kv::Shared;
use crate::{Error, Event, RangeQuery, RangeResult, Revision, listing, select};

/// Reads the store while it is being written.
#[derive(Clone)]
pub struct KvReader {
    pub(crate) shared: Arc<Shared>,
    pub(crate) backend: backend::Reader,
}

/// The store at one revision, pinned: later writes do not show, and records stay readable until a compaction above the
/// revision is accepted.
#[derive(Clone)]
pub struct View {
    pub(crate) shared: Arc<Shared>,
    pub(crate) tx: ReadTx,
    revision: i64,
    current: i64,
}

impl KvReader {
    pub(crate) fn new(shared: Arc<Shared>, backend: backend::Reader) -> KvReader {
        KvReader { shared, backend }
    }

    /// The newest revision that reads can see.
    pub fn current_revision(&self) -> i64 {
        self.shared.current()
    }

    /// The newest accepted compaction; -1 if there was none.
    pub fn compact_revision(&self) -> i64 {
        self.shared.compacted()
    }

    /// Pins the store at `revision`; 0 or less: at the current one.
    ///
    /// # Errors
    /// [`Error::FutureRevision`], [`Error::Compacted`].
    pub fn view(&self, revision: i64) -> Result<View, Error> {
        loop {
            let current = self.shared.current();
            let tx = self.backend.read();
            let at = if revision <= 0 { current } else { revision };
            let view = View { shared: self.shared.clone(), tx, revision: at, current };
            if at > current {
                return Err(Error::FutureRevision);
            }
            match view.check() {
                // Who asked for the current revision must not hear that it was overtaken by a compaction.
                Err(_) if revision <= 0 => {}
                checked => return checked.map(|()| view),
            }
        }
    }

    /// Reads a range at the query's revision.
    ///
    /// # Errors
    /// [`Error::FutureRevision`], [`Error::Compacted`]; [`Error::Damaged`] when a record is missing or malformed.
    pub fn range(&self, query: &RangeQuery) -> Result<RangeResult, Error> {
        loop {
            match self.view(query.revision).and_then(|view| view.range(query)) {
                // Overtaken while reading, as in `view`.
                Err(Error::Compacted) if query.revision <= 0 => {}
                answer => return answer,
            }
        }
    }
}

impl View {
    /// The revision this view reads at.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The current revision when the view was made.
    pub fn current_revision(&self) -> i64 {
        self.current
    }

    /// Reads a range at this view's revision, whatever revision the query names. To read on behind a limit, ask again
    /// from [`crate::key_after`] the last key.
    ///
    /// # Errors
    /// [`Error::Compacted`] when a compaction has overtaken the view; [`Error::Damaged`].
    pub fn range(&self, query: &RangeQuery) -> Result<RangeResult, Error> {
        let selected = select::select(&self.shared.index, query, self.revision)?;
        self.check()?;
        let mut result = select::fetch(selected, query, |revisions| self.records(revisions))?;
        result.revision = self.current;
        Ok(result)
    }

    /// Adds to `event` what the key was before it; nothing for a created key, and nothing if that is compacted.
    ///
    /// # Errors
    /// [`Error::Damaged`] when the record is missing.
    pub(crate) fn fill_prev(&self, event: &mut Event) -> Result<(), Error> {
        let before = event.mod_revision - 1;
        if event.create_revision == event.mod_revision {
            return Ok(());
        }
        let seen = self.shared.index.read().get(&event.key, before);
        if let Some(seen) = seen.filter(|_| before >= self.shared.compacted()) {
            event.prev_kv = Some(self.record(seen.modified)?);
        }
        Ok(())
    }

    /// The records at some revisions, found in the order in which they lie in the file.
    pub(crate) fn records(&self, revisions: &[Revision]) -> Result<Vec<Bytes>, Error> {
        if let [revision] = revisions {
            return Ok(vec![self.record(*revision)?]);
        }
        listing::look_up(&self.tx, revisions, |revision| self.missing(revision))
    }

    fn record(&self, revision: Revision) -> Result<Bytes, Error> {
        match self.tx.get(Bucket::Key, &revision.to_bytes())? {
            Some(record) => Ok(record),
            None => Err(self.missing(revision)),
        }
    }

    /// Why a record is not there that the index knows.
    pub(crate) fn missing(&self, revision: Revision) -> Error {
        self.check().err().unwrap_or_else(|| Error::missing(revision))
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.revision < self.shared.compacted() { Err(Error::Compacted) } else { Ok(()) }
    }
}
