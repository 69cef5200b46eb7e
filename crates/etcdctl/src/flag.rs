//! Flags as etcd's users know them: Go's `pflag` rules and error texts.
use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use crate::golang;

/// What a flag holds; decides how its text is checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Bool,
    Int,
    Text,
    /// Comma separated; repeated flags add up.
    List,
    Duration,
}

/// One flag of a command.
pub struct Flag {
    pub name: &'static str,
    pub short: Option<char>,
    pub kind: Kind,
    pub default: &'static str,
    pub usage: &'static str,
}

/// A flag without a one-letter form.
pub const fn flag(name: &'static str, kind: Kind, default: &'static str, usage: &'static str) -> Flag {
    Flag { name, short: None, kind, default, usage }
}

/// A flag with a one-letter form.
pub const fn short(short: char, flag: Flag) -> Flag {
    Flag { short: Some(short), ..flag }
}

/// `--help` of every command.
pub static HELP: Flag = short('h', flag("help", Kind::Bool, "false", "show this text"));

/// The flags a command knows, and what they were set to.
#[derive(Default)]
pub struct Flags {
    known: Vec<&'static Flag>,
    set: BTreeMap<&'static str, String>,
}

impl Flags {
    pub fn new(known: Vec<&'static Flag>) -> Flags {
        Flags { known, set: BTreeMap::new() }
    }

    pub fn changed(&self, name: &str) -> bool {
        self.set.contains_key(name)
    }

    /// The text as given, or the default.
    pub fn text(&self, name: &str) -> &str {
        match self.set.get(name) {
            Some(text) => text,
            None => self.by_name(name).map_or("", |flag| flag.default),
        }
    }

    pub fn is_on(&self, name: &str) -> bool {
        golang::parse_bool(self.text(name)).unwrap_or(false)
    }

    pub fn int(&self, name: &str) -> i64 {
        golang::parse_int(self.text(name), 0).unwrap_or(0)
    }

    pub fn duration(&self, name: &str) -> Duration {
        golang::parse_duration(self.text(name)).unwrap_or_default()
    }

    pub fn list(&self, name: &str) -> Vec<String> {
        self.text(name).split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    /// Sets a flag after checking its text; the error is Go's, without the flag's name.
    pub fn set(&mut self, flag: &'static Flag, text: &str) -> Result<(), String> {
        match flag.kind {
            Kind::Bool => golang::parse_bool(text).map(drop)?,
            Kind::Int => golang::parse_int(text, 0).map(drop)?,
            Kind::Duration => golang::parse_duration(text).map(drop)?,
            Kind::Text | Kind::List => {}
        }
        match self.set.get_mut(flag.name) {
            Some(before) if flag.kind == Kind::List => {
                before.push(',');
                before.push_str(text);
            }
            _ => {
                self.set.insert(flag.name, text.to_owned());
            }
        }
        Ok(())
    }

    pub fn by_name(&self, name: &str) -> Option<&'static Flag> {
        self.known.iter().find(|flag| flag.name == name).copied()
    }

    pub fn by_short(&self, letter: char) -> Option<&'static Flag> {
        self.known.iter().find(|flag| flag.short == Some(letter)).copied()
    }

    /// Takes the flags out of `args`, wherever they stand before a `--`, and returns the rest.
    pub fn parse(&mut self, args: &[Bytes]) -> Result<Vec<Bytes>, String> {
        let texts: Vec<String> = args.iter().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect();
        let mut rest = Vec::new();
        let mut args = texts.iter().zip(args);
        while let Some((arg, raw)) = args.next() {
            if arg == "--" {
                rest.extend(args.map(|(_, raw)| raw.clone()));
                break;
            } else if let Some(long) = arg.strip_prefix("--") {
                self.parse_long(arg, long, &mut args)?;
            } else if let Some(letters) = arg.strip_prefix('-').filter(|letters| !letters.is_empty()) {
                self.parse_short(letters, &mut args)?;
            } else {
                rest.push(raw.clone());
            }
        }
        Ok(rest)
    }

    fn parse_long<'a>(
        &mut self,
        arg: &str,
        long: &str,
        args: &mut impl Iterator<Item = (&'a String, &'a Bytes)>,
    ) -> Result<(), String> {
        if long.starts_with(['-', '=']) {
            return Err(format!("bad flag syntax: {arg}"));
        }
        let (name, given) = match long.split_once('=') {
            Some((name, text)) => (name, Some(text)),
            None => (long, None),
        };
        let flag = self.by_name(name).ok_or_else(|| format!("unknown flag: --{name}"))?;
        let text = match given {
            Some(text) => text,
            None if flag.kind == Kind::Bool => "true",
            None => args.next().ok_or_else(|| format!("flag needs an argument: --{name}"))?.0,
        };
        self.set_or_blame(flag, text)
    }

    fn parse_short<'a>(
        &mut self,
        letters: &str,
        args: &mut impl Iterator<Item = (&'a String, &'a Bytes)>,
    ) -> Result<(), String> {
        let mut rest = letters;
        while let Some(letter) = rest.chars().next() {
            let flag = self
                .by_short(letter)
                .ok_or_else(|| format!("unknown shorthand flag: '{letter}' in -{rest}"))?;
            let after = &rest[letter.len_utf8()..];
            if let Some(text) = after.strip_prefix('=') {
                return self.set_or_blame(flag, text);
            }
            if flag.kind == Kind::Bool {
                self.set_or_blame(flag, "true")?;
                rest = after;
                continue;
            }
            let text = match after {
                "" => args.next().ok_or_else(|| format!("flag needs an argument: '{letter}' in -{rest}"))?.0,
                text => text,
            };
            return self.set_or_blame(flag, text);
        }
        Ok(())
    }

    fn set_or_blame(&mut self, flag: &'static Flag, text: &str) -> Result<(), String> {
        self.set(flag, text).map_err(|reason| {
            let name = match flag.short {
                Some(letter) => format!("-{letter}, --{}", flag.name),
                None => format!("--{}", flag.name),
            };
            format!(
                "invalid argument {} for {} flag: {reason}",
                golang::quote(text.as_bytes()),
                golang::quote(name.as_bytes())
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static LIMIT: Flag = flag("limit", Kind::Int, "0", "");
    static PREFIX: Flag = flag("prefix", Kind::Bool, "false", "");
    static WRITE_OUT: Flag = short('w', flag("write-out", Kind::Text, "simple", ""));
    static ENDPOINTS: Flag = flag("endpoints", Kind::List, "127.0.0.1:2379", "");

    fn parse(line: &str) -> (Result<Vec<Bytes>, String>, Flags) {
        let mut flags = Flags::new(vec![&LIMIT, &PREFIX, &WRITE_OUT, &ENDPOINTS, &HELP]);
        let args: Vec<Bytes> = line.split_whitespace().map(|word| word.to_owned().into()).collect();
        (flags.parse(&args), flags)
    }

    #[test]
    fn flags_are_found_before_between_and_after_arguments_but_not_after_two_dashes() {
        let (rest, flags) = parse("--prefix a --limit 0x10 b -w=json -- --c -d");
        assert_eq!(rest.unwrap(), ["a", "b", "--c", "-d"]);
        assert!(flags.is_on("prefix"));
        assert_eq!((flags.int("limit"), flags.text("write-out")), (16, "json"));
    }

    #[test]
    fn repeated_lists_add_up_and_lose_blanks() {
        let (_, flags) = parse("--endpoints a,b --endpoints=c");
        assert_eq!(flags.list("endpoints"), ["a", "b", "c"]);
        let mut flags = Flags::new(vec![&ENDPOINTS]);
        flags.set(&ENDPOINTS, " a , b ").unwrap();
        assert_eq!(flags.list("endpoints"), ["a", "b"]);
    }

    #[test]
    fn mistakes_are_named_as_pflag_names_them() {
        for (line, text) in [
            ("--nosuch a", "unknown flag: --nosuch"),
            ("-z", "unknown shorthand flag: 'z' in -z"),
            ("--limit", "flag needs an argument: --limit"),
            ("-w", "flag needs an argument: 'w' in -w"),
            ("---x", "bad flag syntax: ---x"),
            (
                "--limit x",
                "invalid argument \"x\" for \"--limit\" flag: strconv.ParseInt: parsing \"x\": invalid syntax",
            ),
            (
                "--prefix=x",
                "invalid argument \"x\" for \"--prefix\" flag: strconv.ParseBool: parsing \"x\": invalid syntax",
            ),
        ] {
            assert_eq!(parse(line).0.unwrap_err(), text);
        }
    }
}
