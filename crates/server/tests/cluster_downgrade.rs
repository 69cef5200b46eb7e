//! A cluster of Balsa goes down to an older version by itself, until Go members of that version can take over, and up again.
mod harness;

use std::time::{Duration, Instant};

use DowngradeOptions::{Cancel, Enable, Validate};
use etcd_client::{Client, DowngradeOptions};
use harness::cluster::Cluster;
use harness::load::Load;
use harness::replace::{equal_while_writing, replace_all};
use harness::{balsa, http_get, is_long, wheel};

/// The leader soon sees that all members are of the older version.
const CHECK: &str = "--downgrade-check-time=500ms";

/// Asks one member.
fn ask<T>(cluster: &Cluster, at: usize, question: impl AsyncFnOnce(Client) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let endpoint = cluster.nodes[at].ports.endpoint();
        question(Client::connect([endpoint], None).await.expect("a client")).await
    })
}

/// What a member says of versions: the cluster's, its file's, and the downgrade under way.
fn versions(cluster: &Cluster, at: usize) -> (String, String, String) {
    let page = http_get(cluster.nodes[at].ports.client, "/version").unwrap_or_default();
    let said: serde_json::Value = serde_json::from_str(&page).unwrap_or_default();
    let of_cluster = said["etcdcluster"].as_str().unwrap_or_default().to_owned();
    let status = ask(cluster, at, async |mut client| client.status().await.expect("a status"));
    let downgrade = status.downgrade_info().filter(|info| info.enabled());
    let target = downgrade.map(|info| info.target_version().to_owned()).unwrap_or_default();
    (of_cluster, status.storage_version().to_owned(), target)
}

/// Asks a member for a downgrade, or to check or end one.
fn downgrade(cluster: &Cluster, at: usize, what: DowngradeOptions) -> Result<String, String> {
    let answer = ask(cluster, at, async |client| client.maintenance_client().downgrade(what).await);
    answer.map(|answer| answer.version().to_owned()).map_err(|error| error.to_string())
}

/// Waits until all say the same of versions.
fn wait_versions(cluster: &Cluster, of_cluster: &str, of_storage: &str, target: &str) {
    let wanted = (of_cluster.to_owned(), of_storage.to_owned(), target.to_owned());
    let start = Instant::now();
    loop {
        let said: Vec<_> = (0..cluster.nodes.len()).map(|at| versions(cluster, at)).collect();
        if said.iter().all(|said| *said == wanted) {
            return;
        }
        let is_late = start.elapsed() > Duration::from_secs(20);
        assert!(!is_late, "{said:?} instead of {wanted:?}\n{}", cluster.logs());
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn refused(answer: Result<String, String>, why: &str) {
    assert!(answer.as_ref().is_err_and(|error| error.contains(why)), "{answer:?} instead of {why}");
}

/// The downgrade is announced, every member becomes one of the older version, and the leader sees that it is done.
fn go_down(cluster: &mut Cluster, load: &Load, from: &str, to: &str) {
    let target = format!("{to}.0");
    assert_eq!(downgrade(cluster, 0, Validate(to.into())).as_deref(), Ok(from));
    assert_eq!(downgrade(cluster, 1, Enable(to.into())).as_deref(), Ok(from));
    wait_versions(cluster, &target, &target, &target);
    refused(downgrade(cluster, 2, Enable(to.into())), "invalid downgrade target version");
    replace_all(cluster, load, &balsa(), &[format!("--emulated-version={to}"), CHECK.into()]);
    wait_versions(cluster, &target, &target, "");
}

#[test]
fn a_cluster_goes_down_to_3_5_where_go_members_take_over_and_up_again() {
    let mut cluster = Cluster::balsa(3, &[CHECK]);
    let load = Load::paced(&cluster.endpoints(), Duration::from_millis(20));
    wait_versions(&cluster, "3.7.0", "3.7.0", "");
    refused(downgrade(&cluster, 0, Validate("3.5".into())), "invalid downgrade target version");
    refused(downgrade(&cluster, 0, Validate("3,6".into())), "wrong downgrade target version format");

    // Thought better of.
    assert_eq!(downgrade(&cluster, 0, Enable("3.6".into())).as_deref(), Ok("3.7"));
    wait_versions(&cluster, "3.6.0", "3.6.0", "3.6.0");
    assert_eq!(downgrade(&cluster, 2, Cancel).as_deref(), Ok("3.6"));
    wait_versions(&cluster, "3.7.0", "3.7.0", "");

    go_down(&mut cluster, &load, "3.7", "3.6");
    go_down(&mut cluster, &load, "3.6", "3.5");
    replace_all(&mut cluster, &load, &wheel().etcd, &[]);
    if is_long() {
        replace_all(&mut cluster, &load, &balsa(), &["--emulated-version=3.5".into()]);
    }
    replace_all(&mut cluster, &load, &balsa(), &[]);
    wait_versions(&cluster, "3.7.0", "3.7.0", "");
    equal_while_writing(&cluster);
    let done = load.finish();
    cluster.wait_equal();
    println!("{} writes acknowledged, {} reads: one register per key", done.acknowledged, done.reads);
}
