//! `etcdctl alarm`
use proto::etcdserverpb::alarm_request::AlarmAction;
use proto::etcdserverpb::{AlarmRequest, AlarmResponse};

use crate::call::Call;
use crate::command::{Command, PLAIN};
use crate::failure::Failure;
use crate::help;
use crate::print::Answer;

pub static COMMAND: Command = Command {
    usage: "alarm",
    group: help::MAINTENANCE,
    about: "Alarms. Use `etcdctl alarm --help` to see subcommands",
    details: "Alarms",
    below: &[&DISARM, &LIST],
    ..PLAIN
};

static DISARM: Command =
    Command { usage: "disarm", about: "Clear all alarms", run: Some(|call| Box::pin(disarm(call))), ..PLAIN };

static LIST: Command =
    Command { usage: "list", about: "List all alarms", run: Some(|call| Box::pin(list(call))), ..PLAIN };

async fn disarm(mut call: Call) -> Result<(), Failure> {
    if !call.args.is_empty() {
        return Err(Failure::args("alarm disarm command accepts no arguments"));
    }
    let session = call.session().await?;
    let active = session.client.alarm(AlarmRequest::default()).await?;
    // One answer about several calls: it has no header.
    let mut cleared = AlarmResponse::default();
    for alarm in active.alarms {
        let action = AlarmAction::Deactivate.into();
        let request = AlarmRequest { action, member_id: alarm.member_id, alarm: alarm.alarm };
        cleared.alarms.extend(session.client.alarm(request).await?.alarms);
    }
    session.show(&Answer::Alarms(&cleared))
}

async fn list(mut call: Call) -> Result<(), Failure> {
    if !call.args.is_empty() {
        return Err(Failure::args("alarm list command accepts no arguments"));
    }
    let session = call.session().await?;
    let answer = session.client.alarm(AlarmRequest::default()).await?;
    session.show(&Answer::Alarms(&answer))
}
