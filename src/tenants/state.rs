//! The state that all handles of [`Tenants`](super::Tenants) and the background tasks share.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    consents::Consents,
    health::Probe,
    loads::Loads,
    maintenance::Maintenance,
    resident_caches::{ResidentCaches, Room},
    sweep_failures::SweepFailures,
    sweep_report::SweepReport,
};
use crate::{
    cache::{Settings, TokenCache},
    error::Error,
    store::LeaseOwner,
    token::{Grant, TenantId},
};

pub(super) struct TenantsState {
    pub(super) settings: Arc<Settings>,
    pub(super) residents: ResidentCaches,
    pub(super) loads: Loads,
    pub(super) consents: Arc<Consents>,
    pub(super) sweep_interval: Duration,
    /// The owner of the lease that permits a sweep.
    pub(super) sweep_owner: LeaseOwner,
    /// Held during a sweep: this process makes one at a time.
    pub(super) sweep_lock: Arc<tokio::sync::Mutex<()>>,
    pub(super) sweep_failures: Mutex<SweepFailures>,
    pub(super) last_sweep: Mutex<Option<Arc<SweepReport>>>,
    pub(super) maintenance: Mutex<Maintenance>,
    pub(super) probe: Mutex<Probe>,
}

impl TenantsState {
    pub(super) fn maintenance(&self) -> MutexGuard<'_, Maintenance> {
        // Each change is one assignment.
        self.maintenance
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn sweep_failures(&self) -> MutexGuard<'_, SweepFailures> {
        // A panic while this is locked leaves a valid value.
        self.sweep_failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn probe(&self) -> MutexGuard<'_, Probe> {
        // Each change is one assignment.
        self.probe.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the background tasks unless they are running.
    ///
    /// # Errors
    ///
    /// [`Interrupted`](crate::ErrorKind::Interrupted) after a shutdown, or outside of a runtime.
    pub(super) fn ensure_running(&self) -> Result<(), Error> {
        self.maintenance().ensure_running(self.settings.runtime())
    }

    /// The resident cache of a tenant. If there is none, a new cache becomes resident, with the
    /// grant that was loaded from the store a moment ago.
    pub(super) fn resident_or_new(
        &self,
        tenant: &TenantId,
        stored: Option<&Grant>,
    ) -> Result<TokenCache, Error> {
        self.resident_with(tenant, stored, Room::Evict)
    }

    /// The resident cache of a tenant that is to get the tokens of a new consent. Call
    /// [`after_consent`](Self::after_consent) afterwards.
    pub(super) fn resident_for_consent(&self, tenant: &TenantId) -> Result<TokenCache, Error> {
        self.resident_with(tenant, None, Room::Exceed)
    }

    fn resident_with(
        &self,
        tenant: &TenantId,
        stored: Option<&Grant>,
        room: Room,
    ) -> Result<TokenCache, Error> {
        // Locked until the cache is resident, so that a shutdown in between cannot miss it.
        let mut maintenance = self.maintenance();
        maintenance.ensure_running(self.settings.runtime())?;
        let now = self.settings.clock.monotonic();
        let new_cache = || TokenCache::begin(Arc::clone(&self.settings), tenant.clone(), stored);
        self.residents.get_or_insert(tenant, new_cache, room, now)
    }

    /// Updates the in-memory state after the tokens of a new consent were saved, or not.
    pub(super) fn after_consent(
        &self,
        tenant: &TenantId,
        saved: Result<(), Error>,
    ) -> Result<(), Error> {
        if saved.is_ok() {
            self.loads.forget(tenant);
            self.residents.shrink(self.settings.clock.monotonic());
        } else {
            self.residents.evict_if_empty(tenant);
        }
        saved
    }
}
