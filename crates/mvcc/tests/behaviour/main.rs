//! What the room promises through its door, over a simulated disk.
#![allow(clippy::unwrap_used)]

mod compaction;
mod fixture;
mod golden;
mod hostile;
mod model;
mod ranges;
mod watching;
