//! An exchange under way: the side of those who wait for it, and the side of its task.
//!
//! The task's [`Pilot`] takes the [`Flight`] out of the slot again, also when the task panics or its runtime goes, so that
//! nobody waits for ever.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use tokio::sync::{Notify, watch};

use super::{
    BearerToken,
    attend::{Attended, Cause},
    core::Core,
    snapshot::Snapshot,
};
use crate::error::{Error, ErrorKind};

pub(super) type Outcome = Result<BearerToken, Error>;

/// What those who wait have been told.
#[derive(Clone)]
enum Told {
    /// There is a new token, but it is not stored, for this reason: go on with what is held as long as that serves.
    HeldBack(Error),
    /// What came of it.
    Done(Outcome),
}

/// An exchange under way, as those see it who wait for it.
#[derive(Clone)]
pub(super) struct Flight {
    told: watch::Receiver<Option<Told>>,
    /// Whether what was told so far is of no use to this waiter.
    waits_for_more: bool,
    /// Whether it was begun for a reason for which it may give up where others would not.
    pub(super) is_half_hearted: bool,
    pub(super) consent: u64,
    /// That of the client's secret when it was begun.
    pub(super) epoch: u64,
    need: Arc<Need>,
}

/// How much depends on it by now.
#[derive(Default)]
struct Need {
    /// Whether anybody waits for it.
    is_awaited: AtomicBool,
    /// Whether the token that is held meanwhile was rejected, and so is no reason to hold back the new one.
    is_urgent: AtomicBool,
    changed: Notify,
}

impl Flight {
    /// What comes of it. Dropping this future stops nothing.
    pub(super) async fn landed(mut self) -> Outcome {
        let waits_for_more = self.waits_for_more;
        let told = self.told.wait_for(|told| match told {
            None => false,
            Some(Told::HeldBack(_)) => !waits_for_more,
            Some(Told::Done(_)) => true,
        });
        match told.await.ok().and_then(|told| told.clone()) {
            Some(Told::Done(outcome)) => outcome,
            Some(Told::HeldBack(error)) => Err(error),
            None => Err(interrupted()),
        }
    }

    /// Joins an exchange under way, whose result may be there already, but not stored.
    pub(super) fn board(&self, cause: Cause, snapshot: &Snapshot, now: Instant) -> Attended {
        let is_held_useless = match cause {
            Cause::Rejected(generation) => snapshot.generation() == Some(generation),
            Cause::Due => snapshot.alive(now).is_none(),
            Cause::Ahead | Cause::Asked(_) | Cause::Idle(_) | Cause::Lost(_) => false,
        };
        // Where nothing is held yet, the store may have something that serves.
        let is_urgent = is_held_useless && snapshot.token().is_some();
        self.need.raise(!cause.is_background(), is_urgent);
        let told = self.told.borrow().clone();
        match told {
            None => Attended::Joined(self.clone()),
            // It was held back in favour of a token that has become useless: now it comes.
            Some(Told::HeldBack(_)) if is_held_useless => Attended::Joined(Self {
                waits_for_more: true,
                ..self.clone()
            }),
            Some(Told::HeldBack(error) | Told::Done(Err(error))) => Attended::Done(Err(error)),
            Some(Told::Done(Ok(_))) => Attended::Done(Err(unsaved())),
        }
    }
}

impl Need {
    fn raise(&self, is_awaited: bool, is_urgent: bool) {
        self.is_awaited.fetch_or(is_awaited, Ordering::Relaxed);
        self.is_urgent.fetch_or(is_urgent, Ordering::Relaxed);
        self.changed.notify_one();
    }
}

/// The task's side of a [`Flight`].
pub(super) struct Pilot {
    pub(super) core: Arc<Core>,
    /// What brought it, as it is told; and when.
    word: &'static str,
    since: Instant,
    only_looks: bool,
    /// That of the grant that it is for: of a later one it knows nothing.
    consent: u64,
    epoch: u64,
    told: watch::Sender<Option<Told>>,
    need: Arc<Need>,
    /// Whether the token source was asked; or was not to be, for the reason that there was.
    pub(super) has_sent: AtomicBool,
    pub(super) is_held_back: AtomicBool,
    landed: bool,
}

impl Pilot {
    pub(super) fn take_off(
        core: &Arc<Core>,
        word: &'static str,
        cause: Cause,
        only_looks: bool,
        consent: u64,
    ) -> (Self, Flight) {
        let (sender, receiver) = watch::channel(None);
        let need = Arc::new(Need::default());
        need.raise(!cause.is_background(), matches!(cause, Cause::Rejected(_)));
        let epoch = core.epoch();
        let flight = Flight {
            told: receiver,
            waits_for_more: false,
            consent,
            epoch,
            is_half_hearted: cause.is_background(),
            need: Arc::clone(&need),
        };
        let pilot = Self {
            core: Arc::clone(core),
            word,
            since: core.now(),
            only_looks,
            consent,
            epoch,
            told: sender,
            need,
            has_sent: AtomicBool::new(false),
            is_held_back: AtomicBool::new(false),
            landed: false,
        };
        (pilot, flight)
    }

    /// Tells those who wait, and goes on.
    pub(super) fn tell(&self, outcome: Outcome) {
        self.told.send_replace(Some(Told::Done(outcome)));
    }

    /// Tells those who wait to go on with what is held.
    pub(super) fn hold_back(&self, error: Error) {
        self.told.send_replace(Some(Told::HeldBack(error)));
    }

    /// Whether the grant that it was begun for has not been replaced.
    pub(super) fn is_of_this_consent(&self) -> bool {
        self.core.lock().newest_consent == self.consent
    }

    /// Whether what is held serves requests meanwhile: it is alive, and nobody has come who cannot use it.
    pub(super) fn can_wait(&self) -> bool {
        let held = self.core.snapshot();
        !self.need.is_urgent.load(Ordering::Relaxed) && held.alive(self.core.now()).is_some()
    }

    pub(super) fn is_awaited(&self) -> bool {
        self.need.is_awaited.load(Ordering::Relaxed)
    }

    /// Ends when somebody waits for what comes of it.
    pub(super) async fn until_awaited(&self) {
        while !self.is_awaited() {
            self.need.changed.notified().await;
        }
    }

    /// Ends when what is held does not serve requests any more.
    pub(super) async fn until_needed(&self) {
        while self.can_wait() {
            let changed = self.need.changed.notified();
            let held = Arc::clone(&self.core.snapshot());
            let Some((_, schedule)) = held.token() else {
                return;
            };
            let _ = tokio::time::timeout_at(schedule.expires.into(), changed).await;
        }
    }

    pub(super) fn land(mut self, outcome: Outcome) {
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
        let is_held_back = self.is_held_back.load(Ordering::Relaxed);
        let is_of_this_grant = slot.newest_consent == self.consent;
        if is_of_this_grant {
            slot.exchange = None;
        }
        match outcome {
            _ if !is_of_this_grant => {}
            Ok(_) if core.is_due_again(now) => {
                slot.cooldown.add_soft(now, self.epoch, due_again(), chance);
            }
            Ok(_) => slot.cooldown.clear(),
            // It says nothing about the endpoint.
            Err(_) if is_held_back => {}
            Err(error) => slot.cooldown.add(now, self.epoch, error.clone(), chance),
        }
        drop(slot);
        let word = match outcome {
            Ok(_) if self.has_sent.load(Ordering::Relaxed) => "refreshed",
            Ok(_) => "adopted",
            Err(_) if is_held_back => "held_back",
            Err(error) if error.is_response_lost() => "lost",
            Err(error) if error.is_consent_required() => "ended",
            Err(_) => "failed",
        };
        if let (Err(error), false) = (outcome, is_held_back) {
            core.telemetry.exchange_failed(self.word, error);
        }
        let took = now.saturating_duration_since(self.since);
        core.telemetry.exchanged(self.word, word, took);
        if !is_held_back {
            // It may have waited for an exchange that failed: now there is a pause to plan with.
            core.wake_keeper();
        }
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        if !self.landed {
            let outcome = Err(interrupted());
            self.clear(&outcome);
            // Those who were already told something go on with that, unless they wait for more.
            self.told.send_if_modified(|told| {
                let is_done = matches!(told, Some(Told::Done(_)));
                if !is_done {
                    *told = Some(Told::Done(outcome));
                }
                !is_done
            });
        }
    }
}

pub(super) fn unsaved() -> Error {
    Error::new(
        ErrorKind::Store,
        "the newest token could not be stored so far, and before it is there will be no next one: check the store",
    )
}

fn due_again() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the newest token is to be renewed already: the provider gives tokens that are old",
    )
}

fn interrupted() -> Error {
    Error::new(
        ErrorKind::Interrupted,
        "an exchange was cut short: its runtime shut down, or a token source or store panicked",
    )
}
