//! Grants that end with the process.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::{LeaseOutcome, LeaseOwner, SaveOutcome, TokenStore};
use crate::{
    error::Error,
    token::{Generation, Grant, TenantId},
};

/// A store in memory. Clones share what they hold, so that several caches can stand for several replicas in a test.
///
/// ```
/// use tower_oauth2_client::{store::{MemoryStore, TokenStore}, token::TenantId};
///
/// # tokio_test::block_on(async {
/// let store = MemoryStore::new();
/// assert_eq!(store.load(&TenantId::new("acme")?).await?, None);
/// # Ok::<(), tower_oauth2_client::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Default)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    tables: Mutex<Tables>,
    changed: Notify,
}

#[derive(Default)]
struct Tables {
    grants: HashMap<TenantId, Grant>,
    leases: HashMap<TenantId, (LeaseOwner, Instant)>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // Each change is one insertion or removal, so a panic elsewhere leaves nothing half done.
        let tables = self.shared.tables.lock();
        tables.unwrap_or_else(PoisonError::into_inner)
    }
}

impl TokenStore for MemoryStore {
    async fn load(&self, tenant: &TenantId) -> Result<Option<Grant>, Error> {
        Ok(self.tables().grants.get(tenant).cloned())
    }

    async fn save(
        &self,
        tenant: &TenantId,
        expected: Option<Generation>,
        grant: &Grant,
    ) -> Result<SaveOutcome, Error> {
        let mut tables = self.tables();
        let held = tables.grants.get(tenant);
        if held.map(|held| held.generation) != expected {
            return Ok(SaveOutcome::Superseded(held.cloned()));
        }
        tables.grants.insert(tenant.clone(), grant.clone());
        drop(tables);
        self.shared.changed.notify_waiters();
        Ok(SaveOutcome::Committed)
    }

    async fn acquire(
        &self,
        tenant: &TenantId,
        owner: &LeaseOwner,
        duration: Duration,
    ) -> Result<LeaseOutcome, Error> {
        let now = Instant::now();
        let mut tables = self.tables();
        if let Some((holder, until)) = tables.leases.get(tenant)
            && holder != owner
            && now < *until
        {
            return Ok(LeaseOutcome::HeldByAnother);
        }
        let lease = (owner.clone(), now + duration);
        tables.leases.insert(tenant.clone(), lease);
        Ok(LeaseOutcome::Acquired)
    }

    async fn release(&self, tenant: &TenantId, owner: &LeaseOwner) -> Result<(), Error> {
        let mut tables = self.tables();
        if tables
            .leases
            .get(tenant)
            .is_some_and(|(holder, _)| holder == owner)
        {
            tables.leases.remove(tenant);
        }
        drop(tables);
        self.shared.changed.notify_waiters();
        Ok(())
    }

    async fn changed(&self, _: &TenantId) {
        self.shared.changed.notified().await;
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}
