//! A lone member: fixed seeds, fresh seeds, every crash point of short runs; BALSA_SEED replays one run.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sim::{Report, Simulation};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn time(short_s: u64, long_s: u64) -> Duration {
    Duration::from_secs(if number("BALSA_LONG").is_some() { long_s } else { short_s })
}

#[test]
fn nothing_acknowledged_is_lost_in_random_lives() {
    if let Some(seed) = number("BALSA_SEED") {
        let report = Simulation::run(seed).unwrap_or_else(|failure| panic!("{failure}"));
        return println!("seed {seed}: {report:?}");
    }
    let fresh = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64 >> 8 << 16;
    let until = Instant::now() + time(10, 240);
    let mut sum = Report::default();
    let mut runs = 0;
    for seed in (0..40).chain(fresh..) {
        if runs >= 40 && Instant::now() >= until {
            break;
        }
        sum += Simulation::run(seed).unwrap_or_else(|failure| panic!("{failure}"));
        runs += 1;
    }
    println!("{runs} random runs: {sum:?}");
    assert!(sum.crashes > 200 && sum.answers > 1000 && sum.snapshots > 20 && sum.compacted > 0, "{sum:?}");
}

#[test]
fn nothing_acknowledged_is_lost_at_any_crash_point_of_a_short_run() {
    if number("BALSA_SEED").is_some() {
        return;
    }
    let until = Instant::now() + time(10, 240);
    let mut sum = Report::default();
    let mut runs = 0;
    while runs == 0 || Instant::now() < until {
        sum += Simulation::every_crash(1000 + runs, 60).unwrap_or_else(|failure| panic!("{failure}"));
        runs += 1;
    }
    println!("every crash point of {runs} short runs: {sum:?}");
    assert!(sum.crashes > 100, "{sum:?}");
}
