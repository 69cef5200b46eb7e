//! How long a cluster takes to acknowledge a write again after its leader was killed, beside Go etcd in the same run.
mod harness;

use std::time::{Duration, Instant};

use etcd_client::Client;
use harness::cluster::Cluster;
use harness::{balsa, is_long, reference};
use tokio::sync::mpsc;

/// A new write is tried this often, whatever became of those before.
const EVERY: Duration = Duration::from_millis(10);
/// How long nobody may be served: an election that fails once and is held again.
const FAILOVER_MAX: Duration = Duration::from_secs(8);

fn rounds() -> usize {
    if is_long() { 20 } else { 2 }
}

/// Time from the SIGKILL of the leader to the first acknowledgement of a write that was sent after it.
fn failover(cluster: &mut Cluster) -> Duration {
    let leader = cluster.leader();
    let others = (0..cluster.nodes.len()).filter(|at| *at != leader);
    let endpoints: Vec<String> = others.map(|at| cluster.nodes[at].ports.endpoint()).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let taken = runtime.block_on(async {
        let mut clients = Vec::new();
        for endpoint in &endpoints {
            let mut client = Client::connect([endpoint], None).await.expect("a client");
            client.put("k", "before", None).await.expect("all is well");
            clients.push(client);
        }
        let (acknowledged, mut first) = mpsc::unbounded_channel();
        let killed = Instant::now();
        cluster.kill(leader);
        loop {
            for client in &clients {
                let (mut client, acknowledged) = (client.clone(), acknowledged.clone());
                tokio::spawn(async move {
                    if client.put("k", "after", None).await.is_ok() {
                        let _ = acknowledged.send(killed.elapsed());
                    }
                });
            }
            if let Ok(Some(taken)) = tokio::time::timeout(EVERY, first.recv()).await {
                return taken;
            }
            assert!(killed.elapsed() < FAILOVER_MAX, "no write is acknowledged\n{}", cluster.logs());
        }
    });
    cluster.restart(leader);
    cluster.wait_equal();
    taken
}

/// Median, 90th percentile and the longest.
fn figures(mut taken: Vec<Duration>) -> [f64; 3] {
    taken.sort();
    let at = |part: usize| taken[(taken.len() * part / 100).min(taken.len() - 1)].as_secs_f64();
    [at(50), at(90), at(100)]
}

#[test]
fn a_killed_leader_is_replaced_within_seconds_and_in_the_long_form_as_soon_as_in_go_etcd() {
    let (ours, theirs) = (balsa(), reference().etcd.clone());
    let mut clusters = [ours, theirs].map(|binary| Cluster::start(&[binary.as_path(); 3], &[]));
    let mut taken = [Vec::new(), Vec::new()];
    for _ in 0..rounds() {
        for (cluster, taken) in clusters.iter_mut().zip(&mut taken) {
            taken.push(failover(cluster));
        }
    }
    println!("{} leaders killed each; seconds to the next acknowledged write:", rounds());
    let [balsa, go] = taken.map(figures);
    let go_version = format!("Go etcd {}", reference().version());
    for (name, [median, p90, max]) in [("Balsa", balsa), (go_version.as_str(), go)] {
        println!("{name:12} median {median:.2}  p90 {p90:.2}  max {max:.2}");
    }
    // Two elections say nothing of a median.
    assert!(!is_long() || balsa[0] < 1.5 * go[0], "{balsa:?} beside {go:?}");
}
