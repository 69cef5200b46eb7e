//! `cargo xtask bench`: builds our server and the measuring stand, then starts the stand.
use std::process::Command;

/// Passes `args` on; docs/performance.md explains them.
pub fn run(args: impl Iterator<Item = String>) -> Result<(), Box<dyn std::error::Error>> {
    let cargo = || Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let args: Vec<String> = args.collect();
    let needless = ["--balsa", "--list", "--help"];
    if !args.iter().any(|arg| needless.contains(&arg.as_str())) {
        succeed(cargo().args(["build", "--release", "--quiet", "--package", "balsa-server"]))?;
    }
    succeed(cargo().args(["run", "--release", "--quiet", "--package", "balsa-bench", "--"]).args(args))
}

pub(crate) fn succeed(command: &mut Command) -> Result<(), Box<dyn std::error::Error>> {
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(format!("{status}").into()) }
}
