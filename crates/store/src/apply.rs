//! One committed entry: the layers it passes and where each kind of request is executed. formats 4.3, 4.6, 4.7.
//!
//! From the outside in: corrupt alarm, NOSPACE alarm, auth, quota, execution. Everything is decided by the log and the
//! state it led to, except the quota's answer, which never changes what is executed.

mod alarm;
mod auth;
pub(crate) mod kv;
mod lease;

use proto::etcdserverpb as pb;

use crate::gate::Gate;
use crate::quota::{self, Quota};
use crate::request::{Kind, Request};
use crate::{ApplyError, Entry, Outcome, Response, Store};

/// What execution needs to know beside the request.
pub(crate) struct Applying<'a> {
    pub request: &'a Request,
    pub index: u64,
    /// Somebody here waits for the answer.
    pub wanted: bool,
}

impl Store {
    /// Executes a committed normal entry. `wanted`: somebody on this member waits for the answer; without it, reads
    /// inside the log are skipped. Entries at or below the consistent index change nothing in the file.
    ///
    /// A refused request still moves the consistent index. After a fatal error the process must stop.
    pub fn apply(&mut self, entry: Entry<'_>, wanted: bool) -> Outcome {
        let mut outcome = Outcome::new(0);
        outcome.is_replay = self.is_replay(entry.index);
        if entry.data.is_empty() {
            outcome.is_leader_start = true;
        } else {
            match Request::decode(entry.data) {
                Ok(request) => {
                    outcome.id = request.id;
                    let applying = Applying { request: &request, index: entry.index, wanted };
                    outcome.result = self.execute_entry(&applying, &mut outcome);
                }
                Err(_) if outcome.is_replay => {}
                Err(what) => {
                    outcome.result = Err(ApplyError::Fatal(format!("entry {}: {what}", entry.index)))
                }
            }
        }
        if !outcome.result.as_ref().is_err_and(ApplyError::is_fatal) {
            self.advance(entry.index, entry.term);
        }
        outcome
    }

    fn execute_entry(&mut self, a: &Applying<'_>, outcome: &mut Outcome) -> Result<Response, ApplyError> {
        match &a.request.kind {
            Kind::ClusterVersionSet(r) => self.set_cluster_version(r, outcome)?,
            Kind::MemberAttrSet(r) => self.set_member_attributes(r, outcome)?,
            Kind::DowngradeInfoSet(r) => self.set_downgrade(r, outcome),
            Kind::DowngradeVersionTest => {}
            _ if outcome.is_replay => {}
            _ => return self.execute_layered(a, outcome),
        }
        Ok(Response::Nothing)
    }

    /// Through alarms, auth and quota.
    fn execute_layered(&mut self, a: &Applying<'_>, outcome: &mut Outcome) -> Result<Response, ApplyError> {
        self.check_alarms(&a.request.kind)?;
        self.check_gate(a.request)?;
        let exceeds_quota = !self.has_room(&a.request.kind);
        let response = self.dispatch(a, outcome)?;
        if exceeds_quota {
            // Executed all the same: members may differ in file size, never in contents.
            let nospace = pb::AlarmType::Nospace;
            outcome.wants_nospace_alarm = !self.alarms.is_active(nospace);
            return Err(ApplyError::NoSpace);
        }
        Ok(response)
    }

    fn check_alarms(&self, kind: &Kind) -> Result<(), ApplyError> {
        if self.alarms.is_active(pb::AlarmType::Corrupt) {
            match kind {
                Kind::Put(_)
                | Kind::Range(_)
                | Kind::DeleteRange(_)
                | Kind::Txn(_)
                | Kind::Compaction(_)
                | Kind::LeaseGrant(_)
                | Kind::LeaseRevoke(_) => return Err(ApplyError::Corrupt),
                _ => {}
            }
        }
        if self.alarms.is_active(pb::AlarmType::Nospace) {
            match kind {
                Kind::Put(_) | Kind::LeaseGrant(_) => return Err(ApplyError::NoSpace),
                Kind::Txn(r) if quota::txn_cost(r) > 0 => return Err(ApplyError::NoSpace),
                _ => {}
            }
        }
        Ok(())
    }

    fn check_gate(&self, request: &Request) -> Result<(), ApplyError> {
        if !self.auth.enabled {
            return Ok(());
        }
        let gate = Gate::new(&self.auth, &self.shared.leases, request.who());
        match &request.kind {
            Kind::Put(r) => gate.put(r),
            Kind::Range(r) => gate.range(r),
            Kind::DeleteRange(r) => gate.delete_range(r),
            Kind::Txn(r) => gate.txn(r),
            Kind::LeaseRevoke(r) => gate.lease_keys_write(r.id),
            Kind::AuthEnable
            | Kind::AuthDisable
            | Kind::UserAdd(_)
            | Kind::UserDelete(_)
            | Kind::UserChangePassword(_)
            | Kind::UserGrantRole(_)
            | Kind::UserRevokeRole(_)
            | Kind::UserList
            | Kind::RoleAdd(_)
            | Kind::RoleGrantPermission(_)
            | Kind::RoleRevokePermission(_)
            | Kind::RoleDelete(_)
            | Kind::RoleList => gate.admin(),
            // UserGet and RoleGet are allowed for what is one's own: decided where they are executed.
            _ => Ok(()),
        }
    }

    fn has_room(&self, kind: &Kind) -> bool {
        let cost_bytes = match kind {
            Kind::Put(r) => quota::put_cost(r),
            Kind::Txn(r) => quota::txn_cost(r),
            Kind::LeaseGrant(_) => quota::lease_grant_cost(),
            _ => return true,
        };
        Quota::new(self.options.quota_bytes).has_room(|| self.backend.size(), cost_bytes)
    }

    fn dispatch(&mut self, a: &Applying<'_>, outcome: &mut Outcome) -> Result<Response, ApplyError> {
        match &a.request.kind {
            Kind::Put(r) => self.put(r, outcome),
            Kind::Range(r) if a.wanted => self.range(r),
            Kind::Range(_) => Ok(Response::Nothing),
            Kind::DeleteRange(r) => self.delete_range(r, outcome),
            Kind::Txn(r) => self.txn(r, a.wanted, outcome),
            Kind::Compaction(r) => self.compact(r),
            Kind::LeaseGrant(r) => self.lease_grant(r, outcome),
            Kind::LeaseRevoke(r) => self.lease_revoke(r.id, outcome),
            Kind::LeaseCheckpoint(r) => Ok(self.lease_checkpoint(r, outcome)),
            Kind::Alarm(r) => Ok(self.alarm(r, outcome)),
            _ => self.auth_request(a, outcome),
        }
    }

    pub(crate) fn header(&self) -> Option<pb::ResponseHeader> {
        header(self.kv.current_revision())
    }
}

pub(crate) fn header(revision: i64) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader { revision, ..Default::default() })
}

/// An error of the key-value store as the client or the operator sees it.
pub(crate) fn kv_error(error: mvcc::Error) -> ApplyError {
    match error {
        mvcc::Error::Compacted => ApplyError::Compacted,
        mvcc::Error::FutureRevision => ApplyError::FutureRevision,
        other => ApplyError::Fatal(other.to_string()),
    }
}
