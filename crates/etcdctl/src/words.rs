//! Lines typed into `watch -i` and `txn`, cut into words.
use crate::failure::{Failure, code};
use crate::golang;

/// Words of `line`: separated by blanks, or within `"…"` (with Go's escapes) or `'…'`. A quote that is never closed
/// is passed over.
pub fn words(line: &str) -> Result<Vec<Vec<u8>>, Failure> {
    let mut words = Vec::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '"' => closing(&rest[1..], '"', true).map(|at| at + 2),
            '\'' => closing(&rest[1..], '\'', false).map(|at| at + 2),
            _ if first.is_whitespace() => None,
            _ => Some(rest.find(char::is_whitespace).unwrap_or(rest.len())),
        };
        let Some(end) = end else {
            rest = &rest[first.len_utf8()..];
            continue;
        };
        let (word, after) = rest.split_at(end);
        words.push(match first {
            '"' => golang::unquote(word).ok_or_else(|| Failure::new(code::BAD_INPUT, "invalid syntax"))?,
            '\'' => word[1..word.len() - 1].into(),
            _ => word.into(),
        });
        rest = after;
    }
    Ok(words)
}

/// Place of the first `quote` in `text`, past escaped ones if there are escapes.
fn closing(text: &str, quote: char, escapes: bool) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if escapes => escaped = true,
            _ if c == quote => return Some(at),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_end_at_blanks_outside_quotes() {
        for (line, expected) in [
            ("watch  a\tb", &["watch", "a", "b"][..]),
            ("put \"a b\" 'c \"d'", &["put", "a b", "c \"d"]),
            (r#"put "a\"\x41\n" b"#, &["put", "a\"A\n", "b"]),
            ("a\"b c\"", &["a\"b", "c\""]),
            ("watch \"wa", &["watch", "wa"]),
            ("", &[]),
        ] {
            let found = words(line).unwrap();
            assert_eq!(
                found,
                expected.iter().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>(),
                "{line}"
            );
        }
        assert_eq!(words(r#""\q""#).unwrap_err().code, code::BAD_INPUT);
    }
}
