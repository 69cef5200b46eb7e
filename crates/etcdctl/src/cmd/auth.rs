//! `etcdctl auth`
use client::{Client, Error};
use proto::etcdserverpb::*;

use crate::call::Call;
use crate::command::{Command, PLAIN};
use crate::failure::Failure;
use crate::help;
use crate::print::Answer;

pub static COMMAND: Command = Command {
    usage: "auth <enable or disable>",
    group: help::AUTHENTICATION,
    about: "Turn authentication on or off. Use `etcdctl auth --help` to see subcommands",
    details: "Turn authentication on or off",
    below: &[&DISABLE, &ENABLE, &STATUS],
    ..PLAIN
};

static ENABLE: Command = Command {
    usage: "enable",
    about: "Turn authentication on",
    run: Some(|call| Box::pin(enable(call))),
    ..PLAIN
};

static DISABLE: Command = Command {
    usage: "disable",
    about: "Turn authentication off",
    run: Some(|call| Box::pin(disable(call))),
    ..PLAIN
};

static STATUS: Command = Command {
    usage: "status",
    about: "Show whether authentication is on",
    run: Some(|call| Box::pin(status(call))),
    ..PLAIN
};

fn no_arguments(call: &Call, command: &str) -> Result<(), Failure> {
    if call.args.is_empty() {
        return Ok(());
    }
    Err(Failure::args(format!("auth {command} command does not accept any arguments")))
}

async fn enable(mut call: Call) -> Result<(), Failure> {
    no_arguments(&call, "enable")?;
    let session = call.session().await?;
    loop {
        match session.client.auth_enable(AuthEnableRequest {}).await {
            Ok(_) => break,
            Err(Error::Server(status))
                if status.message() == "etcdserver: root user does not have root role" =>
            {
                make_root_role(&session.client).await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    println!("Authentication Enabled");
    Ok(())
}

/// What enabling needs and users tend to forget.
async fn make_root_role(client: &Client) -> Result<(), Failure> {
    let root = || "root".to_owned();
    if client.role_get(AuthRoleGetRequest { role: root() }).await.is_err() {
        client.role_add(AuthRoleAddRequest { name: root() }).await?;
    }
    client.user_grant_role(AuthUserGrantRoleRequest { user: root(), role: root() }).await?;
    Ok(())
}

async fn disable(mut call: Call) -> Result<(), Failure> {
    no_arguments(&call, "disable")?;
    let session = call.session().await?;
    session.client.auth_disable(AuthDisableRequest {}).await?;
    println!("Authentication Disabled");
    Ok(())
}

async fn status(mut call: Call) -> Result<(), Failure> {
    no_arguments(&call, "status")?;
    let session = call.session().await?;
    let answer = session.client.auth_status(AuthStatusRequest {}).await?;
    session.show(&Answer::AuthStatus(&answer))
}
