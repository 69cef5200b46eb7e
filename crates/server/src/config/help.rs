//! What `--help` and `--version` print, and the table in `docs/flags.md`; all made from the flag list.
use std::fmt::Write;

use super::features::{FeatureGates, GATES};
use super::flags::{Draft, Field, Flag, Group, Status};
use super::flags_list::FLAGS;
use super::flags_old::OLD;
use crate::log::duration;

/// The etcd version this program answers as.
pub const ETCD_VERSION: &str = "3.7.1";
/// Balsa's own version.
pub const BALSA_VERSION: &str = env!("CARGO_PKG_VERSION");
/// Commit it was built from.
pub const GIT_SHA: &str = match option_env!("BALSA_GIT_SHA") {
    Some(sha) => sha,
    None => "Not provided",
};
/// Stands where etcd names the version of Go.
pub const GO_VERSION: &str = "none, this is Rust";

/// This machine's kind, as Go calls it.
pub fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The lines of `--version`: etcd's, then ours.
pub fn version() -> String {
    format!(
        "etcd Version: {ETCD_VERSION}\nGit SHA: {GIT_SHA}\nGo Version: {GO_VERSION}\nGo OS/Arch: {}/{}\nBalsa Version: {BALSA_VERSION}\n",
        std::env::consts::OS,
        go_arch()
    )
}

/// The short usage, printed before the flags and after a wrong one.
pub(super) const USAGE: &str = "Usage:

  etcd [flags]
    Start a member. Without flags: a cluster of one, clients on http://localhost:2379,
    data in ./default.etcd.

  etcd --config-file FILE
    Take everything from a YAML or JSON file.

  etcd --version
  etcd --help

A flag takes one dash or two, and its value after a space or an equals sign (booleans: equals sign only).
Each flag is also a variable: --data-dir is ETCD_DATA_DIR. Saying both is an error.

";

/// The flags by group.
pub(super) fn flags() -> String {
    let mut out = String::new();
    for group in Group::ALL.into_iter().filter(|g| *g != Group::Old) {
        let _ = writeln!(out, "\n{}:", group.title());
        for flag in FLAGS.iter().filter(|f| f.group == group) {
            let _ = writeln!(out, "  --{}{}\n    {}", flag.name, shown_default(flag), flag.doc);
            if let Some(note) = note(flag) {
                let _ = writeln!(out, "    ({note})");
            }
            if matches!(flag.field, Field::Gates) {
                out.push_str(&gates());
            }
        }
    }
    out.push_str(
        "\nNames of etcd 3.5 and 3.6 (--experimental-... and others) are accepted with a warning.\n",
    );
    out
}

fn gates() -> String {
    let state = FeatureGates::default().states();
    let mut out = String::from(
        "    AllAlpha=true|false (ALPHA - default=false)\n    AllBeta=true|false (BETA - default=false)\n",
    );
    for (gate, (_, _, on)) in GATES.iter().zip(state) {
        let _ = writeln!(out, "    {}=true|false ({} - default={on})", gate.name, gate.stage);
    }
    out
}

fn shown_default(flag: &Flag) -> String {
    match (default(flag), &flag.field) {
        (text, Field::Bool(_)) if text == "false" => String::new(),
        (text, _) => format!(" '{text}'"),
    }
}

fn note(flag: &Flag) -> Option<String> {
    match flag.status {
        Status::Works | Status::Ignored => None,
        Status::Partly(but) => Some(format!("works, but {but}")),
        Status::Later(part) => Some(format!("accepted; takes effect with {part}")),
        Status::Refused(part) => Some(format!("refused at the start until {part}")),
        Status::Accepted(why) => Some(format!("accepted without effect: {why}")),
        Status::Old(now) => Some(format!("use {now}")),
        Status::Gone(advice) => Some(advice.into()),
    }
}

/// The default as text.
pub(super) fn default(flag: &Flag) -> String {
    let d = &mut Draft::default();
    match &flag.field {
        Field::Bool(at) => at(d).to_string(),
        Field::Uint(at) | Field::Uint64(at) => at(d).to_string(),
        Field::Uint32(at) => at(d).to_string(),
        Field::Int(at) | Field::Int64(at) => at(d).to_string(),
        Field::Duration(at) => duration(*at(d)),
        Field::Text(at) if flag.name == "data-dir" => format!("${{name}}.etcd{}", at(d)),
        Field::Text(at) if flag.name == "initial-cluster" => {
            format!("{}default=http://localhost:2380", at(d))
        }
        Field::Choice(_, words) if flag.name == "v2-deprecation" => words[0].into(),
        Field::Text(at) | Field::Choice(at, _) => at(d).clone(),
        Field::List(at) | Field::Set(at) | Field::Origins(at) => at(d).join(","),
        Field::Urls(at) => at(d).iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        Field::Emulated => "3.7".into(),
        Field::Gates | Field::Ignored => String::new(),
    }
}

/// `docs/flags.md`.
pub fn flags_markdown() -> String {
    let mut out = String::from(
        "# Flags\n\n\
         Made from the flag list in `crates/server/src/config` (`BALSA_WRITE_DOCS=1 cargo test -p balsa-server \
         flags_md` writes it anew). The variable of a flag is `ETCD_` and its name in capitals with `_` for `-`; the key \
         is its place in the file given with `--config-file`. What a flag does *here*: `works`, or what is missing.\n",
    );
    for group in Group::ALL {
        let _ = write!(
            out,
            "\n## {}\n\n| flag | default | file key | here | meaning |\n|---|---|---|---|---|\n",
            group.title()
        );
        for flag in FLAGS.iter().chain(OLD).filter(|f| f.group == group) {
            let here = match flag.status {
                Status::Works => "works".into(),
                Status::Ignored => "ignored, as in etcd".into(),
                _ => note(flag).unwrap_or_default(),
            };
            let code = |text: &str| if text.is_empty() { String::new() } else { format!("`{text}`") };
            let _ = writeln!(
                out,
                "| `--{}` | {} | {} | {here} | {} |",
                flag.name,
                code(&default(flag)),
                code(flag.key),
                flag.doc
            );
        }
    }
    out.push_str("\n## Feature gates\n\n| gate | stage | default | here |\n|---|---|---|---|\n");
    for (name, stage, on) in FeatureGates::default().states() {
        let _ = writeln!(out, "| `{name}` | {stage} | {on} | {} |", gate_here(name));
    }
    out
}

/// What a gate does here.
fn gate_here(name: &str) -> &'static str {
    match name {
        "SetMemberLocalAddr" => "accepted without effect: the system chooses the address to dial peers from",
        "FastLeaseKeepAlive" => "accepted without effect: a renewal never waits for the applied index",
        "TxnModeWriteWithSharedBuffer" => {
            "accepted without effect: a transaction always reads what is buffered"
        }
        _ => "works",
    }
}
