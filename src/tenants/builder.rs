//! Settings of [`Tenants`], checked when it is built.

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::runtime::Handle;

use super::{Shared, Tenants, loads::Loads, residents::Residents, rounds::Attendant};
use crate::{cache::TokenCacheBuilder, error::Error, store::LeaseOwner};

const CAPACITY: usize = 100_000;
const IDLE_AFTER: Duration = Duration::from_secs(3_600);

const SWEEP_EVERY: Duration = Duration::from_secs(3_600);
/// One that comes too seldom lets refresh tokens run out.
const SELDOMEST: Duration = Duration::from_secs(86_400);
const MOST_OFTEN: Duration = Duration::from_secs(60);

/// Builds [`Tenants`].
#[must_use = "a builder does nothing before it is built"]
pub struct TenantsBuilder {
    caches: TokenCacheBuilder,
    capacity: usize,
    idle_after: Duration,
    sweep_every: Duration,
}

impl TenantsBuilder {
    pub(super) fn new(caches: TokenCacheBuilder) -> Self {
        Self {
            caches,
            capacity: CAPACITY,
            idle_after: IDLE_AFTER,
            sweep_every: SWEEP_EVERY,
        }
    }

    /// Sets how many tenants are held in memory at most. One more makes another one go that is not in use; if all are, it is
    /// refused. Defaults to 100,000, at about a kilobyte each.
    pub fn capacity(mut self, tenants: usize) -> Self {
        self.capacity = tenants;
        self
    }

    /// Sets after what time a tenant is let go that nobody asks for. Defaults to an hour.
    pub fn idle_after(mut self, idle: Duration) -> Self {
        self.idle_after = idle;
        self
    }

    /// Sets how often all tenants in the store are looked through, to keep those alive who are idle. Defaults to an hour.
    pub fn sweep_every(mut self, pause: Duration) -> Self {
        self.sweep_every = pause;
        self
    }

    /// Builds it. Inside a tokio runtime, which has to have time enabled, the background tasks begin at once; elsewhere that
    /// waits until a tenant is first asked for.
    ///
    /// # Errors
    ///
    /// [`Configuration`](crate::ErrorKind::Configuration), by name: whatever
    /// [`TokenCacheBuilder::build`] refuses, a tenant that the caches were given, a capacity of 0, or sweeps less than a
    /// minute or more than a day apart.
    pub fn build(self) -> Result<Tenants, Error> {
        if self.capacity == 0 {
            return Err(Error::configuration("capacity: it is 0"));
        }
        if !(MOST_OFTEN..=SELDOMEST).contains(&self.sweep_every) {
            return Err(Error::configuration(
                "sweep interval: it is not between a minute and a day",
            ));
        }
        let shared = Arc::new(Shared {
            settings: self.caches.build_many()?,
            residents: Residents::new(self.capacity, self.idle_after),
            loads: Loads::default(),
            sweep_every: self.sweep_every,
            owner: LeaseOwner::random(),
            sweeping: Arc::default(),
            last_sweep: Mutex::default(),
            attendant: Mutex::new(Attendant::default()),
        });
        if Handle::try_current().is_ok() {
            shared.attendant().attend(&shared)?;
        }
        Ok(Tenants { shared })
    }
}

impl fmt::Debug for TenantsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantsBuilder")
            .field("caches", &self.caches)
            .field("capacity", &self.capacity)
            .field("idle_after", &self.idle_after)
            .field("sweep_every", &self.sweep_every)
            .finish()
    }
}
