//! Killed again and again under load, Balsa loses no acknowledged write, its revision never goes back, and a watcher that
//! resumes from its last revision sees every event once.
mod harness;
use etcd_client::{Client, EventType, GetOptions, WatchOptions};
use harness::{Member, Ports, balsa};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const WRITERS: usize = 16;

fn kills() -> usize {
    if std::env::var_os("BALSA_LONG").is_some() { 200 } else { 50 }
}

/// What one writer knows of its key: the value it wrote last with an answer, and the one under way.
#[derive(Clone, Copy, Default)]
struct Known {
    acknowledged: u64,
    acknowledged_revision: i64,
    attempted: u64,
}

/// What the watcher saw: (mod revision, key, value, version), in order of arrival.
type Seen = Arc<Mutex<Vec<(i64, String, u64, i64)>>>;

fn key(writer: usize) -> String {
    format!("writer/{writer:02}")
}

async fn connect(endpoint: &str) -> Client {
    Client::connect([endpoint], None).await.expect("connect")
}

/// Writes 1, 2, 3, … under its own key until the server is gone.
async fn write(endpoint: String, writer: usize, known: Arc<Mutex<Vec<Known>>>) {
    let mut client = connect(&endpoint).await;
    loop {
        let value = {
            let mut known = known.lock().expect("not poisoned");
            known[writer].attempted += 1;
            known[writer].attempted
        };
        let Ok(answer) = client.put(key(writer), value.to_string(), None).await else { return };
        let revision = answer.header().expect("header").revision();
        let mut known = known.lock().expect("not poisoned");
        known[writer].acknowledged = value;
        known[writer].acknowledged_revision = revision;
    }
}

/// Watches from after the last revision seen until the server is gone.
async fn watch(endpoint: String, seen: Seen) {
    let from = seen.lock().expect("not poisoned").last().map_or(1, |last| last.0 + 1);
    let mut client = connect(&endpoint).await;
    let options = WatchOptions::new().with_prefix().with_start_revision(from);
    let Ok(mut stream) = client.watch("writer/", Some(options)).await else { return };
    while let Ok(Some(answer)) = stream.message().await {
        let mut seen = seen.lock().expect("not poisoned");
        for event in answer.events() {
            assert_eq!(event.event_type(), EventType::Put);
            let kv = event.kv().expect("an event has its pair");
            let value = kv.value_str().expect("digits").parse().expect("digits");
            seen.push((kv.mod_revision(), kv.key_str().expect("text").into(), value, kv.version()));
        }
    }
}

/// After a restart: what is there is what was acknowledged, or the write that was under way.
async fn check(endpoint: &str, known: &Mutex<Vec<Known>>, highest: &mut i64) {
    let mut client = connect(endpoint).await;
    let answer = client.get("writer/", Some(GetOptions::new().with_prefix())).await.expect("get");
    let revision = answer.header().expect("header").revision();
    assert!(revision >= *highest, "the revision went back from {highest} to {revision}");
    *highest = revision;
    let mut known = known.lock().expect("not poisoned");
    for (writer, known) in known.iter_mut().enumerate() {
        let found = answer.kvs().iter().find(|kv| kv.key() == key(writer).as_bytes());
        let value: u64 = found.map_or(0, |kv| kv.value_str().expect("digits").parse().expect("digits"));
        assert!(
            value >= known.acknowledged,
            "{}: {value} after {} was acknowledged",
            key(writer),
            known.acknowledged
        );
        assert!(
            value <= known.attempted,
            "{}: {value}, but only {} were written",
            key(writer),
            known.attempted
        );
        assert!(known.acknowledged_revision <= revision);
        known.attempted = known.attempted.max(value);
        known.acknowledged = value;
    }
}

/// Every event once, in order, nothing between the first and the last left out.
fn check_events(seen: &[(i64, String, u64, i64)], until: i64) {
    let mut versions: BTreeMap<&str, (i64, u64)> = BTreeMap::new();
    for pair in seen.windows(2) {
        assert!(pair[0].0 < pair[1].0, "revision {} came after {}", pair[1].0, pair[0].0);
    }
    for (revision, key, value, version) in seen {
        let last = versions.entry(key).or_insert((0, 0));
        assert_eq!(*version, last.0 + 1, "{key} at revision {revision}: an event is missing or doubled");
        assert!(*value > last.1, "{key} at revision {revision}: {value} after {}", last.1);
        *last = (*version, *value);
    }
    assert_eq!(seen.last().map(|last| last.0), Some(until), "the watcher did not see the last write");
}

#[test]
fn nothing_acknowledged_is_lost_over_many_kills() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let data = dir.path().join("data");
    let ports = Ports::free();
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let known = Arc::new(Mutex::new(vec![Known::default(); WRITERS]));
    let seen: Seen = Arc::default();
    let mut highest = 0;
    for round in 0..kills() {
        // A small snapshot count and batches of every length: kills hit snapshots, segment ends and commits.
        let member = Member::start(&balsa(), &data, ports, &["--snapshot-count=500"]);
        let endpoint = ports.endpoint();
        runtime.block_on(async {
            check(&endpoint, &known, &mut highest).await;
            let mut tasks = vec![tokio::spawn(watch(endpoint.clone(), seen.clone()))];
            for writer in 0..WRITERS {
                tasks.push(tokio::spawn(write(endpoint.clone(), writer, known.clone())));
            }
            tokio::time::sleep(Duration::from_millis(50 + (round as u64 * 37) % 250)).await;
            member.kill();
            for task in tasks {
                tokio::time::timeout(Duration::from_secs(10), task)
                    .await
                    .expect("ends with the server")
                    .expect("no panic");
            }
        });
    }
    let member = Member::start(&balsa(), &data, ports, &[] as &[&str]);
    runtime.block_on(async {
        let endpoint = ports.endpoint();
        check(&endpoint, &known, &mut highest).await;
        let watcher = tokio::spawn(watch(endpoint, seen.clone()));
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if seen.lock().expect("not poisoned").last().is_some_and(|last| last.0 == highest) {
                break;
            }
        }
        watcher.abort();
    });
    drop(member);
    let seen = seen.lock().expect("not poisoned");
    check_events(&seen, highest);
    println!("{} kills, {} writes, revision {highest}", kills(), seen.len());
    assert!(seen.len() > kills() * 10, "only {} writes: the load was too small to show anything", seen.len());
}
