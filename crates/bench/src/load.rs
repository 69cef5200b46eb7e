//! Loads: who asks what how often, and what came of it.
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use nix::time::{ClockId, clock_gettime};

use crate::Result;
use crate::wire::{Client, Event, Place};

/// A server that says nothing this long has failed.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// What kind of call a load consists of.
#[derive(Clone, Copy)]
pub struct Shape {
    pub method: &'static str,
    pub connections: usize,
    /// Clients together, each with one request outstanding.
    pub clients: usize,
    /// Shortest answer that can be right.
    pub answer_bytes_min: usize,
    /// Each client keeps one stream for all its requests instead of a call for each.
    pub streaming: bool,
    /// A failure whose text has this is a refusal, and no failure; empty: there are none.
    pub refusal: &'static str,
}

impl Shape {
    fn is_refusal(&self, what: &str) -> bool {
        !self.refusal.is_empty() && what.contains(self.refusal)
    }
}

/// What came of a load.
pub struct Done {
    pub operations: u64,
    pub elapsed: Duration,
    /// CPU of this process.
    pub own_cpu: Duration,
    /// Of what was not refused, in nanoseconds.
    pub latency: Histogram<u64>,
    /// Of what was refused.
    pub refused: Histogram<u64>,
    pub failures: Failures,
}

/// Calls that went wrong, and how the first of them did.
#[derive(Clone, Debug, Default)]
pub struct Failures {
    pub count: u64,
    pub first: Option<String>,
}

impl Failures {
    pub fn add(&mut self, what: String) {
        self.count += 1;
        self.first.get_or_insert(what);
    }

    /// Adds those of a part.
    pub fn join(&mut self, part: Failures) {
        self.count += part.count;
        self.first = self.first.take().or(part.first);
    }
}

/// Fills in the next request; it is given the number of the request and the client.
pub type Next<'a> = &'a mut dyn FnMut(u64, u32, &mut Vec<u8>);

/// A closed loop: each client asks again when it has its answer. Connections stay open between runs.
pub struct Loop {
    shape: Shape,
    client: Client,
    asking: Vec<Asking>,
}

#[derive(Clone)]
struct Asking {
    since: Instant,
    answered: bool,
    place: Option<Place>,
}

impl Loop {
    pub fn open(port: u16, shape: Shape) -> Result<Loop> {
        Loop::open_all(&[port], shape)
    }

    /// With the connections shared out among several servers.
    pub fn open_all(ports: &[u16], shape: Shape) -> Result<Loop> {
        let client = Client::connect_all(ports, shape.connections, false)?;
        let asking = Asking { since: Instant::now(), answered: false, place: None };
        Ok(Loop { shape, client, asking: vec![asking; shape.clients] })
    }

    /// Runs `operations` requests to their end.
    pub fn run(&mut self, operations: u64, next: Next<'_>) -> Result<Done> {
        let (start, own_cpu) = (Instant::now(), own_cpu()?);
        let (mut latency, mut refused, mut failures) = (histogram()?, histogram()?, Failures::default());
        let (mut asked, mut ended) = (0, 0);
        let (mut events, mut request) = (Vec::new(), Vec::new());
        for client in 0..self.asking.len().min(operations as usize) {
            self.ask(client as u32, asked, next, &mut request);
            asked += 1;
        }
        while ended < operations {
            self.client.turn(SILENCE_MAX, &mut events)?;
            if events.is_empty() {
                return Err(format!("{}: no answer for {SILENCE_MAX:?}", self.shape.method).into());
            }
            for event in events.drain(..) {
                let Some((client, result)) = self.outcome(event) else { continue };
                let nanoseconds = self.asking[client as usize].since.elapsed().as_nanos();
                match result {
                    Err(what) if self.shape.is_refusal(&what) => &mut refused,
                    Err(what) => {
                        failures.add(what);
                        &mut latency
                    }
                    Ok(()) => &mut latency,
                }
                .saturating_record(nanoseconds as u64);
                ended += 1;
                if asked < operations {
                    self.ask(client, asked, next, &mut request);
                    asked += 1;
                }
            }
        }
        let own_cpu = self::own_cpu()? - own_cpu;
        Ok(Done { operations, elapsed: start.elapsed(), own_cpu, latency, refused, failures })
    }

    fn ask(&mut self, client: u32, number: u64, next: Next<'_>, request: &mut Vec<u8>) {
        request.clear();
        next(number, client, request);
        let asking = &mut self.asking[client as usize];
        asking.answered = false;
        match asking.place {
            Some(place) => self.client.send(place, request),
            None => {
                let Shape { method, streaming, .. } = self.shape;
                let place = self.client.call(client as usize, method, client, request, !streaming);
                asking.place = streaming.then_some(place);
            }
        }
        asking.since = Instant::now();
    }

    /// The client whose request an event ends, and how.
    fn outcome(&mut self, event: Event) -> Option<(u32, std::result::Result<(), String>)> {
        match event {
            Event::Message { call, length, .. } => {
                let enough = length >= self.shape.answer_bytes_min;
                self.asking[call as usize].answered = enough;
                let short = || Err(format!("an answer of {length} bytes"));
                self.shape.streaming.then(|| (call, if enough { Ok(()) } else { short() }))
            }
            Event::Ended { call, result } => {
                let asking = &mut self.asking[call as usize];
                asking.place = None;
                let answered = asking.answered;
                let ended = match result {
                    Ok(()) if self.shape.streaming => Err("the server ended the stream".into()),
                    Ok(()) if !answered => Err("ended without the answer expected".into()),
                    other => other,
                };
                Some((call, ended))
            }
        }
    }
}

/// Takes nanoseconds, up to an hour, to three digits.
pub fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 3_600_000_000_000, 3)?)
}

/// CPU this process has used so far.
pub fn own_cpu() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?.into())
}
