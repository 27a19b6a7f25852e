//! What all exchanges with one token endpoint share: a limit, and a breaker.
//!
//! Without it, an endpoint that is slow or down hears from every grant at once, each with pauses of its own. With it:
//!
//! * four exchanges are made at once; the others wait their turn, first come first served, for up to 15 seconds;
//! * after five failures in a row (no answer, a 5xx, or a 429) the endpoint is left alone for 30 seconds, and as long as it asks by
//!   `Retry-After` (10 minutes at most);
//! * after `invalid_client`, which says nothing about any grant, for 30 seconds, and twice as long each time, up to 30
//!   minutes;
//! * then one exchange is made to see whether it is over, while the others wait for what it finds out.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::StatusCode;
use tokio::{
    runtime::Handle,
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

use crate::{
    error::{Answer, Error, ErrorKind, OAuthErrorCode},
    telemetry,
};

const AT_ONCE: usize = 4;
const FAILURES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(30 * 60);
/// For a turn.
const QUEUE: Duration = Duration::from_secs(15);

/// Lets few exchanges at once through to a token endpoint, and none while it is down. The [module page](crate::oauth)
/// says where it stands.
///
/// An [`OAuthClient`](crate::oauth::OAuthClient) has one. A [`TokenSource`](crate::cache::TokenSource) of your own may have
/// one too, shared by all sources that ask the same endpoint. Clones are the same gate.
#[derive(Clone, Default)]
pub struct EndpointGate {
    shared: Arc<Shared>,
}

struct Shared {
    turns: Arc<Semaphore>,
    breaker: Mutex<Breaker>,
    /// Wakes those who wait for what a probe finds out.
    settled: Notify,
}

/// Whether exchanges are made.
enum Breaker {
    /// They are. So many have failed in a row.
    Closed { failures: u32 },
    /// None is made before this time, for this reason; then one is.
    Open {
        until: Instant,
        reason: Error,
        pause: Duration,
    },
    /// That one is under way.
    Probing { reason: Error, pause: Duration },
}

/// What an exchange must do that has come to the gate.
enum Turn {
    Go,
    Wait,
}

impl EndpointGate {
    /// A gate that is open.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits for a turn, and fails while the endpoint is left alone.
    pub(crate) async fn enter(&self) -> Result<Admission, Error> {
        self.shared.check(Instant::now())?;
        self.queue(async {
            let permit = self.permit().await?;
            loop {
                let settled = self.shared.settled.notified();
                match self.shared.turn(Instant::now())? {
                    Turn::Go => return Ok(self.admit(permit)),
                    Turn::Wait => settled.await,
                }
            }
        })
        .await
    }

    /// Waits for a turn only.
    pub(crate) async fn enter_anyway(&self) -> Result<Admission, Error> {
        self.queue(async { Ok(self.admit(self.permit().await?)) })
            .await
    }

    async fn queue(
        &self,
        entry: impl Future<Output = Result<Admission, Error>>,
    ) -> Result<Admission, Error> {
        if Handle::try_current().is_err() {
            return Err(Error::outside_of_a_runtime());
        }
        timeout(QUEUE, entry).await.unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::Unavailable,
                "so many exchanges are under way that this one had no turn within 15 seconds",
            ))
        })
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, Error> {
        let turns = Arc::clone(&self.shared.turns);
        // It is never closed.
        turns
            .acquire_owned()
            .await
            .map_err(|error| Error::new(ErrorKind::Interrupted, "no more turns").with_source(error))
    }

    fn admit(&self, permit: OwnedSemaphorePermit) -> Admission {
        Admission {
            gate: self.clone(),
            _permit: permit,
            is_settled: false,
        }
    }
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            breaker: Mutex::new(Breaker::Closed { failures: 0 }),
            settled: Notify::new(),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, now: Instant) -> Result<(), Error> {
        match &*self.lock() {
            Breaker::Open { until, reason, .. } if now < *until => {
                Err(left_alone(reason, *until - now))
            }
            _ => Ok(()),
        }
    }

    fn turn(&self, now: Instant) -> Result<Turn, Error> {
        let mut breaker = self.lock();
        match &*breaker {
            Breaker::Closed { .. } => Ok(Turn::Go),
            Breaker::Open { until, reason, .. } if now < *until => {
                Err(left_alone(reason, *until - now))
            }
            Breaker::Open { reason, pause, .. } => {
                *breaker = Breaker::Probing {
                    reason: reason.clone(),
                    pause: *pause,
                };
                Ok(Turn::Go)
            }
            Breaker::Probing { .. } => Ok(Turn::Wait),
        }
    }

    /// An exchange was admitted and not made, or came to no end.
    fn give_up(&self, now: Instant) {
        let mut breaker = self.lock();
        if let Breaker::Probing { reason, pause } = &*breaker {
            // The next one finds out.
            *breaker = Breaker::Open {
                until: now,
                reason: reason.clone(),
                pause: *pause,
            };
        }
        drop(breaker);
        self.settled.notify_waiters();
    }

    fn settle(&self, failure: Option<&Error>, now: Instant) {
        let mut breaker = self.lock();
        let (failures, pause) = match &*breaker {
            Breaker::Closed { failures } => (*failures, None),
            // Of those that were under way when it opened, a success is good news and a failure none.
            Breaker::Open { .. } if failure.is_some() => return,
            Breaker::Open { pause, .. } | Breaker::Probing { pause, .. } => {
                (FAILURES, Some(*pause))
            }
        };
        let next = match failure.map(|error| (error, Verdict::of(error))) {
            Some((error, Verdict::LeaveAlone(asked))) => open(error, asked, now),
            Some((error, Verdict::Stop)) => {
                let pause = pause.map_or(PAUSE, |pause| (pause * 2).clamp(PAUSE, LONGEST_PAUSE));
                open(error, pause, now)
            }
            Some((error, Verdict::Down)) if failures + 1 >= FAILURES => open(error, PAUSE, now),
            Some((_, Verdict::Down)) => Breaker::Closed {
                failures: failures + 1,
            },
            Some((_, Verdict::Up)) | None => Breaker::Closed { failures: 0 },
        };
        let was_open = pause.is_some();
        let (is_open, reason) = match &next {
            Breaker::Open { until, reason, .. } => (true, Some((*until - now, reason.clone()))),
            _ => (false, None),
        };
        *breaker = next;
        drop(breaker);
        self.settled.notify_waiters();
        if let Some((pause, reason)) = reason {
            telemetry::endpoint_left_alone(pause, &reason);
        } else if was_open && !is_open {
            telemetry::endpoint_back();
        }
    }
}

fn open(reason: &Error, pause: Duration, now: Instant) -> Breaker {
    Breaker::Open {
        until: now + pause,
        reason: reason.clone(),
        pause,
    }
}

/// What a failed exchange says about the endpoint.
enum Verdict {
    /// Nothing bad: it has answered about this grant.
    Up,
    Down,
    /// It asks for a pause.
    LeaveAlone(Duration),
    /// It does not know this client.
    Stop,
}

impl Verdict {
    fn of(error: &Error) -> Self {
        let asked = error.retry_after().filter(|asked| !asked.is_zero());
        let has_answered = error.status().is_some_and(|status| {
            !status.is_server_error() && status != StatusCode::TOO_MANY_REQUESTS
        });
        match asked {
            _ if error.oauth_code() == Some(OAuthErrorCode::InvalidClient) => Self::Stop,
            Some(asked) => Self::LeaveAlone(asked),
            None if error.is_transient() && !has_answered => Self::Down,
            None => Self::Up,
        }
    }
}

fn left_alone(reason: &Error, left: Duration) -> Error {
    let left_seconds = left.as_secs() + 1;
    let message = format!(
        "the token endpoint is left alone for {left_seconds} more seconds, after: {reason}"
    );
    Error::new(reason.kind(), message).with_answer(Answer {
        code: reason.oauth_code(),
        retry_after: Some(left),
        ..Answer::default()
    })
}

/// The right to make one exchange. Dropped without an outcome, it says nothing about the endpoint.
pub(crate) struct Admission {
    gate: EndpointGate,
    _permit: OwnedSemaphorePermit,
    is_settled: bool,
}

impl Admission {
    /// Says what came of it.
    pub(crate) fn settle<T>(mut self, outcome: &Result<T, Error>) {
        self.is_settled = true;
        self.gate
            .shared
            .settle(outcome.as_ref().err(), Instant::now());
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if !self.is_settled {
            self.gate.shared.give_up(Instant::now());
        }
    }
}

impl fmt::Debug for EndpointGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &*self.shared.lock() {
            Breaker::Closed { .. } => "open",
            Breaker::Open { .. } => "closed",
            Breaker::Probing { .. } => "probing",
        };
        f.debug_struct("EndpointGate")
            .field("state", &state)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
