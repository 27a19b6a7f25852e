//! What all handles of a cache, and its tasks, share.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, Guard};
use tokio::{sync::Notify, task::JoinHandle};

use super::{
    Acquired,
    cooldown::{Cooldown, Urgency},
    flight::{Attended, Cause, Flight},
    keeper,
    renewal::following,
    snapshot::{BearerToken, Snapshot},
    source::ErasedSource,
};
use crate::{
    clock::Clock,
    error::{Error, ErrorKind},
    origin::Origin,
    store::{ErasedStore, SaveOutcome},
    token::{Generation, Grant, GrantState, TenantId, TokenSet},
};

/// For one call of a store, whatever it is.
const STORE_DEADLINE: Duration = Duration::from_secs(10);

pub(super) struct Core {
    /// What requests read. Written under the lock of `slot` only.
    current: ArcSwap<Snapshot>,
    slot: Mutex<Slot>,
    /// Wakes the keeper when there is something new to keep.
    pub(super) published: Arc<Notify>,
    pub(super) source: Box<dyn ErasedSource>,
    store: Box<dyn ErasedStore>,
    clock: Arc<dyn Clock>,
    tenant: TenantId,
    origins: Vec<Origin>,
    random: Mutex<fastrand::Rng>,
}

pub(super) struct Parts {
    pub(super) source: Box<dyn ErasedSource>,
    pub(super) store: Box<dyn ErasedStore>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) tenant: TenantId,
    pub(super) origins: Vec<Origin>,
    pub(super) random: fastrand::Rng,
}

/// What decides whether an exchange may begin. Locked for moments, never across an await.
#[derive(Default)]
pub(super) struct Slot {
    /// The exchange under way: while there is one, no other begins.
    pub(super) exchange: Option<Flight>,
    /// The look into the store under way, where an exchange may not be made; and when the last one ended.
    pub(super) look: Option<Flight>,
    pub(super) looked_at: Option<Instant>,
    pub(super) cooldown: Cooldown,
    /// When the last exchange began, and the last one that a 401 forced.
    pub(super) exchanged_at: Option<Instant>,
    pub(super) forced_at: Option<Instant>,
    /// Whether the grant was revoked by this process, but the store does not know it yet: nothing that comes from there, or
    /// from an exchange, brings it back.
    pub(super) is_revoked_here: bool,
    /// Tokens whose revocation the provider has not confirmed.
    pub(super) unconfirmed: Option<TokenSet>,
    keeper: Option<JoinHandle<()>>,
}

/// Which snapshots give way to a new one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Precedence {
    /// Those of an older generation.
    Newer,
    /// Also one of the same generation: the store's word counts for more than this process's.
    Stored,
}

impl Core {
    pub(super) fn new(parts: Parts) -> Self {
        Self {
            current: ArcSwap::from_pointee(Snapshot::EMPTY),
            slot: Mutex::default(),
            published: Arc::new(Notify::new()),
            source: parts.source,
            store: parts.store,
            clock: parts.clock,
            tenant: parts.tenant,
            origins: parts.origins,
            random: Mutex::new(parts.random),
        }
    }

    pub(super) fn fresh(&self) -> Option<BearerToken> {
        let snapshot = self.current.load();
        let (token, schedule) = snapshot.token()?;
        (self.clock.monotonic() < schedule.refresh_at).then(|| token.clone())
    }

    pub(super) fn acquire(self: &Arc<Self>) -> Acquired {
        let snapshot = self.current.load();
        let now = self.now();
        let Some(held) = snapshot.alive(now) else {
            return match self.attend(Cause::Due) {
                Attended::Done(result) => Acquired::Now(result),
                Attended::Joined(flight) => Acquired::Later(Box::pin(flight.landed())),
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
                    let landed = flight.landed().await;
                    // The held one, if it outlived the wait; or what another path has brought meanwhile.
                    landed.or_else(|error| core.snapshot().alive(core.now()).cloned().ok_or(error))
                }))
            }
        }
    }

    /// The held token, if it is alive and newer than `generation`.
    pub(super) fn newer_than(&self, generation: Generation) -> Option<BearerToken> {
        self.current
            .load()
            .answer(Cause::Rejected(generation), self.now())
            .cloned()
    }

    pub(super) fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.current.load()
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

    pub(super) fn origins(&self) -> &[Origin] {
        &self.origins
    }

    pub(super) fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// A random number from 0 to 1.
    pub(super) fn chance(&self) -> f64 {
        self.random
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .f64()
    }

    pub(super) async fn read(&self) -> Result<Option<Grant>, Error> {
        in_time(self.store.load(&self.tenant)).await
    }

    pub(super) async fn save(
        &self,
        expected: Option<Generation>,
        grant: &Grant,
    ) -> Result<SaveOutcome, Error> {
        in_time(self.store.save(&self.tenant, expected, grant)).await
    }

    /// Lets requests use what this process has brought about, unless something newer is there.
    pub(super) fn publish(self: &Arc<Self>, snapshot: Snapshot) {
        self.exchange_snapshot(snapshot, Precedence::Newer);
    }

    /// Takes over what the store holds, if that is news.
    pub(super) fn adopt(self: &Arc<Self>, stored: Option<&Grant>) {
        let Some(grant) = stored else { return };
        let snapshot =
            Snapshot::of_stored(grant.clone(), self.now(), self.clock.wall(), self.chance());
        self.exchange_snapshot(snapshot, Precedence::Stored);
    }

    /// Ends the grant for this process, and returns what was held.
    pub(super) fn end_here(&self) -> Arc<Snapshot> {
        let mut slot = self.lock();
        slot.is_revoked_here = true;
        let held = self.current.load_full();
        let since = self.clock.wall();
        let grant = Grant {
            generation: following(held.generation(), None),
            state: GrantState::Revoked { since },
        };
        self.current
            .store(Arc::new(Snapshot::of_stored(grant, self.now(), since, 0.0)));
        held
    }

    /// Begins anew, whatever was before: the store has a new consent.
    pub(super) fn begin_anew(self: &Arc<Self>, stored: &Grant) {
        let mut slot = self.lock();
        slot.is_revoked_here = false;
        slot.unconfirmed = None;
        // The failures were those of another grant.
        slot.cooldown.clear();
        slot.forced_at = None;
        drop(slot);
        self.adopt(Some(stored));
    }

    fn exchange_snapshot(self: &Arc<Self>, snapshot: Snapshot, precedence: Precedence) {
        let mut slot = self.lock();
        let current = self.current.load();
        let news = match (snapshot.grant(), current.grant()) {
            (Some(new), Some(_))
                if slot.is_revoked_here && !matches!(new.state, GrantState::Revoked { .. }) =>
            {
                false
            }
            (Some(new), Some(old)) => {
                new.generation > old.generation
                    || (precedence == Precedence::Stored
                        && new.generation == old.generation
                        && new != old)
            }
            (Some(_), None) => true,
            (None, _) => false,
        };
        if news {
            self.current.store(Arc::new(snapshot));
            self.keep(&mut slot);
        }
    }

    /// Brings the end of the held token in line with the wall clock.
    pub(super) fn correct(&self) {
        let slot = self.lock();
        let corrected = self.current.load().corrected(self.now(), self.clock.wall());
        let is_corrected = corrected.is_some();
        if let Some(corrected) = corrected {
            self.current.store(Arc::new(corrected));
        }
        drop(slot);
        if is_corrected {
            tracing::debug!(
                target: "tower_oauth2_client",
                "the wall clock is ahead of the monotonic one, as after a suspend: the token ends earlier"
            );
        }
    }

    /// Sees to it that a keeper runs: the last one may have ended with its runtime.
    fn keep(self: &Arc<Self>, slot: &mut Slot) {
        self.published.notify_one();
        if slot.keeper.as_ref().is_none_or(JoinHandle::is_finished) {
            slot.keeper = keeper::begin(self);
        }
    }

    /// How much depends on an exchange at this moment.
    pub(super) fn urgency(&self, cause: Cause, now: Instant) -> Urgency {
        match cause {
            Cause::Ahead => Urgency::Advisory,
            Cause::Due if self.current.load().alive(now).is_some() => Urgency::Mandatory,
            Cause::Due | Cause::Rejected(_) => Urgency::Blocking,
            Cause::Asked(_) => Urgency::Asked,
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
    within(STORE_DEADLINE, call, ErrorKind::Store, late).await
}

/// What comes of a call, or an error if that takes too long.
pub(super) async fn within<T>(
    deadline: Duration,
    call: impl Future<Output = Result<T, Error>>,
    kind: ErrorKind,
    late: &'static str,
) -> Result<T, Error> {
    tokio::time::timeout(deadline, call)
        .await
        .unwrap_or_else(|_| Err(Error::new(kind, late)))
}
