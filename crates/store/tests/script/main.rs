//! Runs the scripts in `testdata/*.txt`: commands, and below each what it answered (lines that begin with "= ").
//! `BALSA_UPDATE=1` rewrites the answers; read the difference before you believe it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../support/mod.rs"]
mod support;

mod command;
mod show;
mod words;

use std::fmt::Write as _;
use std::path::Path;

fn check(path: &Path) {
    let script = std::fs::read_to_string(path).unwrap();
    let mut session = command::Session::new();
    let mut actual = String::new();
    for line in script.lines().filter(|line| !line.starts_with("= ")) {
        writeln!(actual, "{line}").unwrap();
        let command = line.trim();
        if command.is_empty() || command.starts_with('#') {
            continue;
        }
        for answer in session.run(command) {
            writeln!(actual, "= {answer}").unwrap();
        }
    }
    if std::env::var_os("BALSA_UPDATE").is_some() {
        std::fs::write(path, actual).unwrap();
        return;
    }
    let difference = script.lines().zip(actual.lines()).enumerate().find(|(_, (a, b))| a != b);
    if let Some((at, (expected, got))) = difference {
        panic!("{}:{}\nexpected {expected}\n     got {got}", path.display(), at + 1);
    }
    assert_eq!(script.lines().count(), actual.lines().count(), "{}", path.display());
}

#[test]
fn every_script_answers_as_written() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut scripts: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    scripts.sort();
    assert!(scripts.len() > 5);
    scripts.iter().for_each(|path| check(path));
}
