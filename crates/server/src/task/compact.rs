//! Automatic compaction by the leader: keep so much time, or so many revisions.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use proto::etcdserverpb as pb;
use store::Compacted;
use tokio::time::Instant;

use crate::config::AutoCompaction;
use crate::log;
use crate::member::{Field, Member};
use crate::rpc::error::{self, Status};

/// Revision mode looks this often.
const REVISION_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// Periodic mode compacts at most this often.
const HOUR: Duration = Duration::from_secs(3600);
/// Revisions noted per compaction in periodic mode.
const NOTES_PER_COMPACTION: u32 = 10;

/// How often the end of a compaction is looked for: as long as the usual pause between two of its steps.
const LOOK: Duration = Duration::from_millis(10);

/// Runs until the member stops.
pub async fn run(member: Arc<Member>) {
    let revision = member.store.compact_revision();
    if member.store.compaction_done() < revision {
        log::info!("resume scheduled compaction", "scheduled-compact-revision" = revision);
        follow(&member, revision);
    }
    // Checked at the start.
    let mode = member.config.auto_compaction().unwrap_or(AutoCompaction::Off);
    let work = async {
        match mode {
            AutoCompaction::Off => std::future::pending().await,
            AutoCompaction::Periodic(period) => periodic(&member, period).await,
            AutoCompaction::Revision(keep) => revisions(&member, keep).await,
        }
    };
    tokio::select! {
        () = work => {}
        () = member.stopping() => {}
    }
}

async fn revisions(member: &Arc<Member>, keep: i64) {
    let mut last = 0;
    loop {
        tokio::time::sleep(REVISION_INTERVAL).await;
        let Some(revision) = due(member.store.revision(), keep, last) else { continue };
        if !member.leadership.leads() {
            continue;
        }
        let start = Instant::now();
        log::info!(
            "starting auto revision compaction",
            "revision" = revision,
            "revision-compaction-retention" = keep
        );
        match compact(member, revision).await {
            Ok(()) => {
                last = revision;
                log::info!(
                    "completed auto revision compaction",
                    "revision" = revision,
                    "revision-compaction-retention" = keep,
                    "took" = start.elapsed()
                );
            }
            Err(status) => log::warning!(
                "failed auto revision compaction",
                "revision" = revision,
                "revision-compaction-retention" = keep,
                "retry-interval" = REVISION_INTERVAL,
                "error" = status.message.as_ref()
            ),
        }
    }
}

/// What revision mode compacts to now, if anything.
fn due(revision: i64, keep: i64, last: i64) -> Option<i64> {
    Some(revision.saturating_sub(keep)).filter(|to| *to > 0 && *to != last)
}

/// Notes the revision ten times per period (at most per hour) and compacts to the oldest note once it is a period old.
async fn periodic(member: &Arc<Member>, period: Duration) {
    let every = period.min(HOUR);
    let pause = every / NOTES_PER_COMPACTION;
    let notes_max = usize::try_from(period.as_nanos() / pause.as_nanos().max(1)).unwrap_or(usize::MAX) + 1;
    let mut notes = VecDeque::new();
    let (mut last, mut succeeded, mut wait) = (0, Instant::now(), period);
    loop {
        notes.push_back(member.store.revision());
        if notes.len() > notes_max {
            notes.pop_front();
        }
        tokio::time::sleep(pause).await;
        let Some(revision) = notes.front().copied() else { continue };
        if !member.leadership.leads() || succeeded.elapsed() < wait || revision == last {
            continue;
        }
        wait = every;
        log::info!("starting auto periodic compaction", "revision" = revision, "compact-period" = period);
        let start = Instant::now();
        match compact(member, revision).await {
            Ok(()) => {
                (last, succeeded) = (revision, Instant::now());
                log::info!(
                    "completed auto periodic compaction",
                    "revision" = revision,
                    "compact-period" = period,
                    "took" = start.elapsed()
                );
            }
            Err(status) => log::warning!(
                "failed auto periodic compaction",
                "revision" = revision,
                "compact-period" = period,
                "retry-interval" = pause,
                "error" = status.message.as_ref()
            ),
        }
    }
}

/// Logs the end of the background work that follows an accepted compaction.
pub fn follow(member: &Arc<Member>, revision: i64) {
    log::info!("compact tree index", "revision" = revision);
    let (member, start) = (member.clone(), Instant::now());
    tokio::spawn(async move {
        while member.store.compaction_done() < revision {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = member.stopping() => return,
            }
        }
        if let Some(done) = member.store.compacted(revision) {
            finished(&member, done, start.elapsed());
        }
    });
}

fn finished(member: &Member, done: Compacted, took: Duration) {
    let (size, in_use) = (member.store.size_bytes(), member.store.size_in_use_bytes());
    log::info!(
        "finished scheduled compaction",
        "compact-revision" = done.revision,
        "took" = took,
        "number-of-keys-compacted" = done.deleted,
        "hash" = done.hash.map_or(0, |taken| taken.hash),
        "current-db-size-bytes" = size,
        "current-db-size" = log::size(size),
        "current-db-size-in-use-bytes" = in_use,
        "current-db-size-in-use" = log::size(in_use)
    );
    match done.hash {
        Some(taken) => log::info!(
            "storing new hash",
            "hash" = taken.hash,
            "revision" = taken.hash_revision,
            "compact-revision" = taken.compact_revision
        ),
        None => log::info!("previous compaction was interrupted, skip storing compaction hash value"),
    }
}

/// Sees to it that history up to `revision` is gone, by this call or before.
async fn compact(member: &Arc<Member>, revision: i64) -> Result<(), Status> {
    let request = pb::CompactionRequest { revision, physical: false };
    match member.propose(&Default::default(), Field::Compaction, &request).await {
        Ok(_) => follow(member, revision),
        Err(status) if status == error::COMPACTED => {}
        Err(status) => return Err(status),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revision_mode_keeps_as_many_revisions_as_it_was_told() {
        assert_eq!(due(10, 3, 0), Some(7));
        assert_eq!(due(10, 3, 6), Some(7));
        assert_eq!(due(10, 3, 7), None, "nothing was written since");
        assert_eq!(due(3, 3, 0), None, "nothing is that old");
        assert_eq!(due(2, 1000, 0), None);
    }
}
