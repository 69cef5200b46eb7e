//! A mount namespace: what is mounted there is seen only by the programs that enter it.
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A namespace that lasts until this is dropped.
pub struct Namespace {
    /// Holds it while nobody else is there.
    holder: Child,
    /// What kinds of namespace to enter.
    kinds: &'static [&'static str],
}

impl Namespace {
    /// One in which `script` has mounted something, with `$1` for `path`; says why if that is not permitted here. It needs
    /// user namespaces, but no privilege.
    pub fn of_a_user(script: &str, path: &Path) -> Result<Namespace, String> {
        let kinds = &["--user", "--mount", "--preserve-credentials"];
        Namespace::new(script, path, &["--map-root-user", "--mount"], kinds)
    }

    /// The same with privilege, for what a user namespace may not mount.
    pub fn privileged(script: &str, path: &Path) -> Result<Namespace, String> {
        Namespace::new(script, path, &["--mount"], &["--mount"])
    }

    fn new(
        script: &str,
        path: &Path,
        unshare: &[&str],
        kinds: &'static [&'static str],
    ) -> Result<Namespace, String> {
        let mut holder = Command::new("unshare")
            .args(unshare)
            .args(["sh", "-c", &format!("{script} && echo there && exec cat"), "sh"])
            .arg(path)
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
        Ok(Namespace { holder, kinds })
    }

    /// A command that runs `program` inside; its process is the program's.
    pub fn enter(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        let target = format!("--target={}", self.holder.id());
        command.args(self.kinds).arg(target).arg(program);
        command
    }

    /// An absolute path inside, as seen from outside.
    pub fn outside(&self, path: &Path) -> PathBuf {
        let inside = path.strip_prefix("/").expect("an absolute path");
        PathBuf::from(format!("/proc/{}/root", self.holder.id())).join(inside)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
