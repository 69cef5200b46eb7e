//! What the room promises through its door, over a simulated disk. `ETCD_GO=<directory with etcd>` adds a comparison with
//! the real one.
#![allow(clippy::unwrap_used)]

mod compaction;
mod concurrent;
mod fixture;
mod go;
mod golden;
mod hostile;
mod large;
mod model;
mod ranges;
mod watching;
