//! What can go wrong in this room, as far as callers tell the cases apart.

use crate::Revision;

/// The errors of reads, writes, compaction and restore.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The wanted revision is older than the compact revision (or a compaction not newer than the last one).
    #[error("required revision has been compacted")]
    Compacted,
    /// The wanted revision has not been written yet.
    #[error("required revision is a future revision")]
    FutureRevision,
    /// The stored records contradict their format or each other; the text says which and how.
    #[error("damaged key-value store: {0}")]
    Damaged(String),
    /// The file below failed.
    #[error(transparent)]
    Backend(#[from] backend::Error),
}

impl Error {
    /// A record is not there.
    pub(crate) fn missing(revision: Revision) -> Error {
        Error::Damaged(format!("no record at revision {revision}, which the index knows"))
    }
}
