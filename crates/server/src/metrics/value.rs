//! Counters, gauges, histograms and families of them, and how their values are written.
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::RwLock;

/// Something with lines on the page.
pub(crate) trait Collect {
    /// Writes the lines under this name.
    fn collect(&self, name: &str, out: &mut String) {
        self.lines(name, "", out);
    }
    /// As `collect`, with labels (`a="x",b="y"`).
    fn lines(&self, name: &str, labels: &str, out: &mut String);
    /// No lines at all.
    fn is_empty(&self) -> bool {
        false
    }
}

/// Only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }
    /// Counts one more.
    pub fn inc(&self) {
        self.add(1);
    }
    /// Takes over a total counted elsewhere.
    pub fn set(&self, total: u64) {
        self.0.store(total, Relaxed);
    }
    /// The total.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Sets the value.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Relaxed);
    }
    /// Sets a whole number; beyond 2^53 the nearest one.
    #[allow(clippy::cast_precision_loss)]
    pub fn set_int(&self, value: i64) {
        self.set(value as f64);
    }
    /// Sets 1 or 0.
    pub fn set_bool(&self, on: bool) {
        self.set(f64::from(u8::from(on)));
    }
    /// Adds, also negative values.
    pub fn add(&self, delta: f64) {
        add_f64(&self.0, delta);
    }
    /// The value.
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Relaxed))
    }
}

fn add_f64(at: &AtomicU64, delta: f64) {
    let sum = |bits| Some((f64::from_bits(bits) + delta).to_bits());
    // The closure never refuses, so the update always succeeds.
    let _ = at.fetch_update(Relaxed, Relaxed, sum);
}

/// Counts values by size.
#[derive(Debug)]
pub struct Histogram {
    bounds: Arc<[f64]>,
    /// One per bound, and one for what is above the last.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    pub(crate) fn new(bounds: Arc<[f64]>) -> Histogram {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram { bounds, counts, sum: AtomicU64::new(0) }
    }
    /// Counts one value.
    pub fn observe(&self, value: f64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        self.counts[at].fetch_add(1, Relaxed);
        add_f64(&self.sum, value);
    }
    /// Counts a time in seconds.
    pub fn observe_time(&self, time: Duration) {
        self.observe(time.as_secs_f64());
    }
    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|c| c.load(Relaxed)).sum()
    }
}

/// Bounds that grow by a factor, as Go's library computes them.
pub(crate) fn exponential(start: f64, factor: f64, count: usize) -> Arc<[f64]> {
    std::iter::successors(Some(start), |bound| Some(bound * factor)).take(count).collect()
}

/// Metrics that differ in the values of their labels.
#[derive(Debug)]
pub struct Family<T> {
    labels: &'static [&'static str],
    make: fn() -> T,
    members: RwLock<BTreeMap<Vec<String>, Arc<T>>>,
}

impl<T> Family<T> {
    pub(crate) fn new(labels: &'static [&'static str], make: fn() -> T) -> Family<T> {
        Family { labels, make, members: RwLock::new(BTreeMap::new()) }
    }

    /// Names of the labels, in order.
    pub fn labels(&self) -> &'static [&'static str] {
        self.labels
    }

    /// The member with these label values, made if it is new. Keep it where it is used often.
    pub fn with(&self, values: &[&str]) -> Arc<T> {
        debug_assert_eq!(values.len(), self.labels.len(), "one value per label");
        let key: Vec<String> = values.iter().map(|v| (*v).to_string()).collect();
        if let Some(member) = self.members.read().get(&key) {
            return Arc::clone(member);
        }
        Arc::clone(self.members.write().entry(key).or_insert_with(|| Arc::new((self.make)())))
    }

    /// The member of these label values where a client chooses them: one more than `members_max` is counted as `others`.
    pub fn with_at_most(&self, members_max: usize, values: &[&str], others: &[&str]) -> Arc<T> {
        let is_known = |values: &[&str]| self.members.read().keys().any(|key| key.iter().eq(values));
        if self.members.read().len() < members_max || is_known(values) {
            return self.with(values);
        }
        self.with(others)
    }

    /// Drops every member, for gauges that name a state in a label.
    pub fn clear(&self) {
        self.members.write().clear();
    }
}

impl Collect for Counter {
    #[allow(clippy::cast_precision_loss)]
    fn lines(&self, name: &str, labels: &str, out: &mut String) {
        line(name, "", labels, &number(self.get() as f64), out);
    }
}

impl Collect for Gauge {
    fn lines(&self, name: &str, labels: &str, out: &mut String) {
        line(name, "", labels, &number(self.get()), out);
    }
}

impl Collect for Histogram {
    fn lines(&self, name: &str, labels: &str, out: &mut String) {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut below = 0;
        for (n, count) in self.counts.iter().enumerate() {
            below += count.load(Relaxed);
            let bound = self.bounds.get(n).map_or("+Inf".into(), |b| number(*b));
            line(name, "_bucket", &format!("{labels}{comma}le=\"{bound}\""), &below.to_string(), out);
        }
        line(name, "_sum", labels, &number(f64::from_bits(self.sum.load(Relaxed))), out);
        line(name, "_count", labels, &below.to_string(), out);
    }
}

impl<T: Collect> Collect for Family<T> {
    fn lines(&self, name: &str, _: &str, out: &mut String) {
        for (values, member) in self.members.read().iter() {
            let labels: Vec<String> = self
                .labels
                .iter()
                .zip(values)
                .map(|(label, value)| format!("{label}=\"{}\"", escape(value)))
                .collect();
            member.lines(name, &labels.join(","), out);
        }
    }
    fn is_empty(&self) -> bool {
        self.members.read().is_empty()
    }
}

/// A page of pauses that this program does not make: Go's collector, always zero.
pub(crate) struct NoPauses;

impl Collect for NoPauses {
    fn lines(&self, name: &str, _: &str, out: &mut String) {
        for quantile in ["0", "0.25", "0.5", "0.75", "1"] {
            line(name, "", &format!("quantile=\"{quantile}\""), "0", out);
        }
        line(name, "_sum", "", "0", out);
        line(name, "_count", "", "0", out);
    }
}

fn line(name: &str, suffix: &str, labels: &str, value: &str, out: &mut String) {
    let _ = match labels {
        "" => writeln!(out, "{name}{suffix} {value}"),
        _ => writeln!(out, "{name}{suffix}{{{labels}}} {value}"),
    };
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"")
}

/// A number as Go's `%g`: plain up to six digits before the point, else with a two-digit exponent.
pub(crate) fn number(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>().unwrap_or(0) {
        e if e < -4 => format!("{digits}e-{:02}", -e),
        e if e >= 6 => format!("{digits}e+{e:02}"),
        _ => format!("{value}"),
    }
}
