//! Any bytes as entries of the log: applying them answers or fails, but never panics, and the store opens again with
//! what was committed. The first byte of each piece is its length.
#![no_main]

use std::path::Path;
use std::sync::Arc;

use backend::Backend;
use bytes::Bytes;
use disk::{Disk, MemDisk};
use libfuzzer_sys::fuzz_target;
use store::{Entry, Options, Store};

fn open(disk: &MemDisk) -> Store {
    let small = backend::Options { growth_bytes: 64 << 10, map_min_bytes: 1 << 20, ..Default::default() };
    let backend = Backend::open(Arc::new(disk.clone()), Path::new("/data/db"), small).expect("a sound disk");
    Store::open(backend, Options::default()).expect("what was committed can be read")
}

fuzz_target!(|input: &[u8]| {
    let disk = MemDisk::new(0);
    disk.create_dir_all(Path::new("/data"), 0o700).expect("an empty disk");
    let mut store = open(&disk);
    let mut rest = input;
    let mut index = 0;
    while let Some((len, tail)) = rest.split_first() {
        let (piece, tail) = tail.split_at(tail.len().min(*len as usize));
        rest = tail;
        index += 1;
        let data = Bytes::copy_from_slice(piece);
        let outcome = store.apply(Entry { index, term: 1, data: &data }, index % 2 == 0);
        if outcome.result.is_err_and(|error| error.is_fatal()) {
            return; // the process would stop here
        }
    }
    if store.commit().is_ok() {
        drop(store);
        open(&disk);
    }
});
