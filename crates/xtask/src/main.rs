//! Project tasks: `cargo xtask <task>`; one file per task.
mod bench;
mod cluster;
#[cfg(feature = "generate")]
mod generate;
mod sim;
mod tidy;

fn main() -> std::process::ExitCode {
    let task = std::env::args().nth(1).unwrap_or_default();
    let result = match task.as_str() {
        #[cfg(feature = "generate")]
        "generate" => generate::run(),
        "bench" => bench::run(std::env::args().skip(2)),
        "cluster" => cluster::run(std::env::args().skip(2)),
        "sim" => sim::run(std::env::args().skip(2), &["--seed"]),
        "soak" => sim::run(std::env::args().skip(2), &["--minutes"]),
        "tidy" => tidy::run(),
        _ => Err("tasks: bench, cluster, sim, soak, tidy, generate (as `cargo generate`)".into()),
    };
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask {task}: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}
