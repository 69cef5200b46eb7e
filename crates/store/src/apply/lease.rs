//! Lease requests.

use proto::etcdserverpb as pb;

use super::{header, kv_error};
use crate::lease::TTL_MAX;
use crate::{ApplyError, LeaseChange, Outcome, Response, Store, Version};

impl Store {
    pub(super) fn lease_grant(
        &mut self,
        r: &pb::LeaseGrantRequest,
        outcome: &mut Outcome,
    ) -> Result<Response, ApplyError> {
        let mut leases = self.shared.leases.lock();
        if r.id == 0 {
            return Err(ApplyError::LeaseNotFound);
        }
        if r.ttl > TTL_MAX {
            return Err(ApplyError::LeaseTtlTooLarge);
        }
        if leases.get(r.id).is_some() {
            return Err(ApplyError::LeaseExists);
        }
        let ttl = r.ttl.max(self.options.lease_ttl_min);
        leases.grant(r.id, ttl, &mut self.backend);
        drop(leases);
        outcome.leases.push(LeaseChange::Granted { id: r.id, ttl });
        let error = String::new();
        Ok(Response::LeaseGrant(pb::LeaseGrantResponse { header: self.header(), id: r.id, ttl, error }))
    }

    /// Deletes the attached keys, ascending, in one txn, and the lease with them.
    pub(super) fn lease_revoke(&mut self, id: i64, outcome: &mut Outcome) -> Result<Response, ApplyError> {
        let keys: Vec<_> = {
            let leases = self.shared.leases.lock();
            if leases.get(id).is_none() {
                return Err(ApplyError::LeaseNotFound);
            }
            leases.keys(id).cloned().collect()
        };
        let mut txn = self.kv.begin(&mut self.backend);
        txn.delete_keys(&keys).map_err(kv_error)?;
        outcome.events = txn.finish();
        for key in &keys {
            self.key_leases.set(key, 0, || self.shared.leases.lock());
        }
        self.shared.leases.lock().remove(id, &mut self.backend);
        outcome.leases.push(LeaseChange::Revoked { id });
        Ok(Response::LeaseRevoke(pb::LeaseRevokeResponse { header: header(self.kv.current_revision()) }))
    }

    pub(super) fn lease_checkpoint(
        &mut self,
        r: &pb::LeaseCheckpointRequest,
        outcome: &mut Outcome,
    ) -> Response {
        let persist = self.options.lease_checkpoint_persist
            || self.members.cluster_version.is_some_and(|v| v >= Version::V3_6);
        let mut leases = self.shared.leases.lock();
        for checkpoint in &r.checkpoints {
            let (id, remaining_ttl) = (checkpoint.id, checkpoint.remaining_ttl);
            if leases.checkpoint(id, remaining_ttl, persist.then_some(&mut self.backend)) {
                outcome.leases.push(LeaseChange::Checkpointed { id, remaining_ttl });
            }
        }
        drop(leases);
        Response::LeaseCheckpoint(pb::LeaseCheckpointResponse { header: self.header() })
    }
}
