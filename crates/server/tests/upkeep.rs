//! What a member lets go of by itself: old log segments, old log files, lines below the level, tokens nobody uses.
mod harness;
use etcd_client::{Client, ConnectOptions, DeleteOptions, EventType, Txn, TxnOp, WatchOptions};
use harness::server::{Server, eventually};
use std::path::Path;
use std::time::Duration;

fn names(dir: &Path, ending: &str) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("a directory").flatten();
    let all = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    all.filter(|name| name.ends_with(ending)).collect()
}

async fn client(server: &Server, options: Option<ConnectOptions>) -> Client {
    Client::connect([server.ports.endpoint()], options).await.expect("a client")
}

#[tokio::test]
async fn no_more_segments_are_kept_than_max_wals_says() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let flags = [("max-wals", "2"), ("snapshot-count", "10"), ("unsafe-no-fsync", "true")];
    let server = Server::start(&data, &flags);
    let mut client = client(&server, None).await;
    let wals = data.join("member/wal");
    // A segment holds 64 MB; the seventh is reached.
    for n in 0..280 {
        client.put("k", vec![b'v'; 1_500_000], None).await.unwrap_or_else(|e| panic!("put {n}: {e}"));
    }
    eventually("two segments are left", || names(&wals, ".wal").len() == 2);
    assert!(names(&wals, ".wal").iter().all(|name| name.as_str() > "0000000000000004"), "the newest ones");
}

#[tokio::test]
async fn a_token_dies_when_it_was_not_used_for_as_long_as_auth_token_ttl_says() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(&dir.path().join("data"), &[("auth-token-ttl", "5"), ("bcrypt-cost", "4")]);
    for args in [
        &["user", "add", "root:r"][..],
        &["role", "add", "root"],
        &["user", "grant-role", "root", "root"],
        &["auth", "enable"],
    ] {
        server.ctl_ok(args);
    }
    let mut root = client(&server, Some(ConnectOptions::new().with_user("root", "r"))).await;
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        root.get("k", None).await.expect("used within five seconds, it lives on");
    }
    tokio::time::sleep(Duration::from_millis(6500)).await;
    let error = root.get("k", None).await.expect_err("it is dead").to_string();
    assert!(error.contains("etcdserver: invalid auth token"), "{error}");
}

#[test]
fn lines_below_the_log_level_are_not_written() {
    let dir = tempfile::tempdir().expect("a directory");
    for (level, has, has_not) in [
        ("info", "\"level\":\"info\"", "\"level\":\"debug\""),
        ("warn", "\"level\":\"warn\"", "\"level\":\"info\""),
        ("error", "", "\"level\":\"warn\""), // an untroubled start has nothing to say at this level
    ] {
        let server = Server::start(&dir.path().join(level), &[("log-level", level)]);
        let log = server.log();
        assert!(log.contains(has) && !log.contains(has_not), "{level}: {log}");
    }
}

#[test]
fn a_full_log_file_is_put_aside() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("etcd.log");
    let full = "x".repeat(1 << 20);
    std::fs::write(&file, &full).expect("a full file");
    let path = file.display().to_string();
    let _server = Server::start(
        &dir.path().join("data"),
        &[
            ("log-outputs", &path),
            ("enable-log-rotation", "true"),
            ("log-rotation-config-json", r#"{"maxsize":1}"#),
        ],
    );
    let aside: Vec<String> =
        names(dir.path(), ".log").into_iter().filter(|name| name.starts_with("etcd-2")).collect();
    assert_eq!(aside.len(), 1, "{aside:?}");
    assert_eq!(std::fs::read_to_string(dir.path().join(&aside[0])).expect("the old file"), full);
    eventually("lines in the new file", || {
        std::fs::read_to_string(&file).is_ok_and(|new| new.contains("ready to serve") && !new.contains("xx"))
    });
}

#[tokio::test]
async fn every_key_of_a_large_delete_is_told_counted_and_gone_after_a_restart() {
    const KEYS: usize = 1000;
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let server = Server::start(&data, &[]);
    let mut client = client(&server, None).await;
    for n in 0..KEYS / 100 {
        let puts: Vec<_> =
            (0..100).map(|m| TxnOp::put(format!("k{:04}", n * 100 + m), n.to_string(), None)).collect();
        client.txn(Txn::new().and_then(puts)).await.expect("puts");
    }
    let options = WatchOptions::new().with_prefix().with_prev_key();
    let mut stream = client.watch("k", Some(options)).await.expect("a watch");
    let gone = client.delete("k", Some(DeleteOptions::new().with_prefix())).await.expect("a delete");
    assert_eq!(gone.deleted(), KEYS as i64);
    client.put("k0500", "again", None).await.expect("a put");
    let mut keys = Vec::new();
    while keys.len() <= KEYS {
        let answer = stream.message().await.expect("the stream").expect("an answer");
        for event in answer.events() {
            let (kv, before) = (event.kv().expect("a key"), event.prev_kv());
            assert_eq!(before.is_some(), event.event_type() == EventType::Delete);
            keys.push(kv.key_str().expect("text").to_owned());
        }
    }
    let expected = (0..KEYS).chain([500]).map(|n| format!("k{n:04}"));
    assert!(keys.iter().eq(&expected.collect::<Vec<_>>()), "{keys:?}");
    assert_eq!(server.metric("etcd_mvcc_delete_total"), Some(KEYS as f64));
    assert_eq!(server.metric("etcd_debugging_mvcc_keys_total"), Some(1.0));
    server.signal("-KILL");
    server.end();
    let server = Server::start(&data, &[]);
    assert_eq!(server.ctl_ok(&["get", "--prefix", "k"]), "k0500\nagain\n");
}
