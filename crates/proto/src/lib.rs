//! # proto: the words etcd speaks
//!
//! Lives here: our `.proto` files (names, numbers and types are etcd's) and the code generated from them by
//! `cargo xtask generate`. May touch: nothing. Never: logic of any room.
//! Test: `cargo test -p balsa-proto` compares every row of the public surface with the sources, and the sources with
//! what the generated code was made from.
#![allow(missing_docs, clippy::all)]

pub mod authpb {
    include!("gen/authpb.rs");
}
pub mod etcdserverpb {
    include!("gen/etcdserverpb.rs");
}
pub mod leasepb {
    include!("gen/leasepb.rs");
}
pub mod membershippb {
    include!("gen/membershippb.rs");
}
pub mod mvccpb {
    include!("gen/mvccpb.rs");
}
pub mod raftpb {
    include!("gen/raftpb.rs");
}
pub mod snappb {
    include!("gen/snappb.rs");
}
pub mod v3electionpb {
    include!("gen/v3electionpb.rs");
}
pub mod v3lockpb {
    include!("gen/v3lockpb.rs");
}
pub mod walpb {
    include!("gen/walpb.rs");
}
pub mod grpc {
    pub mod health {
        pub mod v1 {
            include!("gen/grpc.health.v1.rs");
        }
    }
}
