//! Whether the other side of a connection is still there, and whether it asks that too often.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::door::Limits;

/// Pings that come too soon and are let pass, as in gRPC for Go.
const STRIKES_MAX: u32 = 2;
/// Shortest time between two pings while no stream is open.
const IDLE_PING_INTERVAL: Duration = Duration::from_secs(2 * 60 * 60);

/// The clock of one connection.
pub struct Keepalive {
    interval: Duration,
    timeout: Duration,
    ping_interval_min: Duration,
    heard: Instant,
    /// None: the server does not ping.
    alarm: Option<Pin<Box<Sleep>>>,
    /// Pongs there were when the ping was sent that is not yet answered.
    asked: Option<u64>,
    pinged: Option<Instant>,
    strikes: u32,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing.
    Nothing,
    /// Ask whether the client is there.
    Ping,
    /// It is not.
    Close,
}

impl Keepalive {
    /// Must be called inside a runtime.
    pub fn new(limits: &Limits) -> Keepalive {
        let interval = limits.keepalive_interval;
        Keepalive {
            interval,
            timeout: limits.keepalive_timeout,
            ping_interval_min: limits.ping_interval_min,
            heard: Instant::now(),
            alarm: (!interval.is_zero() && !limits.keepalive_timeout.is_zero())
                .then(|| Box::pin(tokio::time::sleep(interval))),
            asked: None,
            pinged: None,
            strikes: 0,
        }
    }

    /// Something came from the client.
    pub fn heard(&mut self) {
        self.heard = Instant::now();
    }

    /// Something was sent on a stream: a client may ask again whether we are there.
    pub fn answered(&mut self) {
        self.strikes = 0;
        self.pinged = None;
    }

    /// A ping came; true when the client has pinged too often.
    pub fn is_pinged_too_often(&mut self, streams: usize) -> bool {
        let now = Instant::now();
        let interval = if streams == 0 { IDLE_PING_INTERVAL } else { self.ping_interval_min };
        if self.pinged.replace(now).is_some_and(|last| now < last + interval) {
            self.strikes += 1;
        }
        self.strikes > STRIKES_MAX
    }

    /// What the time says; wakes the task of `cx` when it says something else. `pongs`: pings answered so far.
    pub fn poll(&mut self, cx: &mut Context<'_>, pongs: u64) -> Due {
        let Some(alarm) = &mut self.alarm else { return Due::Nothing };
        while alarm.as_mut().poll(cx).is_ready() {
            let quiet_until = self.heard + self.interval;
            match self.asked.take() {
                Some(before) if before == pongs && quiet_until <= Instant::now() => return Due::Close,
                None if quiet_until <= Instant::now() => {
                    self.asked = Some(pongs);
                    alarm.as_mut().reset(Instant::now() + self.timeout);
                    // To be woken at the new time.
                    let _ = alarm.as_mut().poll(cx);
                    return Due::Ping;
                }
                _ => alarm.as_mut().reset(quiet_until),
            }
        }
        Due::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            streams_max: None,
            keepalive_interval: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(2),
            ping_interval_min: Duration::from_secs(5),
        }
    }

    fn due(keepalive: &mut Keepalive, pongs: u64) -> Due {
        keepalive.poll(&mut Context::from_waker(std::task::Waker::noop()), pongs)
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_client_is_pinged_and_a_silent_one_given_up() {
        let mut keepalive = Keepalive::new(&limits());
        tokio::time::advance(Duration::from_secs(8)).await;
        keepalive.heard();
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(due(&mut keepalive, 0), Due::Nothing, "it was heard 9 s ago");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(due(&mut keepalive, 0), Due::Ping);
        keepalive.heard();
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(due(&mut keepalive, 1), Due::Nothing, "it has answered");
        tokio::time::advance(Duration::from_secs(8)).await;
        assert_eq!(due(&mut keepalive, 1), Due::Ping);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(due(&mut keepalive, 1), Due::Nothing, "it has a second left");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(due(&mut keepalive, 1), Due::Close);
    }

    #[tokio::test(start_paused = true)]
    async fn pings_are_counted_against_a_client_unless_it_is_answered_between_them() {
        let pings = async |wait: u64, streams, answered| {
            let mut keepalive = Keepalive::new(&limits());
            for nth in 1..10 {
                if answered {
                    keepalive.answered();
                }
                if keepalive.is_pinged_too_often(streams) {
                    return Some(nth);
                }
                tokio::time::advance(Duration::from_secs(wait)).await;
            }
            None
        };
        assert_eq!(pings(0, 1, true).await, None);
        assert_eq!(pings(0, 1, false).await, Some(4), "the first counts for nothing, two more are let pass");
        assert_eq!(pings(6, 1, false).await, None);
        assert_eq!(pings(6, 0, false).await, Some(4), "with no stream open there is no reason to ask");
    }
}
