//! `cargo xtask bench`: builds our server and the measuring stand, then starts the stand.
use std::process::Command;

/// Passes `args` on; docs/performance.md explains them.
pub fn run(args: impl Iterator<Item = String>) -> Result<(), Box<dyn std::error::Error>> {
    // Built together, so that both share what they are built from.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let packages = ["--package", "balsa-server", "--package", "balsa-bench"];
    succeed(Command::new(cargo).args(["build", "--release", "--quiet"]).args(packages))?;
    let this = std::env::current_exe()?;
    let target = this.ancestors().nth(2).ok_or("this program is not in a target directory")?;
    succeed(Command::new(target.join("release/balsa-bench")).args(args))
}

pub(crate) fn succeed(command: &mut Command) -> Result<(), Box<dyn std::error::Error>> {
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(format!("{status}").into()) }
}
