//! JSON log lines on stderr, in the shape of etcd's zap lines.
use std::time::{SystemTime, UNIX_EPOCH};

use crate::print::json::quote;

/// One line: level, optional logger name, where it comes from, message, and more string fields.
pub fn line(level: &str, logger: Option<&str>, caller: &str, msg: &str, fields: &[(&str, &str)]) {
    let mut text = format!("{{\"level\":{},\"ts\":{}", quote(level), quote(&now()));
    if let Some(logger) = logger {
        text += &format!(",\"logger\":{}", quote(logger));
    }
    text += &format!(",\"caller\":{},\"msg\":{}", quote(caller), quote(msg));
    for (name, value) in fields {
        text += &format!(",{}:{}", quote(name), quote(value));
    }
    eprintln!("{text}}}");
}

/// A failed attempt of the client; `attempt` is a number in the line.
pub fn failed_attempt(logger: &str, failed: &client::FailedAttempt<'_>) {
    let target = format!("etcd-endpoints://{}", failed.endpoint);
    let peer = failed.peer.map_or("<nil>".to_owned(), |peer| format!("'{peer}'"));
    eprintln!(
        "{{\"level\":\"warn\",\"ts\":{},\"logger\":{},\"caller\":\"client/unary.rs\",\"msg\":\"retrying of unary invoker \
         failed\",\"target\":{},\"peer\":{},\"method\":{},\"attempt\":{},\"error\":{}}}",
        quote(&now()),
        quote(logger),
        quote(&target),
        quote(&format!("Peer{{Addr: {peer}}}")),
        quote(failed.method),
        failed.attempt,
        quote(failed.error)
    );
}

/// The wall clock as `2026-11-22T02:51:33.573763Z`.
fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    timestamp(since.as_secs(), since.subsec_micros())
}

fn timestamp(seconds: u64, micros: u32) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Civil date from days: years start in March, eras have 400 years.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = year + era * 400 + carry;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_utc_with_microseconds() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000007Z"),
            (951_782_400, "2000-02-29T00:00:00.000007Z"),
            (1_795_315_893, "2026-11-22T02:51:33.000007Z"),
            (1_798_761_599, "2026-12-31T23:59:59.000007Z"),
        ] {
            assert_eq!(timestamp(seconds, 7), text);
        }
    }
}
