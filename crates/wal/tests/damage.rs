//! Damaged logs: refused with file and offset, or read as if nothing had happened, but never read wrongly.
#![allow(clippy::unwrap_used)]

mod model;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use disk::{Disk, MemDisk, Open};
use proptest::prelude::*;
use raft::{ConfState, HardState, Index, MemberId, Term};
use wal::{Error, Options, Replay, SnapshotRecord, Wal};

const OPTIONS: Options = Options { segment_bytes: 1500 };

/// A log of several segments that holds every kind of record, and nothing that looks like a lost sector.
fn log() -> (MemDisk, Vec<(PathBuf, u64)>) {
    let disk = MemDisk::new(0);
    let dir = Path::new(model::DIR);
    disk.create_dir_all(Path::new("/member"), 0o700).unwrap();
    let mut wal = Wal::create(Arc::new(disk.clone()), dir, b"\x08\x01\x10\x02", OPTIONS).unwrap();
    for at in 0..20u64 {
        let len = [5, 200, 700, 90][(at % 4) as usize];
        let data = (0..len).map(|i| 1 + (i * 7 + at) as u8 % 255).collect();
        let state =
            HardState { term: Term(3 + at / 5), vote: MemberId(0x8e9e05c52164694d), commit: Index(at) };
        wal.append(Some(&state), &[model::entry(at + 1, 3 + at / 5, data)]).unwrap();
        if at == 9 {
            let conf_state = Some(ConfState { voters: vec![MemberId(1)], ..ConfState::default() });
            wal.save_snapshot(&SnapshotRecord { index: Index(at), term: Term(4), conf_state }).unwrap();
        }
    }
    wal.sync().unwrap();
    // What ends with a state could end with a damaged one, which no later term contradicts.
    wal.append(None, &[model::entry(21, 7, vec![9; 40])]).unwrap();
    wal.sync().unwrap();
    drop(wal);
    let mut used = Vec::new();
    wal::records(&disk, dir, |record| {
        let end = record.offset + 40 + record.data.len() as u64;
        match used.last_mut() {
            Some((path, len)) if *path == record.file => *len = end,
            _ => used.push((record.file, end)),
        }
    })
    .unwrap();
    assert!(used.len() > 3);
    (disk, used)
}

fn open(disk: &MemDisk) -> Result<Replay, Error> {
    let start = SnapshotRecord::default();
    Wal::open(Arc::new(disk.clone()), Path::new(model::DIR), &start, OPTIONS).map(|(_, replay)| replay)
}

#[test]
fn no_flipped_bit_makes_a_log_read_wrongly() {
    let (disk, files) = log();
    let whole = open(&disk).unwrap();
    assert_eq!(whole.entries.len(), 21);
    let step = if std::env::var_os("BALSA_LONG").is_some() { 1 } else { 3 };
    let (mut refused, mut harmless) = (0, 0);
    for (path, len) in &files {
        for place in (0..len * 8).step_by(step) {
            let (offset, bit) = (place / 8, (place % 8) as u8);
            disk.flip_bit(path, offset, bit).unwrap();
            match Wal::read(&disk, Path::new(model::DIR), &SnapshotRecord::default()) {
                Err(Error::Damaged { file, offset: found, .. }) => {
                    assert!(file >= *path, "{file:?} for {path:?}");
                    // A wrong chain at the very beginning shows in the record after it.
                    assert!(file != *path || found <= offset.max(16), "{found} for {offset}");
                    refused += 1;
                }
                Err(Error::SnapshotNotFound { .. }) => refused += 1,
                Ok(replay) => {
                    assert_eq!(replay, whole, "{path:?}, bit {bit} at {offset}");
                    harmless += 1;
                }
                Err(other) => panic!("{other}"),
            }
            disk.flip_bit(path, offset, bit).unwrap();
        }
    }
    // Harmless: in the zeros after the end, and in the term of snapshots nobody asked for.
    assert!(refused > 10 * harmless, "{refused} {harmless}");
    assert_eq!(open(&disk).unwrap(), whole);
}

#[test]
fn damage_is_told_with_file_and_offset() {
    let (disk, files) = log();
    let (path, _) = &files[1];
    let mut offset_of_third = 0;
    let mut count = 0;
    wal::records(&disk, Path::new(model::DIR), |record| {
        if record.file == *path {
            count += 1;
            if count == 3 {
                offset_of_third = record.offset;
            }
        }
    })
    .unwrap();
    disk.flip_bit(path, offset_of_third + 30, 0).unwrap();
    let error = open(&disk).unwrap_err();
    let expected = format!("{} is damaged at offset {offset_of_third}: ", path.display());
    assert!(error.to_string().starts_with(&expected), "{error}");
}

#[test]
fn a_missing_segment_is_noticed() {
    let (disk, files) = log();
    disk.remove(&files[1].0).unwrap();
    assert!(matches!(open(&disk), Err(Error::Damaged { file, .. }) if file == files[2].0));
    let (disk, files) = log();
    disk.remove(&files[0].0).unwrap();
    assert!(matches!(open(&disk), Err(Error::NotFound { .. })));
}

#[test]
fn a_segment_cut_short_in_the_middle_of_the_log_is_refused() {
    let (disk, files) = log();
    let file = disk.open(&files[1].0, Open::write()).unwrap();
    file.set_len(files[1].1 / 2).unwrap();
    assert!(matches!(open(&disk), Err(Error::Damaged { .. })));
}

#[test]
fn a_torn_end_is_cut_off_and_kept_aside() {
    let (disk, files) = log();
    let whole = open(&disk).unwrap();
    let (path, _) = files.last().unwrap();
    let mut last = None;
    wal::records(&disk, Path::new(model::DIR), |record| last = Some(record)).unwrap();
    let last = last.unwrap();
    let file = disk.open(path, Open::write()).unwrap();
    let len = file.len().unwrap();
    // A long record whose second sector did not make it, as a crash leaves it.
    let roomy = Options::default();
    let mut wal =
        Wal::open(Arc::new(disk.clone()), Path::new(model::DIR), &Default::default(), roomy).unwrap().0;
    wal.append(None, &[model::entry(22, 7, vec![1; 900])]).unwrap();
    wal.sync().unwrap();
    drop(wal);
    let second_sector = (last.offset / 512 + 2) * 512;
    file.write_at(&[0; 512], second_sector).unwrap();
    let before = {
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    };
    assert_eq!(Wal::read(&disk, Path::new(model::DIR), &Default::default()).unwrap(), whole);
    assert_eq!(open(&disk).unwrap(), whole);
    let broken = disk.open(&path.with_extension("wal.broken"), Open::read()).unwrap();
    let mut kept = vec![0; broken.len().unwrap() as usize];
    broken.read_exact_at(&mut kept, 0).unwrap();
    assert_eq!(kept, before);
    assert_eq!(file.len().unwrap(), len.max(before.len() as u64));
    let end = last.offset + 72; // its length field, 58 bytes, 6 of padding
    let mut rest = vec![1; (before.len() as u64 - end) as usize];
    file.read_exact_at(&mut rest, end).unwrap();
    assert!(rest.len() > 900 && rest.iter().all(|b| *b == 0), "nothing of it is left");
    // The same without a lost sector is damage.
    file.write_at(&before, 0).unwrap();
    file.write_at(&[3; 512], second_sector).unwrap();
    assert!(matches!(open(&disk), Err(Error::Damaged { .. })));
}

#[test]
fn a_file_that_ends_within_the_last_record_is_torn() {
    for cut in 1..60 {
        let (disk, files) = log();
        let whole = open(&disk).unwrap();
        let mut last = None;
        wal::records(&disk, Path::new(model::DIR), |record| last = Some(record)).unwrap();
        let file = disk.open(&files.last().unwrap().0, Open::write()).unwrap();
        file.set_len(last.unwrap().offset + cut).unwrap();
        let replay = open(&disk).unwrap();
        assert_eq!(replay.entries, whole.entries[..20], "{cut}");
    }
}

#[test]
fn metadata_must_be_the_same_in_all_segments() {
    // Two logs, one segment of each: same length of names, other ids.
    let (disk, files) = log();
    let other = MemDisk::new(0);
    other.create_dir_all(Path::new("/member"), 0o700).unwrap();
    Wal::create(Arc::new(other.clone()), Path::new(model::DIR), b"\x08\x09\x10\x02", OPTIONS).unwrap();
    let mut head = vec![0; 512];
    let first = other.open(&files[0].0, Open::read()).unwrap();
    first.read_exact_at(&mut head, 0).unwrap();
    disk.open(&files[0].0, Open::write()).unwrap().write_at(&head[..40], 0).unwrap();
    assert!(matches!(open(&disk), Err(Error::Damaged { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if std::env::var_os("BALSA_LONG").is_some() { 5000 } else { 100 }))]

    #[test]
    fn whatever_a_segment_holds_reading_answers_or_refuses(
        changes in prop::collection::vec((0usize..2000, any::<u8>()), 0..6),
        cut in prop::option::of(0u64..2000),
        which in 0usize..4,
    ) {
        let (disk, files) = log();
        let file = disk.open(&files[which].0, Open::write()).unwrap();
        for (place, byte) in changes {
            file.write_at(&[byte], place as u64).unwrap();
        }
        if let Some(cut) = cut {
            file.set_len(cut).unwrap();
        }
        let start = SnapshotRecord::default();
        match (Wal::read(&disk, Path::new(model::DIR), &start), open(&disk)) {
            (Ok(read), Ok(opened)) => {
                prop_assert_eq!(&read, &opened);
                prop_assert_eq!(open(&disk).unwrap(), opened, "a repair lasts");
            }
            (Err(_), Err(_)) => {}
            (read, opened) => prop_assert!(false, "{read:?}, {opened:?}"),
        }
    }
}
