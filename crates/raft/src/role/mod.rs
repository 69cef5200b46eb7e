//! What a member does in each role.

mod candidate;
mod follower;
mod leader;
mod replication;
