//! `etcdctl del`
use std::time::Duration;

use bytes::Bytes;
use proto::etcdserverpb::DeleteRangeRequest;

use crate::call::Call;
use crate::command::{Command, PLAIN};
use crate::failure::Failure;
use crate::flag::{Flag, Flags, Kind, flag};
use crate::print::Answer;
use crate::{golang, help};

/// Time to press Ctrl-C before a range is deleted.
const SECOND_THOUGHTS: Duration = Duration::from_secs(2);

pub static COMMAND: Command = Command {
    usage: "del [options] <key> [range_end]",
    group: help::KEY_VALUE,
    about: "Delete a key or a range of keys [key, range_end)",
    flags: FLAGS,
    run: Some(|call| Box::pin(del(call))),
    ..PLAIN
};

pub static FLAGS: &[Flag] = &[
    flag("from-key", Kind::Bool, "false", "all keys at or after <key>"),
    flag("prefix", Kind::Bool, "false", "all keys that begin with <key>"),
    flag("prev-kv", Kind::Bool, "false", "also print what was deleted"),
    flag("range", Kind::Bool, "false", "delete a range without a pause for second thoughts"),
];

async fn del(mut call: Call) -> Result<(), Failure> {
    let request = request(&call.flags, &call.args)?;
    if call.args.len() == 2 && !call.flags.is_on("range") {
        eprintln!(
            "Warning: Keys between {} and {} will be deleted. Please interrupt the command within next 2 seconds to \
             cancel. You can provide `--range` flag to avoid the delay.",
            golang::quote(&call.args[0]),
            golang::quote(&call.args[1])
        );
        tokio::time::sleep(SECOND_THOUGHTS).await;
    }
    let session = call.session().await?;
    let answer = session.client.delete_range(request).await?;
    session.show(&Answer::Delete(&answer))
}

/// The request these flags and arguments mean; also for `txn`.
pub fn request(flags: &Flags, args: &[Bytes]) -> Result<DeleteRangeRequest, Failure> {
    let (key, end) = match args {
        [key] => (key, None),
        [key, end] => (key, Some(end)),
        _ => {
            let text = "del command needs one argument as key and an optional argument as range_end";
            return Err(Failure::args(text));
        }
    };
    if flags.is_on("prefix") && flags.is_on("from-key") {
        return Err(Failure::args("`--prefix` and `--from-key` cannot be set at the same time, choose one"));
    }
    if end.is_some() && (flags.is_on("prefix") || flags.is_on("from-key")) {
        let text = "too many arguments, only accept one argument when `--prefix` or `--from-key` is set";
        return Err(Failure::args(text));
    }
    let (key, range_end) = match end {
        _ if flags.is_on("prefix") => client::range::prefix(key),
        _ if flags.is_on("from-key") => client::range::from_key(key),
        end => (key.clone(), end.cloned().unwrap_or_default()),
    };
    Ok(DeleteRangeRequest { key, range_end, prev_kv: flags.is_on("prev-kv") })
}
