//! When exchanges with an endpoint are made, and when it is left alone. States and no waiting.

use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use crate::error::{Answer, Error};

pub(super) const FAILURES: u32 = 5;
pub(super) const PAUSE: Duration = Duration::from_secs(30);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(30 * 60);

/// Tells the grants apart that come to a gate.
#[derive(Clone, Copy)]
pub(crate) struct GateKey {
    number: u64,
    /// Whether its access token has ended.
    is_overdue: bool,
}

impl GateKey {
    pub(crate) fn random() -> Self {
        Self {
            number: fastrand::u64(..),
            is_overdue: false,
        }
    }

    /// The same grant, as it stands at this moment. One whose access token has ended should have been renewed long before:
    /// more likely than others it is in trouble.
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

/// Whether exchanges are made.
pub(super) enum Breaker {
    /// They are. So many have failed in a row, of these grants; and so many of them for the first time.
    Closed {
        failures: u32,
        first: u32,
        of: Failing,
    },
    /// None is made before the pause is over; then one is.
    Open(Pause),
    /// That one is under way.
    Probing(Pause, Probe),
}

/// The exchange that finds out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Probe {
    epoch: u64,
    /// Whether it is a suspect's, from whose failure nobody else learns anything.
    is_suspect: bool,
}

/// Who comes to the gate.
#[derive(Clone, Copy)]
pub(super) struct Comer {
    pub(super) key: GateKey,
    /// Whether its last exchange has failed, or its access token has ended: it may be the grant that is in trouble, rather
    /// than the endpoint.
    pub(super) is_suspect: bool,
}

pub(super) struct Pause {
    until: Instant,
    /// The same for those who are no suspects.
    until_for_others: Instant,
    length: Duration,
    first: u32,
    /// The endpoint's own word, where there was one: nothing ends the pause before.
    asked_until: Instant,
    reason: Error,
    of: Failing,
}

/// Whose exchanges have failed. Where it is one grant's alone, the others need not suffer for it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Failing {
    Nobody,
    One(u64),
    Several,
}

/// What an exchange must do that has come to the gate.
pub(super) enum Turn {
    Go {
        /// If it is the one that finds out.
        probe: Option<Probe>,
    },
    /// Until somebody has found out whether the endpoint is back; or not, for this reason.
    Wait(Error),
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
        first: 0,
        of: Failing::Nobody,
    };

    /// Fails while the endpoint is left alone.
    pub(super) fn check(&self, comer: Comer, now: Instant) -> Result<(), Error> {
        match self {
            Self::Open(pause) if pause.of.concerns(comer.key) && now < pause.until_for(comer) => {
                Err(pause.left_alone(comer, now))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn turn(&mut self, comer: Comer, epoch: u64, now: Instant) -> Result<Turn, Error> {
        self.check(comer, now)?;
        let Comer { key, is_suspect } = comer;
        match self {
            Self::Probing(pause, probe)
                if pause.of.concerns(key) && (is_suspect || !probe.is_suspect) =>
            {
                Ok(Turn::Wait(pause.left_alone(comer, now)))
            }
            Self::Open(pause) | Self::Probing(pause, _) if pause.of.concerns(key) => {
                let probe = Probe { epoch, is_suspect };
                *self = Self::Probing(pause.clone(), probe);
                Ok(Turn::Go { probe: Some(probe) })
            }
            _ => Ok(Turn::Go { probe: None }),
        }
    }

    /// A client that was unknown has another secret: that the last one was refused holds up nobody any more.
    pub(super) fn begin_anew(&mut self) {
        if let Self::Open(pause) | Self::Probing(pause, _) = self
            && pause.reason.is_invalid_client()
        {
            *self = Self::Open(Pause {
                until: pause.until.min(pause.asked_until),
                until_for_others: pause.until_for_others.min(pause.asked_until),
                length: Duration::ZERO,
                ..pause.clone()
            });
        }
    }

    /// The one that was to find out was not made, or came to no end.
    pub(super) fn give_up(&mut self, by: Probe, now: Instant) {
        // Not where another has been sent to find out meanwhile.
        if let Self::Probing(pause, probe) = self
            && *probe == by
        {
            // The next one finds out.
            *self = Self::Open(Pause {
                until: now,
                until_for_others: now,
                ..pause.clone()
            });
        }
    }

    /// An exchange has ended.
    pub(super) fn settle(&mut self, comer: Comer, failure: Option<&Error>, now: Instant) -> News {
        let Comer { key, is_suspect } = comer;
        let (failures, before, of, paused) = match &*self {
            Self::Closed {
                failures,
                first,
                of,
            } => (*failures, *first, *of, None),
            // Of those that were under way when it opened, a success is good news and a failure none.
            Self::Open(pause) if failure.is_some() && pause.of.concerns(key) => return News::None,
            Self::Open(pause) | Self::Probing(pause, _) => (
                FAILURES,
                pause.first,
                pause.of,
                Some((pause.length, pause.until_for_others)),
            ),
        };
        let length = paused.map(|(length, _)| length);
        let first = before.saturating_add(u32::from(!is_suspect));
        let pause = |error: &Error, length, of| Pause {
            until: now + length,
            until_for_others: now + length,
            length,
            first,
            asked_until: now + error.retry_after().unwrap_or_default(),
            reason: error.clone(),
            of,
        };
        // Nobody is to suffer for those who fail again and again.
        let spare_others = |pause: Pause| Pause {
            until_for_others: match paused {
                Some((_, until)) if is_suspect => until,
                _ if first < FAILURES => now,
                _ => pause.until,
            },
            ..pause
        };
        let next = match failure.map(|error| (error, Verdict::of(error))) {
            Some((error, Verdict::LeaveAlone(asked))) => {
                // Asking for a second each time is being down, too.
                let least = length.map_or(Duration::ZERO, |_| PAUSE);
                pause(error, asked.max(least), Failing::Several)
            }
            Some((error, Verdict::LeaveGrantAlone(asked))) => {
                spare_others(pause(error, asked, of.and(key)))
            }
            Some((error, Verdict::Stop)) => {
                let longer =
                    length.map_or(PAUSE, |length| (length * 2).clamp(PAUSE, LONGEST_PAUSE));
                pause(error, longer, Failing::Several)
            }
            Some((error, Verdict::Down)) if failures + 1 >= FAILURES => {
                spare_others(pause(error, PAUSE, of.and(key)))
            }
            Some((_, Verdict::Down)) => {
                *self = Self::Closed {
                    failures: failures + 1,
                    first,
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
    fn until_for(&self, comer: Comer) -> Instant {
        if comer.is_suspect {
            self.until
        } else {
            self.until_for_others
        }
    }

    fn left_alone(&self, comer: Comer, now: Instant) -> Error {
        let left = self.until_for(comer).saturating_duration_since(now);
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
            Self::Nobody => Self::One(key.number),
            Self::One(other) if other == key.number => self,
            Self::One(_) | Self::Several => Self::Several,
        }
    }

    fn concerns(self, key: GateKey) -> bool {
        match self {
            Self::Nobody | Self::Several => true,
            Self::One(other) => other == key.number,
        }
    }
}

/// Whether whose exchange has ended so is a suspect from now on, if that says anything about it.
pub(super) fn suspicion(failure: Option<&Error>) -> Option<bool> {
    match failure.map(Verdict::of) {
        None | Some(Verdict::Up) => Some(false),
        Some(Verdict::Down | Verdict::LeaveGrantAlone(_)) => Some(true),
        Some(Verdict::LeaveAlone(_) | Verdict::Stop) => None,
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
