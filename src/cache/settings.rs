//! The settings that all caches from one builder share.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{LostResponse, source::ErasedSource};
use crate::{
    clock::Clock,
    error::{Error, ErrorKind},
    origin::Origin,
    store::ErasedStore,
    telemetry::{GrantTelemetry, TelemetrySettings},
    token::{Grant, TenantId},
};

/// For each call of a store.
const STORE_DEADLINE: Duration = Duration::from_secs(10);

/// Checked settings. Shared, so that many idle grants need little memory.
pub(crate) struct Settings {
    pub(super) source: Box<dyn ErasedSource>,
    pub(crate) store: Box<dyn ErasedStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) origins: Vec<Origin>,
    pub(super) lost_response: LostResponse,
    pub(super) min_refresh_interval: Duration,
    pub(super) lease: Duration,
    pub(crate) refresh_token_lifetime: Option<Duration>,
    pub(super) random: Mutex<fastrand::Rng>,
    pub(super) telemetry: Arc<TelemetrySettings>,
    pub(super) maintenance: Maintenance,
}

/// Which task maintains a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Maintenance {
    /// A worker of its own.
    Own,
    /// One task that maintains many caches.
    Shared,
}

impl Settings {
    pub(super) fn telemetry(&self, tenant: TenantId) -> GrantTelemetry {
        GrantTelemetry::new(tenant, Arc::clone(&self.telemetry))
    }

    /// A random number from 0 to 1.
    pub(super) fn jitter(&self) -> f64 {
        self.random
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .f64()
    }

    /// Loads a tenant's grant.
    pub(crate) async fn read(&self, tenant: &TenantId) -> Result<Option<Grant>, Error> {
        in_time(self.store.load(tenant)).await
    }
}

/// Limits a call of a store to 10 seconds.
pub(crate) async fn in_time<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late = "the token store did not respond within 10 seconds; check that it is reachable";
    within(STORE_DEADLINE, call, || Error::new(ErrorKind::Store, late)).await
}

/// Limits a call to `deadline`, after which it fails with the error that `late` returns.
pub(super) async fn within<T>(
    deadline: Duration,
    call: impl Future<Output = Result<T, Error>>,
    late: impl FnOnce() -> Error,
) -> Result<T, Error> {
    tokio::time::timeout(deadline, call)
        .await
        .unwrap_or_else(|_| Err(late()))
}
