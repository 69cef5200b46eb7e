//! Clients of three members that are killed, paused and cut off from each other see one register per key, and watchers
//! see every event once, in order.
mod harness;

use std::time::{Duration, Instant};

use harness::cluster::Cluster;
use harness::load::Load;

/// Rounds of faults: half an hour's worth with `BALSA_LONG`.
fn rounds() -> usize {
    if std::env::var_os("BALSA_LONG").is_some() { 40 } else { 1 }
}

/// One fault and its end.
type Fault = (&'static str, fn(&mut Cluster), fn(&mut Cluster));

fn place(cluster: &Cluster, leads: bool) -> usize {
    if leads { cluster.leader() } else { cluster.follower() }
}

const FAULTS: &[Fault] = &[
    (
        "leader killed",
        |c| {
            let at = place(c, true);
            c.kill(at);
        },
        restart_all,
    ),
    (
        "follower killed",
        |c| {
            let at = place(c, false);
            c.kill(at);
        },
        restart_all,
    ),
    (
        "leader cut off",
        |c| {
            let at = place(c, true);
            c.links().isolate(at);
        },
        heal,
    ),
    (
        "leader's messages lost",
        |c| {
            let at = place(c, true);
            (0..3).filter(|to| *to != at).for_each(|to| c.links().cut(at, to));
        },
        heal,
    ),
    (
        "messages to the leader lost",
        |c| {
            let at = place(c, true);
            (0..3).filter(|from| *from != at).for_each(|from| c.links().cut(from, at));
        },
        heal,
    ),
    (
        "follower cut off",
        |c| {
            let at = place(c, false);
            c.links().isolate(at);
        },
        heal,
    ),
    (
        "leader paused",
        |c| {
            let at = place(c, true);
            c.signal(at, "-STOP");
            c.paused = Some(at);
        },
        resume,
    ),
    (
        "leader stopped",
        |c| {
            let at = place(c, true);
            c.stop(at);
        },
        restart_all,
    ),
    ("all killed", |c| (0..3).for_each(|at| c.kill(at)), restart_all),
];

fn restart_all(cluster: &mut Cluster) {
    let away: Vec<usize> = (0..3).filter(|at| cluster.nodes[*at].member.is_none()).collect();
    away.iter().for_each(|at| cluster.spawn(*at));
    away.iter().for_each(|at| cluster.wait(*at));
}

fn heal(cluster: &mut Cluster) {
    cluster.links().heal();
}

fn resume(cluster: &mut Cluster) {
    if let Some(at) = cluster.paused.take() {
        cluster.signal(at, "-CONT");
    }
}

#[test]
fn a_cluster_under_faults_is_one_register_per_key() {
    let mut cluster = Cluster::linked(3, &[]);
    let load = Load::start(&cluster.endpoints());
    for round in 0..rounds() {
        for (what, begin, end) in FAULTS {
            let from = Instant::now();
            begin(&mut cluster);
            std::thread::sleep(Duration::from_secs(3));
            end(&mut cluster);
            std::thread::sleep(Duration::from_secs(2));
            let gap = load.longest_gap(from);
            println!("round {round}, {what}: {:.2} s without a write", gap.as_secs_f64());
            assert!(gap < Duration::from_secs(10), "{what}: no write for {gap:?}\n{}", cluster.logs());
        }
    }
    let done = load.finish();
    cluster.wait_equal();
    println!("{} writes acknowledged, {} reads: one register per key", done.acknowledged, done.reads);
    assert!(done.acknowledged > 500 && done.reads > 500, "too little happened");
}
