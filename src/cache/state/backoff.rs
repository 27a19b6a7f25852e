//! Backoff after failed refreshes.

use std::time::{Duration, Instant};

use crate::error::Error;

/// How much depends on the next refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// The held token is valid for a while.
    Advisory,
    /// The held token is about to expire.
    Mandatory,
    /// Requests fail.
    Blocking,
    /// The program requests it: only the provider's `Retry-After` delays it.
    Manual,
}

const ADVISORY: Duration = Duration::from_secs(300);
const MANDATORY: Duration = Duration::from_secs(30);
const BLOCKING_FIRST: Duration = Duration::from_secs(1);
const BLOCKING_LAST: Duration = Duration::from_secs(30);

/// The failures since the last success.
#[derive(Clone, Debug, Default)]
pub(crate) struct Backoff {
    /// Boxed, because most caches have none.
    failed: Option<Box<LastFailure>>,
}

#[derive(Clone, Debug)]
struct LastFailure {
    at: Instant,
    times: u32,
    jitter: f64,
    error: Error,
    /// The epoch of the client secret that was used.
    epoch: u64,
    /// The end of the latest `Retry-After`.
    not_before: Option<Instant>,
    /// Whether the refresh returned a token that is already due for a refresh.
    is_soft: bool,
}

impl Backoff {
    /// Ends the backoff after a success.
    pub(crate) fn clear(&mut self) {
        self.failed = None;
    }

    /// Adds the failure of a refresh that started in this epoch of the client secret. `jitter` is a
    /// random number from 0 to 1.
    pub(crate) fn add(&mut self, now: Instant, epoch: u64, error: Error, jitter: f64) {
        let times = self.failed.as_ref().map_or(0, |failed| failed.times);
        let earlier = self.failed.as_ref().and_then(|failed| failed.not_before);
        // Without a response, the pause is that of the gate, and ends when another request
        // succeeds.
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

    /// Adds a success whose token is already due for a refresh, for example because a source
    /// returns the same token again. It delays the next refresh only while that token is valid.
    pub(crate) fn add_soft(&mut self, now: Instant, epoch: u64, error: Error, jitter: f64) {
        self.clear();
        self.add(now, epoch, error, jitter);
        if let Some(failed) = &mut self.failed {
            failed.is_soft = true;
        }
    }

    /// The last failure.
    pub(crate) fn last(&self) -> Option<&Error> {
        let failed = self.failed.as_ref().filter(|failed| !failed.is_soft);
        failed.map(|failed| &failed.error)
    }

    /// Fails with the last failure during the backoff.
    pub(crate) fn check(&self, now: Instant, epoch: u64, urgency: Urgency) -> Result<(), Error> {
        match (&self.failed, self.until(epoch, urgency)) {
            (Some(failed), Some(until)) if now < until => Err(failed.error.clone()),
            _ => Ok(()),
        }
    }

    /// When the backoff ends, if there was a failure.
    pub(crate) fn until(&self, epoch: u64, urgency: Urgency) -> Option<Instant> {
        let failed = self.failed.as_ref()?;
        // The rejected secret has been replaced.
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
    /// Whether the gate rejected the refresh.
    fn is_refused_here(&self) -> bool {
        self.error.status().is_none() && self.error.retry_after().is_some()
    }

    fn pause(&self, urgency: Urgency) -> Duration {
        match urgency {
            // No request was sent, so retry as soon as the gate permits.
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
        error::ResponseDetails,
    };

    fn failure(retry_after: Option<u64>) -> Error {
        Error::new(ErrorKind::Unavailable, "down").with_response(ResponseDetails {
            status: retry_after.map(|_| http::StatusCode::SERVICE_UNAVAILABLE),
            retry_after: retry_after.map(Duration::from_secs),
            ..ResponseDetails::default()
        })
    }

    fn pause(backoff: &Backoff, now: Instant, urgency: Urgency) -> u64 {
        (backoff.until(0, urgency).unwrap() - now).as_secs()
    }

    #[test]
    fn p16_backoff_saturates_without_overflow() {
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
    fn p16_backoff_has_jitter_and_is_never_below_a_second() {
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
        // A later failure without `Retry-After` does not shorten the backoff.
        backoff.add(now, 0, failure(None), 0.5);
        assert_eq!(pause(&backoff, now, Urgency::Manual), 120);
    }

    #[test]
    fn p16_new_client_secret_ends_only_the_backoff_of_invalid_client() {
        let now = SystemClock.monotonic();
        let unknown = |retry_after| {
            failure(retry_after).with_response(ResponseDetails {
                code: Some(OAuthErrorCode::InvalidClient),
                status: retry_after.map(|_| http::StatusCode::UNAUTHORIZED),
                retry_after: retry_after.map(Duration::from_secs),
                ..ResponseDetails::default()
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

            // `Retry-After`, of this failure or an earlier one, does not depend on the secret.
            backoff.add(now, 3, unknown(Some(120)), 1.0);
            backoff.add(now, 3, unknown(None), 1.0);
            assert_eq!(
                backoff.until(4, urgency),
                Some(now + Duration::from_secs(120))
            );
        }
    }
}
