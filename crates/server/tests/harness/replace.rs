//! Members that others take the place of, on the same data directories and under load.
use std::path::Path;
use std::time::{Duration, Instant};

use super::cluster::Cluster;
use super::is_long;
use super::load::Load;

/// Longest time without an acknowledged write while one member is replaced: what a change of leaders takes in Go etcd.
const GAP_MAX: Duration = Duration::from_secs(5);

/// Replaces every member in turn, lets the newcomer lead, and compares what all hold.
pub fn replace_all(cluster: &mut Cluster, load: &Load, by: &Path, flags: &[String]) {
    let settle = Duration::from_millis(if is_long() { 1000 } else { 200 });
    for at in 0..cluster.nodes.len() {
        let from = Instant::now();
        cluster.stop(at);
        cluster.nodes[at].binary = by.to_owned();
        cluster.nodes[at].flags = flags.to_vec();
        cluster.restart(at);
        cluster.lead(at);
        std::thread::sleep(settle);
        let gap = load.longest_gap(from);
        let by = by.display();
        println!("{at} replaced by {by} {flags:?}: {:.2} s without a write", gap.as_secs_f64());
        assert!(gap < GAP_MAX, "no write for {gap:?}\n{}", cluster.logs());
        equal_while_writing(cluster);
    }
}

/// All members have the same hash at a revision that all have reached.
pub fn equal_while_writing(cluster: &Cluster) {
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
