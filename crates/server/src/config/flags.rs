//! Every flag, once: name, group, kind, place in the file, what became of it, and what it is for.
//!
//! Help, environment names, file keys and `docs/flags.md` come from this list. To add a flag: a field in
//! `settings.rs`, a row here, `cargo test -p balsa-server`.
use std::time::Duration;

use super::flags_list::FLAGS;
use super::flags_old::OLD;
use super::settings::{Config, Emulated};
use super::url::Url;

/// What is being filled: the configuration, and texts that are judged only when all is known.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub config: Config,
    pub log_level: String,
    pub log_format: String,
    pub logger: String,
    pub metrics: String,
    pub cluster_state: String,
    pub discovery_fallback: String,
    pub emulated_version: Option<Emulated>,
    pub config_file: String,
    pub version: bool,
    /// Values of flags that do nothing any more.
    pub gone: Gone,
}

impl Default for Draft {
    fn default() -> Self {
        Draft {
            config: Config::default(),
            log_level: "info".into(),
            log_format: "json".into(),
            logger: "zap".into(),
            metrics: "basic".into(),
            cluster_state: "new".into(),
            discovery_fallback: "exit".into(),
            emulated_version: None,
            config_file: String::new(),
            version: false,
            gone: Gone::default(),
        }
    }
}

/// Texts of flags whose feature is gone; some values must be refused.
#[derive(Clone, Debug, Default)]
pub(super) struct Gone {
    pub discovery: String,
    pub proxy: String,
    pub text: String,
    pub number: u64,
    pub bool: bool,
}

/// Where the value goes; with it, how it is read.
pub(super) enum Field {
    Bool(fn(&mut Draft) -> &mut bool),
    /// Go's uint; in files `uint`.
    Uint(fn(&mut Draft) -> &mut u64),
    /// Go's uint64.
    Uint64(fn(&mut Draft) -> &mut u64),
    Uint32(fn(&mut Draft) -> &mut u32),
    Int(fn(&mut Draft) -> &mut i64),
    Int64(fn(&mut Draft) -> &mut i64),
    Duration(fn(&mut Draft) -> &mut Duration),
    Text(fn(&mut Draft) -> &mut String),
    /// One of a few words.
    Choice(fn(&mut Draft) -> &mut String, &'static [&'static str]),
    /// Texts between commas; a list in files.
    List(fn(&mut Draft) -> &mut Vec<String>),
    /// Texts between commas, also in files; sorted, each once.
    Set(fn(&mut Draft) -> &mut Vec<String>),
    /// As a set, but URLs or `*`.
    Origins(fn(&mut Draft) -> &mut Vec<String>),
    Urls(fn(&mut Draft) -> &mut Vec<Url>),
    Gates,
    Emulated,
    /// Takes any value or none and does nothing.
    Ignored,
}

/// What the flag does here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Works,
    /// Works but for what is said.
    Partly(&'static str),
    /// Accepted and checked; takes effect with the part named.
    Later(&'static str),
    /// Refused at the start until the part named.
    Refused(&'static str),
    /// Accepted for the sake of old command lines; why it does nothing.
    Accepted(&'static str),
    /// An older name; the flag that took its place.
    Old(&'static str),
    /// The feature is gone; what to use in its stead.
    Gone(&'static str),
    /// Ignored by etcd itself since long ago.
    Ignored,
}

/// Headings of the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    Member,
    Clustering,
    Security,
    Auth,
    Watching,
    Logging,
    Tracing,
    Upkeep,
    Unsafe,
    General,
    Old,
}

impl Group {
    pub const ALL: [Group; 11] = [
        Group::General,
        Group::Member,
        Group::Clustering,
        Group::Security,
        Group::Auth,
        Group::Watching,
        Group::Logging,
        Group::Tracing,
        Group::Upkeep,
        Group::Unsafe,
        Group::Old,
    ];

    pub fn title(self) -> &'static str {
        match self {
            Group::General => "General",
            Group::Member => "Member",
            Group::Clustering => "Clustering",
            Group::Security => "Security",
            Group::Auth => "Auth",
            Group::Watching => "Profiling and Monitoring",
            Group::Logging => "Logging",
            Group::Tracing => "Distributed tracing",
            Group::Upkeep => "Upkeep",
            Group::Unsafe => "Unsafe (these weaken what etcd promises)",
            Group::Old => "Older names, still accepted",
        }
    }
}

/// One flag.
pub(super) struct Flag {
    pub name: &'static str,
    pub group: Group,
    pub field: Field,
    pub status: Status,
    /// Key in the file, dots between levels; empty when the file cannot say it.
    pub key: &'static str,
    pub doc: &'static str,
}

impl Flag {
    /// A boolean takes its value after `=` only.
    pub fn is_bool(&self) -> bool {
        matches!(self.field, Field::Bool(_) | Field::Ignored)
    }

    /// `ETCD_` and the name in upper case.
    pub fn env(&self) -> String {
        format!("ETCD_{}", self.name.to_uppercase().replace('-', "_"))
    }

    /// A value that must not be logged.
    pub fn is_secret(&self) -> bool {
        matches!(self.name, "discovery-password" | "discovery-user")
    }

    pub const fn at(mut self, key: &'static str) -> Flag {
        self.key = key;
        self
    }
}

pub(super) const fn flag(
    name: &'static str,
    group: Group,
    field: Field,
    status: Status,
    doc: &'static str,
) -> Flag {
    Flag { name, group, field, status, key: name, doc }
}

/// The flag of this name.
pub(super) fn find(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().chain(OLD).find(|f| f.name == name)
}

/// All flags by name, as Go visits them.
pub(super) fn sorted() -> Vec<&'static Flag> {
    let mut all: Vec<_> = FLAGS.iter().chain(OLD).collect();
    all.sort_by_key(|f| f.name);
    all
}

pub(super) const HTTP: Status = Status::Partly("https and unixs are refused until TLS");
pub(super) const TLS: Status = Status::Later("TLS");
pub(super) const TRACES: Status = Status::Later("tracing");
