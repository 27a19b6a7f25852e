//! What all handles of a cache, and its tasks, share.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::Notify;

use super::{
    Acquired, BearerToken, LostAnswer,
    attend::{Attended, Cause},
    cooldown::Urgency,
    slot::Slot,
    snapshot::{Moment, Snapshot},
    source::ErasedSource,
};
use crate::{
    clock::Clock,
    error::{Error, ErrorKind},
    oauth::GateKey,
    origin::Origin,
    store::{ErasedStore, LeaseOutcome, LeaseOwner, SaveOutcome},
    telemetry::Telemetry,
    token::{Generation, Grant, TenantId},
};

/// For one call of a store, whatever it is.
const STORE_DEADLINE: Duration = Duration::from_secs(10);

pub(super) struct Core {
    /// What requests read. Replaced under the lock of `slot` only.
    current: ArcSwap<Snapshot>,
    slot: Mutex<Slot>,
    /// Wakes the keeper when there is something new to keep.
    pub(super) published: Arc<Notify>,
    /// Whose turn it is to change the grant on purpose: one after another, each with its own deadlines.
    pub(super) commands: tokio::sync::Mutex<()>,
    /// Whose turn it is to take, extend or give back the lease.
    pub(super) leasing: tokio::sync::Mutex<()>,
    /// Wakes those who wait for the last work to end.
    pub(super) idle: Notify,
    pub(super) source: Box<dyn ErasedSource>,
    store: Box<dyn ErasedStore>,
    clock: Arc<dyn Clock>,
    pub(super) telemetry: Telemetry,
    origins: Vec<Origin>,
    pub(super) lost_answer: LostAnswer,
    pub(super) floor: Duration,
    pub(super) lease: Duration,
    refresh_token_lifetime: Option<Duration>,
    random: Mutex<fastrand::Rng>,
    /// Under which this cache takes leases, and comes to the gate.
    owner: LeaseOwner,
    pub(super) key: GateKey,
}

pub(super) struct Parts {
    pub(super) source: Box<dyn ErasedSource>,
    pub(super) store: Box<dyn ErasedStore>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) telemetry: Telemetry,
    pub(super) origins: Vec<Origin>,
    pub(super) lost_answer: LostAnswer,
    pub(super) floor: Duration,
    pub(super) lease: Duration,
    pub(super) refresh_token_lifetime: Option<Duration>,
    pub(super) random: fastrand::Rng,
}

impl Core {
    pub(super) fn new(parts: Parts) -> Self {
        Self {
            current: ArcSwap::from_pointee(Snapshot::EMPTY),
            slot: Mutex::default(),
            published: Arc::new(Notify::new()),
            commands: tokio::sync::Mutex::default(),
            leasing: tokio::sync::Mutex::default(),
            idle: Notify::new(),
            source: parts.source,
            store: parts.store,
            clock: parts.clock,
            telemetry: parts.telemetry,
            origins: parts.origins,
            lost_answer: parts.lost_answer,
            floor: parts.floor,
            lease: parts.lease,
            refresh_token_lifetime: parts.refresh_token_lifetime,
            random: Mutex::new(parts.random),
            owner: LeaseOwner::random(),
            key: GateKey::random(),
        }
    }

    pub(super) fn fresh(&self) -> Option<BearerToken> {
        let snapshot = self.current.load();
        let (token, schedule) = snapshot.token()?;
        (self.clock.monotonic() < schedule.refresh_at).then(|| {
            snapshot.mark_used();
            token.clone()
        })
    }

    pub(super) fn acquire(self: &Arc<Self>) -> Acquired {
        let snapshot = self.current.load();
        snapshot.mark_used();
        let now = self.now();
        let Some(held) = snapshot.alive(now) else {
            return match self.attend(Cause::Due) {
                Attended::Done(result) => Acquired::Now(result),
                Attended::Joined(flight) => {
                    let core = Arc::clone(self);
                    Acquired::Later(Box::pin(async move {
                        let landed = core.landed(flight, Cause::Due).await;
                        core.current.load().mark_used();
                        landed
                    }))
                }
            };
        };
        if snapshot.answer(Cause::Ahead, now).is_some() {
            return Acquired::Now(Ok(held.clone()));
        }
        let held = held.clone();
        if snapshot.answer(Cause::Due, now).is_some() {
            // Whatever comes of it, this request goes on with what is held.
            let _ = self.attend(Cause::Ahead);
            return Acquired::Now(Ok(held));
        }
        match self.attend(Cause::Due) {
            Attended::Done(result) => Acquired::Now(Ok(result.unwrap_or(held))),
            Attended::Joined(flight) => {
                let core = Arc::clone(self);
                Acquired::Later(Box::pin(async move {
                    let landed = core.landed(flight, Cause::Due).await;
                    let snapshot = core.current.load();
                    snapshot.mark_used();
                    // The held one, if it outlived the wait; or what another path has brought meanwhile.
                    landed.or_else(|error| snapshot.alive(core.now()).cloned().ok_or(error))
                }))
            }
        }
    }

    /// The held token, if it is alive and newer than `generation`.
    pub(super) fn newer_than(&self, generation: Generation) -> Option<BearerToken> {
        let snapshot = self.current.load();
        let newer = snapshot.answer(Cause::Rejected(generation), self.now())?;
        snapshot.mark_used();
        Some(newer.clone())
    }

    pub(super) fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// Only ever called with the slot's lock held.
    pub(super) fn put(&self, snapshot: Snapshot) {
        self.current.store(Arc::new(snapshot));
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Slot> {
        // A panic elsewhere leaves nothing half done in the slot: each change is one assignment.
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Instant {
        self.clock.monotonic()
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// What turning points are reckoned from at this moment.
    pub(super) fn moment(&self) -> Moment {
        Moment {
            now: self.clock.monotonic(),
            wall: self.clock.wall(),
            chance: self.chance(),
            refresh_token_lifetime: self.refresh_token_lifetime,
        }
    }

    pub(super) fn origins(&self) -> &[Origin] {
        &self.origins
    }

    pub(super) fn tenant(&self) -> &TenantId {
        self.telemetry.tenant()
    }

    /// A random number from 0 to 1.
    pub(super) fn chance(&self) -> f64 {
        self.random
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .f64()
    }

    pub(super) async fn read(&self) -> Result<Option<Grant>, Error> {
        in_time(self.store.load(self.tenant())).await
    }

    pub(super) async fn save(
        &self,
        expected: Option<Generation>,
        grant: &Grant,
    ) -> Result<SaveOutcome, Error> {
        in_time(self.store.save(self.tenant(), expected, grant)).await
    }

    pub(super) async fn acquire_lease(&self) -> Result<LeaseOutcome, Error> {
        in_time(self.store.acquire(self.tenant(), &self.owner, self.lease)).await
    }

    pub(super) async fn release_lease(&self) -> Result<(), Error> {
        in_time(self.store.release(self.tenant(), &self.owner)).await
    }

    /// Ends when the store may hold something new; perhaps never.
    pub(super) async fn store_changed(&self) {
        self.store.changed(self.tenant()).await;
    }

    /// Whether the held token serves, but is to be renewed.
    pub(super) fn is_due_again(&self, now: Instant) -> bool {
        let snapshot = self.current.load();
        snapshot.alive(now).is_some() && snapshot.answer(Cause::Ahead, now).is_none()
    }

    /// How much depends on an exchange at this moment.
    pub(super) fn urgency(&self, cause: Cause, now: Instant) -> Urgency {
        match cause {
            Cause::Ahead | Cause::Idle(_) | Cause::Lost(_) => Urgency::Advisory,
            Cause::Due if self.current.load().alive(now).is_some() => Urgency::Mandatory,
            Cause::Due | Cause::Rejected(_) => Urgency::Blocking,
            Cause::Asked(_) => Urgency::Asked,
        }
    }

    /// The cause as it is told.
    pub(super) fn word_for(&self, cause: Cause, now: Instant) -> &'static str {
        match cause {
            Cause::Ahead => "advisory",
            Cause::Due if self.current.load().alive(now).is_some() => "mandatory",
            Cause::Due => "expired",
            Cause::Rejected(_) => "unauthorized",
            Cause::Asked(_) => "manual",
            Cause::Idle(_) => "keepalive",
            Cause::Lost(_) => "lost_answer",
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        if let Some(keeper) = self.lock().keeper.take() {
            keeper.abort();
        }
    }
}

async fn in_time<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late = "the token store did not answer within 10 seconds: check that it is reachable";
    within(STORE_DEADLINE, call, || Error::new(ErrorKind::Store, late)).await
}

/// What comes of a call, or an error if that takes too long.
pub(super) async fn within<T>(
    deadline: Duration,
    call: impl Future<Output = Result<T, Error>>,
    late: impl FnOnce() -> Error,
) -> Result<T, Error> {
    tokio::time::timeout(deadline, call)
        .await
        .unwrap_or_else(|_| Err(late()))
}
