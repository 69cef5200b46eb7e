//! # server: what a member does
//!
//! **Lives here:** threads and tasks, the front door (gRPC and HTTP on one port), configuration, bootstrap, logging and
//! metrics. Binary `etcd`; as a library, [`run::Running`] embeds a member in a program.
//!
//! **May touch:** everything real: sockets, clock, randomness, threads. Files only through `disk`.
//!
//! **Must never:** decide what consensus decides (`node`) or execute what the store executes (`store`); hold a lock
//! across a wait; block a front loop.
//!
//! **Where to start reading:** [`run`] (how it is put together), [`member`] (what handlers see), `thread/` (the owners),
//! `rpc/` (one file per service), `http/door`.
//!
//! **How to test:** `cargo test -p balsa-server`; the tests in `tests/` start the binary.

pub mod applied;
pub mod bootstrap;
pub mod config;
pub mod http;
pub mod log;
pub mod member;
pub mod metrics;
pub mod notices;
pub mod peer;
pub mod rpc;
pub mod run;
pub mod stats;
pub mod task;
pub mod thread;
pub mod tokens;
pub mod waiters;
