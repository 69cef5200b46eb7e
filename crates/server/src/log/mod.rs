//! Log lines in the shape of Go's zap, which etcd's tools and operators read.
//!
//! Door: [`start`] once, then the macros `debug!`, `info!`, `warning!`, `error!`, `fatal!`:
//!
//! ```
//! let urls = vec!["http://127.0.0.1:2379"];
//! server::log::info!("configuring client listeners", "listen-client-urls" = urls);
//! ```
//!
//! Field names are etcd's, in quotes because they carry dashes. A level that is off costs one atomic load. Before
//! `start`, lines go to standard error as JSON. Timestamps are UTC. Never log a password, a token or a key's value.
mod line;
mod rotate;
mod sample;
mod sink;
mod text;

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::SystemTime;

use parking_lot::Mutex;

pub use line::{Line, Value};
pub use rotate::Rotation;
pub use text::{duration, quote, size, timestamp};

use sample::Sampler;
use sink::Sink;

/// How much a line matters, lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// For developers.
    Debug,
    /// The course of things.
    Info,
    /// Something to look at.
    Warn,
    /// Something failed.
    Error,
    /// Should never happen.
    Dpanic,
    /// The process panics.
    Panic,
    /// The process ends.
    Fatal,
}

impl Level {
    /// As written in lines and in `--log-level`.
    pub fn name(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
            Level::Dpanic => "dpanic",
            Level::Panic => "panic",
            Level::Fatal => "fatal",
        }
    }

    /// Reads a name in lower or upper case; nothing means `info`.
    pub fn parse(name: &str) -> Option<Level> {
        let all =
            [Level::Debug, Level::Info, Level::Warn, Level::Error, Level::Dpanic, Level::Panic, Level::Fatal];
        if name.is_empty() {
            return Some(Level::Info);
        }
        all.into_iter().find(|l| name == l.name() || name == l.name().to_uppercase())
    }
}

/// Shape of the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object per line.
    Json,
    /// Columns for people.
    Console,
}

/// Where lines go, opened.
struct Outputs {
    format: Format,
    sinks: Vec<Sink>,
}

static LEVEL: AtomicU8 = AtomicU8::new(Level::Info as u8);
static OUTPUTS: Mutex<Option<Outputs>> = Mutex::new(None);
static SAMPLER: Sampler = Sampler::new();

/// Opens the outputs and sets level and format.
///
/// # Errors
/// The text etcd gives when an output cannot be opened.
pub fn start(options: &crate::config::Log) -> Result<(), String> {
    let sinks = sink::open(options)?;
    *OUTPUTS.lock() = Some(Outputs { format: options.format, sinks });
    LEVEL.store(options.level as u8, Ordering::Relaxed);
    Ok(())
}

/// Would a line of this level be written?
pub fn enabled(level: Level) -> bool {
    level as u8 >= LEVEL.load(Ordering::Relaxed)
}

/// Writes one line, unless its level is off or the same line came too often within a second.
pub fn write(line: &Line) {
    let now = SystemTime::now();
    if !enabled(line.level) || !SAMPLER.admits(line.level, &line.message, now) {
        return;
    }
    match &mut *OUTPUTS.lock() {
        Some(outputs) => {
            let text = line.render(outputs.format, now);
            for sink in &mut outputs.sinks {
                sink.write(line.level, &text, now);
            }
        }
        None => Sink::Stderr.write(line.level, &line.render(Format::Json, now), now),
    }
}

/// Builds a [`Line`]; the other macros are made of it.
#[macro_export]
#[doc(hidden)]
macro_rules! log_line {
    ($level:ident, logger: $logger:expr, $message:expr $(, $key:literal = $value:expr)* $(,)?) => {
        $crate::log::Line {
            level: $crate::log::Level::$level,
            logger: $logger,
            file: file!(),
            line: line!(),
            module: module_path!(),
            message: ($message).into(),
            fields: vec![$(($key.into(), $crate::log::Value::from($value))),*],
        }
    };
}

/// Writes a line if its level is on; the fields are only built then.
#[macro_export]
#[doc(hidden)]
macro_rules! log_write {
    ($level:ident, logger: $logger:expr, $($rest:tt)*) => {
        if $crate::log::enabled($crate::log::Level::$level) {
            $crate::log::write(&$crate::log_line!($level, logger: $logger, $($rest)*));
        }
    };
    ($level:ident, $($rest:tt)*) => { $crate::log_write!($level, logger: "", $($rest)*) };
}

/// For developers; off by default.
#[macro_export]
#[doc(hidden)]
macro_rules! log_debug { ($($rest:tt)*) => { $crate::log_write!(Debug, $($rest)*) }; }

/// The course of things.
#[macro_export]
#[doc(hidden)]
macro_rules! log_info { ($($rest:tt)*) => { $crate::log_write!(Info, $($rest)*) }; }

/// Something an operator should look at.
#[macro_export]
#[doc(hidden)]
macro_rules! log_warning { ($($rest:tt)*) => { $crate::log_write!(Warn, $($rest)*) }; }

/// Something failed.
#[macro_export]
#[doc(hidden)]
macro_rules! log_error { ($($rest:tt)*) => { $crate::log_write!(Error, $($rest)*) }; }

/// Writes the line and ends the process with status 1.
#[macro_export]
#[doc(hidden)]
macro_rules! log_fatal {
    ($($rest:tt)*) => {{
        $crate::log_write!(Fatal, $($rest)*);
        std::process::exit(1)
    }};
}

pub use crate::{
    log_debug as debug, log_error as error, log_fatal as fatal, log_info as info, log_line as line,
    log_warning as warning,
};
