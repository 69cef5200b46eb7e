//! Each fault of the simulated disk, shown.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;

use disk::{Disk, File, MemDisk, Open};

const SEEDS: std::ops::Range<u64> = 0..200;

/// A disk with a durable file `/d/f` that holds `durable`.
fn disk_with(durable: &[u8]) -> (MemDisk, std::sync::Arc<dyn File>) {
    let disk = MemDisk::new(7);
    disk.create_dir_all(Path::new("/d"), 0o700).unwrap();
    let file = disk.open(Path::new("/d/f"), Open::create_new(0o600)).unwrap();
    file.write_at(durable, 0).unwrap();
    file.sync().unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    (disk, file)
}

fn content(disk: &MemDisk, path: &str) -> Option<Vec<u8>> {
    let file = disk.open(Path::new(path), Open::read()).ok()?;
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    Some(bytes)
}

/// All that a crash may leave of `/d/f` after `change`.
fn leftovers(durable: &[u8], change: impl Fn(&MemDisk, &dyn File)) -> BTreeSet<Option<Vec<u8>>> {
    SEEDS
        .map(|seed| {
            let (disk, file) = disk_with(durable);
            change(&disk, &*file);
            content(&disk.crash(seed), "/d/f")
        })
        .collect()
}

#[test]
fn synced_content_survives_a_crash() {
    let left = leftovers(b"old", |_, file| {
        file.write_at(b"new", 0).unwrap();
        file.sync().unwrap();
    });
    assert_eq!(left, BTreeSet::from([Some(b"new".to_vec())]));
}

#[test]
fn unsynced_writes_are_lost_kept_or_kept_alone() {
    let left = leftovers(b"....", |_, file| {
        file.write_at(b"a", 0).unwrap();
        file.write_at(b"b", 2).unwrap();
    });
    let expected = ["....", "a...", "..b.", "a.b."];
    assert_eq!(left, expected.iter().map(|s| Some(s.as_bytes().to_vec())).collect());
}

#[test]
fn a_write_is_torn_only_at_sector_borders() {
    let mut torn = 0;
    for left in leftovers(&[b'.'; 2048], |_, file| file.write_at(&[b'x'; 1300], 100).unwrap()) {
        let left = left.unwrap();
        assert_eq!(left.len(), 2048);
        for (from, to) in [(100, 512), (512, 1024), (1024, 1400)] {
            assert!(left[from..to].iter().all(|b| *b == left[from]), "a sector is whole or not there");
        }
        assert!(left[..100].iter().chain(&left[1400..]).all(|b| *b == b'.'));
        torn += usize::from(left[100] != left[512] || left[512] != left[1024]);
    }
    assert!(torn > 2, "{torn}");
}

#[test]
fn a_change_of_length_may_be_lost() {
    let lens = |change: fn(&dyn File)| -> BTreeSet<usize> {
        leftovers(&[1; 1000], |_, file| change(file)).into_iter().map(|left| left.unwrap().len()).collect()
    };
    assert_eq!(lens(|file| file.set_len(10).unwrap()), BTreeSet::from([10, 1000]));
    assert_eq!(lens(|file| file.allocate(5000).unwrap()), BTreeSet::from([1000, 5000]));
}

#[test]
fn a_growing_write_may_leave_zeros() {
    let left = leftovers(b"", |_, file| file.write_at(&[1; 512], 0).unwrap());
    assert_eq!(left, BTreeSet::from([Some(vec![]), Some(vec![0; 512]), Some(vec![1; 512])]));
}

#[test]
fn unsynced_names_may_be_undone_and_a_rename_is_atomic() {
    let mut seen = BTreeSet::new();
    for seed in SEEDS {
        let (disk, _) = disk_with(b"f");
        disk.open(Path::new("/d/g"), Open::create(0o600)).unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        disk.rename(Path::new("/d/f"), Path::new("/d/g")).unwrap();
        let left = disk.crash(seed);
        seen.insert((content(&left, "/d/f"), content(&left, "/d/g")));
    }
    let undone = (Some(b"f".to_vec()), Some(vec![]));
    assert_eq!(seen, BTreeSet::from([undone, (None, Some(b"f".to_vec()))]));
}

#[test]
fn a_removed_file_may_come_back_and_a_created_one_go() {
    let back = leftovers(b"f", |disk, _| disk.remove(Path::new("/d/f")).unwrap());
    assert_eq!(back, BTreeSet::from([None, Some(b"f".to_vec())]));
    let gone: BTreeSet<_> = SEEDS
        .map(|seed| {
            let (disk, _) = disk_with(b"");
            let file = disk.open(Path::new("/d/new"), Open::create(0o600)).unwrap();
            file.write_at(b"synced", 0).unwrap();
            file.sync().unwrap();
            content(&disk.crash(seed), "/d/new")
        })
        .collect();
    assert_eq!(gone, BTreeSet::from([None, Some(b"synced".to_vec())]), "a synced file needs a synced name");
}

#[test]
fn synced_names_survive() {
    let left = leftovers(b"f", |disk, _| {
        disk.remove(Path::new("/d/f")).unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
    });
    assert_eq!(left, BTreeSet::from([None]));
}

#[test]
fn what_a_failed_sync_left_behind_stays_in_doubt_after_a_good_one() {
    let left = leftovers(b"...", |disk, file| {
        file.write_at(b"ab", 0).unwrap();
        disk.fail_next_sync(Path::new("/d/f")).unwrap();
        assert!(file.sync().is_err());
        file.write_at(b"B", 1).unwrap();
        file.sync().unwrap();
    });
    assert_eq!(left, BTreeSet::from([Some(b"aB.".to_vec()), Some(b".B.".to_vec())]), "order is kept");
}

#[test]
fn a_full_disk_takes_what_fits() {
    let (disk, file) = disk_with(b"12345");
    disk.set_capacity(Some(8));
    assert_eq!(disk.free_bytes(Path::new("/")).unwrap(), 3);
    assert_eq!(file.write_at(b"abcdef", 4).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(content(&disk, "/d/f").unwrap(), b"1234abcd");
    assert_eq!(file.allocate(9).unwrap_err().kind(), ErrorKind::StorageFull);
    file.write_at(b"X", 0).unwrap();
    disk.set_capacity(None);
    file.allocate(9).unwrap();
}

#[test]
fn a_flipped_bit_is_seen_by_readers_and_maps_and_survives() {
    let (disk, file) = disk_with(&[0; 10]);
    let map = file.map(10).unwrap();
    disk.flip_bit(Path::new("/d/f"), 3, 7).unwrap();
    assert_eq!(map.get(3, 1), Some(&[0x80][..]));
    assert_eq!(content(&disk.crash(1), "/d/f").unwrap(), [0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn the_power_goes_at_the_nth_change_and_stays_away() {
    let script = |disk: &MemDisk| -> std::io::Result<()> {
        let file = disk.open(Path::new("/f"), Open::create(0o600))?;
        disk.sync_dir(Path::new("/"))?;
        file.write_at(b"x", 0)?;
        file.sync()?;
        disk.rename(Path::new("/f"), Path::new("/g"))
    };
    let disk = MemDisk::new(0);
    script(&disk).unwrap();
    assert_eq!((disk.ops(), disk.syncs()), (5, 2));
    for n in 1..=5 {
        let disk = MemDisk::new(0);
        disk.crash_at_op(n);
        assert!(script(&disk).is_err());
        assert!(disk.is_dead());
        assert!(disk.list(Path::new("/")).is_err(), "nothing answers any more");
        let outcomes: BTreeSet<_> =
            SEEDS.map(|seed| ["/f", "/g"].map(|path| content(&disk.crash(seed), path))).collect();
        let count = match n {
            1 => 2, // the name is there or not
            2 => 2, // so it still is: the sync of the directory was cut short
            3 => 3, // the byte is there, a zero in its place, or nothing
            4 => 3,
            _ => 2, // renamed or not; the byte is sure
        };
        assert_eq!(outcomes.len(), count, "{n}: {outcomes:?}");
    }
}

#[test]
fn equal_seeds_give_equal_disks() {
    let run = |seed| {
        let (disk, file) = disk_with(&[1; 4000]);
        for i in 0..20u8 {
            file.write_at(&[i; 700], u64::from(i) * 333).unwrap();
        }
        content(&disk.crash(seed), "/d/f")
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}

#[test]
fn locks_do_not_outlive_a_crash() {
    let (disk, file) = disk_with(b"");
    assert!(file.lock(disk::Lock::Ofd).unwrap());
    let left = disk.crash(0);
    assert!(left.open(Path::new("/d/f"), Open::write()).unwrap().lock(disk::Lock::Ofd).unwrap());
}
