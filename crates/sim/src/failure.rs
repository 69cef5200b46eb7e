//! A broken promise, and how it is told: its seed, and one line per transition.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A broken promise.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The run that shows it.
    pub seed: u64,
    /// What is wrong.
    pub what: String,
    /// One line per transition.
    pub timeline: Vec<String>,
    replay: String,
}

/// Lines shown, unless all are asked for.
const LINES_MAX: usize = 200;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let max = if std::env::var_os("BALSA_TIMELINE").is_some() { usize::MAX } else { LINES_MAX };
        let skipped = self.timeline.len().saturating_sub(max);
        if skipped > 0 {
            writeln!(f, "... {skipped} transitions before, which BALSA_TIMELINE=1 shows")?;
        }
        self.timeline.iter().skip(skipped).try_for_each(|line| writeln!(f, "{line}"))?;
        write!(f, "seed {}: {}\nreplay: {}", self.seed, self.what, self.replay)
    }
}

/// What a run says of itself when it fails.
pub(crate) struct Broken {
    pub what: String,
    pub timeline: Vec<String>,
}

impl Failure {
    /// Makes a run; if it fails, again with a timeline. `replay` says how to do that, with `{}` for the seed.
    pub(crate) fn traced<T>(
        seed: u64,
        replay: &str,
        run: impl Fn(bool) -> Result<T, Broken>,
    ) -> Result<T, Failure> {
        let fail = |broken: Broken| {
            let replay = replay.replace("{}", &seed.to_string());
            Failure { seed, what: broken.what, timeline: broken.timeline, replay }
        };
        match run(false) {
            Ok(report) => return Ok(report),
            Err(broken) if !broken.timeline.is_empty() => return Err(fail(broken)),
            Err(_) => {}
        }
        Err(fail(run(true).err().unwrap_or_else(|| Broken {
            what: "the run failed once and passed when repeated: it does not follow from its seed".into(),
            timeline: Vec::new(),
        })))
    }
}

/// A panic is a broken promise too: consensus ends the process rather than go on with a log that lies.
pub(crate) fn unwound<T>(run: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("panic: {}", text.unwrap_or_default()))
    })
}
