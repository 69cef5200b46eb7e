//! Talking to the other members of the cluster over etcd's peer protocol (formats 5).

pub mod ask;
pub mod asked;
pub mod client;
pub mod codec;
