//! The tree of commands, and how a command line finds its place in it: cobra's rules, which users type by.
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

use crate::call::Call;
use crate::failure::{Failure, code};
use crate::flag::{Flag, Flags, HELP, Kind};
use crate::{cmd, global, help};

/// What a command does.
pub type Run = fn(Call) -> Pin<Box<dyn Future<Output = Result<(), Failure>>>>;

/// A command or a group of commands.
pub struct Command {
    /// Name, then arguments as shown in the usage line.
    pub usage: &'static str,
    /// Heading it is listed under; only at the top.
    pub group: &'static str,
    /// One line for lists.
    pub about: &'static str,
    /// What `--help` says before the usage; `about` if empty.
    pub details: &'static str,
    pub flags: &'static [Flag],
    /// Flags of the commands below as well.
    pub shared: &'static [Flag],
    pub below: &'static [&'static Command],
    pub run: Option<Run>,
    pub hidden: bool,
}

/// What most commands have in common; for struct updates.
pub const PLAIN: Command = Command {
    usage: "",
    group: "",
    about: "",
    details: "",
    flags: &[],
    shared: &[],
    below: &[],
    run: None,
    hidden: false,
};

impl Command {
    pub fn name(&self) -> &'static str {
        self.usage.split(' ').next().unwrap_or("")
    }
}

/// A command with those above it; the root comes first.
pub type Path = Vec<&'static Command>;

/// `etcdctl endpoint health`.
pub fn spell(path: &[&'static Command]) -> String {
    path.iter().map(|command| command.name()).collect::<Vec<_>>().join(" ")
}

/// All flags the last command of `path` understands.
pub fn flags_of(path: &[&'static Command]) -> Vec<&'static Flag> {
    let own = path.last().map_or(&[][..], |command| command.flags);
    let shared = path.iter().flat_map(|command| command.shared);
    own.iter().chain(shared).chain(global::FLAGS).chain([&HELP]).collect()
}

/// Walks down the tree as far as `args` name commands; returns the way and the other arguments.
pub fn find(args: &[Bytes]) -> Result<(Path, Vec<Bytes>), String> {
    let mut path: Path = vec![&cmd::ROOT];
    let mut args = args.to_vec();
    while let Some(at) = first_word(&args, &flags_of(&path)) {
        let word = String::from_utf8_lossy(&args[at]);
        let Some(next) = child(path[path.len() - 1], &word) else {
            if path.len() == 1 {
                return Err(unknown(&word));
            }
            break;
        };
        args.remove(at);
        path.push(next);
    }
    Ok((path, args))
}

/// Place of the first argument that is neither a flag nor the value of one.
fn first_word(args: &[Bytes], flags: &[&'static Flag]) -> Option<usize> {
    let takes_value = |flag: Option<&&'static Flag>| flag.is_none_or(|flag| flag.kind != Kind::Bool);
    let mut at = 0;
    while let Some(arg) = args.get(at).map(|arg| String::from_utf8_lossy(arg)) {
        if arg == "--" {
            return None;
        }
        if let Some(long) = arg.strip_prefix("--") {
            let is_pair = !long.contains('=') && takes_value(flags.iter().find(|flag| flag.name == long));
            at += usize::from(is_pair);
        } else if let Some(letters) = arg.strip_prefix('-') {
            let mut letters = letters.chars();
            if let (Some(letter), None) = (letters.next(), letters.next()) {
                at += usize::from(takes_value(flags.iter().find(|flag| flag.short == Some(letter))));
            }
        } else if !arg.is_empty() {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// The command below `parent` with this name, or the only one whose name starts with it.
fn child(parent: &'static Command, word: &str) -> Option<&'static Command> {
    let mut starting = parent.below.iter().filter(|command| command.name().starts_with(word));
    let exact = parent.below.iter().find(|command| command.name() == word);
    match (exact, starting.next(), starting.next()) {
        (Some(exact), ..) => Some(exact),
        (None, Some(only), None) => Some(only),
        _ => None,
    }
}

fn unknown(word: &str) -> String {
    let mut text = format!("unknown command {} for \"etcdctl\"\n", crate::golang::quote(word.as_bytes()));
    let lower = word.to_lowercase();
    let alike: Vec<_> = cmd::ROOT
        .below
        .iter()
        .filter(|command| !command.hidden)
        .map(|command| command.name())
        .filter(|name| distance(name, &lower) <= 2 || name.starts_with(&lower))
        .collect();
    if !alike.is_empty() {
        text += "\nDid you mean this?\n";
        alike.iter().for_each(|name| text += &format!("\t{name}\n"));
        text.push('\n');
    }
    text + "Run 'etcdctl --help' for usage."
}

/// Levenshtein distance.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

/// Runs the command line `args` (without the program's name).
pub async fn run(args: Vec<Bytes>) -> Result<(), Failure> {
    let (path, rest) = find(&args).map_err(|text| {
        eprintln!("Error: {text}");
        Failure::silent(code::GENERAL)
    })?;
    let mut flags = Flags::new(flags_of(&path));
    let rest = flags.parse(&rest).map_err(|text| {
        eprintln!("Error: {text}\n{}", help::usage(&path));
        Failure::silent(code::GENERAL)
    })?;
    match path.last().and_then(|command| command.run) {
        Some(run) if !flags.is_on("help") => run(Call { flags, args: rest, line: args }).await,
        _ => {
            print!("{}", help::page(&path));
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find_in(line: &str) -> String {
        let args: Vec<Bytes> = line.split_whitespace().map(|word| word.to_owned().into()).collect();
        match find(&args) {
            Ok((path, rest)) => {
                format!("{} | {}", spell(&path), String::from_utf8_lossy(&rest.join(&b" "[..])))
            }
            Err(text) => text,
        }
    }

    #[test]
    fn commands_are_found_behind_flags_and_by_unique_beginnings() {
        for (line, found) in [
            ("get a", "etcdctl get | a"),
            ("--endpoints x get a", "etcdctl get | --endpoints x a"),
            ("-w json --hex endpoint --cluster st", "etcdctl endpoint status | -w json --hex --cluster"),
            ("memb li", "etcdctl member list | "),
            ("member nosuch", "etcdctl member | nosuch"),
            ("", "etcdctl | "),
            ("-- get", "etcdctl | -- get"),
        ] {
            assert_eq!(find_in(line), found, "{line}");
        }
    }

    #[test]
    fn an_unknown_command_is_answered_with_what_it_may_have_been() {
        assert_eq!(
            find_in("nosuch"),
            "unknown command \"nosuch\" for \"etcdctl\"\nRun 'etcdctl --help' for usage."
        );
        assert_eq!(
            find_in("gt"),
            "unknown command \"gt\" for \"etcdctl\"\n\nDid you mean this?\n\tget\n\tput\n\nRun 'etcdctl --help' for usage."
        );
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
