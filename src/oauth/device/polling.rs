//! When a device polls, and how the polling ends (RFC 8628 section 3.5).

use std::time::{Duration, Instant};

use crate::{
    error::{Error, ErrorKind, OAuthErrorCode, ResponseDetails},
    later::Later,
};

/// How much longer the interval is after each `slow_down`.
const SLOW_DOWN: Duration = Duration::from_secs(5);
/// The longest pause after failed requests, unless the interval is longer.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// The polling for one device code.
pub(super) struct Polling {
    interval: Duration,
    /// When the device code expires.
    ends_at: Instant,
    /// The failed requests in a row.
    failures: u32,
    /// Whether a response was lost, which may have contained the tokens.
    is_response_lost: bool,
}

/// The next step of a polling.
#[derive(Debug)]
pub(super) enum Step {
    /// Poll after this pause.
    Poll(Duration),
    End(Error),
}

impl Polling {
    pub(super) fn new(interval: Duration, ends_at: Instant) -> Self {
        Self {
            interval,
            ends_at,
            failures: 0,
            is_response_lost: false,
        }
    }

    pub(super) fn first(&self, now: Instant) -> Step {
        if self.is_over_after(self.interval, now) {
            return Step::End(expired(EXPIRED));
        }
        Step::Poll(self.interval)
    }

    /// The step after a poll that brought no tokens.
    pub(super) fn polled(&mut self, error: Error, now: Instant) -> Step {
        match error.oauth_code() {
            Some(OAuthErrorCode::AuthorizationPending) => self.failures = 0,
            Some(OAuthErrorCode::SlowDown) => {
                self.failures = 0;
                self.interval = self.interval.saturating_add(SLOW_DOWN);
            }
            _ if error.kind() == ErrorKind::Unavailable => {
                self.failures = self.failures.saturating_add(1);
                self.is_response_lost |= error.is_response_lost();
            }
            _ => return Step::End(self.explained(error)),
        }
        let backoff = self.interval.saturating_mul(1 << self.failures.min(6));
        let backoff = backoff.min(LONGEST_BACKOFF.max(self.interval));
        // The user may have consented: no backoff skips the last poll before the end.
        let left = self.ends_at.saturating_duration_since(now);
        let last = left.saturating_sub(self.interval).max(self.interval);
        let backoff = backoff.min(last);
        // An error without a response is one of this process, such as that of its own gate.
        let retry_after = error.status().and_then(|_| error.retry_after());
        let pause = backoff.max(retry_after.unwrap_or_default());
        if !self.is_over_after(pause, now) {
            return Step::Poll(pause);
        }
        Step::End(if !self.is_over_after(backoff, now) {
            deferred(&error)
        } else if error.kind() == ErrorKind::Unavailable {
            expired(UNREACHABLE).with_source(error)
        } else {
            expired(EXPIRED)
        })
    }

    /// Whether the device code has expired after this pause.
    fn is_over_after(&self, pause: Duration, now: Instant) -> bool {
        now.later(pause) >= self.ends_at
    }

    /// The error with the cause for the user.
    fn explained(&self, error: Error) -> Error {
        match error.oauth_code() {
            Some(OAuthErrorCode::AccessDenied) => error.with_message(DENIED),
            Some(OAuthErrorCode::ExpiredToken | OAuthErrorCode::InvalidGrant)
                if self.is_response_lost =>
            {
                error.with_message(LOST)
            }
            Some(OAuthErrorCode::ExpiredToken) => error.with_message(EXPIRED),
            Some(OAuthErrorCode::InvalidGrant) => error.with_message(UNKNOWN),
            _ => error,
        }
    }
}

/// An error without a response: the device code has expired, or will before the next poll.
fn expired(message: &'static str) -> Error {
    Error::new(ErrorKind::Refused, message).with_response(ResponseDetails {
        code: Some(OAuthErrorCode::ExpiredToken),
        ..ResponseDetails::default()
    })
}

/// The provider has asked for a pause that outlasts the device code.
fn deferred(error: &Error) -> Error {
    Error::new(ErrorKind::Unavailable, DEFERRED)
        .with_response(ResponseDetails {
            status: error.status(),
            retry_after: error.retry_after(),
            ..ResponseDetails::default()
        })
        .with_source(error.clone())
}

const DEFERRED: &str = "token endpoint asked for a pause (Retry-After) that outlasts the device \
                        code, so the user's decision could not be polled; start a new device \
                        authorization after the pause";
const UNREACHABLE: &str = "device code has expired, and the last polls failed: see the source; \
                           start a new device authorization";
const DENIED: &str = "device authorization was denied by the user or the provider; if that was a \
                      mistake, start a new one";
const EXPIRED: &str = "device code has expired: the user did not complete the authorization in \
                       time; start a new one";
const LOST: &str = "device code is no longer valid, and the response to an earlier poll was lost, \
                    which may have contained the tokens; start a new device authorization";
const UNKNOWN: &str = "device code was rejected (invalid_grant): it was used, or was issued to \
                       another client; start a new device authorization";

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn refused(code: OAuthErrorCode) -> Error {
        Error::new(ErrorKind::Refused, "refused").with_response(ResponseDetails {
            status: Some(StatusCode::BAD_REQUEST),
            code: Some(code),
            ..ResponseDetails::default()
        })
    }

    fn unavailable(retry_after: Option<Duration>) -> Error {
        Error::new(ErrorKind::Unavailable, "down").with_response(ResponseDetails {
            status: retry_after.map(|_| StatusCode::SERVICE_UNAVAILABLE),
            retry_after,
            ..ResponseDetails::default()
        })
    }

    /// The pauses after these outcomes, in seconds. Ends with the message of the end.
    fn pauses(lifetime: u64, outcomes: Vec<Error>) -> (Vec<u64>, String) {
        let start = now();
        let mut now = start;
        let mut polling = Polling::new(seconds(5), start + seconds(lifetime));
        let mut step = polling.first(now);
        let mut pauses = Vec::new();
        let mut outcomes = outcomes.into_iter();
        loop {
            match step {
                Step::Poll(pause) => {
                    pauses.push(pause.as_secs());
                    now += pause;
                }
                Step::End(error) => return (pauses, error.to_string()),
            }
            let Some(outcome) = outcomes.next() else {
                return (pauses, String::new());
            };
            step = polling.polled(outcome, now);
        }
    }

    #[test]
    fn p16_polls_keep_their_distance() {
        use OAuthErrorCode::{AuthorizationPending as Pending, SlowDown};
        let pending = || refused(Pending);
        let slow_down = || refused(SlowDown);
        let down = || unavailable(None);
        for (outcomes, expected) in [
            (vec![pending(), pending()], vec![5, 5, 5]),
            // All later polls are slower, too.
            (
                vec![slow_down(), pending(), slow_down(), pending()],
                vec![5, 10, 10, 15, 15],
            ),
            // A failure doubles the pause, until a response arrives.
            (
                vec![down(), down(), down(), down(), down(), pending()],
                vec![5, 10, 20, 40, 60, 60, 5],
            ),
            (vec![slow_down(), down(), pending()], vec![5, 10, 20, 10]),
            (
                vec![unavailable(Some(seconds(90))), pending()],
                vec![5, 90, 5],
            ),
            (vec![unavailable(Some(seconds(1)))], vec![5, 10]),
        ] {
            assert_eq!(pauses(1_800, outcomes), (expected, String::new()));
        }
    }

    #[test]
    fn last_poll_after_failures_is_made_before_the_device_code_expires() {
        for (lifetime, expected) in [
            (100, vec![5, 10, 20, 40, 20]),
            (84, vec![5, 10, 20, 40, 5]),
            (80, vec![5, 10, 20, 40]),
        ] {
            let (polls, end) = pauses(lifetime, vec![unavailable(None); 9]);
            assert_eq!((polls, end.as_str()), (expected, UNREACHABLE));
        }
    }

    #[test]
    fn polling_ends_with_the_device_code() {
        let pending = vec![refused(OAuthErrorCode::AuthorizationPending); 10];
        let (polls, end) = pauses(21, pending);
        assert_eq!((polls.len(), end.as_str()), (4, EXPIRED));
        assert_eq!(pauses(5, Vec::new()), (vec![], EXPIRED.to_owned()));
    }

    /// The user may have consented in time.
    #[test]
    fn p16_pause_of_the_provider_that_outlasts_the_code_is_named() {
        for (pause, expected) in [
            (94, (vec![5, 94], UNREACHABLE)),
            (95, (vec![5], DEFERRED)),
            (600, (vec![5], DEFERRED)),
        ] {
            let outcomes = vec![unavailable(Some(seconds(pause))), unavailable(None)];
            let (polls, end) = pauses(100, outcomes);
            assert_eq!((polls, end.as_str()), expected);
        }
        let mut polling = Polling::new(seconds(5), now() + seconds(100));
        let slow_down = refused(OAuthErrorCode::SlowDown);
        let Step::End(error) = polling.polled(unavailable(Some(seconds(300))), now()) else {
            panic!("the code has expired by then");
        };
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(error.retry_after(), Some(seconds(300)));
        assert_eq!(error.oauth_code(), None);
        // An interval that outlasts the code is no pause that the provider asked for.
        let mut polling = Polling::new(seconds(98), now() + seconds(100));
        let Step::End(error) = polling.polled(slow_down, now()) else {
            panic!("the code has expired by then");
        };
        assert_eq!(error.to_string(), EXPIRED);
    }

    #[test]
    fn pause_of_the_own_gate_neither_ends_nor_delays_the_polling() {
        let no_permit = || {
            Error::new(ErrorKind::Unavailable, "no permit").with_response(ResponseDetails {
                retry_after: Some(seconds(15)),
                is_unused: true,
                ..ResponseDetails::default()
            })
        };
        let (polls, end) = pauses(20, vec![no_permit(), no_permit(), no_permit()]);
        assert_eq!((polls, end.as_str()), (vec![5, 10], UNREACHABLE));
    }

    #[test]
    fn response_after_the_end_of_the_device_code_is_an_expiry() {
        use OAuthErrorCode::{AuthorizationPending, ExpiredToken, SlowDown};
        for (outcome, expected) in [
            (refused(AuthorizationPending), EXPIRED),
            (refused(SlowDown), EXPIRED),
            (unavailable(None), UNREACHABLE),
            (unavailable(Some(seconds(60))), UNREACHABLE),
        ] {
            let ends_at = now() + seconds(30);
            let mut polling = Polling::new(seconds(5), ends_at);
            let Step::End(error) = polling.polled(outcome, ends_at + seconds(1)) else {
                panic!("the code has expired");
            };
            assert_eq!(error.to_string(), expected);
            assert_eq!(error.kind(), ErrorKind::Refused);
            assert_eq!(error.oauth_code(), Some(ExpiredToken));
        }
    }

    #[test]
    fn end_names_its_cause() {
        use OAuthErrorCode::{AccessDenied, ExpiredToken, InvalidClient, InvalidGrant};
        for (code, message) in [
            (AccessDenied, DENIED),
            (ExpiredToken, EXPIRED),
            (InvalidGrant, UNKNOWN),
            (InvalidClient, "refused"),
        ] {
            let (_, end) = pauses(1_800, vec![refused(code)]);
            assert_eq!(end, message);
        }
        let unsent = unavailable(None).with_token_unused();
        let lost = unavailable(None).with_response_lost();
        for (failed, code, message) in [
            (&unsent, InvalidGrant, UNKNOWN),
            (&lost, InvalidGrant, LOST),
            (&lost, ExpiredToken, LOST),
            (&lost, AccessDenied, DENIED),
        ] {
            let (_, end) = pauses(1_800, vec![failed.clone(), refused(code)]);
            assert_eq!(end, message);
        }
        let page = Error::new(ErrorKind::InvalidResponse, "page");
        assert_eq!(pauses(1_800, vec![page]).1, "page");
    }

    #[test]
    fn no_time_overflows() {
        let mut polling = Polling::new(Duration::MAX, now());
        let slow_down = refused(OAuthErrorCode::SlowDown);
        assert!(matches!(polling.polled(slow_down, now()), Step::End(_)));
    }
}
