//! An open loop: requests leave at their time, however long the answers take. A latency counts from when its request
//! was due, so a stall meets all that should have happened meanwhile.
use std::time::{Duration, Instant};

use crate::Result;
use crate::load::{Done, Failures, histogram, own_cpu};
use crate::wire::{Client, Event};

/// After the last request the answers may take this long.
const PATIENCE: Duration = Duration::from_secs(120);

pub struct Pace {
    pub method: &'static str,
    pub per_second: u32,
}

impl Pace {
    /// When request `number` is due.
    pub fn due(&self, start: Instant, number: u64) -> Instant {
        start + Duration::from_secs(1) * number as u32 / self.per_second
    }

    /// Runs on one connection as long as `more` says so, and until all is answered.
    pub fn run(
        &self,
        port: u16,
        next: &mut dyn FnMut(u64, &mut Vec<u8>),
        more: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Done> {
        let mut client = Client::connect(port, 1, false)?;
        let (mut latency, mut failures) = (histogram()?, Failures::default());
        let (start, own_before) = (Instant::now(), own_cpu()?);
        let (mut asked, mut ended) = (0u64, 0u64);
        let (mut events, mut request) = (Vec::new(), Vec::new());
        let mut going = true;
        loop {
            going = going && more(asked);
            if !going && ended == asked {
                break;
            }
            while going && self.due(start, asked) <= Instant::now() {
                request.clear();
                next(asked, &mut request);
                client.call(0, self.method, asked as u32, &request, true);
                asked += 1;
            }
            let pause = if going { until(self.due(start, asked)) } else { PATIENCE };
            client.turn(pause, &mut events)?;
            if !going && events.is_empty() {
                return Err(format!(
                    "{}: {ended} of {asked} answered, then nothing for {PATIENCE:?}",
                    self.method
                )
                .into());
            }
            for event in events.drain(..) {
                let Event::Ended { call, result } = event else { continue };
                let since = self.due(start, u64::from(call)).elapsed();
                latency.saturating_record(since.as_nanos() as u64);
                if let Err(what) = result {
                    failures.add(what);
                }
                ended += 1;
            }
        }
        let own_cpu = own_cpu()? - own_before;
        Ok(Done {
            operations: ended,
            elapsed: start.elapsed(),
            own_cpu,
            latency,
            refused: histogram()?,
            failures,
        })
    }
}

/// How long until then.
pub fn until(then: Instant) -> Duration {
    then.saturating_duration_since(Instant::now())
}
