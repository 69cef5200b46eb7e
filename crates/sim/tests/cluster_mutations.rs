//! Mistakes planted in clusters on purpose: each is found within a bounded number of seeds, or the simulator is blind.

use std::time::Instant;

use sim::{Cluster, Mutation};

/// Far less than a minute even where the dev profile is slow.
const SEEDS_MAX: u64 = 400;

fn found(mutation: Mutation) {
    let begun = Instant::now();
    for seed in 0..SEEDS_MAX {
        if let Err(failure) = Cluster::new(seed).with(mutation).go() {
            assert!(!failure.timeline.is_empty(), "no timeline: {failure}");
            return println!("{mutation:?}: seed {seed}, {:?}: {}", begun.elapsed(), failure.what);
        }
    }
    panic!("{mutation:?} was not found in {SEEDS_MAX} seeds");
}

#[test]
fn an_answer_before_the_sync_is_found() {
    found(Mutation::AcknowledgedBeforeSync);
}

#[test]
fn a_message_that_overtakes_its_sync_is_found() {
    found(Mutation::MessagesBeforeSync);
}

#[test]
fn a_vote_that_is_not_written_is_found() {
    found(Mutation::VoteForgotten);
}

#[test]
fn a_hard_state_that_is_not_written_is_found() {
    found(Mutation::HardStateForgotten);
}

#[test]
fn an_index_committed_apart_from_its_data_is_found() {
    found(Mutation::IndexApartFromData);
}

#[test]
fn a_database_ahead_of_the_log_is_found() {
    found(Mutation::CommittedBeforeSync);
}

#[test]
fn a_last_entry_left_out_at_restart_is_found() {
    found(Mutation::LastEntrySkipped);
}

#[test]
fn a_snapshot_recorded_before_the_database_holds_it_is_found() {
    found(Mutation::SnapshotBeforeCommit);
}

#[test]
fn an_entry_of_an_old_term_committed_by_count_is_found() {
    found(Mutation::OldTermCommitted);
}

#[test]
fn a_read_without_a_quorum_is_found() {
    found(Mutation::ReadWithoutQuorum);
}

#[test]
fn a_read_of_a_new_leader_that_knows_too_little_is_found() {
    found(Mutation::ReadBeforeOwnTerm);
}

#[test]
fn a_read_that_does_not_wait_for_apply_is_found() {
    found(Mutation::ReadBeforeApplied);
}

#[test]
fn a_lease_ended_by_a_follower_is_found() {
    found(Mutation::LeaseExpiredByFollower);
}

#[test]
fn a_revision_that_a_watcher_misses_when_it_catches_up_is_found() {
    found(Mutation::CatchUpSkipsRevision);
}

#[test]
fn watchers_forgotten_when_a_snapshot_replaces_the_store_is_found() {
    found(Mutation::RestoreUnwatched);
}

#[test]
fn a_conf_change_that_consensus_hears_of_twice_is_found() {
    found(Mutation::ConfChangeTwice);
}

#[test]
fn a_snapshot_with_a_membership_of_another_time_is_found() {
    found(Mutation::SnapshotWithoutItsMembers);
}

#[test]
fn a_snapshot_ahead_of_the_copy_of_its_database_is_found() {
    found(Mutation::SnapshotAheadOfItsCopy);
}

#[test]
fn a_snap_file_removed_before_a_newer_one_counts_is_found() {
    found(Mutation::SnapFilesPurgedByNumber);
}

#[test]
fn a_received_database_that_is_not_synced_is_found() {
    found(Mutation::ReceivedUnsynced);
}
