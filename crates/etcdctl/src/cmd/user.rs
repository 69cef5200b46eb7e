//! `etcdctl user`
use std::io::Read;

use proto::authpb::UserAddOptions;
use proto::etcdserverpb::*;

use crate::call::Call;
use crate::command::{Command, PLAIN};
use crate::failure::Failure;
use crate::flag::{Kind, flag};
use crate::help;
use crate::print::Answer;
use crate::prompt;

pub static COMMAND: Command = Command {
    usage: "user",
    group: help::AUTHENTICATION,
    about: "Users. Use `etcdctl user --help` to see subcommands",
    details: "Users",
    below: &[&ADD, &DELETE, &GET, &GRANT_ROLE, &LIST, &PASSWD, &REVOKE_ROLE],
    ..PLAIN
};

static ADD: Command = Command {
    usage: "add <user name or user:password> [options]",
    about: "Create a user",
    flags: &[
        flag("interactive", Kind::Bool, "true", "ask for the password; =false reads standard input"),
        flag("new-user-password", Kind::Text, "", "password of the new user"),
        flag("no-password", Kind::Bool, "false", "the user is known by certificate only"),
    ],
    run: Some(|call| Box::pin(add(call))),
    ..PLAIN
};

static DELETE: Command = Command {
    usage: "delete <user name>",
    about: "Delete a user",
    run: Some(|call| Box::pin(delete(call))),
    ..PLAIN
};

static GET: Command = Command {
    usage: "get <user name> [options]",
    about: "Show the roles of a user",
    flags: &[flag("detail", Kind::Bool, "false", "also show what the roles permit")],
    run: Some(|call| Box::pin(get(call))),
    ..PLAIN
};

static LIST: Command =
    Command { usage: "list", about: "List all users", run: Some(|call| Box::pin(list(call))), ..PLAIN };

static PASSWD: Command = Command {
    usage: "passwd <user name> [options]",
    about: "Change a password",
    flags: &[flag("interactive", Kind::Bool, "true", "ask for the password; =false reads standard input")],
    run: Some(|call| Box::pin(passwd(call))),
    ..PLAIN
};

static GRANT_ROLE: Command = Command {
    usage: "grant-role <user name> <role name>",
    about: "Give a role to a user",
    run: Some(|call| Box::pin(grant_role(call))),
    ..PLAIN
};

static REVOKE_ROLE: Command = Command {
    usage: "revoke-role <user name> <role name>",
    about: "Take a role from a user",
    run: Some(|call| Box::pin(revoke_role(call))),
    ..PLAIN
};

fn only_name(call: &Call, command: &str) -> Result<String, Failure> {
    match call.args.len() {
        1 => Ok(call.text(0)),
        _ => Err(Failure::args(format!("user {command} command requires user name as its argument"))),
    }
}

async fn add(mut call: Call) -> Result<(), Failure> {
    let given = only_name(&call, "add")?;
    let new_password = call.flags.text("new-user-password").to_owned();
    let (name, password) = match given.split_once(':') {
        _ if call.flags.is_on("no-password") => (given.as_str(), Some(String::new())),
        _ if !new_password.is_empty() => (given.as_str(), Some(new_password)),
        Some((name, password)) => (name, Some(password.to_owned())),
        None => (given.as_str(), None),
    };
    if name.is_empty() {
        return Err(Failure::args("empty user name is not allowed"));
    }
    let password = match password {
        Some(password) => password,
        None => choose_password(name, call.flags.is_on("interactive"))?,
    };
    let session = call.session().await?;
    let request = AuthUserAddRequest {
        name: name.to_owned(),
        password,
        options: Some(UserAddOptions { no_password: call.flags.is_on("no-password") }),
        ..AuthUserAddRequest::default()
    };
    let answer = session.client.user_add(request).await?;
    session.show(&Answer::UserAdd { user: name, answer: &answer })
}

/// Asks twice, or takes the first line of standard input.
fn choose_password(user: &str, interactive: bool) -> Result<String, Failure> {
    if !interactive {
        let mut input = String::new();
        std::io::stdin().lock().read_to_string(&mut input)?;
        return Ok(input.lines().next().unwrap_or("").trim().to_owned());
    }
    let first = prompt::password(&format!("Password of {user}: "))?;
    if first.is_empty() {
        return Err(Failure::args("empty password"));
    }
    if first != prompt::password(&format!("Type password of {user} again for confirmation: "))? {
        return Err(Failure::args("given passwords are different"));
    }
    Ok(first)
}

async fn delete(mut call: Call) -> Result<(), Failure> {
    let name = only_name(&call, "delete")?;
    let session = call.session().await?;
    let answer = session.client.user_delete(AuthUserDeleteRequest { name: name.clone() }).await?;
    session.show(&Answer::UserDelete { user: &name, answer: &answer })
}

async fn get(mut call: Call) -> Result<(), Failure> {
    let name = only_name(&call, "get")?;
    let session = call.session().await?;
    let answer = session.client.user_get(AuthUserGetRequest { name: name.clone() }).await?;
    if !call.flags.is_on("detail") {
        return session.show(&Answer::UserGet { user: &name, answer: &answer });
    }
    println!("User: {name}");
    for role in &answer.roles {
        println!();
        let answer = session.client.role_get(AuthRoleGetRequest { role: role.clone() }).await?;
        session.show(&Answer::RoleGet { role, answer: &answer })?;
    }
    Ok(())
}

async fn list(mut call: Call) -> Result<(), Failure> {
    if !call.args.is_empty() {
        return Err(Failure::args("user list command requires no arguments"));
    }
    let session = call.session().await?;
    let answer = session.client.user_list(AuthUserListRequest {}).await?;
    session.show(&Answer::UserList(&answer))
}

async fn passwd(mut call: Call) -> Result<(), Failure> {
    let name = only_name(&call, "passwd")?;
    let password = choose_password(&name, call.flags.is_on("interactive"))?;
    let session = call.session().await?;
    let request =
        AuthUserChangePasswordRequest { name, password, ..AuthUserChangePasswordRequest::default() };
    let answer = session.client.user_change_password(request).await?;
    session.show(&Answer::UserPassword(&answer))
}

async fn grant_role(mut call: Call) -> Result<(), Failure> {
    if call.args.len() != 2 {
        return Err(Failure::args("user grant command requires user name and role name as its argument"));
    }
    let (user, role) = (call.text(0), call.text(1));
    let session = call.session().await?;
    let request = AuthUserGrantRoleRequest { user: user.clone(), role: role.clone() };
    let answer = session.client.user_grant_role(request).await?;
    session.show(&Answer::UserGrantRole { user: &user, role: &role, answer: &answer })
}

async fn revoke_role(mut call: Call) -> Result<(), Failure> {
    if call.args.len() != 2 {
        return Err(Failure::args("user revoke-role requires user name and role name as its argument"));
    }
    let (user, role) = (call.text(0), call.text(1));
    let session = call.session().await?;
    let request = AuthUserRevokeRoleRequest { name: user.clone(), role: role.clone() };
    let answer = session.client.user_revoke_role(request).await?;
    session.show(&Answer::UserRevokeRole { user: &user, role: &role, answer: &answer })
}
