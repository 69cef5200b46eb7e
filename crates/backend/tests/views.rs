//! Readers, a writer and a committer at once: every put is seen exactly once, at every moment.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use backend::{Backend, Bucket, Error, Options, ReadTx, Reader};
use bytes::Bytes;
use disk::{Disk, MemDisk};

const PUTS: u64 = 60_000;

fn open(disk: &MemDisk) -> Backend {
    let opts = Options { growth_bytes: 1 << 16, map_min_bytes: 1 << 16, ..Options::default() };
    Backend::open(Arc::new(disk.clone()), Path::new("/db"), opts).unwrap()
}

fn key(n: u64) -> Bytes {
    Bytes::copy_from_slice(&n.to_be_bytes())
}

/// Reads as a client does: first what is published, then a pinned view, which must hold all of it.
fn look(reader: &Reader, published: &AtomicU64) -> u64 {
    let last = published.load(Ordering::Acquire);
    let read = reader.read();
    let from = last.saturating_sub(3000);
    let mut expected = from;
    for record in read.range(Bucket::Key, &from.to_be_bytes(), Some(&last.to_be_bytes())) {
        let (found, value) = record.unwrap();
        assert_eq!(found, key(expected), "each revision once, in order");
        assert_eq!(value, found);
        expected += 1;
    }
    assert_eq!(expected, last, "no revision missing");
    let index = read.get(Bucket::Meta, b"index").unwrap();
    assert!(last == 0 || index >= Some(key(last - 1)), "never back in time");
    last
}

#[test]
fn a_reader_sees_every_put_once_while_layers_turn_into_pages() {
    let mut backend = open(&MemDisk::new(0));
    let (published, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let (committer, reader) = (backend.committer(), backend.reader());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                if !committer.commit_sealed().unwrap() {
                    std::thread::yield_now();
                }
            }
        });
        for _ in 0..2 {
            scope.spawn(|| {
                let mut seen = 0;
                while seen < PUTS && !done.load(Ordering::Acquire) {
                    seen = look(&reader, &published);
                }
            });
        }
        for n in 0..PUTS {
            backend.put(Bucket::Key, key(n), key(n));
            backend.put(Bucket::Meta, Bytes::from_static(b"index"), key(n));
            published.store(n + 1, Ordering::Release);
            if n % 500 == 0 {
                backend.seal();
            }
            if n % 3000 == 0 {
                backend.start_defragment();
            }
        }
        done.store(true, Ordering::Release);
    });
    backend.commit().unwrap();
    assert_eq!(backend.read().range(Bucket::Key, b"", None).count() as u64, PUTS);
    assert_eq!(backend.check().len(), 0);
}

#[test]
fn bytes_read_from_the_file_outlive_everything_else() {
    let disk = MemDisk::new(0);
    let mut backend = open(&disk);
    (0..1000).for_each(|n| backend.put(Bucket::Key, key(n), Bytes::from(vec![n as u8; 200])));
    backend.commit().unwrap();
    let kept: Vec<_> = backend.range(Bucket::Key, b"", None).map(|record| record.unwrap().1).collect();
    for round in 1..20_u64 {
        (0..1000).for_each(|n| backend.delete(Bucket::Key, &key((round - 1) * 1000 + n)));
        (0..1000).for_each(|n| backend.put(Bucket::Key, key(round * 1000 + n), Bytes::from(vec![0xee; 200])));
        backend.commit().unwrap();
    }
    backend.defragment().unwrap();
    drop(backend);
    for (n, value) in kept.iter().enumerate() {
        assert!(value.iter().all(|byte| *byte == n as u8), "record {n} was overwritten");
    }
}

#[test]
fn defragmenting_gives_the_end_of_the_file_back_and_keeps_every_record() {
    let disk = MemDisk::new(0);
    let mut backend = open(&disk);
    for n in 0..20_000 {
        backend.put(Bucket::Key, key(n), Bytes::from(vec![n as u8; 300]));
        if n % 2000 == 0 {
            backend.commit().unwrap();
        }
    }
    backend.commit().unwrap();
    (0..20_000).filter(|n| n % 20 != 0).for_each(|n| backend.delete(Bucket::Key, &key(n)));
    backend.commit().unwrap();
    let (before, in_use) = (backend.size(), backend.size_in_use());
    backend.defragment().unwrap();
    assert!(backend.size() < before / 8, "{} of {before}, {in_use} in use", backend.size());
    assert_eq!(backend.check().len(), 0);
    drop(backend);
    let backend = open(&disk);
    let values = backend.range(Bucket::Key, b"", None).map(|record| record.unwrap());
    assert!(values.zip((0..20_000).step_by(20)).all(|((k, v), n)| k == key(n) && v == vec![n as u8; 300]));
    assert_eq!(backend.range(Bucket::Key, b"", None).count(), 1000);
}

#[test]
fn defragmenting_in_steps_beside_writes_cuts_the_file_to_what_is_in_use() {
    let disk = MemDisk::new(0);
    let mut backend = open(&disk);
    let put = |backend: &mut Backend, n| backend.put(Bucket::Key, key(n), Bytes::from(vec![n as u8; 300]));
    for n in 0..80_000 {
        put(&mut backend, n);
        if n % 8000 == 0 {
            backend.commit().unwrap();
        }
    }
    backend.commit().unwrap();
    // The old half goes, so that what stays lies at the end of the file.
    (0..40_000).for_each(|n| backend.delete(Bucket::Key, &key(n)));
    backend.commit().unwrap();
    backend.start_defragment();
    let (committer, mut newest, mut steps) = (backend.committer(), 80_000, 0);
    while backend.defragmenting() {
        (newest..newest + 20).for_each(|n| put(&mut backend, n));
        newest += 20;
        assert!(backend.seal(), "a step holds nothing back");
        committer.commit_sealed().unwrap();
        steps += 1;
    }
    assert!((4..100).contains(&steps), "{steps} steps");
    let file = disk.open(Path::new("/db"), disk::Open::read()).unwrap().len().unwrap();
    let in_use = backend.size_in_use();
    assert!(file < in_use + in_use / 10, "{file} bytes, {in_use} in use");
    assert_eq!(backend.check().len(), 0);
    let left = backend.range(Bucket::Key, b"", None).map(|record| record.unwrap().0);
    assert!(left.eq((40_000..newest).map(key)));
}

#[test]
fn deletes_of_revisions_show_after_the_commit_and_others_at_once() {
    let mut backend = open(&MemDisk::new(0));
    for bucket in [Bucket::Key, Bucket::Alarm] {
        backend.put(bucket, key(1), key(1));
    }
    backend.commit().unwrap();
    for bucket in [Bucket::Key, Bucket::Alarm] {
        backend.delete(bucket, &key(1));
    }
    assert!(backend.get(Bucket::Key, &key(1)).unwrap().is_some());
    assert!(backend.get(Bucket::Alarm, &key(1)).unwrap().is_none());
    assert_eq!(backend.range(Bucket::Alarm, b"", None).count(), 0);
    backend.commit().unwrap();
    assert!(backend.get(Bucket::Key, &key(1)).unwrap().is_none());
}

#[test]
fn a_tool_reads_a_file_without_changing_it_and_not_beside_a_writer() {
    let disk = MemDisk::new(0);
    let mut backend = open(&disk);
    (0..1000).for_each(|n| backend.put(Bucket::Key, key(n), key(n)));
    backend.commit().unwrap();
    assert!(matches!(ReadTx::open(&disk, Path::new("/db")), Err(Error::Locked(_))));
    let size = backend.size();
    drop(backend);
    let ops = disk.ops();
    let read = ReadTx::open(&disk, Path::new("/db")).unwrap();
    assert_eq!(read.range(Bucket::Key, b"", None).count(), 1000);
    assert_eq!((read.size(), read.check().len(), disk.ops()), (size, 0, ops));
    assert!(ReadTx::open(&disk, Path::new("/db")).is_ok(), "two tools at once");
}

#[test]
fn long_layers_are_merged_whole_with_the_file_forwards_and_backwards() {
    let mut backend = open(&MemDisk::new(0));
    let mut model = BTreeMap::new();
    // Three states over each other, each with runs that the others lack: file, sealed layer, active layer.
    for (round, run) in [(0u64, 7), (1, 600), (2, 450)] {
        for n in (0..3000).filter(|n| (n / run) % 2 == 0) {
            if (n + round) % 5 == 0 {
                backend.delete(Bucket::Lease, &n.to_be_bytes());
                model.remove(&key(n));
            } else {
                backend.put(Bucket::Lease, key(n), key(round));
                model.insert(key(n), key(round));
            }
        }
        match round {
            0 => backend.commit().unwrap(),
            1 => assert!(backend.seal()),
            _ => {}
        }
    }
    for (from, to) in [(0, None), (5, Some(2500)), (301, Some(1500)), (2999, None), (7, Some(7))] {
        let to = to.map(key);
        let within = |k: &Bytes| *k >= key(from) && to.as_ref().is_none_or(|to| k < to);
        let mut expected: Vec<_> = model.clone().into_iter().filter(|(k, _)| within(k)).collect();
        let read = backend.read();
        let rising: Vec<_> =
            read.range(Bucket::Lease, &key(from), to.as_deref()).map(Result::unwrap).collect();
        assert!(rising == expected, "from {from}");
        let falling = read.range_rev(Bucket::Lease, &key(from), to.as_deref());
        expected.reverse();
        assert!(falling.map(Result::unwrap).collect::<Vec<_>>() == expected, "down to {from}");
    }
    assert_eq!(backend.reader().size(), backend.read().size());
}
