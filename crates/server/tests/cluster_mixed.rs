//! A cluster of Go etcd whose members are replaced by Balsa one by one on the same data directories, under load, and back.
mod harness;

use std::path::Path;
use std::time::{Duration, Instant};

use harness::cluster::Cluster;
use harness::load::Load;
use harness::{balsa, reference};

/// Longest time without an acknowledged write while one member is replaced: what a change of leaders takes in Go etcd.
const GAP_MAX: Duration = Duration::from_secs(5);

/// Replaces every member in turn, lets the newcomer lead, and compares what all hold.
fn replace_all(cluster: &mut Cluster, load: &Load, by: &Path, flags: &[String]) {
    for at in 0..cluster.nodes.len() {
        let from = Instant::now();
        cluster.stop(at);
        cluster.nodes[at].binary = by.to_owned();
        cluster.nodes[at].flags = flags.to_vec();
        cluster.restart(at);
        let leader = cluster.leader();
        if leader != at {
            let id = cluster.member_id(at);
            cluster.ctl(leader, &["move-leader", &id]);
        }
        std::thread::sleep(Duration::from_secs(1));
        let gap = load.longest_gap(from);
        println!("{} replaced by {}: {:.2} s without a write", at, by.display(), gap.as_secs_f64());
        assert!(gap < GAP_MAX, "no write for {gap:?}\n{}", cluster.logs());
        equal_while_writing(cluster);
    }
}

/// All members have the same hash at a revision that all have reached.
fn equal_while_writing(cluster: &Cluster) {
    let start = Instant::now();
    let (revision, _) = cluster.hash(cluster.leader()).expect("the leader answers");
    let hash = |at: usize| loop {
        match cluster.hash_at(at, revision) {
            Some((_, hash)) => return hash,
            None => assert!(start.elapsed() < Duration::from_secs(20), "{at} lags\n{}", cluster.logs()),
        }
    };
    let hashes: Vec<i64> = (0..cluster.nodes.len()).map(hash).collect();
    assert!(hashes.windows(2).all(|pair| pair[0] == pair[1]), "{hashes:?} at revision {revision}");
}

#[test]
fn a_go_cluster_becomes_one_of_balsa_member_by_member_and_a_go_cluster_again() {
    let (ours, theirs) = (balsa(), reference().etcd.clone());
    let mut cluster = Cluster::start(&[theirs.as_path(); 3], &[]);
    let load = Load::start(&cluster.endpoints());
    replace_all(&mut cluster, &load, &ours, &reference().emulation());
    replace_all(&mut cluster, &load, &theirs, &[]);
    let done = load.finish();
    cluster.wait_equal();
    println!("{} writes acknowledged, {} reads: one register per key", done.acknowledged, done.reads);
    assert!(done.acknowledged > 500 && done.reads > 500, "too little happened");
}
