//! Flags every command takes, their `ETCDCTL_` variables, and the client settings they add up to.
use std::sync::Arc;

use client::Options;

use crate::failure::{Failure, code};
use crate::flag::{Flag, Flags, Kind, flag, short};
use crate::print::{Format, Style};
use crate::{golang, log, prompt};

const PREFIX: &str = "ETCDCTL_";
/// Read by `watch` itself.
const WATCH_VARIABLES: [&str; 2] = ["ETCDCTL_WATCH_KEY", "ETCDCTL_WATCH_RANGE_END"];

/// In alphabetical order.
pub static FLAGS: &[Flag] = &[
    flag("auth-jwt-token", Kind::Text, "", "JWT to present instead of a user and password"),
    flag("cacert", Kind::Text, "", "CA bundle that servers' certificates are checked against"),
    flag("cert", Kind::Text, "", "client certificate file for TLS"),
    flag("command-timeout", Kind::Duration, "5s", "limit of a short command, without connecting"),
    flag("debug", Kind::Bool, "false", "print the effective settings and more logs"),
    flag("dial-timeout", Kind::Duration, "2s", "limit of one attempt to connect"),
    short('d', flag("discovery-srv", Kind::Text, "", "domain whose SRV records name the endpoints")),
    flag("discovery-srv-name", Kind::Text, "", "service name to ask for in SRV discovery"),
    flag("endpoints", Kind::List, "127.0.0.1:2379", "gRPC endpoints"),
    flag("hex", Kind::Bool, "false", "print keys and values byte by byte in hex"),
    flag("insecure-discovery", Kind::Bool, "true", "accept SRV records of plaintext endpoints"),
    flag(
        "insecure-skip-tls-verify",
        Kind::Bool,
        "false",
        "do not check servers' certificates (for tests only)",
    ),
    flag("insecure-transport", Kind::Bool, "true", "no TLS unless certificates are given"),
    flag("keepalive-time", Kind::Duration, "2s", "silence before the connection is probed"),
    flag("keepalive-timeout", Kind::Duration, "6s", "wait for the answer to such a probe"),
    flag("key", Kind::Text, "", "client key file for TLS"),
    flag("max-recv-bytes", Kind::Int, "0", "largest answer in bytes (0 means 2147483647)"),
    flag("max-request-bytes", Kind::Int, "0", "largest request in bytes (0 means 2 MiB)"),
    flag("password", Kind::Text, "", "password of --user, which then carries none"),
    flag("user", Kind::Text, "", "name or name:password (asked for when missing)"),
    short(
        'w',
        flag("write-out", Kind::Text, "simple", "output format (fields, json, protobuf, simple, table)"),
    ),
];

/// Flags and environment, checked.
pub struct Global {
    pub style: Style,
    pub options: Options,
    pub command_timeout: std::time::Duration,
}

impl Global {
    /// Completes `flags` from the environment. `logger` names the client in log lines.
    pub fn resolve(flags: &mut Flags, logger: &'static str, is_watch: bool) -> Result<Global, Failure> {
        from_environment(flags, is_watch)?;
        if flags.is_on("debug") {
            FLAGS.iter().for_each(|flag| eprintln!("{}={}", variable(flag), effective(flags, flag)));
        }
        let format = Format::parse(flags.text("write-out"))
            .ok_or_else(|| Failure::new(code::BAD_FEATURE, "unsupported output format"))?;
        refuse_tls(flags)?;
        if !flags.text("discovery-srv").is_empty() {
            return Err(Failure::new(
                code::GENERAL,
                "discovery by SRV records is not there yet: give --endpoints",
            ));
        }
        let limit = |name: &str, default: usize| match usize::try_from(flags.int(name)) {
            Ok(0) | Err(_) => default,
            Ok(bytes) => bytes,
        };
        let defaults = Options::default();
        let token = Some(flags.text("auth-jwt-token").to_owned()).filter(|token| !token.is_empty());
        let options = Options {
            endpoints: flags.list("endpoints"),
            dial_timeout: flags.duration("dial-timeout"),
            keepalive_time: flags.duration("keepalive-time"),
            keepalive_timeout: flags.duration("keepalive-timeout"),
            user: if token.is_some() { None } else { user(flags)? },
            token,
            max_send_bytes: limit("max-request-bytes", defaults.max_send_bytes),
            max_recv_bytes: limit("max-recv-bytes", defaults.max_recv_bytes),
            on_failed_attempt: Some(Arc::new(move |failed| log::failed_attempt(logger, failed))),
        };
        let style = Style { format, hex: flags.is_on("hex"), value_only: false };
        Ok(Global { style, options, command_timeout: flags.duration("command-timeout") })
    }
}

fn variable(flag: &Flag) -> String {
    format!("{PREFIX}{}", flag.name.to_uppercase().replace('-', "_"))
}

fn from_environment(flags: &mut Flags, is_watch: bool) -> Result<(), Failure> {
    for flag in FLAGS {
        let name = variable(flag);
        let Some(value) = std::env::var(&name).ok().filter(|value| !value.is_empty()) else { continue };
        if flags.changed(flag.name) {
            let text = "conflicting environment variable is shadowed by corresponding command-line flag \
                        (either unset environment variable or disable flag))";
            log::line("fatal", None, "etcdctl/global.rs", text, &[("environment-variable", &name)]);
            return Err(Failure::silent(code::GENERAL));
        }
        // etcdctl goes on with the default when a variable does not parse.
        let _ = flags.set(flag, &value);
    }
    for (name, value) in std::env::vars().filter(|(name, _)| name.starts_with(PREFIX)) {
        let known = FLAGS.iter().any(|flag| variable(flag) == name);
        let known = known || is_watch && WATCH_VARIABLES.contains(&name.as_str());
        if !known {
            let pair = format!("{name}={value}");
            let fields = [("environment-variable", pair.as_str())];
            log::line("warn", None, "etcdctl/global.rs", "unrecognized environment variable", &fields);
        }
    }
    Ok(())
}

/// The value as `--debug` shows it.
fn effective(flags: &Flags, flag: &Flag) -> String {
    match flag.kind {
        Kind::Bool => flags.is_on(flag.name).to_string(),
        Kind::Int => flags.int(flag.name).to_string(),
        Kind::Duration => golang::duration(flags.duration(flag.name)),
        Kind::List => format!("[{}]", flags.list(flag.name).join(" ")),
        Kind::Text => flags.text(flag.name).to_owned(),
    }
}

/// Certificates are checked as far as users rely on it; the connection itself cannot use them yet.
fn refuse_tls(flags: &Flags) -> Result<(), Failure> {
    for name in ["cert", "key", "cacert"] {
        if flags.changed(name) && flags.text(name).is_empty() {
            return Err(Failure::args(format!("empty string is passed to --{name} option")));
        }
    }
    let (cert, key) = (flags.text("cert"), flags.text("key"));
    if cert.is_empty() != key.is_empty() {
        let text = format!("KeyFile and CertFile must both be present[key: {key}, cert: {cert}]");
        return Err(Failure::args(text));
    }
    for path in [flags.text("cacert"), cert, key] {
        if !path.is_empty() && !std::path::Path::new(path).exists() {
            return Err(Failure::args(format!("open {path}: no such file or directory")));
        }
    }
    let wanted = !cert.is_empty()
        || !flags.text("cacert").is_empty()
        || !flags.is_on("insecure-transport")
        || flags.is_on("insecure-skip-tls-verify")
        || flags.list("endpoints").iter().any(|endpoint| endpoint.starts_with("https://"));
    if wanted {
        return Err(Failure::new(
            code::CONNECTION,
            "TLS connections are not there yet in this build of etcdctl",
        ));
    }
    Ok(())
}

fn user(flags: &Flags) -> Result<Option<(String, String)>, Failure> {
    let (user, password) = (flags.text("user"), flags.text("password"));
    let (name, password) = match (user.split_once(':'), password) {
        (_, password) if !password.is_empty() => (user, password.to_owned()),
        (Some((name, password)), _) => (name, password.to_owned()),
        (None, _) if user.is_empty() => return Ok(None),
        (None, _) => (user, prompt::password("Password: ")?),
    };
    Ok(Some((name.to_owned(), password)).filter(|(name, _)| !name.is_empty()))
}
