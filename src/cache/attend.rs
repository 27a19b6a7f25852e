//! One exchange at a time, for all who need it.
//!
//! Whoever needs a new token comes through [`attend`](Core::attend), the one choke point. There, under the slot's lock, it is
//! decided again whether an exchange is needed, and whether there may be one; if so a task is spawned and its [`Flight`]
//! put into the slot, for others to join.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tokio::runtime::Handle;
use tracing::Instrument;

use super::{
    cooldown::Urgency,
    core::Core,
    flight::{Flight, Outcome, Pilot},
    renewal,
    slot::Slot,
    snapshot::Snapshot,
};
use crate::{
    error::{Error, ErrorKind},
    token::Generation,
};

/// Between two exchanges that 401s force, of one grant.
pub(super) const FORCED_FLOOR: Duration = Duration::from_secs(30);

/// Between two looks into the store, while an exchange may not be made: where requests fail, and where they do not.
const LOOK_FLOOR: Duration = Duration::from_secs(1);
const IDLE_LOOK_FLOOR: Duration = Duration::from_secs(30);

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
    /// Nobody uses this one, and its refresh token has to be kept alive.
    Idle(Option<Generation>),
    /// An exchange was begun then whose answer is not here, perhaps by a process that has died since.
    Lost(SystemTime),
}

impl Cause {
    /// Whether nobody waits for what comes of it.
    pub(super) fn is_background(self) -> bool {
        matches!(self, Self::Ahead | Self::Idle(_) | Self::Lost(_))
    }
}

/// What a flight is for.
enum Errand {
    Exchange,
    /// Only to see whether another replica has stored something newer, where an exchange may not be made for this reason.
    Look(Error),
}

/// What came of coming here.
pub(super) enum Attended {
    /// No exchange is needed, or none may be made now.
    Done(Outcome),
    /// One is under way.
    Joined(Flight),
}

impl Core {
    /// Answers a cause with what is held, with an error, or with an exchange.
    pub(super) fn attend(self: &Arc<Self>, cause: Cause) -> Attended {
        let now = self.now();
        let mut slot = self.lock();
        let snapshot = self.snapshot();
        if slot.is_revoked_here
            && let Some(error) = snapshot.ended()
        {
            return Attended::Done(Err(error));
        }
        // An exchange may have ended while this caller was on its way here.
        if let Some(token) = snapshot.answer(cause, now) {
            return Attended::Done(Ok(token.clone()));
        }
        // One for a grant that has ended meanwhile brings nothing.
        if let Some(flight) = &slot.exchange
            && snapshot.ended().is_none()
        {
            return flight.board(cause, &snapshot, now);
        }
        if slot.is_shut_down {
            return Attended::Done(Err(snapshot.ended().unwrap_or_else(shut_down)));
        }
        if let Cause::Rejected(generation) = cause {
            slot.rejected = Some(generation);
        }
        let errand = match self.held_back(&slot, &snapshot, cause, now) {
            Ok(()) => Errand::Exchange,
            Err((error, None)) => return Attended::Done(Err(error)),
            Err((error, Some(floor))) => {
                if let Some(flight) = &slot.look {
                    return Attended::Joined(Flight::clone(flight));
                }
                if is_within(floor, slot.looked_at, now) {
                    return Attended::Done(Err(error));
                }
                Errand::Look(error)
            }
        };
        let Ok(runtime) = Handle::try_current() else {
            return Attended::Done(Err(Error::outside_of_a_runtime()));
        };
        self.keep(&mut slot);
        let only_looks = matches!(errand, Errand::Look(_));
        let word = self.word_for(cause, now);
        let (pilot, flight) = Pilot::take_off(self, word, cause, only_looks, slot.newest_consent);
        let place = if only_looks {
            &mut slot.look
        } else {
            &mut slot.exchange
        };
        *place = Some(Box::new(flight.clone()));
        slot.work += 1;
        drop(slot);
        let fly = async move {
            let outcome = match errand {
                Errand::Exchange => renewal::renew(&pilot, cause).await,
                Errand::Look(reason) => renewal::look(&pilot.core, cause, reason).await,
            };
            pilot.land(outcome);
        };
        runtime.spawn(fly.instrument(self.telemetry.exchange(word)));
        Attended::Joined(flight)
    }

    /// What comes of a flight that was joined for this cause. One that was begun for a lesser one, or for a grant
    /// that was replaced meanwhile, may have given up, or been content with less; and one with a secret that was
    /// replaced meanwhile may have been refused for it.
    pub(super) async fn landed(self: &Arc<Self>, flight: Flight, cause: Cause) -> Outcome {
        let (is_half_hearted, consent, epoch) =
            (flight.is_half_hearted, flight.consent, flight.epoch);
        let outcome = flight.landed().await;
        let is_of_this_grant = self.lock().newest_consent == consent;
        let is_outdated =
            self.epoch() != epoch && outcome.as_ref().is_err_and(Error::is_invalid_client);
        if is_of_this_grant && !is_half_hearted && !is_outdated {
            return outcome;
        }
        match self.attend(cause) {
            Attended::Done(outcome) => outcome,
            Attended::Joined(flight) => flight.landed().await,
        }
    }

    /// Why there may be no exchange for this cause now; and how long after the last look into the store there may be
    /// another, where another replica may have what is needed.
    fn held_back(
        &self,
        slot: &Slot,
        snapshot: &Snapshot,
        cause: Cause,
        now: Instant,
    ) -> Result<(), (Error, Option<Duration>)> {
        if let Some(error) = snapshot.ended() {
            return Err((error, Some(LOOK_FLOOR)));
        }
        if matches!(cause, Cause::Idle(_)) && snapshot.grant().is_none() {
            return Err((renewal::unread(), Some(IDLE_LOOK_FLOOR)));
        }
        if self.seems_on_hold(slot, snapshot, cause, now) {
            return Err((renewal::on_hold(), Some(IDLE_LOOK_FLOOR)));
        }
        let urgency = self.urgency(cause, now);
        let is_blocked = (urgency == Urgency::Blocking).then_some(LOOK_FLOOR);
        if matches!(cause, Cause::Rejected(_)) && is_within(FORCED_FLOOR, slot.forced_at, now) {
            return Err((renewal::rejected_anew(), is_blocked));
        }
        slot.cooldown
            .check(now, self.epoch(), urgency)
            .map_err(|error| (error, is_blocked))
    }

    /// Notes that a flight or a command has ended.
    pub(super) fn end_work(&self, slot: &mut Slot) {
        slot.work -= 1;
        if slot.work == 0 {
            self.idle.notify_waiters();
        }
    }
}

pub(super) fn is_within(floor: Duration, last: Option<Instant>, now: Instant) -> bool {
    last.is_some_and(|last| now < last + floor)
}

pub(super) fn shut_down() -> Error {
    Error::new(
        ErrorKind::Interrupted,
        "the cache was shut down: it begins no exchange any more",
    )
}
