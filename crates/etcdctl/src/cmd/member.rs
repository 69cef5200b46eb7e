//! `etcdctl member`: the group, and `member list`.
use proto::etcdserverpb::MemberListRequest;

use super::is_linearizable;
use crate::call::Call;
use crate::command::{Command, PLAIN};
use crate::failure::Failure;
use crate::flag::{Kind, flag};
use crate::help;
use crate::print::Answer;

pub static COMMAND: Command = Command {
    usage: "member",
    group: help::MAINTENANCE,
    about: "Members of the cluster. Use `etcdctl member --help` to see subcommands",
    details: "Members of the cluster",
    below: &[&LIST],
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
