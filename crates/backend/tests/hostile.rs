//! Damaged and hostile files: answers or errors, never a panic, never an endless loop.
#![allow(clippy::unwrap_used)]

mod random;

use std::path::Path;
use std::sync::Arc;

use backend::{Backend, Bucket, Error, Options};
use bytes::Bytes;
use disk::{Disk, MemDisk, Open};
use random::Random;

const FILE: &str = "/db";

fn disk_with(image: &[u8]) -> MemDisk {
    let disk = MemDisk::new(0);
    let file = disk.open(Path::new(FILE), Open::create(0o600)).unwrap();
    file.write_at(image, 0).unwrap();
    disk
}

fn image_of(disk: &MemDisk) -> Vec<u8> {
    let file = disk.open(Path::new(FILE), Open::read()).unwrap();
    let mut image = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut image, 0).unwrap();
    image
}

fn open(disk: &MemDisk) -> Result<Backend, Error> {
    let opts = Options { page_size: 1024, growth_bytes: 8192, map_min_bytes: 1 << 20, ..Options::default() };
    Backend::open(Arc::new(disk.clone()), Path::new(FILE), opts)
}

/// As long as a revision.
fn key(n: u64) -> Bytes {
    [&n.to_be_bytes()[..], b"_", &[0; 8]].concat().into()
}

fn put(backend: &mut Backend, n: u64, len: usize) {
    backend.put(Bucket::Key, key(n), Bytes::from(vec![b'v'; len]));
}

/// A file with branches, overflow pages, free pages and inline buckets.
fn sound_image() -> Vec<u8> {
    let disk = MemDisk::new(0);
    let mut backend = open(&disk).unwrap();
    for n in 0..400 {
        put(&mut backend, n, if n % 50 == 0 { 3000 } else { n as usize % 90 });
        if n % 100 == 0 {
            backend.commit().unwrap();
        }
    }
    (100..180).for_each(|n: u64| backend.delete(Bucket::Key, &key(n)));
    backend.put(Bucket::Members, Bytes::from_static(b"me"), Bytes::from_static(b"{}"));
    backend.commit().unwrap();
    drop(backend);
    image_of(&disk)
}

/// Reads everything, changes something, commits, defragments. Errors are fine.
fn exercise(image: &[u8]) -> Result<(), Error> {
    let mut backend = open(&disk_with(image))?;
    let read = backend.read();
    let sound = read.check().is_empty();
    for bucket in Bucket::ALL {
        let rising = read.range(bucket, b"", None).filter(Result::is_ok).count();
        let falling = read.range_rev(bucket, b"", None).filter(Result::is_ok).count();
        assert!(!sound || rising == falling, "a sound file reads the same both ways");
    }
    let _ = read.get(Bucket::Key, &key(7));
    let (keys, mut shown): (Vec<_>, _) = ((0..500).map(key).collect(), 0);
    let found = read.lookup(Bucket::Key).find_all(&keys, |_, _| shown += 1);
    assert!(shown == keys.len() || found.is_err());
    for n in (0..500).step_by(3) {
        put(&mut backend, n, 30);
        backend.delete(Bucket::Key, &key(n + 1));
    }
    backend.delete(Bucket::Members, b"me");
    backend.commit()?;
    backend.defragment()?;
    assert!(!sound || backend.check().is_empty(), "a sound file stays sound");
    Ok(())
}

#[test]
fn damage_anywhere_never_panics() {
    let sound = sound_image();
    exercise(&sound).unwrap();
    let mut refused = 0;
    for seed in random::seeds(800) {
        let mut random = Random::new(seed);
        let mut image = sound.clone();
        for _ in 0..1 + random.below(4) {
            let page = random.below(sound.len() as u64 / 1024) * 1024;
            // Headers and element arrays are where the numbers are.
            let reach = if random.below(3) == 0 { 1024 } else { 80 };
            let within = random.below(reach);
            let at = (page + within) as usize;
            let values = [0, 1, 0xff, image[at] ^ (1 << random.below(8)), random.below(256) as u8];
            image[at] = values[random.below(5) as usize];
        }
        refused += u64::from(exercise(&image).is_err());
    }
    assert!(refused > 0);
}

#[test]
fn pages_taken_for_others_never_panic() {
    let sound = sound_image();
    let pages = sound.len() as u64 / 1024;
    for seed in random::seeds(300) {
        let mut random = Random::new(seed);
        let mut image = sound.clone();
        let (from, to) = (random.below(pages) as usize * 1024, (2 + random.below(pages - 2)) as usize * 1024);
        image.copy_within(from..from + 1024, to);
        if random.below(2) == 0 {
            image[to..to + 8].copy_from_slice(&(to as u64 / 1024).to_le_bytes());
        }
        let _ = exercise(&image);
    }
}

#[test]
fn a_file_cut_short_is_refused() {
    let sound = sound_image();
    let used = open(&disk_with(&sound)).unwrap().size() as usize;
    for len in (0..used).step_by(1009) {
        match open(&disk_with(&sound[..len])) {
            Ok(_) => assert_eq!(len, 0, "an empty file is a new one"),
            Err(e) => assert!(matches!(e, Error::Damaged { .. } | Error::NotBolt(_)), "{e}"),
        }
    }
}

#[test]
fn a_lost_first_meta_page_is_replaced_by_the_second() {
    for lost in [0, 1024] {
        let mut image = sound_image();
        image[lost..lost + 1024].fill(0);
        let backend = open(&disk_with(&image)).unwrap();
        assert_eq!(backend.check().len(), 0);
        assert!(backend.range(Bucket::Key, b"", None).count() >= 300);
    }
}

fn set(image: &mut [u8], at: usize, bytes: &[u8]) {
    image[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Header, elements and data of a leaf, at the start of `page`.
fn leaf(page: &mut [u8], id: u64, records: &[(u32, &[u8], &[u8])]) {
    set(page, 0, &id.to_le_bytes());
    set(page, 8, &[2, 0]);
    set(page, 10, &(records.len() as u16).to_le_bytes());
    let mut data = 16 + records.len() * 16;
    for (n, (flags, key, value)) in records.iter().enumerate() {
        let element = 16 + n * 16;
        for (at, word) in
            [*flags, (data - element) as u32, key.len() as u32, value.len() as u32].iter().enumerate()
        {
            set(page, element + at * 4, &word.to_le_bytes());
        }
        set(page, data, key);
        set(page, data + key.len(), value);
        data += key.len() + value.len();
    }
}

/// A file whose root leaf holds `records`, on the pages of a fresh file.
fn file_with_root(records: &[(u32, &[u8], &[u8])]) -> Vec<u8> {
    let disk = MemDisk::new(0);
    drop(open(&disk).unwrap());
    let mut image = image_of(&disk);
    let root = |meta: usize| u64::from_le_bytes(image[meta + 32..meta + 40].try_into().unwrap());
    let txid = |meta: usize| u64::from_le_bytes(image[meta + 64..meta + 72].try_into().unwrap());
    let root = root(if txid(0) > txid(1024) { 0 } else { 1024 });
    leaf(&mut image[root as usize * 1024..][..1024], root, records);
    image
}

#[test]
fn nested_buckets_are_read_over_and_kept() {
    let mut nested = [0; 16 + 64];
    leaf(&mut nested[16..], 0, &[(0, b"deep", b"value")]);
    let mut lease = [0; 16 + 256];
    leaf(&mut lease[16..], 0, &[(0, b"a", b"1"), (1, b"nest", &nested), (0, b"z", b"2")]);
    let mut backend = open(&disk_with(&file_with_root(&[(1, b"lease", &lease)]))).unwrap();
    assert_eq!(backend.check().len(), 0);
    let keys = |backend: &Backend| -> Vec<Bytes> {
        backend.range(Bucket::Lease, b"", None).map(|record| record.unwrap().0).collect()
    };
    assert_eq!(keys(&backend), ["a", "z"]);
    assert_eq!(backend.get(Bucket::Lease, b"nest").unwrap(), None);
    backend.put(Bucket::Lease, Bytes::from_static(b"b"), Bytes::from_static(b"3"));
    backend.commit().unwrap();
    assert_eq!(keys(&backend), ["a", "b", "z"]);
    assert_eq!(backend.check().len(), 0);
    backend.put(Bucket::Lease, Bytes::from_static(b"nest"), Bytes::new());
    assert!(matches!(backend.commit(), Err(Error::NestedBucket)));
}

#[test]
fn buckets_that_multiply_by_sharing_bytes_end() {
    // Every level holds two elements that are the same bytes: the next level.
    let mut image = vec![0; 16];
    leaf_grow(&mut image, &[]);
    for _ in 0..40 {
        let mut outer = vec![0; 16 + 16 + 32 + 1];
        set(&mut outer, 16 + 8, &[2, 0, 2, 0]);
        for n in 0..2_usize {
            let element = 16 + 16 + n * 16;
            let key = 16 + 16 + 32 - element;
            for (at, word) in [1, key as u32, 1, image.len() as u32].iter().enumerate() {
                set(&mut outer, element + at * 4, &word.to_le_bytes());
            }
        }
        outer.extend_from_slice(&image);
        image = outer;
    }
    let disk = MemDisk::new(0);
    let opts = Options { page_size: 16384, ..Options::default() };
    drop(Backend::open(Arc::new(disk.clone()), Path::new(FILE), opts.clone()).unwrap());
    let mut file = image_of(&disk);
    leaf(&mut file[4 * 16384..][..16384], 4, &[(1, b"lease", &image)]);
    let opened = Backend::open(Arc::new(disk_with(&file)), Path::new(FILE), opts);
    assert!(matches!(opened, Err(Error::Damaged { .. })));
}

fn leaf_grow(image: &mut Vec<u8>, records: &[(u32, &[u8], &[u8])]) {
    image.resize(16 + 16 + records.len() * 32, 0);
    leaf(&mut image[16..], 0, records);
}
