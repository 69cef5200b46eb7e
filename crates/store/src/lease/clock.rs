//! The leader's lease clock: when leases end. Pure: time is passed in as milliseconds of any steady clock.
//!
//! Only the leader runs it. It never deletes anything: it names leases whose revocation should be proposed. formats 9.2.

use std::collections::{BTreeMap, BTreeSet};

use proto::etcdserverpb::LeaseCheckpoint;

use crate::LeaseChange;

/// At most so many leases are handed out by one call of [`LeaseClock::expired`] in etcd's loop of 500 ms.
pub const EXPIRED_MAX: usize = 500;
/// At most so many checkpoints travel in one proposal.
pub const CHECKPOINTS_MAX: usize = 1000;
/// From so many leases on, a new leader spreads their ends.
const SPREAD_FROM: usize = 1000;
/// How many leases may end within one second after a spread promotion.
const SPREAD_PER_SECOND: usize = 750;
const SECOND_MS: u64 = 1000;

/// Settings of a clock.
#[derive(Debug, Clone, Copy)]
pub struct ClockOptions {
    /// An expired lease is named again after so long (request timeout: 7 s by default).
    pub retry_ms: u64,
    /// Feature LeaseCheckpoint: interval of checkpoints (5 min), `None` when off.
    pub checkpoint_ms: Option<u64>,
}

impl Default for ClockOptions {
    fn default() -> Self {
        Self { retry_ms: 7000, checkpoint_ms: None }
    }
}

/// Answer to a keep-alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// Renewed to the full TTL (seconds).
    Renewed {
        /// Granted TTL in seconds.
        ttl: i64,
    },
    /// The lease has a checkpointed remaining TTL: propose a checkpoint of 0 for it, apply it, then renew again.
    ClearCheckpointFirst,
    /// Ended, not yet revoked: wait until it is gone (then answer TTL 0) or the leader changes.
    Expired,
    /// No such lease: answer TTL 0.
    NotFound,
    /// This member does not lead.
    NotPrimary,
}

/// Answer to a time-to-live question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeToLive {
    /// Whole seconds left, rounded down; negative once ended.
    pub remaining: i64,
    /// Granted TTL in seconds.
    pub granted: i64,
}

#[derive(Debug, Clone, Copy)]
struct Timer {
    ttl: i64,
    remaining_ttl: i64,
    expiry_ms: u64,
    /// When the clock looks at the lease next: its end, or a retry.
    due_ms: u64,
    checkpoint_ms: Option<u64>,
}

impl Timer {
    /// What is left when the clock starts: the checkpointed rest, else all.
    fn lease_ms(&self) -> u64 {
        let seconds = if self.remaining_ttl > 0 { self.remaining_ttl } else { self.ttl };
        u64::try_from(seconds).unwrap_or(0).saturating_mul(SECOND_MS)
    }
}

/// Ends of all leases, while this member leads.
#[derive(Debug, Default)]
pub struct LeaseClock {
    options: ClockOptions,
    primary: bool,
    timers: BTreeMap<i64, Timer>,
    due: BTreeSet<(u64, i64)>,
    checkpoints: BTreeSet<(u64, i64)>,
}

impl LeaseClock {
    /// A clock that does not run yet.
    #[must_use]
    pub fn new(options: ClockOptions) -> Self {
        Self { options, ..Self::default() }
    }

    /// True between [`Self::promote`] and [`Self::demote`].
    #[must_use]
    pub fn is_primary(&self) -> bool {
        self.primary
    }

    /// This member leads from now on: every lease gets its (remaining) TTL plus `extend_ms` (election timeout), and
    /// many leases are spread so that no more than 750 end within any second. `leases`: id, TTL, remaining TTL.
    pub fn promote(
        &mut self,
        now_ms: u64,
        extend_ms: u64,
        leases: impl IntoIterator<Item = (i64, i64, i64)>,
    ) {
        self.demote();
        self.primary = true;
        let mut ends = Vec::new();
        for (id, ttl, remaining_ttl) in leases {
            let mut timer = Timer { ttl, remaining_ttl, expiry_ms: 0, due_ms: 0, checkpoint_ms: None };
            timer.expiry_ms = now_ms.saturating_add(extend_ms).saturating_add(timer.lease_ms());
            ends.push((timer.expiry_ms, id, timer));
        }
        ends.sort_unstable_by_key(|&(end, id, _)| (end, id));
        if ends.len() >= SPREAD_FROM {
            for i in SPREAD_PER_SECOND..ends.len() {
                let earliest = ends[i - SPREAD_PER_SECOND].2.expiry_ms.saturating_add(SECOND_MS);
                ends[i].2.expiry_ms = ends[i].2.expiry_ms.max(earliest);
            }
        }
        for (_, id, timer) in ends {
            self.start(now_ms, id, timer);
        }
    }

    /// This member leads no longer: leases never end here.
    pub fn demote(&mut self) {
        self.primary = false;
        self.timers.clear();
        self.due.clear();
        self.checkpoints.clear();
    }

    /// Takes over what apply did. Ignored while this member does not lead.
    pub fn observe(&mut self, now_ms: u64, change: LeaseChange) {
        if !self.primary {
            return;
        }
        match change {
            LeaseChange::Granted { id, ttl } => {
                let mut timer = Timer { ttl, remaining_ttl: 0, expiry_ms: 0, due_ms: 0, checkpoint_ms: None };
                timer.expiry_ms = now_ms.saturating_add(timer.lease_ms());
                self.start(now_ms, id, timer);
            }
            LeaseChange::Revoked { id } => {
                self.stop(id);
            }
            LeaseChange::Checkpointed { id, remaining_ttl } => {
                if let Some(mut timer) = self.stop(id) {
                    timer.remaining_ttl = remaining_ttl;
                    self.start(now_ms, id, timer);
                }
            }
        }
    }

    /// Keep-alive: the lease gets its full TTL again.
    pub fn renew(&mut self, now_ms: u64, id: i64) -> Renewal {
        if !self.primary {
            return Renewal::NotPrimary;
        }
        let Some(timer) = self.timers.get(&id) else { return Renewal::NotFound };
        if timer.expiry_ms <= now_ms {
            return Renewal::Expired;
        }
        if timer.remaining_ttl > 0 {
            return Renewal::ClearCheckpointFirst;
        }
        let mut timer = *timer;
        self.stop(id);
        timer.expiry_ms = now_ms.saturating_add(timer.lease_ms());
        self.start(now_ms, id, timer);
        Renewal::Renewed { ttl: timer.ttl }
    }

    /// Leases that have ended, oldest first, at most `max` ([`EXPIRED_MAX`]). Each is named once, and again after the
    /// retry time if it is still there.
    pub fn expired(&mut self, now_ms: u64, max: usize) -> Vec<i64> {
        let mut ended = Vec::new();
        while ended.len() < max {
            let Some(&(due_ms, id)) = self.due.first() else { break };
            if due_ms > now_ms {
                break;
            }
            self.due.pop_first();
            if let Some(timer) = self.timers.get_mut(&id) {
                timer.due_ms = now_ms.saturating_add(self.options.retry_ms.max(1));
                self.due.insert((timer.due_ms, id));
                ended.push(id);
            }
        }
        ended
    }

    /// Checkpoints to propose now, at most `max` ([`CHECKPOINTS_MAX`]).
    pub fn checkpoints(&mut self, now_ms: u64, max: usize) -> Vec<LeaseCheckpoint> {
        let mut out = Vec::new();
        let Some(interval_ms) = self.options.checkpoint_ms else { return out };
        while out.len() < max {
            let Some(&(at_ms, id)) = self.checkpoints.first() else { break };
            if at_ms > now_ms {
                break;
            }
            self.checkpoints.pop_first();
            let Some(timer) = self.timers.get_mut(&id) else { continue };
            timer.checkpoint_ms = None;
            if timer.expiry_ms <= now_ms {
                continue;
            }
            let remaining_ttl = seconds_up(timer.expiry_ms - now_ms);
            if remaining_ttl < timer.ttl {
                out.push(LeaseCheckpoint { id, remaining_ttl });
            }
            let mut again = *timer;
            self.stop(id);
            again.checkpoint_ms = None;
            self.start_with_checkpoint(now_ms, id, again, interval_ms);
        }
        out
    }

    /// Seconds left of a lease; `None` if there is no such lease (or this member does not lead).
    #[must_use]
    pub fn time_to_live(&self, now_ms: u64, id: i64) -> Option<TimeToLive> {
        let timer = self.timers.get(&id)?;
        let remaining = if timer.expiry_ms >= now_ms {
            i64::try_from((timer.expiry_ms - now_ms) / SECOND_MS).unwrap_or(i64::MAX)
        } else {
            -i64::try_from((now_ms - timer.expiry_ms) / SECOND_MS).unwrap_or(i64::MAX)
        };
        Some(TimeToLive { remaining, granted: timer.ttl })
    }

    /// Ids, next to end first.
    #[must_use]
    pub fn by_remaining(&self) -> Vec<i64> {
        let mut ends: Vec<(u64, i64)> = self.timers.iter().map(|(&id, t)| (t.expiry_ms, id)).collect();
        ends.sort_unstable();
        ends.into_iter().map(|(_, id)| id).collect()
    }

    /// When the clock must be asked next (milliseconds), if at all.
    #[must_use]
    pub fn next_due_ms(&self) -> Option<u64> {
        let due = self.due.first().map(|&(at, _)| at);
        let checkpoint = self.checkpoints.first().map(|&(at, _)| at);
        due.into_iter().chain(checkpoint).min()
    }

    fn start(&mut self, now_ms: u64, id: i64, timer: Timer) {
        match self.options.checkpoint_ms {
            Some(interval_ms) => self.start_with_checkpoint(now_ms, id, timer, interval_ms),
            None => self.insert(id, timer),
        }
    }

    /// A lease that outlives the interval is due for a checkpoint at its end.
    fn start_with_checkpoint(&mut self, now_ms: u64, id: i64, mut timer: Timer, interval_ms: u64) {
        if timer.expiry_ms.saturating_sub(now_ms) > interval_ms {
            let at_ms = now_ms.saturating_add(interval_ms);
            timer.checkpoint_ms = Some(at_ms);
            self.checkpoints.insert((at_ms, id));
        }
        self.insert(id, timer);
    }

    fn insert(&mut self, id: i64, mut timer: Timer) {
        timer.due_ms = timer.expiry_ms;
        self.due.insert((timer.due_ms, id));
        self.timers.insert(id, timer);
    }

    fn stop(&mut self, id: i64) -> Option<Timer> {
        let timer = self.timers.remove(&id)?;
        self.due.remove(&(timer.due_ms, id));
        if let Some(at_ms) = timer.checkpoint_ms {
            self.checkpoints.remove(&(at_ms, id));
        }
        Some(timer)
    }
}

fn seconds_up(ms: u64) -> i64 {
    i64::try_from(ms.div_ceil(SECOND_MS)).unwrap_or(i64::MAX)
}
