//! RPCs counted from the start: every method and every code has its line before the first call.
use super::Metrics;

/// One RPC as the labels name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// `etcdserverpb.KV`
    pub service: &'static str,
    /// `Range`
    pub name: &'static str,
    /// `unary`, `client_stream`, `server_stream` or `bidi_stream`.
    pub kind: &'static str,
}

const fn method(service: &'static str, name: &'static str, kind: &'static str) -> Method {
    Method { service, name, kind }
}

/// Every RPC of the client port that Go etcd counts from the start.
pub const METHODS: [Method; 45] = [
    method("etcdserverpb.Auth", "AuthDisable", "unary"),
    method("etcdserverpb.Auth", "AuthEnable", "unary"),
    method("etcdserverpb.Auth", "AuthStatus", "unary"),
    method("etcdserverpb.Auth", "Authenticate", "unary"),
    method("etcdserverpb.Auth", "RoleAdd", "unary"),
    method("etcdserverpb.Auth", "RoleDelete", "unary"),
    method("etcdserverpb.Auth", "RoleGet", "unary"),
    method("etcdserverpb.Auth", "RoleGrantPermission", "unary"),
    method("etcdserverpb.Auth", "RoleList", "unary"),
    method("etcdserverpb.Auth", "RoleRevokePermission", "unary"),
    method("etcdserverpb.Auth", "UserAdd", "unary"),
    method("etcdserverpb.Auth", "UserChangePassword", "unary"),
    method("etcdserverpb.Auth", "UserDelete", "unary"),
    method("etcdserverpb.Auth", "UserGet", "unary"),
    method("etcdserverpb.Auth", "UserGrantRole", "unary"),
    method("etcdserverpb.Auth", "UserList", "unary"),
    method("etcdserverpb.Auth", "UserRevokeRole", "unary"),
    method("etcdserverpb.Cluster", "MemberAdd", "unary"),
    method("etcdserverpb.Cluster", "MemberList", "unary"),
    method("etcdserverpb.Cluster", "MemberPromote", "unary"),
    method("etcdserverpb.Cluster", "MemberRemove", "unary"),
    method("etcdserverpb.Cluster", "MemberUpdate", "unary"),
    method("etcdserverpb.KV", "Compact", "unary"),
    method("etcdserverpb.KV", "DeleteRange", "unary"),
    method("etcdserverpb.KV", "Put", "unary"),
    method("etcdserverpb.KV", "Range", "unary"),
    method("etcdserverpb.KV", "RangeStream", "server_stream"),
    method("etcdserverpb.KV", "Txn", "unary"),
    method("etcdserverpb.Lease", "LeaseGrant", "unary"),
    method("etcdserverpb.Lease", "LeaseKeepAlive", "bidi_stream"),
    method("etcdserverpb.Lease", "LeaseLeases", "unary"),
    method("etcdserverpb.Lease", "LeaseRevoke", "unary"),
    method("etcdserverpb.Lease", "LeaseTimeToLive", "unary"),
    method("etcdserverpb.Maintenance", "Alarm", "unary"),
    method("etcdserverpb.Maintenance", "Defragment", "unary"),
    method("etcdserverpb.Maintenance", "Downgrade", "unary"),
    method("etcdserverpb.Maintenance", "Hash", "unary"),
    method("etcdserverpb.Maintenance", "HashKV", "unary"),
    method("etcdserverpb.Maintenance", "MoveLeader", "unary"),
    method("etcdserverpb.Maintenance", "Snapshot", "server_stream"),
    method("etcdserverpb.Maintenance", "Status", "unary"),
    method("etcdserverpb.Watch", "Watch", "bidi_stream"),
    method("grpc.health.v1.Health", "Check", "unary"),
    method("grpc.health.v1.Health", "List", "unary"),
    method("grpc.health.v1.Health", "Watch", "server_stream"),
];

/// Names of gRPC codes, by number.
pub const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

impl Metrics {
    /// Makes the lines of every method and code, at zero; with `extensive`, the handling time of each method, too.
    pub fn prepare_grpc(&self, extensive: bool) {
        for Method { service, name, kind } in METHODS {
            let labels = [name, service, kind];
            self.grpc_server_started_total.with(&labels);
            self.grpc_server_msg_received_total.with(&labels);
            self.grpc_server_msg_sent_total.with(&labels);
            if extensive {
                self.grpc_server_handling_seconds.with(&labels);
            }
            for code in CODES {
                self.grpc_server_handled_total.with(&[code, name, service, kind]);
            }
        }
    }
}
