//! What can go wrong with a log.

use std::io;
use std::path::{Path, PathBuf};

use raft::{Index, Term};

/// Why a log or snapshot file could not be made, read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk refused. After a failed write or sync the log is [`Error::Poisoned`].
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Bytes that nobody wrote like this. Such a log is never used: restore the member from its peers or a backup.
    #[error("{} is damaged at offset {offset}: {what}", file.display())]
    Damaged {
        /// The segment or snapshot file.
        file: PathBuf,
        /// Where the bad record begins.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// Another process uses the log.
    #[error("{} is locked by another process", file.display())]
    Locked {
        /// The segment whose lock is held.
        file: PathBuf,
    },
    /// There is a log already where one was to be created.
    #[error("there is a log already in {}", dir.display())]
    Exists {
        /// The directory.
        dir: PathBuf,
    },
    /// There is no log, or none of its segments reaches back to the wanted index.
    #[error("no log in {} that reaches back to index {index}", dir.display())]
    NotFound {
        /// The directory.
        dir: PathBuf,
        /// The wanted start.
        index: Index,
    },
    /// The log knows no snapshot at the wanted start.
    #[error("the log has no record of a snapshot at index {index}")]
    SnapshotNotFound {
        /// The wanted start.
        index: Index,
    },
    /// The log knows a snapshot at the wanted start, but of another term.
    #[error("the log's snapshot at index {index} is of term {found}, not {wanted}")]
    SnapshotMismatch {
        /// The wanted start.
        index: Index,
        /// Its term as wanted.
        wanted: Term,
        /// Its term in the log.
        found: Term,
    },
    /// A snapshot record above index 0 must carry the membership; etcd refuses to write it without.
    #[error("the snapshot record at index {index} has no conf state")]
    NoConfState {
        /// The record's index.
        index: Index,
    },
    /// An earlier write or sync failed, so nobody knows what is on disk. The process must end and read the log anew.
    #[error("the log failed before and takes no more writes")]
    Poisoned,
}

impl Error {
    /// For `map_err`: names what was tried on which path.
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io { what, path: path.to_owned(), source }
    }

    pub(crate) fn damaged(file: &Path, offset: u64, what: impl Into<String>) -> Error {
        Error::Damaged { file: file.to_owned(), offset, what: what.into() }
    }
}
