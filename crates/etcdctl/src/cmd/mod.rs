//! The commands, one file each, in the order of the help page.
mod alarm;
mod auth;
mod check;
mod compaction;
mod defrag;
mod del;
mod downgrade;
mod elect;
mod endpoint;
mod get;
mod help;
mod lease;
mod lock;
mod member;
mod move_leader;
mod options;
mod put;
mod role;
mod snapshot;
mod txn;
mod user;
mod version;
mod watch;

use crate::command::{Command, PLAIN};
use crate::failure::{Failure, code};
use crate::golang;

/// Above all commands.
pub static ROOT: Command = Command {
    usage: "etcdctl",
    about: "The command line client of etcd",
    below: &[
        &alarm::COMMAND,
        &auth::COMMAND,
        &check::COMMAND,
        &compaction::COMMAND,
        &defrag::COMMAND,
        &del::COMMAND,
        &downgrade::COMMAND,
        &elect::COMMAND,
        &endpoint::COMMAND,
        &get::COMMAND,
        &help::COMMAND,
        &lease::COMMAND,
        &lock::COMMAND,
        &member::COMMAND,
        &move_leader::COMMAND,
        &options::COMMAND,
        &put::COMMAND,
        &role::COMMAND,
        &snapshot::COMMAND,
        &txn::COMMAND,
        &user::COMMAND,
        &version::COMMAND,
        &watch::COMMAND,
    ],
    ..PLAIN
};

/// `--consistency`: whether to ask linearizably. `shown` is what a complaint names.
fn is_linearizable(letter: &str, shown: &str) -> Result<bool, Failure> {
    match letter {
        "l" => Ok(true),
        "s" => Ok(false),
        _ => {
            let text = format!("unknown consistency flag {}", golang::quote(shown.as_bytes()));
            Err(Failure::new(code::BAD_FEATURE, text))
        }
    }
}

/// A lease id in hex; `what` it is called in the complaint.
fn lease_id(text: &str, what: &str) -> Result<i64, Failure> {
    golang::parse_int(text, 16)
        .map_err(|error| Failure::args(format!("bad {what} ({error}), expecting ID in Hex")))
}
