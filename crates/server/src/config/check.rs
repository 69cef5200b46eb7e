//! Judges a filled draft: the rules and texts of etcd's own validation, in its order.
use std::collections::HashMap;
use std::time::Duration;

use super::flags::Draft;
use super::golang;
use super::settings::{AutoCompaction, ClusterState, Config, Metrics};
use super::source::Said;
use super::url::Url;
use crate::log::{self, Format, Level, Rotation, duration, quote};

/// Why the configuration is refused.
#[derive(Debug, PartialEq)]
pub(super) enum Problem {
    /// `failed to verify flags`, status 1.
    Flags(String),
    /// Found by etcd when it starts: the fatal line `discovery failed`, status 1.
    Start(String),
    /// Go panics, status 2.
    Panic(String),
}

const DEFAULT_CLUSTER: &str = "default=http://localhost:2380";
const RAFT_TIMEOUT_MIN: Duration = Duration::from_secs(5);
const ELECTION_MS_MAX: u64 = 50_000;

/// Everything said, judged; lines for the log are added to `said.notes`.
pub(super) fn judge(said: &mut Said, from_file: bool) -> Result<Config, Vec<Problem>> {
    let mut wrong = Vec::new();
    fill_derived(said, from_file);
    if said.draft.discovery_fallback == "proxy" {
        wrong.push(flags(
            r#"v2 proxy is deprecated, and --discovery-fallback can't be configured as "proxy""#,
        ));
    }
    gone(&said.draft, &mut wrong);
    logging(&mut said.draft, &mut wrong);
    urls(said, &mut wrong);
    bootstrap(said, from_file, &mut wrong);
    timing(&mut said.draft, &mut wrong);
    features(said, &mut wrong);
    tls(&said.draft.config, &mut wrong);
    at_start(&said.draft.config, &mut wrong);
    if wrong.is_empty() { Ok(std::mem::take(&mut said.draft.config)) } else { Err(wrong) }
}

fn flags(text: impl Into<String>) -> Problem {
    Problem::Flags(text.into())
}

fn fill_derived(said: &mut Said, from_file: bool) {
    let advertise_missing = !from_file
        && said.given.contains("listen-client-urls")
        && !said.given.contains("advertise-client-urls");
    let d = &mut said.draft;
    let c = &mut d.config;
    let by_name = !from_file && !c.discovery_srv_name.is_empty();
    let discovered = by_name || !c.discovery_srv.is_empty() || !c.discovery.endpoints.is_empty();
    let untouched = c.initial_cluster.is_empty() || c.initial_cluster == DEFAULT_CLUSTER;
    if !from_file {
        c.discovery.endpoints.sort();
        c.discovery.endpoints.dedup();
    }
    let said_so = !from_file && said.given.contains("initial-cluster");
    match (untouched, discovered) {
        (true, true) if said_so => {}
        (true, true) => c.initial_cluster.clear(),
        (true, false) if c.name == "default" => c.initial_cluster = DEFAULT_CLUSTER.into(),
        (true, false) => {
            let name = if c.name.is_empty() { "default" } else { &c.name };
            let all: Vec<_> = c.advertise_peer_urls.iter().map(|u| format!("{name}={u}")).collect();
            c.initial_cluster = all.join(",");
        }
        (false, _) => {}
    }
    if advertise_missing {
        c.advertise_client_urls.clear();
    }
    for (name, value) in
        [("raft-read-timeout", &mut c.raft_read_timeout), ("raft-write-timeout", &mut c.raft_write_timeout)]
    {
        if *value < RAFT_TIMEOUT_MIN {
            *value = RAFT_TIMEOUT_MIN;
            said.notes.push(log::line!(Info, logger: "", format!("{name} increased to minimum value: 5s")));
        }
    }
    if d.cluster_state.is_empty() {
        d.cluster_state = "new".into();
    }
    if from_file {
        c.self_signed_cert_validity_years = c.self_signed_cert_validity_years.max(1);
        if c.warning_unary_request_duration.is_zero() {
            c.warning_unary_request_duration = Duration::from_millis(300);
        }
    }
    c.metrics = if d.metrics == "extensive" { Metrics::Extensive } else { Metrics::Basic };
    c.emulated_version = d.emulated_version.unwrap_or_default();
}

/// Old features that would change what the member does cannot be passed over in silence.
fn gone(draft: &Draft, wrong: &mut Vec<Problem>) {
    if !draft.gone.discovery.is_empty() {
        wrong.push(flags(
            "--discovery is v2 discovery, which was removed in 3.7; use --discovery-token and --discovery-endpoints",
        ));
    }
    if !matches!(draft.gone.proxy.as_str(), "" | "off") {
        wrong.push(flags("--proxy is the v2 proxy, which was removed in 3.6; only \"off\" is accepted"));
    }
}

fn logging(draft: &mut Draft, wrong: &mut Vec<Problem>) {
    match draft.logger.as_str() {
        "zap" => {}
        "capnslog" => wrong.push(flags("--logger=capnslog is removed in v3.5")),
        other => wrong.push(flags(format!("unknown logger option {}", quote(other)))),
    }
    let log = &mut draft.config.log;
    log.outputs.sort();
    log.outputs.dedup();
    if log.outputs.is_empty() {
        log.outputs.push("default".into());
    }
    if log.outputs.len() > 1 && log.outputs.iter().any(|o| o == "default") {
        wrong.push(flags(r#"multi logoutput for "default" is not supported yet"#));
    }
    if log.rotate {
        let files =
            log.outputs.iter().filter(|o| !matches!(o.as_str(), "stderr" | "stdout" | "default")).count();
        if files != 1 {
            wrong.push(flags(
                "--log-outputs requires a single file path when --log-rotate-config-json is defined",
            ));
        } else if let Err(error) = rotation(&log.rotation_json) {
            wrong.push(flags(error));
        }
    }
    if log.outputs.len() > 1 && log.outputs.iter().any(|o| o == "systemd/journal") {
        let all: Vec<_> = log.outputs.iter().map(|o| quote(o)).collect();
        wrong.push(flags(format!(
            "running with systemd/journal but other '--log-outputs' values ([{}]) are configured with 'default'; override 'default' value with something else",
            all.join(" ")
        )));
    }
    match Level::parse(&draft.log_level) {
        Some(level) => log.level = level,
        None => wrong.push(Problem::Panic(format!("unrecognized level: {}", quote(&draft.log_level)))),
    }
    match draft.log_format.as_str() {
        "json" | "" => log.format = Format::Json,
        "console" => log.format = Format::Console,
        other => {
            wrong.push(flags(format!("unknown log format: {other}, supported values json, console")));
        }
    }
}

/// Reads `--log-rotation-config-json`.
pub(crate) fn rotation(json: &str) -> Result<Rotation, String> {
    let value: serde_json::Value = serde_json::from_str(json).map_err(|e| {
        let why = if json.trim().is_empty() || e.is_eof() {
            "unexpected end of JSON input".to_string()
        } else {
            e.to_string()
        };
        format!("improperly formatted log rotation config: {why}")
    })?;
    let number = |key: &str| {
        match value.get(key) {
        None | Some(serde_json::Value::Null) => Ok(0),
        Some(v) => v.as_u64().ok_or_else(|| {
            let kind = match v {
                serde_json::Value::String(_) => "string".into(),
                serde_json::Value::Bool(_) => "bool".into(),
                serde_json::Value::Array(_) => "array".into(),
                serde_json::Value::Object(_) => "object".into(),
                number => format!("number {number}"),
            };
            format!(
                "invalid log rotation config: json: cannot unmarshal {kind} into Go struct field logRotationConfig.Logger.{key} of type int"
            )
        }),
    }
    };
    Ok(Rotation {
        max_size_mb: number("maxsize")?,
        max_age_days: number("maxage")?,
        max_backups: number("maxbackups")?,
    })
}

fn urls(said: &mut Said, wrong: &mut Vec<Problem>) {
    let c = &said.draft.config;
    let bind = |urls: &[Url], wrong: &mut Vec<Problem>| {
        let bad = urls.iter().find(|u| !can_bind(u));
        wrong.extend(bad.map(|u| flags(format!("expected IP in URL for binding ({u})"))));
    };
    bind(&c.listen_peer_urls, wrong);
    bind(&c.listen_client_urls, wrong);
    if c.listen_client_http_urls.is_empty() {
        said.notes.push(log::line!(Warn, logger: "",
            "Running http and grpc server on single port. This is not recommended for production."));
    }
    bind(&c.listen_client_http_urls, wrong);
    bind(&c.listen_metrics_urls, wrong);
    let without_host = |urls: &[Url]| {
        let bad = urls.iter().find(|u| !u.is_socket_file() && u.host_name().is_empty())?;
        let all: Vec<_> = urls.iter().map(ToString::to_string).collect();
        Some((quote(&all.join(",")), format!("unexpected empty host ({bad})")))
    };
    if let Some((all, why)) = without_host(&c.advertise_peer_urls) {
        wrong.push(flags(format!("--initial-advertise-peer-urls {all} must be \"host:port\" ({why})")));
    }
    if let Some((all, why)) = without_host(&c.advertise_client_urls) {
        wrong.push(flags(format!(
            "--advertise-client-urls {all} must be in the format \"host:port\", \"unix:/path/to/socket\" or \"unixs:/path/to/socket\" ({why})"
        )));
    }
}

/// A listener needs an address of this machine, not a name to be looked up.
fn can_bind(url: &Url) -> bool {
    url.is_socket_file()
        || url.host_name() == "localhost"
        || url.host_name().parse::<std::net::IpAddr>().is_ok()
}

fn bootstrap(said: &Said, from_file: bool, wrong: &mut Vec<Problem>) {
    let c = &said.draft.config;
    let ways =
        [!c.initial_cluster.is_empty(), !c.discovery.endpoints.is_empty(), !c.discovery_srv.is_empty()];
    match said.draft.cluster_state.as_str() {
        "new" | "existing" => {}
        other => wrong.push(flags(format!("unexpected clusterState {}", quote(other)))),
    }
    if ways.iter().filter(|way| **way).count() > 1 {
        wrong.push(flags(
            r#"multiple discovery or bootstrap flags are set. Choose one of "initial-cluster", "discovery-endpoints" or "discovery-srv""#,
        ));
    } else if c.discovery.endpoints.is_empty() != c.discovery.token.is_empty() {
        wrong.push(flags("both --discovery-token and --discovery-endpoints must be set"));
    } else if c.discovery.endpoints.iter().any(|endpoint| endpoint.trim().is_empty()) {
        wrong.push(flags("--discovery-endpoints must not contain empty endpoints"));
    }
    if !from_file && c.advertise_client_urls.is_empty() {
        wrong.push(flags("--advertise-client-urls is required when --listen-client-urls is set explicitly"));
    }
}

fn timing(draft: &mut Draft, wrong: &mut Vec<Problem>) {
    let c = &mut draft.config;
    c.initial_cluster_state =
        if draft.cluster_state == "existing" { ClusterState::Existing } else { ClusterState::New };
    let (heartbeat, election) = (c.heartbeat_ms, c.election_ms);
    if heartbeat == 0 {
        wrong.push(flags("--heartbeat-interval must be >0 (set to 0ms)"));
    } else if election == 0 {
        wrong.push(flags("--election-timeout must be >0 (set to 0ms)"));
    } else if heartbeat.saturating_mul(5) > election {
        wrong.push(flags(format!(
            "--election-timeout[{election}ms] should be at least as 5 times as --heartbeat-interval[{heartbeat}ms]"
        )));
    } else if election > ELECTION_MS_MAX {
        wrong.push(flags(format!(
            "--election-timeout[{election}ms] is too long, and should be set less than {ELECTION_MS_MAX}ms"
        )));
    }
    match c.auto_compaction_mode.as_str() {
        "periodic" | "revision" => {}
        "" => wrong.push(flags("undefined auto-compaction-mode")),
        other => wrong.push(flags(format!("unknown auto-compaction-mode {}", quote(other)))),
    }
}

fn features(said: &mut Said, wrong: &mut Vec<Problem>) {
    let c = &said.draft.config;
    if c.tracing.enabled && !(0..=1_000_000).contains(&c.tracing.sampling_rate) {
        let why = if c.tracing.sampling_rate < 0 { "positive" } else { "less than 1000000" };
        wrong.push(flags(format!(
            "distributed tracing configurition is not valid: (tracing sampling rate must be {why})"
        )));
    }
    if c.features.lease_checkpoint_persist && !c.features.lease_checkpoint {
        wrong.push(flags(
            "enabling feature gate LeaseCheckpointPersist requires enabling feature gate LeaseCheckpoint",
        ));
    } else if c.features.lease_checkpoint && !c.features.lease_checkpoint_persist {
        said.notes.push(log::line!(Warn, logger: "",
            "Detected that checkpointing is enabled without persistence. Consider enabling feature gate LeaseCheckpointPersist"));
    }
    if c.compact_hash_check_time.is_zero() {
        let shown = duration(c.compact_hash_check_time);
        wrong.push(flags(format!("--compact-hash-check-time must be >0 (set to {shown})")));
    }
    if c.name == "default" {
        said.notes.push(log::line!(Warn, logger: "",
            "it isn't recommended to use default name, please set a value for --name. Note that etcd might run into issue when multiple members have the same default name",
            "name" = &c.name));
    }
}

fn tls(c: &Config, wrong: &mut Vec<Problem>) {
    let known = |v: &str| matches!(v, "" | "TLS1.2" | "TLS1.3");
    let bad = [&c.tls_min_version, &c.tls_max_version].into_iter().find(|v| !known(v));
    if let Some(version) = bad {
        let version = quote(version);
        wrong.push(flags(format!("unexpected TLS version {version} (must be one of: TLS1.2, TLS1.3)")));
    } else if c.tls_min_version == "TLS1.3" && c.tls_max_version == "TLS1.2" {
        wrong.push(flags(format!(
            "min version ({}) is greater than max version ({})",
            c.tls_min_version, c.tls_max_version
        )));
    } else if c.tls_min_version == "TLS1.3" && !c.cipher_suites.is_empty() {
        wrong.push(flags("cipher suites cannot be configured when only TLS1.3 is enabled"));
    }
    for suite in c.cipher_suites.iter().filter(|s| !CIPHER_SUITES.contains(&s.as_str())) {
        wrong.push(Problem::Start(format!("unexpected TLS cipher suite {}", quote(suite))));
    }
}

/// What etcd finds only when it starts its parts.
fn at_start(c: &Config, wrong: &mut Vec<Problem>) {
    let mut fail = |text: String| wrong.push(Problem::Start(text));
    if let Err(why) = c.auto_compaction() {
        fail(format!("error parsing CompactionRetention: {why}"));
    }
    if let Err(why) = crate::tokens::check(&c.auth_token) {
        fail(why);
    }
    let no_client_tls = c.client_tls.is_empty() && !c.client_tls.auto;
    let clients = c.listen_client_urls.iter().chain(&c.listen_client_http_urls);
    if let Some(url) = clients.clone().find(|u| u.scheme.is_secure()).filter(|_| no_client_tls) {
        let scheme = if url.is_socket_file() { "unixs" } else { "HTTPS" };
        fail(format!(
            "TLS key/cert (--cert-file, --key-file) must be provided for client url {url} with {scheme} scheme"
        ));
    }
    if no_client_tls && c.listen_metrics_urls.iter().any(|u| u.scheme.is_secure()) {
        fail("client TLS key/cert (--cert-file, --key-file) must be provided for metrics secure url".into());
    }
    let no_peer_tls = c.peer_tls.is_empty() && !c.peer_tls.auto;
    if let Some(url) = c.listen_peer_urls.iter().find(|u| u.scheme.is_secure()).filter(|_| no_peer_tls) {
        fail(format!("cannot listen on TLS for {}: KeyFile and CertFile are not presented", url.host));
    }
}

/// What bcrypt takes, and what is taken for anything else.
pub const BCRYPT_COSTS: std::ops::RangeInclusive<u64> = 4..=31;
/// See [`Config::bcrypt_cost`].
pub const BCRYPT_COST: u32 = 10;

impl Config {
    /// Work to be spent on a password hash: a cost that bcrypt does not take falls back to the default, as in etcd.
    pub fn bcrypt_cost(&self) -> u32 {
        let given = Some(self.bcrypt_cost).filter(|cost| BCRYPT_COSTS.contains(cost));
        given.and_then(|cost| u32::try_from(cost).ok()).unwrap_or(BCRYPT_COST)
    }

    /// How old history is dropped, from `--auto-compaction-mode` and `-retention`.
    ///
    /// # Errors
    /// The text of Go's duration parser.
    pub fn auto_compaction(&self) -> Result<AutoCompaction, String> {
        let text = self.auto_compaction_retention.as_str();
        let number = text.parse::<i64>().ok().filter(|n| *n >= 0);
        let retention = match (number, self.auto_compaction_mode.as_str()) {
            (Some(0), _) => return Ok(AutoCompaction::Off),
            (Some(n), "revision") => return Ok(AutoCompaction::Revision(n)),
            (Some(hours), _) => Duration::from_secs(hours.unsigned_abs().saturating_mul(3600)),
            (None, _) if text.is_empty() => return Ok(AutoCompaction::Off),
            (None, _) => golang::duration(text)?,
        };
        Ok(match (retention, self.auto_compaction_mode.as_str()) {
            (Duration::ZERO, _) => AutoCompaction::Off,
            // A duration given for revisions counts its nanoseconds, as in etcd.
            (d, "revision") => AutoCompaction::Revision(i64::try_from(d.as_nanos()).unwrap_or(i64::MAX)),
            (d, _) => AutoCompaction::Periodic(d),
        })
    }

    /// Members named by `--initial-cluster`, by name, with their peer URLs sorted.
    ///
    /// # Errors
    /// The text of the URL parser, or a part that is no `name=url`.
    pub fn initial_members(&self) -> Result<Vec<(String, Vec<Url>)>, String> {
        let mut order = Vec::new();
        let mut by_name: HashMap<&str, Vec<&str>> = HashMap::new();
        for part in self.initial_cluster.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let Some((name, url)) = part.split_once('=') else {
                return Err(format!("{part} is no name=url pair of --initial-cluster"));
            };
            if !by_name.contains_key(name) {
                order.push(name);
            }
            by_name.entry(name).or_default().push(url);
        }
        order.sort_unstable();
        order
            .into_iter()
            .map(|name| Ok((name.to_string(), golang::urls(by_name.remove(name).unwrap_or_default())?)))
            .collect()
    }
}

/// Go's names of TLS 1.2 suites, and of 1.3 where the choice is not free.
const CIPHER_SUITES: [&str; 26] = [
    "TLS_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_FALLBACK_SCSV",
];
