//! The lease clock and the task that proposes the end of expired leases. It never deletes a key: it proposes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use proto::etcdserverpb as pb;
use raft::Term;
use store::lease::clock::{CHECKPOINTS_MAX, EXPIRED_MAX};
use store::lease::{ClockOptions, LeaseClock, Renewal, TimeToLive};
use store::{LeaseChange, StoreReader};
use tokio::sync::{Notify, Semaphore};

use crate::log;
use crate::member::{Field, Member, Who};
use crate::rpc::error;

/// How often expired leases are collected.
const INTERVAL: Duration = Duration::from_millis(500);
/// Revocations proposed at a time.
const PARALLEL: usize = 64;

/// The lease clock as apply, keep-alives and the expiry task share it.
#[derive(Clone)]
pub struct Leases(Arc<Shared>);

struct Shared {
    clock: Mutex<LeaseClock>,
    start: Instant,
    extend: Duration,
    revoked: Notify,
}

impl Leases {
    /// A clock that runs once this member leads. `extend` (the election timeout) is added to every lease then.
    pub fn new(options: ClockOptions, extend: Duration) -> Leases {
        Leases(Arc::new(Shared {
            clock: Mutex::new(LeaseClock::new(options)),
            start: Instant::now(),
            extend,
            revoked: Notify::new(),
        }))
    }

    fn now_ms(&self) -> u64 {
        millis(self.0.start.elapsed())
    }

    /// Apply changed a lease. Called before anybody is answered, so that a keep-alive right after a grant finds it.
    pub fn observe(&self, change: LeaseChange) {
        self.0.clock.lock().observe(self.now_ms(), change);
        match change {
            LeaseChange::Granted { ttl, .. } => crate::stats::lease_granted(ttl),
            LeaseChange::Revoked { .. } => {
                crate::stats::METRICS.etcd_debugging_lease_revoked_total.inc();
                self.0.revoked.notify_waiters();
            }
            LeaseChange::Checkpointed { .. } => {}
        }
    }

    /// This member leads from now on.
    pub fn promote(&self, store: &StoreReader) {
        let leases = store.leases().into_iter().map(|l| (l.id, l.ttl, l.remaining_ttl));
        self.0.clock.lock().promote(self.now_ms(), millis(self.0.extend), leases);
    }

    /// This member leads no longer.
    pub fn demote(&self) {
        self.0.clock.lock().demote();
        self.0.revoked.notify_waiters();
    }

    /// Keep-alive.
    pub fn renew(&self, id: i64) -> Renewal {
        self.0.clock.lock().renew(self.now_ms(), id)
    }

    /// This member's clock runs.
    pub fn is_primary(&self) -> bool {
        self.0.clock.lock().is_primary()
    }

    /// What is left of a lease.
    pub fn time_to_live(&self, id: i64) -> Option<TimeToLive> {
        self.0.clock.lock().time_to_live(self.now_ms(), id)
    }

    /// Ids by remaining time, shortest first; empty when the clock does not run.
    pub fn by_remaining(&self) -> Vec<i64> {
        self.0.clock.lock().by_remaining()
    }

    /// Resolves on the next revocation, or after `at_most`.
    pub async fn revocation(&self, at_most: Duration) {
        let _ = tokio::time::timeout(at_most, self.0.revoked.notified()).await;
    }
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

/// Proposes revocations and checkpoints while this member leads; ends when the member stops.
pub async fn run(member: Arc<Member>) {
    let slots = Arc::new(Semaphore::new(PARALLEL));
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // While there is more to look at than one round takes, the next follows at once: the slots keep the pace.
    let mut more = false;
    loop {
        tokio::select! {
            biased;
            () = member.stopping() => return,
            () = tokio::task::yield_now(), if more => {}
            _ = ticks.tick() => {}
        }
        more = false;
        let (expired, checkpoints, is_due) = {
            let mut clock = member.leases.0.clock.lock();
            let now = member.leases.now_ms();
            if !clock.is_primary() {
                continue;
            }
            let expired = clock.expired(now, EXPIRED_MAX);
            (expired, clock.checkpoints(now, CHECKPOINTS_MAX), clock.is_due(now))
        };
        if expired.is_empty() && checkpoints.is_empty() {
            more = is_due;
            continue;
        }
        // The clock is only trusted by a leader that still is one, in the term whose clock it is.
        let term = member.leadership.now().term;
        if member.linearize().await.is_err() {
            continue;
        }
        if !member.leadership.leads() || member.leadership.now().term != term {
            continue;
        }
        more = is_due;
        // Meanwhile another member may have taken over, or a lease been granted anew.
        let expired: Vec<i64> = {
            let clock = member.leases.0.clock.lock();
            let now = member.leases.now_ms();
            if !clock.is_primary() {
                continue;
            }
            expired.into_iter().filter(|id| clock.has_ended(now, *id)).collect()
        };
        crate::stats::METRICS.etcd_debugging_server_lease_expired_total.add(expired.len() as u64);
        for id in expired {
            let Ok(slot) = slots.clone().acquire_owned().await else { return };
            let member = member.clone();
            tokio::spawn(async move {
                revoke(&member, id, term).await;
                drop(slot);
            });
        }
        if !checkpoints.is_empty() {
            let request = pb::LeaseCheckpointRequest { checkpoints };
            // Lost ones are sent again with the next round.
            let _ = member.propose(&Who::default(), Field::LeaseCheckpoint, &request).await;
        }
    }
}

/// As root: a lease ends whatever its keys are. Only in the `term` whose clock has found its end: a later leader may have
/// renewed it.
async fn revoke(member: &Member, id: i64, term: Term) {
    let auth = member.store.auth();
    let who = match auth.enabled {
        true => Who { user: store::auth::ROOT.into(), revision: auth.revision },
        false => Who::default(),
    };
    let request = pb::LeaseRevokeRequest { id };
    match member.propose_as_leader(term, &who, Field::LeaseRevoke, &request).await {
        Ok(_) => {}
        Err(status) if status == error::LEASE_NOT_FOUND || status == error::PROPOSAL_DROPPED => {}
        Err(status) => {
            log::warning!(
                "failed to revoke lease",
                "lease-id" = format!("{id:016x}"),
                "error" = status.message.as_ref()
            );
        }
    }
}
