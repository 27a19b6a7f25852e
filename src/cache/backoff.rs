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
    Manual,
}

const ADVISORY: Duration = Duration::from_secs(300);
const MANDATORY: Duration = Duration::from_secs(30);
const BLOCKING_FIRST: Duration = Duration::from_secs(1);
const BLOCKING_LAST: Duration = Duration::from_secs(30);

/// The failures since the last success.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    /// Boxed: most have none.
    failed: Option<Box<LastFailure>>,
}

#[derive(Debug)]
struct LastFailure {
    at: Instant,
    times: u32,
    jitter: f64,
    error: Error,
    /// That of the client's secret which was sent, or was refused.
    epoch: u64,
    /// The latest time that the provider asked to be left alone until.
    not_before: Option<Instant>,
    /// Whether there was a token, only one that does not put off the next exchange.
    is_soft: bool,
}

impl Backoff {
    /// A success: nothing is held back.
    pub(super) fn clear(&mut self) {
        self.failed = None;
    }

    /// One more failure, of an exchange that was begun in this epoch of the gate. `jitter` is a random number from 0 to 1.
    pub(super) fn add(&mut self, now: Instant, epoch: u64, error: Error, jitter: f64) {
        let times = self.failed.as_ref().map_or(0, |failed| failed.times);
        let earlier = self.failed.as_ref().and_then(|failed| failed.not_before);
        // A refusal without an answer is this program's own, and no longer true once somebody has got through.
        let asked = error.retry_after().filter(|_| error.status().is_some());
        let not_before = asked.map(|asked| now + asked).max(earlier);
        self.failed = Some(Box::new(LastFailure {
            at: now,
            times: times.saturating_add(1),
            jitter: jitter.clamp(0.0, 1.0),
            error,
            epoch,
            not_before,
            is_soft: false,
        }));
    }

    /// A token came that is to be renewed already, as from a source that gives the same one again: a reason to leave it alone
    /// for a while as long as that one serves.
    pub(super) fn add_soft(&mut self, now: Instant, epoch: u64, error: Error, jitter: f64) {
        self.clear();
        self.add(now, epoch, error, jitter);
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
    pub(super) fn check(&self, now: Instant, epoch: u64, urgency: Urgency) -> Result<(), Error> {
        match (&self.failed, self.until(epoch, urgency)) {
            (Some(failed), Some(until)) if now < until => Err(failed.error.clone()),
            _ => Ok(()),
        }
    }

    /// When it is time to try again, if there was a failure.
    pub(super) fn until(&self, epoch: u64, urgency: Urgency) -> Option<Instant> {
        let failed = self.failed.as_ref()?;
        // The secret that was refused is not the client's any more.
        let is_outdated = failed.epoch != epoch && failed.error.is_invalid_client();
        let pause = if is_outdated {
            Duration::ZERO
        } else {
            failed.pause(urgency)
        };
        Some((failed.at + pause).max(failed.not_before.unwrap_or(failed.at)))
    }
}

impl LastFailure {
    /// Whether it was the gate that said to leave the endpoint alone.
    fn is_refused_here(&self) -> bool {
        self.error.status().is_none() && self.error.retry_after().is_some()
    }

    fn pause(&self, urgency: Urgency) -> Duration {
        match urgency {
            // The endpoint was not asked: as soon as it may be.
            Urgency::Advisory if self.is_refused_here() => {
                MANDATORY.mul_f64(self.jitter) + self.error.retry_after().unwrap_or_default()
            }
            Urgency::Advisory => ADVISORY.mul_f64(1.0 + self.jitter),
            Urgency::Mandatory => MANDATORY,
            Urgency::Manual => Duration::ZERO,
            Urgency::Blocking if self.is_soft => Duration::ZERO,
            Urgency::Blocking => {
                let doublings = (self.times - 1).min(5);
                let most = BLOCKING_FIRST
                    .saturating_mul(1 << doublings)
                    .min(BLOCKING_LAST);
                most.mul_f64(self.jitter).max(BLOCKING_FIRST)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ErrorKind, OAuthErrorCode,
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

    fn pause(backoff: &Backoff, now: Instant, urgency: Urgency) -> u64 {
        (backoff.until(0, urgency).unwrap() - now).as_secs()
    }

    #[test]
    fn p16_backoff_neither_overflows_nor_sticks() {
        let now = SystemClock.monotonic();
        let mut backoff = Backoff::default();
        assert!(backoff.check(now, 0, Urgency::Blocking).is_ok());
        for times in 1..=10_000 {
            backoff.add(now, 0, failure(None), 1.0);
            let expected = [1, 2, 4, 8, 16].get(times - 1).copied().unwrap_or(30);
            assert_eq!(pause(&backoff, now, Urgency::Blocking), expected, "{times}");
            assert_eq!(pause(&backoff, now, Urgency::Mandatory), 30);
            assert_eq!(pause(&backoff, now, Urgency::Advisory), 600);
        }
        assert!(
            backoff
                .check(now + BLOCKING_LAST, 0, Urgency::Blocking)
                .is_ok()
        );
        backoff.clear();
        assert!(backoff.check(now, 0, Urgency::Advisory).is_ok());
    }

    #[test]
    fn p16_pauses_are_spread_but_never_below_a_second() {
        let now = SystemClock.monotonic();
        let mut backoff = Backoff::default();
        for _ in 0..10 {
            backoff.add(now, 0, failure(None), 0.0);
        }
        assert_eq!(pause(&backoff, now, Urgency::Blocking), 1);
        assert_eq!(pause(&backoff, now, Urgency::Advisory), 300);
    }

    #[test]
    fn p16_retry_after_is_obeyed() {
        let now = SystemClock.monotonic();
        let mut backoff = Backoff::default();
        backoff.add(now, 0, failure(Some(120)), 0.5);
        assert_eq!(pause(&backoff, now, Urgency::Blocking), 120);
        assert_eq!(pause(&backoff, now, Urgency::Mandatory), 120);
        assert_eq!(pause(&backoff, now, Urgency::Manual), 120);
        assert_eq!(pause(&backoff, now, Urgency::Advisory), 450);
        // A later failure that names no time does not shorten it.
        backoff.add(now, 0, failure(None), 0.5);
        assert_eq!(pause(&backoff, now, Urgency::Manual), 120);
    }

    #[test]
    fn p16_another_secret_ends_the_pause_for_the_last_one_and_no_other() {
        let now = SystemClock.monotonic();
        let unknown = |retry_after| {
            failure(retry_after).with_answer(Answer {
                code: Some(OAuthErrorCode::InvalidClient),
                status: retry_after.map(|_| http::StatusCode::UNAUTHORIZED),
                retry_after: retry_after.map(Duration::from_secs),
                ..Answer::default()
            })
        };
        let urgencies = [Urgency::Advisory, Urgency::Mandatory, Urgency::Blocking];
        for urgency in urgencies {
            let mut backoff = Backoff::default();
            backoff.add(now, 3, unknown(None), 1.0);
            assert!(backoff.check(now, 3, urgency).is_err());
            assert!(backoff.check(now, 4, urgency).is_ok());

            backoff.add(now, 3, failure(None), 1.0);
            assert!(backoff.check(now, 4, urgency).is_err());

            // The provider's own word, of this failure or an earlier one, is none about the secret.
            backoff.add(now, 3, unknown(Some(120)), 1.0);
            backoff.add(now, 3, unknown(None), 1.0);
            assert_eq!(
                backoff.until(4, urgency),
                Some(now + Duration::from_secs(120))
            );
        }
    }
}
