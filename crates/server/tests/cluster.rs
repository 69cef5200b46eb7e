//! Several members as real processes: elections, replication, members that fall behind, and Go etcd among them.
mod harness;

use std::time::Duration;

use harness::cluster::Cluster;
use harness::server::eventually;
use harness::{balsa, reference};

/// A log so short that who was away gets a snapshot.
const SHORT_LOG: [&str; 2] = ["--snapshot-count=100", "--snapshot-catchup-entries=50"];

#[test]
fn three_members_agree_and_one_that_was_away_catches_up() {
    let mut cluster = Cluster::balsa(3, &[]);
    for at in 0..3 {
        cluster.ctl(at, &["put", &format!("by-{at}"), "x"]);
    }
    let before = cluster.wait_equal();
    let follower = cluster.follower();
    cluster.kill(follower);
    cluster.put_many(cluster.leader(), "more", 200);
    cluster.restart(follower);
    assert_eq!(cluster.wait_equal(), before + 200);
    assert!(
        cluster.ctl(follower, &["get", "more/7"]).contains("value"),
        "a linearizable read at the follower"
    );
    assert!(!cluster.log(follower).contains("applied snapshot"));
}

#[test]
fn the_others_elect_another_leader_when_theirs_is_killed() {
    let mut cluster = Cluster::balsa(3, &[]);
    cluster.ctl(0, &["put", "a", "1"]);
    let first = cluster.leader();
    cluster.kill(first);
    let second = cluster.leader();
    assert_ne!(first, second);
    cluster.ctl(second, &["put", "a", "2"]);
    cluster.restart(first);
    cluster.wait_equal();
    assert!(cluster.ctl(first, &["get", "a"]).contains('2'));
    for at in 0..3 {
        assert_eq!(cluster.stop(at), None, "SIGTERM ends it by that signal");
    }
    (0..3).for_each(|at| cluster.spawn(at));
    (0..3).for_each(|at| cluster.wait(at));
    assert!(cluster.ctl(first, &["get", "a"]).contains('2'), "after a restart of all");
}

#[test]
fn a_member_away_for_too_long_gets_a_snapshot_and_goes_on_from_it() {
    let mut cluster = Cluster::balsa(3, &SHORT_LOG);
    cluster.ctl(0, &["put", "a", "1"]);
    let follower = cluster.follower();
    cluster.kill(follower);
    let leader = cluster.leader();
    cluster.put_many(leader, "k", 500);
    cluster.ctl(leader, &["compaction", "300"]);
    cluster.restart(follower);
    cluster.wait_equal();
    assert!(cluster.log(follower).contains("applied snapshot"), "{}", cluster.log(follower));
    assert!(cluster.log(leader).contains("sent database snapshot"));
    assert!(cluster.ctl(follower, &["get", "k/499"]).contains("value"));
    cluster.put_many(follower, "l", 200);
    cluster.wait_equal();
    cluster.kill(follower);
    cluster.restart(follower);
    cluster.wait_equal();
}

#[test]
fn a_member_killed_again_and_again_while_it_takes_a_snapshot_in_catches_up_in_the_end() {
    let mut cluster = Cluster::balsa(3, &SHORT_LOG);
    cluster.ctl(0, &["put", "a", "1"]);
    let follower = cluster.follower();
    cluster.kill(follower);
    for round in 0..6 {
        cluster.put_many(cluster.leader(), &format!("k{round}"), 200);
        cluster.spawn(follower);
        // From before it is reached to after it has caught up.
        std::thread::sleep(Duration::from_millis(60 * round));
        cluster.kill(follower);
    }
    cluster.restart(follower);
    cluster.wait_equal();
    assert!(cluster.log(follower).contains("receiving database snapshot"), "{}", cluster.log(follower));
}

#[test]
fn a_watch_at_a_member_that_gets_a_snapshot_sees_every_event_once() {
    let cluster = Cluster::balsa(3, &SHORT_LOG);
    cluster.ctl(0, &["put", "a", "1"]);
    let (follower, leader) = (cluster.follower(), cluster.leader());
    let endpoint = cluster.nodes[follower].ports.endpoint();
    let seen = std::thread::spawn(move || watched(&endpoint, 300));
    eventually("the watch is there", || {
        let page = harness::http_get(cluster.nodes[follower].ports.client, "/metrics").unwrap_or_default();
        page.contains("etcd_debugging_mvcc_watcher_total 1\n")
    });
    cluster.signal(follower, "-STOP");
    // More than the connection holds: the leader gives the stream up, and with it what waits in it.
    cluster.put_long(leader, "k", 200, 64 << 10);
    eventually("the stream is lost", || {
        let log = cluster.log(leader);
        log.lines().any(|line| {
            line.contains("lost TCP") && line.contains("\"stream-writer-type\":\"stream MsgApp v2\"")
        })
    });
    cluster.signal(follower, "-CONT");
    cluster.put_many(leader, "l", 100);
    let revisions = seen.join().expect("every event");
    assert!(revisions.windows(2).all(|pair| pair[1] == pair[0] + 1), "{revisions:?}");
    assert!(cluster.log(follower).contains("applied snapshot"), "{}", cluster.log(follower));
    cluster.wait_equal();
}

/// Revisions of the next `count` events.
fn watched(endpoint: &str, count: usize) -> Vec<i64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut client = etcd_client::Client::connect([endpoint], None).await.expect("a client");
        let options = etcd_client::WatchOptions::new().with_all_keys();
        let mut stream = client.watch("", Some(options)).await.expect("a watch");
        let mut revisions = Vec::new();
        while revisions.len() < count {
            let answer = tokio::time::timeout(Duration::from_secs(30), stream.message()).await;
            let answer = answer.expect("in time").expect("no error").expect("no end");
            revisions.extend(answer.events().iter().filter_map(|event| Some(event.kv()?.mod_revision())));
        }
        revisions
    })
}

#[test]
fn a_member_removed_while_it_was_away_is_told_so_and_ends() {
    let mut cluster = Cluster::balsa(3, &[]);
    cluster.ctl(0, &["put", "a", "1"]);
    let follower = cluster.follower();
    cluster.kill(follower);
    let id = cluster.member_id(follower);
    cluster.ctl(cluster.leader(), &["member", "remove", &id]);
    cluster.spawn(follower);
    assert_eq!(cluster.ended(follower), Some(0));
    assert!(cluster.log(follower).contains("server has been removed from the cluster"));
    cluster.ctl(cluster.leader(), &["put", "a", "2"]);
}

#[test]
fn snapshots_and_entries_pass_between_members_of_balsa_and_of_go_etcd() {
    let (ours, theirs) = (balsa(), reference().etcd.clone());
    let mut cluster = Cluster::of(&[&theirs, &ours, &ours], &["--snapshot-count=100"]);
    for node in &mut cluster.nodes[1..] {
        node.flags.push("--snapshot-catchup-entries=50".into());
        node.flags.extend(reference().emulation());
    }
    (0..3).for_each(|at| cluster.spawn(at));
    (0..3).for_each(|at| cluster.wait(at));
    for at in 0..3 {
        cluster.ctl(at, &["put", &format!("by-{at}"), "x"]);
    }
    cluster.wait_equal();

    // A leader of ours, and theirs away for long.
    cluster.kill(0);
    let leader = cluster.leader();
    cluster.put_many(leader, "k", 500);
    cluster.restart(0);
    cluster.wait_equal();
    assert!(cluster.log(leader).contains("sent database snapshot"), "{}", cluster.log(leader));
    assert!(cluster.log(0).contains("applied snapshot"), "{}", cluster.log(0));

    // A leader of theirs, and one of ours away for longer than it remembers.
    let go = cluster.member_id(0);
    cluster.ctl(cluster.leader(), &["move-leader", &go]);
    assert_eq!(cluster.leader(), 0);
    cluster.kill(1);
    cluster.put_many(0, "l", 5500);
    cluster.restart(1);
    cluster.wait_equal();
    assert!(cluster.log(1).contains("applied snapshot"), "{}", cluster.log(1));
    cluster.put_many(1, "m", 100);
    cluster.wait_equal();
}
