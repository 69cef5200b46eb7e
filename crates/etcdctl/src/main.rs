//! # etcdctl: the online tool
//!
//! Lives here: commands (one file each in `cmd/`) and printers (one file each in `print/`). May touch: terminal, files,
//! processes, and the cluster through `client`. Never: a shape of output, error text or exit code of its own where etcd
//! has one (docs of the surface: flags, formats and codes are etcd 3.7.1's).
//! Test: `cargo test -p balsa-etcdctl`; `tests/compare.rs` holds every answer to a record of what etcd 3.7.1 printed, and
//! with `ETCDCTL_GO` and `ETCD_GO` naming its programs compares with them afresh (an ignored test).
mod call;
mod cmd;
mod command;
mod failure;
mod flag;
mod global;
mod golang;
mod help;
mod log;
mod print;
mod prompt;
mod words;

use std::process::exit;

fn main() {
    let args = std::env::args_os().skip(1).map(|arg| arg.into_encoded_bytes().into()).collect();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("Error: {error}");
            exit(failure::code::GENERAL);
        }
    };
    if let Err(failure) = runtime.block_on(command::run(args)) {
        if let Some(text) = failure.text {
            eprintln!("Error: {text}");
        }
        exit(failure.code);
    }
}
