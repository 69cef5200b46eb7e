//! Watching: from written revisions to the responses of watch streams (formats 9.3).

mod catch_up;
mod hub;
mod range_map;
mod response;
mod stream;
mod watcher;

pub use catch_up::CatchUp;
pub use hub::{HubStats, WatchHub};
pub use response::{Changes, Kind, Refusal, WatchOutput, encode, split};
pub use stream::OutboxMax;
pub use watcher::{StreamId, WatchId, WatchSpec};
