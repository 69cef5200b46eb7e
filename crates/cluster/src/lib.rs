//! # cluster: local clusters of real processes (dev)
//!
//! **Lives here:** starting, killing, pausing and restarting members on loopback, and the [`Links`] between them: a proxy
//! in front of each peer listener that can cut and delay each direction of each link. The members may be any etcd.
//!
//! **May touch:** processes, sockets and files below the directory it is given.
//!
//! **Must never:** reach beyond loopback; leave a process behind.
//!
//! **How to test:** `cargo test -p balsa-cluster`; it is used by `cargo xtask cluster` and by the server's cluster tests.

mod links;
mod member;

pub use links::Links;
pub use member::{Cluster, Member, Setup, free_port, http_get};
