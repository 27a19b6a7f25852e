//! The settings that all caches from one builder share.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::{
    runtime::Handle,
    sync::Semaphore,
    time::{Instant, Sleep, Timeout, sleep_until, timeout},
};

use super::{
    deadline::within,
    delivery::DeliveryRules,
    grant_store::GrantStore,
    presence::Presence,
    propagation::SharedPropagation,
    source::ErasedSource,
    state::{Policy, RefreshTokenExpiry},
};
use crate::{
    clock::Clock,
    error::{Error, ErrorKind},
    oauth::{EndpointGate, sending_until},
    origin::Origin,
    rejection::TokenRejection,
    store::{LeaseOutcome, LeaseOwner, SaveOutcome},
    telemetry::{GrantTelemetry, StoreTelemetry, TelemetrySettings},
    token::{Generation, Grant, History, TenantId, TokenSet},
};

/// For the revocation of both tokens at the provider.
const REVOCATION_DEADLINE: Duration = Duration::from_secs(30);

/// Checked settings. Shared, so that many idle grants need little memory.
pub(crate) struct Settings {
    pub(super) source: Box<dyn ErasedSource>,
    pub(crate) store: GrantStore,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) origins: Vec<Origin>,
    pub(crate) token_rejections: Vec<TokenRejection>,
    pub(crate) policy: Policy,
    pub(crate) delivery: DeliveryRules,
    /// How long a caller waits for a token.
    pub(crate) acquire_timeout: Duration,
    pub(super) random: Mutex<fastrand::Rng>,
    pub(super) telemetry: Arc<TelemetrySettings>,
    pub(crate) store_telemetry: StoreTelemetry,
    /// The name of this process in the records of grants.
    pub(super) replica: Arc<str>,
    pub(super) maintenance: Maintenance,
    /// The runtime for all tasks. `None` for the one that a task is started in.
    pub(super) own_runtime: Option<Handle>,
    pub(crate) presence: Presence,
    pub(super) propagation: SharedPropagation,
    /// Bounds how many caches load at once what the store has announced.
    pub(super) looks: Semaphore,
}

/// Which task maintains a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Maintenance {
    /// A worker of its own.
    Own,
    /// One task that maintains many caches.
    Shared,
}

/// Until when a grant that is not resident can be refreshed.
pub(crate) struct Keepalive {
    pub(crate) expires_at: SystemTime,
    /// Whether the grant must be refreshed now.
    pub(crate) is_due: bool,
    /// Whether little of that time is left.
    pub(crate) is_expiring: bool,
}

impl Settings {
    /// The limiter and circuit breaker of the token endpoint, if the source has one.
    pub(crate) fn gate(&self) -> Option<&EndpointGate> {
        self.source.gate()
    }

    pub(super) fn telemetry(&self, tenant: TenantId) -> GrantTelemetry {
        GrantTelemetry::new(tenant, Arc::clone(&self.telemetry))
    }

    /// The runtime for a new task. `None` outside of a runtime, unless one is configured.
    pub(crate) fn runtime(&self) -> Option<Handle> {
        self.own_runtime
            .clone()
            .or_else(|| Handle::try_current().ok())
    }

    /// The runtime for a task that no caller waits for: one that has shown that it keeps running.
    pub(super) fn background_runtime(&self) -> Option<Handle> {
        self.presence.runtime().or_else(|| self.runtime())
    }

    /// A random number from 0 to 1.
    pub(super) fn jitter(&self) -> f64 {
        self.random
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .f64()
    }

    /// When a grant that is not resident must be kept alive. `None` if that is unknown, or if the
    /// grant has ended.
    pub(crate) fn keepalive(&self, tenant: &TenantId, grant: &Grant) -> Option<Keepalive> {
        let (now, wall) = (self.clock.monotonic(), self.clock.wall());
        let expiry = RefreshTokenExpiry::of_stored(tenant, grant, &self.policy, (now, wall))?;
        Some(Keepalive {
            expires_at: expiry.expires_at,
            is_due: expiry.is_due(now, wall),
            is_expiring: expiry.is_expiring(wall),
        })
    }
}

/// Operations on the store and the source, each with a deadline.
impl Settings {
    /// Loads a grant without its record, which decides nothing.
    pub(crate) async fn load(&self, tenant: &TenantId) -> Result<Option<Grant>, Error> {
        let loaded = self.load_recorded(tenant).await?;
        Ok(loaded.map(|grant| grant.with_history(History::default())))
    }

    /// Loads a grant with its record.
    pub(crate) async fn load_recorded(&self, tenant: &TenantId) -> Result<Option<Grant>, Error> {
        let loaded = self.store.load(tenant).await;
        let now = self.clock.monotonic();
        self.store_telemetry.loaded(tenant, &loaded, now);
        loaded
    }

    /// As [`load`](Self::load), for a sweep.
    pub(crate) async fn load_for_sweep(&self, tenant: &TenantId) -> Result<Option<Grant>, Error> {
        let loaded = self.store.load(tenant).await;
        let now = self.clock.monotonic();
        self.store_telemetry.swept(tenant, &loaded, now);
        Ok(loaded?.map(|grant| grant.with_history(History::default())))
    }

    /// Reports the result of a save or of a lease.
    pub(super) fn written<T>(&self, tenant: Option<&TenantId>, result: &Result<T, Error>) {
        let now = self.clock.monotonic();
        self.store_telemetry.written(tenant, result, now);
    }

    /// Reports the result of a save whose failure has an event of its own.
    pub(super) fn saved<T>(&self, result: &Result<T, Error>) {
        self.store_telemetry.saved(result, self.clock.monotonic());
    }

    pub(super) async fn save(
        &self,
        tenant: &TenantId,
        expected: Option<Generation>,
        grant: Grant,
    ) -> Result<SaveOutcome, Error> {
        self.store.save(tenant, expected, grant).await
    }

    pub(super) async fn acquire_lease(
        &self,
        tenant: &TenantId,
        owner: &LeaseOwner,
    ) -> Result<LeaseOutcome, Error> {
        self.store.acquire(tenant, owner, self.policy.lease).await
    }

    pub(super) async fn release_lease(
        &self,
        tenant: &TenantId,
        owner: &LeaseOwner,
    ) -> Result<(), Error> {
        self.store.release(tenant, owner).await
    }

    /// Requests a token set, by a request that is sent until this wall time, if there is one.
    pub(super) async fn fetch(
        &self,
        held: Option<&TokenSet>,
        until: Option<SystemTime>,
    ) -> Result<TokenSet, Error> {
        let deadline = self.policy.fetch_timeout;
        let call = sending_until(until, &self.clock, self.source.fetch(held));
        within(deadline, call, || {
            let late = format!(
                "the token source did not respond within {} seconds",
                deadline.as_secs()
            );
            Error::new(ErrorKind::Unavailable, late).with_response_lost()
        })
        .await
        .map_err(|error| {
            // Only an `OAuthClient` says by a `NoGrant` that its own refresh token is missing.
            let is_of_other_grant = error.is_consent_required()
                && !(error.kind() == ErrorKind::NoGrant && error.is_token_unused());
            let error = if is_of_other_grant {
                error.with_other_grant()
            } else {
                error
            };
            let has_sent = held.and_then(TokenSet::refresh_token).is_some();
            let is_proof = error.is_token_unused()
                || error.is_invalid_grant()
                || error.refresh_token().is_some();
            if has_sent && !is_proof {
                // An error that proves nothing counts as a lost response.
                return error.with_response_lost();
            }
            error
        })
    }

    pub(super) async fn revoke(&self, tokens: &TokenSet) -> Result<(), Error> {
        within(REVOCATION_DEADLINE, self.source.revoke(tokens), || {
            let late = "the provider did not confirm the revocation within 30 seconds";
            Error::new(ErrorKind::Unavailable, late)
        })
        .await
    }
}

/// The deadline of a waiter, by a timer of its own runtime.
///
/// The errors are [`Interrupted`](ErrorKind::Interrupted) outside of a runtime, unless one is
/// configured.
impl Settings {
    /// Limits `work` to `time`.
    ///
    /// Not an async function, which would contain `work` twice.
    pub(crate) fn limited<F: Future>(&self, time: Duration, work: F) -> Result<Timeout<F>, Error> {
        self.with_timers(|| timeout(time, work))
    }

    /// A timer that fires at a time.
    pub(super) fn timer(&self, at: Instant) -> Result<Sleep, Error> {
        self.with_timers(|| sleep_until(at))
    }

    fn with_timers<T>(&self, timer: impl FnOnce() -> T) -> Result<T, Error> {
        if Handle::try_current().is_ok() {
            return Ok(timer());
        }
        let runtime = self.runtime().ok_or_else(Error::outside_of_a_runtime)?;
        let _entered = runtime.enter();
        Ok(timer())
    }
}
