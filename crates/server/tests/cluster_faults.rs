//! Clients of three members that are killed, paused and cut off from each other see one register per key, and watchers
//! see every event once, in order.
mod harness;

use std::time::{Duration, Instant};

use harness::cluster::Cluster;
use harness::is_long;
use harness::load::Load;

/// The member whose disk is small.
const SMALL: usize = 0;
/// A history of an hour would be too long without pauses; old revisions go, but not before watchers that were cut off have
/// read them.
const FLAGS: [&str; 3] =
    ["--auto-compaction-mode=revision", "--auto-compaction-retention=20000", "--max-wals=2"];

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

/// These need a member with a small disk.
const DISK_FAULTS: &[Fault] = &[
    (
        "leader's disk full",
        |c| {
            c.lead(SMALL);
            fill(c);
        },
        free,
    ),
    (
        "follower's disk full",
        |c| {
            c.lead(SMALL + 1);
            fill(c);
        },
        free,
    ),
];

/// Nobody knows what is on a disk on which a write failed: the member ends, with what it has promised.
fn fill(cluster: &mut Cluster) {
    cluster.nodes[SMALL].disk.as_ref().expect("a small disk").fill();
    // What the load writes may fit into what the files have already.
    let long = "x".repeat(64 << 10);
    let until = Instant::now() + Duration::from_secs(20);
    while cluster.runs(SMALL) && Instant::now() < until {
        // It fails when the leader is the one that ends.
        cluster.ctl_of(&[SMALL + 1], &["put", "long", &long]);
    }
    assert_eq!(cluster.ended(SMALL), Some(1), "{}", cluster.log(SMALL));
    let log = cluster.log(SMALL);
    let last = log.lines().last().unwrap_or_default();
    assert!(last.contains("\"fatal\"") && last.contains("No space left on device"), "{log}");
    println!("{last}");
}

fn free(cluster: &mut Cluster) {
    cluster.nodes[SMALL].disk.as_ref().expect("a small disk").free();
    restart_all(cluster);
}

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

/// How long no write was acknowledged at each time a fault happened.
type Gaps = Vec<(&'static str, Vec<Duration>)>;

fn table(gaps: &Gaps) -> String {
    let row = |(what, gaps): &(&str, Vec<Duration>)| {
        let mut seconds: Vec<f64> = gaps.iter().map(Duration::as_secs_f64).collect();
        seconds.sort_by(f64::total_cmp);
        let longest = seconds.last()?;
        let (times, median) = (seconds.len(), seconds[seconds.len() / 2]);
        Some(format!("{what:28} {times:5} {median:9.2} {longest:9.2}"))
    };
    let head = format!("{:28} {:>5} {:>9} {:>9}", "fault", "times", "median s", "longest s");
    std::iter::once(head).chain(gaps.iter().filter_map(row)).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_cluster_under_faults_is_one_register_per_key() {
    let mut cluster = Cluster::linked(3, &FLAGS);
    let pause = if is_long() { Duration::from_millis(10) } else { Duration::ZERO };
    let load = Load::paced(&cluster.endpoints(), pause);
    let disk_faults = if cluster.nodes[SMALL].disk.is_some() { DISK_FAULTS } else { &[] };
    let mut gaps: Gaps = FAULTS.iter().chain(disk_faults).map(|(what, ..)| (*what, Vec::new())).collect();
    let start = Instant::now();
    let is_over = || is_long() && start.elapsed() > Duration::from_secs(3600);
    for round in 0.. {
        let faults = FAULTS.iter().chain(disk_faults).zip(&mut gaps);
        for ((what, begin, end), (_, gaps)) in faults.take_while(|_| !is_over()) {
            let from = Instant::now();
            begin(&mut cluster);
            std::thread::sleep(Duration::from_secs(3));
            end(&mut cluster);
            std::thread::sleep(Duration::from_secs(2));
            let gap = load.longest_gap(from);
            println!("round {round}, {what}: {:.2} s without a write", gap.as_secs_f64());
            assert!(gap < Duration::from_secs(10), "{what}: no write for {gap:?}\n{}", cluster.logs());
            gaps.push(gap);
        }
        if !is_long() || is_over() {
            break;
        }
    }
    println!("{:.0} s of faults\n{}", start.elapsed().as_secs_f64(), table(&gaps));
    let done = load.finish();
    cluster.wait_equal();
    println!("{} writes acknowledged, {} reads: one register per key", done.acknowledged, done.reads);
    assert!(done.acknowledged > 500 && done.reads > 500, "too little happened");
}
