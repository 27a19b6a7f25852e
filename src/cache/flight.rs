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

use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
};
use tracing::Instrument;

use super::{
    cooldown::Urgency,
    core::Core,
    renewal,
    slot::Slot,
    snapshot::{BearerToken, Snapshot},
};
use crate::{
    error::{Error, ErrorKind},
    token::Generation,
};

/// Between two exchanges that 401s force, of one grant.
const FORCED_FLOOR: Duration = Duration::from_secs(30);

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
}

pub(super) type Outcome = Result<BearerToken, Error>;

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

/// An exchange under way, as those see it who wait for it.
#[derive(Clone)]
pub(super) struct Flight {
    outcome: watch::Receiver<Option<Outcome>>,
    /// Whether what was told so far is of no use to this waiter.
    waits_for_more: bool,
    need: Arc<Need>,
}

/// Whether the token that is held meanwhile was rejected, and so is no reason to hold back the new one.
#[derive(Default)]
struct Need {
    is_urgent: AtomicBool,
    changed: Notify,
}

impl Flight {
    /// What comes of it. Dropping this future stops nothing.
    pub(super) async fn landed(mut self) -> Outcome {
        if self.waits_for_more {
            // An end of the task counts: what it said last is then its last word.
            let _ = self.outcome.changed().await;
        }
        let told = self.outcome.wait_for(Option::is_some).await;
        told.ok()
            .and_then(|told| told.clone())
            .unwrap_or_else(|| Err(interrupted()))
    }

    fn hurry(&self) {
        self.need.is_urgent.store(true, Ordering::Relaxed);
        self.need.changed.notify_one();
    }
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
        if let Some(flight) = &slot.exchange {
            return board(flight, cause, &snapshot, now);
        }
        if slot.is_shut_down {
            return Attended::Done(Err(shut_down()));
        }
        if let Cause::Rejected(generation) = cause {
            slot.rejected = Some(generation);
        }
        let errand = match self.held_back(&slot, &snapshot, cause, now) {
            Ok(()) => Errand::Exchange,
            Err((error, None)) => return Attended::Done(Err(error)),
            Err((error, Some(floor))) => {
                if let Some(flight) = &slot.look {
                    return Attended::Joined(flight.clone());
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
        let (pilot, flight) = Pilot::take_off(self, word, cause, only_looks);
        let place = if only_looks {
            &mut slot.look
        } else {
            &mut slot.exchange
        };
        *place = Some(flight.clone());
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
        if snapshot.is_on_hold(cause, self.lost_answer, now) {
            return Err((renewal::on_hold(), Some(IDLE_LOOK_FLOOR)));
        }
        let urgency = self.urgency(cause, now);
        let is_blocked = (urgency == Urgency::Blocking).then_some(LOOK_FLOOR);
        if matches!(cause, Cause::Rejected(_)) && is_within(FORCED_FLOOR, slot.forced_at, now) {
            return Err((renewal::rejected_anew(), is_blocked));
        }
        slot.cooldown
            .check(now, urgency)
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

/// Joins an exchange under way, whose result may be there already, but not stored.
fn board(flight: &Flight, cause: Cause, snapshot: &Snapshot, now: Instant) -> Attended {
    let is_held_useless = match cause {
        Cause::Rejected(generation) => snapshot.generation() == Some(generation),
        Cause::Due => snapshot.alive(now).is_none(),
        Cause::Ahead | Cause::Asked(_) | Cause::Idle(_) => false,
    };
    if is_held_useless {
        flight.hurry();
    }
    let mut flight = flight.clone();
    let told = flight.outcome.borrow_and_update().clone();
    match told {
        None => Attended::Joined(flight),
        // It was held back in favour of a token that has become useless: now it comes.
        Some(Err(_)) if is_held_useless => {
            flight.waits_for_more = true;
            Attended::Joined(flight)
        }
        Some(Err(error)) => Attended::Done(Err(error)),
        Some(Ok(_)) => Attended::Done(Err(Error::new(
            ErrorKind::Store,
            "the newest token could not be stored so far, and before it is there will be no next one: check the store",
        ))),
    }
}

fn is_within(floor: Duration, last: Option<Instant>, now: Instant) -> bool {
    last.is_some_and(|last| now < last + floor)
}

/// The task's side of a [`Flight`].
pub(super) struct Pilot {
    pub(super) core: Arc<Core>,
    /// What brought it, as it is told; and when.
    word: &'static str,
    since: Instant,
    only_looks: bool,
    outcome: watch::Sender<Option<Outcome>>,
    need: Arc<Need>,
    /// Whether the token source was asked.
    pub(super) has_sent: AtomicBool,
    landed: bool,
}

impl Pilot {
    fn take_off(
        core: &Arc<Core>,
        word: &'static str,
        cause: Cause,
        only_looks: bool,
    ) -> (Self, Flight) {
        let (sender, receiver) = watch::channel(None);
        let need = Arc::new(Need::default());
        need.is_urgent
            .store(matches!(cause, Cause::Rejected(_)), Ordering::Relaxed);
        let flight = Flight {
            outcome: receiver,
            waits_for_more: false,
            need: Arc::clone(&need),
        };
        let pilot = Self {
            core: Arc::clone(core),
            word,
            since: core.now(),
            only_looks,
            outcome: sender,
            need,
            has_sent: AtomicBool::new(false),
            landed: false,
        };
        (pilot, flight)
    }

    /// Tells those who wait, and goes on.
    pub(super) fn tell(&self, outcome: Outcome) {
        self.outcome.send_replace(Some(outcome));
    }

    /// Whether `held` serves requests meanwhile: it is alive, and nobody has come with a 401 for it.
    pub(super) fn can_wait_with(&self, held: &Snapshot) -> bool {
        !self.need.is_urgent.load(Ordering::Relaxed) && held.alive(self.core.now()).is_some()
    }

    /// Ends when `held` does not serve requests any more.
    pub(super) async fn until_needed(&self, held: &Snapshot) {
        while self.can_wait_with(held) {
            let Some((_, schedule)) = held.token() else {
                return;
            };
            let changed = self.need.changed.notified();
            let _ = tokio::time::timeout_at(schedule.expires.into(), changed).await;
        }
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
        core.end_work(&mut slot);
        if self.only_looks {
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
            core.telemetry.exchange_failed(self.word, error);
        }
        let word = match outcome {
            Ok(_) if self.has_sent.load(Ordering::Relaxed) => "refreshed",
            Ok(_) => "adopted",
            Err(error) if error.is_answer_lost() => "lost",
            Err(error) if error.is_consent_required() => "ended",
            Err(_) => "failed",
        };
        let took = now.saturating_duration_since(self.since);
        core.telemetry.exchanged(self.word, word, took);
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

pub(super) fn shut_down() -> Error {
    Error::new(
        ErrorKind::Interrupted,
        "the cache was shut down: it begins no exchange any more",
    )
}

fn interrupted() -> Error {
    Error::new(
        ErrorKind::Interrupted,
        "an exchange was cut short: its runtime shut down, or a token source or store panicked",
    )
}
