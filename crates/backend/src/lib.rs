//! # backend: the bolt file under a batching write buffer
//!
//! **Lives here:** the engine for bbolt's file format ([`bolt`]), the list of every bucket and key ([`schema`]), and the
//! write buffer that makes a put visible at once while the file is written in the background.
//!
//! **May touch:** the file, through `disk` only.
//!
//! **Must never:** read the clock, start a thread, decode a stored record, write a page that a reader has pinned,
//! trust a page of the file, or let a reader miss or see twice a record while a layer turns into pages.
//!
//! **Doors:** [`Backend`] (the one writer), [`Committer`] (the commit thread), [`Reader`] and [`ReadTx`] (anyone).
//!
//! **How to test:** `cargo test -p balsa-backend`; `BALSA_LONG=1` multiplies the cases; `ETCD_GO=<dir with Go's etcd,
//! etcdctl, etcdutl>` adds the runs against the real programs; `cargo fuzz run bolt_page` in `fuzz/`.

mod backend;
pub mod bolt;
mod error;
mod layer;
pub mod schema;
mod turn;
mod view;

pub use backend::{Backend, Committer, Options, Phase};
pub use bolt::{Place, SnapshotSource};
pub use error::Error;
pub use layer::Records;
pub use schema::Bucket;
pub use turn::Turn;
pub use view::{Committed, Lookup, Range, ReadTx, Reader, Stored};
