//! Tests of the whole door.
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::time::{Duration, UNIX_EPOCH};

use super::flags::{self, Status};
use super::*;
use crate::log::{Format, Level};

fn load_words(args: &[&str], env: &[(&str, &str)]) -> Result<Config, Exit> {
    load(args.iter().map(OsString::from), env.iter().map(|(n, v)| (OsString::from(n), OsString::from(v))))
}

fn good(args: &[&str]) -> Config {
    load_words(args, &[]).unwrap_or_else(|exit| panic!("{args:?}: {exit:?}"))
}

fn from_file(text: &str) -> Result<Config, Exit> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("etcd.yaml");
    std::fs::write(&path, text).unwrap();
    load_words(&["--config-file", path.to_str().unwrap(), "--name=ignored"], &[("ETCD_MAX_WALS", "77")])
}

/// The line that says why, as `message: error`.
fn reason(exit: &Exit) -> String {
    let first = exit.lines.iter().find(|l| l.level >= Level::Warn && l.message.contains("fail"));
    let fatal = exit.lines.iter().find(|l| l.level == Level::Fatal);
    let Some(line) = first.or(fatal) else {
        return exit.stderr.lines().next().unwrap_or_default().to_string();
    };
    match line.fields.iter().find(|(key, _)| key == "error") {
        Some((_, crate::log::Value::Text(error))) => format!("{}: {error}", line.message),
        _ => line.message.to_string(),
    }
}

fn warnings(config: &Config) -> Vec<String> {
    config.notes.iter().filter(|l| l.level == Level::Warn).map(|l| l.message.to_string()).collect()
}

fn golden(text: &str, run: impl Fn(&str) -> Result<Config, Exit>) {
    let mut wrong = Vec::new();
    for row in text.lines().filter(|l| !l.starts_with('#')) {
        let cells: Vec<_> = row.split('\t').collect();
        let [said, status, wanted] = cells[..] else { panic!("{row}") };
        let (got_status, got) = match run(said) {
            Ok(_) => ("runs".into(), String::new()),
            Err(exit) => (exit.status.to_string(), reason(&exit)),
        };
        if (got_status.as_str(), got.as_str()) != (status, wanted) {
            wrong.push(format!("{said}\n  etcd: {status} {wanted}\n  ours: {got_status} {got}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn bad_invocations_end_as_in_go_etcd() {
    golden(include_str!("../../testdata/config/bad-flags.tsv"), |words| {
        let words: Vec<_> = words.split(' ').collect();
        let split = words.iter().position(|w| !w.starts_with("ETCD_")).unwrap_or(words.len());
        let env: Vec<_> = words[..split].iter().filter_map(|w| w.split_once('=')).collect();
        load_words(&words[split..], &env)
    });
}

#[test]
fn bad_files_end_as_in_go_etcd() {
    golden(include_str!("../../testdata/config/bad-files.tsv"), |text| from_file(&text.replace("\\n", "\n")));
}

#[test]
fn nothing_said_gives_etcds_defaults() {
    let config = good(&[]);
    assert_eq!(config.initial_cluster, "default=http://localhost:2380");
    assert_eq!(config.data_dir, "default.etcd");
    let same = Config {
        data_dir: config.data_dir.clone(),
        initial_cluster: config.initial_cluster.clone(),
        notes: config.notes.clone(),
        ..Config::default()
    };
    assert_eq!(config, same);
}

#[test]
fn flags_take_one_dash_or_two_and_both_ways_to_give_a_value() {
    let config =
        good(&["-name", "a", "--snapshot-count=7", "-pre-vote=false", "--enable-pprof", "-max-wals=0x10"]);
    assert_eq!((config.name.as_str(), config.snapshot_count, config.max_wals), ("a", 7, 16));
    assert!(config.enable_pprof && !config.pre_vote);
}

#[test]
fn the_initial_cluster_follows_name_and_peer_urls() {
    let config = good(&["--name=a", "--initial-advertise-peer-urls=http://b:1,http://a:1"]);
    assert_eq!(config.initial_cluster, "a=http://a:1,a=http://b:1");
    let members = config.initial_members().unwrap();
    assert_eq!(members.len(), 1);
    assert_eq!(members[0].1.len(), 2);
    assert_eq!(good(&["--discovery-srv=example.com"]).initial_cluster, "");
    assert_eq!(good(&["--discovery-srv-name=a"]).initial_cluster, "");
    let both = ["--discovery-srv=example.com", "--initial-cluster=default=http://localhost:2380"];
    assert!(reason(&load_words(&both, &[]).unwrap_err()).contains("multiple discovery or bootstrap flags"));
}

#[test]
fn what_kubeadm_passes_is_understood() {
    let config = good(&[
        "--advertise-client-urls=https://10.0.0.1:2379",
        "--cert-file=/pki/server.crt",
        "--client-cert-auth=true",
        "--data-dir=/var/lib/etcd",
        "--feature-gates=InitialCorruptCheck=true",
        "--watch-progress-notify-interval=5s",
        "--initial-advertise-peer-urls=https://10.0.0.1:2380",
        "--initial-cluster=node=https://10.0.0.1:2380",
        "--key-file=/pki/server.key",
        "--listen-client-urls=https://127.0.0.1:2379,https://10.0.0.1:2379",
        "--listen-metrics-urls=http://127.0.0.1:2381",
        "--listen-peer-urls=https://10.0.0.1:2380",
        "--name=node",
        "--peer-cert-file=/pki/peer.crt",
        "--peer-client-cert-auth=true",
        "--peer-key-file=/pki/peer.key",
        "--peer-trusted-ca-file=/pki/ca.crt",
        "--snapshot-count=10000",
        "--trusted-ca-file=/pki/ca.crt",
    ]);
    assert!(config.features.initial_corrupt_check && config.client_tls.client_cert_auth);
    assert_eq!(config.progress_interval(), Duration::from_secs(5));
    assert_eq!(config.listen_client_urls[0].to_string(), "https://10.0.0.1:2379", "sorted");
}

#[test]
fn variables_stand_in_for_flags_and_strange_ones_are_pointed_out() {
    let env =
        [("ETCD_NAME", "a"), ("ETCD_ENABLE_V2", ""), ("ETCD_FOO", "b"), ("ETCD_VERSION", "1"), ("X", "y")];
    let config = load_words(&[], &env).unwrap();
    assert_eq!(config.name, "a");
    let lines: Vec<_> = config.notes.iter().map(|l| l.render(Format::Json, UNIX_EPOCH)).collect();
    let find = |text: &str| lines.iter().any(|l| l.contains(text));
    assert!(find(r#""msg":"cannot set special environment variable","key":"ETCD_VERSION","value":"1"}"#));
    assert!(find(
        r#""recognized and used environment variable","variable-name":"ETCD_NAME","variable-value":"a"}"#
    ));
    assert!(find(r#""unrecognized environment variable","environment-variable":"ETCD_FOO=b"}"#));
    assert!(find(r#""environment-variable":"ETCD_ENABLE_V2="}"#));
    assert!(!lines.iter().any(|l| l.contains("X=y")));
}

#[test]
fn passwords_are_not_logged() {
    let said = ["--discovery-password", "s3cret", "--discovery-user=u:s3cret", "--discovery-token=t"];
    for (args, env) in [
        ([&said[..], &["--discovery-endpoints=http://r:1"]].concat(), vec![]),
        (
            vec!["--discovery-token=t", "--discovery-endpoints=http://r:1"],
            vec![("ETCD_DISCOVERY_PASSWORD", "s3cret")],
        ),
    ] {
        let config = load_words(&args, &env).unwrap();
        assert!(!format!("{:?}", config.notes).contains("s3cret"), "{:?}", config.notes);
    }
}

#[test]
fn older_names_work_and_name_their_successor() {
    let config = good(&[
        "--experimental-watch-progress-notify-interval=5s",
        "--experimental-initial-corrupt-check=true",
        "--enable-v2",
        "--max-snapshots=3",
        "--vv",
    ]);
    assert_eq!(config.watch_progress_notify_interval, Duration::from_secs(5));
    assert!(config.features.initial_corrupt_check);
    let said = warnings(&config).join("\n");
    for part in [
        "Use '--watch-progress-notify-interval' instead",
        "Use '--feature-gates=InitialCorruptCheck=true' instead",
        "--enable-v2 does nothing any more",
        "--max-snapshots is deprecated in 3.6 and will be decommissioned in 3.8.",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn old_features_that_would_change_the_start_are_refused() {
    let exit = load_words(&["--discovery=https://discovery.etcd.io/x"], &[]).unwrap_err();
    assert!(exit.status == 1 && reason(&exit).contains("--discovery-token"), "{exit:?}");
    assert_eq!(load_words(&["--proxy=on"], &[]).unwrap_err().status, 1);
    good(&["--proxy=off", "--discovery="]);
}

#[test]
fn a_file_replaces_flags_and_variables() {
    let config = from_file(concat!(
        "name: 'node'\nSNAPSHOT-COUNT: 11\nenable-pprof: yes\nmax-wals: ~\nunknown: [1]\n",
        "listen-client-urls: http://127.0.0.1:1,http://127.0.0.1:2\ncors: http://a:1\n",
        "client-transport-security:\n  auto-tls: true\n  allowed-hostname: [x, z]\n  allowed-cn: [c]\n",
        "socket-options: {reuse-port: true}\ngrpc-keepalive-timeout: 5000000000\n",
        "experimental-snapshot-catch-up-entries: 9\nlog-outputs: [stderr]\n",
        "discovery:\ndiscovery-fallback: 'proxy'\nproxy: 'off'\nself-signed-cert-validity: 0\n",
    ))
    .unwrap();
    assert_eq!((config.name.as_str(), config.snapshot_count, config.max_wals), ("node", 11, 5));
    assert_eq!(config.listen_client_urls.len(), 2);
    assert_eq!(config.advertise_client_urls[0].to_string(), "http://localhost:2379");
    assert!(config.enable_pprof && config.client_tls.auto && config.socket_reuse_port);
    assert_eq!(config.client_tls.allowed_hostname, ["x", "z"]);
    assert_eq!(config.client_tls.allowed_cn, ["c"]);
    assert_eq!(config.grpc_keepalive_timeout, Duration::from_secs(5));
    assert_eq!((config.snapshot_catchup_entries, config.self_signed_cert_validity_years), (9, 1));
    assert_eq!(config.initial_cluster, "node=http://localhost:2380");
    assert!(warnings(&config).iter().any(|w| w.contains("'--snapshot-catchup-entries'")));
}

#[test]
fn every_error_is_reported_at_once() {
    let exit = load_words(&["--heartbeat-interval=0", "--auto-compaction-mode=x"], &[]).unwrap_err();
    assert_eq!(exit.lines.iter().filter(|l| l.message == "failed to verify flags").count(), 2);
}

#[test]
fn retention_is_read_in_hours_durations_or_revisions() {
    let of = |mode: &str, text: &str| {
        let config = Config {
            auto_compaction_mode: mode.into(),
            auto_compaction_retention: text.into(),
            ..Config::default()
        };
        config.auto_compaction()
    };
    assert_eq!(of("periodic", "0"), Ok(AutoCompaction::Off));
    assert_eq!(of("periodic", "2"), Ok(AutoCompaction::Periodic(Duration::from_secs(7200))));
    assert_eq!(of("periodic", "5m"), Ok(AutoCompaction::Periodic(Duration::from_secs(300))));
    assert_eq!(of("revision", "1000"), Ok(AutoCompaction::Revision(1000)));
    assert!(of("periodic", "x").is_err());
}

#[test]
fn version_starts_with_etcds_lines() {
    let exit = load_words(&["--config-file=/nope", "--version"], &[]).unwrap_err();
    assert_eq!(exit.status, 0);
    let keys: Vec<_> = exit.stdout.lines().filter_map(|l| l.split(": ").next()).collect();
    assert_eq!(keys, ["etcd Version", "Git SHA", "Go Version", "Go OS/Arch", "Balsa Version"]);
    assert_eq!(exit.stdout.lines().next(), Some("etcd Version: 3.7.1"));
}

#[test]
fn help_names_every_flag_of_today() {
    let exit = load_words(&["-h"], &[]).unwrap_err();
    assert!(exit.status == 0 && exit.stderr.starts_with("Usage:"));
    for flag in flags::sorted().iter().filter(|f| f.group != flags::Group::Old) {
        assert!(exit.stdout.contains(&format!("\n  --{}", flag.name)), "{}", flag.name);
    }
}

/// The rows of the surface table that are flags.
fn surface() -> Vec<Vec<&'static str>> {
    let table = include_str!("../../testdata/surface/flags.tsv");
    table.lines().map(|l| l.split('\t').collect()).filter(|r: &Vec<&str>| r[0].starts_with("--")).collect()
}

#[test]
fn the_flag_list_has_every_row_of_the_surface_table() {
    let rows = surface();
    let listed: BTreeSet<_> = rows.iter().map(|r| &r[0][2..]).collect();
    let ours: BTreeSet<_> = flags::sorted().iter().map(|f| f.name).collect();
    assert_eq!(ours.difference(&listed).collect::<Vec<_>>(), [&"emulated-version", &"slow-disk-handover"]);
    assert_eq!(listed.difference(&ours).collect::<Vec<_>>(), [""; 0].iter().collect::<Vec<_>>());
    let mut wrong = Vec::new();
    for row in &rows {
        let flag = flags::find(&row[0][2..]).unwrap();
        let mut check = |what: &str, ours: String, table: &str| {
            if ours != table {
                wrong.push(format!("{} {what}: ours {ours:?}, table {table:?}", flag.name));
            }
        };
        check("variable", flag.env(), row[3].split(' ').next().unwrap());
        let key = match row[4].split(" (").next().unwrap() {
            k if k.starts_with("none in 3.5; ") => {
                k.trim_start_matches("none in 3.5; ").trim_end_matches(" in 3.6")
            }
            k if k.starts_with("none") || k == "n/a" || flag.name == "discovery-fallback" => "",
            k => k,
        };
        check("file key", flag.key.into(), key);
        if flag.name == "max-concurrent-streams" || !matches!(flag.status, Status::Works | Status::Later(_)) {
            continue;
        }
        let table = match row[2].split(" (").next().unwrap() {
            "\"\"" | "empty" => "",
            "0" if row[1] == "duration" => "0s",
            text => text,
        };
        check("default", help::default(flag), table);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_flags_said_to_be_refused_are_refused_at_the_start_and_no_others() {
    let with = |flag: &'static str| ["--discovery-endpoints=http://x:1", "--discovery-token=t", flag];
    let refused = [
        ("discovery-cert", with("--discovery-cert=x")),
        ("discovery-key", with("--discovery-key=x")),
        ("discovery-cacert", with("--discovery-cacert=x")),
        ("discovery-insecure-skip-tls-verify", with("--discovery-insecure-skip-tls-verify")),
    ];
    for flag in flags::sorted() {
        let row = refused.iter().find(|(name, _)| *name == flag.name);
        assert_eq!(matches!(flag.status, Status::Refused(_)), row.is_some(), "--{}", flag.name);
        if let Some((_, args)) = row {
            crate::run::check_supported(&good(args)).expect_err(flag.name);
        }
        if let (flags::Field::Text(_), Status::Later(_)) = (&flag.field, flag.status) {
            // One of the texts that are looked at now.
            let value = if flag.name.starts_with("tls-") { "TLS1.2" } else { "x" };
            crate::run::check_supported(&good(&[&format!("--{}={value}", flag.name)])).expect(flag.name);
        }
    }
    let (secure, token) = ("--discovery-endpoints=http://x:1,https://y:1", "--discovery-token=t");
    crate::run::check_supported(&good(&[secure, token])).expect_err("https");
    crate::run::check_supported(&good(&with("--discovery-insecure-transport=false")))
        .expect_err("not insecure");
    crate::run::check_supported(&good(&with("--discovery-user=u"))).expect("discovery");
}

#[test]
fn a_bcrypt_cost_out_of_range_falls_back() {
    for (given, taken) in [("3", 10), ("4", 4), ("12", 12), ("31", 31), ("32", 10), ("99999999999", 10)] {
        assert_eq!(good(&[&format!("--bcrypt-cost={given}")]).bcrypt_cost(), taken, "{given}");
    }
}

#[test]
fn flags_md_is_fresh() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/flags.md");
    if std::env::var_os("BALSA_WRITE_DOCS").is_some() {
        std::fs::write(&path, flags_markdown()).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        stored == flags_markdown(),
        "docs/flags.md is stale: BALSA_WRITE_DOCS=1 cargo test -p balsa-server flags_md"
    );
}
