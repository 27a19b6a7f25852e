//! A refresh in flight: what its waiters see, and what its task holds.
//!
//! The task's [`Leader`] removes the [`SingleFlight`] from the state, also if the task panics or
//! its runtime shuts down, so that every waiter is woken.

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
    admission::{Admission, Reason},
    cache_state::Sequence,
    core::Core,
    snapshot::Snapshot,
};
use crate::error::{Error, ErrorKind};

pub(super) type Outcome = Result<BearerToken, Error>;

/// The state that the leader has reported.
#[derive(Clone)]
enum Progress {
    /// There is a new token that could not be saved, for this reason. The held token serves as long
    /// as it can.
    Deferred(Error),
    Done(Outcome),
}

/// A waiter's handle to a refresh in flight.
#[derive(Clone)]
pub(super) struct SingleFlight {
    progress: watch::Receiver<Option<Progress>>,
    /// Whether this waiter has no use for [`Progress::Deferred`].
    ignores_deferral: bool,
    /// Whether the refresh was started for a background reason, for which it may give up earlier.
    pub(super) is_background: bool,
    /// The grant that the refresh was started for.
    pub(super) consent: Sequence,
    /// The client secret that the refresh was started with.
    pub(super) secret_epoch: u64,
    demand: Arc<Demand>,
}

/// How much depends on a refresh in flight. Callers that join raise it.
#[derive(Default)]
struct Demand {
    /// Whether a caller waits for the result.
    is_awaited: AtomicBool,
    /// Whether the held token was rejected, so that it is no reason to defer the new one.
    is_urgent: AtomicBool,
    changed: Notify,
}

impl SingleFlight {
    /// Waits for the result. Dropping this future does not stop the refresh.
    pub(super) async fn outcome(mut self) -> Outcome {
        let ignores_deferral = self.ignores_deferral;
        let progress = self.progress.wait_for(|progress| match progress {
            None => false,
            Some(Progress::Deferred(_)) => !ignores_deferral,
            Some(Progress::Done(_)) => true,
        });
        match progress.await.ok().and_then(|progress| progress.clone()) {
            Some(Progress::Done(outcome)) => outcome,
            Some(Progress::Deferred(error)) => Err(error),
            None => Err(interrupted()),
        }
    }

    /// Joins the refresh. Its result may be known already while it is still being saved.
    pub(super) fn join(&self, reason: Reason, snapshot: &Snapshot, now: Instant) -> Admission {
        let is_held_useless = match reason {
            Reason::Rejected(generation) => snapshot.generation() == Some(generation),
            Reason::Mandatory => snapshot.alive(now).is_none(),
            Reason::Advisory
            | Reason::Manual(_)
            | Reason::KeepAlive(_)
            | Reason::LostResponse(_) => false,
        };
        // As long as no token is held, the store may have one that serves.
        let is_urgent = is_held_useless && snapshot.token().is_some();
        self.demand.raise(!reason.is_background(), is_urgent);
        let progress = self.progress.borrow().clone();
        match progress {
            None => Admission::Joined(self.clone()),
            // It was deferred in favor of a token that has become useless, and comes now.
            Some(Progress::Deferred(_)) if is_held_useless => Admission::Joined(Self {
                ignores_deferral: true,
                ..self.clone()
            }),
            Some(Progress::Deferred(error) | Progress::Done(Err(error))) => {
                Admission::Done(Err(error))
            }
            Some(Progress::Done(Ok(_))) => Admission::Done(Err(unsaved())),
        }
    }
}

impl Demand {
    fn raise(&self, is_awaited: bool, is_urgent: bool) {
        self.is_awaited.fetch_or(is_awaited, Ordering::Relaxed);
        self.is_urgent.fetch_or(is_urgent, Ordering::Relaxed);
        self.changed.notify_one();
    }
}

/// The refreshing task's side of a [`SingleFlight`].
pub(super) struct Leader {
    pub(super) core: Arc<Core>,
    /// The reason, as telemetry reports it.
    label: &'static str,
    since: Instant,
    only_checks_store: bool,
    /// The grant that the refresh was started for. It changes nothing of a later one.
    consent: Sequence,
    secret_epoch: u64,
    progress: watch::Sender<Option<Progress>>,
    demand: Arc<Demand>,
    /// Whether the token source was called.
    pub(super) has_sent: AtomicBool,
    /// Whether the refresh was put off until the access token expires, after a lost response.
    pub(super) deferred: AtomicBool,
    is_complete: bool,
}

impl Leader {
    pub(super) fn start(
        core: &Arc<Core>,
        label: &'static str,
        reason: Reason,
        only_checks_store: bool,
        consent: Sequence,
    ) -> (Self, SingleFlight) {
        let (sender, receiver) = watch::channel(None);
        let demand = Arc::new(Demand::default());
        demand.raise(
            !reason.is_background(),
            matches!(reason, Reason::Rejected(_)),
        );
        let secret_epoch = core.secret_epoch();
        let flight = SingleFlight {
            progress: receiver,
            ignores_deferral: false,
            consent,
            secret_epoch,
            is_background: reason.is_background(),
            demand: Arc::clone(&demand),
        };
        let leader = Self {
            core: Arc::clone(core),
            label,
            since: core.now(),
            only_checks_store,
            consent,
            secret_epoch,
            progress: sender,
            demand,
            has_sent: AtomicBool::new(false),
            deferred: AtomicBool::new(false),
            is_complete: false,
        };
        (leader, flight)
    }

    /// Wakes the waiters with the result, before the refresh is complete.
    pub(super) fn report(&self, outcome: Outcome) {
        self.progress.send_replace(Some(Progress::Done(outcome)));
    }

    /// Wakes the waiters with an error, so that they use the held token.
    pub(super) fn defer(&self, error: Error) {
        self.progress.send_replace(Some(Progress::Deferred(error)));
    }

    /// Whether the grant that the refresh was started for has not been replaced.
    pub(super) fn is_of_this_consent(&self) -> bool {
        self.core.lock().consent_epoch == self.consent
    }

    /// Whether the held token serves meanwhile: it is alive, and no waiter has seen it rejected.
    pub(super) fn can_wait(&self) -> bool {
        let held = self.core.snapshot();
        !self.demand.is_urgent.load(Ordering::Relaxed) && held.alive(self.core.now()).is_some()
    }

    pub(super) fn is_awaited(&self) -> bool {
        self.demand.is_awaited.load(Ordering::Relaxed)
    }

    /// Completes when a caller waits for the result.
    pub(super) async fn until_awaited(&self) {
        while !self.is_awaited() {
            self.demand.changed.notified().await;
        }
    }

    /// Completes when the held token no longer serves requests.
    pub(super) async fn until_needed(&self) {
        while self.can_wait() {
            let changed = self.demand.changed.notified();
            let held = Arc::clone(&self.core.snapshot());
            let Some((_, schedule)) = held.token() else {
                return;
            };
            let _ = tokio::time::timeout_at(schedule.expires.into(), changed).await;
        }
    }

    pub(super) fn complete(mut self, outcome: Outcome) {
        self.clear(&outcome);
        self.report(outcome);
    }

    /// Removes this refresh from the state, and updates the backoff.
    fn clear(&mut self, outcome: &Outcome) {
        self.is_complete = true;
        let core = &self.core;
        let jitter = core.jitter();
        let now = core.now();
        let mut state = core.lock();
        core.finish_work(&mut state);
        if self.only_checks_store {
            // A store check is no evidence about the token endpoint.
            state.store_check = None;
            state.store_checked_at = Some(now);
            return;
        }
        let deferred = self.deferred.load(Ordering::Relaxed);
        let is_of_this_grant = state.consent_epoch == self.consent;
        if is_of_this_grant {
            state.refresh = None;
        }
        match outcome {
            _ if !is_of_this_grant => {}
            Ok(_) if core.is_due_again(now) => {
                state
                    .backoff
                    .add_soft(now, self.secret_epoch, due_again(), jitter);
            }
            Ok(_) => state.backoff.clear(),
            // Nothing was sent, so this is no evidence about the token endpoint.
            Err(_) if deferred => {}
            Err(error) => state
                .backoff
                .add(now, self.secret_epoch, error.clone(), jitter),
        }
        drop(state);
        let result = match outcome {
            Ok(_) if self.has_sent.load(Ordering::Relaxed) => "refreshed",
            Ok(_) => "adopted",
            Err(_) if deferred => "deferred",
            Err(error) if error.is_response_lost() => "response_lost",
            Err(error) if error.is_consent_required() => "ended",
            Err(_) => "failed",
        };
        if let (Err(error), false) = (outcome, deferred) {
            core.telemetry.refresh_failed(self.label, error);
        }
        let duration = now.saturating_duration_since(self.since);
        core.telemetry
            .refresh_completed(self.label, result, duration);
        if !deferred {
            // The worker plans its next run by the backoff.
            core.wake_worker();
        }
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if !self.is_complete {
            let outcome = Err(interrupted());
            self.clear(&outcome);
            // Waiters that have a result keep it. Those that ignored the deferral get the error.
            self.progress.send_if_modified(|progress| {
                let is_done = matches!(progress, Some(Progress::Done(_)));
                if !is_done {
                    *progress = Some(Progress::Done(outcome));
                }
                !is_done
            });
        }
    }
}

pub(super) fn unsaved() -> Error {
    Error::new(
        ErrorKind::Store,
        "the newest token set could not be saved yet, and no refresh starts before it is; check the token store",
    )
}

fn due_again() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the newest access token is already due for a refresh: the provider issues tokens that are about to expire",
    )
}

fn interrupted() -> Error {
    Error::new(
        ErrorKind::Interrupted,
        "a refresh was interrupted: its runtime shut down, or the token source or store panicked",
    )
}
