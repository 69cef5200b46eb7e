//! The leader's lease clock: when leases end. Pure: time is passed in as milliseconds of any steady clock.
//!
//! Only the leader runs it. It never deletes anything: it names leases whose revocation should be proposed. formats 9.2.

use std::collections::{BTreeMap, BTreeSet};

use proto::etcdserverpb::LeaseCheckpoint;

use crate::LeaseChange;

/// At most so many leases are looked at by one call of [`LeaseClock::expired`] in etcd's loop of 500 ms.
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
    /// When the clock looks at the lease next: its end or, after a renewal, the one before; or a retry.
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
        let Some(timer) = self.timers.get_mut(&id) else { return Renewal::NotFound };
        if timer.expiry_ms <= now_ms {
            return Renewal::Expired;
        }
        if timer.remaining_ttl > 0 {
            return Renewal::ClearCheckpointFirst;
        }
        let ttl = timer.ttl;
        timer.expiry_ms = now_ms.saturating_add(timer.lease_ms());
        // The usual renewal moves the end away: that is found out when the lease would have ended.
        if timer.expiry_ms < timer.due_ms || self.options.checkpoint_ms.is_some() {
            let timer = *timer;
            self.stop(id);
            self.start(now_ms, id, timer);
        }
        Renewal::Renewed { ttl }
    }

    /// Leases that have ended, oldest first. At most `max` ([`EXPIRED_MAX`]) are looked at, and there may be
    /// [more](Self::is_due). Each is named once, and again after the retry time if it is still there.
    pub fn expired(&mut self, now_ms: u64, max: usize) -> Vec<i64> {
        let mut ended = Vec::new();
        for _ in 0..max {
            let Some(&(_, id)) = self.due.first().filter(|&&(due_ms, _)| due_ms <= now_ms) else { break };
            self.due.pop_first();
            let Some(timer) = self.timers.get_mut(&id) else { continue };
            if timer.expiry_ms > now_ms {
                timer.due_ms = timer.expiry_ms;
            } else {
                timer.due_ms = now_ms.saturating_add(self.options.retry_ms.max(1));
                ended.push(id);
            }
            self.due.insert((timer.due_ms, id));
        }
        ended
    }

    /// Whether there is something for [`Self::expired`] to look at.
    #[must_use]
    pub fn is_due(&self, now_ms: u64) -> bool {
        self.due.first().is_some_and(|&(due_ms, _)| due_ms <= now_ms)
    }

    /// Whether a lease named by [`Self::expired`] is still at its end: it may have been revoked and granted anew since, or
    /// this member leads no longer.
    #[must_use]
    pub fn has_ended(&self, now_ms: u64, id: i64) -> bool {
        self.primary && self.timers.get(&id).is_some_and(|timer| timer.expiry_ms <= now_ms)
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

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [i64; 0] = [];

    fn granted(id: i64, ttl: i64) -> LeaseChange {
        LeaseChange::Granted { id, ttl }
    }

    fn leading(leases: impl IntoIterator<Item = (i64, i64, i64)>) -> LeaseClock {
        let mut clock = LeaseClock::default();
        clock.promote(1000, 500, leases);
        clock
    }

    #[test]
    fn a_lease_ends_after_its_ttl_and_is_named_again_until_it_is_gone() {
        let mut clock = leading([]);
        clock.observe(1000, granted(7, 2));
        assert_eq!(clock.expired(2999, 10), NONE);
        assert_eq!(clock.expired(3000, 10), [7]);
        assert_eq!(clock.expired(9999, 10), NONE);
        assert_eq!(clock.expired(10_000, 10), [7]);
        clock.observe(10_000, LeaseChange::Revoked { id: 7 });
        assert_eq!(clock.expired(100_000, 10), NONE);
        assert!(!clock.is_due(u64::MAX));
    }

    #[test]
    fn a_lease_granted_anew_or_left_to_another_leader_is_not_the_one_that_has_ended() {
        let mut clock = leading([]);
        clock.observe(0, granted(7, 2));
        clock.observe(0, granted(8, 2));
        assert_eq!(clock.expired(2000, 10), [7, 8]);
        assert!(clock.has_ended(2000, 7));
        clock.observe(2001, LeaseChange::Revoked { id: 7 });
        assert!(!clock.has_ended(2001, 7));
        clock.observe(2002, granted(7, 2));
        assert!(!clock.has_ended(2003, 7) && clock.has_ended(2003, 8));
        clock.demote();
        assert!(!clock.has_ended(2003, 8));
    }

    #[test]
    fn a_keep_alive_starts_the_ttl_again_but_not_after_the_end() {
        let mut clock = leading([]);
        clock.observe(0, granted(7, 2));
        assert_eq!(clock.renew(1999, 7), Renewal::Renewed { ttl: 2 });
        assert_eq!(clock.expired(3998, 10), NONE);
        assert_eq!(clock.time_to_live(1999, 7), Some(TimeToLive { remaining: 2, granted: 2 }));
        assert_eq!(clock.time_to_live(2000, 7), Some(TimeToLive { remaining: 1, granted: 2 }));
        assert_eq!(clock.renew(3999, 7), Renewal::Expired);
        assert_eq!(clock.renew(0, 8), Renewal::NotFound);
        assert_eq!(clock.time_to_live(0, 8), None);
    }

    #[test]
    fn a_lease_renewed_before_its_end_is_looked_at_then_and_named_at_the_new_one() {
        let mut clock = leading([]);
        for id in 1..=3 {
            clock.observe(0, granted(id, 10));
        }
        clock.renew(4000, 1);
        clock.renew(5000, 2);
        clock.renew(6000, 1);
        assert!(!clock.is_due(9999) && clock.is_due(10_000));
        assert_eq!(clock.expired(10_000, 2), NONE, "two are looked at");
        assert!(clock.is_due(10_000));
        assert_eq!(clock.expired(10_000, 2), [3]);
        assert!(!clock.is_due(14_999));
        assert_eq!(clock.expired(15_000, 10), [2]);
        assert_eq!(clock.expired(15_999, 10), NONE);
        assert_eq!(clock.expired(16_000, 10), [1]);
    }

    #[test]
    fn a_renewal_that_shortens_what_a_new_leader_gave_counts() {
        let mut clock = leading([(7, 2, 0)]);
        assert_eq!(clock.renew(1100, 7), Renewal::Renewed { ttl: 2 });
        assert_eq!(clock.expired(3099, 10), NONE);
        assert_eq!(clock.expired(3100, 10), [7], "not at 3500");
    }

    #[test]
    fn a_new_leader_gives_every_lease_its_rest_and_the_election_timeout() {
        let mut clock = leading([(1, 10, 0), (2, 10, 4)]);
        assert_eq!(clock.by_remaining(), [2, 1]);
        assert_eq!(clock.expired(1000 + 4499, 10), NONE);
        assert_eq!(clock.expired(1000 + 4500, 10), [2]);
        assert_eq!(clock.expired(1000 + 10_500, 10), [1]);
    }

    #[test]
    fn who_does_not_lead_ends_nothing() {
        let mut clock = LeaseClock::default();
        clock.observe(0, granted(7, 2));
        assert_eq!(clock.expired(u64::MAX, 10), NONE);
        assert_eq!(clock.renew(0, 7), Renewal::NotPrimary);
        let mut clock = leading([(7, 2, 0)]);
        clock.demote();
        assert_eq!(clock.expired(u64::MAX, 10), NONE);
        assert!(!clock.is_primary());
    }

    #[test]
    fn expired_leases_come_in_batches_oldest_first() {
        let mut clock = leading([(1, 3, 0), (2, 1, 0), (3, 2, 0)]);
        assert_eq!(clock.expired(100_000, 2), [2, 3]);
        assert_eq!(clock.expired(100_000, 2), [1]);
    }

    #[test]
    fn a_new_leader_spreads_many_leases_and_ends_none_early() {
        const MANY: i64 = 5000;
        let mut clock = leading((0..MANY).map(|id| (id, 10 + id % 2, 0)));
        let ends: Vec<(i64, u64)> = clock.timers.iter().map(|(&id, t)| (id, t.expiry_ms)).collect();
        assert!(ends.iter().all(|&(id, end)| end >= 1500 + 1000 * (10 + id as u64 % 2)));
        for from in (11_500..20_000).step_by(100) {
            let within = ends.iter().filter(|&&(_, end)| end >= from && end < from + 1000).count();
            assert!(within <= SPREAD_PER_SECOND, "{within} from {from}");
        }
        let all = clock.expired(11_500 + 1000 * (MANY as u64 / 750 + 2), usize::MAX);
        assert_eq!(all.len(), MANY as usize);
        let mut few = leading((0..999).map(|id| (id, 10, 0)));
        assert_eq!(few.expired(11_500, usize::MAX).len(), 999);
    }

    #[test]
    fn long_leases_are_checkpointed_at_every_interval_and_renewal_clears_it_first() {
        let options = ClockOptions { checkpoint_ms: Some(60_000), ..ClockOptions::default() };
        let mut clock = LeaseClock::new(options);
        clock.promote(0, 0, [(1, 150, 0), (2, 60, 0)]);
        assert_eq!(clock.checkpoints(59_999, 10), []);
        assert_eq!(clock.checkpoints(60_000, 10), [LeaseCheckpoint { id: 1, remaining_ttl: 90 }]);
        clock.observe(60_010, LeaseChange::Checkpointed { id: 1, remaining_ttl: 90 });
        assert_eq!(clock.checkpoints(120_009, 10), []);
        assert_eq!(clock.checkpoints(120_010, 10), [LeaseCheckpoint { id: 1, remaining_ttl: 30 }]);
        assert_eq!(clock.renew(120_020, 1), Renewal::ClearCheckpointFirst);
        clock.observe(120_030, LeaseChange::Checkpointed { id: 1, remaining_ttl: 0 });
        assert_eq!(clock.renew(120_040, 1), Renewal::Renewed { ttl: 150 });
        // Lease 2 ended meanwhile, lease 1 has its full time.
        assert_eq!(clock.expired(120_040 + 150_000 - 1, 10), [2]);
    }
}
