//! A leader whose disk stalls lets another lead.
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
