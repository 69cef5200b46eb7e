//! Disks that stall or have no space left.
mod harness;

use std::time::{Duration, Instant};

use harness::balsa;
use harness::cluster::Cluster;
use harness::small_disk::SmallDisk;

#[test]
fn a_leader_whose_disk_stalls_lets_another_lead() {
    let binary = balsa();
    let mut cluster = Cluster::of(&[binary.as_path(); 3], &["--slow-disk-handover=500ms"]);
    match SmallDisk::freezable(&cluster.nodes[0].data_dir) {
        Ok(disk) => cluster.nodes[0].disk = Some(disk),
        Err(why) => return println!("left out: no disk can be frozen here: {why}"),
    }
    (0..3).for_each(|at| cluster.spawn(at));
    (0..3).for_each(|at| cluster.wait(at));
    cluster.lead(0);
    cluster.put_many(0, "before", 50);

    cluster.nodes[0].disk.as_ref().expect("its disk").freeze();
    let frozen = Instant::now();
    // Somebody has to write for the disk to be missed.
    let written = std::thread::scope(|scope| {
        let writer = scope.spawn(|| cluster.put_many(1, "frozen", 50));
        while cluster.leader() == 0 {
            assert!(frozen.elapsed() < Duration::from_secs(10), "it leads on\n{}", cluster.logs());
            std::thread::sleep(Duration::from_millis(20));
        }
        println!("handed over {:.2} s after the disk stood still", frozen.elapsed().as_secs_f64());
        writer.join()
    });
    written.expect("no write fails");
    cluster.put_many(cluster.leader(), "after", 50);
    assert!(cluster.log(0).contains("the disk of the leader is slow"), "{}", cluster.log(0));
    cluster.nodes[0].disk.as_ref().expect("its disk").thaw();
    cluster.wait_equal();
}

/// Puts long values until one is not acknowledged; says how many were.
fn put_until_it_fails(cluster: &Cluster) -> i64 {
    let long = "x".repeat(1 << 20);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let endpoint = cluster.nodes[0].ports.endpoint();
        let mut client = etcd_client::Client::connect([endpoint], None).await.expect("a client");
        let mut acknowledged = 0;
        while client.put(format!("k/{acknowledged}"), long.as_str(), None).await.is_ok() {
            acknowledged += 1;
            assert!(acknowledged < 1000, "it is never full");
        }
        acknowledged
    })
}

fn ended_for_space(cluster: &mut Cluster, text: &str) {
    assert_eq!(cluster.ended(0), Some(1), "{}", cluster.log(0));
    let log = cluster.log(0);
    let last = log.lines().last().unwrap_or_default();
    assert!(last.contains(text) && last.contains("No space left on device"), "{log}");
}

#[test]
fn a_member_whose_log_cannot_grow_ends_and_holds_what_it_acknowledged() {
    let binary = balsa();
    let mut cluster = Cluster::of(&[binary.as_path()], &[]);
    let log_dir = cluster.dir.path().join("log");
    match SmallDisk::in_memory(&log_dir) {
        Ok(disk) => cluster.nodes[0].disk = Some(disk),
        Err(why) => return println!("left out: no member has a small disk: {why}"),
    }
    cluster.nodes[0].flags.push(format!("--wal-dir={}/wal", log_dir.display()));
    cluster.restart(0);
    cluster.nodes[0].disk.as_ref().expect("its disk").fill();
    // The segment that is begun has its space; the next has none.
    let acknowledged = put_until_it_fails(&cluster);
    ended_for_space(&mut cluster, "failed to save Raft hard state and entries");
    // It does not get further than to put aside the record it was writing.
    cluster.spawn(0);
    ended_for_space(&mut cluster, ".wal.broken");
    cluster.nodes[0].disk.as_ref().expect("its disk").free();
    cluster.restart(0);
    let counted = cluster.ctl(0, &["get", "k/", "--prefix", "--count-only", "-w", "fields"]);
    let counted = counted.lines().find_map(|line| line.strip_prefix("\"Count\" : ")?.parse::<i64>().ok());
    println!("{acknowledged} long values acknowledged before the disk was full, {counted:?} held");
    // The one that was not acknowledged may be there.
    assert!(counted.is_some_and(|counted| (acknowledged..=acknowledged + 1).contains(&counted)));
    cluster.ctl(0, &["put", "k", "x"]);
}
