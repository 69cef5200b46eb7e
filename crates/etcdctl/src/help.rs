//! Help pages and usage texts, laid out as cobra lays them out.
use crate::command::{Command, spell};
use crate::flag::{Flag, HELP, Kind};
use crate::golang;

/// Headings of the first page, in their order.
pub const KEY_VALUE: &str = "Key-value commands";
pub const MAINTENANCE: &str = "Cluster maintenance commands";
pub const CONCURRENCY: &str = "Concurrency commands";
pub const AUTHENTICATION: &str = "Authentication commands";
pub const UTILITY: &str = "Utility commands";
const GROUPS: [&str; 5] = [KEY_VALUE, MAINTENANCE, CONCURRENCY, AUTHENTICATION, UTILITY];

const GLOBAL_NOTE: &str =
    "Use \"etcdctl options\" for a list of global command-line options (applies to all commands).\n";

/// What `--help` prints.
pub fn page(path: &[&'static Command]) -> String {
    let command = path[path.len() - 1];
    let about = if command.details.is_empty() { command.about } else { command.details };
    format!("{about}\n\n{}{GLOBAL_NOTE}", usage(path))
}

/// What follows a mistake.
pub fn usage(path: &[&'static Command]) -> String {
    let command = path[path.len() - 1];
    let mut text = "Usage:\n".to_owned();
    if command.run.is_some() {
        let line = format!("{} {}", spell(&path[..path.len() - 1]), command.usage);
        text += &format!("  {} [flags]\n", line.trim());
    }
    if !command.below.is_empty() {
        text += &format!("  {} [command]\n", spell(path));
        lists(command, path.len() == 1, &mut text);
    }
    if path.len() > 1 {
        text +=
            &format!("\nFlags:\n{}", flag_list(command.flags.iter().chain(command.shared).chain([&HELP])));
        let above: Vec<&Flag> = path[..path.len() - 1].iter().flat_map(|command| command.shared).collect();
        if !above.is_empty() {
            text += &format!("\nGlobal Flags:\n{}", flag_list(above.into_iter()));
        }
    }
    if !command.below.is_empty() {
        text +=
            &format!("\nUse \"{} [command] --help\" for more information about a command.\n", spell(path));
    }
    text
}

fn lists(command: &Command, by_group: bool, text: &mut String) {
    let shown = || command.below.iter().filter(|below| !below.hidden);
    let width = shown().map(|below| below.name().len()).max().unwrap_or(0).max(11);
    let line = |below: &&&Command| format!("  {:width$} {}\n", below.name(), below.about);
    if by_group {
        for group in GROUPS {
            *text += &format!("\n{group}\n");
            text.extend(shown().filter(|below| below.group == group).map(|below| line(&below)));
        }
    } else {
        *text += "\nAvailable Commands:\n";
        text.extend(shown().map(|below| line(&below)));
    }
}

/// Flags in alphabetical order, their texts in one column.
pub fn flag_list<'a>(flags: impl Iterator<Item = &'a Flag>) -> String {
    let mut flags: Vec<&Flag> = flags.collect();
    flags.sort_by_key(|flag| flag.name);
    let names: Vec<String> = flags.iter().map(|flag| flag_name(flag)).collect();
    let width = names.iter().map(String::len).max().unwrap_or(0);
    let mut text = String::new();
    for (flag, name) in flags.iter().zip(&names) {
        let default = match (flag.kind, flag.default) {
            (Kind::Bool, "false") | (Kind::Int, "0") | (_, "") => String::new(),
            (Kind::Text, default) => format!(" (default {})", golang::quote(default.as_bytes())),
            (Kind::List, default) => format!(" (default [{default}])"),
            (_, default) => format!(" (default {default})"),
        };
        text += &format!("{name:width$}   {}{default}\n", flag.usage);
    }
    text
}

fn flag_name(flag: &Flag) -> String {
    let kind = match flag.kind {
        Kind::Bool => "",
        Kind::Int => " int",
        Kind::Text => " string",
        Kind::List => " strings",
        Kind::Duration => " duration",
    };
    match flag.short {
        Some(letter) => format!("  -{letter}, --{}{kind}", flag.name),
        None => format!("      --{}{kind}", flag.name),
    }
}
