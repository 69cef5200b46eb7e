//! The one choke point of authorization: asked by apply for writes and by readers for ranges, watches and leases.
//! formats 4.6, 9.10.
//!
//! It walks everything a request touches: compares, both branches of nested txns, prev_kv and the keys of a lease.

use parking_lot::Mutex;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::request_op::Request as Op;

use crate::ApplyError;
use crate::auth::perms::KeyRange;
use crate::auth::{AuthState, Identity};
use crate::lease::LeaseTable;

/// One identity before one state of auth and leases.
#[derive(Clone, Copy)]
pub struct Gate<'a> {
    auth: &'a AuthState,
    leases: &'a Mutex<LeaseTable>,
    who: Identity<'a>,
}

impl<'a> Gate<'a> {
    /// A gate for `who`.
    #[must_use]
    pub fn new(auth: &'a AuthState, leases: &'a Mutex<LeaseTable>, who: Identity<'a>) -> Self {
        Self { auth, leases, who }
    }

    /// Range, and anything else that reads keys.
    pub fn range(&self, r: &pb::RangeRequest) -> Result<(), ApplyError> {
        self.read(&r.key, &r.range_end)
    }

    /// Keys from `key` to `end`, in the forms requests use. A watch on every key asks with key "\0" and end "\0".
    pub fn read(&self, key: &[u8], end: &[u8]) -> Result<(), ApplyError> {
        self.auth.check_read(self.who, KeyRange::new(key, end))
    }

    /// Put: the key, the keys already on the lease (anyone could end their life with it), and the previous record.
    pub fn put(&self, r: &pb::PutRequest) -> Result<(), ApplyError> {
        if !self.auth.enabled {
            return Ok(());
        }
        self.auth.check_write(self.who, KeyRange::point(&r.key))?;
        self.lease_keys_write(r.lease)?;
        if r.prev_kv { self.read(&r.key, b"") } else { Ok(()) }
    }

    /// DeleteRange.
    pub fn delete_range(&self, r: &pb::DeleteRangeRequest) -> Result<(), ApplyError> {
        if !self.auth.enabled {
            return Ok(());
        }
        self.auth.check_write(self.who, KeyRange::new(&r.key, &r.range_end))?;
        if r.prev_kv { self.read(&r.key, &r.range_end) } else { Ok(()) }
    }

    /// Txn with all that it might do.
    pub fn txn(&self, r: &pb::TxnRequest) -> Result<(), ApplyError> {
        if !self.auth.enabled {
            return Ok(());
        }
        for compare in &r.compare {
            self.read(&compare.key, &compare.range_end)?;
        }
        for op in r.success.iter().chain(&r.failure) {
            match &op.request {
                Some(Op::RequestRange(r)) => self.range(r)?,
                Some(Op::RequestPut(r)) => self.put(r)?,
                Some(Op::RequestDeleteRange(r)) => self.delete_range(r)?,
                Some(Op::RequestTxn(r)) => self.txn(r)?,
                None => {}
            }
        }
        Ok(())
    }

    /// LeaseRevoke, keep-alive: write permission on every attached key; root always.
    pub fn lease_keys_write(&self, id: i64) -> Result<(), ApplyError> {
        if !self.auth.enabled || self.auth.check_admin(self.who).is_ok() {
            return Ok(());
        }
        let leases = self.leases.lock();
        leases.keys(id).try_for_each(|key| self.auth.check_write(self.who, KeyRange::point(key)))
    }

    /// LeaseTimeToLive with keys: read permission on every attached key.
    pub fn lease_keys_read(&self, id: i64) -> Result<(), ApplyError> {
        if !self.auth.enabled {
            return Ok(());
        }
        let leases = self.leases.lock();
        leases.keys(id).try_for_each(|key| self.auth.check_read(self.who, KeyRange::point(key)))
    }

    /// Users, roles, members, maintenance.
    pub fn admin(&self) -> Result<(), ApplyError> {
        self.auth.check_admin(self.who)
    }
}
