//! The circuit breaker as a state machine, without any waiting.

use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use super::status::{CircuitState, EndpointStatus};
use crate::{
    error::{Error, ResponseDetails},
    later::Later,
};

/// How many failures in a row open the breaker.
pub(super) const FAILURE_THRESHOLD: u32 = 5;
/// How long failures open it, and `invalid_client` the first time.
pub(super) const PAUSE: Duration = Duration::from_secs(30);
/// How long `invalid_client` opens it at most.
pub(super) const MAX_PAUSE: Duration = Duration::from_secs(30 * 60);

/// Identifies a grant to the gate.
#[derive(Clone, Copy)]
pub(crate) struct GateKey {
    number: u64,
    /// Whether its access token has expired.
    is_overdue: bool,
}

impl GateKey {
    pub(crate) fn random() -> Self {
        Self {
            number: fastrand::u64(..),
            is_overdue: false,
        }
    }

    /// Sets whether the access token has expired. It should have been refreshed long before, so
    /// such a grant is more likely than others to be in trouble.
    pub(crate) fn overdue(self, is_overdue: bool) -> Self {
        Self { is_overdue, ..self }
    }

    pub(super) fn number(self) -> u64 {
        self.number
    }

    pub(super) fn is_overdue(self) -> bool {
        self.is_overdue
    }
}

pub(super) enum Breaker {
    /// Token requests are sent.
    Closed(Failures),
    /// No token request is sent until the pause is over. The next one after it is the probe.
    Open(Pause),
    /// The probe is in flight.
    HalfOpen(Pause, Probe),
}

/// The failures in a row.
#[derive(Clone, Copy)]
pub(super) struct Failures {
    count: u32,
    /// How many of them are of grants that were not degraded.
    healthy: u32,
    grants: FailedGrants,
}

/// The token request whose outcome decides whether the breaker closes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Probe {
    epoch: u64,
    /// Whether a degraded grant sent it: its failure says nothing about the other grants.
    is_degraded: bool,
}

/// The grant that a token request is for.
#[derive(Clone, Copy)]
pub(super) struct Caller {
    pub(super) key: GateKey,
    /// Whether its last token request failed, or its access token has expired. Then the grant may
    /// be in trouble, rather than the endpoint.
    pub(super) is_degraded: bool,
    /// Whether its last token request failed.
    pub(super) has_failed: bool,
}

pub(super) struct Pause {
    until: Instant,
    /// The end of the pause for grants that are not degraded.
    until_for_healthy: Instant,
    length: Duration,
    /// How many failures in a row are of grants that were not degraded.
    healthy_failures: u32,
    /// The end of the time that `Retry-After` asked for, if any. A new client secret does not end
    /// the pause before it; a success does.
    retry_after_until: Instant,
    reason: Error,
    grants: FailedGrants,
}

/// The grants whose token requests failed. If it is only one, the pause is for that grant only.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum FailedGrants {
    None,
    One(u64),
    Several,
}

/// The next step of a token request that has a permit.
pub(super) enum Decision {
    Send {
        /// Set if the request is the probe.
        probe: Option<Probe>,
    },
    /// It waits for the outcome of the probe, or fails with this error if it must not wait.
    Wait(Error),
}

/// A report that the breaker has opened.
pub(super) struct Opening {
    pub(super) length: Duration,
    pub(super) reason: Error,
    /// Whether it is open for one grant only.
    pub(super) is_for_one: bool,
}

/// The change of the breaker by an outcome.
pub(super) enum Transition {
    None,
    Opened(Opening),
    Closed {
        /// Whether the endpoint works again, also for grants whose token requests failed.
        is_recovery: bool,
    },
}

impl Breaker {
    pub(super) const CLOSED: Self = Self::Closed(Failures {
        count: 0,
        healthy: 0,
        grants: FailedGrants::None,
    });

    /// The state for grants in general: that of a single grant in trouble does not count.
    pub(super) fn status(&self, now: Instant) -> EndpointStatus {
        let (pause, probe) = match self {
            Self::Closed(_) => return EndpointStatus::closed(),
            Self::Open(pause) => (pause, None),
            Self::HalfOpen(pause, probe) => (pause, Some(probe)),
        };
        if matches!(pause.grants, FailedGrants::One(_)) {
            return EndpointStatus::closed();
        }
        let left = |until: Instant| until.checked_duration_since(now).filter(|d| !d.is_zero());
        let (circuit, retry_after) = match (left(pause.until_for_healthy), left(pause.until)) {
            _ if probe.is_some_and(|probe| !probe.is_degraded) => (CircuitState::HalfOpen, None),
            (Some(left), _) => (CircuitState::Open, Some(left)),
            (None, Some(left)) => (CircuitState::OpenForDegraded, Some(left)),
            (None, None) => (CircuitState::HalfOpen, None),
        };
        EndpointStatus {
            circuit,
            retry_after,
            last_error: Some(pause.reason.clone()),
        }
    }

    /// Fails while the breaker is open.
    pub(super) fn check(&self, caller: Caller, now: Instant) -> Result<(), Error> {
        match self {
            Self::Open(pause)
                if pause.grants.include(caller.key) && now < pause.until_for(caller) =>
            {
                Err(pause.error(caller, now))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn admit(
        &mut self,
        caller: Caller,
        epoch: u64,
        now: Instant,
    ) -> Result<Decision, Error> {
        self.check(caller, now)?;
        let Caller {
            key, is_degraded, ..
        } = caller;
        match self {
            Self::HalfOpen(pause, probe)
                if pause.grants.include(key) && (is_degraded || !probe.is_degraded) =>
            {
                Ok(Decision::Wait(pause.error(caller, now)))
            }
            Self::Open(pause) | Self::HalfOpen(pause, _) if pause.grants.include(key) => {
                let probe = Probe { epoch, is_degraded };
                *self = Self::HalfOpen(pause.clone(), probe);
                Ok(Decision::Send { probe: Some(probe) })
            }
            _ => Ok(Decision::Send { probe: None }),
        }
    }

    /// Ends a pause after `invalid_client`, as a client now has a new secret.
    pub(super) fn secret_replaced(&mut self) {
        if let Self::Open(pause) | Self::HalfOpen(pause, _) = self
            && pause.reason.is_invalid_client()
        {
            *self = Self::Open(Pause {
                until: pause.until.min(pause.retry_after_until),
                until_for_healthy: pause.until_for_healthy.min(pause.retry_after_until),
                length: Duration::ZERO,
                ..pause.clone()
            });
        }
    }

    /// The probe was not sent, or was cancelled: the next request is the probe.
    pub(super) fn abandon_probe(&mut self, abandoned: Probe, now: Instant) {
        // Unless another request has become the probe meanwhile.
        if let Self::HalfOpen(pause, probe) = self
            && *probe == abandoned
        {
            *self = Self::Open(Pause {
                until: now,
                until_for_healthy: now,
                ..pause.clone()
            });
        }
    }

    /// Records the outcome of a token request.
    pub(super) fn record(
        &mut self,
        caller: Caller,
        failure: Option<&Error>,
        now: Instant,
    ) -> Transition {
        let Caller {
            key, is_degraded, ..
        } = caller;
        let (failures, paused) = match &*self {
            Self::Closed(failures) => (*failures, None),
            // A request that was sent before the breaker opened: its success closes the breaker,
            // its failure changes nothing.
            Self::Open(pause) if failure.is_some() && pause.grants.include(key) => {
                return Transition::None;
            }
            Self::Open(pause) | Self::HalfOpen(pause, _) => (
                Failures {
                    count: FAILURE_THRESHOLD,
                    healthy: pause.healthy_failures,
                    grants: pause.grants,
                },
                Some((pause.length, pause.until_for_healthy)),
            ),
        };
        let length = paused.map(|(length, _)| length);
        let healthy = failures.healthy.saturating_add(u32::from(!is_degraded));
        let grants = failures.grants.with(key);
        let pause = |error: &Error, length, grants| Pause {
            until: now.later(length),
            until_for_healthy: now.later(length),
            length,
            healthy_failures: healthy,
            retry_after_until: now.later(error.retry_after().unwrap_or_default()),
            reason: error.clone(),
            grants,
        };
        // Grants that fail again and again do not cause a pause for the others.
        let spare_healthy = |pause: Pause| Pause {
            until_for_healthy: match paused {
                Some((_, until)) if is_degraded => until,
                _ if healthy < FAILURE_THRESHOLD => now,
                _ => pause.until,
            },
            ..pause
        };
        let next = match failure.map(|error| (error, classify(error))) {
            Some((error, Class::RetryAfter(time))) => {
                // A short `Retry-After` on each response is an outage, too.
                let least = length.map_or(Duration::ZERO, |_| PAUSE);
                pause(error, time.max(least), FailedGrants::Several)
            }
            Some((error, Class::Throttled(time))) => spare_healthy(pause(error, time, grants)),
            Some((error, Class::ClientRejected)) => {
                let longer = length.map_or(PAUSE, |length| (length * 2).clamp(PAUSE, MAX_PAUSE));
                pause(error, longer, FailedGrants::Several)
            }
            Some((error, Class::Failure)) if failures.count + 1 >= FAILURE_THRESHOLD => {
                spare_healthy(pause(error, PAUSE, grants))
            }
            Some((_, Class::Failure)) => {
                *self = Self::Closed(Failures {
                    count: failures.count + 1,
                    healthy,
                    grants,
                });
                return Transition::None;
            }
            Some((_, Class::Success)) | None => {
                let transition = match self {
                    Self::Closed(_) => Transition::None,
                    Self::Open(pause) | Self::HalfOpen(pause, _) => Transition::Closed {
                        is_recovery: caller.has_failed || pause.is_for_all(),
                    },
                };
                *self = Self::CLOSED;
                return transition;
            }
        };
        let transition = Transition::Opened(Opening {
            length: next.length,
            reason: next.reason.clone(),
            is_for_one: matches!(next.grants, FailedGrants::One(_)),
        });
        *self = Self::Open(next);
        transition
    }
}

impl Clone for Pause {
    fn clone(&self) -> Self {
        Self {
            reason: self.reason.clone(),
            ..*self
        }
    }
}

impl Pause {
    /// Whether it is also for grants that are not degraded. Otherwise their success says nothing
    /// about those that are.
    fn is_for_all(&self) -> bool {
        self.until_for_healthy >= self.until
    }

    fn until_for(&self, caller: Caller) -> Instant {
        if caller.is_degraded {
            self.until
        } else {
            self.until_for_healthy
        }
    }

    fn error(&self, caller: Caller, now: Instant) -> Error {
        let left = self.until_for(caller).saturating_duration_since(now);
        let seconds = left.as_secs() + 1;
        let message = format!(
            "token endpoint circuit breaker is open for another {seconds} s; last error: {}",
            self.reason
        );
        Error::new(self.reason.kind(), message).with_response(ResponseDetails {
            code: self.reason.oauth_code(),
            retry_after: Some(left),
            // No request is sent while the breaker is open.
            is_unused: true,
            is_circuit_open: true,
            ..ResponseDetails::default()
        })
    }
}

impl FailedGrants {
    fn with(self, key: GateKey) -> Self {
        match self {
            Self::None => Self::One(key.number),
            Self::One(other) if other == key.number => self,
            Self::One(_) | Self::Several => Self::Several,
        }
    }

    fn include(self, key: GateKey) -> bool {
        match self {
            Self::None | Self::Several => true,
            Self::One(other) => other == key.number,
        }
    }
}

/// Whether the grant is degraded after this outcome. `None` if the outcome says nothing about it.
pub(super) fn degraded_after(failure: Option<&Error>) -> Option<bool> {
    match failure.map(classify) {
        None | Some(Class::Success) => Some(false),
        Some(Class::Failure | Class::Throttled(_)) => Some(true),
        Some(Class::RetryAfter(_) | Class::ClientRejected) => None,
    }
}

/// The class of a failed token request, as to the state of the endpoint.
enum Class {
    /// The endpoint works: it has responded about this grant.
    Success,
    Failure,
    /// It asks for a pause.
    RetryAfter(Duration),
    /// It asks for a pause by a 429, which may be about this grant only.
    Throttled(Duration),
    /// It does not accept the client id or secret.
    ClientRejected,
}

fn classify(error: &Error) -> Class {
    let retry_after = error.retry_after().filter(|time| !time.is_zero());
    let is_throttled = error.status() == Some(StatusCode::TOO_MANY_REQUESTS);
    let has_responded = error.status().is_some_and(|status| {
        !status.is_server_error() && status != StatusCode::REQUEST_TIMEOUT && !is_throttled
    });
    match retry_after {
        _ if error.is_invalid_client() => Class::ClientRejected,
        Some(time) if is_throttled => Class::Throttled(time),
        Some(time) => Class::RetryAfter(time),
        None if error.is_transient() && !has_responded => Class::Failure,
        None => Class::Success,
    }
}
