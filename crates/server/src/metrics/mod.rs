//! Metrics in Prometheus text, by the names etcd uses.
//!
//! Door: [`Metrics`], one field per metric, named as the metric is; [`Metrics::text`] is the page. Everything is
//! atomic: counting never waits. `names.rs` is the one list; to add a metric, add a row there. Labels of a family are
//! given in the order of their names in the row, which is the order of the page.
//!
//! ```
//! let metrics = server::metrics::Metrics::new();
//! metrics.etcd_mvcc_put_total.add(1);
//! metrics.etcd_server_version.with(&["3.7.1"]).set(1.0);
//! assert!(metrics.text().contains("\netcd_mvcc_put_total 1\n"));
//! ```
mod grpc;
mod names;
mod process;
mod value;

pub use grpc::{CODES, METHODS, Method};
pub use names::Metrics;
pub use value::{Counter, Family, Gauge, Histogram};

use std::fmt::Write;

/// What the first two lines of a metric say.
pub(crate) struct Head {
    pub name: &'static str,
    pub kind: &'static str,
    pub help: &'static str,
}

impl Metrics {
    /// The page: every metric that has a value, by name.
    pub fn text(&self) -> String {
        let mut out = String::with_capacity(128 * 1024);
        process::refresh(self);
        for (head, metric) in self.all() {
            // A family without members is left out, as in Go.
            if metric.is_empty() {
                continue;
            }
            let _ = writeln!(out, "# HELP {} {}\n# TYPE {} {}", head.name, head.help, head.name, head.kind);
            metric.collect(head.name, &mut out);
        }
        out
    }
}

#[cfg(test)]
mod tests;
