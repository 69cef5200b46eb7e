//! Random clusters in one thread: messages lost, doubled and reordered, partitions, crashes that keep only what was
//! written, changes of membership, snapshots, slow disks and slow stores; checked against the promises of consensus.
//!
//! A failing seed names itself; run it alone with `BALSA_SEED=n`. `BALSA_LONG=1` runs many more seeds.

mod checks;
mod member;
mod world;

use world::{Faults, World};

fn seeds(count: u64) -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match number("BALSA_SEED") {
        Some(seed) => vec![seed],
        None => (0..count * if number("BALSA_LONG").is_some_and(|n| n > 0) { 10 } else { 1 }).collect(),
    }
}

fn run(seed: u64, members: u64, steps: u32, faults: Faults) {
    let outcome = std::panic::catch_unwind(|| {
        let mut world = World::new(seed, members, faults);
        for _ in 0..steps {
            world.step();
        }
        world.heal_and_converge();
        world.progress()
    });
    match outcome {
        Ok(entries) => assert!(entries > 0, "seed {seed}: nothing was ever applied"),
        Err(_) => panic!("seed {seed} failed, with {members} members and {faults:?}"),
    }
}

#[test]
fn a_calm_cluster_of_any_size_agrees() {
    for seed in seeds(20) {
        run(seed, 1 + seed % 5, 800, Faults::NONE);
    }
}

#[test]
fn loss_reordering_and_duplication_break_no_promise() {
    for seed in seeds(60) {
        run(seed, 3 + seed % 3, 2500, Faults { crashes: false, membership: false, ..Faults::ALL });
    }
}

#[test]
fn crashes_that_keep_only_what_was_written_break_no_promise() {
    for seed in seeds(60) {
        run(seed, 2 + seed % 4, 2500, Faults { membership: false, ..Faults::ALL });
    }
}

#[test]
fn changes_of_membership_under_all_faults_break_no_promise() {
    for seed in seeds(80) {
        run(seed, 1 + seed % 5, 3000, Faults::ALL);
    }
}
