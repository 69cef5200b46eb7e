//! A small file system of a member's own, which can be filled or frozen. It lives in a mount namespace, seen by who enters.
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::namespace::Namespace;

/// Enough for a few segments of the log, a database and one that is being received.
const SIZE_MIB: u64 = 320;

/// A directory that is a small disk to those who enter; gone when this is dropped.
pub struct SmallDisk {
    /// Keeps what is on the disk while no member runs.
    pub namespace: Namespace,
    dir: PathBuf,
}

impl SmallDisk {
    /// Mounts one in memory over `dir`; says why if that is not permitted here. It needs user namespaces, but no privilege.
    pub fn in_memory(dir: &Path) -> Result<SmallDisk, String> {
        fs::create_dir_all(dir).map_err(|error| error.to_string())?;
        let mount = format!("mount -t tmpfs -o size={SIZE_MIB}m,mode=0700 none \"$1\"");
        Ok(SmallDisk { namespace: Namespace::of_a_user(&mount, dir)?, dir: dir.to_owned() })
    }

    /// One in a file, which can be frozen. It needs privilege and loop devices.
    pub fn freezable(dir: &Path) -> Result<SmallDisk, String> {
        fs::create_dir_all(dir).map_err(|error| error.to_string())?;
        let image = File::create(dir.with_extension("image")).map_err(|error| error.to_string())?;
        image.set_len(SIZE_MIB << 20).map_err(|error| error.to_string())?;
        let mount = "mkfs.ext4 -q \"$1.image\" && mount -o loop \"$1.image\" \"$1\" && chmod 0700 \"$1\"";
        Ok(SmallDisk { namespace: Namespace::privileged(mount, dir)?, dir: dir.to_owned() })
    }

    /// As seen from outside.
    fn ballast(&self) -> PathBuf {
        self.namespace.outside(&self.dir).join("ballast")
    }

    /// Takes all that is free.
    pub fn fill(&self) {
        let mut file = File::create(self.ballast()).expect("a file on the small disk");
        for piece in [1 << 20, 4096] {
            while file.write_all(&vec![1; piece]).is_ok() {}
        }
    }

    /// Gives it back.
    pub fn free(&self) {
        fs::remove_file(self.ballast()).expect("the ballast");
    }

    /// Lets every write wait, and every sync.
    pub fn freeze(&self) {
        assert!(self.fsfreeze("--freeze"), "it can be frozen");
    }

    /// Ends that.
    pub fn thaw(&self) {
        assert!(self.fsfreeze("--unfreeze"), "it was frozen");
    }

    fn fsfreeze(&self, how: &str) -> bool {
        let done = self.namespace.enter("fsfreeze").arg(how).arg(&self.dir).stderr(Stdio::null()).status();
        done.is_ok_and(|status| status.success())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Who waits for a frozen disk cannot be killed.
        self.fsfreeze("--unfreeze");
    }
}
