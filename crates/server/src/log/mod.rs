//! Log lines in the shape of Go's zap, which etcd's tools and operators read.

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

/// Shape of the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object per line.
    Json,
    /// Columns for people.
    Console,
}
