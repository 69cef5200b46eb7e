//! The owner threads of a member: each owns its state alone and takes work in batches.

pub mod apply;
pub mod background;
pub mod commit;
pub mod mailbox;
pub mod raft;
pub mod snap;
pub mod wal;

/// Ends the process with etcd's shape of a last word: nothing can be promised any more (fail-stop).
pub fn fatal(what: &str, error: &dyn std::fmt::Display) -> ! {
    crate::log::fatal!(what.to_owned(), "error" = error.to_string())
}
