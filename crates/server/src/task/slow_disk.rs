//! A leader whose disk is slow makes every write of the cluster slow, however quick the others' are: once a sync has
//! taken too long and another voter has synced what this one has not, that one leads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::log;
use crate::member::Member;
use crate::notices::hex;

/// How often the running sync is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Since when the log has been syncing, for whoever wants to know how the disk does.
pub struct SyncPace {
    base: Instant,
    /// Milliseconds from `base`, plus one, to the begin of the running sync; 0 while none runs.
    since: AtomicU64,
}

impl SyncPace {
    /// Nothing is synced yet.
    pub fn new() -> SyncPace {
        SyncPace { base: Instant::now(), since: AtomicU64::new(0) }
    }

    /// Runs `sync`, which others may watch.
    pub fn watched<T>(&self, sync: impl FnOnce() -> T) -> T {
        self.since.store(self.now_ms() + 1, Ordering::Relaxed);
        let done = sync();
        self.since.store(0, Ordering::Relaxed);
        done
    }

    /// For how long a sync has been running.
    pub fn running(&self) -> Option<Duration> {
        let since = self.since.load(Ordering::Relaxed).checked_sub(1)?;
        Some(Duration::from_millis(self.now_ms().saturating_sub(since)))
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Default for SyncPace {
    fn default() -> Self {
        SyncPace::new()
    }
}

/// Hands leadership over while this member's disk holds the cluster up; ends when the member stops.
pub async fn run(member: Arc<Member>, pace: Arc<SyncPace>) {
    let bound = member.config.slow_disk_handover;
    if bound.is_zero() {
        return;
    }
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = member.stopping() => return,
        }
        let Some(stalled) = pace.running().filter(|running| *running >= bound) else { continue };
        if !member.leadership.leads() {
            continue;
        }
        let Ok(status) = member.node_status().await else { return };
        let Some(to) = quicker(&status) else { continue };
        log::warning!(
            "the disk of the leader is slow: handing leadership over to a member whose disk is not",
            "local-member-id" = hex(member.id),
            "transferee-member-id" = hex(to),
            "sync-running" = stalled,
            "slow-disk-handover" = bound
        );
        if let Err(status) = member.transfer_leadership(to).await {
            log::warning!("leadership transfer failed", "error" = status.message.as_ref());
        }
    }
}

/// The voter that has synced most, if that is more than this leader has.
fn quicker(status: &node::Status) -> Option<u64> {
    let own = status.peers.iter().find(|peer| peer.id == status.id)?.matched;
    let others = status.peers.iter().filter(|peer| peer.id != status.id);
    let able = others.filter(|peer| !peer.is_learner && peer.recent_active && peer.matched > own);
    able.max_by_key(|peer| peer.matched).map(|peer| peer.id.0)
}

#[cfg(test)]
mod tests {
    use ::raft::{Index, MemberId, Restored};

    use super::*;

    #[test]
    fn a_running_sync_is_seen_until_it_ends() {
        let pace = SyncPace::new();
        assert_eq!(pace.running(), None);
        pace.watched(|| assert!(pace.running().is_some()));
        assert_eq!(pace.running(), None);
    }

    #[test]
    fn only_a_voter_that_has_synced_more_is_quicker() {
        let node = node::Node::new(node::Config::new(MemberId(1), 1), Restored::default()).unwrap();
        let status = |peers: &[(u64, u64, bool, bool)]| node::Status {
            peers: peers
                .iter()
                .map(|(id, matched, is_learner, recent_active)| node::PeerStatus {
                    id: MemberId(*id),
                    matched: Index(*matched),
                    is_learner: *is_learner,
                    recent_active: *recent_active,
                })
                .collect(),
            ..node.status()
        };
        let own = (1, 5, false, true);
        assert_eq!(quicker(&status(&[own, (2, 9, false, true), (3, 7, false, true)])), Some(2));
        assert_eq!(quicker(&status(&[own, (2, 5, false, true)])), None, "nobody has synced more");
        assert_eq!(quicker(&status(&[own, (2, 9, true, true), (3, 9, false, false)])), None);
    }
}
