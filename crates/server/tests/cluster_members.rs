//! The membership changes while the cluster runs, and followers serve what only the leader can decide.
mod harness;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use harness::balsa;
use harness::cluster::Cluster;

/// Tries until the answer is a good one: members must have been connected for a while, a learner must have caught up.
fn eventually(cluster: &Cluster, at: usize, args: &[&str]) -> String {
    let start = Instant::now();
    loop {
        let printed = cluster.ctl_of(&[at], args);
        if printed.code == Some(0) {
            return String::from_utf8_lossy(&printed.out).into_owned();
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{args:?}: {}\n{}", printed.err, cluster.logs());
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Has a member joined as learner and promoted; answers its place.
fn join(cluster: &mut Cluster) -> usize {
    let at = cluster.grow(&balsa());
    let node = &cluster.nodes[at];
    let (name, url) = (node.name.clone(), format!("--peer-urls=http://127.0.0.1:{}", node.peer_port));
    let asked = cluster.follower();
    eventually(cluster, asked, &["member", "add", &name, "--learner", &url]);
    cluster.spawn(at);
    // Only the leader knows how far a learner is: a follower has it do this.
    let id = cluster.member_id_of_url(at);
    eventually(cluster, asked, &["member", "promote", &id]);
    cluster.wait(at);
    at
}

#[test]
fn members_of_three_join_as_learners_are_promoted_and_leave() {
    members_come_and_go(3);
}

#[test]
fn members_of_five_join_as_learners_are_promoted_and_leave() {
    members_come_and_go(5);
}

fn members_come_and_go(at_first: usize) {
    let mut cluster = Cluster::balsa(at_first, &[]);
    cluster.put_many(0, "k", 50);
    let (fourth, fifth) = (join(&mut cluster), join(&mut cluster));
    cluster.put_many(fifth, "l", 50);
    cluster.wait_equal();
    assert!(cluster.ctl(fourth, &["get", "l/7"]).contains("value"));

    // The leader leaves: it is told, ends, and the others go on.
    let leader = cluster.leader();
    let id = cluster.member_id(leader);
    eventually(&cluster, leader, &["member", "remove", &id]);
    assert_eq!(cluster.ended(leader), Some(0), "{}", cluster.log(leader));
    cluster.nodes[leader].left = true;
    let next = cluster.leader();
    cluster.put_many(next, "m", 50);

    // One dies for good and is replaced by a new one.
    let dead = cluster.follower();
    let id = cluster.member_id(dead);
    cluster.kill(dead);
    eventually(&cluster, next, &["member", "remove", &id]);
    cluster.nodes[dead].left = true;
    let sixth = join(&mut cluster);
    cluster.put_many(sixth, "n", 50);
    cluster.wait_equal();

    // All at once.
    let running: Vec<usize> =
        (0..cluster.nodes.len()).filter(|at| cluster.nodes[*at].member.is_some()).collect();
    running.iter().for_each(|at| cluster.kill(*at));
    running.iter().for_each(|at| cluster.spawn(*at));
    running.iter().for_each(|at| cluster.wait(*at));
    assert!(cluster.ctl(sixth, &["get", "n/49"]).contains("value"));
    cluster.wait_equal();
}

#[test]
fn followers_have_leases_renewed_and_told_by_the_leader() {
    let cluster = Cluster::balsa(3, &[]);
    let follower = cluster.follower();
    let granted = cluster.ctl(follower, &["lease", "grant", "3"]);
    let id = granted.split_whitespace().nth(1).expect("an id").to_owned();
    cluster.ctl(follower, &["put", "leased", "x", &format!("--lease={id}")]);
    let told = cluster.ctl(follower, &["lease", "timetolive", &id, "--keys"]);
    assert!(told.contains("granted with TTL(3s)") && told.contains("leased"), "{told}");
    // Longer than it would live by itself.
    for _ in 0..5 {
        std::thread::sleep(Duration::from_millis(900));
        let renewed = cluster.ctl(follower, &["lease", "keep-alive", "--once", &id]);
        assert!(renewed.contains("keepalived with TTL(3)"), "{renewed}");
    }
    assert!(cluster.ctl(follower, &["get", "leased"]).contains('x'));
    let start = Instant::now();
    while !cluster.ctl(follower, &["get", "leased"]).is_empty() {
        assert!(start.elapsed() < Duration::from_secs(20), "the lease does not end\n{}", cluster.logs());
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(start.elapsed() > Duration::from_secs(1), "it ended early: {:?}", start.elapsed());
    let told = cluster.ctl(follower, &["lease", "timetolive", &id]);
    assert!(told.contains("already expired"), "{told}");
}

#[test]
fn leadership_is_handed_over_without_a_failed_write() {
    const WRITERS: usize = 4;
    let mut cluster = Cluster::balsa(3, &[]);
    let leader = cluster.leader();
    let others: Vec<usize> = (0..3).filter(|at| *at != leader).collect();
    let stops: [Arc<AtomicBool>; 3] = Default::default();
    let mut writers: [Vec<_>; 3] = std::array::from_fn(|at| {
        let (endpoint, stop) = (cluster.nodes[at].ports.endpoint(), &stops[at]);
        let start = |_| {
            let (endpoint, stop) = (endpoint.clone(), stop.clone());
            std::thread::spawn(move || writes_until(&endpoint, &stop))
        };
        (0..WRITERS).map(start).collect()
    });
    for to in [others[0], others[1], leader] {
        cluster.lead(to);
    }
    // A planned stop is the same to all but who is connected to this one.
    stops[leader].store(true, Ordering::Relaxed);
    let join = |writers: Vec<std::thread::JoinHandle<usize>>| -> Vec<usize> {
        writers.into_iter().map(|writer| writer.join().expect("no write fails")).collect()
    };
    let mut written = join(std::mem::take(&mut writers[leader]));
    cluster.stop(leader);
    std::thread::sleep(Duration::from_secs(1));
    stops.iter().for_each(|stop| stop.store(true, Ordering::Relaxed));
    written.extend(writers.into_iter().flat_map(join));
    assert!(written.iter().all(|of_one| *of_one > 10), "{written:?}");
    let written: usize = written.iter().sum();
    println!(
        "{written} writes, none tried twice, while leadership moved three times and its holder was stopped"
    );
    assert!(written > 200, "only {written} writes");
}

/// Puts one after the other; each must succeed at the first try.
fn writes_until(endpoint: &str, stop: &AtomicBool) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut client = etcd_client::Client::connect([endpoint], None).await.expect("a client");
        let mut written = 0;
        while !stop.load(Ordering::Relaxed) {
            client.put("k", written.to_string(), None).await.expect("put");
            written += 1;
        }
        written
    })
}
