//! Compaction (formats 9.5): accepted at once, carried out in small steps between the writer's other work.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use backend::{Backend, Bucket, schema};
use bytes::Bytes;

use crate::hash::{Digest, HashKv};
use crate::kv::Kv;
use crate::{Error, Revision, record};

/// Most keys or records that one step looks at.
const STEP_MAX: usize = 1000;
/// A step reads no record beyond this many bytes of them: each has to come from the file and into the hash.
const STEP_BYTES_MAX: usize = 1 << 20;

/// What a step left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompactProgress {
    /// No compaction is under way.
    Idle,
    /// Call again.
    More,
    /// The compaction of this revision has now deleted all it should; another may be waiting.
    Done {
        /// What was compacted.
        revision: i64,
        /// How many records were deleted.
        deleted: u64,
        /// The hash of what was there at that revision; none when the compaction before it was still running.
        hash: Option<HashKv>,
    },
}

/// A compaction under way.
#[derive(Debug)]
pub(crate) struct Compaction {
    revision: i64,
    stores_hash: bool,
    phase: Phase,
    /// Revisions that stay, as far as the records have not been walked past them.
    keep: BTreeSet<Revision>,
    digest: Digest,
    deleted: u64,
}

#[derive(Debug)]
enum Phase {
    /// Old revisions leave the index: no reader can want them. Done up to this key.
    Index(Option<Bytes>),
    /// Records that are not kept are deleted, from this bucket key on.
    Records(Bytes),
}

impl Compaction {
    pub fn new(revision: i64, previous: i64, stores_hash: bool) -> Compaction {
        Compaction {
            revision,
            stores_hash,
            phase: Phase::Index(None),
            keep: BTreeSet::new(),
            digest: Digest::new(revision, previous),
            deleted: 0,
        }
    }
}

impl Kv {
    /// Accepts a compaction: from now on reads below `revision` are refused, the mark in bucket `meta` says so after a
    /// restart, and [`Kv::compact_step`] has work.
    ///
    /// # Errors
    /// [`Error::Compacted`] unless `revision` is newer than the last one, [`Error::FutureRevision`] if it is newer than
    /// the current one.
    pub fn compact(&mut self, backend: &mut Backend, revision: i64) -> Result<(), Error> {
        let previous = self.compact_revision();
        if revision <= previous {
            return Err(Error::Compacted);
        }
        if revision > self.current_revision() {
            return Err(Error::FutureRevision);
        }
        // A hash says something only if it covers everything since the compaction before.
        let stores_hash = self.scheduled_mark == self.finished_mark;
        self.scheduled_mark = Some(revision);
        backend.put(Bucket::Meta, Bytes::from_static(schema::meta::SCHEDULED_COMPACT), mark(revision));
        self.shared.compacted.store(revision, Ordering::Release);
        self.compactions.push_back(Compaction::new(revision, previous, stores_hash));
        Ok(())
    }

    /// Whether [`Kv::compact_step`] has work.
    pub fn compacting(&self) -> bool {
        !self.compactions.is_empty()
    }

    /// Does a bounded piece of the oldest compaction: looks at no more than `budget` (at most 1000) keys or records,
    /// and at about a megabyte of these.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Backend`]: nothing was deleted, but the compaction has lost its place: do not go on.
    pub fn compact_step(&mut self, backend: &mut Backend, budget: usize) -> Result<CompactProgress, Error> {
        let budget = budget.clamp(1, STEP_MAX);
        let Some(job) = self.compactions.front_mut() else { return Ok(CompactProgress::Idle) };
        match &job.phase {
            Phase::Index(after) => {
                let keep = &mut job.keep;
                let last =
                    self.shared.index.write().compact(after.as_deref(), job.revision, budget, |revision| {
                        keep.insert(revision);
                    });
                job.phase = match last {
                    Some(last) => Phase::Index(Some(last)),
                    None => {
                        job.digest.keep_is_empty(job.keep.is_empty());
                        Phase::Records(Bytes::copy_from_slice(&Revision::default().to_bytes()))
                    }
                };
            }
            Phase::Records(from) => match job.delete_records(backend, from.clone(), budget)? {
                Some(next) => job.phase = Phase::Records(next),
                None => return Ok(self.finish(backend)),
            },
        }
        Ok(CompactProgress::More)
    }

    fn finish(&mut self, backend: &mut Backend) -> CompactProgress {
        let Some(job) = self.compactions.pop_front() else { return CompactProgress::Idle };
        backend.put(Bucket::Meta, Bytes::from_static(schema::meta::FINISHED_COMPACT), mark(job.revision));
        self.finished_mark = Some(job.revision);
        self.shared.finished.store(job.revision, Ordering::Release);
        let mut hash = None;
        if job.stores_hash {
            let stored = job.digest.finish(self.current_revision());
            self.shared.hashes.lock().store(stored);
            hash = Some(stored);
        }
        CompactProgress::Done { revision: job.revision, deleted: job.deleted, hash }
    }
}

impl Compaction {
    /// Deletes what is not kept among the next records; answers where to go on.
    fn delete_records(
        &mut self,
        backend: &mut Backend,
        from: Bytes,
        budget: usize,
    ) -> Result<Option<Bytes>, Error> {
        // Sorts behind every record of the compacted revision and before all of the next one.
        let end = self.revision.saturating_add(1).to_be_bytes();
        let mut doomed = Vec::new();
        let mut next = None;
        let mut size = 0;
        for (count, item) in backend.range(Bucket::Key, &from, Some(&end)).enumerate() {
            let (key, value) = item?;
            if count == budget || size >= STEP_BYTES_MAX {
                next = Some(Bytes::copy_from_slice(&key));
                break;
            }
            size += value.len();
            let stored = record::decode_key(&key)?;
            while self.keep.first().is_some_and(|first| *first < stored.revision) {
                self.keep.pop_first();
            }
            let kept = self.keep.first() == Some(&stored.revision);
            self.digest.record(stored, kept, &key, &value);
            if !kept {
                doomed.push(key);
            }
        }
        self.deleted += doomed.len() as u64;
        for key in doomed {
            backend.delete(Bucket::Key, &key);
        }
        Ok(next)
    }
}

fn mark(revision: i64) -> Bytes {
    Bytes::copy_from_slice(&Revision::new(revision, 0).to_bytes())
}
