//! The applied leases and the keys attached to them. formats 3.3, 3.9, 4.7.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::BuildHasherDefault;

use backend::{Backend, Bucket};
use bytes::Bytes;
use prost::Message;
use proto::leasepb;

use crate::Error;
use crate::record::{be_u64, damaged};

/// A lease without its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Id.
    pub id: i64,
    /// Granted seconds.
    pub ttl: i64,
    /// Seconds left at the last checkpoint; 0 = none.
    pub remaining_ttl: i64,
}

#[derive(Debug, Default)]
struct Held {
    ttl: i64,
    remaining_ttl: i64,
    keys: BTreeSet<Bytes>,
}

/// All leases. Behind a short lock: apply writes, front loops look.
#[derive(Debug, Default)]
pub struct LeaseTable {
    leases: BTreeMap<i64, Held>,
}

impl LeaseTable {
    /// A lease by id.
    #[must_use]
    pub fn get(&self, id: i64) -> Option<Lease> {
        self.leases.get(&id).map(|held| held.lease(id))
    }

    /// Keys attached to a lease, ascending.
    pub fn keys(&self, id: i64) -> impl Iterator<Item = &Bytes> {
        self.leases.get(&id).into_iter().flat_map(|held| held.keys.iter())
    }

    /// All leases, by id.
    pub fn iter(&self) -> impl Iterator<Item = Lease> + '_ {
        self.leases.iter().map(|(&id, held)| held.lease(id))
    }

    /// Number of leases.
    #[must_use]
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// True if there is no lease.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    /// Reads the bucket. TTLs below the minimum are raised in memory, as etcd does.
    pub(crate) fn load(backend: &Backend, ttl_min: i64) -> Result<Self, Error> {
        let mut table = Self::default();
        for record in backend.range(Bucket::Lease, b"", None) {
            let (key, value) = record?;
            be_u64(Bucket::Lease, &key, &key)?;
            let lease = leasepb::Lease::decode(value).map_err(|e| damaged(Bucket::Lease, &key, e))?;
            let held =
                Held { ttl: lease.ttl.max(ttl_min), remaining_ttl: lease.remaining_ttl, ..Held::default() };
            table.leases.insert(lease.id, held);
        }
        Ok(table)
    }

    pub(crate) fn grant(&mut self, id: i64, ttl: i64, backend: &mut Backend) {
        self.leases.insert(id, Held { ttl, ..Held::default() });
        save(backend, Lease { id, ttl, remaining_ttl: 0 });
    }

    /// Returns false for an unknown lease.
    pub(crate) fn checkpoint(&mut self, id: i64, remaining_ttl: i64, save_to: Option<&mut Backend>) -> bool {
        let Some(held) = self.leases.get_mut(&id) else { return false };
        held.remaining_ttl = remaining_ttl;
        if let Some(backend) = save_to {
            save(backend, held.lease(id));
        }
        true
    }

    pub(crate) fn remove(&mut self, id: i64, backend: &mut Backend) {
        self.leases.remove(&id);
        backend.delete(Bucket::Lease, &bucket_key(id));
    }
}

impl Held {
    fn lease(&self, id: i64) -> Lease {
        Lease { id, ttl: self.ttl, remaining_ttl: self.remaining_ttl }
    }
}

fn bucket_key(id: i64) -> [u8; 8] {
    id.to_be_bytes()
}

fn save(backend: &mut Backend, lease: Lease) {
    let record = leasepb::Lease { id: lease.id, ttl: lease.ttl, remaining_ttl: lease.remaining_ttl };
    backend.put(Bucket::Lease, Bytes::copy_from_slice(&bucket_key(lease.id)), record.encode_to_vec().into());
}

/// Which lease each key hangs on. Known to the apply thread alone and never iterated, so its order decides nothing.
#[derive(Debug, Default)]
pub(crate) struct KeyLeases {
    by_key: HashMap<Bytes, i64, BuildHasherDefault<DefaultHasher>>,
}

impl KeyLeases {
    /// The lease of a key, 0 if none.
    pub fn of(&self, key: &[u8]) -> i64 {
        if self.by_key.is_empty() { 0 } else { self.by_key.get(key).copied().unwrap_or(0) }
    }

    /// Hangs `key` on `lease` (0: on none). `table` is only called for, and locked, when something changes.
    pub fn set<G: std::ops::DerefMut<Target = LeaseTable>>(
        &mut self,
        key: &[u8],
        lease: i64,
        table: impl FnOnce() -> G,
    ) {
        let old = self.of(key);
        if old == lease {
            return;
        }
        let mut table = table();
        if let Some(held) = table.leases.get_mut(&old) {
            held.keys.remove(key);
        }
        // A lease that is gone is none (formats 3.9 step 5).
        let Some(held) = table.leases.get_mut(&lease) else {
            self.by_key.remove(key);
            return;
        };
        // A copy: a slice would keep the whole log entry in memory.
        let key = Bytes::copy_from_slice(key);
        held.keys.insert(key.clone());
        self.by_key.insert(key, lease);
    }
}
