//! # store: the applied state machine
//!
//! **Lives here:** what committed entries do: keys, txns, leases, alarms, users and roles, members, versions, quota, and the
//! consistent index that goes into the file with them. One choke point ([`gate`]) says who may touch what.
//!
//! **May touch:** the backend through [`backend::Backend`] and [`mvcc::Kv`].
//!
//! **Must never:** read the clock or randomness, use anything that differs between members, wait, know raft. The same
//! entries make the same contents everywhere (invariants 4, 5, 6, 7).
//!
//! **Doors:** [`Store`] (the apply thread), [`StoreReader`] (everyone), [`lease::LeaseClock`] (the leader's lease task),
//! [`check`] (shape of requests, asked before proposing).
//!
//! **How to test:** `cargo test -p balsa-store`; `BALSA_LONG=1` multiplies the cases. Scripts are in `testdata/`.

pub mod alarm;
mod apply;
pub mod auth;
pub mod check;
mod error;
pub mod gate;
pub mod lease;
mod member;
mod membership;
mod options;
mod outcome;
pub mod quota;
pub mod range;
mod reader;
mod record;
mod request;
mod store;
pub mod txn;
pub mod v2;
mod version;

pub use alarm::Alarms;
pub use auth::{AuthState, Identity};
pub use error::{ApplyError, Error};
pub use member::{ConfChangeContext, ConfState, Downgrade, Member, Members, members_to_json};
pub use options::{HashPassword, Options, TokenKind};
pub use outcome::{ConfChangeOutcome, Entry, LeaseChange, MemberChange, Outcome, Response, TokenChange};
pub use reader::{Compacted, StoreReader};
pub use request::{NoTxn, decode_txn, is_brief};
pub use store::Store;
pub use version::Version;
