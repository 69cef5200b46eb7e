//! What the real and the simulated disk must both do.
#![allow(clippy::unwrap_used)]

use std::io::{ErrorKind, IoSlice};
use std::path::{Path, PathBuf};

use disk::{Disk, Lock, MemDisk, Open, OsDisk};

/// Runs `check` on a real directory and on a simulated one.
fn on_both(check: impl Fn(&dyn Disk, &Path)) {
    let dir = tempfile::tempdir().unwrap();
    check(&OsDisk, dir.path());
    let simulated = MemDisk::new(1);
    let dir = PathBuf::from("/data");
    simulated.create_dir_all(&dir, 0o700).unwrap();
    check(&simulated, &dir);
}

#[test]
fn what_was_written_is_read_back_and_holes_are_zeros() {
    on_both(|disk, dir| {
        let file = disk.open(&dir.join("f"), Open::create_new(0o600)).unwrap();
        assert!(file.is_empty().unwrap());
        file.write_at(b"hello", 10_000).unwrap();
        file.write_vectored_at(&[IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cde")], 4094)
            .unwrap();
        file.sync().unwrap();
        assert_eq!(file.len().unwrap(), 10_005);
        let mut buf = [1; 12];
        assert_eq!(file.read_at(&mut buf, 9_998).unwrap(), 7);
        assert_eq!(&buf[..7], b"\0\0hello");
        file.read_exact_at(&mut buf[..7], 4093).unwrap();
        assert_eq!(&buf[..7], b"\0abcde\0");
        assert_eq!(file.read_exact_at(&mut buf, 9_998).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        assert_eq!(file.read_at(&mut buf, 20_000).unwrap(), 0);
    });
}

#[test]
fn a_vectored_write_of_more_slices_than_the_system_takes_at_once_is_whole() {
    on_both(|disk, dir| {
        let file = disk.open(&dir.join("f"), Open::create(0o600)).unwrap();
        let bytes: Vec<u8> = (0..5000u32).map(|i| i as u8).collect();
        let slices: Vec<_> = bytes.chunks(2).map(IoSlice::new).collect();
        file.write_vectored_at(&slices, 3).unwrap();
        let mut back = vec![0; 5003];
        file.read_exact_at(&mut back, 0).unwrap();
        assert_eq!(&back[3..], &bytes[..]);
    });
}

#[test]
fn cutting_and_growing_leaves_zeros_and_allocating_never_shrinks() {
    on_both(|disk, dir| {
        let file = disk.open(&dir.join("f"), Open::create(0o600)).unwrap();
        file.write_at(&[7; 9000], 0).unwrap();
        file.set_len(5000).unwrap();
        file.allocate(9000).unwrap();
        file.allocate(100).unwrap();
        assert_eq!(file.len().unwrap(), 9000);
        let mut back = [1; 9000];
        file.read_exact_at(&mut back, 0).unwrap();
        assert!(back[..5000].iter().all(|b| *b == 7) && back[5000..].iter().all(|b| *b == 0));
    });
}

#[test]
fn opening_follows_the_flags() {
    on_both(|disk, dir| {
        let path = dir.join("f");
        assert_eq!(disk.open(&path, Open::read()).err().unwrap().kind(), ErrorKind::NotFound);
        assert_eq!(disk.open(&path, Open::write()).err().unwrap().kind(), ErrorKind::NotFound);
        disk.open(&path, Open::create(0o600)).unwrap().write_at(b"x", 0).unwrap();
        assert_eq!(disk.open(&path, Open::create_new(0o600)).err().unwrap().kind(), ErrorKind::AlreadyExists);
        assert_eq!(disk.open(&path, Open::create(0o600)).unwrap().len().unwrap(), 1);
        assert!(disk.open(&path, Open::read()).unwrap().write_at(b"y", 0).is_err());
        assert_eq!(disk.open(&path, Open::truncate(0o600)).unwrap().len().unwrap(), 0);
    });
}

#[test]
fn names_are_created_renamed_listed_and_removed() {
    on_both(|disk, dir| {
        disk.create_dir_all(&dir.join("a/b"), 0o700).unwrap();
        disk.create_dir_all(&dir.join("a/b"), 0o700).unwrap();
        for name in ["2", "10", "1"] {
            disk.open(&dir.join("a").join(name), Open::create(0o600)).unwrap();
        }
        assert_eq!(disk.list(&dir.join("a")).unwrap(), ["1", "10", "2", "b"]);
        disk.open(&dir.join("a/1"), Open::write()).unwrap().write_at(b"one", 0).unwrap();
        disk.rename(&dir.join("a/1"), &dir.join("a/2")).unwrap();
        assert_eq!(disk.open(&dir.join("a/2"), Open::read()).unwrap().len().unwrap(), 3);
        disk.rename(&dir.join("a"), &dir.join("c")).unwrap();
        assert!(
            !disk.exists(&dir.join("a")) && disk.exists(&dir.join("c/10")) && disk.exists(&dir.join("c/b"))
        );
        disk.remove(&dir.join("c/10")).unwrap();
        assert_eq!(disk.remove(&dir.join("c/10")).unwrap_err().kind(), ErrorKind::NotFound);
        disk.sync_dir(&dir.join("c")).unwrap();
        assert_eq!(disk.list(&dir.join("c")).unwrap(), ["2", "b"]);
        disk.remove_dir_all(&dir.join("c")).unwrap();
        assert_eq!(disk.list(dir).unwrap(), Vec::<String>::new());
        assert!(disk.free_bytes(dir).unwrap() > 0);
    });
}

#[test]
fn a_long_file_is_removed_in_steps() {
    on_both(|disk, dir| {
        let file = disk.open(&dir.join("long"), Open::create(0o600)).unwrap();
        file.set_len((9 << 20) + 1).unwrap();
        disk.remove_in_steps(&dir.join("long")).unwrap();
        assert_eq!(disk.list(dir).unwrap(), Vec::<String>::new());
        assert_eq!(disk.remove_in_steps(&dir.join("long")).unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn a_removed_file_that_has_another_name_keeps_its_content() {
    let dir = tempfile::tempdir().unwrap();
    let (file, backup) = (dir.path().join("file"), dir.path().join("backup"));
    std::fs::write(&file, b"content").unwrap();
    std::fs::hard_link(&file, &backup).unwrap();
    OsDisk.remove_in_steps(&file).unwrap();
    assert!(!file.exists());
    assert_eq!(std::fs::read(&backup).unwrap(), b"content");
}

#[test]
fn a_lock_keeps_others_out_until_its_file_is_closed() {
    on_both(|disk, dir| {
        for kind in [Lock::Flock, Lock::Ofd] {
            let path = dir.join("f");
            let first = disk.open(&path, Open::create(0o600)).unwrap();
            let second = disk.open(&path, Open::write()).unwrap();
            assert!(first.lock(kind).unwrap());
            assert!(first.lock(kind).unwrap(), "taking it again is harmless");
            assert!(!second.lock(kind).unwrap());
            let map = first.map(4096).unwrap();
            drop(first);
            assert!(second.lock(kind).unwrap(), "a map keeps no lock");
            drop(map);
        }
    });
}

#[test]
fn shared_locks_exclude_only_the_exclusive_one() {
    on_both(|disk, dir| {
        let path = dir.join("f");
        let files: Vec<_> = (0..3).map(|_| disk.open(&path, Open::create(0o600)).unwrap()).collect();
        assert!(files[0].lock(Lock::FlockShared).unwrap());
        assert!(files[1].lock(Lock::FlockShared).unwrap());
        assert!(!files[2].lock(Lock::Flock).unwrap());
    });
}

#[test]
fn a_map_sees_later_writes_but_nothing_beyond_the_file() {
    on_both(|disk, dir| {
        let file = disk.open(&dir.join("f"), Open::create(0o600)).unwrap();
        file.write_at(b"before", 0).unwrap();
        let map = file.map(1 << 30).unwrap();
        assert_eq!(map.len(), 1 << 30);
        assert_eq!(map.get(0, 6), Some(&b"before"[..]));
        assert_eq!(map.get(1, 6), None, "the file ends there");
        file.write_at(&[5; 10_000], 6).unwrap();
        assert_eq!(map.get(10_000, 6), Some(&[5; 6][..]));
        file.write_at(b"after!", 0).unwrap();
        assert_eq!(map.clone().get(0, 6), Some(&b"after!"[..]));
        file.set_len(100).unwrap();
        assert_eq!(map.get(99, 2), None);
        file.allocate(200).unwrap();
        assert_eq!(map.get(98, 3), Some(&[5, 5, 0][..]));
        assert_eq!(map.get(u64::MAX, 2), None);
        assert_eq!(map.get((1 << 30) - 1, 2), None, "the mapping ends there");
    });
}

#[test]
fn a_map_sees_growth_through_another_handle() {
    on_both(|disk, dir| {
        let file = disk.open(&dir.join("f"), Open::create(0o600)).unwrap();
        let map = file.map(8192).unwrap();
        let other = disk.open(&dir.join("f"), Open::write()).unwrap();
        other.write_at(&[1; 5000], 0).unwrap();
        assert_eq!(map.get(4999, 1), Some(&[1][..]));
    });
}

#[test]
fn a_file_written_in_order_holds_what_was_written_then_zeros_and_keeps_its_length() {
    const LEN: usize = 600_000;
    // Within a sector, to its end, across; short and long ones; more than is written at once; beyond the length.
    let lens = [1, 300, 211, 512, 5, 70_000, 3, 20_000, 300_000, 7, 1000, 200_000, 8000, 1000, 9];
    on_both(|disk, dir| {
        let (path, mut written) = (dir.join("f"), Vec::new());
        let mut file = disk.open(&path, Open::create_new(0o600).in_order()).unwrap();
        file.allocate(LEN as u64).unwrap();
        for (n, len) in lens.into_iter().enumerate() {
            if n % 4 == 3 {
                file = disk.open(&path, Open::write().in_order()).unwrap();
            }
            file.write_at(&vec![n as u8 + 1; len], written.len() as u64).unwrap();
            written.resize(written.len() + len, n as u8 + 1);
            file.sync().unwrap();
            let mut all = vec![9; LEN.max(written.len())];
            assert_eq!(file.len().unwrap(), all.len() as u64, "{n}");
            file.read_exact_at(&mut all, 0).unwrap();
            assert!(all[..written.len()] == written, "{n}");
            assert!(all[written.len()..].iter().all(|byte| *byte == 0), "{n}");
        }
        assert!(written.len() > LEN);
        file.set_len(100_000).unwrap();
        file.write_at(b"ab", 100_000).unwrap();
        let mut end = [9; 3];
        file.read_exact_at(&mut end[..], 99_999).unwrap();
        assert_eq!((&end[1..], file.len().unwrap()), (&b"ab"[..], 100_002));
    });
}
