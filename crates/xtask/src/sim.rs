//! `cargo xtask sim --seed N`: one simulated run of a cluster; `cargo xtask soak --minutes N`: fresh ones until time is
//! over. A run that fails prints its timeline and how to repeat it.
use std::process::Command;

/// Passes `args` on; one of them must be of `needed`.
pub fn run(args: impl Iterator<Item = String>, needed: &[&str]) -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = args.collect();
    if !args.iter().any(|arg| needed.contains(&arg.as_str())) {
        return Err(format!("needs {} N", needed.join(" or ")).into());
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    crate::bench::succeed(
        cargo.args(["run", "--quiet", "--package", "balsa-sim", "--bin", "sim", "--"]).args(args),
    )
}
