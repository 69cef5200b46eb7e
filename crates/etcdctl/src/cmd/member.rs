//! `etcdctl member`
use proto::etcdserverpb::{
    MemberAddRequest, MemberListRequest, MemberPromoteRequest, MemberRemoveRequest, MemberUpdateRequest,
};

use super::is_linearizable;
use crate::call::Call;
use crate::command::{Command, PLAIN};
use crate::failure::{Failure, code};
use crate::flag::{Kind, flag};
use crate::print::{Answer, Format};
use crate::{golang, help};

pub static COMMAND: Command = Command {
    usage: "member",
    group: help::MAINTENANCE,
    about: "Members of the cluster. Use `etcdctl member --help` to see subcommands",
    details: "Members of the cluster",
    below: &[&ADD, &LIST, &PROMOTE, &REMOVE, &UPDATE],
    ..PLAIN
};

static LIST: Command = Command {
    usage: "list",
    about: "List all members",
    details: "List all members. The simple format has: ID, status, name, peer addresses, client addresses, is learner.",
    flags: &[flag("consistency", Kind::Text, "l", "l: linearizable, s: serializable (may be stale)")],
    run: Some(|call| Box::pin(list(call))),
    ..PLAIN
};

async fn list(mut call: Call) -> Result<(), Failure> {
    // The complaint names the default of `get --consistency`: so does etcdctl.
    let linearizable = is_linearizable(call.flags.text("consistency"), "l")?;
    let session = call.session().await?;
    let answer = session.client.member_list(MemberListRequest { linearizable }).await?;
    session.show(&Answer::MemberList(&answer))
}

static ADD: Command = Command {
    usage: "add <memberName> [options]",
    about: "Add a member",
    flags: &[
        flag("learner", Kind::Bool, "false", "the member only follows and has no vote"),
        flag("peer-urls", Kind::Text, "", "peer URLs of the member, comma separated"),
    ],
    run: Some(|call| Box::pin(add(call))),
    ..PLAIN
};

static REMOVE: Command = Command {
    usage: "remove <memberID>",
    about: "Remove a member for good",
    run: Some(|call| Box::pin(remove(call))),
    ..PLAIN
};

static UPDATE: Command = Command {
    usage: "update <memberID> [options]",
    about: "Replace the peer URLs of a member",
    flags: &[flag("peer-urls", Kind::Text, "", "new peer URLs of the member, comma separated")],
    run: Some(|call| Box::pin(update(call))),
    ..PLAIN
};

static PROMOTE: Command = Command {
    usage: "promote <memberID>",
    about: "Give a learner a vote",
    run: Some(|call| Box::pin(promote(call))),
    ..PLAIN
};

async fn add(mut call: Call) -> Result<(), Failure> {
    match call.args.len() {
        0 => return Err(Failure::args("member name not provided")),
        1 => {}
        _ => {
            let second = call.text(1);
            let hint = if second.contains("://") {
                format!(", did you mean --peer-urls={second}")
            } else {
                String::new()
            };
            return Err(Failure::args(format!("too many arguments{hint}")));
        }
    }
    let name = call.text(0);
    let urls = peer_urls(&call)?;
    check_urls(&urls)?;
    let session = call.session().await?;
    let request = MemberAddRequest { peer_ur_ls: urls.clone(), is_learner: call.flags.is_on("learner") };
    let answer = session.client.member_add(request).await?;
    session.show(&Answer::MemberAdd(&answer))?;
    if session.style.format != Format::Simple {
        return Ok(());
    }
    let added = answer.member.map_or(0, |member| member.id);
    let mut cluster = Vec::new();
    for member in &answer.members {
        let name = if member.id == added { &name } else { &member.name };
        cluster.extend(member.peer_ur_ls.iter().map(|url| format!("{name}={url}")));
    }
    println!("\nETCD_NAME={}", golang::quote(name.as_bytes()));
    println!("ETCD_INITIAL_CLUSTER={}", golang::quote(cluster.join(",").as_bytes()));
    println!("ETCD_INITIAL_ADVERTISE_PEER_URLS={}", golang::quote(urls.join(",").as_bytes()));
    println!("ETCD_INITIAL_CLUSTER_STATE=\"existing\"");
    Ok(())
}

async fn remove(mut call: Call) -> Result<(), Failure> {
    let id = member_id(&call)?;
    let session = call.session().await?;
    let answer = session.client.member_remove(MemberRemoveRequest { id }).await?;
    session.show(&Answer::MemberRemove { id, answer: &answer })
}

async fn update(mut call: Call) -> Result<(), Failure> {
    let id = member_id(&call)?;
    let request = MemberUpdateRequest { id, peer_ur_ls: peer_urls(&call)? };
    let session = call.session().await?;
    let answer = session.client.member_update(request).await?;
    session.show(&Answer::MemberUpdate { id, answer: &answer })
}

async fn promote(mut call: Call) -> Result<(), Failure> {
    let id = member_id(&call)?;
    let session = call.session().await?;
    let answer = session.client.member_promote(MemberPromoteRequest { id }).await?;
    session.show(&Answer::MemberPromote { id, answer: &answer })
}

fn member_id(call: &Call) -> Result<u64, Failure> {
    if call.args.len() != 1 {
        return Err(Failure::args("member ID is not provided"));
    }
    golang::parse_uint(&call.text(0), 16)
        .map_err(|error| Failure::args(format!("bad member ID arg ({error}), expecting ID in Hex")))
}

fn peer_urls(call: &Call) -> Result<Vec<String>, Failure> {
    match call.flags.text("peer-urls") {
        "" => Err(Failure::args("member peer urls not provided")),
        urls => Ok(urls.split(',').map(str::to_owned).collect()),
    }
}

/// `member add` refuses URLs that no peer could listen on, before asking anybody.
fn check_urls(urls: &[String]) -> Result<(), Failure> {
    let has_scheme =
        |url: &String| ["http://", "https://", "unix://", "unixs://"].iter().any(|s| url.starts_with(s));
    match urls.iter().find(|url| !has_scheme(url)) {
        Some(url) => {
            let text = format!("URL scheme must be http, https, unix, or unixs: {url}");
            Err(Failure::new(code::GENERAL, text))
        }
        None => Ok(()),
    }
}
