//! A log file that is put aside when it has grown: `--enable-log-rotation`.
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::text;

/// Limits of a rotation (`--log-rotation-config-json`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Megabytes after which the file is put aside; 0 means 100.
    pub max_size_mb: u64,
    /// Days an old file is kept; 0 keeps it.
    pub max_age_days: u64,
    /// Old files kept; 0 keeps all.
    pub max_backups: u64,
}

/// The file being written and how much it holds.
pub(super) struct RotatingFile {
    path: PathBuf,
    limits: Rotation,
    file: File,
    written: u64,
}

impl RotatingFile {
    pub(super) fn open(path: &Path, limits: Rotation) -> io::Result<RotatingFile> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        let written = file.metadata()?.len();
        Ok(RotatingFile { path: path.into(), limits, file, written })
    }

    pub(super) fn write(&mut self, text: &str, now: SystemTime) -> io::Result<()> {
        let limit = if self.limits.max_size_mb == 0 { 100 } else { self.limits.max_size_mb } * 1024 * 1024;
        if self.written > 0 && self.written + text.len() as u64 > limit {
            self.turn(now)?;
        }
        self.file.write_all(text.as_bytes())?;
        self.written += text.len() as u64;
        Ok(())
    }

    /// Puts the full file aside under a name with the time, opens a new one, drops what is too old.
    fn turn(&mut self, now: SystemTime) -> io::Result<()> {
        let (stem, ext) = self.name_parts();
        let stamp = stamp(now);
        fs::rename(&self.path, self.path.with_file_name(format!("{stem}-{stamp}{ext}")))?;
        self.file = OpenOptions::new().append(true).create(true).open(&self.path)?;
        self.written = 0;
        self.drop_old(now)
    }

    fn name_parts(&self) -> (String, String) {
        let part = |p: Option<&std::ffi::OsStr>| p.unwrap_or_default().to_string_lossy().into_owned();
        let ext = self.path.extension().map(|e| format!(".{}", e.to_string_lossy())).unwrap_or_default();
        (part(self.path.file_stem()), ext)
    }

    fn drop_old(&self, now: SystemTime) -> io::Result<()> {
        let (stem, ext) = self.name_parts();
        let dir = self.path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut old: Vec<String> = fs::read_dir(dir)?
            .filter_map(|e| e.ok()?.file_name().into_string().ok())
            .filter(|name| is_backup(name, &stem, &ext))
            .collect();
        old.sort_unstable_by(|a, b| b.cmp(a));
        let oldest = match self.limits.max_age_days {
            0 => String::new(),
            days => format!("{stem}-{}", stamp(now - Duration::from_secs(days * 86_400))),
        };
        let kept = match self.limits.max_backups {
            0 => usize::MAX,
            n => usize::try_from(n).unwrap_or(usize::MAX),
        };
        for (n, name) in old.iter().enumerate() {
            if n >= kept || *name < oldest {
                fs::remove_file(dir.join(name))?;
            }
        }
        Ok(())
    }
}

/// `<stem>-2026-11-22T03-04-05.678<ext>`
fn is_backup(name: &str, stem: &str, ext: &str) -> bool {
    name.strip_prefix(stem)
        .and_then(|rest| rest.strip_prefix('-'))
        .and_then(|rest| rest.strip_suffix(ext))
        .is_some_and(|s| s.len() == 23 && s.bytes().all(|b| b.is_ascii_digit() || b"-T.".contains(&b)))
}

/// `2026-11-22T03-04-05.678`
fn stamp(at: SystemTime) -> String {
    let at = at.max(UNIX_EPOCH);
    let mut text = text::timestamp(at).replace(':', "-");
    text.truncate(23);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_is_put_aside_and_only_the_newest_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("etcd.log");
        fs::write(dir.path().join("etcd-other.log"), "not ours").unwrap();
        let limits = Rotation { max_size_mb: 1, max_age_days: 0, max_backups: 2 };
        let mut file = RotatingFile::open(&path, limits).unwrap();
        let half = "x".repeat(600 * 1024);
        for n in 0..5 {
            file.write(&half, UNIX_EPOCH + Duration::from_secs(n)).unwrap();
        }
        let mut names: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let backup = |n| format!("etcd-1970-01-01T00-00-0{n}.000.log");
        assert_eq!(names, [backup(3), backup(4), "etcd-other.log".into(), "etcd.log".into()]);
    }
}
