//! The commit thread: writes sealed buffers into the bolt file while apply goes on into the next one, keeps the batch
//! interval, and defragments in steps.

use std::time::{Duration, Instant};

use super::apply;
use super::mailbox::{Receiver, Sender};

/// What the commit thread is told.
pub enum Job {
    /// Something waits in the write buffer: tell apply when the interval is over.
    Arm,
    /// The buffer of this number is sealed: write it.
    Sealed(u64),
    /// A defragmentation has been asked for.
    Defragment,
    /// End the thread.
    Stop,
}

/// Runs until told to stop. A failed commit ends the process.
pub fn run(
    committer: backend::Committer,
    interval: Duration,
    jobs: Receiver<Job>,
    apply: Sender<apply::Job>,
) {
    let mut taken = Vec::new();
    let mut due: Option<Instant> = None;
    let mut next_step: Option<Instant> = None;
    loop {
        jobs.take(&mut taken, [due, next_step].into_iter().flatten().min());
        for job in taken.drain(..) {
            match job {
                Job::Arm => due = Some(due.unwrap_or_else(|| Instant::now() + interval)),
                Job::Sealed(number) => {
                    commit(&committer);
                    let _ = apply.push(apply::Job::Committed(number));
                }
                Job::Defragment => next_step = Some(next_step.unwrap_or_else(Instant::now)),
                Job::Stop => return,
            }
        }
        if next_step.is_some_and(|at| Instant::now() >= at) {
            // Half of the time the disk is left to others, the log above all.
            let took = if committer.defragmenting() { commit(&committer) } else { Duration::ZERO };
            next_step = committer.defragmenting().then(|| Instant::now() + took);
        }
        if due.is_some_and(|at| Instant::now() >= at) {
            due = None;
            let _ = apply.push(apply::Job::CommitTick);
        }
    }
}

fn commit(committer: &backend::Committer) -> Duration {
    let mut times = crate::stats::CommitTimes::start();
    if let Err(error) = committer.commit_sealed_in_phases(&mut |phase| times.passed(phase)) {
        super::fatal("failed to commit to the backend", &error);
    }
    times.committed()
}
