//! The `etcd` binary.

use std::process::ExitCode;

use server::{config, log, notices, run};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let mut config = match config::load(std::env::args_os().skip(1), std::env::vars_os()) {
        Ok(config) => config,
        Err(exit) => return exit.end(),
    };
    if let Err(error) = log::start(&config.log) {
        return config::Exit::refused(error).end();
    }
    std::mem::take(&mut config.notes).iter().for_each(log::write);
    notices::called(&config);
    let registry = config.discovery.clone();
    match run::run(config) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(signal)) => {
            // As etcd: end by the signal itself, except as the first process of a container.
            if std::process::id() != 1 {
                // If this fails, the status below says success all the same.
                let _ = signal_hook::low_level::emulate_default_handler(signal);
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            notices::failed(error.as_ref(), &registry);
            ExitCode::FAILURE
        }
    }
}
