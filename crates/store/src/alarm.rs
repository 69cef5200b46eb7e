//! Alarms that are raised, by kind and member. formats 3.5, 4.7.

use std::collections::BTreeSet;

use backend::{Backend, Bucket};
use bytes::Bytes;
use prost::Message;
use proto::etcdserverpb::{AlarmMember, AlarmType};

use crate::Error;
use crate::record::damaged;

/// Raised alarms.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Alarms {
    raised: BTreeSet<(i32, u64)>,
}

impl Alarms {
    /// True if any member raised this kind.
    #[must_use]
    pub fn is_active(&self, kind: AlarmType) -> bool {
        self.of_kind(i32::from(kind)).next().is_some()
    }

    /// True if this member raised this kind.
    #[must_use]
    pub fn is_raised_by(&self, kind: AlarmType, member_id: u64) -> bool {
        self.raised.contains(&(i32::from(kind), member_id))
    }

    /// All of a kind; kind NONE (0) means all of every kind.
    #[must_use]
    pub fn list(&self, kind: i32) -> Vec<AlarmMember> {
        if kind == i32::from(AlarmType::None) {
            return self.raised.iter().map(member).collect();
        }
        self.of_kind(kind).map(member).collect()
    }

    fn of_kind(&self, kind: i32) -> impl Iterator<Item = &(i32, u64)> {
        self.raised.range((kind, 0)..=(kind, u64::MAX))
    }

    pub(crate) fn load(backend: &Backend) -> Result<Self, Error> {
        let mut alarms = Self::default();
        for record in backend.range(Bucket::Alarm, b"", None) {
            let (key, _) = record?;
            let alarm = AlarmMember::decode(&key[..]).map_err(|e| damaged(Bucket::Alarm, &key, e))?;
            alarms.raised.insert((alarm.alarm, alarm.member_id));
        }
        Ok(alarms)
    }

    /// Returns whether the alarm is new.
    pub(crate) fn raise(&mut self, alarm: &AlarmMember, backend: &mut Backend) -> bool {
        let is_new = self.raised.insert((alarm.alarm, alarm.member_id));
        if is_new {
            backend.put(Bucket::Alarm, alarm.encode_to_vec().into(), Bytes::new());
        }
        is_new
    }

    /// Returns whether the alarm was raised.
    pub(crate) fn clear(&mut self, alarm: &AlarmMember, backend: &mut Backend) -> bool {
        let was_raised = self.raised.remove(&(alarm.alarm, alarm.member_id));
        if was_raised {
            backend.delete(Bucket::Alarm, &alarm.encode_to_vec());
        }
        was_raised
    }
}

fn member(&(alarm, member_id): &(i32, u64)) -> AlarmMember {
    AlarmMember { member_id, alarm }
}
