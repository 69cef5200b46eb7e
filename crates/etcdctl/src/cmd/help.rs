//! `etcdctl help`
use crate::call::Call;
use crate::command::{self, Command, PLAIN};
use crate::failure::Failure;
use crate::help;

pub static COMMAND: Command = Command {
    usage: "help [command]",
    group: help::UTILITY,
    about: "Help about any command",
    run: Some(|call| Box::pin(async move { show(&call) })),
    ..PLAIN
};

fn show(call: &Call) -> Result<(), Failure> {
    match command::find(&call.args) {
        Ok((path, _)) => print!("{}", help::page(&path)),
        Err(_) => {
            let words: Vec<String> =
                call.args.iter().map(|word| format!("`{}`", String::from_utf8_lossy(word))).collect();
            eprint!("Unknown help topic [{}]\n{}", words.join(" "), help::usage(&[&super::ROOT]));
        }
    }
    Ok(())
}
