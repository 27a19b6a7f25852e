//! One exchange at a time, for all who need it.
//!
//! Whoever needs a new token comes through [`attend`](Core::attend), the one choke point. There, under the slot's lock, it is
//! decided again whether an exchange is needed, and whether there may be one; if so a task is spawned and its [`Flight`]
//! put into the slot, for others to join. The task's [`Pilot`] takes it out again, also when the task panics or its runtime
//! goes, so that nobody waits for ever.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, sync::watch};

use super::{core::Core, renewal, snapshot::BearerToken};
use crate::{
    error::{Error, ErrorKind},
    token::Generation,
};

/// Between two exchanges that 401s force, of one grant.
const FORCED_FLOOR: Duration = Duration::from_secs(30);

/// Between two looks into the store that 401s cause meanwhile.
const LOOK_FLOOR: Duration = Duration::from_secs(1);

/// What brings a caller here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The token is in its advisory window.
    Ahead,
    /// The token is in its mandatory window, expired, or not there.
    Due,
    /// A 401 to a request with this generation.
    Rejected(Generation),
    /// The program asked for a newer one than this.
    Asked(Option<Generation>),
}

pub(super) type Outcome = Result<BearerToken, Error>;

/// What a flight is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Errand {
    Exchange,
    /// Only to see whether another replica has stored something newer.
    Look,
}

/// What came of coming here.
pub(super) enum Attended {
    /// No exchange is needed, or none may be made now.
    Done(Outcome),
    /// One is under way.
    Joined(Flight),
}

/// An exchange under way, as those see it who wait for it.
#[derive(Clone)]
pub(super) struct Flight {
    outcome: watch::Receiver<Option<Outcome>>,
    /// Whether the token that is held meanwhile was rejected, and so is no reason to hold back the new one.
    rejected: Arc<AtomicBool>,
}

impl Flight {
    /// What comes of it. Dropping this future stops nothing.
    pub(super) async fn landed(mut self) -> Outcome {
        match self.outcome.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or_else(|| Err(interrupted())),
            Err(_) => Err(interrupted()),
        }
    }
}

impl Core {
    /// Answers a cause with what is held, with an error, or with an exchange.
    pub(super) fn attend(self: &Arc<Self>, cause: Cause) -> Attended {
        let now = self.now();
        let mut slot = self.lock();
        if let Some(flight) = &slot.exchange {
            if let Cause::Rejected(generation) = cause
                && self.snapshot().generation() == Some(generation)
            {
                flight.rejected.store(true, Ordering::Relaxed);
            }
            return Attended::Joined(flight.clone());
        }
        // An exchange may have ended while this caller was on its way here.
        if let Some(token) = self.snapshot().answer(cause, now) {
            return Attended::Done(Ok(token.clone()));
        }
        let errand = match cause {
            Cause::Rejected(_) if is_within(FORCED_FLOOR, slot.forced_at, now) => {
                if let Some(flight) = &slot.look {
                    return Attended::Joined(flight.clone());
                }
                if is_within(LOOK_FLOOR, slot.looked_at, now) {
                    return Attended::Done(Err(renewal::rejected_anew()));
                }
                Errand::Look
            }
            _ => match slot.cooldown.check(now, self.urgency(cause, now)) {
                Ok(()) => Errand::Exchange,
                Err(error) => return Attended::Done(Err(error)),
            },
        };
        let Ok(runtime) = Handle::try_current() else {
            return Attended::Done(Err(Error::new(
                ErrorKind::Interrupted,
                "called outside of a tokio runtime: call it inside one",
            )));
        };
        let (pilot, flight) = Pilot::take_off(self, cause, errand);
        match errand {
            Errand::Exchange => slot.exchange = Some(flight.clone()),
            Errand::Look => slot.look = Some(flight.clone()),
        }
        drop(slot);
        runtime.spawn(async move {
            let outcome = match errand {
                Errand::Exchange => renewal::renew(&pilot, cause).await,
                Errand::Look => renewal::look(&pilot.core, cause).await,
            };
            pilot.land(outcome);
        });
        Attended::Joined(flight)
    }
}

fn is_within(floor: Duration, last: Option<Instant>, now: Instant) -> bool {
    last.is_some_and(|last| now < last + floor)
}

/// The task's side of a [`Flight`].
pub(super) struct Pilot {
    pub(super) core: Arc<Core>,
    cause: Cause,
    errand: Errand,
    outcome: watch::Sender<Option<Outcome>>,
    rejected: Arc<AtomicBool>,
    landed: bool,
}

impl Pilot {
    fn take_off(core: &Arc<Core>, cause: Cause, errand: Errand) -> (Self, Flight) {
        let (sender, receiver) = watch::channel(None);
        let rejected = Arc::new(AtomicBool::new(matches!(cause, Cause::Rejected(_))));
        let flight = Flight {
            outcome: receiver,
            rejected: Arc::clone(&rejected),
        };
        let pilot = Self {
            core: Arc::clone(core),
            cause,
            errand,
            outcome: sender,
            rejected,
            landed: false,
        };
        (pilot, flight)
    }

    /// Tells those who wait, and goes on.
    pub(super) fn tell(&self, outcome: Outcome) {
        self.outcome.send_replace(Some(outcome));
    }

    /// Whether the token that is held meanwhile was rejected.
    pub(super) fn is_held_token_rejected(&self) -> bool {
        self.rejected.load(Ordering::Relaxed)
    }

    fn land(mut self, outcome: Outcome) {
        self.clear(&outcome);
        self.tell(outcome);
    }

    /// Makes room for the next one, and decides when there may be an exchange.
    fn clear(&mut self, outcome: &Outcome) {
        self.landed = true;
        let core = &self.core;
        let chance = core.chance();
        let now = core.now();
        let mut slot = core.lock();
        if self.errand == Errand::Look {
            // Whatever it found, it says nothing about the endpoint.
            slot.look = None;
            slot.looked_at = Some(now);
            return;
        }
        slot.exchange = None;
        match outcome {
            Ok(_) => slot.cooldown.clear(),
            Err(error) => slot.cooldown.add(now, error.clone(), chance),
        }
        drop(slot);
        if let Err(error) = outcome {
            tracing::warn!(
                target: "tower_oauth2_client",
                cause = ?self.cause,
                error = %error,
                "no new token"
            );
        }
        // It may have waited for an exchange that failed: now there is a pause to plan with.
        core.published.notify_one();
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        if !self.landed {
            let outcome = Err(interrupted());
            self.clear(&outcome);
            // Those who were already told something go on with that.
            self.outcome.send_if_modified(|told| {
                let silent = told.is_none();
                if silent {
                    *told = Some(outcome);
                }
                silent
            });
        }
    }
}

fn interrupted() -> Error {
    Error::new(
        ErrorKind::Interrupted,
        "an exchange was cut short: its runtime shut down, or a token source or store panicked",
    )
}
