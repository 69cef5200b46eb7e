//! `etcdctl check perf`: a minute of writes, and whether the cluster kept up.
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use client::{Client, range};
use proto::etcdserverpb::{CompactionRequest, DefragmentRequest, DeleteRangeRequest, PutRequest};

use crate::call::{Call, Session};
use crate::command::{Command, PLAIN};
use crate::failure::{Failure, code};
use crate::flag::{Kind, flag};
use crate::{golang, help};

pub static COMMAND: Command = Command {
    usage: "check <subcommand>",
    group: help::UTILITY,
    about: "Measurements of the cluster. Use `etcdctl check --help` to see subcommands",
    details: "Measurements of the cluster",
    below: &[&PERF],
    ..PLAIN
};

static PERF: Command = Command {
    usage: "perf [options]",
    about: "Write for 60 s and judge throughput and latency",
    flags: &[
        flag("auto-compact", Kind::Bool, "false", "compact the history afterwards"),
        flag("auto-defrag", Kind::Bool, "false", "defragment the members at --endpoints afterwards"),
        flag("load", Kind::Text, "s", "how much to write: s (small), m (medium), l (large) or xl (xLarge)"),
        flag("prefix", Kind::Text, "/etcdctl-check-perf/", "where to write; must hold no keys"),
    ],
    run: Some(|call| Box::pin(perf(call))),
    ..PLAIN
};

const DURATION: Duration = Duration::from_secs(60);
const KEY_BYTES: usize = 256;
const VALUE_BYTES: usize = 1024;
/// Share of the offered load that must come through.
const THROUGHPUT_MIN: f64 = 0.9;
const SLOWEST_MAX_S: f64 = 0.5;
const STDDEV_MAX_S: f64 = 0.1;

/// What is offered.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Load {
    writes_per_second: u32,
    clients: u32,
}

impl Load {
    fn parse(text: &str) -> Option<Load> {
        let (writes_per_second, clients) = match text {
            "s" | "small" => (150, 50),
            "m" | "medium" => (1000, 200),
            "l" | "large" => (8000, 500),
            "xl" | "xLarge" => (15000, 1000),
            _ => return None,
        };
        Some(Load { writes_per_second, clients })
    }
}

async fn perf(mut call: Call) -> Result<(), Failure> {
    let load = Load::parse(call.flags.text("load")).ok_or_else(|| {
        let text = format!("unknown load option {}", call.flags.text("load"));
        Failure::new(code::BAD_FEATURE, text)
    })?;
    let session = call.session().await?;
    let prefix = Bytes::from(call.flags.text("prefix").to_owned());
    let (key, range_end) = range::prefix(&prefix);
    let mut question = range::key(key.clone());
    question.range_end.clone_from(&range_end);
    question.limit = 1;
    if !session.client.range(question).await?.kvs.is_empty() {
        let text = format!(
            "prefix {} has keys. Delete with 'etcdctl del --prefix {}' first.",
            golang::quote(&prefix),
            String::from_utf8_lossy(&prefix)
        );
        return Err(Failure::new(code::BAD_INPUT, text));
    }
    let report = write(&session, load, &prefix).await;
    let unlimited = session.client.clone().with_timeout(None);
    let deleted = unlimited
        .delete_range(DeleteRangeRequest { key, range_end, ..DeleteRangeRequest::default() })
        .await?;
    let revision = deleted.header.map_or(0, |header| header.revision);
    if call.flags.is_on("auto-compact") {
        println!("Compacting with revision {revision}");
        unlimited.compact(CompactionRequest { revision, physical: true }).await?;
        println!("Compacted with revision {revision}");
    }
    if call.flags.is_on("auto-defrag") {
        for endpoint in session.client.endpoints() {
            let shown = golang::quote(endpoint.as_bytes());
            println!("Defragmenting {shown}");
            unlimited.at(endpoint).defragment(DefragmentRequest {}).await?;
            println!("Defragmented {shown}");
        }
    }
    let (lines, passed) = report.verdict(load);
    lines.iter().for_each(|line| println!("{line}"));
    println!("{}", if passed { "PASS" } else { "FAIL" });
    if passed { Ok(()) } else { Err(Failure::silent(code::GENERAL)) }
}

/// What the writers saw.
#[derive(Default)]
struct Report {
    /// Of each write that was answered.
    latencies_s: Vec<f64>,
    errors: BTreeMap<String, usize>,
    took_s: f64,
}

/// Offers the load evenly spread over the time: each client writes at its own moments, later ones at once when it is
/// behind.
async fn write(session: &Session, load: Load, prefix: &Bytes) -> Report {
    let start = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..load.clients {
        clients.spawn(write_as(session.client.clone(), load, number, prefix.clone(), start));
    }
    let mut report = Report::default();
    let mut second = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = second.tick() => progress(start.elapsed()),
            ended = clients.join_next() => match ended {
                Some(Ok(part)) => report.add(part),
                Some(Err(error)) => *report.errors.entry(error.to_string()).or_default() += 1,
                None => break,
            },
        }
    }
    progress(start.elapsed());
    eprintln!();
    report.took_s = start.elapsed().as_secs_f64();
    report
}

async fn write_as(client: Client, load: Load, number: u32, prefix: Bytes, start: Instant) -> Report {
    let mut report = Report::default();
    let mut turn = number;
    let value = Bytes::from(vec![b'v'; VALUE_BYTES]);
    loop {
        let due = Duration::from_secs(1) * turn / load.writes_per_second;
        if due >= DURATION || start.elapsed() >= DURATION {
            return report;
        }
        tokio::time::sleep_until((start + due).into()).await;
        let request = PutRequest { key: key(&prefix, turn), value: value.clone(), ..PutRequest::default() };
        let sent = Instant::now();
        match client.put(request).await {
            Ok(_) => report.latencies_s.push(sent.elapsed().as_secs_f64()),
            Err(error) => *report.errors.entry(error.to_string()).or_default() += 1,
        }
        turn += load.clients;
    }
}

/// The prefix, then the number of the write in [`KEY_BYTES`] digits.
fn key(prefix: &[u8], number: u32) -> Bytes {
    let mut key = prefix.to_vec();
    key.extend(format!("{number:0KEY_BYTES$}").into_bytes());
    key.into()
}

/// A bar on stderr, drawn over itself.
fn progress(elapsed: Duration) {
    const WIDTH: usize = 40;
    let percent = (elapsed.as_secs() * 100 / DURATION.as_secs()).min(100);
    let done = usize::try_from(percent).unwrap_or(0) * WIDTH / 100;
    eprint!("\r[{}{}] {percent:3}% {}s ", "=".repeat(done), "-".repeat(WIDTH - done), elapsed.as_secs());
}

impl Report {
    fn add(&mut self, part: Report) {
        self.latencies_s.extend(part.latencies_s);
        for (error, count) in part.errors {
            *self.errors.entry(error).or_default() += count;
        }
    }

    /// The lines to print, and whether all of them are good.
    #[allow(clippy::cast_precision_loss)] // counts are far below 2^52
    fn verdict(&self, load: Load) -> (Vec<String>, bool) {
        let mut lines = Vec::new();
        let mut passed = self.errors.is_empty();
        if !passed {
            lines.push("FAIL: too many errors".to_owned());
            lines.extend(self.errors.iter().map(|(error, count)| format!("FAIL: ERROR({error}) -> {count}")));
        }
        let count = self.latencies_s.len() as f64;
        let throughput = if self.took_s > 0.0 { count / self.took_s } else { 0.0 };
        if throughput >= THROUGHPUT_MIN * f64::from(load.writes_per_second) {
            // Truncated, as etcdctl does.
            lines.push(format!("PASS: Throughput is {} writes/s", throughput.trunc()));
        } else {
            passed = false;
            lines.push(format!("FAIL: Throughput too low: {} writes/s", throughput.trunc()));
        }
        let slowest = self.latencies_s.iter().copied().fold(0.0, f64::max);
        if slowest > SLOWEST_MAX_S {
            passed = false;
            lines.push(format!("Slowest request took too long: {slowest:.6}s"));
        } else {
            lines.push(format!("PASS: Slowest request took {slowest:.6}s"));
        }
        let mean = if count > 0.0 { self.latencies_s.iter().sum::<f64>() / count } else { 0.0 };
        let squares: f64 = self.latencies_s.iter().map(|latency| (latency - mean).powi(2)).sum();
        let stddev = if count > 0.0 { (squares / count).sqrt() } else { 0.0 };
        if stddev > STDDEV_MAX_S {
            passed = false;
            lines.push(format!("Stddev too high: {stddev:.6}s"));
        } else {
            lines.push(format!("PASS: Stddev is {stddev:.6}s"));
        }
        (lines, passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Load = Load { writes_per_second: 150, clients: 50 };

    #[test]
    fn loads_have_short_and_long_names() {
        assert_eq!(Load::parse("small"), Some(SMALL));
        assert_eq!(Load::parse("xLarge"), Load::parse("xl"));
        assert_eq!(Load::parse("huge"), None);
    }

    #[test]
    fn a_cluster_that_keeps_up_passes() {
        let report = Report { latencies_s: vec![0.01; 9000], took_s: 60.0, ..Report::default() };
        let (lines, passed) = report.verdict(SMALL);
        assert!(passed);
        assert_eq!(
            lines,
            [
                "PASS: Throughput is 150 writes/s",
                "PASS: Slowest request took 0.010000s",
                "PASS: Stddev is 0.000000s"
            ]
        );
    }

    #[test]
    fn each_shortcoming_fails_the_check_and_is_named() {
        let mut report = Report { latencies_s: vec![0.0, 0.9], took_s: 60.0, ..Report::default() };
        report.errors.insert("no leader".to_owned(), 3);
        let (lines, passed) = report.verdict(SMALL);
        assert!(!passed);
        assert_eq!(
            lines,
            [
                "FAIL: too many errors",
                "FAIL: ERROR(no leader) -> 3",
                "FAIL: Throughput too low: 0 writes/s",
                "Slowest request took too long: 0.900000s",
                "Stddev too high: 0.450000s"
            ]
        );
    }
}
