//! Automatic compaction by the leader: keep so much time, or so many revisions.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use proto::etcdserverpb as pb;
use tokio::time::Instant;

use crate::config::AutoCompaction;
use crate::log;
use crate::member::{Field, Member};
use crate::rpc::error;

/// Revision mode looks this often.
const REVISION_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// Periodic mode compacts at most this often.
const HOUR: Duration = Duration::from_secs(3600);
/// Revisions noted per compaction in periodic mode.
const NOTES_PER_COMPACTION: u32 = 10;

/// Runs until the member stops.
pub async fn run(member: Arc<Member>) {
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

async fn revisions(member: &Member, keep: i64) {
    let mut last = 0;
    loop {
        tokio::time::sleep(REVISION_INTERVAL).await;
        let revision = member.store.revision() - keep;
        if member.leadership.leads() && revision > 0 && revision != last {
            log::info!(
                "starting auto revision compaction",
                "revision" = revision,
                "revision-compaction-retention" = keep
            );
            if compact(member, revision).await {
                last = revision;
            }
        }
    }
}

/// Notes the revision ten times per period (at most per hour) and compacts to the oldest note once it is a period old.
async fn periodic(member: &Member, period: Duration) {
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
        if compact(member, revision).await {
            (last, succeeded) = (revision, Instant::now());
        }
    }
}

/// True when history up to `revision` is gone, by this call or before.
async fn compact(member: &Member, revision: i64) -> bool {
    let request = pb::CompactionRequest { revision, physical: false };
    match member.propose(&Default::default(), Field::Compaction, &request).await {
        Ok(_) => true,
        Err(status) if status == error::COMPACTED => true,
        Err(status) => {
            log::warning!("failed auto compaction", "revision" = revision, "error" = status.message.as_ref());
            false
        }
    }
}
