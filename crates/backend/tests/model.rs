//! Random work on the backend, compared with ordered maps in memory after every commit and reopening.

#![allow(clippy::unwrap_used)]

mod random;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use backend::{Backend, Bucket, Lookup, Options, ReadTx, Stored};
use bytes::Bytes;
use disk::MemDisk;
use random::Random;

type Model = BTreeMap<(Bucket, Vec<u8>), Vec<u8>>;

const FILE: &str = "/db";

fn options(random: &mut Random) -> Options {
    let page_size = [1024, 4096, 16384][random.below(3) as usize];
    Options { page_size, growth_bytes: 65536, map_min_bytes: 65536, ..Options::default() }
}

fn records(read: &ReadTx, bucket: Bucket) -> Vec<(Vec<u8>, Vec<u8>)> {
    let all = read.range(bucket, b"", None);
    all.map(|record| record.unwrap()).map(|(k, v)| (k.to_vec(), v.to_vec())).collect()
}

fn of_model(model: &Model, bucket: Bucket) -> Vec<(Vec<u8>, Vec<u8>)> {
    let all = model.iter().filter(|((b, _), _)| *b == bucket);
    all.map(|((_, k), v)| (k.clone(), v.clone())).collect()
}

/// A reader, and what it must show once its active layer is sealed.
struct Pinned {
    read: ReadTx,
    frozen: Option<Model>,
}

struct Run {
    random: Random,
    disk: MemDisk,
    opts: Options,
    backend: Backend,
    model: Model,
    deleted_revisions: BTreeSet<Vec<u8>>,
    revision: u64,
    readers: Vec<Pinned>,
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut random = Random::new(seed);
        let disk = MemDisk::new(seed);
        let opts = options(&mut random);
        let backend = Backend::open(Arc::new(disk.clone()), Path::new(FILE), opts.clone()).unwrap();
        let (model, deleted_revisions) = Default::default();
        Run { random, disk, opts, backend, model, deleted_revisions, revision: 1, readers: Vec::new() }
    }

    fn value(&mut self) -> Vec<u8> {
        let len = match self.random.below(40) {
            0 => self.random.below(40_000),
            1..5 => self.random.below(3000),
            _ => self.random.below(300),
        };
        vec![self.random.below(256) as u8; len as usize]
    }

    fn put_revision(&mut self) {
        self.revision += 1 + self.random.below(3);
        let mut key = self.revision.to_be_bytes().to_vec();
        key.extend_from_slice(b"_\0\0\0\0\0\0\0\0");
        let value = self.value();
        self.put(Bucket::Key, key, value);
    }

    fn put(&mut self, bucket: Bucket, key: Vec<u8>, value: Vec<u8>) {
        self.backend.put(bucket, Bytes::from(key.clone()), Bytes::from(value.clone()));
        self.model.insert((bucket, key), value);
    }

    fn delete(&mut self, bucket: Bucket, key: Vec<u8>) {
        self.backend.delete(bucket, &key);
        self.model.remove(&(bucket, key.clone()));
        if bucket == Bucket::Key {
            self.deleted_revisions.insert(key);
        }
    }

    /// Deletes some, or most, revisions of a stretch: what a compaction does.
    fn compact(&mut self) {
        let all = of_model(&self.model, Bucket::Key);
        let start = self.random.below(all.len() as u64 + 1) as usize;
        let len = self.random.below(400) as usize;
        let one_in = 1 + self.random.below(4);
        for (key, _) in all.into_iter().skip(start).take(len) {
            if self.random.below(one_in) == 0 {
                self.delete(Bucket::Key, key);
            }
        }
    }

    fn change(&mut self) {
        let bucket = Bucket::ALL[self.random.below(10) as usize];
        match self.random.below(100) {
            0..60 => self.put_revision(),
            60..61 => self.compact(),
            _ if bucket == Bucket::Key => self.put_revision(),
            61..85 => {
                let space = if bucket == Bucket::Lease { 3000 } else { 30 };
                let key = format!("name{:05}", self.random.below(space)).into_bytes();
                let value = self.value();
                self.put(bucket, key, value);
            }
            _ => {
                let keys = of_model(&self.model, bucket);
                if let Some((key, _)) = self.random.pick(&keys).cloned() {
                    self.delete(bucket, key);
                }
            }
        }
    }

    fn seal(&mut self) {
        self.look_up_all();
        if self.backend.seal() {
            for reader in self.readers.iter_mut().filter(|reader| reader.frozen.is_none()) {
                reader.frozen = Some(self.model.clone());
            }
        }
    }

    fn commit(&mut self) {
        self.backend.committer().commit_sealed().unwrap();
        self.seal();
        self.backend.committer().commit_sealed().unwrap();
        assert_eq!(self.backend.pending_ops(), 0);
        self.compare_all();
    }

    /// What is not in the file yet, too.
    fn look_up_all(&self) {
        let read = self.backend.read();
        let names: Vec<_> = (0..3000).map(|n| format!("name{n:05}").into_bytes()).collect();
        let revisions = of_model(&self.model, Bucket::Key).into_iter().map(|(key, _)| key).collect();
        for (bucket, keys) in [(Bucket::Key, revisions), (Bucket::Lease, names)] {
            let mut found = Vec::new();
            let each = |nth: usize, stored: Option<Stored<'_>>| {
                found.extend(stored.map(|stored| (keys[nth].clone(), stored.to_vec())));
            };
            read.lookup(bucket).find_all(&keys, each).unwrap();
            assert_eq!(found, of_model(&self.model, bucket), "{bucket:?}");
        }
    }

    fn compare_all(&mut self) {
        assert_eq!(self.backend.check().iter().map(ToString::to_string).collect::<Vec<_>>(), [""; 0]);
        let read = self.backend.read();
        for bucket in Bucket::ALL {
            let expected = of_model(&self.model, bucket);
            assert_eq!(records(&read, bucket), expected, "{bucket:?}");
            let falling: Vec<_> = read.range_rev(bucket, b"", None).map(|r| r.unwrap()).collect();
            let falling: Vec<_> = falling.iter().rev().map(|(k, v)| (k.to_vec(), v.to_vec())).collect();
            assert_eq!(falling, expected, "{bucket:?} falling");
            self.compare_in_bulk(&read, bucket, &expected);
        }
    }

    /// Scanned in parts, and looked up one by one in different orders.
    fn compare_in_bulk(&mut self, read: &ReadTx, bucket: Bucket, expected: &[(Vec<u8>, Vec<u8>)]) {
        let mut cuts = read.cuts(bucket, 1 + self.random.below(10) as usize).unwrap();
        assert!(cuts.is_sorted_by(|a, b| a < b));
        // At some keys, too, and behind some.
        let some = || expected.iter().step_by(37).map(|(key, _)| &key[..]);
        cuts.extend(some().map(<[u8]>::to_vec).chain(some().map(|key| [key, b"absent"].concat())));
        cuts.push(Vec::new());
        cuts.sort();
        let mut scanned = Vec::new();
        for (n, from) in cuts.iter().enumerate() {
            let take = |key: &[u8], value: &[u8]| -> Result<(), backend::Error> {
                scanned.push((key.to_vec(), value.to_vec()));
                Ok(())
            };
            read.for_each(bucket, from, cuts.get(n + 1).map(Vec::as_slice), take).unwrap();
        }
        assert_eq!(scanned, expected, "{bucket:?} in {} parts", cuts.len());
        let (mut rising, mut any) = (read.lookup(bucket), read.lookup(bucket));
        // With some in between and around that are not there.
        let step = 1 + self.random.below(7) as usize;
        let some = || expected.iter().step_by(step);
        let mut keys: Vec<_> = some().map(|(key, _)| key.clone()).collect();
        keys.extend(some().map(|(key, _)| [&key[..], b"absent"].concat()));
        keys.push(b" before all".to_vec());
        keys.sort();
        let copy = read.clone();
        let mut present = some();
        let mut shown = 0;
        any.find_all(&keys, |nth, stored| {
            assert_eq!(nth, shown);
            shown += 1;
            let Some(stored) = stored else { return };
            let (expected, value) = present.next().unwrap();
            assert_eq!((&keys[nth], &stored[..]), (expected, &value[..]), "{bucket:?}");
            let again = match stored {
                Stored::Committed(committed) => copy.at(committed.place()).unwrap(),
                pending => pending,
            };
            assert_eq!(Bytes::from(again), value[..], "{bucket:?}");
        })
        .unwrap();
        assert_eq!(shown, keys.len());
        assert!(present.next().is_none(), "{bucket:?}");
        let one = |lookup: &mut Lookup<'_>, key: &[u8]| {
            let mut value = None;
            lookup.find_all(&[key], |_, stored| value = stored.map(|stored| stored.to_vec())).unwrap();
            value
        };
        for (key, value) in expected {
            assert_eq!(one(&mut rising, key).as_deref(), Some(&value[..]), "{bucket:?}");
            let (key, value) = self.random.pick(expected).unwrap();
            assert_eq!(one(&mut any, key).as_deref(), Some(&value[..]), "{bucket:?}");
            assert_eq!(one(&mut any, &[&key[..], b"absent"].concat()), None);
        }
        assert_eq!(one(&mut any, b" before all"), None);
    }

    /// Part of a bucket, through layers and pages.
    fn compare_some(&mut self) {
        let bucket = [Bucket::Lease, Bucket::AuthUsers][self.random.below(2) as usize];
        let all = of_model(&self.model, bucket);
        let mut bounds = [0; 2].map(|_| format!("name{:05}", self.random.below(3000)).into_bytes());
        bounds.sort();
        let expected: Vec<_> =
            all.iter().filter(|(k, _)| *k >= bounds[0] && *k < bounds[1]).cloned().collect();
        let read = self.backend.read();
        let found: Vec<_> = read.range(bucket, &bounds[0], Some(&bounds[1])).map(|r| r.unwrap()).collect();
        let found: Vec<_> = found.iter().map(|(k, v)| (k.to_vec(), v.to_vec())).collect();
        assert_eq!(found, expected);
        let falling: Vec<_> =
            read.range_rev(bucket, &bounds[0], Some(&bounds[1])).map(|r| r.unwrap()).collect();
        let falling: Vec<_> = falling.iter().rev().map(|(k, v)| (k.to_vec(), v.to_vec())).collect();
        assert_eq!(falling, expected);
        if let Some((key, value)) = self.random.pick(&all) {
            assert_eq!(read.get(bucket, key).unwrap().as_deref(), Some(&value[..]));
        }
        assert_eq!(read.get(bucket, b"absent").unwrap(), None);
    }

    fn pin(&mut self) {
        let read = self.backend.reader().read();
        self.readers.push(Pinned { read, frozen: None });
    }

    fn check_and_drop_a_reader(&mut self) {
        if self.readers.is_empty() {
            return;
        }
        let at = self.random.below(self.readers.len() as u64) as usize;
        let Pinned { read, frozen } = self.readers.swap_remove(at);
        let Some(frozen) = frozen else { return };
        assert_eq!(read.check().len(), 0);
        for bucket in Bucket::ALL {
            let (found, expected) = (records(&read, bucket), of_model(&frozen, bucket));
            if bucket != Bucket::Key {
                assert_eq!(found, expected, "{bucket:?}");
                continue;
            }
            let living: Vec<_> =
                found.iter().filter(|(k, _)| frozen.contains_key(&(bucket, k.clone()))).cloned().collect();
            assert_eq!(living, expected, "every revision, once");
            assert!(found.len() == living.len() || !self.deleted_revisions.is_empty());
        }
    }

    fn reopen(&mut self) {
        self.commit();
        self.readers.clear();
        let nothing = Backend::open(Arc::new(MemDisk::new(0)), Path::new(FILE), self.opts.clone()).unwrap();
        drop(std::mem::replace(&mut self.backend, nothing));
        self.backend =
            Backend::open(Arc::new(self.disk.clone()), Path::new(FILE), self.opts.clone()).unwrap();
        self.compare_all();
    }

    fn step(&mut self) {
        match self.random.below(40) {
            0 => self.commit(),
            1 => self.seal(),
            2 => drop(self.backend.committer().commit_sealed().unwrap()),
            3 => self.pin(),
            4 => self.check_and_drop_a_reader(),
            5 => self.compare_some(),
            6 if self.random.below(10) == 0 => self.reopen(),
            7 if self.random.below(5) == 0 => self.backend.start_defragment(),
            8 if self.random.below(20) == 0 => {
                self.commit();
                self.backend.defragment().unwrap();
                self.compare_all();
            }
            _ => (0..self.random.below(40)).for_each(|_| self.change()),
        }
    }
}

#[test]
fn random_work_reads_like_ordered_maps() {
    for seed in random::seeds(15) {
        println!("seed {seed}");
        let mut run = Run::new(seed);
        for _ in 0..250 {
            run.step();
        }
        run.reopen();
    }
}
