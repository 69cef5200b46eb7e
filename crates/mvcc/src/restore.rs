//! Start: the index and everything else rebuilt from one scan of the records (formats 3.9).

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use backend::{Backend, Bucket, schema};
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use crate::compact::Compaction;
use crate::hash::StoredHashes;
use crate::index::Index;
use crate::key_index::KeyIndex;
use crate::kv::Shared;
use crate::{Error, Kv, RecordKey, Revision, record};

pub(crate) fn open(backend: &mut Backend) -> Result<(Kv, Vec<(Bytes, i64)>), Error> {
    let scheduled_mark = mark(backend, schema::meta::SCHEDULED_COMPACT)?;
    let finished_mark = mark(backend, schema::meta::FINISHED_COMPACT)?;
    let finished = finished_mark.unwrap_or(-1);
    let scheduled = scheduled_mark.unwrap_or(0);
    let mut scan = Scan::default();
    let (from, to) = (Revision::new(1, 0).to_bytes(), Revision::new(i64::MAX, i64::MAX).to_bytes());
    for item in backend.range(Bucket::Key, &from, Some(&to)) {
        let (key, value) = item?;
        scan.record(record::decode_key(&key)?, &value)?;
    }
    let current = scan.newest.max(finished).max(scheduled).max(1);
    if current == i64::MAX {
        return Err(Error::Damaged("the newest revision leaves no room for another".into()));
    }
    let mut compactions = VecDeque::new();
    // Revision 0 can be scheduled but is never resumed.
    let resumes = scheduled > finished && scheduled != 0;
    if resumes {
        compactions.push_back(Compaction::new(scheduled, finished, false));
    }
    let shared = Shared {
        index: RwLock::new(Index::new(scan.histories.into_iter().collect())),
        current: AtomicI64::new(current),
        compacted: AtomicI64::new(if resumes { scheduled } else { finished }),
        finished: AtomicI64::new(finished),
        hashes: Mutex::new(StoredHashes::default()),
    };
    let kv = Kv { shared: Arc::new(shared), compactions, scheduled_mark, finished_mark };
    Ok((kv, scan.attached.into_iter().collect()))
}

fn mark(backend: &Backend, key: &[u8]) -> Result<Option<i64>, Error> {
    let Some(value) = backend.get(Bucket::Meta, key)? else { return Ok(None) };
    let revision = Revision::from_bytes(&value);
    let malformed =
        || Error::Damaged(format!("compaction mark {} is malformed", String::from_utf8_lossy(key)));
    revision.map(|revision| Some(revision.main)).ok_or_else(malformed)
}

#[derive(Default)]
struct Scan {
    /// Sorted only at the end: its own order never shows.
    histories: HashMap<Box<[u8]>, KeyIndex>,
    attached: BTreeMap<Bytes, i64>,
    newest: i64,
}

impl Scan {
    fn record(&mut self, stored: RecordKey, value: &Bytes) -> Result<(), Error> {
        let revision = stored.revision;
        let kv = record::decode(value, revision)?;
        if let Some(history) = self.histories.get_mut(&kv.key[..]) {
            if history.newest() >= Some(revision) {
                return Err(Error::Damaged(format!("two records claim revision {revision} of one key")));
            }
            // A second tombstone in a row says nothing new; etcd passes over it too.
            let _changed = if stored.tombstone { history.tombstone(revision) } else { history.put(revision) };
        } else {
            let first = match stored.tombstone {
                true => KeyIndex::restored_tombstone(revision),
                false => KeyIndex::restored(kv.create_revision, kv.version, revision),
            };
            self.histories.insert(kv.key.as_ref().into(), first);
        }
        if kv.lease != 0 && !stored.tombstone {
            // A copy: the stored bytes would keep pages of the file pinned.
            self.attached.insert(Bytes::copy_from_slice(&kv.key), kv.lease);
        } else if !self.attached.is_empty() {
            self.attached.remove(&kv.key);
        }
        self.newest = revision.main;
        Ok(())
    }
}
