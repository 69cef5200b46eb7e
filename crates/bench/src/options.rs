//! What the command line says.
use std::path::PathBuf;

use crate::Result;
use crate::scenario::SCENARIOS;

pub const USAGE: &str = "\
cargo xtask bench [options] [scenario …]     all scenarios unless some are named

  --list           the scenarios and what they do
  --balsa PATH     our server; otherwise the release build
  --other PATH     the etcd to compare with; otherwise ETCD_GO, otherwise Go etcd 3.5.1 from PyPI
  --name NAME      what the other is called in tables and plots (other)
  --alone          measure our server alone
  --rounds N       how often each server runs, in turn (2); half as often where that takes long
  --short          a tenth of the operations, one round
  --keys N         keys of fill and stalls and what builds on them (1000000)
  --dir DIR        where the data directories go (the system's temporary directory): a real disk
  --json FILE      write every figure of every round
  --markdown       print the table as Markdown
  --plots DIR      write plots of it
  --from FILE      measure nothing: show what --json has written

  --profile NAME   instead: run one scenario on our server and say where its CPU goes (by perf)
  --instructions   instead: count the instructions of the hot paths and compare them with the baseline
  --bless          write the baseline anew";

#[derive(Debug)]
pub struct Options {
    pub scenarios: Vec<String>,
    pub list: bool,
    pub help: bool,
    pub balsa: Option<PathBuf>,
    pub other: Option<PathBuf>,
    pub name: String,
    pub alone: bool,
    pub rounds: usize,
    pub short: bool,
    pub keys: u64,
    pub dir: PathBuf,
    pub json: Option<PathBuf>,
    pub markdown: bool,
    pub plots: Option<PathBuf>,
    pub from: Option<PathBuf>,
    pub profile: Option<String>,
    pub instructions: bool,
    pub bless: bool,
    /// A path within rooms, for callgrind: with how often.
    pub room: Option<String>,
    pub times: u64,
}

impl Options {
    pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Options> {
        let mut options = Options {
            scenarios: Vec::new(),
            list: false,
            help: false,
            balsa: None,
            other: None,
            name: "other".into(),
            alone: false,
            rounds: 0,
            short: false,
            keys: 0,
            dir: std::env::temp_dir(),
            json: None,
            markdown: false,
            plots: None,
            from: None,
            profile: None,
            instructions: false,
            bless: false,
            room: None,
            times: 0,
        };
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let mut operand = || args.next().ok_or_else(|| format!("{arg} needs something behind it"));
            match arg.as_str() {
                "--list" => options.list = true,
                "--help" | "-h" => options.help = true,
                "--balsa" => options.balsa = Some(operand()?.into()),
                "--other" => options.other = Some(operand()?.into()),
                "--name" => options.name = operand()?,
                "--alone" => options.alone = true,
                "--rounds" => options.rounds = operand()?.parse()?,
                "--short" => options.short = true,
                "--plots" => options.plots = Some(operand()?.into()),
                "--from" => options.from = Some(operand()?.into()),
                "--profile" => options.profile = Some(operand()?),
                "--instructions" => options.instructions = true,
                "--bless" => options.bless = true,
                "--room" => options.room = Some(operand()?),
                "--times" => options.times = operand()?.parse()?,
                "--keys" => options.keys = operand()?.parse()?,
                "--dir" => options.dir = operand()?.into(),
                "--json" => options.json = Some(operand()?.into()),
                "--markdown" => options.markdown = true,
                name if SCENARIOS.iter().any(|scenario| scenario.name == name) => options.scenarios.push(arg),
                _ => return Err(format!("no such option or scenario: {arg}\n\n{USAGE}").into()),
            }
        }
        if options.rounds == 0 {
            options.rounds = if options.short { 1 } else { 2 };
        }
        if options.keys == 0 {
            options.keys = options.scaled(1_000_000);
        }
        Ok(options)
    }

    /// `operations`, or a tenth of them in a short run.
    pub fn scaled(&self, operations: u64) -> u64 {
        if self.short { operations.div_ceil(10) } else { operations }
    }

    pub fn chosen(&self, name: &str) -> bool {
        let by_name = self.scenarios.iter().any(|chosen| chosen == name);
        by_name || self.scenarios.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn a_short_run_has_a_tenth_and_one_round() {
        let options = parse("--short put-one").unwrap();
        assert_eq!((options.rounds, options.keys, options.scaled(50)), (1, 100_000, 5));
        assert!(options.chosen("put-one") && !options.chosen("put-many"));
    }

    #[test]
    fn what_is_unknown_or_incomplete_is_refused() {
        assert!(parse("--fast").is_err());
        assert!(parse("put-most").is_err());
        assert!(parse("--rounds").is_err());
    }
}
