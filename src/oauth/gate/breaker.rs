//! When exchanges with an endpoint are made, and when it is left alone. States and no waiting.

use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use crate::error::{Answer, Error};

pub(super) const FAILURES: u32 = 5;
pub(super) const PAUSE: Duration = Duration::from_secs(30);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(30 * 60);

/// Tells the grants apart that come to a gate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct GateKey(u64);

impl GateKey {
    pub(crate) fn random() -> Self {
        Self(fastrand::u64(..))
    }
}

/// Whether exchanges are made.
pub(super) enum Breaker {
    /// They are. So many have failed in a row, of these grants.
    Closed { failures: u32, of: Failing },
    /// None is made before the pause is over; then one is.
    Open(Pause),
    /// That one is under way. It was begun in this epoch.
    Probing(Pause, u64),
}

pub(super) struct Pause {
    until: Instant,
    length: Duration,
    /// The endpoint's own word, where there was one: nothing ends the pause before.
    asked_until: Instant,
    reason: Error,
    of: Failing,
}

/// Whose exchanges have failed. Where it is one grant's alone, the others need not suffer for it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Failing {
    Nobody,
    One(GateKey),
    Several,
}

/// What an exchange must do that has come to the gate.
pub(super) enum Turn {
    Go {
        /// Whether it is the one that finds out.
        is_probe: bool,
    },
    /// Until somebody has found out whether the endpoint is back.
    Wait,
}

/// What has changed for those outside.
pub(super) enum News {
    None,
    LeftAlone(Duration, Error),
    Back,
}

impl Breaker {
    pub(super) const WORKING: Self = Self::Closed {
        failures: 0,
        of: Failing::Nobody,
    };

    /// Fails while the endpoint is left alone.
    pub(super) fn check(&self, key: GateKey, now: Instant) -> Result<(), Error> {
        match self {
            Self::Open(pause) if pause.of.concerns(key) && now < pause.until => {
                Err(pause.left_alone(now))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn turn(&mut self, key: GateKey, epoch: u64, now: Instant) -> Result<Turn, Error> {
        self.check(key, now)?;
        match self {
            Self::Open(pause) if pause.of.concerns(key) => {
                *self = Self::Probing(pause.clone(), epoch);
                Ok(Turn::Go { is_probe: true })
            }
            Self::Probing(pause, _) if pause.of.concerns(key) => Ok(Turn::Wait),
            _ => Ok(Turn::Go { is_probe: false }),
        }
    }

    /// A client that was unknown has another secret: that the last one was refused holds up nobody any more.
    pub(super) fn begin_anew(&mut self) {
        if let Self::Open(pause) | Self::Probing(pause, _) = self
            && pause.reason.is_invalid_client()
        {
            *self = Self::Open(Pause {
                until: pause.until.min(pause.asked_until),
                length: Duration::ZERO,
                ..pause.clone()
            });
        }
    }

    /// The one that was to find out was not made, or came to no end.
    pub(super) fn give_up(&mut self, epoch: u64, now: Instant) {
        // Not where another has been sent to find out meanwhile.
        if let Self::Probing(pause, of) = self
            && *of == epoch
        {
            // The next one finds out.
            *self = Self::Open(Pause {
                until: now,
                ..pause.clone()
            });
        }
    }

    /// An exchange has ended.
    pub(super) fn settle(&mut self, key: GateKey, failure: Option<&Error>, now: Instant) -> News {
        let (failures, of, length) = match &*self {
            Self::Closed { failures, of } => (*failures, *of, None),
            // Of those that were under way when it opened, a success is good news and a failure none.
            Self::Open(pause) if failure.is_some() && pause.of.concerns(key) => return News::None,
            Self::Open(pause) | Self::Probing(pause, _) => (FAILURES, pause.of, Some(pause.length)),
        };
        let pause = |error: &Error, length, of| Pause {
            until: now + length,
            length,
            asked_until: now + error.retry_after().unwrap_or_default(),
            reason: error.clone(),
            of,
        };
        let next = match failure.map(|error| (error, Verdict::of(error))) {
            Some((error, Verdict::LeaveAlone(asked))) => {
                // Asking for a second each time is being down, too.
                let least = length.map_or(Duration::ZERO, |_| PAUSE);
                pause(error, asked.max(least), Failing::Several)
            }
            Some((error, Verdict::LeaveGrantAlone(asked))) => pause(error, asked, of.and(key)),
            Some((error, Verdict::Stop)) => {
                let longer =
                    length.map_or(PAUSE, |length| (length * 2).clamp(PAUSE, LONGEST_PAUSE));
                pause(error, longer, Failing::Several)
            }
            Some((error, Verdict::Down)) if failures + 1 >= FAILURES => {
                pause(error, PAUSE, of.and(key))
            }
            Some((_, Verdict::Down)) => {
                *self = Self::Closed {
                    failures: failures + 1,
                    of: of.and(key),
                };
                return News::None;
            }
            Some((_, Verdict::Up)) | None => {
                *self = Self::WORKING;
                return length.map_or(News::None, |_| News::Back);
            }
        };
        let news = News::LeftAlone(next.length, next.reason.clone());
        *self = Self::Open(next);
        news
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
    fn left_alone(&self, now: Instant) -> Error {
        let left = self.until.saturating_duration_since(now);
        let seconds = left.as_secs() + 1;
        let message = format!(
            "the token endpoint is left alone for {seconds} more seconds, after: {}",
            self.reason
        );
        Error::new(self.reason.kind(), message).with_answer(Answer {
            code: self.reason.oauth_code(),
            retry_after: Some(left),
            ..Answer::default()
        })
    }
}

impl Failing {
    fn and(self, key: GateKey) -> Self {
        match self {
            Self::Nobody => Self::One(key),
            Self::One(other) if other == key => self,
            Self::One(_) | Self::Several => Self::Several,
        }
    }

    fn concerns(self, key: GateKey) -> bool {
        match self {
            Self::Nobody | Self::Several => true,
            Self::One(other) => other == key,
        }
    }
}

/// What a failed exchange says about the endpoint.
enum Verdict {
    /// Nothing bad: it has answered about this grant.
    Up,
    Down,
    /// It asks for a pause; or for one with this grant, for all one can tell.
    LeaveAlone(Duration),
    LeaveGrantAlone(Duration),
    /// It does not know this client.
    Stop,
}

impl Verdict {
    fn of(error: &Error) -> Self {
        let asked = error.retry_after().filter(|asked| !asked.is_zero());
        let is_throttled = error.status() == Some(StatusCode::TOO_MANY_REQUESTS);
        let has_answered = error
            .status()
            .is_some_and(|status| !status.is_server_error() && !is_throttled);
        match asked {
            _ if error.is_invalid_client() => Self::Stop,
            Some(asked) if is_throttled => Self::LeaveGrantAlone(asked),
            Some(asked) => Self::LeaveAlone(asked),
            None if error.is_transient() && !has_answered => Self::Down,
            None => Self::Up,
        }
    }
}
