//! `etcdctl downgrade`
use proto::etcdserverpb::DowngradeRequest;
use proto::etcdserverpb::downgrade_request::DowngradeAction;

use crate::call::Call;
use crate::command::{Command, PLAIN};
use crate::failure::Failure;
use crate::help;
use crate::print::Answer;

pub static COMMAND: Command = Command {
    usage: "downgrade <TARGET_VERSION>",
    group: help::MAINTENANCE,
    about: "Downgrades of the cluster. Use `etcdctl downgrade --help` to see subcommands",
    details: "Downgrades of the cluster",
    below: &[&CANCEL, &ENABLE, &VALIDATE],
    ..PLAIN
};

static VALIDATE: Command = Command {
    usage: "validate <TARGET_VERSION>",
    about: "Check whether a downgrade is possible",
    run: Some(|call| Box::pin(downgrade(call, DowngradeAction::Validate, "validate"))),
    ..PLAIN
};

static ENABLE: Command = Command {
    usage: "enable <TARGET_VERSION>",
    about: "Start a downgrade",
    run: Some(|call| Box::pin(downgrade(call, DowngradeAction::Enable, "enable"))),
    ..PLAIN
};

static CANCEL: Command = Command {
    usage: "cancel",
    about: "Cancel the running downgrade",
    run: Some(|call| Box::pin(downgrade(call, DowngradeAction::Cancel, "cancel"))),
    ..PLAIN
};

async fn downgrade(mut call: Call, action: DowngradeAction, name: &str) -> Result<(), Failure> {
    if action != DowngradeAction::Cancel {
        match call.args.len() {
            0 => return Err(Failure::args("TARGET_VERSION not provided")),
            1 => {}
            _ => return Err(Failure::args("too many arguments")),
        }
    }
    let version = if action == DowngradeAction::Cancel { String::new() } else { call.text(0) };
    let session = call.session().await?;
    let answer = session.client.downgrade(DowngradeRequest { action: action.into(), version }).await?;
    session.show(&Answer::Downgrade { action: name, answer: &answer })
}
