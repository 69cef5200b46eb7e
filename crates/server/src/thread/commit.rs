//! The commit thread: writes sealed buffers into the bolt file while apply goes on into the next one, and keeps the
//! batch interval.

use std::time::{Duration, Instant};

use super::apply;
use super::mailbox::{Receiver, Sender};

/// What the commit thread is told.
pub enum Job {
    /// Something waits in the write buffer: tell apply when the interval is over.
    Arm,
    /// The buffer of this number is sealed: write it.
    Sealed(u64),
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
    loop {
        jobs.take(&mut taken, due);
        for job in taken.drain(..) {
            match job {
                Job::Arm => due = Some(due.unwrap_or_else(|| Instant::now() + interval)),
                Job::Sealed(number) => {
                    let mut times = crate::stats::CommitTimes::start();
                    if let Err(error) = committer.commit_sealed_in_phases(&mut |phase| times.passed(phase)) {
                        super::fatal("failed to commit to the backend", &error);
                    }
                    times.committed();
                    let _ = apply.push(apply::Job::Committed(number));
                }
                Job::Stop => return,
            }
        }
        if due.is_some_and(|at| Instant::now() >= at) {
            due = None;
            let _ = apply.push(apply::Job::CommitTick);
        }
    }
}
