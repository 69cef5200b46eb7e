//! The rules of reading and of segments: what replaces what, where a reader may start, what is kept.
#![allow(clippy::unwrap_used)]

mod model;

use std::path::Path;
use std::sync::Arc;

use disk::{Disk, MemDisk, Open, OsDisk};
use model::{Chance, Model, entry};
use proptest::prelude::*;
use raft::{ConfState, Entry, EntryKind, HardState, Index, MemberId, Term};
use wal::{Error, Options, SnapshotRecord, Wal, metadata, records, snapshot_records};

const SMALL: Options = Options { segment_bytes: 2048 };

fn dir() -> &'static Path {
    Path::new(model::DIR)
}

fn created(options: Options) -> (Arc<dyn Disk>, MemDisk, Wal) {
    let mem = MemDisk::new(0);
    mem.create_dir_all(Path::new("/member"), 0o700).unwrap();
    let disk: Arc<dyn Disk> = Arc::new(mem.clone());
    let wal = Wal::create(disk.clone(), dir(), b"meta", options).unwrap();
    (disk, mem, wal)
}

fn state(term: u64, commit: u64) -> HardState {
    HardState { term: Term(term), vote: MemberId(1), commit: Index(commit) }
}

fn record(index: u64, term: u64) -> SnapshotRecord {
    let conf_state = ConfState { voters: vec![MemberId(7)], ..ConfState::default() };
    SnapshotRecord { index: Index(index), term: Term(term), conf_state: Some(conf_state) }
}

fn segments(disk: &dyn Disk) -> Vec<String> {
    disk.list(dir()).unwrap()
}

fn fill(wal: &mut Wal, from: u64, to: u64) {
    for index in from..=to {
        wal.append(Some(&state(1, index - 1)), &[entry(index, 1, vec![5; 400])]).unwrap();
        wal.sync().unwrap();
    }
}

#[test]
fn what_was_appended_is_read_back() {
    let (disk, _, mut wal) = created(SMALL);
    let entries = [
        entry(1, 1, vec![]),
        Entry { kind: EntryKind::ConfChange, ..entry(2, 1, b"change".to_vec()) },
        entry(3, 2, vec![9; 5000]),
    ];
    wal.append(Some(&state(2, 1)), &entries).unwrap();
    wal.close().unwrap();
    let (_, replay) = Wal::open(disk, dir(), &Default::default(), SMALL).unwrap();
    assert_eq!(replay.entries, entries);
    assert_eq!(replay.hard_state, state(2, 1));
    assert_eq!(&replay.metadata[..], b"meta");
    assert_eq!(replay.snapshot, SnapshotRecord::default());
}

#[test]
fn a_later_entry_replaces_the_tail() {
    let (disk, _, mut wal) = created(SMALL);
    wal.append(None, &[entry(1, 1, vec![1]), entry(2, 1, vec![2]), entry(3, 1, vec![3])]).unwrap();
    wal.append(None, &[entry(2, 2, vec![4])]).unwrap();
    wal.close().unwrap();
    let replay = Wal::read(&*disk, dir(), &Default::default()).unwrap();
    assert_eq!(replay.entries, [entry(1, 1, vec![1]), entry(2, 2, vec![4])]);
}

#[test]
fn a_gap_between_entries_is_refused() {
    let (disk, _, mut wal) = created(SMALL);
    wal.append(None, &[entry(1, 1, vec![1]), entry(3, 1, vec![3])]).unwrap();
    wal.close().unwrap();
    let error = Wal::read(&*disk, dir(), &Default::default()).unwrap_err();
    assert!(matches!(&error, Error::Damaged { what, .. } if what == "entry 3 follows entry 1"), "{error}");
}

#[test]
fn reading_starts_at_a_snapshot_the_log_knows() {
    let (disk, _, mut wal) = created(SMALL);
    wal.append(Some(&state(1, 3)), &[entry(1, 1, vec![]), entry(2, 1, vec![]), entry(3, 1, vec![3])])
        .unwrap();
    wal.save_snapshot(&record(2, 1)).unwrap();
    wal.close().unwrap();
    let replay = Wal::read(&*disk, dir(), &record(2, 1)).unwrap();
    assert_eq!((replay.entries, replay.snapshot), (vec![entry(3, 1, vec![3])], record(2, 1)));
    let without = SnapshotRecord { conf_state: None, ..record(2, 1) };
    assert_eq!(
        Wal::read(&*disk, dir(), &without).unwrap().snapshot,
        record(2, 1),
        "the log knows the members"
    );
    let mismatch = Wal::read(&*disk, dir(), &record(2, 9)).unwrap_err();
    assert!(matches!(mismatch, Error::SnapshotMismatch { found: Term(1), .. }));
    let missing = Wal::read(&*disk, dir(), &record(3, 1)).unwrap_err();
    assert!(matches!(missing, Error::SnapshotNotFound { index: Index(3) }));
}

#[test]
fn a_leaders_snapshot_replaces_what_was_behind_it_and_a_snapshot_of_its_own_does_not() {
    let (disk, _, mut wal) = created(SMALL);
    let entries: Vec<Entry> = (1..=5).map(|index| entry(index, 1, vec![1])).collect();
    wal.append(Some(&state(1, 3)), &entries).unwrap();
    wal.save_snapshot(&record(3, 1)).unwrap();
    assert_eq!(Wal::read(&*disk, dir(), &record(3, 1)).unwrap().entries, entries[3..]);
    // The leader of term 2 has another entry 4.
    wal.save_snapshot(&record(4, 2)).unwrap();
    wal.append(Some(&state(2, 4)), &[]).unwrap();
    wal.sync().unwrap();
    assert_eq!(Wal::read(&*disk, dir(), &record(4, 2)).unwrap().entries, []);
    // Its log goes on, and another snapshot of the same state changes nothing.
    let more = [entry(5, 2, vec![2]), entry(6, 2, vec![2])];
    wal.append(Some(&state(2, 6)), &more).unwrap();
    wal.save_snapshot(&record(4, 2)).unwrap();
    assert_eq!(Wal::read(&*disk, dir(), &record(4, 2)).unwrap().entries, more);
}

#[test]
fn a_snapshot_beyond_the_commit_index_is_not_valid() {
    let (disk, _, mut wal) = created(SMALL);
    wal.append(Some(&state(1, 1)), &[entry(1, 1, vec![]), entry(2, 1, vec![])]).unwrap();
    wal.save_snapshot(&record(1, 1)).unwrap();
    wal.save_snapshot(&record(2, 1)).unwrap();
    assert_eq!(snapshot_records(&*disk, dir()).unwrap(), [SnapshotRecord::default(), record(1, 1)]);
    wal.append(Some(&state(1, 2)), &[]).unwrap();
    wal.sync().unwrap();
    assert_eq!(snapshot_records(&*disk, dir()).unwrap().pop(), Some(record(2, 1)));
}

#[test]
fn the_metadata_is_in_the_head_of_the_newest_segment() {
    let (disk, mem, mut wal) = created(SMALL);
    assert!(matches!(metadata(&*disk, Path::new("/member")), Err(Error::NotFound { .. })));
    fill(&mut wal, 1, 20);
    assert_eq!(metadata(&*disk, dir()).unwrap(), "meta");
    let all = segments(&*disk);
    let spoil = |name: &str| mem.open(&dir().join(name), Open::write()).unwrap().write_at(&[7], 20).unwrap();
    spoil(&all[0]);
    assert_eq!(metadata(&*disk, dir()).unwrap(), "meta");
    spoil(&all[all.len() - 1]);
    assert!(matches!(metadata(&*disk, dir()), Err(Error::Damaged { .. })));
}

#[test]
fn a_snapshot_older_than_the_newest_noted_is_passed_over() {
    let (disk, _, mut wal) = created(SMALL);
    fill(&mut wal, 1, 5);
    // A leader's snapshot replaces the log; then the member's own one, begun before, is ready.
    wal.save_snapshot(&record(9, 1)).unwrap();
    wal.append(Some(&state(1, 9)), &[]).unwrap();
    wal.save_snapshot(&record(4, 1)).unwrap();
    wal.append(Some(&state(1, 9)), &[entry(10, 1, vec![1])]).unwrap();
    wal.close().unwrap();
    let newest = snapshot_records(&*disk, dir()).unwrap().pop().unwrap();
    assert_eq!(newest, record(9, 1));
    let (mut wal, replay) = Wal::open(disk.clone(), dir(), &newest, SMALL).unwrap();
    assert_eq!(replay.entries, [entry(10, 1, vec![1])]);
    // The same after a restart.
    wal.save_snapshot(&record(4, 1)).unwrap();
    wal.close().unwrap();
    assert_eq!(snapshot_records(&*disk, dir()).unwrap().pop().unwrap(), newest);
}

#[test]
fn a_snapshot_record_needs_the_members() {
    let (_, _, mut wal) = created(SMALL);
    let without = SnapshotRecord { conf_state: None, ..record(2, 1) };
    assert!(matches!(wal.save_snapshot(&without), Err(Error::NoConfState { index: Index(2) })));
    wal.save_snapshot(&record(2, 1)).unwrap();
}

#[test]
fn a_full_segment_is_cut_to_its_length_and_the_next_begins_with_chain_metadata_and_state() {
    let (disk, _, mut wal) = created(SMALL);
    fill(&mut wal, 1, 6);
    drop(wal);
    assert_eq!(
        segments(&*disk),
        ["0000000000000000-0000000000000000.wal", "0000000000000001-0000000000000006.wal"]
    );
    let mut seen = Vec::new();
    let mut ends = std::collections::BTreeMap::new();
    records(&*disk, dir(), |record| {
        seen.push((record.file.to_string_lossy().as_bytes()[27] - b'0', record.kind as u8));
        ends.insert(record.file, record.offset);
    })
    .unwrap();
    assert_eq!(
        seen.iter().filter(|(segment, _)| *segment == 1).map(|(_, kind)| *kind).collect::<Vec<_>>()[..4],
        [4, 1, 3, 2]
    );
    let first = disk.open(&dir().join("0000000000000000-0000000000000000.wal"), Open::read()).unwrap();
    let len = first.len().unwrap();
    assert!((2048..2600).contains(&len) && len.is_multiple_of(8), "{len}");
    let second = disk.open(&dir().join("0000000000000001-0000000000000006.wal"), Open::read()).unwrap();
    assert_eq!(second.len().unwrap(), 2048);
}

#[test]
fn a_snapshot_ahead_of_the_entries_moves_the_next_segments_name() {
    let (disk, _, mut wal) = created(SMALL);
    wal.append(Some(&state(1, 900)), &[]).unwrap();
    wal.save_snapshot(&record(900, 1)).unwrap();
    wal.append(None, &[entry(901, 1, vec![1; 3000])]).unwrap();
    assert_eq!(segments(&*disk)[1], "0000000000000001-0000000000000386.wal");
    drop(wal);
    let (mut wal, replay) = Wal::open(disk.clone(), dir(), &record(900, 1), SMALL).unwrap();
    assert_eq!(replay.entries.len(), 1);
    wal.append(None, &[entry(902, 1, vec![1; 3000])]).unwrap();
    assert_eq!(segments(&*disk)[2], "0000000000000002-0000000000000387.wal");
}

#[test]
fn what_an_earlier_process_left_in_a_tmp_file_is_cut_off_first() {
    let (disk, _, mut wal) = created(SMALL);
    for name in ["0.tmp", "1.tmp"] {
        let stale = disk.open(&dir().join(name), Open::create(0o600)).unwrap();
        stale.write_at(&[0xff; 5000], 0).unwrap();
    }
    fill(&mut wal, 1, 20);
    drop(wal);
    assert_eq!(Wal::read(&*disk, dir(), &Default::default()).unwrap().entries.len(), 20);
}

#[test]
fn released_segments_are_purged_and_locked_ones_stay() {
    let (disk, _, mut wal) = created(SMALL);
    fill(&mut wal, 1, 30);
    let all = segments(&*disk);
    assert_eq!(all.len(), 7, "{all:?}");
    assert_eq!(Wal::purge(&*disk, dir(), 2).unwrap(), Vec::<String>::new());
    // The segments begin at 0, 6, 11, 16, 21, ...: 16 is in the one that begins at 16, but the lock before it stays,
    // as in etcd, because only a smaller beginning counts.
    wal.save_own_snapshot(&record(16, 1)).unwrap();
    assert_eq!((wal.release(), wal.release()), (Some(Index(16)), None), "told once");
    assert_eq!(Wal::purge(&*disk, dir(), 0).unwrap(), Vec::<String>::new(), "0 keeps all");
    assert_eq!(Wal::purge(&*disk, dir(), 6).unwrap(), all[..1]);
    assert_eq!(Wal::purge(&*disk, dir(), 2).unwrap(), all[1..2]);
    drop(wal);
    let (wal, replay) = Wal::open(disk.clone(), dir(), &record(16, 1), SMALL).unwrap();
    assert_eq!(replay.entries.len(), 14);
    drop(wal);
    assert_eq!(Wal::purge(&*disk, dir(), 2).unwrap(), all[2..5]);
    assert!(matches!(Wal::read(&*disk, dir(), &record(16, 1)), Err(Error::NotFound { .. })));
}

#[test]
fn nothing_is_released_before_the_hard_state_that_commits_a_snapshot_is_durable() {
    let (disk, _, mut wal) = created(SMALL);
    fill(&mut wal, 1, 30);
    // A leader's: until the hard state is there, too, a start needs the whole log.
    wal.save_snapshot(&record(90, 2)).unwrap();
    assert_eq!(wal.release(), None);
    wal.append(Some(&state(2, 90)), &[]).unwrap();
    assert_eq!(wal.release(), None, "it may be lost");
    assert_eq!(Wal::purge(&*disk, dir(), 1).unwrap(), Vec::<String>::new());
    wal.sync().unwrap();
    assert_eq!(wal.release(), Some(Index(90)));
    assert_eq!(Wal::purge(&*disk, dir(), 1).unwrap().len(), 6);
    // One of its own that was begun before.
    wal.save_own_snapshot(&record(20, 1)).unwrap();
    assert_eq!((wal.release(), wal.hard_state()), (None, state(2, 90)));
}

#[test]
fn a_snapshot_of_what_was_executed_counts_at_once() {
    let (disk, _, mut wal) = created(SMALL);
    wal.append(Some(&state(1, 1)), &[entry(1, 1, vec![]), entry(2, 1, vec![])]).unwrap();
    wal.save_own_snapshot(&record(2, 1)).unwrap();
    assert_eq!(wal.hard_state(), state(1, 2));
    assert_eq!(snapshot_records(&*disk, dir()).unwrap().pop(), Some(record(2, 1)));
    assert_eq!(wal.release(), Some(Index(2)));
}

#[test]
fn a_snapshot_is_known_although_younger_segments_begin_at_the_same_index() {
    let (disk, _, mut wal) = created(Options { segment_bytes: 300 });
    // Hard states alone fill segments, too.
    let until = |wal: &mut Wal, count: usize, from: u64| {
        for term in from.. {
            if segments(&*disk).len() == count {
                break;
            }
            wal.append(Some(&state(term, 1)), &[]).unwrap();
            wal.sync().unwrap();
        }
    };
    wal.append(Some(&state(1, 1)), &[entry(1, 1, vec![1; 10])]).unwrap();
    until(&mut wal, 3, 2);
    wal.save_snapshot(&record(1, 1)).unwrap();
    until(&mut wal, 5, 1000);
    drop(wal);
    Wal::purge(&*disk, dir(), 3).unwrap();
    let left = segments(&*disk);
    assert!(left.iter().all(|name| name.ends_with("-0000000000000002.wal")), "{left:?}");
    assert_eq!(snapshot_records(&*disk, dir()).unwrap(), [record(1, 1)]);
}

#[test]
fn two_logs_cannot_be_open_in_one_directory() {
    let (disk, _, wal) = created(SMALL);
    let second = Wal::open(disk.clone(), dir(), &Default::default(), SMALL);
    assert!(matches!(second, Err(Error::Locked { .. })));
    assert!(Wal::read(&*disk, dir(), &Default::default()).is_ok(), "reading needs no lock");
    drop(wal);
    assert!(Wal::open(disk, dir(), &Default::default(), SMALL).is_ok());
}

#[test]
fn creating_refuses_a_directory_with_a_log_and_replaces_any_other() {
    let (disk, _, wal) = created(SMALL);
    drop(wal);
    assert!(matches!(Wal::create(disk.clone(), dir(), b"", SMALL), Err(Error::Exists { .. })));
    disk.remove(&dir().join("0000000000000000-0000000000000000.wal")).unwrap();
    disk.open(&dir().join("0.tmp"), Open::create(0o600)).unwrap();
    disk.create_dir_all(Path::new("/member/wal.tmp/rest"), 0o700).unwrap();
    Wal::create(disk.clone(), dir(), b"", SMALL).unwrap();
    assert_eq!(segments(&*disk), ["0000000000000000-0000000000000000.wal"]);
    assert!(!disk.exists(Path::new("/member/wal.tmp")));
    assert!(matches!(
        Wal::open(disk, Path::new("/member"), &Default::default(), SMALL),
        Err(Error::NotFound { .. })
    ));
}

#[test]
fn the_zeros_of_a_segment_outlive_a_reopening() {
    // Cutting and allocating again would lose what filling with zeros gained.
    let (disk, mem, mut wal) = created(SMALL);
    fill(&mut wal, 1, 2);
    drop(wal);
    let before = mem.ops();
    Wal::open(disk, dir(), &Default::default(), SMALL).unwrap();
    assert_eq!(mem.ops(), before + 1, "opening a whole log syncs it, and changes nothing");
}

#[test]
fn what_was_read_at_the_opening_is_durable() {
    const LONG: Options = Options { segment_bytes: 8 << 20 };
    let (disk, mem, mut wal) = created(LONG);
    mem.sync_dir(Path::new("/")).unwrap();
    // So long that it is written at once. Then the process is killed.
    wal.append(None, &[entry(1, 1, vec![5; 1 << 20])]).unwrap();
    drop(wal);
    let (_, read) = Wal::open(disk, dir(), &Default::default(), LONG).unwrap();
    assert_eq!(read.entries.len(), 1);
    for seed in 0..10 {
        let after: Arc<dyn Disk> = Arc::new(mem.crash(seed));
        let (_, again) = Wal::open(after, dir(), &Default::default(), LONG).unwrap();
        assert_eq!(again.entries.len(), 1, "{seed}");
    }
}

#[test]
fn a_log_on_the_real_disk_is_locked_cut_purged_and_read_back() {
    let temp = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let dir = temp.path().join("wal");
    let mut wal = Wal::create(disk.clone(), &dir, b"meta", SMALL).unwrap();
    let second = Wal::open(disk.clone(), &dir, &Default::default(), SMALL);
    assert!(matches!(second, Err(Error::Locked { .. })));
    fill(&mut wal, 1, 30);
    wal.save_own_snapshot(&record(20, 1)).unwrap();
    assert_eq!(wal.release(), Some(Index(20)));
    assert_eq!(Wal::purge(&*disk, &dir, 1).unwrap().len(), 3);
    wal.close().unwrap();
    let start = snapshot_records(&*disk, &dir).unwrap().pop().unwrap();
    assert_eq!(start, record(20, 1));
    let (_, replay) = Wal::open(disk, &dir, &start, SMALL).unwrap();
    assert_eq!((replay.entries.len(), replay.entries[9].index), (10, Index(30)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if std::env::var_os("BALSA_LONG").is_some() { 3000 } else { 60 }))]

    #[test]
    fn random_logs_are_read_back_whole(seed: u64, segment_bytes in 200u64..9000) {
        let mem = MemDisk::new(0);
        mem.create_dir_all(Path::new("/member"), 0o700).unwrap();
        let disk: Arc<dyn Disk> = Arc::new(mem);
        let options = Options { segment_bytes };
        let (mut chance, mut model) = (Chance(seed), Model::default());
        for _ in 0..3 {
            model::run(&disk, options, 25, &mut chance, &mut model).unwrap();
            let all = model.records.len();
            model::check(&disk, options, &mut model).unwrap();
            prop_assert_eq!(model.records.len(), all);
        }
    }
}
