//! Go's etcdctl, unmodified, prints the same against Balsa as against Go etcd.
//!
//! The same script runs against both servers, one after the other on the same ports, so that member and cluster ids are
//! equal. What differs by nature (times, lease ids, versions, sizes of files) is masked.
mod harness;
use harness::{Member, Ports, Printed, Reference, balsa, reference, run, run_until};
use std::path::Path;

/// One step of the script.
enum Step {
    /// Runs to its end.
    Run(&'static [&'static str], &'static str),
    /// Stopped after so many lines.
    Until(&'static [&'static str], usize),
}
use Step::{Run, Until};

/// `LEASE` stands for the lease granted last, `DIR` for a directory of the run's own.
fn script() -> Vec<Step> {
    let mut steps = vec![
        Run(&["put", "a", "1"], ""),
        Run(&["put", "a", "2"], ""),
        Run(&["put", "a", "3", "--prev-kv"], ""),
        Run(&["put", "b", "from an argument"], ""),
        Run(&["put", "c"], "from standard input"),
        Run(&["put", "dir/x", "10"], ""),
        Run(&["put", "dir/y", "20"], ""),
        Run(&["put", "dir/z", "15"], ""),
        Run(&["put", "dir/z", "16"], ""),
        Run(&["put", "bytes", "\u{1}\u{7f}é\n\t\"q\""], ""),
        Run(&["put", "nothing", ""], ""),
        Run(&["put", "", "empty key"], ""),
        Run(&["put", "no-such", "--ignore-value"], ""),
        Run(&["put", "a", "--ignore-value"], ""),
        Run(&["put", "a", "5", "--ignore-lease"], ""),
        Run(&["put", "a", "5", "--lease=123456"], ""),
        Run(&["get", "missing"], ""),
        Run(&["get", ""], ""),
    ];
    for format in ["simple", "json", "fields", "protobuf"] {
        let write = match format {
            "simple" => "-wsimple",
            "json" => "-wjson",
            "fields" => "-wfields",
            _ => "-wprotobuf",
        };
        for command in GETS {
            steps.push(Run(Vec::leak([&[write], *command].concat()), ""));
        }
    }
    steps.extend([
        Run(&["get", "a", "-wtable"], ""),
        Run(&["put", "a", "6", "-wjson"], ""),
        Run(&["put", "a", "7", "-wfields", "--prev-kv"], ""),
        Run(&["put", "a", "8", "-wprotobuf", "--prev-kv"], ""),
        Run(
            &["txn"],
            "value(\"a\") = \"8\"\nmod(\"b\") > \"0\"\n\nput a 9\nget a\nget --prefix dir\n\nput a wrong\n\n",
        ),
        Run(&["txn", "-wjson"], "value(\"a\") = \"no\"\n\nput a wrong\n\ndel b\nput b again\nget b\n\n"),
        Run(&["txn", "-wjson"], "value(\"a\") = \"no\"\n\nput a wrong\n\nget b\ndel c\n\n"),
        Run(&["txn", "-wfields"], "create(\"new\") = \"0\"\n\nput new 1\nget new\n\nget new\n\n"),
        Run(&["txn", "-wprotobuf"], "version(\"new\") = \"1\"\n\nput other 1\nget new\n\nget new\n\n"),
        Run(&["txn"], "create(\"new\") > \"0\"\n\nput twice 1\nput twice 2\n\n\n"),
        Run(&["del", "missing"], ""),
        Run(&["del", "dir/x", "--prev-kv"], ""),
        Run(&["del", "dir/", "--prefix", "-wjson", "--prev-kv"], ""),
        Run(&["del", "b", "d", "-wfields"], ""),
        Run(&["del", "--from-key", "new", "-wprotobuf"], ""),
        Run(&["del", ""], ""),
        Until(&["watch", "a", "--rev=1"], 12),
        Until(&["watch", "a", "--rev=1", "--prev-kv"], 12),
        Until(&["watch", "dir/", "--prefix", "--rev=1", "-wjson"], 1),
        Until(&["watch", "", "--prefix", "--rev=1", "--prev-kv", "-wfields"], 40),
        Until(&["watch", "bytes", "zzz", "--rev=3", "-wprotobuf"], 1),
        Until(&["watch", "b", "d", "--rev=3"], 12),
        Run(&["endpoint", "hashkv", "-wjson"], ""),
        Run(&["endpoint", "hashkv", "--rev=2"], ""),
        Run(&["endpoint", "hashkv", "--rev=12", "-wjson"], ""),
        Run(&["compaction", "8"], ""),
        Run(&["compaction", "8"], ""),
        Run(&["compaction", "5", "-wjson"], ""),
        Run(&["compaction", "100000"], ""),
        Run(&["compact", "9", "--physical"], ""),
        Run(&["get", "a", "--rev=4"], ""),
        Run(&["get", "a", "--rev=9"], ""),
        Run(&["get", "a", "--rev=100000"], ""),
        Run(&["watch", "a", "--rev=2"], ""),
        Run(&["watch", "a", "--rev=2", "-wjson"], ""),
        Run(&["endpoint", "hashkv"], ""),
        Run(&["endpoint", "hashkv", "-wjson"], ""),
        Run(&["endpoint", "hashkv", "--rev=10", "-wjson"], ""),
        Run(&["endpoint", "hashkv", "--rev=2"], ""),
        Run(&["endpoint", "hashkv", "--rev=100000"], ""),
        Run(&["lease", "list"], ""),
        Run(&["lease", "grant", "1000"], ""),
        Run(&["put", "leased1", "x", "--lease=LEASE"], ""),
        Run(&["lease", "timetolive", "LEASE", "--keys", "-wjson"], ""), // one key: Go lists several in random order
        Run(&["put", "leased2", "x", "--lease=LEASE"], ""),
        Run(&["put", "leased2", "y", "--ignore-lease"], ""),
        Run(&["get", "leased2", "-wfields"], ""),
        Run(&["lease", "timetolive", "LEASE"], ""),
        Run(&["lease", "timetolive", "LEASE", "-wfields"], ""),
        Run(&["lease", "keep-alive", "--once", "LEASE"], ""),
        Run(&["lease", "keep-alive", "--once", "LEASE", "-wjson"], ""),
        Run(&["lease", "list"], ""),
        Run(&["lease", "list", "-wjson"], ""),
        Run(&["lease", "list", "-wfields"], ""),
        Run(&["lease", "revoke", "LEASE"], ""),
        Run(&["lease", "revoke", "LEASE"], ""),
        Run(&["lease", "timetolive", "LEASE"], ""),
        Run(&["lease", "keep-alive", "--once", "LEASE"], ""),
        Run(&["get", "leased", "--prefix"], ""),
        Run(&["lease", "grant", "0"], ""),
        Run(&["lease", "grant", "10000000000"], ""),
        Run(&["lease", "grant", "1000", "-wjson"], ""),
        Run(&["lease", "grant", "1000", "-wfields"], ""),
        Run(&["endpoint", "health"], ""),
        Run(&["endpoint", "health", "-wjson"], ""),
        Run(&["endpoint", "health", "-wtable"], ""),
        Run(&["endpoint", "status"], ""),
        Run(&["endpoint", "status", "-wjson"], ""),
        Run(&["endpoint", "status", "-wtable"], ""),
        Run(&["endpoint", "status", "-wfields"], ""),
        Run(&["alarm", "list"], ""),
        Run(&["alarm", "list", "-wjson"], ""),
        Run(&["alarm", "disarm"], ""),
        Run(&["defrag"], ""),
        Run(&["snapshot", "save", "DIR/snap"], ""),
        Run(&["snapshot", "status", "DIR/snap", "-wjson"], ""),
        Run(&["member", "list"], ""),
        Run(&["member", "list", "-wjson"], ""),
        Run(&["member", "list", "-wtable"], ""),
        Run(&["member", "list", "-wfields"], ""),
        Run(&["member", "list", "--hex", "-wjson"], ""),
        Run(&["member", "remove", "1"], ""),
        Run(&["member", "promote", "1"], ""),
        Run(&["move-leader", "1"], ""),
        Run(&["lock", "name", "echo", "held"], ""),
        Until(&["lock", "name"], 1),
        Until(&["elect", "race", "runner"], 2),
        Run(&["auth", "status"], ""),
        Run(&["auth", "enable"], ""),
        Run(&["user", "list"], ""),
        Run(&["user", "get", "nobody"], ""),
        Run(&["user", "add", "alice:secret"], ""),
        Run(&["user", "list"], ""),
        Run(&["role", "add", "reader"], ""),
        Run(&["role", "grant-permission", "reader", "read", "a", "b"], ""),
        Run(&["role", "get", "reader"], ""),
        Run(&["user", "grant-role", "alice", "reader"], ""),
        Run(&["user", "get", "alice"], ""),
        Run(&["role", "revoke-permission", "reader", "a", "b"], ""),
        Run(&["user", "delete", "alice"], ""),
        Run(&["role", "delete", "reader"], ""),
        Run(&["role", "list"], ""),
    ]);
    steps
}

/// Every one of these in every output format.
const GETS: &[&[&str]] = &[
    &["get", "a"],
    &["get", "bytes"],
    &["get", "nothing"],
    &["get", "missing"],
    &["get", "dir/", "--prefix"],
    &["get", "", "--prefix", "--limit=3"],
    &["get", "--from-key", "c"],
    &["get", "b", "d"],
    &["get", "a", "--rev=3"],
    &["get", "dir/", "--prefix", "--rev=8"],
    &["get", "dir/", "--prefix", "--keys-only"],
    &["get", "dir/", "--prefix", "--count-only"],
    &["get", "", "--prefix", "--sort-by=VALUE", "--order=ASCEND"],
    &["get", "", "--prefix", "--sort-by=CREATE", "--order=DESCEND"],
    &["get", "", "--prefix", "--sort-by=MODIFY", "--order=DESCEND", "--limit=2"],
    &["get", "", "--prefix", "--sort-by=KEY", "--order=DESCEND"],
    &["get", "a", "--consistency=s"],
    &["get", "a", "--print-value-only"],
];

fn transcript(server: &Path, tools: &Reference, ports: Ports, more: &[String]) -> Vec<(String, Printed)> {
    let dir = tempfile::tempdir().expect("temporary directory");
    let member = Member::start(server, &dir.path().join("data"), ports, more);
    let endpoint = format!("--endpoints={}", ports.endpoint());
    let mut lease = String::from("1");
    let mut lines = Vec::new();
    for step in script() {
        let (args, name) = match &step {
            Run(args, _) | Until(args, _) => (args, args.join(" ")),
        };
        let place = dir.path().display().to_string();
        let filled: Vec<String> =
            args.iter().map(|a| a.replace("LEASE", &lease).replace("DIR", &place)).collect();
        let mut all: Vec<&str> = vec![&endpoint];
        all.extend(filled.iter().map(String::as_str));
        let printed = match step {
            Run(_, input) => run(&tools.etcdctl, &all, input),
            Until(_, lines) => run_until(&tools.etcdctl, &all, lines),
        };
        if let Some(id) = String::from_utf8_lossy(&printed.out)
            .strip_prefix("lease ")
            .filter(|_| args.get(1) == Some(&"grant"))
        {
            lease = id.split(' ').next().expect("split gives one").to_string();
        }
        let more: &[(&str, &str)] = match (args[0], *args.get(1).unwrap_or(&"")) {
            ("lease", "grant") => &[("\"ID\":", ","), ("\"ID\" : ", "\n")],
            ("snapshot", "status") => &[("\"hash\":", ",")], // covers lease ids
            _ => &[],
        };
        lines.push((name, mask(printed, &lease, &place, more)));
    }
    drop(member);
    lines
}

/// Takes out what differs by nature. Each rule names what it hides.
fn mask(printed: Printed, lease: &str, place: &str, more: &[(&str, &str)]) -> Printed {
    let lease_decimal = i64::from_str_radix(lease, 16).unwrap_or(0).to_string();
    let clean = |text: &str| {
        let mut text = text.replace(place, "DIR");
        if lease.len() > 8 {
            text = text.replace(lease, "LEASE").replace(&lease_decimal, "LEASE");
        }
        for (before, stop) in MASKED.iter().chain(more) {
            text = mask_after(&text, before, stop);
        }
        text.lines().map(mask_line).collect::<Vec<_>>().join("\n")
    };
    let out = match std::str::from_utf8(&printed.out) {
        Ok(text) if !text.contains('\0') => clean(text).into_bytes(),
        _ => printed.out,
    };
    Printed { out, err: clean(&printed.err), code: printed.code }
}

/// (text before the value, characters that end it): times, file sizes, file hashes, versions, lease ids and the time left,
/// raft indexes (members publish themselves in different entries).
const MASKED: &[(&str, &str)] = &[
    ("took ", "\n"),
    ("took\":\"", "\""),
    ("took = ", "\n"),
    ("took too long (", ")"),
    ("\"ts\":", ","),
    ("\"size\":\"", "\""),
    ("name/", "\n"),
    ("race/", "\n"),
    ("dbSize\":", ",}"),
    ("dbSizeInUse\":", ",}"),
    ("totalSize\":", ",}"),
    ("totalKey\":", ",}"),
    ("\"DBSize\" : ", "\n"),
    ("\"DBSizeInUse\" : ", "\n"),
    ("\"version\":\"", "\""),
    ("\"Version\" : ", "\n"),
    ("raftIndex\":", ",}"),
    ("raftAppliedIndex\":", ",}"),
    ("\"RaftIndex\" : ", "\n"),
    ("\"RaftAppliedIndex\" : ", "\n"),
    ("remaining(", ")"),
    ("\"ttl\":", ",}"),
    ("\"TTL\" : ", "\n"),
    ("lease keepalived with TTL(", ")"),
    ("LocalAddr: '", "'"),
    ("endpoint\":\"etcd-endpoints://", "/"),
    ("target\":\"etcd-endpoints://", "/"),
];

fn mask_after(text: &str, before: &str, stop: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(before) {
        let (head, tail) = rest.split_at(at + before.len());
        out.push_str(head);
        out.push_str("MASKED");
        let end = tail.find(|c| stop.contains(c)).unwrap_or(tail.len());
        rest = &tail[end..];
    }
    out.push_str(rest);
    out
}

/// Rows of `endpoint status` (simple and table) carry sizes, versions and indexes; ids of leases stand alone in a line.
fn mask_line(line: &str) -> String {
    let line = &line.replace('│', "|").replace(['─', '┬', '┼', '┴'], "-").replace(['┌', '├', '└'], "+--");
    if line.starts_with("+--") || line.starts_with("|  ") {
        return line.replace("-", "").replace(' ', ""); // width of a column that is masked
    }
    let bar = if line.starts_with('|') { '|' } else { ',' };
    let cells: Vec<&str> = line.split(bar).collect();
    if line.contains("127.0.0.1:") && cells.iter().any(|c| c.trim().ends_with('B')) {
        return cells.iter().map(|c| mask_cell(c)).collect::<Vec<_>>().join("|");
    }
    if line.contains("127.0.0.1:")
        && cells.iter().any(|c| c.trim().ends_with("ms") || c.trim().ends_with("µs"))
    {
        return cells
            .iter()
            .map(|c| if c.contains("ms") || c.contains("µs") { "MASKED" } else { c.trim() })
            .collect::<Vec<_>>()
            .join("|");
    }
    let id = |word: &str| word.len() >= 15 && word.chars().all(|c| c.is_ascii_hexdigit());
    let words: Vec<&str> = line.split(' ').collect();
    words.iter().map(|w| if id(w) { "ID" } else { w }).collect::<Vec<_>>().join(" ")
}

fn mask_cell(cell: &str) -> String {
    let cell = cell.trim();
    let number = cell.chars().all(|c| c.is_ascii_digit() || c == '.');
    // And the share of the file that is not in use, which 3.7 adds.
    let size = [" kB", " MB", "%"].iter().any(|unit| cell.ends_with(unit));
    if number || size { "MASKED".into() } else { cell.into() }
}

fn compare(reference: &Reference, ours: &[String]) {
    let ports = Ports::free();
    let expected = transcript(&reference.etcd, reference, ports, &[]);
    let printed = transcript(&balsa(), reference, ports, ours);
    let mut differences = Vec::new();
    for ((name, go), (_, balsa)) in expected.iter().zip(&printed) {
        if go != balsa {
            differences.push(format!(
                "etcdctl {name}\n  etcd:  {:?} {:?} {:?}\n  balsa: {:?} {:?} {:?}",
                go.code,
                String::from_utf8_lossy(&go.out),
                go.err,
                balsa.code,
                String::from_utf8_lossy(&balsa.out),
                balsa.err
            ));
        }
    }
    assert_eq!(expected.len(), printed.len());
    assert!(
        differences.is_empty(),
        "{} of {} commands differ\n{}",
        differences.len(),
        expected.len(),
        differences.join("\n")
    );
}

#[test]
fn every_command_of_etcdctl_prints_the_same_as_against_go_etcd() {
    let reference = reference();
    compare(reference, &reference.emulation());
}

/// What `check perf` judges, and how: the figures are dropped, and so is the progress bar.
fn perf(server: &Path, tools: &Reference, more: &[String]) -> Vec<(String, String)> {
    let dir = tempfile::tempdir().expect("temporary directory");
    let member = Member::start(server, &dir.path().join("data"), Ports::free(), more);
    let endpoint = format!("--endpoints={}", member.ports.endpoint());
    let printed = run(&tools.etcdctl, &[&endpoint, "check", "perf"], "");
    let text = String::from_utf8_lossy(&printed.out).into_owned();
    // The first verdict may stand behind the end of the bar; one on the slowest request that is not PASS has no FAIL.
    let subject = |line: &str| ["Throughput", "Slowest", "Stddev"].into_iter().find(|of| line.contains(of));
    let verdicts: Vec<(String, String)> = text
        .split(['\r', '\n'])
        .filter(|line| subject(line).is_some() || matches!(*line, "PASS" | "FAIL"))
        .map(|line| {
            let verdict = if line.contains("PASS") { "PASS" } else { "FAIL" };
            (verdict.to_owned(), subject(line).unwrap_or_default().to_owned())
        })
        .collect();
    let passed = verdicts.iter().all(|(verdict, _)| verdict == "PASS");
    assert_eq!(printed.code == Some(0), passed, "{text}{}", printed.err);
    // Younger ones draw the bar here, and warn of a variable that older ones need.
    let expected = ["Error", " p/s", "ETCDCTL_API"];
    let unexpected = |line: &&str| !expected.iter().any(|text| line.contains(text));
    assert_eq!(printed.err.lines().find(unexpected), None, "on standard error");
    let left = run(&tools.etcdctl, &[&endpoint, "get", "--prefix", "--keys-only", "/"], "");
    assert_eq!(String::from_utf8_lossy(&left.out), "", "what the check wrote is deleted");
    verdicts
}

/// The verdicts on latency say more about the machine than about the server, so only those on throughput are compared.
#[test]
fn check_perf_of_etcdctl_judges_throughput_as_against_go_etcd() {
    let reference = reference();
    let (go, ours) = std::thread::scope(|scope| {
        let go = scope.spawn(|| perf(&reference.etcd, reference, &[]));
        let ours = perf(&balsa(), reference, &reference.emulation());
        (go.join().expect("the run against Go etcd"), ours)
    });
    let judged = |all: &[(String, String)]| all.iter().map(|(_, of)| of.clone()).collect::<Vec<_>>();
    assert_eq!(judged(&ours), ["Throughput", "Slowest", "Stddev", ""], "{ours:?}");
    assert_eq!(judged(&ours), judged(&go));
    // A machine too busy for one may be too busy for both.
    assert!(ours[0].0 == "PASS" || go[0].0 != "PASS", "{ours:?} beside {go:?}");
}
