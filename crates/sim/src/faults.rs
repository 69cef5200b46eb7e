//! What can be wrong with a disk.

use std::io;
use std::path::Path;

use disk::{Disk, MemDisk};

use crate::boot::{DB, WAL_DIR};
use crate::chance::Chance;

/// The next sync of the log or of the database will fail. Says so.
pub(crate) fn fail_a_sync(disk: &MemDisk, chance: &mut Chance) -> io::Result<String> {
    let names = disk.list(Path::new(WAL_DIR))?;
    let newest = names.iter().rfind(|name| name.ends_with(".wal"));
    let log = newest.map(|name| Path::new(WAL_DIR).join(name));
    let path = log.filter(|_| chance.once_in(2)).unwrap_or_else(|| DB.into());
    disk.fail_next_sync(&path)?;
    Ok(format!("the next sync of {} will fail", path.display()))
}

/// Little room is left. Says how much.
pub(crate) fn fill(disk: &MemDisk, chance: &mut Chance) -> io::Result<String> {
    // What is taken is found by asking how much a disk of known size has free.
    const HUGE: u64 = 1 << 40;
    disk.set_capacity(Some(HUGE));
    let free = disk.free_bytes(Path::new("/"))?;
    let room = chance.below(20_000);
    disk.set_capacity(Some(HUGE - free + room));
    Ok(format!("the disk has {room} bytes left"))
}
