//! Alarm requests.

use std::sync::Arc;

use proto::etcdserverpb as pb;
use proto::etcdserverpb::alarm_request::AlarmAction;

use crate::{Outcome, Response, Store};

impl Store {
    pub(super) fn alarm(&mut self, r: &pb::AlarmRequest, outcome: &mut Outcome) -> Response {
        let member = pb::AlarmMember { member_id: r.member_id, alarm: r.alarm };
        let is_none = r.alarm == i32::from(pb::AlarmType::None);
        let alarms = match AlarmAction::try_from(r.action) {
            Ok(AlarmAction::Get) => self.alarms.list(r.alarm),
            Ok(AlarmAction::Activate) if !is_none => {
                outcome.alarms_changed = Arc::make_mut(&mut self.alarms).raise(&member, &mut self.backend);
                vec![member]
            }
            Ok(AlarmAction::Deactivate) => {
                outcome.alarms_changed = Arc::make_mut(&mut self.alarms).clear(&member, &mut self.backend);
                if outcome.alarms_changed { vec![member] } else { Vec::new() }
            }
            _ => Vec::new(),
        };
        if outcome.alarms_changed {
            self.publish_alarms();
        }
        Response::Alarm(pb::AlarmResponse { header: self.header(), alarms })
    }
}
