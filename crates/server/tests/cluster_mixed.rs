//! A cluster of Go etcd whose members are replaced by Balsa one by one on the same data directories, under load, and back.
mod harness;

use harness::cluster::Cluster;
use harness::load::Load;
use harness::replace::replace_all;
use harness::{balsa, reference};

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
