//! The measuring stand: runs Balsa and another etcd in turn under the same loads and compares what they cost.
//!
//! Lives here: servers as processes, a gRPC client cheap enough not to be the limit, loads, scenarios, tables. May
//! touch: anything outside the rooms; of them only `proto`. Started by `cargo xtask bench`; docs/performance.md explains
//! the figures.
mod load;
mod member;
mod options;
mod pace;
mod reference;
mod report;
mod request;
mod scenario;
mod wire;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use load::Failures;
use member::Member;
use options::{Options, USAGE};
use report::{Report, Sample, digits};
use scenario::{SCENARIOS, STAGES, Scenario, Stand};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    match Options::parse(std::env::args().skip(1)).and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    if options.help {
        println!("{USAGE}");
        return Ok(());
    }
    if options.list {
        for scenario in SCENARIOS {
            println!("{:14} {}", scenario.name, scenario.about);
        }
        return Ok(());
    }

    let binaries = binaries(options)?;
    let mut servers = Vec::new();
    for (nth, binary) in binaries.iter().enumerate() {
        let name = if nth == 0 { "Balsa" } else { "other" };
        servers.push(format!("{name} {}", reference::version(binary)?));
    }
    let mut report = Report { servers, samples: Vec::new() };
    let mut failures = Failures::default();
    let measured = measure(options, &binaries, &mut report, &mut failures);
    print!("{}", if options.markdown { report.markdown() } else { report.table() });
    if let Some(file) = &options.json {
        std::fs::write(file, format!("{:#}\n", report.json()))?;
    }
    measured?;
    match failures.first {
        None => Ok(()),
        Some(first) => Err(format!("{} calls failed; the first: {first}", failures.count).into()),
    }
}

/// Ours, then the other.
fn binaries(options: &Options) -> Result<Vec<PathBuf>> {
    let mut binaries = vec![options.balsa.clone().map_or_else(reference::balsa, Ok)?];
    if !options.alone {
        binaries.push(options.other.clone().map_or_else(reference::other, Ok)?);
    }
    Ok(binaries)
}

/// Stage by stage the servers take turns, so that what the machine does meanwhile meets both.
fn measure(
    options: &Options,
    binaries: &[PathBuf],
    report: &mut Report,
    failures: &mut Failures,
) -> Result<()> {
    for stage in STAGES {
        let of_stage = SCENARIOS.iter().filter(|scenario| scenario.stage == *stage);
        let chosen: Vec<&Scenario> = of_stage.filter(|scenario| options.chosen(scenario.name)).collect();
        if chosen.is_empty() {
            continue;
        }
        for round in 0..options.rounds {
            for (server, binary) in binaries.iter().enumerate() {
                let samples = visit(options, binary, &chosen, failures, |scenario, figures| {
                    if let Some(figure) = figures.first() {
                        let name = &report.servers[server];
                        let (figure, value) = (figure.name, digits(figure.value));
                        eprintln!("round {} {name} {scenario}: {figure}: {value}", round + 1);
                    }
                    report.samples.push(Sample { scenario, server, round, figures });
                });
                samples?;
            }
        }
    }
    Ok(())
}

/// Runs scenarios on one fresh server.
fn visit(
    options: &Options,
    binary: &Path,
    scenarios: &[&Scenario],
    failures: &mut Failures,
    mut done: impl FnMut(&'static str, Vec<report::Figure>),
) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("balsa-bench-").tempdir_in(&options.dir)?;
    let mut stand = Stand::new(options, Member::start(binary, dir.path())?);
    for scenario in scenarios {
        let figures = (scenario.run)(&mut stand).map_err(|e| format!("{}: {e}", scenario.name))?;
        done(scenario.name, figures);
        if let Some(first) = &stand.failures.first {
            eprintln!("{}: {} calls failed; the first: {first}", scenario.name, stand.failures.count);
        }
        failures.join(std::mem::take(&mut stand.failures));
    }
    stand.member.stop()
}
