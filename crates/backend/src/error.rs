//! What can go wrong in the backend.

use std::io;
use std::path::PathBuf;

/// Everything the backend reports. Any error of a commit is final: the process must stop.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// A page of the file breaks the format. Nothing was guessed from it.
    #[error("bolt page {page} is damaged: {what}")]
    Damaged {
        /// Number of the page in the file.
        page: u64,
        /// The broken rule.
        what: &'static str,
    },
    /// Neither of the two meta pages is valid: this is not a bolt file, or its head is lost.
    #[error("no valid bolt meta page in {}", .0.display())]
    NotBolt(PathBuf),
    /// Another process holds the file.
    #[error("{} is locked by another process", .0.display())]
    Locked(PathBuf),
    /// The disk refused an operation.
    #[error("{doing}: {source}")]
    Disk {
        /// What was being done.
        doing: &'static str,
        /// The disk's answer (shared, so that the error can be handed to every waiter).
        source: std::sync::Arc<io::Error>,
    },
    /// A key is empty or longer than 32768 bytes, or a value is too long for the file format.
    #[error("key or value has a size the file format cannot hold")]
    BadSize,
    /// The name belongs to a nested bucket, where a record was expected (or the other way round).
    #[error("a nested bucket stands where a record was expected")]
    NestedBucket,
    /// An earlier commit failed; nothing can be written any more.
    #[error("an earlier commit failed; the backend takes no more writes")]
    Poisoned,
}

impl Error {
    pub(crate) fn damaged(page: u64, what: &'static str) -> Error {
        Error::Damaged { page, what }
    }

    pub(crate) fn disk(doing: &'static str) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Disk { doing, source: std::sync::Arc::new(source) }
    }
}
