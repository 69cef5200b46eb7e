//! Texts as Go prints them: timestamps, durations, byte sizes, quoted strings.
use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `2026-11-21T20:04:43.940000Z`.
pub fn timestamp(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (date, clock) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(date);
    let (hour, minute, second) = (clock / 3_600, clock / 60 % 60, clock % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:06}Z", since.subsec_micros())
}

/// Year, month and day of a day counted from 1970-01-01.
pub(crate) fn civil(days: u64) -> (u64, u64, u64) {
    // Counted from 1 March of year 0, so that leap days end a year.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// `1m0s`, `46.908µs`, `0s`: a duration as Go prints it.
pub fn duration(d: Duration) -> String {
    let ns = d.as_nanos();
    let fraction = |value: u128, digits: usize| {
        let unit = 10u128.pow(u32::try_from(digits).unwrap_or(0));
        let mut text = format!("{}.{:0digits$}", value / unit, value % unit);
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
        text
    };
    match ns {
        0 => "0s".into(),
        1..1_000 => format!("{ns}ns"),
        1_000..1_000_000 => format!("{}µs", fraction(ns, 3)),
        1_000_000..1_000_000_000 => format!("{}ms", fraction(ns, 6)),
        _ => {
            let minutes = ns / 60_000_000_000;
            let seconds = fraction(ns % 60_000_000_000, 9);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, m) => format!("{m}m{seconds}s"),
                (h, m) => format!("{h}h{m}m{seconds}s"),
            }
        }
    }
}

/// `25 kB`, `2.1 GB`: bytes in powers of 1000, two figures, as etcd's lines show them.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 10 {
        return format!("{bytes} B");
    }
    let mut unit = 0;
    let mut scale = 1u64;
    while unit < UNITS.len() - 1 && bytes / scale >= 1000 {
        scale *= 1000;
        unit += 1;
    }
    // Rounded half up at one decimal, as the library etcd uses does.
    let tenths = (u128::from(bytes) * 10 + u128::from(scale) / 2) / u128::from(scale);
    if tenths < 100 {
        format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
    } else {
        let (whole, rest) = (tenths / 10, tenths % 10);
        format!("{} {}", whole + u128::from(rest > 5 || (rest == 5 && whole % 2 == 1)), UNITS[unit])
    }
}

/// A text in double quotes as Go's `%q` writes it.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if u32::from(c) < 0x20 || c == '\u{7f}' => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_in_go() {
        let rows = [
            (0, "0s"),
            (7, "7ns"),
            (46_908, "46.908µs"),
            (1_500_000, "1.5ms"),
            (1_000_000_000, "1s"),
            (61_000_000_000, "1m1s"),
            (7_200_000_000_000, "2h0m0s"),
            (3_600_000_000_001, "1h0m0.000000001s"),
        ];
        for (ns, text) in rows {
            assert_eq!(duration(Duration::from_nanos(ns)), text);
        }
    }

    #[test]
    fn timestamps_are_utc_with_six_digits() {
        let at = |s, us| UNIX_EPOCH + Duration::from_secs(s) + Duration::from_micros(us);
        assert_eq!(timestamp(at(0, 1)), "1970-01-01T00:00:00.000001Z");
        assert_eq!(timestamp(at(951_827_696, 0)), "2000-02-29T12:34:56.000000Z");
        assert_eq!(timestamp(at(1_795_291_483, 940_000)), "2026-11-21T20:04:43.940000Z");
    }

    #[test]
    fn sizes_have_two_figures() {
        let rows = [(0, "0 B"), (12, "12 B"), (999, "999 B"), (24_576, "25 kB"), (2_147_483_648, "2.1 GB")];
        for (bytes, text) in rows {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn quotes_escape_what_cannot_be_seen() {
        assert_eq!(quote("é<>&\u{1}\t\"\\"), "\"é<>&\\x01\\t\\\"\\\\\"");
    }
}
