//! The counts that are checked in, and the comparison with them.
use std::fmt::Write;
use std::path::PathBuf;

use crate::Result;

/// Growth of a path within rooms above this many per cent fails; as much shrinking asks for a new baseline.
const TOLERANCE_PERCENT: u64 = 5;
/// The same of a path through the whole server, whose threads meet each other otherwise in every run.
const SERVER_TOLERANCE_PERCENT: u64 = 20;

const HEAD: &str = "\
# Instructions per operation of the hot paths: `cargo xtask bench --instructions` compares with them, and writes them
# anew with --bless.
";

pub struct Baseline {
    compiler: String,
    counts: Vec<(String, u64)>,
}

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("instructions.txt")
}

/// What the running toolchain calls itself.
fn compiler() -> String {
    let output = std::process::Command::new("rustc").arg("--version").output();
    output.map_or_else(|_| String::new(), |o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
}

pub fn write(counted: &[(&str, u64)]) -> Result<()> {
    let mut text = format!("{HEAD}compiler {}\n", compiler());
    for (name, count) in counted {
        let _ = writeln!(text, "{name} {count}");
    }
    Ok(std::fs::write(file(), text)?)
}

impl Baseline {
    pub fn read() -> Result<Baseline> {
        Baseline::parse(&std::fs::read_to_string(file())?)
    }

    fn parse(text: &str) -> Result<Baseline> {
        let mut baseline = Baseline { compiler: String::new(), counts: Vec::new() };
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            match line.split_once(' ') {
                Some(("compiler", name)) => baseline.compiler = name.to_owned(),
                Some((name, count)) => baseline.counts.push((name.to_owned(), count.parse()?)),
                None => return Err(format!("the baseline says {line:?}").into()),
            }
        }
        Ok(baseline)
    }

    /// An error if a path has grown, or is not in the baseline.
    pub fn compare(&self, counted: &[(&str, u64)]) -> Result<()> {
        let mut grown = Vec::new();
        for (name, now) in counted {
            let Some((_, before)) = self.counts.iter().find(|(known, _)| known == name) else {
                grown.push(format!("{name}: not in the baseline: --bless"));
                continue;
            };
            let of_server = super::server::PATHS.iter().any(|path| path.name == *name);
            let tolerance = if of_server { SERVER_TOLERANCE_PERCENT } else { TOLERANCE_PERCENT };
            let percent = (*now as f64 / *before as f64 - 1.0) * 100.0;
            if *now * 100 > before * (100 + tolerance) {
                grown.push(format!("{name}: {before} → {now} instructions, {percent:+.1} %"));
            } else if *now * 100 < before * (100 - tolerance) {
                eprintln!("{name}: {before} → {now} instructions, {percent:+.1} %: --bless to keep it so");
            }
        }
        if grown.is_empty() {
            return Ok(());
        }
        let compiler = compiler();
        if compiler != self.compiler {
            grown.push(format!("(the baseline is of {}, this is {compiler})", self.compiler));
        }
        Err(format!("too far above the baseline:\n{}", grown.join("\n")).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_above_the_tolerance_is_an_error_and_shrinking_is_not() {
        let baseline = Baseline::parse("# x\ncompiler rustc 1\napply-put 1000\nget 200\n").unwrap();
        assert!(baseline.compare(&[("apply-put", 1050), ("get", 20)]).is_ok());
        let error = baseline.compare(&[("apply-put", 1051), ("get", 240)]).unwrap_err().to_string();
        assert!(error.contains("apply-put: 1000 → 1051 instructions, +5.1 %"), "{error}");
        assert!(!error.contains("get"), "{error}");
        assert!(baseline.compare(&[("apply-put", 1000), ("get", 241)]).is_err());
        assert!(error.contains("the baseline is of rustc 1"), "{error}");
    }

    #[test]
    fn a_path_without_a_baseline_is_an_error() {
        assert!(Baseline::parse("put 1\n").unwrap().compare(&[("got", 1)]).is_err());
        assert!(Baseline::parse("put\n").is_err());
    }

    #[test]
    fn the_checked_in_baseline_can_be_read() {
        assert!(!Baseline::read().unwrap().counts.is_empty());
    }
}
