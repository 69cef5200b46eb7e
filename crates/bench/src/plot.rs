//! Plots of a report, as SVG: how far ours is ahead, and latencies.
use std::fmt::Write;
use std::path::Path;

use crate::Result;
use crate::report::{Better, Report, digits};

/// What the first plot shows: scenario, figure, label.
#[rustfmt::skip]
const AHEAD: &[(&str, &str, &str)] = &[
    ("put-many", "server CPU, µs per operation", "put, 1000 clients: server CPU"),
    ("put-many", "operations per second", "put, 1000 clients: throughput"),
    ("put-one", "server CPU, µs per operation", "put, one client: server CPU"),
    ("put-one", "p50, µs", "put, one client: p50"),
    ("get-lin-many", "server CPU, µs per operation", "linearizable get, 1000 clients: server CPU"),
    ("get-lin-one", "p50, µs", "linearizable get, one client: p50"),
    ("get-ser-many", "server CPU, µs per operation", "serializable get, 1000 clients: server CPU"),
    ("get-ser-one", "p50, µs", "serializable get, one client: p50"),
    ("cluster-put-leader", "server CPU, µs per operation", "3 members, puts to the leader: server CPU of all"),
    ("cluster-put-leader", "operations per second", "3 members, puts to the leader: throughput"),
    ("cluster-put-all", "server CPU, µs per operation", "3 members, puts to all: server CPU of all"),
    ("cluster-put-all", "operations per second", "3 members, puts to all: throughput"),
    ("cluster-put-one", "p50, µs", "3 members, put, one client: p50"),
    ("cluster-get-all", "server CPU, µs per operation", "3 members, linearizable gets: server CPU of all"),
    ("cluster-get-all", "operations per second", "3 members, linearizable gets: throughput"),
    ("page", "server CPU, µs per operation", "page of 500 out of 1 M keys: server CPU"),
    ("count", "server CPU, µs per operation", "count of 1 M keys: server CPU"),
    ("list10k", "server CPU, µs per operation", "list of 10,000 keys of 1 KB: server CPU"),
    ("list-big", "server CPU, ms", "list of 1 GB: server CPU"),
    ("list-big", "anonymous memory above before, at its peak, MiB", "list of 1 GB: memory added"),
    ("idle", "resident, MiB", "idle: resident memory"),
    ("idle", "server CPU, ms per second", "idle: server CPU"),
    ("fill", "server CPU, µs per operation", "filling with 1 M keys: server CPU"),
    ("fill", "resident after, MiB", "1 M keys: resident memory"),
    ("restart", "until healthy, ms", "restart on 1 M keys: time"),
    ("watch-1k", "events per second of server CPU", "1,000 watchers: events per CPU second"),
    ("watch-10k", "events per second of server CPU", "10,000 watchers: events per CPU second"),
    ("watch-history", "events per second of server CPU", "history of 1 M events: events per CPU second"),
    ("put-watched", "server CPU, µs per put: 10,000 watchers of a key each", "put, 10,000 watch a key each: server CPU"),
    ("keepalive", "server CPU, µs per operation", "lease keep-alive: server CPU"),
    ("stalls", "p99.9 during HashKV, ms", "put p99.9 during HashKV, 2 GB"),
    ("stalls", "p99.9 during a snapshot, ms", "put p99.9 during a snapshot, 2 GB"),
    ("stalls", "p99.9 during a compaction, ms", "put p99.9 during a compaction, 2 GB"),
    ("stalls", "p99.9 during a defragmentation, ms", "put p99.9 during a defragmentation, 2 GB"),
    ("overload", "20,000 clients: accepted, p99, ms", "20,000 clients: p99 of what is accepted"),
    ("overload", "/health meanwhile, longest, ms", "overload: longest /health"),
];

/// What the second plot shows: scenario, its figures from low to high, what they are in µs, label.
#[rustfmt::skip]
const LATENCY: &[(&str, &[&str], f64, &str)] = &[
    ("put-many", &["p50, µs", "p99, µs", "p99.9, µs"], 1.0, "put, 1000 clients"),
    ("put-one", &["p50, µs", "p99, µs"], 1.0, "put, one client"),
    ("get-lin-many", &["p50, µs", "p99, µs", "p99.9, µs"], 1.0, "linearizable get, 1000 clients"),
    ("get-lin-one", &["p50, µs", "p99, µs", "p99.9, µs"], 1.0, "linearizable get, one client"),
    ("get-ser-many", &["p50, µs", "p99, µs", "p99.9, µs"], 1.0, "serializable get, 1000 clients"),
    ("get-ser-one", &["p50, µs", "p99, µs", "p99.9, µs"], 1.0, "serializable get, one client"),
    ("cluster-put-leader", &["p50, µs", "p99, µs", "p99.9, µs"], 1.0, "3 members, put, 1000 clients of the leader"),
    ("cluster-put-all", &["p50, µs", "p99, µs", "p99.9, µs"], 1.0, "3 members, put, 1000 clients of all"),
    ("cluster-put-one", &["p50, µs", "p99, µs"], 1.0, "3 members, put, one client"),
    ("cluster-get-all", &["p50, µs", "p99, µs", "p99.9, µs"], 1.0, "3 members, linearizable get, 1000 clients of all"),
    ("keepalive", &["p50, µs", "p99, µs", "p99.9, µs"], 1.0, "keep-alive, 1000 clients"),
    ("watch-1k", &["until all watchers have an event, p50, ms", "until all watchers have an event, p99, ms"], 1e3, "event to 1,000 watchers"),
    ("watch-10k", &["until all watchers have an event, p50, ms", "until all watchers have an event, p99, ms"], 1e3, "event to 10,000 watchers"),
    ("stalls", &["p99.9 with nothing else, ms", "longest put with nothing else, ms"], 1e3, "put on 2 GB (p99.9, longest)"),
    ("stalls", &["p99.9 during HashKV, ms", "longest put during HashKV, ms"], 1e3, "… during HashKV"),
    ("stalls", &["p99.9 during a snapshot, ms", "longest put during a snapshot, ms"], 1e3, "… during a snapshot"),
    ("stalls", &["p99.9 during a compaction, ms", "longest put during a compaction, ms"], 1e3, "… during a compaction"),
    ("stalls", &["p99.9 during a defragmentation, ms", "longest put during a defragmentation, ms"], 1e3, "… during a defragmentation"),
    ("list-big", &["p99.9 during a list, ms", "longest put during a list, ms"], 1e3, "… during a list of 1 GB"),
];

const WIDTH: f64 = 900.0;
/// Where the axis begins and ends.
const LEFT: f64 = 330.0;
const RIGHT: f64 = 840.0;
const TOP: f64 = 56.0;
const OURS: &str = "#2f6f4f";
const OTHER: &str = "#8a5a9e";
const BEHIND: &str = "#b0413e";

/// Writes `ahead.svg` and `latency.svg`.
pub fn write(report: &Report, dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir)?;
    std::fs::write(dir.join("ahead.svg"), ahead(report))?;
    std::fs::write(dir.join("latency.svg"), latency(report))?;
    Ok(())
}

/// A logarithmic axis.
struct Axis {
    from: f64,
    to: f64,
}

impl Axis {
    /// Reaches over all values, from one power of ten to another.
    fn over(values: impl Iterator<Item = f64>) -> Axis {
        let (mut from, mut to) = (f64::MAX, f64::MIN);
        for value in values.filter(|value| *value > 0.0) {
            (from, to) = (from.min(value), to.max(value));
        }
        if from > to {
            (from, to) = (1.0, 1.0);
        }
        Axis { from: from.log10().floor(), to: to.log10().ceil().max(from.log10().floor() + 1.0) }
    }

    fn at(&self, value: f64) -> f64 {
        let share = (value.max(f64::MIN_POSITIVE).log10() - self.from) / (self.to - self.from);
        LEFT + share.clamp(0.0, 1.0) * (RIGHT - LEFT)
    }

    /// The powers of ten.
    fn marks(&self) -> impl Iterator<Item = f64> {
        (self.from as i32..=self.to as i32).map(|power| 10f64.powi(power))
    }
}

fn ahead(report: &Report) -> String {
    let ratio = |scenario: &str, figure: &str| {
        let (ours, other) = (report.median(scenario, 0, figure)?, report.median(scenario, 1, figure)?);
        let ratio = match report.better(scenario, figure)? {
            Better::More => ours / other,
            _ => other / ours,
        };
        (ratio.is_finite() && ratio > 0.0).then_some(ratio)
    };
    let rows: Vec<(&str, f64)> = AHEAD
        .iter()
        .filter_map(|(scenario, figure, label)| Some((*label, ratio(scenario, figure)?)))
        .collect();
    let axis = Axis::over(rows.iter().map(|row| row.1).chain([1.0]));
    let mut svg =
        Svg::new(report, "How many times better", rows.len() as f64 * 20.0, &axis, |v| format!("{v}×"));
    for (nth, (label, ratio)) in rows.iter().enumerate() {
        let y = TOP + 14.0 + nth as f64 * 20.0;
        let (one, end) = (axis.at(1.0), axis.at(*ratio));
        let colour = if *ratio < 1.0 { BEHIND } else { OURS };
        svg.label(y, label);
        svg.bar(one.min(end), (one - end).abs().max(1.0), y, colour);
        svg.text(one.max(end) + 4.0, y + 4.0, "start", &format!("{}×", digits(*ratio)));
    }
    svg.end()
}

fn latency(report: &Report) -> String {
    type Row<'a> = (&'a str, [Vec<f64>; 2]);
    let of = |scenario: &str, figures: &[&str], micros: f64, server| -> Vec<f64> {
        let medians = figures.iter().filter_map(|figure| report.median(scenario, server, figure));
        medians.map(|value| value * micros).collect()
    };
    let rows: Vec<Row<'_>> = LATENCY
        .iter()
        .map(|(scenario, figures, micros, label)| {
            (*label, [0, 1].map(|server| of(scenario, figures, *micros, server)))
        })
        .filter(|(_, [ours, _])| !ours.is_empty())
        .collect();
    let axis = Axis::over(rows.iter().flat_map(|(_, of)| of.iter().flatten().copied()));
    let unit = |micros: f64| match micros {
        m if m >= 1e6 => format!("{} s", m / 1e6),
        m if m >= 1e3 => format!("{} ms", m / 1e3),
        m => format!("{m} µs"),
    };
    let title = "Latency: p50, p99, p99.9";
    let mut svg = Svg::new(report, title, rows.len() as f64 * 30.0, &axis, unit);
    for (nth, (label, servers)) in rows.iter().enumerate() {
        let y = TOP + 14.0 + nth as f64 * 30.0;
        svg.label(y + 4.0, label);
        for (values, (offset, colour)) in servers.iter().zip([(0.0, OURS), (9.0, OTHER)]) {
            svg.dots(values, y + offset, &axis, colour);
        }
    }
    svg.end()
}

struct Svg {
    text: String,
}

impl Svg {
    fn new(report: &Report, title: &str, height: f64, axis: &Axis, mark: impl Fn(f64) -> String) -> Svg {
        let bottom = TOP + height + 8.0;
        let mut svg = Svg { text: String::new() };
        let _ = writeln!(
            svg.text,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>",
            bottom + 44.0
        );
        let servers = report.servers.join(" beside ");
        svg.text(12.0, 20.0, "start", &format!("{title}: {servers}"));
        for (server, (x, colour)) in report.servers.iter().zip([(LEFT, OURS), (LEFT + 160.0, OTHER)]) {
            let _ = writeln!(svg.text, "<circle cx=\"{x}\" cy=\"36\" r=\"4\" fill=\"{colour}\"/>");
            svg.text(x + 8.0, 40.0, "start", server);
        }
        for value in axis.marks() {
            let x = axis.at(value);
            let _ = writeln!(
                svg.text,
                "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\" stroke=\"#ccc\"/>"
            );
            svg.text(x, bottom + 14.0, "middle", &mark(value));
        }
        svg.text(12.0, bottom + 34.0, "start", &report.about.to_string());
        svg
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        let _ = writeln!(self.text, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>");
    }

    fn label(&mut self, y: f64, label: &str) {
        self.text(LEFT - 10.0, y + 4.0, "end", label);
    }

    fn bar(&mut self, x: f64, width: f64, y: f64, colour: &str) {
        let y = y - 6.0;
        let _ = writeln!(
            self.text,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"12\" fill=\"{colour}\"/>"
        );
    }

    /// Values of one server, from low to high, on a line.
    fn dots(&mut self, values: &[f64], y: f64, axis: &Axis, colour: &str) {
        let (Some(first), Some(last)) = (values.first(), values.last()) else { return };
        let (from, to) = (axis.at(*first), axis.at(*last));
        let _ = writeln!(
            self.text,
            "<line x1=\"{from:.1}\" y1=\"{y:.1}\" x2=\"{to:.1}\" y2=\"{y:.1}\" stroke=\"{colour}\"/>"
        );
        for value in values {
            let x = axis.at(*value);
            let _ = writeln!(self.text, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
        }
    }

    fn end(self) -> String {
        self.text + "</svg>\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Figure, Sample};
    use crate::scenario::SCENARIOS;

    #[test]
    fn an_axis_spans_whole_powers_of_ten() {
        let axis = Axis::over([3.0, 40.0, 0.0].into_iter());
        assert_eq!(axis.marks().collect::<Vec<_>>(), [1.0, 10.0, 100.0]);
        assert_eq!([axis.at(1.0), axis.at(100.0)], [LEFT, RIGHT]);
    }

    #[test]
    fn plots_show_what_there_is_and_pass_over_the_rest() {
        let sample = |server, cpu| Sample {
            scenario: "put-many",
            server,
            round: 0,
            figures: vec![Figure::less("server CPU, µs per operation", cpu), Figure::less("p50, µs", cpu)],
        };
        let report = Report {
            servers: vec!["Balsa".into(), "Go".into()],
            samples: vec![sample(0, 9.0), sample(1, 81.0)],
            ..Report::default()
        };
        assert!(ahead(&report).contains(">9.00×<") && !ahead(&report).contains("restart"));
        assert!(latency(&report).contains("put, 1000 clients") && !latency(&report).contains("one client"));
    }

    #[test]
    fn every_row_names_a_scenario() {
        let known = |name: &str| SCENARIOS.iter().any(|scenario| scenario.name == name);
        assert!(AHEAD.iter().all(|row| known(row.0)) && LATENCY.iter().all(|row| known(row.0)));
    }
}
