//! Readers: any thread, no lock held longer than a few lookups, never waiting for the writer.

use std::sync::Arc;

use backend::{Bucket, ReadTx};
use bytes::Bytes;

use crate::kv::Shared;
use crate::{Error, RangeQuery, RangeResult, Revision, select};

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
        let current = self.shared.current();
        let tx = self.backend.read();
        let view = View {
            shared: self.shared.clone(),
            tx,
            revision: if revision <= 0 { current } else { revision },
            current,
        };
        if view.revision > current {
            return Err(Error::FutureRevision);
        }
        view.check().map(|()| view)
    }

    /// Reads a range at the query's revision.
    ///
    /// # Errors
    /// [`Error::FutureRevision`], [`Error::Compacted`]; [`Error::Damaged`] when a record is missing or malformed.
    pub fn range(&self, query: &RangeQuery) -> Result<RangeResult, Error> {
        loop {
            match self.view(query.revision).and_then(|view| view.range(query)) {
                // Who asked for the current revision must not hear that it was overtaken by a compaction.
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
        let selected = select::select(&self.shared.index, query, self.revision);
        self.check()?;
        let mut result = select::fetch(selected, query, |revision| self.record(revision))?;
        result.revision = self.current;
        Ok(result)
    }

    /// The record of `key` as it was at revision `at`, not above this view's; none if the key did not exist then, or if
    /// that is compacted.
    ///
    /// # Errors
    /// [`Error::Damaged`] when the record is missing.
    pub(crate) fn record_at(&self, key: &[u8], at: i64) -> Result<Option<Bytes>, Error> {
        let Some(seen) = self.shared.index.read().get(key, at) else { return Ok(None) };
        if at < self.shared.compacted() {
            return Ok(None);
        }
        self.record(seen.modified).map(Some)
    }

    fn record(&self, revision: Revision) -> Result<Bytes, Error> {
        match self.tx.get(Bucket::Key, &revision.to_bytes())? {
            Some(record) => Ok(record),
            None => {
                self.check()?;
                Err(Error::Damaged(format!("no record at revision {revision}, which the index knows")))
            }
        }
    }

    fn check(&self) -> Result<(), Error> {
        if self.revision < self.shared.compacted() { Err(Error::Compacted) } else { Ok(()) }
    }
}
