//! Every metric, once: its name, what it is, its labels, its buckets, its help line.
//!
//! Names, types, labels and buckets are etcd's; a test compares them with `testdata/surface/metrics.tsv`.
use super::Head;
use super::value::{Collect, Counter, Family, Gauge, Histogram, NoPauses, exponential};

/// Go's default buckets.
const DEFAULT_BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

macro_rules! metrics {
    ($($name:ident: $type:ty = $kind:literal $make:expr, $help:literal;)*) => {
        /// All metrics of a member; each field is the metric of that name.
        pub struct Metrics {
            $(#[doc = $help] pub $name: $type,)*
            go_gc_duration_seconds: NoPauses,
        }

        impl Metrics {
            /// All at zero; families empty.
            pub fn new() -> Metrics {
                Metrics { $($name: $make,)* go_gc_duration_seconds: NoPauses }
            }

            /// Every metric in the order of the list, which is by name.
            pub(crate) fn all(&self) -> Vec<(Head, &dyn Collect)> {
                let mut all: Vec<(Head, &dyn Collect)> = vec![
                    $((Head { name: stringify!($name), kind: $kind, help: $help }, &self.$name),)*
                    (Head { name: "go_gc_duration_seconds", kind: "summary", help: GC_HELP },
                        &self.go_gc_duration_seconds),
                ];
                all.sort_unstable_by_key(|(head, _)| head.name);
                all
            }
        }
    };
}

const GC_HELP: &str =
    "A summary of the wall-time pause (stop-the-world) duration in garbage collection cycles.";

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}

#[rustfmt::skip]
metrics! {
    etcd_cluster_version: Family<Gauge> = "gauge" Family::new(&["cluster_version"], Gauge::default),
        "Which version is running. 1 for 'cluster_version' label with current cluster version";
    etcd_debugging_auth_revision: Gauge = "gauge" Gauge::default(),
        "The current revision of auth store.";
    etcd_debugging_disk_backend_commit_rebalance_duration_seconds: Histogram = "histogram" Histogram::new(exponential(0.001, 2.0, 14)),
        "The latency distributions of commit.rebalance called by bboltdb backend.";
    etcd_debugging_disk_backend_commit_spill_duration_seconds: Histogram = "histogram" Histogram::new(exponential(0.001, 2.0, 14)),
        "The latency distributions of commit.spill called by bboltdb backend.";
    etcd_debugging_disk_backend_commit_write_duration_seconds: Histogram = "histogram" Histogram::new(exponential(0.001, 2.0, 14)),
        "The latency distributions of commit.write called by bboltdb backend.";
    etcd_debugging_lease_granted_total: Counter = "counter" Counter::default(),
        "The total number of granted leases.";
    etcd_debugging_lease_renewed_total: Counter = "counter" Counter::default(),
        "The number of renewed leases seen by the leader.";
    etcd_debugging_lease_revoked_total: Counter = "counter" Counter::default(),
        "The total number of revoked leases.";
    etcd_debugging_lease_ttl_total: Histogram = "histogram" Histogram::new(exponential(1.0, 2.0, 24)),
        "Bucketed histogram of lease TTLs.";
    etcd_debugging_mvcc_compact_revision: Gauge = "gauge" Gauge::default(),
        "The revision of the last compaction in store.";
    etcd_debugging_mvcc_current_revision: Gauge = "gauge" Gauge::default(),
        "The current revision of store.";
    etcd_debugging_mvcc_db_compaction_keys_total: Counter = "counter" Counter::default(),
        "Total number of db keys compacted.";
    etcd_debugging_mvcc_db_compaction_last: Gauge = "gauge" Gauge::default(),
        "The unix time of the last db compaction. Resets to 0 on start.";
    etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds: Histogram = "histogram" Histogram::new(exponential(1.0, 2.0, 13)),
        "Bucketed histogram of db compaction pause duration.";
    etcd_debugging_mvcc_db_compaction_total_duration_milliseconds: Histogram = "histogram" Histogram::new(exponential(100.0, 2.0, 14)),
        "Bucketed histogram of db compaction total duration.";
    etcd_debugging_mvcc_events_total: Counter = "counter" Counter::default(),
        "Total number of events sent by this member.";
    etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds: Histogram = "histogram" Histogram::new(exponential(0.5, 2.0, 14)),
        "Bucketed histogram of index compaction pause duration.";
    etcd_debugging_mvcc_keys_total: Gauge = "gauge" Gauge::default(),
        "Total number of keys.";
    etcd_debugging_mvcc_pending_events_total: Gauge = "gauge" Gauge::default(),
        "Total number of pending events to be sent.";
    etcd_debugging_mvcc_slow_watcher_total: Gauge = "gauge" Gauge::default(),
        "Total number of unsynced slow watchers.";
    etcd_debugging_mvcc_total_put_size_in_bytes: Gauge = "gauge" Gauge::default(),
        "The total size of put kv pairs seen by this member.";
    etcd_debugging_mvcc_watch_stream_total: Gauge = "gauge" Gauge::default(),
        "Total number of watch streams.";
    etcd_debugging_mvcc_watcher_total: Gauge = "gauge" Gauge::default(),
        "Total number of watchers.";
    etcd_debugging_server_alarms: Family<Gauge> = "gauge" Family::new(&["alarm_type", "server_id"], Gauge::default),
        "1 per raised alarm, by member and kind.";
    etcd_debugging_server_lease_expired_total: Counter = "counter" Counter::default(),
        "The total number of expired leases.";
    etcd_debugging_server_watch_send_loop_control_stream_duration_seconds: Histogram = "histogram" Histogram::new(exponential(0.001, 2.0, 14)),
        "The total duration in seconds of running through the send loop control stream response.";
    etcd_debugging_server_watch_send_loop_progress_duration_seconds: Histogram = "histogram" Histogram::new(exponential(0.001, 2.0, 14)),
        "The total duration in seconds of running through the progress loop control stream response.";
    etcd_debugging_server_watch_send_loop_watch_stream_duration_per_event_seconds: Histogram = "histogram" Histogram::new(exponential(0.001, 2.0, 14)),
        "The average duration in seconds of running through the send loop watch stream response, per event.";
    etcd_debugging_server_watch_send_loop_watch_stream_duration_seconds: Histogram = "histogram" Histogram::new(exponential(0.001, 2.0, 14)),
        "The total duration in seconds of running through the send loop watch stream response all events.";
    etcd_debugging_snap_save_marshalling_duration_seconds: Histogram = "histogram" Histogram::new(exponential(0.001, 2.0, 14)),
        "The marshalling cost distributions of save called by snapshot.";
    etcd_debugging_snap_save_total_duration_seconds: Histogram = "histogram" Histogram::new(exponential(0.001, 2.0, 14)),
        "The total latency distributions of save called by snapshot.";
    etcd_debugging_store_expires_total: Counter = "counter" Counter::default(),
        "Total number of expired keys.";
    etcd_debugging_store_reads_failed_total: Family<Counter> = "counter" Family::new(&["action"], Counter::default),
        "Failed read actions by (get/getRecursive), local to this member.";
    etcd_debugging_store_reads_total: Family<Counter> = "counter" Family::new(&["action"], Counter::default),
        "Total number of reads action by (get/getRecursive), local to this member.";
    etcd_debugging_store_watch_requests_total: Counter = "counter" Counter::default(),
        "Total number of incoming watch requests (new or reestablished).";
    etcd_debugging_store_watchers: Gauge = "gauge" Gauge::default(),
        "Count of currently active watchers.";
    etcd_debugging_store_writes_failed_total: Family<Counter> = "counter" Family::new(&["action"], Counter::default),
        "Failed write actions (e.g. set/compareAndDelete), seen by this member.";
    etcd_debugging_store_writes_total: Family<Counter> = "counter" Family::new(&["action"], Counter::default),
        "Total number of writes (e.g. set/compareAndDelete) seen by this member.";
    etcd_disk_backend_commit_duration_seconds: Histogram = "histogram" Histogram::new(exponential(0.001, 2.0, 14)),
        "The latency distributions of commit called by backend.";
    etcd_disk_backend_defrag_duration_seconds: Histogram = "histogram" Histogram::new(exponential(0.1, 2.0, 13)),
        "The latency distribution of backend defragmentation.";
    etcd_disk_backend_snapshot_duration_seconds: Histogram = "histogram" Histogram::new(exponential(0.01, 2.0, 17)),
        "The latency distribution of backend snapshots.";
    etcd_disk_defrag_inflight: Gauge = "gauge" Gauge::default(),
        "Whether or not defrag is active on the member. 1 means active, 0 means not.";
    etcd_disk_wal_fsync_duration_seconds: Histogram = "histogram" Histogram::new(exponential(0.001, 2.0, 14)),
        "The latency distributions of fsync called by WAL.";
    etcd_disk_wal_write_bytes_total: Gauge = "gauge" Gauge::default(),
        "Total number of bytes written in WAL.";
    etcd_disk_wal_write_duration_seconds: Histogram = "histogram" Histogram::new(exponential(0.001, 2.0, 14)),
        "The latency distributions of write called by WAL.";
    etcd_grpc_proxy_cache_hits_total: Gauge = "gauge" Gauge::default(),
        "Total number of cache hits";
    etcd_grpc_proxy_cache_keys_total: Gauge = "gauge" Gauge::default(),
        "Total number of keys/ranges cached";
    etcd_grpc_proxy_cache_misses_total: Gauge = "gauge" Gauge::default(),
        "Total number of cache misses";
    etcd_grpc_proxy_events_coalescing_total: Counter = "counter" Counter::default(),
        "Total number of events coalescing";
    etcd_grpc_proxy_watchers_coalescing_total: Gauge = "gauge" Gauge::default(),
        "Total number of current watchers coalescing";
    etcd_mvcc_db_open_read_transactions: Gauge = "gauge" Gauge::default(),
        "The number of currently open read transactions";
    etcd_mvcc_db_total_size_in_bytes: Gauge = "gauge" Gauge::default(),
        "Total size of the underlying database physically allocated in bytes.";
    etcd_mvcc_db_total_size_in_use_in_bytes: Gauge = "gauge" Gauge::default(),
        "Total size of the underlying database logically in use in bytes.";
    etcd_mvcc_delete_total: Counter = "counter" Counter::default(),
        "Total number of deletes seen by this member.";
    etcd_mvcc_hash_duration_seconds: Histogram = "histogram" Histogram::new(exponential(0.01, 2.0, 15)),
        "The latency distribution of storage hash operation.";
    etcd_mvcc_hash_rev_duration_seconds: Histogram = "histogram" Histogram::new(exponential(0.01, 2.0, 15)),
        "The latency distribution of storage hash by revision operation.";
    etcd_mvcc_put_total: Counter = "counter" Counter::default(),
        "Total number of puts seen by this member.";
    etcd_mvcc_range_total: Counter = "counter" Counter::default(),
        "Total number of ranges seen by this member.";
    etcd_mvcc_txn_total: Counter = "counter" Counter::default(),
        "Total number of txns seen by this member.";
    etcd_network_active_peers: Family<Gauge> = "gauge" Family::new(&["Local", "Remote"], Gauge::default),
        "1 per connected peer stream.";
    etcd_network_client_grpc_received_bytes_total: Counter = "counter" Counter::default(),
        "The total number of bytes received from grpc clients.";
    etcd_network_client_grpc_sent_bytes_total: Counter = "counter" Counter::default(),
        "The total number of bytes sent to grpc clients.";
    etcd_network_disconnected_peers_total: Family<Counter> = "counter" Family::new(&["Local", "Remote"], Counter::default),
        "Peer disconnections.";
    etcd_network_known_peers: Family<Gauge> = "gauge" Family::new(&["Local", "Remote"], Gauge::default),
        "The current number of known peers.";
    etcd_network_peer_received_bytes_total: Family<Counter> = "counter" Family::new(&["From"], Counter::default),
        "Bytes received per peer.";
    etcd_network_peer_received_failures_total: Family<Counter> = "counter" Family::new(&["From"], Counter::default),
        "Receive failures per peer.";
    etcd_network_peer_round_trip_time_seconds: Family<Histogram> = "histogram" Family::new(&["To"], || Histogram::new(exponential(0.0001, 2.0, 16))),
        "Probe round trip per peer.";
    etcd_network_peer_sent_bytes_total: Family<Counter> = "counter" Family::new(&["To"], Counter::default),
        "Bytes sent per peer.";
    etcd_network_peer_sent_failures_total: Family<Counter> = "counter" Family::new(&["To"], Counter::default),
        "Send failures per peer.";
    etcd_network_server_stream_failures_total: Family<Counter> = "counter" Family::new(&["API", "Type"], Counter::default),
        "Failed client streams by direction and API.";
    etcd_network_snapshot_receive_failures: Family<Counter> = "counter" Family::new(&["From"], Counter::default),
        "Snapshot receive failures.";
    etcd_network_snapshot_receive_inflights_total: Family<Gauge> = "gauge" Family::new(&["From"], Gauge::default),
        "Snapshot receives under way.";
    etcd_network_snapshot_receive_success: Family<Counter> = "counter" Family::new(&["From"], Counter::default),
        "Snapshots received.";
    etcd_network_snapshot_receive_total_duration_seconds: Family<Histogram> = "histogram" Family::new(&["From"], || Histogram::new(exponential(0.1, 2.0, 10))),
        "Snapshot receive time.";
    etcd_network_snapshot_send_failures: Family<Counter> = "counter" Family::new(&["To"], Counter::default),
        "Snapshot send failures.";
    etcd_network_snapshot_send_inflights_total: Family<Gauge> = "gauge" Family::new(&["To"], Gauge::default),
        "Snapshot sends under way.";
    etcd_network_snapshot_send_success: Family<Counter> = "counter" Family::new(&["To"], Counter::default),
        "Snapshots sent.";
    etcd_network_snapshot_send_total_duration_seconds: Family<Histogram> = "histogram" Family::new(&["To"], || Histogram::new(exponential(0.1, 2.0, 10))),
        "Snapshot send time.";
    etcd_server_apply_duration_seconds: Family<Histogram> = "histogram" Family::new(&["op", "success", "version"], || Histogram::new(exponential(0.0001, 2.0, 20))),
        "The latency distributions of v2 apply called by backend.";
    etcd_server_client_requests_total: Family<Counter> = "counter" Family::new(&["client_api_version", "type"], Counter::default),
        "The total number of client requests per client version.";
    etcd_server_feature_enabled: Family<Gauge> = "gauge" Family::new(&["name", "stage"], Gauge::default),
        "Whether or not a feature is enabled. 1 is enabled, 0 is not.";
    etcd_server_go_version: Family<Gauge> = "gauge" Family::new(&["server_go_version"], Gauge::default),
        "Which Go version server is running with. 1 for 'server_go_version' label with current version.";
    etcd_server_has_leader: Gauge = "gauge" Gauge::default(),
        "Whether or not a leader exists. 1 is existence, 0 is not.";
    etcd_server_health_failures: Counter = "counter" Counter::default(),
        "The total number of failed health checks";
    etcd_server_health_success: Counter = "counter" Counter::default(),
        "The total number of successful health checks";
    etcd_server_healthcheck: Family<Gauge> = "gauge" Family::new(&["name", "type"], Gauge::default),
        "The result of each kind of healthcheck.";
    etcd_server_healthchecks_total: Family<Counter> = "counter" Family::new(&["name", "status", "type"], Counter::default),
        "The total number of each kind of healthcheck.";
    etcd_server_heartbeat_send_failures_total: Counter = "counter" Counter::default(),
        "The total number of leader heartbeat send failures (likely overloaded from slow disk).";
    etcd_server_id: Family<Gauge> = "gauge" Family::new(&["server_id"], Gauge::default),
        "Server or member ID in hexadecimal format. 1 for 'server_id' label with current ID.";
    etcd_server_is_leader: Gauge = "gauge" Gauge::default(),
        "Whether or not this member is a leader. 1 if is, 0 otherwise.";
    etcd_server_is_learner: Gauge = "gauge" Gauge::default(),
        "Whether or not this member is a learner. 1 if is, 0 otherwise.";
    etcd_server_leader_changes_seen_total: Counter = "counter" Counter::default(),
        "The number of leader changes seen.";
    etcd_server_learner_promote_failures: Family<Counter> = "counter" Family::new(&["Reason"], Counter::default),
        "The total number of failed learner promotions (likely learner not ready) while this member is leader.";
    etcd_server_learner_promote_successes: Counter = "counter" Counter::default(),
        "The total number of successful learner promotions while this member is leader.";
    etcd_server_proposals_applied_total: Gauge = "gauge" Gauge::default(),
        "The total number of consensus proposals applied.";
    etcd_server_proposals_committed_total: Gauge = "gauge" Gauge::default(),
        "The total number of consensus proposals committed.";
    etcd_server_proposals_failed_total: Counter = "counter" Counter::default(),
        "The total number of failed proposals seen.";
    etcd_server_proposals_pending: Gauge = "gauge" Gauge::default(),
        "The current number of pending proposals to commit.";
    etcd_server_quota_backend_bytes: Gauge = "gauge" Gauge::default(),
        "Current backend storage quota size in bytes.";
    etcd_server_range_duration_seconds: Family<Histogram> = "histogram" Family::new(&["success"], || Histogram::new(exponential(0.0001, 2.0, 20))),
        "The latency distributions of txn.Range";
    etcd_server_read_indexes_failed_total: Counter = "counter" Counter::default(),
        "The total number of failed read indexes seen.";
    etcd_server_request_duration_seconds: Family<Histogram> = "histogram" Family::new(&["success", "type"], || Histogram::new(exponential(0.001, 2.0, 14))),
        "Response latency distribution in seconds for each type.";
    etcd_server_slow_apply_total: Counter = "counter" Counter::default(),
        "The total number of slow apply requests (likely overloaded from slow disk).";
    etcd_server_slow_read_indexes_total: Counter = "counter" Counter::default(),
        "The total number of pending read indexes not in sync with leader's or timed out read index requests.";
    etcd_server_snapshot_apply_in_progress_total: Gauge = "gauge" Gauge::default(),
        "1 if the server is applying the incoming snapshot. 0 if none.";
    etcd_server_version: Family<Gauge> = "gauge" Family::new(&["server_version"], Gauge::default),
        "Which version is running. 1 for 'server_version' label with current version.";
    etcd_snap_db_fsync_duration_seconds: Histogram = "histogram" Histogram::new(exponential(0.001, 2.0, 14)),
        "The latency distributions of fsyncing .snap.db file";
    etcd_snap_db_save_total_duration_seconds: Histogram = "histogram" Histogram::new(exponential(0.1, 2.0, 10)),
        "The total latency distributions of v3 snapshot save";
    etcd_snap_fsync_duration_seconds: Histogram = "histogram" Histogram::new(exponential(0.001, 2.0, 14)),
        "The latency distributions of fsync called by snap.";
    go_gc_gogc_percent: Gauge = "gauge" Gauge::default(),
        "Heap size target percentage configured by the user, otherwise 100. This value is set by the GOGC environment variable, and the runtime/debug.SetGCPercent function. Sourced from /gc/gogc:percent.";
    go_gc_gomemlimit_bytes: Gauge = "gauge" Gauge::default(),
        "Go runtime memory limit configured by the user, otherwise math.MaxInt64. This value is set by the GOMEMLIMIT environment variable, and the runtime/debug.SetMemoryLimit function. Sourced from /gc/gomemlimit:bytes.";
    go_goroutines: Gauge = "gauge" Gauge::default(),
        "Number of goroutines that currently exist.";
    go_info: Family<Gauge> = "gauge" Family::new(&["version"], Gauge::default),
        "Information about the Go environment.";
    go_memstats_alloc_bytes: Gauge = "gauge" Gauge::default(),
        "Number of bytes allocated in heap and currently in use. Equals to /memory/classes/heap/objects:bytes.";
    go_memstats_alloc_bytes_total: Counter = "counter" Counter::default(),
        "Total number of bytes allocated in heap until now, even if released already. Equals to /gc/heap/allocs:bytes.";
    go_memstats_buck_hash_sys_bytes: Gauge = "gauge" Gauge::default(),
        "Number of bytes used by the profiling bucket hash table. Equals to /memory/classes/profiling/buckets:bytes.";
    go_memstats_frees_total: Counter = "counter" Counter::default(),
        "Total number of heap objects frees. Equals to /gc/heap/frees:objects + /gc/heap/tiny/allocs:objects.";
    go_memstats_gc_sys_bytes: Gauge = "gauge" Gauge::default(),
        "Number of bytes used for garbage collection system metadata. Equals to /memory/classes/metadata/other:bytes.";
    go_memstats_heap_alloc_bytes: Gauge = "gauge" Gauge::default(),
        "Number of heap bytes allocated and currently in use, same as go_memstats_alloc_bytes. Equals to /memory/classes/heap/objects:bytes.";
    go_memstats_heap_idle_bytes: Gauge = "gauge" Gauge::default(),
        "Number of heap bytes waiting to be used. Equals to /memory/classes/heap/released:bytes + /memory/classes/heap/free:bytes.";
    go_memstats_heap_inuse_bytes: Gauge = "gauge" Gauge::default(),
        "Number of heap bytes that are in use. Equals to /memory/classes/heap/objects:bytes + /memory/classes/heap/unused:bytes";
    go_memstats_heap_objects: Gauge = "gauge" Gauge::default(),
        "Number of currently allocated objects. Equals to /gc/heap/objects:objects.";
    go_memstats_heap_released_bytes: Gauge = "gauge" Gauge::default(),
        "Number of heap bytes released to OS. Equals to /memory/classes/heap/released:bytes.";
    go_memstats_heap_sys_bytes: Gauge = "gauge" Gauge::default(),
        "Number of heap bytes obtained from system. Equals to /memory/classes/heap/objects:bytes + /memory/classes/heap/unused:bytes + /memory/classes/heap/released:bytes + /memory/classes/heap/free:bytes.";
    go_memstats_last_gc_time_seconds: Gauge = "gauge" Gauge::default(),
        "Number of seconds since 1970 of last garbage collection.";
    go_memstats_mallocs_total: Counter = "counter" Counter::default(),
        "Total number of heap objects allocated, both live and gc-ed. Semantically a counter version for go_memstats_heap_objects gauge. Equals to /gc/heap/allocs:objects + /gc/heap/tiny/allocs:objects.";
    go_memstats_mcache_inuse_bytes: Gauge = "gauge" Gauge::default(),
        "Number of bytes in use by mcache structures. Equals to /memory/classes/metadata/mcache/inuse:bytes.";
    go_memstats_mcache_sys_bytes: Gauge = "gauge" Gauge::default(),
        "Number of bytes used for mcache structures obtained from system. Equals to /memory/classes/metadata/mcache/inuse:bytes + /memory/classes/metadata/mcache/free:bytes.";
    go_memstats_mspan_inuse_bytes: Gauge = "gauge" Gauge::default(),
        "Number of bytes in use by mspan structures. Equals to /memory/classes/metadata/mspan/inuse:bytes.";
    go_memstats_mspan_sys_bytes: Gauge = "gauge" Gauge::default(),
        "Number of bytes used for mspan structures obtained from system. Equals to /memory/classes/metadata/mspan/inuse:bytes + /memory/classes/metadata/mspan/free:bytes.";
    go_memstats_next_gc_bytes: Gauge = "gauge" Gauge::default(),
        "Number of heap bytes when next garbage collection will take place. Equals to /gc/heap/goal:bytes.";
    go_memstats_other_sys_bytes: Gauge = "gauge" Gauge::default(),
        "Number of bytes used for other system allocations. Equals to /memory/classes/other:bytes.";
    go_memstats_stack_inuse_bytes: Gauge = "gauge" Gauge::default(),
        "Number of bytes obtained from system for stack allocator in non-CGO environments. Equals to /memory/classes/heap/stacks:bytes.";
    go_memstats_stack_sys_bytes: Gauge = "gauge" Gauge::default(),
        "Number of bytes obtained from system for stack allocator. Equals to /memory/classes/heap/stacks:bytes + /memory/classes/os-stacks:bytes.";
    go_memstats_sys_bytes: Gauge = "gauge" Gauge::default(),
        "Number of bytes obtained from system. Equals to /memory/classes/total:byte.";
    go_sched_gomaxprocs_threads: Gauge = "gauge" Gauge::default(),
        "The current runtime.GOMAXPROCS setting, or the number of operating system threads that can execute user-level Go code simultaneously. Sourced from /sched/gomaxprocs:threads.";
    go_threads: Gauge = "gauge" Gauge::default(),
        "Number of OS threads created.";
    grpc_server_handled_total: Family<Counter> = "counter" Family::new(&["grpc_code", "grpc_method", "grpc_service", "grpc_type"], Counter::default),
        "Total number of RPCs completed on the server, regardless of success or failure.";
    grpc_server_handling_seconds: Family<Histogram> = "histogram" Family::new(&["grpc_method", "grpc_service", "grpc_type"], || Histogram::new(DEFAULT_BOUNDS.into())),
        "Handling time; only with --metrics=extensive.";
    grpc_server_msg_received_total: Family<Counter> = "counter" Family::new(&["grpc_method", "grpc_service", "grpc_type"], Counter::default),
        "Total number of RPC stream messages received on the server.";
    grpc_server_msg_sent_total: Family<Counter> = "counter" Family::new(&["grpc_method", "grpc_service", "grpc_type"], Counter::default),
        "Total number of gRPC stream messages sent by the server.";
    grpc_server_started_total: Family<Counter> = "counter" Family::new(&["grpc_method", "grpc_service", "grpc_type"], Counter::default),
        "Total number of RPCs started on the server.";
    os_fd_limit: Gauge = "gauge" Gauge::default(),
        "The file descriptor limit.";
    os_fd_used: Gauge = "gauge" Gauge::default(),
        "The number of used file descriptors.";
    process_cpu_seconds_total: Gauge = "counter" Gauge::default(),
        "Total user and system CPU time spent in seconds.";
    process_max_fds: Gauge = "gauge" Gauge::default(),
        "Maximum number of open file descriptors.";
    process_network_receive_bytes_total: Counter = "counter" Counter::default(),
        "Number of bytes received by the process over the network.";
    process_network_transmit_bytes_total: Counter = "counter" Counter::default(),
        "Number of bytes sent by the process over the network.";
    process_open_fds: Gauge = "gauge" Gauge::default(),
        "Number of open file descriptors.";
    process_resident_memory_bytes: Gauge = "gauge" Gauge::default(),
        "Resident memory size in bytes.";
    process_start_time_seconds: Gauge = "gauge" Gauge::default(),
        "Start time of the process since unix epoch in seconds.";
    process_virtual_memory_bytes: Gauge = "gauge" Gauge::default(),
        "Virtual memory size in bytes.";
    process_virtual_memory_max_bytes: Gauge = "gauge" Gauge::default(),
        "Maximum amount of virtual memory available in bytes.";
    promhttp_metric_handler_requests_in_flight: Gauge = "gauge" Gauge::default(),
        "Current number of scrapes being served.";
    promhttp_metric_handler_requests_total: Family<Counter> = "counter" Family::new(&["code"], Counter::default),
        "Total number of scrapes by HTTP status code.";
}
