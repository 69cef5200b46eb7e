//! Put, Range, DeleteRange and Compaction.

use std::sync::Arc;

use bytes::Bytes;
use mvcc::{EventBatch, RangeQuery, WriteTxn};
use parking_lot::Mutex;
use prost::Message;
use proto::etcdserverpb as pb;
use proto::mvccpb::KeyValue;

use super::{header, kv_error};
use crate::lease::LeaseTable;
use crate::lease::table::KeyLeases;
use crate::{ApplyError, Outcome, Response, Store, range};

impl Store {
    pub(super) fn put(&mut self, r: &pb::PutRequest, outcome: &mut Outcome) -> Result<Response, ApplyError> {
        let mut writing = self.begin();
        writing.check_put(r)?;
        let response = writing.put(r)?;
        outcome.events = writing.finish();
        Ok(Response::Put(response))
    }

    pub(super) fn delete_range(
        &mut self,
        r: &pb::DeleteRangeRequest,
        outcome: &mut Outcome,
    ) -> Result<Response, ApplyError> {
        let mut writing = self.begin();
        let response = writing.delete_range(r)?;
        outcome.events = writing.finish();
        Ok(Response::DeleteRange(response))
    }

    pub(super) fn range(&mut self, r: &pb::RangeRequest) -> Result<Response, ApplyError> {
        self.begin().range(r).map(Response::Range)
    }

    pub(super) fn compact(&mut self, r: &pb::CompactionRequest) -> Result<Response, ApplyError> {
        self.kv.compact(&mut self.backend, r.revision).map_err(kv_error)?;
        let response = pb::CompactionResponse { header: self.header() };
        Ok(Response::Compaction { response, physical: r.physical, revision: r.revision })
    }

    pub(crate) fn begin(&mut self) -> Writing<'_> {
        Writing {
            txn: self.kv.begin(&mut self.backend),
            key_leases: &mut self.key_leases,
            leases: &self.shared.leases,
        }
    }
}

/// A write txn of the key-value store with the leases its puts and deletes touch.
pub(crate) struct Writing<'a> {
    pub txn: WriteTxn<'a>,
    key_leases: &'a mut KeyLeases,
    leases: &'a Mutex<LeaseTable>,
}

impl Writing<'_> {
    /// Whatever could refuse a put, before anything is changed: its lease, and the record it wants to keep parts of.
    pub fn check_put(&self, r: &pb::PutRequest) -> Result<(), ApplyError> {
        if r.lease != 0 && self.leases.lock().get(r.lease).is_none() {
            return Err(ApplyError::LeaseNotFound);
        }
        if (r.ignore_value || r.ignore_lease) && self.txn.get(&r.key).map_err(kv_error)?.is_none() {
            return Err(ApplyError::KeyNotFound);
        }
        Ok(())
    }

    /// Executes a put that passed [`Self::check_put`].
    pub fn put(&mut self, r: &pb::PutRequest) -> Result<pb::PutResponse, ApplyError> {
        let (mut value, mut lease) = (r.value.clone(), r.lease);
        let mut prev_kv = None;
        if r.prev_kv || r.ignore_value || r.ignore_lease {
            let old = self.txn.get(&r.key).map_err(kv_error)?.map(|record| decode(&record)).transpose()?;
            // Gone only if an open-ended delete of the same txn took it (see `check`): then nothing is kept. etcd
            // 3.7.1 dies of such a txn.
            if r.ignore_value {
                value = old.as_ref().map_or_else(Bytes::new, |old| old.value.clone());
            }
            if r.ignore_lease {
                lease = old.as_ref().map_or(0, |old| old.lease);
            }
            prev_kv = old.filter(|_| r.prev_kv);
        }
        let done = self.txn.put(r.key.clone(), value, lease).map_err(kv_error)?;
        self.key_leases.set(&r.key, lease, || self.leases.lock());
        Ok(pb::PutResponse { header: header(done.revision), prev_kv })
    }

    pub fn delete_range(
        &mut self,
        r: &pb::DeleteRangeRequest,
    ) -> Result<pb::DeleteRangeResponse, ApplyError> {
        let mut prev_kvs = Vec::new();
        if r.prev_kv {
            let query = RangeQuery::range(r.key.clone(), r.range_end.clone());
            let before = self.txn.range(&query).map_err(kv_error)?;
            prev_kvs = before.kvs.iter().map(decode).collect::<Result<_, _>>()?;
        }
        let deleted = self.txn.delete_range(r.key.clone(), r.range_end.clone()).map_err(kv_error)?;
        deleted.keys().for_each(|key| self.key_leases.set(key, 0, || self.leases.lock()));
        let response = pb::DeleteRangeResponse {
            header: header(self.txn.revision()),
            deleted: i64::try_from(deleted.len()).unwrap_or(i64::MAX),
            prev_kvs,
        };
        Ok(response)
    }

    pub fn range(&self, r: &pb::RangeRequest) -> Result<pb::RangeResponse, ApplyError> {
        let result = self.txn.range(&range::query(r)).map_err(kv_error)?;
        range::response(result).map_err(|e| ApplyError::Fatal(e.to_string()))
    }

    pub fn finish(self) -> Option<Arc<EventBatch>> {
        self.txn.finish()
    }
}

/// A stored record; its key and value stay slices of it.
pub(crate) fn decode(record: &Bytes) -> Result<KeyValue, ApplyError> {
    KeyValue::decode(record.clone())
        .map_err(|e| ApplyError::Fatal(format!("stored record does not decode: {e}")))
}
