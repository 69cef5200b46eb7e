//! A small file system of a member's own, which can be filled or frozen. It lives in a mount namespace, seen by who enters.
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Enough for a few segments of the log, a database and one that is being received.
const SIZE_MIB: u64 = 320;

/// A directory that is a small disk to those who enter; gone when this is dropped.
pub struct SmallDisk {
    /// Holds the namespace, and with it what is on the disk, while no member runs.
    holder: Child,
    dir: PathBuf,
    /// What kinds of namespace to enter.
    namespaces: &'static [&'static str],
}

impl SmallDisk {
    /// Mounts one in memory over `dir`; says why if that is not permitted here. It needs user namespaces, but no privilege.
    pub fn in_memory(dir: &Path) -> Result<SmallDisk, String> {
        let mount = format!("mount -t tmpfs -o size={SIZE_MIB}m,mode=0700 none \"$1\"");
        SmallDisk::mount(
            dir,
            &mount,
            &["--map-root-user", "--mount"],
            &["--user", "--mount", "--preserve-credentials"],
        )
    }

    /// One in a file, which can be frozen. It needs privilege and loop devices.
    pub fn freezable(dir: &Path) -> Result<SmallDisk, String> {
        let image = File::create(dir.with_extension("image")).map_err(|error| error.to_string())?;
        image.set_len(SIZE_MIB << 20).map_err(|error| error.to_string())?;
        let mount = "mkfs.ext4 -q \"$1.image\" && mount -o loop \"$1.image\" \"$1\" && chmod 0700 \"$1\"";
        SmallDisk::mount(dir, mount, &["--mount"], &["--mount"])
    }

    fn mount(
        dir: &Path,
        mount: &str,
        unshare: &[&str],
        namespaces: &'static [&'static str],
    ) -> Result<SmallDisk, String> {
        fs::create_dir_all(dir).map_err(|error| error.to_string())?;
        let mut holder = Command::new("unshare")
            .args(unshare)
            .args(["sh", "-c", &format!("{mount} && echo there && exec cat"), "sh"])
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("unshare: {error}"))?;
        let mut said = String::new();
        let _ = BufReader::new(holder.stdout.take().expect("piped")).read_line(&mut said);
        if said != "there\n" {
            let output = holder.wait_with_output().map_err(|error| error.to_string())?;
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        Ok(SmallDisk { holder, dir: dir.to_owned(), namespaces })
    }

    /// A command that runs `program` where the disk is seen; its process is the program's.
    pub fn enter(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        let target = format!("--target={}", self.holder.id());
        command.args(self.namespaces).arg(target).arg(program);
        command
    }

    /// As seen from outside.
    fn ballast(&self) -> PathBuf {
        let inside = self.dir.strip_prefix("/").expect("an absolute path");
        PathBuf::from(format!("/proc/{}/root", self.holder.id())).join(inside).join("ballast")
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
        let done = self.enter("fsfreeze").arg(how).arg(&self.dir).stderr(Stdio::null()).status();
        done.is_ok_and(|status| status.success())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Who waits for a frozen disk cannot be killed.
        self.fsfreeze("--unfreeze");
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
