//! A member whose data was altered behind its back is found out: before it serves, now and then, and at compactions.
mod harness;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backend::{Backend, Bucket, Options};
use bytes::Bytes;
use disk::OsDisk;
use harness::cluster::Cluster;
use harness::server::eventually;
use harness::{balsa, reference};
use prost::Message;
use proto::mvccpb::KeyValue;

const KEY: &str = "altered";

/// Changes the value of one key in the file of a member that does not run; the second time it is what it was.
fn alter(data_dir: &Path) {
    let file = data_dir.join("member/snap/db");
    let mut backend = Backend::open(Arc::new(OsDisk), &file, Options::default()).expect("its file");
    let records: Vec<(Bytes, Bytes)> =
        backend.range(Bucket::Key, b"", None).collect::<Result<_, _>>().expect("its records");
    let of_key = |(revision, record): (Bytes, Bytes)| {
        let kv = KeyValue::decode(record).expect("a record");
        (kv.key == KEY.as_bytes()).then_some((revision, kv))
    };
    let (revision, mut kv) = records.into_iter().find_map(of_key).expect("the key");
    kv.value = kv.value.iter().map(|byte| byte ^ 1).collect();
    backend.put(Bucket::Key, revision, kv.encode_to_vec().into());
    backend.commit().expect("a commit");
}

/// A cluster that holds the key, and a follower of it.
fn cluster_with_key(binary: &Path, flags: &[&str]) -> (Cluster, usize) {
    let cluster = Cluster::start(&[binary; 3], flags);
    cluster.ctl(0, &["put", KEY, "value"]);
    cluster.put_many(0, "k", 50);
    cluster.wait_equal();
    let follower = cluster.follower();
    (cluster, follower)
}

/// Alters a member's data while it is stopped.
fn alter_stopped(cluster: &mut Cluster, at: usize) {
    cluster.stop(at);
    alter(&cluster.nodes[at].data_dir);
}

#[test]
fn a_member_that_holds_something_else_does_not_start() {
    let mut kinds = vec![balsa()];
    // A member of 3.5 asks nobody: it does not know who the others are before it has read its log.
    kinds.extend(Some(reference().etcd.clone()).filter(|_| reference().version() != "3.5"));
    for binary in kinds {
        let (mut cluster, follower) =
            cluster_with_key(&binary, &["--feature-gates=InitialCorruptCheck=true"]);
        alter_stopped(&mut cluster, follower);
        cluster.spawn(follower);
        assert_eq!(cluster.ended(follower), Some(1), "{}", cluster.log(follower));
        let log = cluster.log(follower);
        for line in [
            "found different hash values from remote peer",
            "checkInitialHashKV failed",
            "found data inconsistency with peers",
        ] {
            assert!(log.contains(line), "{}: no {line:?} in\n{log}", binary.display());
        }
        cluster.put_many(cluster.leader(), "l", 50);
        alter(&cluster.nodes[follower].data_dir);
        cluster.restart(follower);
        cluster.wait_equal();
    }
}

/// Waits for the alarm of `at`, which stops all writes, and ends it once the data is what it was.
fn accused(mut cluster: Cluster, at: usize) {
    let id = cluster.member_id(at);
    let id = u64::from_str_radix(&id, 16).expect("an id");
    eventually("the alarm is raised", || {
        let alarms = cluster.ctl(cluster.leader(), &["alarm", "list"]);
        alarms.contains(&format!("memberID:{id} ")) && alarms.contains("alarm:CORRUPT")
    });
    for other in (0..3).filter(|other| *other != at) {
        let refused = cluster.ctl_of(&[other], &["put", "k", "x"]);
        assert!(refused.err.contains("etcdserver: corrupt cluster"), "{refused:?}");
    }
    alter_stopped(&mut cluster, at);
    cluster.spawn(at);
    cluster.ctl(cluster.leader(), &["alarm", "disarm"]);
    cluster.wait(at);
    // Longer than it takes to compare twice.
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        cluster.ctl(at, &["put", "k", "x"]);
    }
    assert_eq!(cluster.ctl(at, &["alarm", "list"]), "");
    cluster.wait_equal();
}

#[test]
fn the_leader_accuses_a_member_that_holds_something_else() {
    let (mut cluster, follower) = cluster_with_key(&balsa(), &["--corrupt-check-time=1s"]);
    alter_stopped(&mut cluster, follower);
    // Not healthy from when it is found out.
    cluster.spawn(follower);
    accused(cluster, follower);
}

#[test]
fn a_compaction_shows_who_holds_something_else() {
    let flags = ["--feature-gates=CompactHashCheck=true", "--compact-hash-check-time=1s"];
    let (mut cluster, follower) = cluster_with_key(&balsa(), &flags);
    let revision = |cluster: &Cluster| cluster.wait_equal().to_string();
    cluster.ctl(0, &["compaction", &revision(&cluster)]);
    let checked = "successfully checked hash on whole cluster";
    eventually("it is compared", || cluster.log(cluster.leader()).contains(checked));
    alter_stopped(&mut cluster, follower);
    // Not healthy from when it is found out.
    cluster.spawn(follower);
    let leader = cluster.leader();
    cluster.put_many(leader, "l", 50);
    let newest = cluster.hash(leader).expect("the leader answers").0.to_string();
    cluster.ctl(leader, &["compaction", &newest]);
    eventually("it differs", || cluster.log(leader).contains("Detected compaction hash mismatch"));
    accused(cluster, follower);
}
