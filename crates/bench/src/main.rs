//! The measuring stand: runs Balsa and another etcd in turn under the same loads and compares what they cost.
//!
//! Lives here: servers as processes, a gRPC client cheap enough not to be the limit, loads, scenarios, tables, and the
//! counting of instructions, for which it drives the rooms below the server itself. May touch: anything outside the
//! rooms, and their doors. Started by `cargo xtask bench`; docs/performance.md explains the figures.
mod about;
mod counter;
mod instructions;
mod load;
mod member;
mod options;
mod pace;
mod plot;
mod profile;
mod reference;
mod report;
mod request;
mod scenario;
mod watching;
mod wire;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use about::About;
use load::Failures;
use member::Program;
use options::{Options, USAGE};
use report::{Report, Sample, digits};
use scenario::{SCENARIOS, STAGES, Scenario, Stage, Stand};

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
    if let Some(room) = &options.room {
        return instructions::run_room(room, options.times);
    }
    if options.instructions {
        return instructions::run(options.balsa.clone(), options.bless);
    }
    if options.list {
        for scenario in SCENARIOS {
            println!("{:18} {}", scenario.name, scenario.about);
        }
        return Ok(());
    }

    if let Some(scenario) = &options.profile {
        return profile(options, scenario);
    }
    if let Some(file) = &options.from {
        return show(options, &Report::read(&serde_json::from_slice(&std::fs::read(file)?)?)?);
    }

    let binaries = binaries(options)?;
    let mut report = Report { about: About::now(&options.dir), ..Report::default() };
    for (nth, binary) in binaries.iter().enumerate() {
        let name = if nth == 0 { "Balsa" } else { &options.name };
        report.servers.push(format!("{name} {}", reference::version(binary)?));
    }
    let mut failures = Failures::default();
    let measured = measure(options, &binaries, &mut report, &mut failures);
    show(options, &report)?;
    measured?;
    match failures.first {
        None => Ok(()),
        Some(first) => Err(format!("{} calls failed; the first: {first}", failures.count).into()),
    }
}

/// Prints a report, and writes what of it is to be written.
fn show(options: &Options, report: &Report) -> Result<()> {
    println!("{}\n", report.about);
    print!("{}", if options.markdown { report.markdown() } else { report.table() });
    if let Some(file) = &options.json {
        std::fs::write(file, format!("{:#}\n", report.json()))?;
    }
    options.plots.as_deref().map_or(Ok(()), |dir| plot::write(report, dir))
}

/// Runs one scenario on our server and says where its CPU went.
fn profile(options: &Options, name: &str) -> Result<()> {
    let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name).ok_or("no such scenario")?;
    if scenario.stage == Stage::Cluster {
        return Err("of a cluster no profile is made".into());
    }
    let binary = options.balsa.clone().map_or_else(reference::balsa, Ok)?;
    let dir = tempfile::Builder::new().prefix("balsa-bench-").tempdir_in(&options.dir)?;
    let program = Program { binary, ..Program::default() };
    let mut stand = Stand::start(options, program, dir.path(), scenario.stage)?;
    let recording = profile::Recording::start(stand.member.pid())?;
    let figures = (scenario.run)(&mut stand)?;
    let profile = recording.stop()?;
    let cpu = figures.iter().find(|figure| figure.name == scenario::CPU_MICROS).ok_or("it has no cost")?;
    println!("{}\n\n{}, {} µs:\n", About::now(&options.dir), cpu.name, digits(cpu.value));
    println!("{}", profile.markdown(cpu.value));
    stand.stop()
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
        for round in 0..stage.rounds(options.rounds) {
            for (server, binary) in binaries.iter().enumerate() {
                let samples = visit(options, binary, *stage, &chosen, failures, |scenario, figures| {
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

/// Runs the scenarios of a stage on one fresh server, or cluster.
fn visit(
    options: &Options,
    binary: &Path,
    stage: Stage,
    scenarios: &[&Scenario],
    failures: &mut Failures,
    mut done: impl FnMut(&'static str, Vec<report::Figure>),
) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("balsa-bench-").tempdir_in(&options.dir)?;
    let program = Program { binary: binary.to_owned(), ..Program::default() };
    let mut stand = Stand::start(options, program, dir.path(), stage)?;
    for scenario in scenarios {
        let figures = (scenario.run)(&mut stand).map_err(|e| format!("{}: {e}", scenario.name))?;
        done(scenario.name, figures);
        if let Some(first) = &stand.failures.first {
            eprintln!("{}: {} calls failed; the first: {first}", scenario.name, stand.failures.count);
        }
        failures.join(std::mem::take(&mut stand.failures));
    }
    stand.stop()
}
