//! Configuration: flags, environment or file in, one checked [`Config`] out.
//!
//! Door: [`load`]. It is a function of its arguments but for reading the file that `--config-file` names; it prints
//! nothing and ends nothing: what should be printed, and the exit status, come back in [`Exit`]. Lines for the log
//! wait in [`Config::notes`] until the log is open.
//!
//! `flags_list.rs` is the one list of flags; `source.rs` reads arguments and variables, `file.rs` the file, `check.rs`
//! judges the whole.
mod assign;
mod check;
mod features;
mod file;
mod flags;
mod flags_list;
mod flags_old;
mod golang;
mod help;
mod settings;
mod source;
#[cfg(test)]
mod tests;
mod url;
mod yaml;

use std::ffi::OsString;
use std::process::ExitCode;

pub(crate) use check::{BCRYPT_COST, BCRYPT_COSTS, rotation};
pub use features::FeatureGates;
pub(crate) use golang::{duration as go_duration, io_error as go_io_error};
pub use help::{BALSA_VERSION, ETCD_VERSION, GIT_SHA, GO_VERSION, flags_markdown, go_arch, version};
pub use settings::{AutoCompaction, ClusterState, Config, Discovery, Emulated, Log, Metrics, Tls, Tracing};
pub use url::{Scheme, Url};

use crate::log::{self, Line, quote};
use check::Problem;
use source::{Args, Said};

/// The process ends before a member starts: what to print, and how.
#[derive(Debug, Default)]
pub struct Exit {
    /// Exit status.
    pub status: u8,
    /// For standard output.
    pub stdout: String,
    /// For standard error, before the lines.
    pub stderr: String,
    /// Lines for the log.
    pub lines: Vec<Line>,
}

impl Exit {
    /// The configuration cannot be used: `failed to verify flags`, status 1.
    pub fn refused(error: impl Into<String>) -> Exit {
        Exit { status: 1, lines: vec![failed_to_verify(error.into())], ..Exit::default() }
    }

    /// Prints everything and gives the status.
    pub fn end(self) -> ExitCode {
        use std::io::Write;
        let _ = std::io::stderr().write_all(self.stderr.as_bytes());
        let _ = std::io::stdout().write_all(self.stdout.as_bytes());
        self.lines.iter().for_each(log::write);
        ExitCode::from(self.status)
    }
}

/// Reads the configuration from the arguments (without the program's name) and the environment.
///
/// # Errors
/// Everything that ends the process here: help, version, a wrong flag or value, a file that cannot be read.
pub fn load(
    args: impl Iterator<Item = OsString>,
    env: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Config, Exit> {
    let args: Vec<String> = args.map(source::text).collect();
    let env: Vec<(String, String)> = env.map(|(n, v)| (source::text(n), source::text(v))).collect();
    let mut said = Said::default();
    match said.args(&args) {
        Args::Read => {}
        Args::Help => {
            return Err(Exit { stdout: help::flags(), stderr: help::USAGE.into(), ..Exit::default() });
        }
        Args::Wrong(text) => {
            let stderr = format!("{text}\n{}", help::USAGE);
            return Err(Exit { status: 2, stderr, ..Exit::default() });
        }
    }
    let running = log::line!(Info, logger: "", "Running: ", "args" = source::without_secrets(&args));
    if let Some(stray) = &said.stray {
        let lines = vec![running, failed_to_verify(format!("{} is not a valid flag", quote(stray)))];
        return Err(Exit { status: 1, lines, ..Exit::default() });
    }
    if said.draft.version {
        return Err(Exit { stdout: version(), ..Exit::default() });
    }
    let from_file = said.source(&env)?;
    said.warn_deprecated();
    said.notes.push(running);
    let judged = match said.errors.is_empty() {
        true => check::judge(&mut said, from_file),
        false => Err(said.errors.drain(..).map(Problem::Flags).collect()),
    };
    let mut config = judged.map_err(|problems| refuse(std::mem::take(&mut said.notes), problems))?;
    if config.data_dir.is_empty() {
        config.data_dir = format!("{}.etcd", config.name);
        said.notes.push(log::line!(Warn, logger: "", "'data-dir' was empty; using default",
            "data-dir" = &config.data_dir));
    }
    config.notes = said.notes;
    Ok(config)
}

impl Said {
    /// Fills the draft from the file, if one is named, or from the environment. True for the file.
    fn source(&mut self, env: &[(String, String)]) -> Result<bool, Exit> {
        let mut path = self.draft.config_file.clone();
        if path.is_empty() {
            path =
                env.iter().find(|(n, _)| n == "ETCD_CONFIG_FILE").map(|(_, v)| v.clone()).unwrap_or_default();
        }
        if path.is_empty() {
            return match self.environment(env) {
                Ok(()) => Ok(false),
                Err(fatal) => {
                    let mut lines = std::mem::take(&mut self.notes);
                    lines.push(fatal);
                    Err(Exit { status: 1, lines, ..Exit::default() })
                }
            };
        }
        let text = std::fs::read_to_string(&path).map_err(|e| {
            let verb = if e.kind() == std::io::ErrorKind::IsADirectory { "read" } else { "open" };
            Exit::refused(format!("{verb} {path}: {}", golang::io_error(&e)))
        })?;
        *self = Said::default();
        match file::read(self, &text) {
            Ok(()) => {}
            Err(file::Refused::Errors(errors)) => self.errors = errors,
            Err(file::Refused::Plain(stderr)) => return Err(Exit { status: 1, stderr, ..Exit::default() }),
        }
        self.notes.push(log::line!(Info, logger: "",
            "loaded server configuration, other configuration command line flags and environment variables will be ignored if provided",
            "path" = path));
        Ok(true)
    }
}

fn failed_to_verify(error: String) -> Line {
    log::line!(Warn, logger: "", "failed to verify flags", "error" = error)
}

/// One line per problem; the worst decides the status.
fn refuse(mut lines: Vec<Line>, problems: Vec<Problem>) -> Exit {
    let mut exit = Exit { status: 1, ..Exit::default() };
    let at_start_only = problems.iter().all(|p| matches!(p, Problem::Start(_)));
    for problem in problems {
        match problem {
            Problem::Flags(error) => lines.push(failed_to_verify(error)),
            // etcd would not get this far while the flags are wrong.
            Problem::Start(error) if at_start_only => {
                lines.push(log::line!(Fatal, logger: "", "discovery failed", "error" = error));
            }
            Problem::Start(error) => lines.push(failed_to_verify(error)),
            Problem::Panic(text) => {
                exit.stderr = format!("panic: {text}\n");
                exit.status = 2;
            }
        }
    }
    // A panic leaves nothing but its text.
    if exit.status == 1 {
        exit.lines = lines;
    }
    exit
}
