//! When, of what and on which machine a measurement was made.
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::counter::can_count;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct About {
    pub date: String,
    /// A `+` behind it: with changes.
    pub commit: String,
    pub machine: String,
}

impl About {
    /// Of now and here, with data in `dir`.
    pub fn now(dir: &Path) -> About {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let (year, month, day) = civil(seconds / 86_400);
        let commit = said("git", &["describe", "--always", "--exclude=*", "--dirty=+"]);
        About { date: format!("{year}-{month:02}-{day:02}"), commit, machine: machine(dir) }
    }

    pub fn json(&self) -> Value {
        json!({ "date": self.date, "commit": self.commit, "machine": self.machine })
    }

    pub fn read(json: &Value) -> About {
        let text = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
        About { date: text("date"), commit: text("commit"), machine: text("machine") }
    }
}

impl std::fmt::Display for About {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, commit {}; {}", self.date, self.commit, self.machine)
    }
}

fn machine(dir: &Path) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let processor = line_of("/proc/cpuinfo", "model name").unwrap_or_default();
    let memory_kib: u64 = line_of("/proc/meminfo", "MemTotal")
        .and_then(|line| line.split_whitespace().next().and_then(|number| number.parse().ok()))
        .unwrap_or(0);
    let kernel = said("uname", &["-sr"]);
    let files = said("df", &["--output=fstype", &dir.display().to_string()]);
    let files = files.lines().last().unwrap_or("?");
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or("?");
    let memory = memory_kib >> 20;
    let counter = if can_count() { "" } else { "; no counter of instructions" };
    format!("{cores} cores ({processor}), {memory} GiB, {kernel}, {files}{counter}; load {load} at the start")
}

/// What stands behind the colon of the first line with this label.
fn line_of(file: &str, label: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(label))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    output.map_or_else(|_| String::new(), |o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
}

/// Year, month and day of a day since 1970-01-01, by counting.
fn civil(mut days: u64) -> (u64, u64, u64) {
    let is_leap =
        |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_dates() {
        assert_eq!(
            [0, 58, 59, 364, 365].map(civil),
            [(1970, 1, 1), (1970, 2, 28), (1970, 3, 1), (1970, 12, 31), (1971, 1, 1)]
        );
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(20_789), (2026, 12, 2));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let about = About { date: "2026-01-02".into(), commit: "abc+".into(), machine: "one".into() };
        assert_eq!(About::read(&about.json()), about);
    }
}
