//! `etcdctl put`
use std::io::Read;

use bytes::Bytes;
use proto::etcdserverpb::PutRequest;

use super::lease_id;
use crate::call::Call;
use crate::command::{Command, PLAIN};
use crate::failure::Failure;
use crate::flag::{Flag, Flags, Kind, flag};
use crate::help;
use crate::print::Answer;

pub static COMMAND: Command = Command {
    usage: "put [options] <key> <value> (<value> can also be given from stdin)",
    group: help::KEY_VALUE,
    about: "Write one key",
    details: "Write one key.\n\n\
              Without <value> it is read from standard input: cat file | etcdctl put <key>\n\
              A <value> that begins with '-' looks like a flag: put '--' before it.",
    flags: FLAGS,
    run: Some(|call| Box::pin(put(call))),
    ..PLAIN
};

pub static FLAGS: &[Flag] = &[
    flag("ignore-lease", Kind::Bool, "false", "keep the key's lease"),
    flag("ignore-value", Kind::Bool, "false", "keep the key's value"),
    flag("lease", Kind::Text, "0", "lease to attach the key to, in hex"),
    flag("prev-kv", Kind::Bool, "false", "also print what the key held before"),
];

async fn put(mut call: Call) -> Result<(), Failure> {
    let request = request(&call.flags, &call.args)?;
    let session = call.session().await?;
    let answer = session.client.put(request).await?;
    session.show(&Answer::Put(&answer))
}

/// The request these flags and arguments mean; also for `txn`.
pub fn request(flags: &Flags, args: &[Bytes]) -> Result<PutRequest, Failure> {
    let key = args.first().ok_or_else(too_few)?.clone();
    if flags.is_on("ignore-value") && args.len() > 1 {
        return Err(Failure::args("put command needs only 1 argument when 'ignore-value' is set"));
    }
    let value = match args.get(1) {
        _ if flags.is_on("ignore-value") => Bytes::new(),
        Some(value) => value.clone(),
        None => value_from_stdin()?,
    };
    Ok(PutRequest {
        key,
        value,
        lease: lease_id(flags.text("lease"), "lease ID")?,
        prev_kv: flags.is_on("prev-kv"),
        ignore_value: flags.is_on("ignore-value"),
        ignore_lease: flags.is_on("ignore-lease"),
    })
}

fn too_few() -> Failure {
    Failure::args("put command needs 1 argument and input from stdin or 2 arguments")
}

fn value_from_stdin() -> Result<Bytes, Failure> {
    let mut value = Vec::new();
    std::io::stdin().lock().read_to_end(&mut value)?;
    if value.is_empty() { Err(too_few()) } else { Ok(value.into()) }
}
