//! How long an endpoint is left alone after a failure.

use std::time::{Duration, Instant};

use crate::error::Error;

/// How much depends on the next exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    /// The held token is good for long.
    Advisory,
    /// The held token is about to expire.
    Mandatory,
    /// Requests fail.
    Blocking,
    /// The program asked for it: only the provider's own word holds it back.
    Asked,
}

const ADVISORY: Duration = Duration::from_secs(300);
const MANDATORY: Duration = Duration::from_secs(30);
const BLOCKING_FIRST: Duration = Duration::from_secs(1);
const BLOCKING_LAST: Duration = Duration::from_secs(30);

/// The failures since the last success.
#[derive(Debug, Default)]
pub(super) struct Cooldown {
    /// Boxed: most have none.
    failed: Option<Box<Failed>>,
}

#[derive(Debug)]
struct Failed {
    at: Instant,
    times: u32,
    chance: f64,
    error: Error,
    /// The latest time that the provider asked to be left alone until.
    not_before: Option<Instant>,
    /// Whether there was a token, only one that does not put off the next exchange.
    is_soft: bool,
}

impl Cooldown {
    /// A success: nothing is held back.
    pub(super) fn clear(&mut self) {
        self.failed = None;
    }

    /// One more failure. `chance` is a random number from 0 to 1.
    pub(super) fn add(&mut self, now: Instant, error: Error, chance: f64) {
        let times = self.failed.as_ref().map_or(0, |failed| failed.times);
        let earlier = self.failed.as_ref().and_then(|failed| failed.not_before);
        // A refusal without an answer is this program's own, and no longer true once somebody has got through.
        let asked = error.retry_after().filter(|_| error.status().is_some());
        let not_before = asked.map(|asked| now + asked).max(earlier);
        self.failed = Some(Box::new(Failed {
            at: now,
            times: times.saturating_add(1),
            chance: chance.clamp(0.0, 1.0),
            error,
            not_before,
            is_soft: false,
        }));
    }

    /// A token came that is to be renewed already, as from a source that gives the same one again: a reason to leave it alone
    /// for a while as long as that one serves.
    pub(super) fn add_soft(&mut self, now: Instant, error: Error, chance: f64) {
        self.clear();
        self.add(now, error, chance);
        if let Some(failed) = &mut self.failed {
            failed.is_soft = true;
        }
    }

    /// The last failure.
    pub(super) fn last(&self) -> Option<&Error> {
        let failed = self.failed.as_ref().filter(|failed| !failed.is_soft);
        failed.map(|failed| &failed.error)
    }

    /// The last failure, if it is too early to try again.
    pub(super) fn check(&self, now: Instant, urgency: Urgency) -> Result<(), Error> {
        match (&self.failed, self.until(urgency)) {
            (Some(failed), Some(until)) if now < until => Err(failed.error.clone()),
            _ => Ok(()),
        }
    }

    /// When it is time to try again, if there was a failure.
    pub(super) fn until(&self, urgency: Urgency) -> Option<Instant> {
        let failed = self.failed.as_ref()?;
        Some((failed.at + failed.pause(urgency)).max(failed.not_before.unwrap_or(failed.at)))
    }
}

impl Failed {
    fn pause(&self, urgency: Urgency) -> Duration {
        match urgency {
            Urgency::Advisory => ADVISORY.mul_f64(1.0 + self.chance),
            Urgency::Mandatory => MANDATORY,
            Urgency::Asked => Duration::ZERO,
            Urgency::Blocking if self.is_soft => Duration::ZERO,
            Urgency::Blocking => {
                let doublings = (self.times - 1).min(5);
                let most = BLOCKING_FIRST
                    .saturating_mul(1 << doublings)
                    .min(BLOCKING_LAST);
                most.mul_f64(self.chance).max(BLOCKING_FIRST)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ErrorKind,
        clock::{Clock, SystemClock},
        error::Answer,
    };

    fn failure(retry_after: Option<u64>) -> Error {
        Error::new(ErrorKind::Unavailable, "down").with_answer(Answer {
            status: retry_after.map(|_| http::StatusCode::SERVICE_UNAVAILABLE),
            retry_after: retry_after.map(Duration::from_secs),
            ..Answer::default()
        })
    }

    fn pause(cooldown: &Cooldown, now: Instant, urgency: Urgency) -> u64 {
        (cooldown.until(urgency).unwrap() - now).as_secs()
    }

    #[test]
    fn p16_backoff_neither_overflows_nor_sticks() {
        let now = SystemClock.monotonic();
        let mut cooldown = Cooldown::default();
        assert!(cooldown.check(now, Urgency::Blocking).is_ok());
        for times in 1..=10_000 {
            cooldown.add(now, failure(None), 1.0);
            let expected = [1, 2, 4, 8, 16].get(times - 1).copied().unwrap_or(30);
            assert_eq!(
                pause(&cooldown, now, Urgency::Blocking),
                expected,
                "{times}"
            );
            assert_eq!(pause(&cooldown, now, Urgency::Mandatory), 30);
            assert_eq!(pause(&cooldown, now, Urgency::Advisory), 600);
        }
        assert!(
            cooldown
                .check(now + BLOCKING_LAST, Urgency::Blocking)
                .is_ok()
        );
        cooldown.clear();
        assert!(cooldown.check(now, Urgency::Advisory).is_ok());
    }

    #[test]
    fn p16_pauses_are_spread_but_never_below_a_second() {
        let now = SystemClock.monotonic();
        let mut cooldown = Cooldown::default();
        for _ in 0..10 {
            cooldown.add(now, failure(None), 0.0);
        }
        assert_eq!(pause(&cooldown, now, Urgency::Blocking), 1);
        assert_eq!(pause(&cooldown, now, Urgency::Advisory), 300);
    }

    #[test]
    fn p16_retry_after_is_obeyed() {
        let now = SystemClock.monotonic();
        let mut cooldown = Cooldown::default();
        cooldown.add(now, failure(Some(120)), 0.5);
        assert_eq!(pause(&cooldown, now, Urgency::Blocking), 120);
        assert_eq!(pause(&cooldown, now, Urgency::Mandatory), 120);
        assert_eq!(pause(&cooldown, now, Urgency::Asked), 120);
        assert_eq!(pause(&cooldown, now, Urgency::Advisory), 450);
        // A later failure that names no time does not shorten it.
        cooldown.add(now, failure(None), 0.5);
        assert_eq!(pause(&cooldown, now, Urgency::Asked), 120);
    }
}
