//! Backoff after failed refreshes.

use std::time::{Duration, Instant};

use super::stuck::{self, Trouble};
use crate::{
    error::{Error, ErrorKind},
    later::Later,
};

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

/// After a refusal that the provider's data define as none of the grant. It remains until the
/// client is configured in another way.
const NOT_DEAD: Duration = Duration::from_secs(300);

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
    /// The recoveries of the endpoint before this failure.
    recoveries: Option<u64>,
    /// Whether the endpoint, which caused the failure, works again.
    is_recovered: bool,
    /// The failures that say something about the grant.
    trouble: Option<Trouble>,
}

impl Backoff {
    /// Ends the backoff after a success. Returns the trouble of a grant that was stuck.
    pub(super) fn clear(&mut self) -> Option<Trouble> {
        let trouble = self.failed.take().and_then(|failed| failed.trouble);
        trouble.filter(Trouble::is_stuck)
    }

    /// Adds the failure of a refresh that started in this epoch of the client secret. `jitter` is a
    /// random number from 0 to 1. Returns the trouble of a grant that has just become stuck.
    pub(super) fn add(
        &mut self,
        now: Instant,
        epoch: u64,
        error: Error,
        jitter: f64,
    ) -> Option<&Trouble> {
        let times = self.failed.as_ref().map_or(0, |failed| failed.times);
        // If the gate rejected the refresh, no request was sent that could have failed.
        let times = if is_rejected_by_gate(&error) {
            times.max(1)
        } else {
            times.saturating_add(1)
        };
        let earlier = self.failed.as_ref().and_then(|failed| failed.not_before);
        // Without a response, the pause is that of the gate, and ends when another request
        // succeeds.
        let asked = error.retry_after().filter(|_| error.status().is_some());
        let not_before = asked.map(|asked| now.later(asked)).max(earlier);
        let trouble = self.failed.take().and_then(|failed| failed.trouble);
        // A grant that has ended is not stuck.
        let mut trouble = trouble.filter(|_| !error.is_end_of_grant());
        let is_news = Trouble::count(&mut trouble, &error, now);
        let failed = self.failed.insert(Box::new(LastFailure {
            at: now,
            times,
            jitter: jitter.clamp(0.0, 1.0),
            error,
            epoch,
            not_before,
            is_soft: false,
            recoveries: None,
            is_recovered: false,
            trouble,
        }));
        failed.trouble.as_ref().filter(|_| is_news)
    }

    /// When the last refresh failed, if the failures since the last success say something about the
    /// grant.
    pub(super) fn in_trouble_at(&self) -> Option<Instant> {
        let failed = self.failed.as_ref()?;
        failed.trouble.as_ref().map(|_| failed.at)
    }

    /// The trouble of a stuck grant.
    pub(super) fn stuck(&self) -> Option<&Trouble> {
        let trouble = self.failed.as_ref()?.trouble.as_ref();
        trouble.filter(|trouble| trouble.is_stuck())
    }

    /// Adds a success whose token is already due for a refresh, for example because a source
    /// returns the same token again. It delays the next refresh only while that token is valid.
    pub(super) fn add_soft(&mut self, now: Instant, epoch: u64, error: Error, jitter: f64) {
        self.failed = None;
        self.add(now, epoch, error, jitter);
        if let Some(failed) = &mut self.failed {
            failed.is_soft = true;
        }
    }

    /// Ends the pause if the endpoint caused the failure and has recovered since the last call.
    /// Call this after each failure, and before the backoff is checked.
    pub(crate) fn observe(&mut self, recoveries: u64) {
        let Some(failed) = &mut self.failed else {
            return;
        };
        let before = *failed.recoveries.get_or_insert(recoveries);
        if before != recoveries && failed.error.is_of_endpoint() {
            failed.is_recovered = true;
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
        // The rejected secret, or the failed signer, has been replaced.
        let is_outdated = failed.epoch != epoch && failed.error.is_of_credentials();
        let pause = if is_outdated || failed.is_recovered {
            Duration::ZERO
        } else {
            failed.pause(urgency)
        };
        Some(
            failed
                .at
                .later(pause)
                .max(failed.not_before.unwrap_or(failed.at)),
        )
    }
}

impl LastFailure {
    fn pause(&self, urgency: Urgency) -> Duration {
        let pause = self.own_pause(urgency);
        if !is_rejected_by_gate(&self.error) || urgency == Urgency::Advisory {
            return pause;
        }
        // No request was sent, so the pause ends when the gate permits one.
        let gate = self.error.retry_after().unwrap_or_default();
        pause.min(gate.max(BLOCKING_FIRST))
    }

    fn own_pause(&self, urgency: Urgency) -> Duration {
        let is_idle = urgency == Urgency::Advisory;
        match urgency {
            Urgency::Manual => Duration::ZERO,
            _ if self.is_stuck() => stuck::pause(is_idle, self.jitter),
            _ if self.error.is_not_dead() && !is_idle => NOT_DEAD,
            // No request was sent, so retry as soon as the gate permits.
            Urgency::Advisory if is_rejected_by_gate(&self.error) => {
                let retry_after = self.error.retry_after().unwrap_or_default();
                MANDATORY.mul_f64(self.jitter).saturating_add(retry_after)
            }
            Urgency::Advisory => ADVISORY.mul_f64(1.0 + self.jitter),
            Urgency::Mandatory => MANDATORY,
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

    /// Whether the grant is stuck, and a request was sent. Otherwise the next attempt is the one
    /// that was due.
    fn is_stuck(&self) -> bool {
        let may_have_sent = matches!(
            self.error.kind(),
            ErrorKind::Refused | ErrorKind::InvalidResponse | ErrorKind::Unavailable
        );
        let is_stuck = self.trouble.as_ref().is_some_and(Trouble::is_stuck);
        is_stuck && may_have_sent && !is_rejected_by_gate(&self.error)
    }
}

/// Whether the gate rejected the refresh.
fn is_rejected_by_gate(error: &Error) -> bool {
    error.status().is_none() && error.retry_after().is_some()
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::{
        OAuthErrorCode,
        clock::{Clock, SystemClock},
        error::ResponseDetails,
    };

    fn failure(retry_after: Option<u64>) -> Error {
        Error::new(ErrorKind::Unavailable, "down").with_response(ResponseDetails {
            status: retry_after.map(|_| StatusCode::SERVICE_UNAVAILABLE),
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
    fn p16_recovery_of_the_endpoint_ends_the_backoff_of_its_failures() {
        let now = SystemClock.monotonic();
        let of = |kind, status: u16, seconds: u64| {
            Error::new(kind, "failed").with_response(ResponseDetails {
                status: StatusCode::from_u16(status).ok(),
                retry_after: (seconds > 0).then(|| Duration::from_secs(seconds)),
                ..ResponseDetails::default()
            })
        };
        let unavailable = ErrorKind::Unavailable;
        for (error, ends) in [
            (of(unavailable, 0, 0), true),
            (of(unavailable, 0, 0).with_response_lost(), true),
            (of(unavailable, 408, 0), true),
            (of(unavailable, 500, 0).with_response_lost(), true),
            (of(unavailable, 503, 0), true),
            // Rejected by the gate.
            (of(unavailable, 0, 29), true),
            // What the endpoint asked for continues.
            (of(unavailable, 503, 120), false),
            (of(unavailable, 429, 0), false),
            (of(ErrorKind::Refused, 400, 0), false),
            (of(ErrorKind::InvalidResponse, 200, 0), false),
            (of(ErrorKind::Store, 0, 0), false),
        ] {
            for urgency in [Urgency::Advisory, Urgency::Mandatory, Urgency::Blocking] {
                let mut backoff = Backoff::default();
                backoff.add(now, 0, error.clone(), 1.0);
                backoff.observe(7);
                backoff.observe(7);
                assert!(backoff.check(now, 0, urgency).is_err(), "{error:?}");
                backoff.observe(8);
                let check = backoff.check(now, 0, urgency);
                assert_eq!(check.is_ok(), ends, "{error:?} {urgency:?}");
                // A later failure counts again.
                backoff.add(now, 0, error.clone(), 1.0);
                backoff.observe(8);
                assert!(backoff.check(now, 0, urgency).is_err(), "{error:?}");
            }
        }
    }

    #[test]
    fn p16_backoff_after_a_rejection_by_the_gate_ends_with_the_pause_of_the_gate() {
        let now = SystemClock.monotonic();
        let rejected = |seconds| {
            Error::new(ErrorKind::Unavailable, "open").with_response(ResponseDetails {
                retry_after: Some(Duration::from_secs(seconds)),
                ..ResponseDetails::default()
            })
        };
        let mut backoff = Backoff::default();
        for _ in 0..6 {
            backoff.add(now, 0, failure(None), 1.0);
        }
        assert_eq!(pause(&backoff, now, Urgency::Blocking), 30);
        for (seconds, expected) in [(29, 29), (2, 2), (0, 1), (600, 30)] {
            backoff.add(now, 0, rejected(seconds), 1.0);
            assert_eq!(pause(&backoff, now, Urgency::Blocking), expected);
            assert_eq!(pause(&backoff, now, Urgency::Mandatory), expected);
        }
        // Rejections do not lengthen the backoff of a grant that has not failed.
        backoff.clear();
        for _ in 0..10 {
            backoff.add(now, 0, rejected(600), 1.0);
        }
        backoff.add(now, 0, failure(None), 1.0);
        assert_eq!(pause(&backoff, now, Urgency::Blocking), 2);
    }

    #[test]
    fn p16_new_client_secret_ends_only_the_backoff_of_invalid_client() {
        let now = SystemClock.monotonic();
        let unknown = |retry_after| {
            failure(retry_after).with_response(ResponseDetails {
                code: Some(OAuthErrorCode::InvalidClient),
                status: retry_after.map(|_| StatusCode::UNAUTHORIZED),
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
