//! Power cuts, failed syncs and full disks, at every single write and sync of a run.
#![allow(clippy::unwrap_used)]

mod random;

use std::path::Path;
use std::sync::Arc;

use backend::{Backend, Bucket, Error, Options};
use bytes::Bytes;
use disk::MemDisk;
use random::Random;

const FILE: &str = "/db";
const COMMITS: u64 = 14;

fn open(disk: &MemDisk) -> Result<Backend, Error> {
    let opts = Options { page_size: 1024, growth_bytes: 8192, map_min_bytes: 1 << 20, ..Options::default() };
    Backend::open(Arc::new(disk.clone()), Path::new(FILE), opts)
}

fn key(n: u64) -> Bytes {
    Bytes::copy_from_slice(&n.to_be_bytes())
}

/// What commit `n` changes: rising keys, a counter, a name, and deletes of older keys.
fn change(backend: &mut Backend, n: u64) {
    let mut random = Random::new(n);
    for at in 0..20 + random.below(40) {
        let len = random.below(if at == 7 { 5000 } else { 200 }) as usize;
        backend.put(Bucket::Key, key(n * 1000 + at), Bytes::from(vec![n as u8; len]));
    }
    if n > 2 {
        (0..60).for_each(|at| backend.delete(Bucket::Key, &key((n - 2) * 1000 + at)));
    }
    backend.put(Bucket::Meta, Bytes::from_static(b"consistent_index"), key(n));
    backend.put(Bucket::Members, key(n % 3), key(n));
}

fn commit_up_to(backend: &mut Backend, commits: u64) -> Result<(), Error> {
    for n in 1..=commits {
        change(backend, n);
        backend.commit()?;
        if n % 5 == 0 {
            backend.start_defragment();
        }
    }
    Ok(())
}

/// All records, as they should be after `n` commits or as they are.
fn contents(backend: &Backend) -> Vec<(Bucket, Bytes, Bytes)> {
    let mut all = Vec::new();
    for bucket in Bucket::ALL {
        let records = backend.range(bucket, b"", None);
        all.extend(records.map(|record| record.unwrap()).map(|(key, value)| (bucket, key, value)));
    }
    all
}

fn expected() -> Vec<Vec<(Bucket, Bytes, Bytes)>> {
    let state = |n| {
        let mut backend = open(&MemDisk::new(0)).unwrap();
        commit_up_to(&mut backend, n).unwrap();
        contents(&backend)
    };
    (0..=COMMITS).map(state).collect()
}

/// The number of commits the run saw acknowledged before it failed.
fn run(disk: &MemDisk) -> (u64, Option<Error>) {
    let mut acknowledged = 0;
    let mut go = || {
        let mut backend = open(disk)?;
        for n in 1..=COMMITS {
            change(&mut backend, n);
            backend.commit()?;
            acknowledged = n;
            if n % 5 == 0 {
                backend.start_defragment();
            }
        }
        Ok(())
    };
    let failed = go().err();
    (acknowledged, failed)
}

#[test]
fn after_a_power_cut_the_file_holds_the_acknowledged_commits_and_at_most_the_one_under_way() {
    let expected = expected();
    let whole = MemDisk::new(0);
    assert!(run(&whole).1.is_none());
    let ops = whole.ops();
    assert!(ops > COMMITS * 4);
    for cut in 1..=ops {
        for seed in random::seeds(2) {
            let disk = MemDisk::new(seed);
            disk.crash_at_op(cut);
            let (acknowledged, _) = run(&disk);
            let backend = open(&disk.crash(seed)).unwrap_or_else(|e| panic!("cut {cut}, seed {seed}: {e}"));
            assert_eq!(backend.check().len(), 0, "cut {cut}, seed {seed}");
            let found = contents(&backend);
            let holds = |n: u64| expected.get(n as usize).is_some_and(|state| *state == found);
            assert!(
                holds(acknowledged) || holds(acknowledged + 1),
                "cut {cut}, seed {seed}: not the state after {acknowledged} commits, nor the next"
            );
        }
    }
}

#[test]
fn work_goes_on_after_a_power_cut() {
    for seed in random::seeds(20) {
        let mut random = Random::new(seed);
        let mut disk = MemDisk::new(seed);
        let mut held = 0;
        while held < 40 {
            let mut backend = open(&disk).unwrap();
            let index = backend.get(Bucket::Meta, b"consistent_index").unwrap();
            let index = index.map_or(0, |index| u64::from_be_bytes(index[..].try_into().unwrap()));
            assert!(index == held || index == held + 1, "seed {seed}: {index} for {held}");
            assert_eq!(backend.check().len(), 0, "seed {seed}");
            held = index;
            disk.crash_at_op(disk.ops() + 1 + random.below(25));
            loop {
                change(&mut backend, held + 1);
                if backend.commit().is_err() {
                    break;
                }
                held += 1;
            }
            drop(backend);
            disk = disk.crash(random.next());
        }
    }
}

#[test]
fn a_failed_sync_is_reported_and_final() {
    let disk = MemDisk::new(1);
    let mut backend = open(&disk).unwrap();
    commit_up_to(&mut backend, 3).unwrap();
    disk.fail_next_sync(Path::new(FILE)).unwrap();
    change(&mut backend, 4);
    assert!(matches!(backend.commit(), Err(Error::Disk { .. })));
    assert!(matches!(backend.commit(), Err(Error::Poisoned)), "nothing is written after that");
    let index = backend.get(Bucket::Meta, b"consistent_index").unwrap();
    assert_eq!(index, Some(key(4)), "readers still see the layer");
}

#[test]
fn a_full_disk_is_an_error_and_loses_nothing_committed() {
    let expected = expected();
    let whole = MemDisk::new(0);
    assert!(run(&whole).1.is_none());
    let mut failed = 0;
    for capacity in (0..120).map(|n| n * 2048) {
        let disk = MemDisk::new(capacity);
        disk.set_capacity(Some(capacity));
        let (acknowledged, error) = run(&disk);
        failed += u64::from(error.is_some());
        disk.set_capacity(None);
        let backend = open(&disk).unwrap();
        let found = contents(&backend);
        let holds = |n: u64| expected.get(n as usize).is_some_and(|state| *state == found);
        assert!(holds(acknowledged) || holds(acknowledged + 1), "{acknowledged} at {capacity}");
    }
    assert!(failed > 10, "the disk was full {failed} times");
}

#[test]
fn a_second_process_is_locked_out_until_the_first_is_gone() {
    let disk = MemDisk::new(0);
    let first = open(&disk).unwrap();
    assert!(matches!(open(&disk), Err(Error::Locked(_))));
    drop(first);
    assert!(open(&disk).is_ok());
}
