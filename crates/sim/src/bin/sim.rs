//! `sim --seed N` makes one run and shows its timeline if it fails; `sim --minutes N` makes fresh ones until time is over.
//! `--mistake NAME` plants one (see `Mutation`).

use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sim::{Cluster, Mutation, Summary};

const USAGE: &str = "usage: sim (--seed N [--count N] | --minutes N) [--mistake NAME]";

/// How often long work says how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Wanted {
    seed: Option<u64>,
    count: u64,
    minutes: Option<u64>,
    mistake: Option<Mutation>,
}

fn main() -> ExitCode {
    let wanted = match parse(std::env::args().skip(1)) {
        Ok(wanted) => wanted,
        Err(what) => {
            eprintln!("sim: {what}\n{USAGE}");
            return ExitCode::FAILURE;
        }
    };
    let begun = Instant::now();
    let until = wanted.minutes.map(|minutes| begun + Duration::from_secs(60 * minutes));
    let first = wanted.seed.unwrap_or_else(fresh);
    let mut sum = Summary::default();
    let mut runs = 0;
    let mut told = begun;
    for seed in first.. {
        if until.map_or(runs >= wanted.count.max(1), |until| Instant::now() >= until) {
            break;
        }
        let cluster = Cluster::new(seed);
        match wanted.mistake.map_or(cluster.clone(), |mistake| cluster.with(mistake)).go() {
            Ok(summary) => sum += summary,
            Err(failure) => {
                println!("{failure}\nafter {runs} runs and {:?}: {sum:?}", begun.elapsed());
                return ExitCode::FAILURE;
            }
        }
        runs += 1;
        if told.elapsed() >= PROGRESS_INTERVAL {
            told = Instant::now();
            eprintln!("{runs} runs in {:.0?}, none failed", begun.elapsed());
        }
    }
    println!("{runs} runs from seed {first} in {:?}: {sum:?}", begun.elapsed());
    ExitCode::SUCCESS
}

/// A seed that nobody has tried.
fn fresh() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64 >> 10)
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Wanted, String> {
    let mut wanted = Wanted::default();
    while let Some(flag) = args.next() {
        let value = args.next().ok_or_else(|| format!("{flag} needs a value"))?;
        let number = || value.parse::<u64>().map_err(|error| format!("{flag} {value}: {error}"));
        match flag.as_str() {
            "--seed" => wanted.seed = Some(number()?),
            "--count" => wanted.count = number()?,
            "--minutes" => wanted.minutes = Some(number()?),
            "--mistake" => {
                let named = |mistake: &&Mutation| format!("{mistake:?}") == value;
                let found = Mutation::ALL.iter().find(named);
                wanted.mistake = Some(*found.ok_or_else(|| format!("mistakes: {:?}", Mutation::ALL))?);
            }
            _ => return Err(format!("unknown flag {flag}")),
        }
    }
    if wanted.seed.is_none() && wanted.minutes.is_none() { Err("what to run?".into()) } else { Ok(wanted) }
}
