//! `etcdctl role`
use bytes::Bytes;
use proto::authpb::Permission;
use proto::authpb::permission::Type;
use proto::etcdserverpb::*;

use crate::call::Call;
use crate::command::{Command, PLAIN};
use crate::failure::Failure;
use crate::flag::{Flag, Kind, flag};
use crate::help;
use crate::print::Answer;

pub static COMMAND: Command = Command {
    usage: "role",
    group: help::AUTHENTICATION,
    about: "Roles. Use `etcdctl role --help` to see subcommands",
    details: "Roles",
    below: &[&ADD, &DELETE, &GET, &GRANT, &LIST, &REVOKE],
    ..PLAIN
};

static ADD: Command = Command {
    usage: "add <role name>",
    about: "Create a role",
    run: Some(|call| Box::pin(add(call))),
    ..PLAIN
};

static DELETE: Command = Command {
    usage: "delete <role name>",
    about: "Delete a role",
    run: Some(|call| Box::pin(delete(call))),
    ..PLAIN
};

static GET: Command = Command {
    usage: "get <role name>",
    about: "Show what a role permits",
    run: Some(|call| Box::pin(get(call))),
    ..PLAIN
};

static LIST: Command =
    Command { usage: "list", about: "List all roles", run: Some(|call| Box::pin(list(call))), ..PLAIN };

static RANGE_FLAGS: &[Flag] = &[
    flag("from-key", Kind::Bool, "false", "all keys at or after <key>"),
    flag("prefix", Kind::Bool, "false", "all keys that begin with <key>"),
];

static GRANT: Command = Command {
    usage: "grant-permission [options] <role name> <permission type> <key> [endkey]",
    about: "Permit a role to read, write or readwrite keys",
    flags: RANGE_FLAGS,
    run: Some(|call| Box::pin(grant(call))),
    ..PLAIN
};

static REVOKE: Command = Command {
    usage: "revoke-permission <role name> <key> [endkey]",
    about: "Take a permission from a role",
    flags: RANGE_FLAGS,
    run: Some(|call| Box::pin(revoke(call))),
    ..PLAIN
};

fn only_name(call: &Call, command: &str) -> Result<String, Failure> {
    match call.args.len() {
        1 => Ok(call.text(0)),
        _ => Err(Failure::args(format!("role {command} command requires role name as its argument"))),
    }
}

async fn add(mut call: Call) -> Result<(), Failure> {
    let role = only_name(&call, "add")?;
    let session = call.session().await?;
    let answer = session.client.role_add(AuthRoleAddRequest { name: role.clone() }).await?;
    session.show(&Answer::RoleAdd { role: &role, answer: &answer })
}

async fn delete(mut call: Call) -> Result<(), Failure> {
    let role = only_name(&call, "delete")?;
    let session = call.session().await?;
    let answer = session.client.role_delete(AuthRoleDeleteRequest { role: role.clone() }).await?;
    session.show(&Answer::RoleDelete { role: &role, answer: &answer })
}

async fn get(mut call: Call) -> Result<(), Failure> {
    let role = only_name(&call, "get")?;
    let session = call.session().await?;
    let answer = session.client.role_get(AuthRoleGetRequest { role: role.clone() }).await?;
    session.show(&Answer::RoleGet { role: &role, answer: &answer })
}

async fn list(mut call: Call) -> Result<(), Failure> {
    if !call.args.is_empty() {
        return Err(Failure::args("role list command requires no arguments"));
    }
    let session = call.session().await?;
    let answer = session.client.role_list(AuthRoleListRequest {}).await?;
    session.show(&Answer::RoleList(&answer))
}

async fn grant(mut call: Call) -> Result<(), Failure> {
    if call.args.len() < 3 {
        let text = "role grant command requires role name, permission type, and key [endkey] as its argument";
        return Err(Failure::args(text));
    }
    let (role, kind) = (call.text(0), call.text(1));
    let perm_type = Type::from_str_name(&kind.to_uppercase())
        .ok_or_else(|| Failure::args(format!("invalid permission type: {kind}")))?;
    let (key, range_end) = range(&call, &call.args[2..])?;
    let session = call.session().await?;
    let perm = Some(Permission { perm_type: perm_type.into(), key, range_end });
    let answer = session
        .client
        .role_grant_permission(AuthRoleGrantPermissionRequest { name: role.clone(), perm })
        .await?;
    session.show(&Answer::RoleGrant { role: &role, answer: &answer })
}

async fn revoke(mut call: Call) -> Result<(), Failure> {
    if call.args.len() < 2 {
        let text = "role revoke-permission command requires role name and key [endkey] as its argument";
        return Err(Failure::args(text));
    }
    let role = call.text(0);
    let (key, range_end) = range(&call, &call.args[1..])?;
    let session = call.session().await?;
    let request = AuthRoleRevokePermissionRequest { role: role.clone(), key, range_end: range_end.clone() };
    let answer = session.client.role_revoke_permission(request).await?;
    // The key as typed: an empty one stands for all keys.
    session.show(&Answer::RoleRevoke { role: &role, key: &call.args[1], end: &range_end, answer: &answer })
}

/// Key and end of a permission.
fn range(call: &Call, args: &[Bytes]) -> Result<(Bytes, Bytes), Failure> {
    let (prefix, from_key) = (call.flags.is_on("prefix"), call.flags.is_on("from-key"));
    if prefix && from_key {
        return Err(Failure::args("--from-key and --prefix flags are mutually exclusive"));
    }
    if args.len() > 1 && (prefix || from_key) {
        let flag = if prefix { "--prefix" } else { "--from-key" };
        return Err(Failure::args(format!("unexpected endkey argument with {flag} flag")));
    }
    Ok(match args.get(1) {
        _ if prefix => client::range::prefix(&args[0]),
        _ if from_key => client::range::from_key(&args[0]),
        end => (args[0].clone(), end.cloned().unwrap_or_default()),
    })
}
