//! Leases never end early: what clients were promised, in the one true time of the simulation.

use std::collections::BTreeMap;

use proto::etcdserverpb as pb;

/// Requests with this bit are a lease clock's, not a client's.
pub(crate) const BY_CLOCK: u64 = 1 << 63;

/// What a client was promised about a lease.
struct Promise {
    ttl_s: i64,
    /// The entry that granted it.
    granted_at: u64,
    /// Since when its seconds count at the earliest.
    since_ms: u64,
}

/// The promises that hold.
#[derive(Default)]
pub(crate) struct LeaseWatch {
    /// The true time.
    pub now_ms: u64,
    promised: BTreeMap<i64, Promise>,
    /// How much of the log clocks knew when they proposed to end a lease, by request.
    proposed: BTreeMap<u64, u64>,
    /// Leases that a clock has ended.
    pub ended: u64,
    /// Keep-alives that were answered.
    pub renewed: u64,
}

impl LeaseWatch {
    /// The clock of a member that has executed the log up to `applied` proposes to end a lease.
    pub fn ends(&mut self, request: u64, applied: u64) {
        self.proposed.insert(request, applied);
    }

    /// The request at `index` was executed for the first time anywhere.
    pub fn executed(&mut self, index: u64, request: &pb::InternalRaftRequest) -> Result<(), String> {
        let now_ms = self.now_ms;
        if let Some(grant) = &request.lease_grant {
            let promise = Promise { ttl_s: grant.ttl.max(2), granted_at: index, since_ms: now_ms };
            self.promised.insert(grant.id, promise);
        }
        let Some(revoke) = &request.lease_revoke else { return Ok(()) };
        let Some(promise) = self.promised.remove(&revoke.id) else { return Ok(()) };
        let request = request.header.as_ref().map_or(0, |header| header.id);
        // One that was revoked and granted anew meanwhile is taken for the old one, in etcd too.
        let meant = self.proposed.get(&request).is_some_and(|applied| *applied >= promise.granted_at);
        if request & BY_CLOCK == 0 || !meant {
            return Ok(());
        }
        self.ended += 1;
        let (id, ttl_s, lived_ms) = (revoke.id, promise.ttl_s, now_ms - promise.since_ms);
        if lived_ms < ttl_s as u64 * 1000 {
            return Err(format!(
                "lease {id} of {ttl_s} s ends {lived_ms} ms after it was granted or kept alive"
            ));
        }
        Ok(())
    }

    /// A client was told that its lease lives on.
    pub fn renewed(&mut self, id: i64) {
        self.renewed += 1;
        if let Some(promise) = self.promised.get_mut(&id) {
            promise.since_ms = self.now_ms;
        }
    }
}
