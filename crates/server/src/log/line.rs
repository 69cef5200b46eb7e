//! One log line and its two renderings.
use std::borrow::Cow;
use std::fmt::{Display, Write};
use std::time::{Duration, SystemTime};

use super::{Format, Level, text};

/// One line before it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// How much it matters.
    pub level: Level,
    /// Name of the part that speaks (`raft`), mostly empty.
    pub logger: &'static str,
    /// Source file.
    pub file: &'static str,
    /// Source line.
    pub line: u32,
    /// Rust module.
    pub module: &'static str,
    /// What happened.
    pub message: Cow<'static, str>,
    /// Facts, in order.
    pub fields: Vec<(Cow<'static, str>, Value)>,
}

/// What a field holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text.
    Text(String),
    /// A number or truth value, written as it is.
    Bare(String),
    /// A list of texts.
    List(Vec<String>),
}

impl Value {
    /// Anything that can be displayed, as text; ids, URLs, errors.
    pub fn text(value: impl Display) -> Value {
        Value::Text(value.to_string())
    }

    /// A list of things that can be displayed.
    pub fn list<T: Display>(values: impl IntoIterator<Item = T>) -> Value {
        Value::List(values.into_iter().map(|v| v.to_string()).collect())
    }
}

macro_rules! bare {
    ($($t:ty)*) => {$(impl From<$t> for Value { fn from(v: $t) -> Value { Value::Bare(v.to_string()) } })*};
}
bare!(bool i32 i64 u16 u32 u64 usize);

impl From<&str> for Value {
    fn from(v: &str) -> Value {
        Value::Text(v.into())
    }
}
impl From<String> for Value {
    fn from(v: String) -> Value {
        Value::Text(v)
    }
}
impl From<&String> for Value {
    fn from(v: &String) -> Value {
        Value::Text(v.clone())
    }
}
impl From<Duration> for Value {
    fn from(v: Duration) -> Value {
        Value::Text(text::duration(v))
    }
}
impl<T: Display> From<Vec<T>> for Value {
    fn from(v: Vec<T>) -> Value {
        Value::list(v)
    }
}
impl<T: Display> From<&[T]> for Value {
    fn from(v: &[T]) -> Value {
        Value::list(v)
    }
}
impl<T: Display> From<&Vec<T>> for Value {
    fn from(v: &Vec<T>) -> Value {
        Value::list(v)
    }
}

impl Line {
    /// The whole line with its newline.
    pub fn render(&self, format: Format, now: SystemTime) -> String {
        let mut out = String::with_capacity(256);
        match format {
            Format::Json => self.json(&mut out, now),
            Format::Console => self.console(&mut out, now),
        }
        out.push('\n');
        out
    }

    fn json(&self, out: &mut String, now: SystemTime) {
        out.push_str("{\"level\":\"");
        out.push_str(self.level.name());
        out.push_str("\",\"ts\":\"");
        out.push_str(&text::timestamp(now));
        if !self.logger.is_empty() {
            out.push_str("\",\"logger\":\"");
            out.push_str(self.logger);
        }
        out.push_str("\",\"caller\":");
        escape(out, &self.caller());
        out.push_str(",\"msg\":");
        escape(out, &self.message);
        for (key, value) in &self.fields {
            out.push(',');
            field(out, key, value, ":", ",");
        }
        if self.level >= Level::Error {
            out.push_str(",\"stacktrace\":");
            escape(out, &self.trace());
        }
        out.push('}');
    }

    fn console(&self, out: &mut String, now: SystemTime) {
        let _ = write!(out, "{}\t{}\t", text::timestamp(now), self.level.name());
        if !self.logger.is_empty() {
            let _ = write!(out, "{}\t", self.logger);
        }
        let _ = write!(out, "{}\t{}", self.caller(), self.message);
        for (n, (key, value)) in self.fields.iter().enumerate() {
            out.push_str(if n == 0 { "\t{" } else { ", " });
            field(out, key, value, ": ", ", ");
        }
        if !self.fields.is_empty() {
            out.push('}');
        }
        if self.level >= Level::Error {
            out.push('\n');
            out.push_str(&self.trace());
        }
    }

    /// Last directory, file and line.
    fn caller(&self) -> String {
        let mut parts = self.file.rsplit('/');
        let file = parts.next().unwrap_or_default();
        match parts.next() {
            Some(dir) => format!("{dir}/{file}:{}", self.line),
            None => format!("{file}:{}", self.line),
        }
    }

    /// The place alone: enough to find the code, and cheap.
    fn trace(&self) -> String {
        format!("{}\n\t{}:{}", self.module, self.file, self.line)
    }
}

fn field(out: &mut String, key: &str, value: &Value, colon: &str, comma: &str) {
    escape(out, key);
    out.push_str(colon);
    match value {
        Value::Text(text) => escape(out, text),
        Value::Bare(text) => out.push_str(text),
        Value::List(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    out.push_str(comma);
                }
                escape(out, item);
            }
            out.push(']');
        }
    }
}

/// A JSON string; characters such as `<` stay as they are.
fn escape(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if u32::from(c) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn line(level: Level, logger: &'static str) -> Line {
        Line {
            level,
            logger,
            file: "crates/server/src/run.rs",
            line: 7,
            module: "server::run",
            message: "said \"hi\"\u{1}".into(),
            fields: vec![
                ("listen-urls".into(), Value::from(vec!["a", "b"])),
                ("took".into(), Value::from(Duration::from_micros(1500))),
                ("n".into(), Value::from(-3i64)),
                ("ok".into(), Value::from(true)),
            ],
        }
    }

    #[test]
    fn json_keys_come_in_the_order_zap_writes_them() {
        assert_eq!(
            line(Level::Info, "").render(Format::Json, UNIX_EPOCH),
            concat!(
                r#"{"level":"info","ts":"1970-01-01T00:00:00.000000Z","caller":"src/run.rs:7","#,
                r#""msg":"said \"hi\"\u0001","listen-urls":["a","b"],"took":"1.5ms","n":-3,"ok":true}"#,
                "\n"
            )
        );
    }

    #[test]
    fn a_named_logger_comes_before_the_caller_and_errors_end_with_a_stacktrace() {
        let text = line(Level::Error, "raft").render(Format::Json, UNIX_EPOCH);
        assert!(text.contains(r#"Z","logger":"raft","caller":"#), "{text}");
        assert!(
            text.ends_with("\"stacktrace\":\"server::run\\n\\tcrates/server/src/run.rs:7\"}\n"),
            "{text}"
        );
    }

    #[test]
    fn console_lines_are_columns_with_the_fields_as_spaced_json() {
        assert_eq!(
            line(Level::Warn, "raft").render(Format::Console, UNIX_EPOCH),
            concat!(
                "1970-01-01T00:00:00.000000Z\twarn\traft\tsrc/run.rs:7\tsaid \"hi\"\u{1}\t",
                r#"{"listen-urls": ["a", "b"], "took": "1.5ms", "n": -3, "ok": true}"#,
                "\n"
            )
        );
    }
}
