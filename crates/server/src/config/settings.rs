//! What a member is told: one plain struct, filled by flags, environment or file, checked by `validate`.
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::features::FeatureGates;
use super::url::Url;

/// The whole configuration of one member. `Config::default()` holds etcd's defaults.
///
/// Numbers are kept as etcd documents them, zero meaning "use the default" where it does; the methods give the
/// values that count.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    // --- member ---
    /// Human-readable name of the member.
    pub name: String,
    /// Directory that holds `member/`. Empty before `load` fills in `<name>.etcd`.
    pub data_dir: String,
    /// A directory for the WAL alone; empty means `<data-dir>/member/wal`.
    pub wal_dir: String,
    /// Applied entries between two raft snapshots.
    pub snapshot_count: u64,
    /// Log entries kept behind a snapshot for slow followers.
    pub snapshot_catchup_entries: u64,
    /// `.snap` files kept; 0 keeps all.
    pub max_snapshots: u64,
    /// WAL segments kept; 0 keeps all.
    pub max_wals: u64,
    /// Milliseconds of one tick: the leader's heartbeat interval.
    pub heartbeat_ms: u64,
    /// Milliseconds without a heartbeat before an election starts.
    pub election_ms: u64,
    /// Skip ahead to just before the first election when the member starts.
    pub initial_election_tick_advance: bool,
    /// Listeners for peers.
    pub listen_peer_urls: Vec<Url>,
    /// Listeners for clients (gRPC, and HTTP unless `listen_client_http_urls` is given).
    pub listen_client_urls: Vec<Url>,
    /// Listeners for clients that speak plain HTTP only.
    pub listen_client_http_urls: Vec<Url>,
    /// Extra listeners with metrics and health alone.
    pub listen_metrics_urls: Vec<Url>,
    /// Keep the pages of the database in memory.
    pub memory_mlock: bool,
    /// Size of the database that raises NOSPACE; 0 is 2 GiB, negative turns the quota off.
    pub quota_backend_bytes: i64,
    /// `map` or `array`; the engine keeps its own free list, so this is accepted only.
    pub backend_freelist_type: String,
    /// Longest wait before a backend commit; zero means 100 ms.
    pub backend_batch_interval: Duration,
    /// Most operations before a backend commit; 0 means 10,000.
    pub backend_batch_limit: i64,
    /// Most operations in one transaction.
    pub max_txn_ops: u64,
    /// Largest client request in bytes.
    pub max_request_bytes: u64,
    /// HTTP/2 streams one client connection may open.
    pub max_concurrent_streams: u32,
    /// Shortest interval between two pings of a client.
    pub grpc_keepalive_min_time: Duration,
    /// Interval of the server's pings; zero turns them off.
    pub grpc_keepalive_interval: Duration,
    /// Wait for the answer to a ping before the connection is closed; zero turns it off.
    pub grpc_keepalive_timeout: Duration,
    /// SO_REUSEPORT on listeners.
    pub socket_reuse_port: bool,
    /// SO_REUSEADDR on listeners.
    pub socket_reuse_address: bool,
    /// Serve the JSON gateway under `/v3/`.
    pub enable_grpc_gateway: bool,
    /// Read deadline of peer connections, never below 5 s.
    pub raft_read_timeout: Duration,
    /// Write deadline of peer connections, never below 5 s.
    pub raft_write_timeout: Duration,
    /// Switches for behaviour that is not yet, or no longer, everybody's.
    pub features: FeatureGates,
    /// The etcd version the member announces and keeps its files readable for.
    pub emulated_version: Emulated,

    // --- clustering ---
    /// Peer URLs told to the cluster.
    pub advertise_peer_urls: Vec<Url>,
    /// Client URLs told to members and clients.
    pub advertise_client_urls: Vec<Url>,
    /// Bootstrap membership, `name=url,...`. Empty when discovery provides it.
    pub initial_cluster: String,
    /// `new` or `existing`.
    pub initial_cluster_state: ClusterState,
    /// Mixed into the ids of cluster and members.
    pub initial_cluster_token: String,
    /// Discovery over another etcd cluster (v3).
    pub discovery: Discovery,
    /// DNS domain whose SRV records give the initial cluster.
    pub discovery_srv: String,
    /// Suffix of the SRV service name.
    pub discovery_srv_name: String,
    /// Refuse membership changes that would lose the quorum.
    pub strict_reconfig_check: bool,
    /// Ask before standing for election.
    pub pre_vote: bool,
    /// Most learners in the membership.
    pub max_learners: i64,
    /// `periodic` or `revision`.
    pub auto_compaction_mode: String,
    /// How much history to keep; see [`Config::auto_compaction`].
    pub auto_compaction_retention: String,

    // --- security ---
    /// TLS towards clients.
    pub client_tls: Tls,
    /// TLS among members.
    pub peer_tls: Tls,
    /// Go names of the cipher suites allowed; empty leaves the choice to the library.
    pub cipher_suites: Vec<String>,
    /// Lowest TLS version.
    pub tls_min_version: String,
    /// Highest TLS version; empty means the library's highest.
    pub tls_max_version: String,
    /// Years a generated certificate lives.
    pub self_signed_cert_validity_years: u64,
    /// Origins allowed by CORS; empty or `*` allows all.
    pub cors: Vec<String>,
    /// Host names accepted in plaintext HTTP requests; empty or `*` accepts all.
    pub host_whitelist: Vec<String>,

    // --- auth ---
    /// `simple`, or `jwt,` with options.
    pub auth_token: String,
    /// Seconds a simple token lives.
    pub auth_token_ttl_s: u64,
    /// Work factor of stored passwords.
    pub bcrypt_cost: u64,

    // --- looking inside ---
    /// Serve `/debug/pprof/`.
    pub enable_pprof: bool,
    /// `basic`, or `extensive` for histograms per RPC.
    pub metrics: Metrics,
    /// What is logged, how and where.
    pub log: Log,
    /// A unary request that takes longer is logged as a warning.
    pub warning_unary_request_duration: Duration,
    /// An apply that takes longer is logged as a warning.
    pub warning_apply_duration: Duration,
    /// OpenTelemetry traces.
    pub tracing: Tracing,

    // --- upkeep ---
    /// Interval of comparing the hash of all members; zero is off.
    pub corrupt_check_time: Duration,
    /// Interval at which the leader compares compaction hashes.
    pub compact_hash_check_time: Duration,
    /// Revisions removed per compaction step; 0 means 1,000.
    pub compaction_batch_limit: i64,
    /// Pause between compaction steps; zero means 10 ms.
    pub compaction_sleep_interval: Duration,
    /// Interval of progress notices on idle watches; zero means 10 min.
    pub watch_progress_notify_interval: Duration,
    /// A leader whose sync has run for so long lets a quicker member lead; zero turns that off (ours alone).
    pub slow_disk_handover: Duration,
    /// Interval of looking whether a downgrade has finished.
    pub downgrade_check_time: Duration,
    /// Defragment at start when at least this many megabytes would be freed; 0 is off.
    pub bootstrap_defrag_threshold_megabytes: u64,

    // --- unsafe ---
    /// Start as a cluster of one from existing data.
    pub force_new_cluster: bool,
    /// Skip every sync; a crash loses data.
    pub unsafe_no_fsync: bool,

    /// Lines for the log, found while reading; to be written once it is open.
    pub notes: Vec<crate::log::Line>,
}

/// What `--initial-cluster-state` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClusterState {
    /// Bootstrap a cluster.
    #[default]
    New,
    /// Join one.
    Existing,
}

/// How much the metrics page shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Metrics {
    /// Counters and etcd's own histograms.
    #[default]
    Basic,
    /// Also a handling time histogram per RPC.
    Extensive,
}

/// The etcd version a member behaves as (ours alone: `--emulated-version`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Emulated {
    /// 3.5: nothing is written that 3.5 cannot read.
    V3_5,
    /// 3.6.
    V3_6,
    /// 3.7, the version this program follows.
    #[default]
    V3_7,
}

/// How old history is dropped by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoCompaction {
    /// Never.
    Off,
    /// Keep this much time.
    Periodic(Duration),
    /// Keep this many revisions.
    Revision(i64),
}

/// Certificates of one side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Certificate shown by the listener.
    pub cert_file: String,
    /// Its key.
    pub key_file: String,
    /// Certificate shown when dialling; empty means `cert_file`.
    pub client_cert_file: String,
    /// Its key.
    pub client_key_file: String,
    /// Demand a certificate from whoever dials.
    pub client_cert_auth: bool,
    /// Authorities that sign certificates of whoever dials.
    pub trusted_ca_file: String,
    /// Revocation list.
    pub crl_file: String,
    /// Generate a self-signed certificate.
    pub auto: bool,
    /// Common names allowed.
    pub allowed_cn: Vec<String>,
    /// SAN host names allowed.
    pub allowed_hostname: Vec<String>,
    /// Do not compare SAN and address of a dialling peer.
    pub skip_client_san_verification: bool,
}

impl Tls {
    /// No certificate, no key.
    pub fn is_empty(&self) -> bool {
        self.cert_file.is_empty() && self.key_file.is_empty()
    }
}

/// Discovery over another etcd cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// Names the cluster in the registry.
    pub token: String,
    /// Endpoints of the registry.
    pub endpoints: Vec<String>,
    /// Timeout of a dial.
    pub dial_timeout: Duration,
    /// Timeout of a request.
    pub request_timeout: Duration,
    /// Interval of pings.
    pub keepalive_time: Duration,
    /// Wait for a ping's answer.
    pub keepalive_timeout: Duration,
    /// No TLS.
    pub insecure_transport: bool,
    /// Do not verify the registry's certificate.
    pub insecure_skip_tls_verify: bool,
    /// Client certificate.
    pub cert: String,
    /// Its key.
    pub key: String,
    /// Authorities of the registry.
    pub cacert: String,
    /// User name.
    pub user: String,
    /// Password.
    pub password: String,
}

impl Discovery {
    /// The registry is to be spoken to over TLS: what etcd takes for a wish for it.
    pub fn needs_tls(&self) -> bool {
        let files = [&self.cert, &self.key, &self.cacert].iter().any(|file| !file.is_empty());
        let secure = |endpoint: &String| {
            endpoint.trim().starts_with("https:") || endpoint.trim().starts_with("unixs:")
        };
        !self.endpoints.is_empty()
            && (files
                || !self.insecure_transport
                || self.insecure_skip_tls_verify
                || self.endpoints.iter().any(secure))
    }
}

impl Default for Discovery {
    fn default() -> Self {
        Discovery {
            token: String::new(),
            endpoints: Vec::new(),
            dial_timeout: Duration::from_secs(2),
            request_timeout: Duration::from_secs(5),
            keepalive_time: Duration::from_secs(2),
            keepalive_timeout: Duration::from_secs(6),
            insecure_transport: true,
            insecure_skip_tls_verify: false,
            cert: String::new(),
            key: String::new(),
            cacert: String::new(),
            user: String::new(),
            password: String::new(),
        }
    }
}

/// What is logged, how and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Lowest level written: `debug` … `fatal`.
    pub level: crate::log::Level,
    /// JSON or console lines.
    pub format: crate::log::Format,
    /// `default`, `stderr`, `stdout`, `systemd/journal` or paths.
    pub outputs: Vec<String>,
    /// Rotate the one file among the outputs.
    pub rotate: bool,
    /// Limits of the rotation as JSON.
    pub rotation_json: String,
}

/// OpenTelemetry traces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracing {
    /// Send traces.
    pub enabled: bool,
    /// gRPC address of the collector.
    pub address: String,
    /// `service.name`.
    pub service_name: String,
    /// `service.instance.id`.
    pub instance_id: String,
    /// Spans kept per million.
    pub sampling_rate: i64,
}

impl Config {
    /// `<data-dir>/member`.
    pub fn member_dir(&self) -> PathBuf {
        Path::new(&self.data_dir).join("member")
    }

    /// Where WAL segments live.
    pub fn wal_path(&self) -> PathBuf {
        if self.wal_dir.is_empty() { self.member_dir().join("wal") } else { PathBuf::from(&self.wal_dir) }
    }

    /// `<data-dir>/member/snap`.
    pub fn snap_path(&self) -> PathBuf {
        self.member_dir().join("snap")
    }

    /// The database file.
    pub fn db_path(&self) -> PathBuf {
        self.snap_path().join("db")
    }

    /// One raft tick.
    pub fn tick(&self) -> Duration {
        Duration::from_millis(self.heartbeat_ms)
    }

    /// Ticks without a heartbeat before an election starts.
    pub fn election_ticks(&self) -> u32 {
        u32::try_from(self.election_ms / self.heartbeat_ms.max(1)).unwrap_or(u32::MAX)
    }

    /// Time a request may take: 5 s and two elections.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_secs(5) + 2 * Duration::from_millis(self.election_ms)
    }

    /// The quota in bytes that counts; `None` means no quota.
    pub fn quota_bytes(&self) -> Option<u64> {
        match self.quota_backend_bytes {
            0 => Some(2 << 30),
            negative if negative < 0 => None,
            bytes => Some(bytes.unsigned_abs()),
        }
    }

    /// Longest wait before a backend commit.
    pub fn commit_interval(&self) -> Duration {
        if self.backend_batch_interval.is_zero() {
            Duration::from_millis(100)
        } else {
            self.backend_batch_interval
        }
    }

    /// Most operations before a backend commit.
    pub fn commit_ops_max(&self) -> usize {
        usize::try_from(self.backend_batch_limit).ok().filter(|&n| n > 0).unwrap_or(10_000)
    }

    /// Revisions removed per compaction step.
    pub fn compaction_batch(&self) -> usize {
        usize::try_from(self.compaction_batch_limit).ok().filter(|&n| n > 0).unwrap_or(1_000)
    }

    /// Interval of progress notices on idle watches.
    pub fn progress_interval(&self) -> Duration {
        match self.watch_progress_notify_interval {
            Duration::ZERO => Duration::from_secs(600),
            given => given,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        let local = |port: u16| vec![Url::plain("localhost", port)];
        let ms = Duration::from_millis;
        Config {
            name: "default".into(),
            data_dir: String::new(),
            wal_dir: String::new(),
            snapshot_count: 10_000,
            snapshot_catchup_entries: 5_000,
            max_snapshots: 5,
            max_wals: 5,
            heartbeat_ms: 100,
            election_ms: 1_000,
            initial_election_tick_advance: true,
            listen_peer_urls: local(2380),
            listen_client_urls: local(2379),
            listen_client_http_urls: Vec::new(),
            listen_metrics_urls: Vec::new(),
            memory_mlock: false,
            quota_backend_bytes: 0,
            backend_freelist_type: String::new(),
            backend_batch_interval: Duration::ZERO,
            backend_batch_limit: 0,
            max_txn_ops: 128,
            max_request_bytes: 1_572_864,
            max_concurrent_streams: u32::MAX,
            grpc_keepalive_min_time: ms(5_000),
            grpc_keepalive_interval: ms(7_200_000),
            grpc_keepalive_timeout: ms(20_000),
            socket_reuse_port: false,
            socket_reuse_address: false,
            enable_grpc_gateway: true,
            raft_read_timeout: ms(5_000),
            raft_write_timeout: ms(5_000),
            features: FeatureGates::default(),
            emulated_version: Emulated::default(),
            advertise_peer_urls: local(2380),
            advertise_client_urls: local(2379),
            initial_cluster: String::new(),
            initial_cluster_state: ClusterState::New,
            initial_cluster_token: "etcd-cluster".into(),
            discovery: Discovery::default(),
            discovery_srv: String::new(),
            discovery_srv_name: String::new(),
            strict_reconfig_check: true,
            pre_vote: true,
            max_learners: 1,
            auto_compaction_mode: "periodic".into(),
            auto_compaction_retention: "0".into(),
            client_tls: Tls::default(),
            peer_tls: Tls::default(),
            cipher_suites: Vec::new(),
            tls_min_version: "TLS1.2".into(),
            tls_max_version: String::new(),
            self_signed_cert_validity_years: 1,
            cors: vec!["*".into()],
            host_whitelist: vec!["*".into()],
            auth_token: "simple".into(),
            auth_token_ttl_s: 300,
            bcrypt_cost: 10,
            enable_pprof: false,
            metrics: Metrics::Basic,
            log: Log::default(),
            warning_unary_request_duration: ms(300),
            warning_apply_duration: ms(100),
            tracing: Tracing::default(),
            corrupt_check_time: Duration::ZERO,
            compact_hash_check_time: ms(60_000),
            compaction_batch_limit: 0,
            compaction_sleep_interval: Duration::ZERO,
            watch_progress_notify_interval: Duration::ZERO,
            slow_disk_handover: ms(1_000),
            downgrade_check_time: ms(5_000),
            bootstrap_defrag_threshold_megabytes: 0,
            force_new_cluster: false,
            unsafe_no_fsync: false,
            notes: Vec::new(),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Log {
            level: crate::log::Level::Info,
            format: crate::log::Format::Json,
            outputs: vec!["default".into()],
            rotate: false,
            rotation_json:
                r#"{"maxsize": 100, "maxage": 0, "maxbackups": 0, "localtime": false, "compress": false}"#
                    .into(),
        }
    }
}

impl Default for Tracing {
    fn default() -> Self {
        Tracing {
            enabled: false,
            address: "localhost:4317".into(),
            service_name: "etcd".into(),
            instance_id: String::new(),
            sampling_rate: 0,
        }
    }
}
