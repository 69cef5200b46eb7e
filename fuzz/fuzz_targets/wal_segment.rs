//! Any bytes as the only segment of a log: reading and opening answer or fail, but never panic; and what was opened
//! once is found again, the same, after the repair.
//!
//! The first byte chooses: the rest are the segment, or changes (place, value) to a sound one, which get further
//! because the checksums hold up to the first change.
#![no_main]

use std::path::Path;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use disk::{Disk, MemDisk, Open};
use libfuzzer_sys::fuzz_target;
use raft::{Entry, HardState, Index, MemberId, Term};
use wal::{Options, SnapshotRecord, Wal};

const OPTIONS: Options = Options { segment_bytes: 1 << 16 };
const FILE: &str = "/m/wal/0000000000000000-0000000000000000.wal";

fn empty() -> MemDisk {
    let disk = MemDisk::new(0);
    disk.create_dir_all(Path::new("/m/wal"), 0o700).expect("an empty disk");
    disk
}

fn sound() -> &'static [u8] {
    static SEGMENT: OnceLock<Vec<u8>> = OnceLock::new();
    SEGMENT.get_or_init(|| {
        let disk = empty();
        let wal = Wal::create(Arc::new(disk.clone()), Path::new("/m/wal"), b"\x08\x01\x10\x02", OPTIONS);
        let mut wal = wal.expect("a new log");
        for at in 1..20u64 {
            let data = Bytes::from(vec![at as u8 % 3; at as usize * 50]);
            let entry = Entry { term: Term(1), index: Index(at), data, ..Entry::default() };
            let state = HardState { term: Term(1), vote: MemberId(1), commit: Index(at - 1) };
            wal.append(Some(&state), &[entry]).and_then(|()| wal.sync()).expect("appended");
        }
        let file = disk.open(Path::new(FILE), Open::read()).expect("the segment");
        let mut bytes = vec![0; 16384];
        file.read_exact_at(&mut bytes, 0).expect("the segment is longer");
        bytes
    })
}

fuzz_target!(|input: &[u8]| {
    let Some((mode, rest)) = input.split_first() else { return };
    let mut segment = if *mode % 2 == 0 { rest.to_vec() } else { sound().to_vec() };
    if *mode % 2 == 1 {
        for change in rest.chunks_exact(3) {
            let place = usize::from(change[0]) << 8 | usize::from(change[1]);
            let len = segment.len();
            segment[place % len] = change[2];
        }
    }
    let disk = empty();
    let file = disk.open(Path::new(FILE), Open::create(0o600)).expect("created");
    file.write_at(&segment, 0).expect("written");
    let start = SnapshotRecord::default();
    let _ = wal::snapshot_records(&disk, Path::new("/m/wal"));
    let read = Wal::read(&disk, Path::new("/m/wal"), &start);
    let opened = Wal::open(Arc::new(disk.clone()), Path::new("/m/wal"), &start, OPTIONS);
    match (read, opened) {
        (Ok(read), Ok((wal, replay))) => {
            assert_eq!(read, replay);
            drop(wal);
            let again = Wal::open(Arc::new(disk), Path::new("/m/wal"), &start, OPTIONS).expect("repaired");
            assert_eq!(again.1, replay);
        }
        (Err(_), Err(_)) => {}
        (read, opened) => panic!("{read:?} but {:?}", opened.map(|(_, replay)| replay)),
    }
});
