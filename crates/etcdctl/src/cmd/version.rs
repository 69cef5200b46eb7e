//! `etcdctl version`
use crate::command::{Command, PLAIN};
use crate::help;

/// The etcd this tool stands in for.
pub const VERSION: &str = "3.7.1";
const API_VERSION: &str = "3.7";

pub static COMMAND: Command = Command {
    usage: "version",
    group: help::UTILITY,
    about: "Print the version of etcdctl",
    run: Some(|_| {
        Box::pin(async {
            println!("etcdctl version: {VERSION}\nAPI version: {API_VERSION}");
            Ok(())
        })
    }),
    ..PLAIN
};
