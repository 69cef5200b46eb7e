//! The engine for bbolt's file format: one writer, any number of readers, copy-on-write pages, two meta pages.
//!
//! The format in byte pictures: docs/formats/bolt.md. Files read like this: [`page`], [`meta`], [`snapshot`] (a
//! committed tree) with [`cursor`], [`scan`], [`seek`] and [`check`]; [`node`] (the changed part of a tree), [`image`] (the
//! bytes of new pages), [`freelist`], [`tx`] (a write
//! transaction), [`db`] (the open file, commits), [`vacuum`] (defragmentation in steps).
//!
//! Promises. A commit is whole or not there, whatever happens to the power. Pages that a reader can reach are never
//! written to. Nothing read from the file can make this code panic or loop for ever.

mod check;
mod cursor;
mod db;
mod freelist;
mod image;
mod meta;
mod node;
mod page;
mod scan;
mod seek;
mod snapshot;
mod tx;
mod vacuum;

pub use cursor::Range;
pub(crate) use db::open_read_only;
pub use db::{Db, Options};
pub(crate) use seek::Seeker;
pub(crate) use snapshot::{Pages, Readers};
pub use snapshot::{Place, Snapshot, SnapshotSource};
pub use tx::Phase;
pub use vacuum::VacuumRequest;
