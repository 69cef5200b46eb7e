//! Leases: `table` is the applied state, `clock` is the leader's idea of when they end. formats 9.2.

pub mod clock;
pub mod table;

pub use clock::{ClockOptions, LeaseClock, Renewal, TimeToLive};
pub use table::{Lease, LeaseTable};

/// Longest TTL a client may ask for, in seconds.
pub const TTL_MAX: i64 = 9_000_000_000;
