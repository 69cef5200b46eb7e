//! The bytes of a log, as Go etcd writes them.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use disk::{Disk, MemDisk, Open};
use raft::{ConfState, Entry, EntryKind, HardState, Index, MemberId, Snapshot, Term};
use wal::{Options, SnapshotRecord, Wal, codec, snap};

const DIR: &str = "/member/wal";
const FIRST: &str = "/member/wal/0000000000000000-0000000000000000.wal";

fn disk() -> Arc<MemDisk> {
    let disk = MemDisk::new(0);
    disk.create_dir_all(Path::new("/member"), 0o700).unwrap();
    Arc::new(disk)
}

fn read(disk: &MemDisk, path: &str) -> Vec<u8> {
    let file = disk.open(Path::new(path), Open::read()).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn hex(text: &str) -> Vec<u8> {
    text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

#[test]
fn the_head_of_a_new_log_is_that_of_etcd() {
    let disk = disk();
    let metadata = codec::encode_metadata(MemberId(0x8e9e05c52164694d), 0xcdf818194e3a8c32);
    Wal::create(disk.clone(), Path::new(DIR), &metadata, Options::default()).unwrap();
    let bytes = read(&disk, FIRST);
    let expected = hex("04 00 00 00 00 00 00 84 08 04 10 00 00 00 00 00 \
         20 00 00 00 00 00 00 00 08 01 10 bb 81 c7 fc 05 1a 16 08 cd d2 91 8b d2 b8 81 cf 8e 01 10 b2 98 ea f1 94 83 86 fc cd 01 \
         0e 00 00 00 00 00 00 82 08 05 10 94 bb c7 ed 0e 1a 04 08 00 10 00 00 00");
    assert_eq!(bytes[..expected.len()], expected);
    assert!(bytes[expected.len()..].iter().all(|b| *b == 0));
    assert_eq!(bytes.len(), 64_000_000);
}

#[test]
fn metadata_holds_the_ids() {
    let metadata = codec::encode_metadata(MemberId(0x8e9e05c52164694d), 7);
    assert_eq!(codec::decode_metadata(&metadata).unwrap(), (MemberId(0x8e9e05c52164694d), 7));
}

#[test]
fn records_are_written_field_by_field_with_zeros() {
    let disk = disk();
    let mut wal = Wal::create(disk.clone(), Path::new(DIR), b"", Options::default()).unwrap();
    let start = 16 + 16 + 24; // the head: chain, empty metadata, snapshot
    let entry = Entry {
        term: Term(2),
        index: Index(300),
        kind: EntryKind::ConfChange,
        data: Bytes::from_static(b"ab"),
    };
    let no_op = Entry { term: Term(2), index: Index(301), ..Entry::default() };
    let state = HardState { term: Term(2), vote: MemberId(0), commit: Index(300) };
    wal.append(Some(&state), &[entry, no_op]).unwrap();
    wal.sync().unwrap();
    let bytes = read(&disk, FIRST);
    let mut at = start;
    let mut data = |len: usize| {
        // length field, type, tag of crc and up to five bytes of it, tag and length of data: find the data's tag
        let record = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) & 0xff_ffff;
        let end = at + 8 + record as usize;
        at = end.next_multiple_of(8);
        bytes[end - len..end].to_vec()
    };
    assert_eq!(data(11), hex("08 01 10 02 18 ac 02 22 02 61 62"));
    assert_eq!(data(7), hex("08 00 10 02 18 ad 02"));
    assert_eq!(data(7), hex("08 02 10 00 18 ac 02"));
}

#[test]
fn a_snap_file_is_a_checksum_and_a_raft_snapshot() {
    let disk = disk();
    let conf_state = ConfState { voters: vec![MemberId(1)], ..ConfState::default() };
    let snapshot = Snapshot { index: Index(5), term: Term(2), conf_state, data: Bytes::from_static(b"{}") };
    let path = snap::save(&*disk, Path::new("/member"), &snapshot).unwrap();
    assert_eq!(path, Path::new("/member/0000000000000002-0000000000000005.snap"));
    let bytes = read(&disk, path.to_str().unwrap());
    let inner = hex("0a 02 7b 7d 12 0a 0a 04 08 01 28 00 10 05 18 02");
    assert_eq!(bytes[bytes.len() - inner.len()..], inner);
    assert_eq!(bytes[0], 0x08);
    let valid = [SnapshotRecord { index: Index(5), term: Term(2), conf_state: None }];
    assert_eq!(snap::load_newest(&*disk, Path::new("/member"), &valid).unwrap(), Some(snapshot));
}
