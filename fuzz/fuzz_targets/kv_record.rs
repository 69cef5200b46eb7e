//! Any bytes as records of bucket `key`: opening refuses them as damage or serves them, but never panics.
//! A piece is a length byte for the key, the key, a length byte for the value, the value.
#![no_main]

use std::path::Path;
use std::sync::Arc;

use backend::{Backend, Bucket};
use bytes::Bytes;
use disk::{Disk, MemDisk};
use libfuzzer_sys::fuzz_target;
use mvcc::{Kv, RangeQuery};

fn piece<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, tail) = rest.split_first()?;
    let (piece, tail) = tail.split_at(tail.len().min(*len as usize));
    *rest = tail;
    Some(piece)
}

fuzz_target!(|input: &[u8]| {
    let disk = MemDisk::new(0);
    disk.create_dir_all(Path::new("/data"), 0o700).expect("an empty disk");
    let small = backend::Options { growth_bytes: 64 << 10, map_min_bytes: 1 << 20, ..Default::default() };
    let mut backend = Backend::open(Arc::new(disk), Path::new("/data/db"), small).expect("a sound disk");
    let mut rest = input;
    while let (Some(key), Some(value)) = (piece(&mut rest), piece(&mut rest)) {
        if !key.is_empty() {
            backend.put(Bucket::Key, Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
        }
    }
    let Ok((kv, _)) = Kv::open(&mut backend) else { return };
    let reader = kv.reader(&backend);
    let all = RangeQuery { key: Bytes::from_static(b"\0"), end: Bytes::from_static(b"\0"), ..Default::default() };
    let _ = reader.range(&all);
    let _ = reader.hash_kv(0);
});
