//! Mistakes built into the driver on purpose: each is found within a bounded number of seeds, or the simulator is blind.

use sim::{Mutation, Simulation};

const SEEDS_MAX: u64 = 240;

fn found(mutation: Mutation) -> String {
    for seed in 0..SEEDS_MAX {
        if let Err(failure) = Simulation::new(seed).with(mutation).go() {
            assert!(!failure.timeline.is_empty(), "no timeline: {failure}");
            println!("{mutation:?}: seed {seed}: {}", failure.what);
            return failure.what;
        }
    }
    panic!("{mutation:?} was not found in {SEEDS_MAX} seeds");
}

#[test]
fn an_answer_before_the_sync_is_found() {
    found(Mutation::AcknowledgedBeforeSync);
}

#[test]
fn an_index_committed_apart_from_its_data_is_found() {
    found(Mutation::IndexApartFromData);
}

#[test]
fn a_last_entry_left_out_at_restart_is_found() {
    found(Mutation::LastEntrySkipped);
}

#[test]
fn a_hard_state_never_written_is_found() {
    found(Mutation::HardStateForgotten);
}

#[test]
fn a_database_ahead_of_the_log_is_found() {
    found(Mutation::CommittedBeforeSync);
}

#[test]
fn a_snapshot_recorded_before_the_database_holds_it_is_found() {
    found(Mutation::SnapshotBeforeCommit);
}

#[test]
fn a_buffer_sealed_before_the_last_commit_is_heard_of_is_found() {
    found(Mutation::SealedUnheard);
}

#[test]
fn a_data_directory_whose_name_is_not_synced_is_found() {
    found(Mutation::DirectoriesUnsynced);
}

#[test]
fn a_failure_is_the_same_when_its_seed_is_run_again() {
    let run = |seed| Simulation::new(seed).with(Mutation::LastEntrySkipped).go().map_err(|f| f.timeline);
    assert_eq!(run(3), run(3));
    assert_eq!(Simulation::new(4).go().unwrap(), Simulation::new(4).go().unwrap());
}
