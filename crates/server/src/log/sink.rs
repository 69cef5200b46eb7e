//! Outputs: standard streams, files, the journal.
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::SystemTime;

use super::rotate::RotatingFile;
use super::{Level, text};
use crate::config::Log;

/// One open output.
pub(super) enum Sink {
    Stderr,
    Stdout,
    File(File),
    Rotating(RotatingFile),
    Journal(UnixDatagram),
}

const JOURNAL: &str = "/run/systemd/journal/socket";

/// Opens every output; `/dev/null` among them silences all.
pub(super) fn open(options: &Log) -> Result<Vec<Sink>, String> {
    if options.outputs.iter().any(|o| o == "/dev/null") {
        return Ok(Vec::new());
    }
    let mut names = options.outputs.clone();
    names.sort();
    names.dedup();
    names.iter().map(|name| open_one(name, options)).collect()
}

fn open_one(name: &str, options: &Log) -> Result<Sink, String> {
    Ok(match name {
        "default" | "stderr" => Sink::Stderr,
        "stdout" => Sink::Stdout,
        "systemd/journal" => match journal() {
            Some(socket) => Sink::Journal(socket),
            None => Sink::Stderr,
        },
        path if options.rotate => {
            let limits = crate::config::rotation(&options.rotation_json)?;
            Sink::Rotating(RotatingFile::open(Path::new(path), limits).map_err(|e| sink_error(path, &e))?)
        }
        path => Sink::File(
            OpenOptions::new().append(true).create(true).open(path).map_err(|e| sink_error(path, &e))?,
        ),
    })
}

fn journal() -> Option<UnixDatagram> {
    let socket = UnixDatagram::unbound().ok()?;
    socket.connect(JOURNAL).ok()?;
    Some(socket)
}

fn sink_error(path: &str, error: &std::io::Error) -> String {
    let why = crate::config::go_io_error(error);
    format!("open sink {}: open {path}: {why}", text::quote(path))
}

impl Sink {
    /// Writes one line. A failed write has nowhere to be reported, so it is dropped.
    pub(super) fn write(&mut self, level: Level, line: &str, now: SystemTime) {
        let _ = match self {
            Sink::Stderr => std::io::stderr().lock().write_all(line.as_bytes()),
            Sink::Stdout => std::io::stdout().lock().write_all(line.as_bytes()),
            Sink::File(file) => file.write_all(line.as_bytes()),
            Sink::Rotating(file) => file.write(line, now),
            Sink::Journal(socket) => socket.send(journal_entry(level, line).as_bytes()).map(|_| ()),
        };
    }
}

/// One entry of the journal's native protocol; a line holds no newline but its last.
fn journal_entry(level: Level, line: &str) -> String {
    let priority = match level {
        Level::Debug => 7,
        Level::Info => 6,
        Level::Warn => 4,
        Level::Error => 3,
        Level::Dpanic | Level::Panic | Level::Fatal => 2,
    };
    let message = line.trim_end_matches('\n').replace('\n', " ");
    format!("PRIORITY={priority}\nPACKAGE=etcd\nSYSLOG_IDENTIFIER=etcd\nMESSAGE={message}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_appended_to_every_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        std::fs::write(&path, "before\n").unwrap();
        let outputs = vec![path.display().to_string(), path.display().to_string()];
        let mut sinks = open(&Log { outputs, ..Log::default() }).unwrap();
        assert_eq!(sinks.len(), 1, "the same output twice is one");
        sinks[0].write(Level::Info, "line\n", SystemTime::now());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "before\nline\n");
    }

    #[test]
    fn the_null_device_silences_all_outputs() {
        let outputs = vec!["stderr".into(), "/dev/null".into()];
        assert!(open(&Log { outputs, ..Log::default() }).unwrap().is_empty());
    }

    #[test]
    fn an_output_that_cannot_be_opened_is_named() {
        let outputs = vec!["/nowhere/at/all".into()];
        let error = open(&Log { outputs, ..Log::default() }).err().unwrap();
        assert_eq!(error, "open sink \"/nowhere/at/all\": open /nowhere/at/all: no such file or directory");
    }

    #[test]
    fn the_journal_is_told_the_priority() {
        assert!(journal_entry(Level::Warn, "x\n").starts_with("PRIORITY=4\n"));
    }
}
