//! Records sorted by key, and many such runs merged into blocks of the index.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::block::{BLOCK_MAX, BYTES_MAX, Block, Keys, head, shared_len};
use crate::history::History;
use crate::key_index::Seen;
use crate::{Error, Revision, record};

/// Threads that a start uses at most.
const THREADS_MAX: usize = 8;
/// Parts of the key space that are merged by themselves, for each thread to have some.
const PIECES: usize = if cfg!(test) { 3 } else { 16 };
/// Keys of each run that are looked at to cut the key space.
const SAMPLES: usize = 64;

/// What the index has to know of some consecutive records.
#[derive(Default)]
pub(crate) struct Run {
    /// In order of revisions.
    keys: Keys,
    records: Vec<Record>,
    /// Places of keys and records in order of keys; those of one key stay in order of revisions.
    order: Vec<u32>,
}

struct Record {
    revision: Revision,
    create_revision: i64,
    version: i64,
    lease: i64,
    /// Its length in bytes; 0: not known.
    len: u32,
    tombstone: bool,
}

impl Run {
    /// Adds a record as stored; they come in order of revisions.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let stored = record::decode_key(key)?;
        let fields = record::fields(value, stored.revision)?;
        if self.keys.bytes_len() + fields.key.len() > u32::MAX as usize {
            return Err(Error::Damaged("some consecutive records have keys of more than 4 GiB".into()));
        }
        self.keys.push(&[], fields.key);
        self.records.push(Record {
            revision: stored.revision,
            create_revision: fields.create_revision,
            version: fields.version,
            lease: fields.lease,
            len: record::len(value.len()),
            tombstone: stored.tombstone,
        });
        Ok(())
    }

    /// To be called when all records are there.
    pub fn sort(&mut self) {
        let keys = &self.keys;
        let mut all = (0..keys.len()).map(|place| keys.get(place));
        let Some(first) = all.next() else { return };
        // What comes behind that which all keys share decides most comparisons.
        let shared = all.fold(first.len(), |shared, key| shared_len(&first[..shared], key));
        let head_of = |place: usize| (head(keys.get(place), shared), place as u32);
        let mut order: Vec<(u64, u32)> = (0..keys.len()).map(head_of).collect();
        let key = |item: &(u64, u32)| keys.get(item.1 as usize);
        order.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| key(a).cmp(key(b))));
        self.order = order.into_iter().map(|(_, place)| place).collect();
    }

    /// Main part of the newest revision; 0 without records.
    pub fn newest(&self) -> i64 {
        self.records.last().map_or(0, |last| last.revision.main)
    }

    /// The key at a place in order.
    fn key(&self, place: usize) -> &[u8] {
        self.keys.get(self.order[place] as usize)
    }

    fn place_of(&self, key: &[u8]) -> usize {
        self.order.partition_point(|place| self.keys.get(*place as usize) < key)
    }
}

/// The keys of a store.
#[derive(Default)]
pub(crate) struct Merged {
    /// In order.
    pub blocks: Vec<Block>,
    /// Which existing key hangs on which lease.
    pub attached: Vec<(Bytes, i64)>,
}

/// Merges sorted runs, the oldest first.
pub(crate) fn merge(runs: &[Run]) -> Result<Merged, Error> {
    let cuts = cuts(runs);
    let places: Vec<Vec<usize>> = runs
        .iter()
        .map(|run| {
            let inner = cuts.iter().map(|cut| run.place_of(cut));
            std::iter::once(0).chain(inner).chain([run.order.len()]).collect()
        })
        .collect();
    let pieces: Vec<usize> = (0..=cuts.len()).collect();
    let merged = in_parallel(&pieces, |piece| {
        let range = |places: &Vec<usize>| places[*piece]..places[piece + 1];
        merge_piece(runs, places.iter().map(range).collect())
    })?;
    let mut all = Merged::default();
    for piece in merged {
        all.blocks.extend(piece.blocks);
        all.attached.extend(piece.attached);
    }
    Ok(all)
}

/// Keys that cut the key space into pieces of about the same size.
fn cuts(runs: &[Run]) -> Vec<&[u8]> {
    let mut samples: Vec<&[u8]> = Vec::new();
    for run in runs {
        let step = run.order.len().div_ceil(SAMPLES).max(1);
        samples.extend((0..run.order.len()).step_by(step).map(|place| run.key(place)));
    }
    samples.sort_unstable();
    let mut cuts: Vec<&[u8]> =
        (1..PIECES).filter_map(|n| samples.get(n * samples.len() / PIECES).copied()).collect();
    cuts.dedup();
    cuts
}

/// Merges a range of places of each run.
fn merge_piece(runs: &[Run], mut rests: Vec<Range<usize>>) -> Result<Merged, Error> {
    let ends = runs.iter().zip(&rests).filter(|(_, rest)| !rest.is_empty());
    let mut ends = ends.flat_map(|(run, rest)| [run.key(rest.start), run.key(rest.end - 1)]);
    let Some(first) = ends.next() else { return Ok(Merged::default()) };
    let shared = ends.fold(first.len(), |shared, key| shared_len(&first[..shared], key));
    let next_of = |number: usize, place: usize| {
        let key = runs[number].key(place);
        Reverse((head(key, shared), key, number))
    };
    let mut next: BinaryHeap<Reverse<(u64, &[u8], usize)>> = BinaryHeap::with_capacity(runs.len());
    for (number, rest) in rests.iter().enumerate() {
        next.extend((!rest.is_empty()).then(|| next_of(number, rest.start)));
    }
    let mut merging = Merging::default();
    while let Some(mut least) = next.peek_mut() {
        let (_, key, number) = least.0;
        let (run, rest) = (&runs[number], &mut rests[number]);
        let place = run.order[rest.start] as usize;
        merging.add(key, &run.records[place])?;
        rest.start += 1;
        if rest.start >= rest.end {
            std::collections::binary_heap::PeekMut::pop(least);
        } else {
            *least = next_of(number, rest.start);
        }
    }
    Ok(merging.finish())
}

/// Blocks in the making.
#[derive(Default)]
struct Merging {
    keys: Keys,
    histories: Vec<History>,
    /// Of the last key; 0: none.
    lease: i64,
    merged: Merged,
}

impl Merging {
    /// Adds a record of the last key or of one behind it.
    fn add(&mut self, key: &[u8], record: &Record) -> Result<(), Error> {
        let revision = record.revision;
        match self.histories.last_mut() {
            Some(history) if self.keys.get(self.keys.len() - 1) == key => {
                if history.newest() >= Some(revision) {
                    return Err(Error::Damaged(format!("two records claim revision {revision} of one key")));
                }
                // A second tombstone in a row says nothing new; etcd passes over it too.
                let _changed = match record.tombstone {
                    true => history.tombstone(revision),
                    false => history.put(revision, |_, _| record.len),
                };
            }
            _ => {
                self.end_key();
                if self.keys.len() >= BLOCK_MAX || self.keys.bytes_len() + key.len() > BYTES_MAX {
                    self.end_block();
                }
                self.keys.push(&[], key);
                self.histories.push(match record.tombstone {
                    true => History::restored_tombstone(revision),
                    false => History::restored(Seen {
                        modified: revision,
                        create_revision: record.create_revision,
                        version: record.version,
                        record_len: record.len,
                    }),
                });
            }
        }
        self.lease = if record.tombstone { 0 } else { record.lease };
        Ok(())
    }

    fn end_key(&mut self) {
        let lease = std::mem::take(&mut self.lease);
        if lease != 0 {
            let key = self.keys.get(self.keys.len() - 1);
            self.merged.attached.push((Bytes::copy_from_slice(key), lease));
        }
    }

    fn end_block(&mut self) {
        if self.keys.len() > 0 {
            let mut histories = std::mem::take(&mut self.histories);
            histories.shrink_to_fit();
            self.merged.blocks.push(Block::new(&self.keys, histories));
            self.keys.clear();
        }
    }

    fn finish(mut self) -> Merged {
        self.end_key();
        self.end_block();
        self.merged
    }
}

/// Does `work` for each item, in several threads if there is more than one; the results are in order of the items.
pub(crate) fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R, Error> + Sync,
) -> Result<Vec<R>, Error> {
    let next = AtomicUsize::new(0);
    let done: Vec<Mutex<Option<Result<R, Error>>>> = items.iter().map(|_| Mutex::new(None)).collect();
    let worker = || {
        while let Some(number) = Some(next.fetch_add(1, Relaxed)).filter(|number| *number < items.len()) {
            *done[number].lock() = Some(work(&items[number]));
        }
    };
    let threads =
        std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX).min(items.len());
    std::thread::scope(|scope| {
        for _ in 1..threads {
            // Without a thread the others do its share.
            let _ = std::thread::Builder::new().name("scan".into()).spawn_scoped(scope, worker);
        }
        worker();
    });
    done.into_iter().filter_map(Mutex::into_inner).collect()
}

#[cfg(test)]
mod tests {
    use proto::mvccpb::KeyValue;

    use super::*;
    use crate::index::{Index, KeyRange};

    fn record_of(key: &str, create: i64, main: i64, version: i64, lease: i64) -> Bytes {
        let key = Bytes::copy_from_slice(key.as_bytes());
        record::of_put(&KeyValue {
            key,
            create_revision: create,
            mod_revision: main,
            version,
            lease,
            ..KeyValue::default()
        })
    }

    #[test]
    fn runs_make_the_same_index_however_the_records_are_cut() {
        let mut index = Index::default();
        let mut records = Vec::new();
        for main in 2..400_i64 {
            let key = format!("key-{}", main * main % 97 % 23);
            let revision = Revision::new(main, 0);
            let lives = index.get(&key.clone().into_bytes(), main);
            if let (Some(_), 0) = (lives, main % 5) {
                let one = KeyRange::One(key.clone().into());
                assert_eq!(index.delete(&one, 1, revision, |_, _| {}), Ok(Some(key.clone().into())));
                records.push((revision.to_tombstone_bytes().to_vec(), record_of(&key, 0, 0, 0, 0)));
            } else {
                let record = |create, version| record_of(&key, create, main, version, main % 3);
                let record_len = |create, version| record(create, version).len() as u32;
                let now = index.put(key.as_bytes(), revision, record_len).unwrap();
                let stored = record(now.create_revision, now.version);
                records.push((revision.to_bytes().to_vec(), stored));
            }
        }
        let mut attached = None;
        for part_len in [1, 7, 100, 1000] {
            let part = |part: &[(Vec<u8>, Bytes)]| {
                let mut run = Run::default();
                part.iter().for_each(|(key, value)| run.push(key, value).unwrap());
                run.sort();
                run
            };
            let runs: Vec<Run> = records.chunks(part_len).map(part).collect();
            assert_eq!(runs.last().map(Run::newest), Some(399));
            let merged = merge(&runs).unwrap();
            let first = attached.get_or_insert_with(|| merged.attached.clone());
            assert_eq!(*first, merged.attached);
            assert!(first.len() > 3);
            let rebuilt = Index::new(merged.blocks);
            for at in 2..400 {
                let all = |index: &Index| {
                    let mut all = Vec::new();
                    index.visit(&KeyRange::From(Bytes::new()), at, usize::MAX, |key, seen| {
                        all.push((key.to_vec(), seen));
                        std::ops::ControlFlow::Continue(())
                    });
                    all
                };
                assert_eq!(all(&rebuilt), all(&index), "parts of {part_len} at {at}");
            }
        }
    }

    #[test]
    fn two_records_with_one_revision_of_one_key_are_refused() {
        let revision = Revision::new(7, 0);
        let mut runs = [Run::default(), Run::default()];
        runs[0].push(&revision.to_bytes(), &record_of("a", 7, 7, 1, 0)).unwrap();
        runs[1].push(&revision.to_tombstone_bytes(), &record_of("a", 0, 0, 0, 0)).unwrap();
        runs.iter_mut().for_each(Run::sort);
        assert!(matches!(merge(&runs), Err(Error::Damaged(_))));
    }
}
