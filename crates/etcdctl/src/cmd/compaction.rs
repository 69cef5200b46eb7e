//! `etcdctl compaction`
use proto::etcdserverpb::CompactionRequest;

use crate::call::Call;
use crate::command::{Command, PLAIN};
use crate::failure::{Failure, code};
use crate::flag::{Kind, flag};
use crate::{golang, help};

pub static COMMAND: Command = Command {
    usage: "compaction [options] <revision>",
    group: help::KEY_VALUE,
    about: "Give up history below a revision",
    flags: &[flag("physical", Kind::Bool, "false", "wait until the data is gone from the file")],
    run: Some(|call| Box::pin(compaction(call))),
    ..PLAIN
};

async fn compaction(mut call: Call) -> Result<(), Failure> {
    if call.args.len() != 1 {
        return Err(Failure::args("compaction command needs 1 argument"));
    }
    let revision =
        golang::parse_int(&call.text(0), 10).map_err(|error| Failure::new(code::GENERAL, error))?;
    let session = call.session().await?;
    // Deleting a long history takes longer than any other command.
    let physical = call.flags.is_on("physical");
    let limit = (!physical).then_some(session.command_timeout);
    session.client.clone().with_timeout(limit).compact(CompactionRequest { revision, physical }).await?;
    println!("compacted revision {revision}");
    Ok(())
}
