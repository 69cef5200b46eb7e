//! `etcdctl options`
use crate::command::{Command, PLAIN};
use crate::{global, help};

pub static COMMAND: Command = Command {
    usage: "options",
    group: help::UTILITY,
    about: "Show the flags every command takes",
    run: Some(|_| {
        Box::pin(async {
            let flags = help::flag_list(global::FLAGS.iter());
            print!("The following options can be passed to any command:\n\n{flags}");
            Ok(())
        })
    }),
    ..PLAIN
};
