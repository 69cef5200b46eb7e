//! A sound bolt file with bytes changed at places the fuzzer chooses: reading, checking, writing and defragmenting it
//! answer or fail, but never panic or hang.
#![no_main]

use std::path::Path;
use std::sync::{Arc, OnceLock};

use backend::{Backend, Bucket, Error, Options};
use bytes::Bytes;
use disk::{Disk, MemDisk, Open};
use libfuzzer_sys::fuzz_target;

fn open(disk: &MemDisk) -> Result<Backend, Error> {
    let opts = Options { page_size: 1024, growth_bytes: 0, map_min_bytes: 1 << 20, ..Options::default() };
    Backend::open(Arc::new(disk.clone()), Path::new("/db"), opts)
}

fn put(backend: &mut Backend, n: u64, len: usize) {
    backend.put(Bucket::Key, Bytes::copy_from_slice(&n.to_be_bytes()), Bytes::from(vec![7; len]));
}

fn sound() -> &'static [u8] {
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let disk = MemDisk::new(0);
        let mut backend = open(&disk).expect("a new file");
        for n in 0..120 {
            put(&mut backend, n, if n == 60 { 2000 } else { n as usize % 90 });
            backend.put(Bucket::Members, Bytes::copy_from_slice(&[n as u8 % 3 + 1]), Bytes::new());
            if n % 40 == 0 {
                backend.commit().expect("a commit");
            }
        }
        backend.commit().expect("a commit");
        drop(backend);
        let file = disk.open(Path::new("/db"), Open::read()).expect("the file");
        let mut image = vec![0; file.len().expect("its length") as usize];
        file.read_exact_at(&mut image, 0).expect("its contents");
        image
    })
}

fn exercise(image: &[u8]) -> Result<(), Error> {
    let disk = MemDisk::new(0);
    disk.open(Path::new("/db"), Open::create(0o600)).and_then(|file| file.write_at(image, 0)).expect("memory");
    let mut backend = open(&disk)?;
    let _ = backend.check();
    for bucket in Bucket::ALL {
        let read = backend.read();
        let _ = read.range(bucket, b"", None).count() + read.range_rev(bucket, b"", None).count();
    }
    for n in 0..60 {
        put(&mut backend, n * 3, 40);
        backend.delete(Bucket::Key, &(n * 2).to_be_bytes());
    }
    backend.commit()?;
    backend.defragment()
}

// Each three bytes of input: where (16 bits) and what.
fuzz_target!(|changes: &[u8]| {
    let mut image = sound().to_vec();
    for change in changes.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % image.len();
        image[at] = change[2];
    }
    let _ = exercise(&image);
});
