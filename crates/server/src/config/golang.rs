//! Texts read as Go's libraries read them, with the errors they give: numbers, truth values, durations, URLs.
use std::io;
use std::time::Duration;

use super::url::{Scheme, Url};
use crate::log::quote;

/// Why a number did not parse, in the words of Go's flag package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NumberError {
    Syntax,
    Range,
}

impl NumberError {
    /// As printed for flags.
    pub(super) fn flag_text(self) -> &'static str {
        match self {
            NumberError::Syntax => "parse error",
            NumberError::Range => "value out of range",
        }
    }

    /// As printed by strconv.
    pub(super) fn strconv_text(self) -> &'static str {
        match self {
            NumberError::Syntax => "invalid syntax",
            NumberError::Range => "value out of range",
        }
    }
}

/// Truth as Go spells it.
pub(super) fn bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A number with the base in its prefix: `0x`, `0b`, `0o`, a bare `0` for octal; `_` between digits.
pub(super) fn uint(text: &str) -> Result<u64, NumberError> {
    let lower = text.to_ascii_lowercase();
    let (digits, base, prefixed) = match lower.as_bytes() {
        [b'0', b'x', ..] => (&lower[2..], 16, true),
        [b'0', b'b', ..] => (&lower[2..], 2, true),
        [b'0', b'o', ..] => (&lower[2..], 8, true),
        [b'0', _, ..] => (&lower[1..], 8, true),
        _ => (&lower[..], 10, false),
    };
    // An underscore may only stand between digits, or between prefix and digits.
    let misplaced = digits.ends_with('_') || digits.contains("__") || (!prefixed && digits.starts_with('_'));
    let digits = digits.replace('_', "");
    if digits.is_empty() || misplaced || !digits.chars().all(|c| c.is_digit(base)) {
        return Err(NumberError::Syntax);
    }
    u64::from_str_radix(&digits, base).map_err(|_| NumberError::Range)
}

/// As [`uint`], with a sign.
pub(super) fn int(text: &str) -> Result<i64, NumberError> {
    let (negative, rest) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    let value = i128::from(uint(rest)?);
    i64::try_from(if negative { -value } else { value }).map_err(|_| NumberError::Range)
}

/// A duration such as `1h30m`, `100ms`, `1.5s`. Negative ones are refused: no setting has use for them.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let invalid = || format!("time: invalid duration {}", quote(text));
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let negative = rest.starts_with('-');
    rest = rest.strip_prefix('-').unwrap_or(rest);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let number = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let (value, tail) = rest.split_at(number);
        let unit = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(invalid());
        }
        let scale: u128 = match unit {
            "" => return Err(format!("time: missing unit in duration {}", quote(text))),
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(format!("time: unknown unit {} in duration {}", quote(unit), quote(text))),
        };
        let digits = |d: &str| if d.is_empty() { Ok(0) } else { d.parse::<u64>() };
        total += u128::from(digits(whole).map_err(|_| invalid())?) * scale;
        // Beyond 18 places nothing is left even of an hour.
        let fraction = &fraction[..fraction.len().min(18)];
        let places = u32::try_from(fraction.len()).unwrap_or(18);
        total += u128::from(digits(fraction).map_err(|_| invalid())?) * scale / 10u128.pow(places);
        rest = tail;
    }
    match i64::try_from(total) {
        Ok(ns) if !negative => Ok(Duration::from_nanos(ns.unsigned_abs())),
        _ => Err(invalid()),
    }
}

/// URLs of members, sorted.
pub(super) fn urls<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Vec<Url>, String> {
    let mut urls = texts.into_iter().map(|t| url(t.trim())).collect::<Result<Vec<_>, _>>()?;
    urls.sort_by_key(Url::to_string);
    Ok(urls)
}

pub(super) fn url(text: &str) -> Result<Url, String> {
    let parse_error = |why: &str| Err(format!("parse {}: {why}", quote(text)));
    if text.chars().any(|c| u32::from(c) < 0x20 || c == '\u{7f}') {
        return parse_error("net/url: invalid control character in URL");
    }
    if text.starts_with(':') {
        return parse_error("missing protocol scheme");
    }
    let not_ours = || Err(format!("URL scheme must be http, https, unix, or unixs: {text}"));
    let Some((scheme, rest)) = text.split_once(':') else { return not_ours() };
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        "unix" => Scheme::Unix,
        "unixs" => Scheme::Unixs,
        s if s.starts_with(|c: char| c.is_ascii_digit()) => {
            return parse_error("first path segment in URL cannot contain colon");
        }
        _ => return not_ours(),
    };
    let authority = rest.strip_prefix("//").unwrap_or("");
    if matches!(scheme, Scheme::Unix | Scheme::Unixs) {
        return Ok(Url { scheme, host: rest.strip_prefix("//").unwrap_or(rest).into() });
    }
    let (host, path) = match authority.find(['/', '?', '#']) {
        Some(at) => authority.split_at(at),
        None => (authority, ""),
    };
    if let Some(bad) = host.chars().find(|c| " <>\"^`{|}\\".contains(*c)) {
        return parse_error(&format!("invalid character {} in host name", quote(&bad.to_string())));
    }
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    if let Some((_, port)) = host.rsplit_once(':')
        && !host.ends_with(']')
        && !port.bytes().all(|b| b.is_ascii_digit())
    {
        return parse_error(&format!("invalid port {} after host", quote(&format!(":{port}"))));
    }
    if split_host_port(host).is_none() {
        return Err(format!("URL address does not have the form \"host:port\": {text}"));
    }
    if path.starts_with('/') {
        return Err(format!("URL must not contain a path: {text}"));
    }
    Ok(Url { scheme, host: host.into() })
}

/// `host:port` or `[v6]:port`, taken apart.
pub(super) fn split_host_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']').map(|h| (h, port)),
        None => (!host.contains([':', ']'])).then_some((host, port)),
    }
}

/// What Go's runtime says for an error of the operating system.
pub fn io_error(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    chars.next().map(|first| first.to_lowercase().collect::<String>() + chars.as_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_gos_prefixes() {
        let rows = [("17", Ok(17)), ("0x1F", Ok(31)), ("017", Ok(15)), ("1_000", Ok(1000)), ("0", Ok(0))];
        for (text, value) in rows {
            assert_eq!(uint(text), value, "{text}");
        }
        for text in ["", "x", "-1", "1__0", "_1", "09", "1.5"] {
            assert_eq!(uint(text), Err(NumberError::Syntax), "{text}");
        }
        assert_eq!(uint("99999999999999999999"), Err(NumberError::Range));
        assert_eq!(int("-5"), Ok(-5));
        assert_eq!(int("-9223372036854775808"), Ok(i64::MIN));
        assert_eq!(int("9223372036854775808"), Err(NumberError::Range));
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("46.908µs"), Ok(Duration::from_nanos(46_908)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert_eq!(duration("5"), Err("time: missing unit in duration \"5\"".into()));
        assert_eq!(duration("foo"), Err("time: invalid duration \"foo\"".into()));
        assert_eq!(duration("5x"), Err("time: unknown unit \"x\" in duration \"5x\"".into()));
        assert_eq!(duration("9999999999h"), Err("time: invalid duration \"9999999999h\"".into()));
    }

    #[test]
    fn urls_hold_a_scheme_a_host_and_a_port_only() {
        let good = urls(["https://[::1]:2379", " http://a:1 ", "unix:///tmp/x"]).unwrap();
        let text: Vec<_> = good.iter().map(ToString::to_string).collect();
        assert_eq!(text, ["http://a:1", "https://[::1]:2379", "unix:///tmp/x"]);
        let rows = [
            ("foo", "URL scheme must be http, https, unix, or unixs: foo"),
            ("", "URL scheme must be http, https, unix, or unixs: "),
            ("ftp://127.0.0.1:1", "URL scheme must be http, https, unix, or unixs: ftp://127.0.0.1:1"),
            ("http://127.0.0.1", "URL address does not have the form \"host:port\": http://127.0.0.1"),
            ("http://127.0.0.1:1/x", "URL must not contain a path: http://127.0.0.1:1/x"),
            ("http://a b:1", "parse \"http://a b:1\": invalid character \" \" in host name"),
            ("http://a:1b", "parse \"http://a:1b\": invalid port \":1b\" after host"),
            ("://", "parse \"://\": missing protocol scheme"),
            ("http://\u{1}:1", "parse \"http://\\x01:1\": net/url: invalid control character in URL"),
        ];
        for (text, error) in rows {
            assert_eq!(urls([text]).unwrap_err(), error);
        }
    }
}
