//! Instructions a server executes, from the processor's counter, by `perf stat`. Virtual machines often have none: then
//! nothing is counted, and the report says so.
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const EVENT: &str = "instructions";

/// Counts until it is read.
pub struct Counter(Child);

/// Whether this machine can count.
pub fn can_count() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    *CAN.get_or_init(|| {
        let output = Command::new("perf").args(["stat", "-x,", "-e", EVENT, "true"]).output();
        output.is_ok_and(|output| number(&String::from_utf8_lossy(&output.stderr)).is_some())
    })
}

impl Counter {
    /// Counts for these processes together from now on, if that can be.
    pub fn start(processes: &[Pid]) -> Option<Counter> {
        if !can_count() {
            return None;
        }
        let processes = processes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let perf = Command::new("perf")
            .args(["stat", "-x,", "-e", EVENT, "-p", &processes])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        perf.ok().map(Counter)
    }

    /// How many there were.
    pub fn read(mut self) -> Option<u64> {
        kill(Pid::from_raw(self.0.id() as i32), Signal::SIGINT).ok()?;
        let mut text = String::new();
        self.0.stderr.take()?.read_to_string(&mut text).ok()?;
        self.0.wait().ok()?;
        number(&text)
    }
}

/// The count in `perf stat -x,`'s words: `1234,,instructions,…`.
fn number(text: &str) -> Option<u64> {
    text.lines().find(|line| line.contains(EVENT))?.split(',').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_read_and_its_absence_too() {
        assert_eq!(number("1771,,instructions,512000,100.00,,\n"), Some(1771));
        assert_eq!(number("<not supported>,,instructions,0,100.00,,\n"), None);
        assert_eq!(number("perf: not found"), None);
    }
}
