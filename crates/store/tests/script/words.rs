//! Words of a command: bare, "quoted" (with \0 for a zero byte), or a list in parentheses.

#[derive(Clone, Debug, PartialEq)]
pub enum Word {
    Text(String),
    List(Vec<Word>),
}

impl Word {
    pub fn text(&self) -> &str {
        match self {
            Word::Text(text) => text,
            Word::List(_) => panic!("expected a word, found a list"),
        }
    }

    pub fn list(&self) -> &[Word] {
        match self {
            Word::List(list) => list,
            Word::Text(text) => panic!("expected a list, found {text}"),
        }
    }
}

pub fn words(line: &str) -> Vec<Word> {
    let mut chars = line.chars().peekable();
    let list = list(&mut chars);
    assert!(chars.next().is_none(), "stray ) in {line}");
    list
}

fn list(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Vec<Word> {
    let mut all = Vec::new();
    while let Some(&c) = chars.peek() {
        match c {
            ')' => break,
            '(' => {
                chars.next();
                all.push(Word::List(list(chars)));
                assert_eq!(chars.next(), Some(')'), "missing )");
            }
            c if c.is_whitespace() => {
                chars.next();
            }
            _ => all.push(Word::Text(text(chars))),
        }
    }
    all
}

fn text(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> String {
    let mut text = String::new();
    let mut quoted = false;
    while let Some(&c) = chars.peek() {
        if !quoted && (c.is_whitespace() || c == '(' || c == ')') {
            break;
        }
        chars.next();
        match c {
            '"' => quoted = !quoted,
            '\\' => text.push(if chars.next() == Some('0') { '\0' } else { '\\' }),
            c => text.push(c),
        }
    }
    text
}

/// Words split into plain ones and `name=value` or bare flags named in `flags`.
pub struct Args<'a> {
    pub plain: Vec<&'a str>,
    flags: Vec<(&'a str, &'a str)>,
}

impl<'a> Args<'a> {
    pub fn new(words: &'a [Word]) -> Self {
        let mut args = Self { plain: Vec::new(), flags: Vec::new() };
        for word in words {
            let text = word.text();
            match text.strip_prefix("--") {
                Some(flag) => args.flags.push(flag.split_once('=').unwrap_or((flag, ""))),
                None => args.plain.push(text),
            }
        }
        args
    }

    pub fn at(&self, i: usize) -> &'a str {
        self.plain.get(i).copied().unwrap_or("")
    }

    pub fn number<T: std::str::FromStr + Default>(&self, i: usize) -> T {
        self.plain
            .get(i)
            .map_or_else(T::default, |n| n.parse().unwrap_or_else(|_| panic!("not a number: {n}")))
    }

    pub fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|(name, _)| *name == flag)
    }

    pub fn flag<T: std::str::FromStr + Default>(&self, flag: &str) -> T {
        let found = self.flags.iter().find(|(name, _)| *name == flag);
        found.map_or_else(T::default, |(_, value)| value.parse().unwrap_or_else(|_| panic!("bad --{flag}")))
    }
}
