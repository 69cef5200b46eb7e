//! Any bytes as the only segment of a log: reading and opening, from the beginning and after the newest snapshot, answer or
//! fail, but never panic; and what was opened once is found again, the same, after the repair.
//!
//! The first byte chooses: the rest are the segment, or changes (place, value) to a sound one, which get further
//! because the checksums hold up to the first change.
#![no_main]

use std::path::Path;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use disk::{Disk, MemDisk, Open};
use libfuzzer_sys::fuzz_target;
use raft::{ConfState, Entry, HardState, Index, MemberId, Term};
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
        let append = |wal: &mut Wal, at: u64, term: u64| {
            let data = Bytes::from(vec![at as u8 % 3; at as usize * 40]);
            let entry = Entry { term: Term(term), index: Index(at), data, ..Entry::default() };
            let state = HardState { term: Term(term), vote: MemberId(1), commit: Index(at - 1) };
            wal.append(Some(&state), &[entry]).and_then(|()| wal.sync()).expect("appended");
        };
        let record = |at, term| SnapshotRecord {
            index: Index(at),
            term: Term(term),
            conf_state: Some(ConfState { voters: vec![MemberId(1)], ..ConfState::default() }),
        };
        (1..15).for_each(|at| append(&mut wal, at, 1));
        wal.save_own_snapshot(&record(9, 1)).expect("noted");
        // A leader's replaces the last entries.
        wal.save_snapshot(&record(12, 2)).expect("noted");
        (13..20).for_each(|at| append(&mut wal, at, 2));
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
    let newest =
        wal::snapshot_records(&disk_of(&segment), Path::new("/m/wal")).ok().and_then(|mut all| all.pop());
    for start in [Some(SnapshotRecord::default()), newest].into_iter().flatten() {
        check(&disk_of(&segment), &start);
    }
});

fn disk_of(segment: &[u8]) -> MemDisk {
    let disk = empty();
    let file = disk.open(Path::new(FILE), Open::create(0o600)).expect("created");
    file.write_at(segment, 0).expect("written");
    disk
}

fn check(disk: &MemDisk, start: &SnapshotRecord) {
    let read = Wal::read(disk, Path::new("/m/wal"), start);
    let open = || Wal::open(Arc::new(disk.clone()), Path::new("/m/wal"), start, OPTIONS);
    match (read, open()) {
        (Ok(read), Ok((wal, replay))) => {
            assert_eq!(read, replay);
            drop(wal);
            assert_eq!(open().expect("repaired").1, replay);
        }
        (Err(_), Err(_)) => {}
        (read, opened) => panic!("{read:?} but {:?}", opened.map(|(_, replay)| replay)),
    }
}
