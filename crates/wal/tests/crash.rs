//! The power goes at every change a log makes to the disk; what is found afterwards must be what was acknowledged, in
//! order, and the log must go on from there. `BALSA_LONG=1` tries far more scripts.
#![allow(clippy::unwrap_used)]

mod model;

use std::path::Path;
use std::sync::Arc;

use disk::{Disk, MemDisk};
use model::{Chance, Model};
use wal::{Error, Options, Wal};

const LONG: u64 = 40;

fn scripts(count: u64) -> std::ops::Range<u64> {
    0..if std::env::var_os("BALSA_LONG").is_some() { count * LONG } else { count }
}

fn fresh() -> MemDisk {
    let disk = MemDisk::new(3);
    disk.create_dir_all(Path::new("/member"), 0o700).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk
}

fn shared(disk: &MemDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

#[test]
fn a_crash_at_any_change_loses_nothing_acknowledged() {
    for seed in scripts(6) {
        let options = Options { segment_bytes: [1500, 4096, 20_000][(seed % 3) as usize] };
        let play = |disk: &MemDisk, model: &mut Model| {
            model::run(&shared(disk), options, 30, &mut Chance(seed), model)
        };
        let whole = fresh();
        play(&whole, &mut Model::default()).unwrap();
        for op in fresh().ops() + 1..=whole.ops() {
            for luck in 0..3 {
                let (disk, mut model) = (fresh(), Model::default());
                disk.crash_at_op(op);
                assert!(play(&disk, &mut model).is_err());
                survive(&disk, op * 3 + luck, options, &mut model)
                    .unwrap_or_else(|error| panic!("script {seed}, change {op}, luck {luck}: {error}"));
            }
        }
    }
}

/// The power is gone, and perhaps again during repair. Checks, goes on, and checks what another crash leaves of that.
fn survive(disk: &MemDisk, seed: u64, options: Options, model: &mut Model) -> Result<(), Error> {
    let mut chance = Chance(seed);
    let mut disk = disk.crash(seed);
    if chance.below(2) == 0 {
        disk.crash_at_op(disk.ops() + 1 + chance.below(8));
        let _ = model::check(&shared(&disk), options, model);
        disk = disk.crash(seed + 1);
    }
    model::check(&shared(&disk), options, model)?;
    model::run(&shared(&disk), options, 8, &mut chance, model)?;
    let left = disk.crash(seed + 2);
    model::check(&shared(&left), options, model)?;
    assert_eq!(model.acknowledged, model.records.len());
    Ok(())
}

#[test]
fn a_failed_sync_poisons_the_log_for_good() {
    let (disk, dir) = (fresh(), Path::new(model::DIR));
    let mut wal = Wal::create(shared(&disk), dir, b"m", Options { segment_bytes: 4096 }).unwrap();
    let first = dir.join("0000000000000000-0000000000000000.wal");
    disk.fail_next_sync(&first).unwrap();
    wal.append(None, &[model::entry(1, 1, vec![1])]).unwrap();
    assert!(matches!(wal.sync(), Err(Error::Io { what: "sync", path, .. }) if path == first));
    assert!(matches!(wal.sync(), Err(Error::Poisoned)));
    assert!(matches!(wal.append(None, &[]), Err(Error::Poisoned)));
    assert!(matches!(wal.save_snapshot(&Default::default()), Err(Error::Poisoned)));
}

#[test]
fn a_full_disk_poisons_the_log_and_what_was_acknowledged_can_be_read() {
    let (disk, dir) = (fresh(), Path::new(model::DIR));
    let options = Options { segment_bytes: 4096 };
    let mut wal = Wal::create(shared(&disk), dir, b"m", options).unwrap();
    disk.set_capacity(Some(6000));
    let mut acknowledged = 0;
    while wal
        .append(None, &[model::entry(acknowledged + 1, 1, vec![7; 300])])
        .and_then(|()| wal.sync())
        .is_ok()
    {
        acknowledged += 1;
    }
    assert!(acknowledged > 5);
    assert!(matches!(wal.sync(), Err(Error::Poisoned)));
    drop(wal);
    let (_, replay) = Wal::open(shared(&disk), dir, &Default::default(), options).unwrap();
    assert!(replay.entries.len() as u64 >= acknowledged);
}

#[test]
fn a_commit_index_alone_waits_for_the_next_sync() {
    let (disk, dir) = (fresh(), Path::new(model::DIR));
    let mut wal = Wal::create(shared(&disk), dir, b"m", Options::default()).unwrap();
    let state = |term, commit| raft::HardState {
        term: raft::Term(term),
        vote: raft::MemberId(1),
        commit: raft::Index(commit),
    };
    assert!(wal.must_sync(Some(&state(1, 0)), &[]));
    wal.append(Some(&state(1, 0)), &[model::entry(1, 1, vec![])]).unwrap();
    wal.sync().unwrap();
    let before = (disk.ops(), disk.syncs());
    assert!(!wal.must_sync(Some(&state(1, 1)), &[]));
    wal.append(Some(&state(1, 1)), &[]).unwrap();
    assert_eq!((disk.ops(), disk.syncs()), before);
    assert!(wal.must_sync(Some(&state(2, 1)), &[]));
    assert!(wal.must_sync(None, &[model::entry(2, 1, vec![])]));
    assert_eq!(wal.hard_state(), state(1, 1));
}
