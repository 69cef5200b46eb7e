//! The lines of etcd's log that programs and people look for come from Balsa, too: same level, text and fields. They are
//! in `testdata/surface/log-lines.tsv`; with `ETCD_GO` naming a Go etcd 3.7, the table is checked against that as well.
mod harness;
use harness::{Member, Ports, Reference, balsa, http_get, reference, run};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// What a member is asked to do, so that it has something to say.
const COMMANDS: &[&[&str]] = &[
    &["put", "a", "1"],
    &["put", "a", "2"],
    &["compaction", "3", "--physical"],
    &["user", "add", "root:r"],
    &["role", "add", "root"],
    &["user", "grant-role", "root", "root"],
    &["role", "add", "reader"],
    &["user", "add", "alice:secret"],
    &["user", "grant-role", "alice", "reader"],
    &["user", "grant-role", "alice", "reader"],
    &["role", "grant-permission", "reader", "readwrite", "a", "b"],
    &["role", "revoke-permission", "reader", "a", "b"],
    &["user", "passwd", "alice", "--interactive=false"],
    &["user", "revoke-role", "alice", "reader"],
    &["user", "delete", "alice"],
    &["role", "delete", "reader"],
    &["auth", "enable"],
    &["--user=root:r", "auth", "enable"],
    &["--user=root:r", "role", "delete", "root"],
    &["--user=root:r", "user", "delete", "root"],
    &["--user=root:r", "user", "revoke-role", "root", "root"],
    &["--user=root:wrong", "get", "a"],
    &["--user=root:r", "auth", "disable"],
    &["defrag"],
    &["member", "add", "other", "--learner", "--peer-urls=http://127.0.0.1:1"],
    &["member", "update", "OTHER", "--peer-urls=http://127.0.0.1:2"],
    &["member", "remove", "OTHER"],
];

/// Two lives of one member; its log.
fn log_of(server: &Path, tools: &Reference) -> Vec<Value> {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (data, ports) = (dir.path().join("data"), Ports::free());
    let member = Member::start(server, &data, ports, &[] as &[&str]);
    let endpoint = format!("--endpoints={}", ports.endpoint());
    let ctl = |args: &[&str]| {
        let all = [&[endpoint.as_str()], args].concat();
        String::from_utf8_lossy(&run(&tools.etcdctl, &all, "new\n").out).into_owned()
    };
    let mut other = String::new();
    for command in COMMANDS {
        let filled: Vec<&str> =
            command.iter().map(|word| if *word == "OTHER" { other.as_str() } else { word }).collect();
        let printed = ctl(&filled);
        if command.starts_with(&["member", "add"]) {
            // A short id stands behind more than one space: one in sixteen is.
            let id = printed.split_whitespace().nth(1);
            id.expect("the id of the member that was added").clone_into(&mut other);
        }
    }
    let saved = dir.path().join("saved");
    ctl(&["snapshot", "save", &saved.display().to_string()]);
    http_get(ports.client, "/readyz?exclude=nonsense");
    // What follows a compaction is logged beside the answer.
    std::thread::sleep(Duration::from_millis(200));
    member.stop();
    Member::start(server, &data, ports, &[] as &[&str]).stop();
    let text = std::fs::read_to_string(data.with_extension("log")).expect("its log");
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The text of a line, ids and numbers masked in those of raft.
fn masked(line: &Value) -> String {
    let text = line["msg"].as_str().unwrap_or_default();
    if line["logger"] != "raft" {
        return text.to_owned();
    }
    let mask = |word: &str| {
        if word.len() > 8 && word.bytes().all(|b| b.is_ascii_hexdigit()) {
            "<id>".to_owned()
        } else if !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit()) {
            "<n>".to_owned()
        } else {
            word.to_owned()
        }
    };
    let cut = text.split_inclusive(|c: char| !c.is_ascii_alphanumeric());
    cut.map(|part| match part.char_indices().next_back() {
        Some((at, end)) if !end.is_ascii_alphanumeric() => mask(&part[..at]) + &part[at..],
        _ => mask(part),
    })
    .collect()
}

/// Rows of the table that the log lacks.
fn missing(log: &[Value]) -> Vec<&'static str> {
    let has = |row: &&str| {
        let cells: Vec<&str> = row.split('\t').collect();
        let [level, message, fields] = cells[..] else { panic!("{row:?}") };
        log.iter().any(|line| {
            let fields = fields.split(',').filter(|field| !field.is_empty());
            line["level"] == level && masked(line) == message && fields.clone().all(|f| !line[f].is_null())
        })
    };
    let table = include_str!("../testdata/surface/log-lines.tsv");
    table.lines().filter(|row| !row.starts_with('#')).filter(|row| !has(row)).collect()
}

#[test]
fn the_lines_of_etcds_log_are_there_with_their_fields() {
    let tools = reference();
    assert_eq!(missing(&log_of(&balsa(), tools)), [""; 0]);
    if tools.version() == "3.7" {
        assert_eq!(missing(&log_of(&tools.etcd, tools)), [""; 0], "Go etcd itself");
    }
}
