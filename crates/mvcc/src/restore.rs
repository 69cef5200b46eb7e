//! Start: the index and everything else rebuilt from one scan of the records (formats 3.9).
//!
//! The records come in order of revisions, the index wants keys. So the scan is cut into parts, several threads make
//! each into a run sorted by key, and the runs are merged.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use backend::{Backend, Bucket, schema};
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use crate::compact::Compaction;
use crate::hash::StoredHashes;
use crate::index::Index;
use crate::kv::Shared;
use crate::run::{self, Run};
use crate::{Error, Kv, Revision};

/// Parts that a scan is cut into at most; each is one run to merge.
const PARTS_MAX: usize = 32;

pub(crate) fn open(backend: &mut Backend) -> Result<(Kv, Vec<(Bytes, i64)>), Error> {
    let scheduled_mark = mark(backend, schema::meta::SCHEDULED_COMPACT)?;
    let finished_mark = mark(backend, schema::meta::FINISHED_COMPACT)?;
    let finished = finished_mark.unwrap_or(-1);
    let scheduled = scheduled_mark.unwrap_or(0);
    let runs = scan(backend)?;
    let newest = runs.iter().map(Run::newest).max().unwrap_or(0);
    let current = newest.max(finished).max(scheduled).max(1);
    if current == i64::MAX {
        return Err(Error::Damaged("the newest revision leaves no room for another".into()));
    }
    let merged = run::merge(&runs)?;
    let mut compactions = VecDeque::new();
    // Revision 0 can be scheduled but is never resumed.
    let resumes = scheduled > finished && scheduled != 0;
    if resumes {
        compactions.push_back(Compaction::new(scheduled, finished, false));
    }
    let shared = Shared {
        index: RwLock::new(Index::new(merged.blocks)),
        current: AtomicI64::new(current),
        compacted: AtomicI64::new(if resumes { scheduled } else { finished }),
        finished: AtomicI64::new(finished),
        hashes: Mutex::new(StoredHashes::default()),
    };
    let kv = Kv { shared: Arc::new(shared), compactions, scheduled_mark, finished_mark };
    Ok((kv, merged.attached))
}

/// All records, in runs: each sorted by key, and those of one run older than those of the next.
fn scan(backend: &Backend) -> Result<Vec<Run>, Error> {
    let tx = backend.read();
    let (from, to) = (Revision::new(1, 0).to_bytes(), Revision::new(i64::MAX, i64::MAX).to_bytes());
    let inner = tx.cuts(Bucket::Key, PARTS_MAX)?.into_iter().filter(|cut| from[..] < **cut && **cut < to[..]);
    let mut cuts: Vec<Vec<u8>> = std::iter::once(from.to_vec()).chain(inner).collect();
    cuts.push(to.to_vec());
    let parts: Vec<&[Vec<u8>]> = cuts.windows(2).collect();
    let read = |part: &[Vec<u8>]| {
        let mut run = Run::default();
        let [from, to] = part else { return Ok(run) };
        tx.for_each(Bucket::Key, from, Some(to), |key, value| run.push(key, value))?;
        run.sort();
        Ok(run)
    };
    let runs = run::in_parallel(&parts, |part| read(part));
    tx.give_back();
    runs
}

fn mark(backend: &Backend, key: &[u8]) -> Result<Option<i64>, Error> {
    let Some(value) = backend.get(Bucket::Meta, key)? else { return Ok(None) };
    let revision = Revision::from_bytes(&value);
    let malformed =
        || Error::Damaged(format!("compaction mark {} is malformed", String::from_utf8_lossy(key)));
    revision.map(|revision| Some(revision.main)).ok_or_else(malformed)
}
