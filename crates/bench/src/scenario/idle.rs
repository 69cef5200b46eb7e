//! A server nobody asks anything.
use std::time::Duration;

use super::{Stand, mebibytes, micros};
use crate::Result;
use crate::report::Figure;

/// What starting left to do is over by then.
const SETTLE: Duration = Duration::from_secs(2);

pub fn idle(stand: &mut Stand<'_>) -> Result<Vec<Figure>> {
    std::thread::sleep(SETTLE);
    let before = stand.member.cost()?;
    let seconds = stand.options.scaled(10);
    std::thread::sleep(Duration::from_secs(seconds));
    let cost = stand.member.cost()? - before;
    Ok(vec![
        Figure::less("server CPU, ms per second", micros(cost.cpu) / 1e3 / seconds as f64),
        Figure::less("resident, MiB", mebibytes(stand.member.resident_bytes()?)),
        Figure::less("anonymous, MiB", mebibytes(stand.member.anonymous_bytes()?)),
    ])
}
