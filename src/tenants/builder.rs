//! Builds [`Tenants`].

use std::{
    fmt,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use tokio::runtime::Handle;

use super::{
    background, handle::Tenants, loads::Loads, maintenance::Maintenance,
    resident_caches::ResidentCaches, state::TenantsState,
};
use crate::{
    cache::{SettingsBuilder, TokenSource, settings_setters},
    error::Error,
    store::LeaseOwner,
};

const CAPACITY: usize = 100_000;
const IDLE_AFTER: Duration = Duration::from_secs(3_600);

const SWEEP_INTERVAL: Duration = Duration::from_secs(3_600);
const SHORTEST_SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// With a longer interval, refresh tokens would expire between two sweeps.
const LONGEST_SWEEP_INTERVAL: Duration = Duration::from_secs(86_400);

/// Builds [`Tenants`].
#[must_use = "a builder does nothing until it is built"]
pub struct TenantsBuilder {
    settings: SettingsBuilder,
    capacity: usize,
    idle_after: Duration,
    sweep_interval: Duration,
}

impl Tenants {
    /// Returns a builder of a `Tenants` that gets its tokens from a source, such as an
    /// [`OAuthClient`](crate::oauth::OAuthClient).
    pub fn builder(source: impl TokenSource) -> TenantsBuilder {
        TenantsBuilder {
            settings: SettingsBuilder::new(source),
            capacity: CAPACITY,
            idle_after: IDLE_AFTER,
            sweep_interval: SWEEP_INTERVAL,
        }
    }
}

impl TenantsBuilder {
    settings_setters!();

    /// Sets the maximum number of resident tenants. At that limit, a load evicts a tenant that is
    /// not [in use](crate::tenants#resident-tenants). If the load finds none, it fails. The tokens
    /// of a new consent do not fail: they exceed the limit until a tenant can be evicted.
    ///
    /// Defaults to 100,000 tenants, at about a kilobyte each.
    pub fn capacity(mut self, tenants: usize) -> Self {
        self.capacity = tenants;
        self
    }

    /// Sets how long a tenant stays resident without a request. Defaults to 1 hour.
    pub fn idle_after(mut self, idle: Duration) -> Self {
        self.idle_after = idle;
        self
    }

    /// Sets the time from the end of a sweep to the start of the next one. Defaults to 1 hour.
    ///
    /// A sweep refreshes [idle grants](crate::tenants#idle-tenants) before their refresh tokens
    /// expire.
    pub fn sweep_interval(mut self, interval: Duration) -> Self {
        self.sweep_interval = interval;
        self
    }

    /// Builds the [`Tenants`].
    ///
    /// Inside a tokio runtime with time enabled, the background tasks start at once. Outside of a
    /// runtime they start when the first tenant is loaded.
    ///
    /// # Errors
    ///
    /// [`Configuration`](crate::ErrorKind::Configuration), naming the setting: a source that
    /// [serves one subject](TokenSource::serves_one_subject), an invalid origin or none at all, a
    /// refresh token lifetime of less than 1 hour, a capacity of 0, or a lease duration, acquire
    /// timeout, min refresh interval or sweep interval outside its limits.
    pub fn build(self) -> Result<Tenants, Error> {
        if self.capacity == 0 {
            return Err(Error::configuration("capacity: must be at least 1"));
        }
        if !(SHORTEST_SWEEP_INTERVAL..=LONGEST_SWEEP_INTERVAL).contains(&self.sweep_interval) {
            return Err(Error::configuration(
                "sweep interval: must be between 1 minute and 1 day",
            ));
        }
        let settings = self.settings.build_shared()?;
        let state = Arc::new_cyclic(|state| {
            let state = Weak::clone(state);
            let start = Box::new(move |runtime: &Handle| background::start(&state, runtime));
            TenantsState {
                settings,
                residents: ResidentCaches::new(self.capacity, self.idle_after),
                loads: Loads::default(),
                consents: Arc::default(),
                sweep_interval: self.sweep_interval,
                sweep_owner: LeaseOwner::random(),
                sweep_lock: Arc::default(),
                sweep_failures: Mutex::default(),
                last_sweep: Mutex::default(),
                maintenance: Mutex::new(Maintenance::new(start)),
                probe: Mutex::default(),
            }
        });
        if state.settings.runtime().is_some() {
            state.ensure_running()?;
        }
        Ok(Tenants::new(state))
    }
}

impl fmt::Debug for TenantsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantsBuilder")
            .field("settings", &self.settings)
            .field("capacity", &self.capacity)
            .field("idle_after", &self.idle_after)
            .field("sweep_interval", &self.sweep_interval)
            .finish()
    }
}
