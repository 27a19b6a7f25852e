//! The part of a cache that all its handles and tasks share.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::Notify;

use super::{
    Acquired, BearerToken,
    admission::{Admission, Reason},
    backoff::Urgency,
    cache_state::CacheState,
    settings::{Maintenance, Settings, in_time},
    snapshot::{ADVISORY_REQUEST_INTERVAL, Moment, Snapshot},
};
use crate::{
    clock::Clock,
    error::Error,
    oauth::{EndpointGate, GateKey},
    origin::Origin,
    store::{LeaseOutcome, LeaseOwner, SaveOutcome},
    telemetry::GrantTelemetry,
    token::{Generation, Grant, TenantId},
};

pub(super) struct Core {
    /// The snapshot that requests read. It is replaced only under the lock of `state`.
    current: ArcSwap<Snapshot>,
    /// Counts the replacements of `current`. A [`TokenCopy`] of another version is outdated.
    version: AtomicU64,
    state: Mutex<CacheState>,
    /// Wakes the worker when the snapshot has changed. `None` if one task maintains many caches.
    pub(super) published: Option<Arc<Notify>>,
    /// Makes commands run one after another.
    pub(super) command_lock: tokio::sync::Mutex<()>,
    /// Makes lease operations run one after another.
    pub(super) lease_lock: tokio::sync::Mutex<()>,
    /// Wakes a shutdown when the last work has ended.
    pub(super) idle: Notify,
    pub(super) settings: Arc<Settings>,
    pub(super) telemetry: GrantTelemetry,
    /// Identifies this cache as the owner of its leases.
    owner: LeaseOwner,
    key: GateKey,
}

/// A private copy of the token, which one service clone keeps.
pub(crate) struct TokenCopy {
    version: u64,
    /// Until when the copy can be used without reading the snapshot.
    until: Instant,
    token: BearerToken,
}

impl Core {
    pub(super) fn new(settings: Arc<Settings>, tenant: TenantId) -> Self {
        Self {
            current: ArcSwap::from_pointee(Snapshot::EMPTY),
            version: AtomicU64::new(0),
            state: Mutex::default(),
            published: (settings.maintenance == Maintenance::Own).then(Arc::default),
            command_lock: tokio::sync::Mutex::default(),
            lease_lock: tokio::sync::Mutex::default(),
            idle: Notify::new(),
            telemetry: settings.telemetry(tenant),
            settings,
            owner: LeaseOwner::random(),
            key: GateKey::random(),
        }
    }

    pub(super) fn fresh(&self) -> Option<BearerToken> {
        let snapshot = self.current.load();
        let (token, schedule) = snapshot.token()?;
        (self.settings.clock.monotonic() < schedule.refresh_at).then(|| {
            snapshot.mark_used();
            token.clone()
        })
    }

    /// The held token while it is fresh. Updates the caller's copy if it is outdated.
    #[inline]
    pub(super) fn fresh_by(self: &Arc<Self>, copy: &mut Option<TokenCopy>) -> Option<BearerToken> {
        let version = self.version.load(Ordering::Acquire);
        if copy.as_ref().is_none_or(|copy| copy.version != version) {
            *copy = self.copy(version);
        }
        let copy = copy.as_mut()?;
        let now = self.settings.clock.monotonic();
        (now < copy.until || self.extend_copy(copy, now)).then(|| copy.token.clone())
    }

    /// In its advisory window, a token keeps serving once its refresh has been requested.
    #[cold]
    fn extend_copy(self: &Arc<Self>, copy: &mut TokenCopy, now: Instant) -> bool {
        let snapshot = self.current.load();
        let Some((token, schedule)) = snapshot.token() else {
            return false;
        };
        if token.generation() != copy.token.generation() || now >= schedule.mandatory_at {
            return false;
        }
        self.request_advisory(&snapshot, now);
        copy.until = schedule.mandatory_at.min(now + ADVISORY_REQUEST_INTERVAL);
        true
    }

    /// The request uses the held token, whatever the result.
    fn request_advisory(self: &Arc<Self>, snapshot: &Snapshot, now: Instant) {
        snapshot.mark_used();
        if snapshot.claim_advisory_request(now) {
            let _ = self.request_refresh(Reason::Advisory);
        }
    }

    #[cold]
    fn copy(&self, version: u64) -> Option<TokenCopy> {
        // This snapshot is at least as new as `version`, which was read earlier.
        let snapshot = self.current.load();
        let (token, schedule) = snapshot.token()?;
        let copy = TokenCopy {
            version,
            until: schedule.refresh_at,
            token: token.detached_copy(),
        };
        if self.now() < copy.until {
            snapshot.mark_used();
        }
        Some(copy)
    }

    pub(super) fn acquire(self: &Arc<Self>) -> Acquired {
        let snapshot = self.current.load();
        snapshot.mark_used();
        let now = self.now();
        let Some(held) = snapshot.alive(now) else {
            return match self.request_refresh(Reason::Mandatory) {
                Admission::Done(result) => Acquired::Now(result),
                Admission::Joined(flight) => {
                    let core = Arc::clone(self);
                    Acquired::Later(Box::pin(async move {
                        let outcome = core.outcome_of(flight, Reason::Mandatory).await;
                        core.current.load().mark_used();
                        outcome
                    }))
                }
            };
        };
        if snapshot.token_for(Reason::Advisory, now).is_some() {
            return Acquired::Now(Ok(held.clone()));
        }
        let held = held.clone();
        if snapshot.token_for(Reason::Mandatory, now).is_some() {
            self.request_advisory(&snapshot, now);
            return Acquired::Now(Ok(held));
        }
        match self.request_refresh(Reason::Mandatory) {
            Admission::Done(result) => Acquired::Now(Ok(result.unwrap_or(held))),
            Admission::Joined(flight) => {
                let core = Arc::clone(self);
                Acquired::Later(Box::pin(async move {
                    let outcome = core.outcome_of(flight, Reason::Mandatory).await;
                    let snapshot = core.current.load();
                    snapshot.mark_used();
                    // The held token may have outlived the wait, or another path may have brought a
                    // newer one.
                    outcome.or_else(|error| snapshot.alive(core.now()).cloned().ok_or(error))
                }))
            }
        }
    }

    /// The held token, if it is valid and newer than `generation`.
    pub(super) fn newer_than(&self, generation: Generation) -> Option<BearerToken> {
        let snapshot = self.current.load();
        let newer = snapshot.token_for(Reason::Rejected(generation), self.now())?;
        snapshot.mark_used();
        Some(newer.clone())
    }

    pub(super) fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// The caller must hold the lock of `state`.
    pub(super) fn put(&self, snapshot: Snapshot) {
        self.current.store(Arc::new(snapshot));
        self.version.fetch_add(1, Ordering::Release);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, CacheState> {
        // A panic leaves the state consistent, because each change is one assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Instant {
        self.settings.clock.monotonic()
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.settings.clock
    }

    /// The current time, with what is needed to compute a schedule from it.
    pub(super) fn moment(&self) -> Moment {
        Moment {
            now: self.settings.clock.monotonic(),
            wall: self.settings.clock.wall(),
            jitter: self.jitter(),
            refresh_token_lifetime: self.settings.refresh_token_lifetime,
        }
    }

    pub(super) fn origins(&self) -> &[Origin] {
        &self.settings.origins
    }

    /// How this cache identifies itself to the source's gate.
    pub(super) fn gate_key(&self) -> GateKey {
        let snapshot = self.current.load();
        let is_overdue = snapshot.tokens().is_some() && snapshot.alive(self.now()).is_none();
        self.key.overdue(is_overdue)
    }

    /// The epoch of the client secret, from the source's gate. Constant without a gate.
    pub(super) fn secret_epoch(&self) -> u64 {
        self.settings.source.gate().map_or(0, EndpointGate::epoch)
    }

    pub(super) fn tenant(&self) -> &TenantId {
        self.telemetry.tenant()
    }

    /// A random number from 0 to 1.
    pub(super) fn jitter(&self) -> f64 {
        self.settings.jitter()
    }

    pub(super) async fn read(&self) -> Result<Option<Grant>, Error> {
        self.settings.read(self.tenant()).await
    }

    pub(super) async fn save(
        &self,
        expected: Option<Generation>,
        grant: &Grant,
    ) -> Result<SaveOutcome, Error> {
        in_time(self.settings.store.save(self.tenant(), expected, grant)).await
    }

    pub(super) async fn acquire_lease(&self) -> Result<LeaseOutcome, Error> {
        in_time(
            self.settings
                .store
                .acquire(self.tenant(), &self.owner, self.settings.lease),
        )
        .await
    }

    pub(super) async fn release_lease(&self) -> Result<(), Error> {
        in_time(self.settings.store.release(self.tenant(), &self.owner)).await
    }

    /// Completes when the store may hold a newer grant. May never complete.
    pub(super) async fn store_changed(&self) {
        self.settings.store.changed(self.tenant()).await;
    }

    /// Whether the held token is valid and already due for a refresh.
    pub(super) fn is_due_again(&self, now: Instant) -> bool {
        let snapshot = self.current.load();
        snapshot.alive(now).is_some() && snapshot.token_for(Reason::Advisory, now).is_none()
    }

    /// How much depends on a refresh now.
    pub(super) fn urgency(&self, reason: Reason, now: Instant) -> Urgency {
        match reason {
            Reason::Advisory | Reason::KeepAlive(_) | Reason::LostResponse(_) => Urgency::Advisory,
            Reason::Mandatory if self.current.load().alive(now).is_some() => Urgency::Mandatory,
            Reason::Mandatory | Reason::Rejected(_) => Urgency::Blocking,
            Reason::Manual(_) => Urgency::Manual,
        }
    }

    /// The reason, as telemetry reports it.
    pub(super) fn label(&self, reason: Reason, now: Instant) -> &'static str {
        match reason {
            Reason::Advisory => "advisory",
            Reason::Mandatory if self.current.load().alive(now).is_some() => "mandatory",
            Reason::Mandatory => "expired",
            Reason::Rejected(_) => "rejected",
            Reason::Manual(_) => "manual",
            Reason::KeepAlive(_) => "keep_alive",
            Reason::LostResponse(_) => "lost_response",
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        if let Some(worker) = self.lock().worker.take() {
            worker.abort();
        }
    }
}
