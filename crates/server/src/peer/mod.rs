//! Talking to the other members of the cluster over etcd's peer protocol (formats 5).

pub mod client;
pub mod codec;
