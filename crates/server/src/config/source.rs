//! Command line and environment, read as Go's flag package and etcd's helpers do.
use std::collections::BTreeSet;
use std::ffi::OsString;

use super::assign::assign;
use super::flags::{self, Draft, Status};
use crate::log::{self, Line, quote};

/// What was said, before it is judged.
#[derive(Default)]
pub(super) struct Said {
    pub draft: Draft,
    /// Flags given, by argument or variable.
    pub given: BTreeSet<&'static str>,
    /// Lines for the log, in order.
    pub notes: Vec<Line>,
    /// Values that did not parse.
    pub errors: Vec<String>,
    /// The first argument that is no flag.
    pub stray: Option<String>,
}

/// How reading the arguments ended.
pub(super) enum Args {
    Read,
    /// `-h` or `--help`.
    Help,
    /// Text for standard error; the usage follows, the status is 2.
    Wrong(String),
}

impl Said {
    /// Reads the arguments up to the first that is no flag.
    pub fn args(&mut self, args: &[String]) -> Args {
        let mut rest = args.iter();
        while let Some(arg) = rest.next() {
            let Some(body) = arg.strip_prefix('-').filter(|b| !b.is_empty()) else {
                self.stray = Some(arg.clone());
                return Args::Read;
            };
            if body == "-" {
                self.stray = rest.next().cloned();
                return Args::Read;
            }
            let body = body.strip_prefix('-').unwrap_or(body);
            if body.starts_with(['-', '=']) {
                return Args::Wrong(format!("bad flag syntax: {arg}"));
            }
            let (name, value) = match body.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (body, None),
            };
            let Some(flag) = flags::find(name) else {
                return match name {
                    "help" | "h" => Args::Help,
                    _ => Args::Wrong(format!("flag provided but not defined: -{name}")),
                };
            };
            let value = match (value, flag.is_bool()) {
                (Some(value), _) => value,
                (None, true) => "true",
                (None, false) => match rest.next() {
                    Some(value) => value,
                    None => return Args::Wrong(format!("flag needs an argument: -{name}")),
                },
            };
            if let Err(why) = assign(&mut self.draft, flag, value) {
                let value = quote(value);
                return Args::Wrong(match flag.is_bool() {
                    true => format!("invalid boolean value {value} for -{name}: {why}"),
                    false => format!("invalid value {value} for flag -{name}: {why}"),
                });
            }
            self.given.insert(flag.name);
        }
        Args::Read
    }

    /// Sets every flag from its variable. `Err` is the fatal line for a flag said twice.
    pub fn environment(&mut self, env: &[(String, String)]) -> Result<(), Line> {
        let value =
            |name: &str| env.iter().find(|(n, v)| n == name && !v.is_empty()).map(|(_, v)| v.as_str());
        if let Some(value) = value("ETCD_VERSION") {
            self.notes.push(log::line!(Warn, logger: "", "cannot set special environment variable",
                "key" = "ETCD_VERSION", "value" = value));
        }
        let by_argument = self.given.clone();
        let mut used = BTreeSet::from(["ETCD_VERSION".to_string()]);
        for flag in flags::sorted() {
            let name = flag.env();
            let Some(value) = value(&name).filter(|_| flag.name != "version") else { continue };
            if by_argument.contains(flag.name) {
                continue;
            }
            used.insert(name.clone());
            if let Err(why) = assign(&mut self.draft, flag, value) {
                self.errors.push(format!("invalid value {} for {name}: {why}", quote(value)));
                continue;
            }
            self.given.insert(flag.name);
            let shown = if flag.is_secret() { "<value removed>" } else { value };
            self.notes.push(log::line!(Info, logger: "", "recognized and used environment variable",
                "variable-name" = name, "variable-value" = shown));
        }
        self.judge_variables(env, &used, &by_argument)
    }

    fn judge_variables(
        &mut self,
        env: &[(String, String)],
        used: &BTreeSet<String>,
        by_argument: &BTreeSet<&'static str>,
    ) -> Result<(), Line> {
        let shadowed: BTreeSet<String> =
            by_argument.iter().filter_map(|n| flags::find(n)).map(|f| f.env()).collect();
        for (name, value) in env {
            if used.contains(name) {
                continue;
            }
            if shadowed.contains(name) {
                return Err(log::line!(Fatal, logger: "",
                    "conflicting environment variable is shadowed by corresponding command-line flag (either unset environment variable or disable flag))",
                    "environment-variable" = name));
            }
            if name.starts_with("ETCD_") {
                let secret = flags::sorted().iter().any(|f| f.is_secret() && f.env() == *name);
                let value = if secret { "<value removed>" } else { value };
                self.notes.push(log::line!(Warn, logger: "", "unrecognized environment variable",
                    "environment-variable" = format!("{name}={value}")));
            }
        }
        Ok(())
    }

    /// Warns about every flag given that has another name now, or none.
    pub fn warn_deprecated(&mut self) {
        for name in self.given.clone() {
            let text = match (name, flags::find(name).map(|f| f.status)) {
                ("max-snapshots", _) => {
                    "--max-snapshots is deprecated in 3.6 and will be decommissioned in 3.8.".to_string()
                }
                ("v2-deprecation", _) => {
                    "--v2-deprecation is deprecated and scheduled for removal in v3.8. The \
                     default value is enforced, ignoring user input."
                        .to_string()
                }
                (_, Some(Status::Old(now))) => format!(
                    "--{name} is deprecated in 3.6 and was decommissioned in 3.7; it still works here. Use '{now}' instead."
                ),
                (_, Some(Status::Gone(advice))) => format!("--{name} does nothing any more: {advice}."),
                _ => continue,
            };
            self.notes.push(log::line!(Warn, logger: "", text));
        }
    }
}

/// Arguments and variables as text; bytes that are none become U+FFFD.
pub(super) fn text(value: OsString) -> String {
    value.into_string().unwrap_or_else(|v| v.to_string_lossy().into_owned())
}

/// The arguments as they may be logged.
pub(super) fn without_secrets(args: &[String]) -> Vec<String> {
    let mut hide_next = false;
    let mut shown = vec!["etcd".to_string()];
    for arg in args {
        if std::mem::take(&mut hide_next) {
            shown.push("<value removed>".into());
            continue;
        }
        let body = arg.trim_start_matches('-');
        let name = body.split('=').next().unwrap_or_default();
        match (arg.starts_with('-') && flags::find(name).is_some_and(|f| f.is_secret()), body.contains('=')) {
            (true, true) => shown.push(format!("--{name}=<value removed>")),
            (secret, _) => {
                hide_next = secret;
                shown.push(arg.clone());
            }
        }
    }
    shown
}
