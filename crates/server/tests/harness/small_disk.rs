//! A small file system of a member's own, which can be filled. It lives in a mount namespace, so no privilege is needed
//! where user namespaces are allowed.
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Enough for a few segments of the log, a database and one that is being received.
const SIZE_MIB: usize = 320;

/// A directory that is a small disk to those who enter; gone when this is dropped.
pub struct SmallDisk {
    /// Holds the namespace, and with it what is on the disk, while no member runs.
    holder: Child,
    /// The directory as seen from outside.
    seen_from_here: PathBuf,
}

impl SmallDisk {
    /// Mounts one over `dir`; says why if that is not permitted here.
    pub fn mount(dir: &Path) -> Result<SmallDisk, String> {
        fs::create_dir_all(dir).map_err(|error| error.to_string())?;
        let mount =
            format!("mount -t tmpfs -o size={SIZE_MIB}m,mode=0700 none \"$1\" && echo there && exec cat");
        let mut holder = Command::new("unshare")
            .args(["--map-root-user", "--mount", "sh", "-c", &mount, "sh"])
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
        let root = PathBuf::from(format!("/proc/{}/root", holder.id()));
        let inside = dir.strip_prefix("/").map_err(|error| error.to_string())?;
        Ok(SmallDisk { seen_from_here: root.join(inside), holder })
    }

    /// A command that runs `program` where the disk is seen; its process is the program's.
    pub fn enter(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--user", "--mount", "--preserve-credentials", "--target"])
            .arg(self.holder.id().to_string())
            .arg(program);
        command
    }

    fn ballast(&self) -> PathBuf {
        self.seen_from_here.join("ballast")
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
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
