//! Texts as Go reads and prints them: numbers, durations, quoted strings, sizes. Users' scripts know these shapes.
use std::fmt::Write as _;
use std::time::Duration;

/// Go's `strconv.ParseBool`.
pub fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(refused("ParseBool", text, "invalid syntax")),
    }
}

/// Go's `strconv.ParseInt(text, base, 64)`; base 0 takes it from the prefix.
pub fn parse_int(text: &str, base: u32) -> Result<i64, String> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let magnitude = magnitude(digits, base).map_err(|why| refused("ParseInt", text, why))?;
    let value = if negative { -i128::from(magnitude) } else { i128::from(magnitude) };
    i64::try_from(value).map_err(|_| refused("ParseInt", text, "value out of range"))
}

/// Go's `strconv.ParseUint(text, base, 64)`.
pub fn parse_uint(text: &str, base: u32) -> Result<u64, String> {
    magnitude(text, base).map_err(|why| refused("ParseUint", text, why))
}

fn refused(function: &str, text: &str, why: &str) -> String {
    format!("strconv.{function}: parsing {}: {why}", quote(text.as_bytes()))
}

fn magnitude(digits: &str, base: u32) -> Result<u64, &'static str> {
    const SYNTAX: &str = "invalid syntax";
    let lower = digits.to_ascii_lowercase();
    let (digits, radix) = match (base, lower.as_bytes()) {
        (0, [b'0', b'x', ..]) => (lower[2..].replace('_', ""), 16),
        (0, [b'0', b'b', ..]) => (lower[2..].replace('_', ""), 2),
        (0, [b'0', b'o', ..]) => (lower[2..].replace('_', ""), 8),
        (0, [b'0', _, ..]) => (lower[1..].replace('_', ""), 8),
        (0, _) => (lower, 10),
        (base, _) => (lower, base),
    };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return Err(SYNTAX);
    }
    u64::from_str_radix(&digits, radix).map_err(|_| "value out of range")
}

/// Go's `time.ParseDuration`; negative ones count as zero, which every user of a limit makes of them.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let quoted = quote(text.as_bytes());
    let bad = || format!("time: invalid duration {quoted}");
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(bad());
    }
    let mut total_ns = 0f64;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..end].parse().map_err(|_| bad())?;
        rest = &rest[end..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit_ns = match &rest[..end] {
            "" => return Err(format!("time: missing unit in duration {quoted}")),
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            unit => {
                return Err(format!("time: unknown unit {} in duration {quoted}", quote(unit.as_bytes())));
            }
        };
        total_ns += number * unit_ns;
        rest = &rest[end..];
    }
    if negative { Ok(Duration::ZERO) } else { Duration::try_from_secs_f64(total_ns / 1e9).map_err(|_| bad()) }
}

/// Go's `Duration.String`: `1h2m3.5s`, `3.15737ms`, `0s`.
pub fn duration(duration: Duration) -> String {
    let ns = duration.as_nanos();
    let fraction = |unit: u128, name: &str| {
        let digits = unit.ilog10() as usize;
        let text = format!("{}.{:0digits$}", ns / unit, ns % unit);
        let text =
            if digits == 0 { text.split('.').next().unwrap_or("") } else { text.trim_end_matches('0') };
        format!("{}{name}", text.trim_end_matches('.'))
    };
    match ns {
        0 => "0s".to_owned(),
        1..1_000 => format!("{ns}ns"),
        1_000..1_000_000 => fraction(1_000, "µs"),
        1_000_000..1_000_000_000 => fraction(1_000_000, "ms"),
        _ => {
            let seconds = ns / 1_000_000_000;
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let mut text = String::new();
            if hours > 0 {
                let _ = write!(text, "{hours}h");
            }
            if seconds >= 60 {
                let _ = write!(text, "{minutes}m");
            }
            let ns_of_minute = ns % 60_000_000_000;
            let tail = format!("{}.{:09}", ns_of_minute / 1_000_000_000, ns_of_minute % 1_000_000_000);
            text + tail.trim_end_matches('0').trim_end_matches('.') + "s"
        }
    }
}

/// Go's `%q`: bytes that are no UTF-8 and unprintable characters are escaped.
pub fn quote(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 2);
    text.push('"');
    for chunk in bytes.utf8_chunks() {
        chunk.valid().chars().for_each(|c| push_quoted(&mut text, c));
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text.push('"');
    text
}

fn push_quoted(text: &mut String, c: char) {
    let code = u32::from(c);
    let _ = match c {
        '"' | '\\' => write!(text, "\\{c}"),
        ' '..='~' => write!(text, "{c}"),
        '\u{7}' => write!(text, "\\a"),
        '\u{8}' => write!(text, "\\b"),
        '\u{b}' => write!(text, "\\v"),
        '\u{c}' => write!(text, "\\f"),
        '\n' => write!(text, "\\n"),
        '\r' => write!(text, "\\r"),
        '\t' => write!(text, "\\t"),
        '\0'..='\u{7f}' => write!(text, "\\x{code:02x}"),
        // Rust's Debug escapes the same categories; the letter before keeps combining marks as they are.
        _ if format!("{:?}", format!("a{c}")) == format!("\"a{c}\"") => write!(text, "{c}"),
        '\0'..='\u{ffff}' => write!(text, "\\u{code:04x}"),
        _ => write!(text, "\\U{code:08x}"),
    };
}

/// Reads a double-quoted Go string, as [`quote`] writes it; nothing if it is malformed.
pub fn unquote(text: &str) -> Option<Vec<u8>> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    let mut bytes = Vec::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' | '\n' => return None,
            '\\' => unescape(&mut chars, &mut bytes)?,
            _ => bytes.extend(c.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    Some(bytes)
}

/// What stands after a backslash.
fn unescape(chars: &mut std::str::Chars<'_>, bytes: &mut Vec<u8>) -> Option<()> {
    let number = |digits: String, wanted: usize, radix: u32| {
        if digits.len() == wanted { u32::from_str_radix(&digits, radix).ok() } else { None }
    };
    let letter = chars.next()?;
    let byte = match letter {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' | '"' => u8::try_from(letter).ok()?,
        'x' => u8::try_from(number(chars.take(2).collect(), 2, 16)?).ok()?,
        '0'..='7' => {
            let digits = std::iter::once(letter).chain(chars.take(2)).collect();
            u8::try_from(number(digits, 3, 8)?).ok()?
        }
        'u' | 'U' => {
            let wanted = if letter == 'u' { 4 } else { 8 };
            let c = char::from_u32(number(chars.take(wanted).collect(), wanted, 16)?)?;
            bytes.extend(c.encode_utf8(&mut [0; 4]).bytes());
            return Some(());
        }
        _ => return None,
    };
    bytes.push(byte);
    Some(())
}

/// Sizes in SI units with at most one decimal: `512 B`, `8.2 kB`, `20 kB`, `2.1 GB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut unit = 0;
    let mut scaled = bytes;
    while scaled >= 1000 {
        scaled /= 1000;
        unit += 1;
    }
    if unit == 0 {
        return format!("{bytes} B");
    }
    let divisor = 1000f64.powi(i32::try_from(unit).unwrap_or(0));
    #[allow(clippy::cast_precision_loss)] // two digits are shown
    let value = (bytes as f64 / divisor * 10.0 + 0.5).floor() / 10.0;
    let decimals = usize::from(value < 10.0);
    format!("{value:.decimals$} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_print_as_go_prints_them() {
        for (ns, text) in [
            (0, "0s"),
            (999, "999ns"),
            (1_500, "1.5µs"),
            (3_157_370, "3.15737ms"),
            (10_000_000, "10ms"),
            (5_000_477_854, "5.000477854s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
            (3_661_500_000_000, "1h1m1.5s"),
        ] {
            assert_eq!(duration(Duration::from_nanos(ns)), text);
        }
    }

    #[test]
    fn durations_are_read_as_go_reads_them() {
        assert_eq!(parse_duration("1h1m1.5s").unwrap(), Duration::from_millis(3_661_500));
        assert_eq!(parse_duration("0").unwrap(), Duration::ZERO);
        for (text, error) in [
            ("1", "time: missing unit in duration \"1\""),
            ("1x", "time: unknown unit \"x\" in duration \"1x\""),
            ("zz", "time: invalid duration \"zz\""),
            ("", "time: invalid duration \"\""),
        ] {
            assert_eq!(parse_duration(text).unwrap_err(), error);
        }
    }

    #[test]
    fn integers_are_read_as_go_reads_them() {
        assert_eq!(parse_int("-0x10", 0), Ok(-16));
        assert_eq!(parse_int("010", 0), Ok(8));
        assert_eq!(parse_int("7fffffffffffffff", 16), Ok(i64::MAX));
        let error = parse_int("ffffffffffffffff", 16).unwrap_err();
        assert_eq!(error, "strconv.ParseInt: parsing \"ffffffffffffffff\": value out of range");
        assert!(parse_uint("-1", 10).is_err());
        assert!(parse_int("", 16).is_err());
    }

    #[test]
    fn quoting_escapes_what_go_escapes() {
        assert_eq!(quote(b"tab\t\xc3\xa9\xff\x01\"q\\"), "\"tab\\t\u{e9}\\xff\\x01\\\"q\\\\\"");
        assert_eq!(quote("v\n\u{7f}\u{20ac}\u{2028}".as_bytes()), "\"v\\n\\x7f\u{20ac}\\u2028\"");
    }

    #[test]
    fn quoted_strings_are_read_back_and_malformed_ones_refused() {
        let bytes: Vec<u8> = (0..=255).chain("é€\u{2028}".bytes()).collect();
        assert_eq!(unquote(&quote(&bytes)), Some(bytes));
        assert_eq!(unquote(r#""\101\U0001f600""#), Some("A😀".into()));
        for bad in ["", "a", "\"", r#""\q""#, r#""\x1""#, r#""a"b""#, r#""\400""#] {
            assert_eq!(unquote(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_have_two_significant_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (8192, "8.2 kB"),
            (20480, "20 kB"),
            (1 << 31, "2.1 GB"),
            (999_999, "1000 kB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
