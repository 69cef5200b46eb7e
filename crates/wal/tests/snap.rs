//! Snapshot files: which one is loaded, which are set aside, which are removed.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use bytes::Bytes;
use disk::{Disk, MemDisk, Open};
use raft::{ConfState, Index, MemberId, Snapshot, Term};
use wal::{Error, SnapshotRecord, snap};

const DIR: &str = "/snap";

fn disk() -> MemDisk {
    let disk = MemDisk::new(0);
    disk.create_dir_all(Path::new(DIR), 0o700).unwrap();
    disk
}

fn snapshot(term: u64, index: u64) -> Snapshot {
    let conf_state = ConfState {
        voters: vec![MemberId(1), MemberId(2)],
        learners: vec![MemberId(3)],
        ..ConfState::default()
    };
    Snapshot { index: Index(index), term: Term(term), conf_state, data: Bytes::from(vec![7; 1000]) }
}

fn record(term: u64, index: u64) -> SnapshotRecord {
    SnapshotRecord { index: Index(index), term: Term(term), conf_state: None }
}

fn names(disk: &MemDisk) -> Vec<String> {
    disk.list(Path::new(DIR)).unwrap()
}

fn touch(disk: &MemDisk, names: &[&str]) {
    for name in names {
        disk.open(&Path::new(DIR).join(name), Open::create(0o600)).unwrap();
    }
}

#[test]
fn the_newest_by_term_then_index_that_the_log_knows_is_loaded() {
    let disk = disk();
    for (term, index) in [(1, 300), (2, 100), (2, 200), (3, 250)] {
        snap::save(&disk, Path::new(DIR), &snapshot(term, index)).unwrap();
    }
    let load = |valid: &[SnapshotRecord]| snap::load_newest(&disk, Path::new(DIR), valid).unwrap();
    assert_eq!(load(&[record(1, 300), record(2, 100), record(2, 200)]), Some(snapshot(2, 200)));
    assert_eq!(
        load(&[record(1, 300), record(3, 200)]),
        Some(snapshot(1, 300)),
        "index and term must both agree"
    );
    assert_eq!(load(&[]), None);
    assert_eq!(names(&disk).len(), 4);
}

#[test]
fn a_file_that_cannot_be_read_is_set_aside_and_the_one_before_it_is_taken() {
    let disk = disk();
    snap::save(&disk, Path::new(DIR), &snapshot(1, 1)).unwrap();
    let damaged = snap::save(&disk, Path::new(DIR), &snapshot(1, 2)).unwrap();
    touch(&disk, &["0000000000000001-0000000000000003.snap"]);
    disk.flip_bit(&damaged, 500, 1).unwrap();
    assert!(matches!(snap::read(&disk, &damaged), Err(Error::Damaged { file, .. }) if file == damaged));
    let valid = [record(1, 1), record(1, 2), record(1, 3)];
    assert_eq!(snap::load_newest(&disk, Path::new(DIR), &valid).unwrap(), Some(snapshot(1, 1)));
    assert_eq!(
        names(&disk),
        [
            "0000000000000001-0000000000000001.snap",
            "0000000000000001-0000000000000002.snap.broken",
            "0000000000000001-0000000000000003.snap.broken"
        ]
    );
}

#[test]
fn no_flipped_bit_makes_another_snapshot() {
    let bytes = snap::encode(&snapshot(5, 6));
    assert_eq!(snap::decode(bytes.clone().into()).unwrap(), snapshot(5, 6));
    let mut refused = 0;
    for place in 0..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[place / 8] ^= 1 << (place % 8);
        match snap::decode(bytes.into()) {
            Ok(read) => assert_eq!(read, snapshot(5, 6), "{place}"),
            Err(_) => refused += 1,
        }
    }
    // The rest: bits of the checksum's varint beyond the 32 that count.
    assert!(refused >= bytes.len() * 8 - 3, "{refused}");
}

#[test]
fn a_saved_file_survives_a_crash() {
    for seed in 0..20 {
        let disk = disk();
        disk.sync_dir(Path::new("/")).unwrap();
        snap::save(&disk, Path::new(DIR), &snapshot(1, 1)).unwrap();
        let left = disk.crash(seed);
        let loaded = snap::load_newest(&left, Path::new(DIR), &[record(1, 1)]).unwrap();
        assert_eq!(loaded, Some(snapshot(1, 1)));
    }
}

#[test]
fn the_oldest_files_are_purged_and_received_databases_stay() {
    let disk = disk();
    let files = [
        "0000000000000001-0000000000000001.snap",
        "0000000000000001-0000000000000002.snap",
        "0000000000000001-0000000000000003.snap.broken",
        "0000000000000002-0000000000000003.snap",
        "0000000000000005.snap.db",
        "0000000000000009.snap.db",
        "db",
    ];
    touch(&disk, &files);
    let purge = |keep, needed| snap::purge(&disk, Path::new(DIR), keep, Index(needed)).unwrap();
    assert_eq!(purge(0, 9), Vec::<String>::new());
    assert_eq!(purge(2, 9), files[..1]);
    assert_eq!(purge(1, 2), Vec::<String>::new(), "a start may need the older one");
    assert_eq!(purge(1, 3), [files[1]]);
    assert_eq!(names(&disk), files[2..]);
}

#[test]
fn received_files_below_a_snapshot_and_leftovers_of_transfers_are_removed() {
    let disk = disk();
    touch(&disk, &["db", "tmp123", "000000000000000f.snap.db", "0000000000000010.snap.db", "x.snap.db"]);
    assert_eq!(snap::received_db_name(Index(16)), "0000000000000010.snap.db");
    let removed = snap::remove_received_below(&disk, Path::new(DIR), Index(16)).unwrap();
    assert_eq!(removed, ["000000000000000f.snap.db"]);
    assert_eq!(snap::remove_leftovers(&disk, Path::new(DIR)).unwrap(), ["tmp123"]);
    assert_eq!(names(&disk), ["0000000000000010.snap.db", "db", "x.snap.db"]);
}
