//! Grants in memory.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::{
    announcer::{Announcer, Subscription},
    lease::{LeaseOutcome, LeaseOwner},
    token_store::{SaveOutcome, TokenStore},
};
use crate::{
    error::Error,
    later::Later,
    token::{Generation, Grant, TenantId},
};

/// A store in memory, for tests and for token sources that need no consent.
///
/// Grants are lost when the process ends, and with them the customers' consents. Clones share their
/// contents, so that several caches in a test can act as several replicas. No call fails.
/// [`tenants`](TokenStore::tenants) orders names by their bytes.
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
    shared: Arc<Contents>,
}

#[derive(Default)]
struct Contents {
    tables: Mutex<Tables>,
    changed: Notify,
    announcer: Announcer,
}

#[derive(Default)]
struct Tables {
    grants: BTreeMap<TenantId, Grant>,
    leases: HashMap<TenantId, (LeaseOwner, Instant)>,
}

impl MemoryStore {
    /// Creates an empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // Each change is one insertion or removal, so a poisoned lock hides no partial change.
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
        let stored = tables.grants.get(tenant);
        if stored.map(|stored| stored.generation) != expected {
            return Ok(SaveOutcome::Superseded(stored.cloned()));
        }
        tables.grants.insert(tenant.clone(), grant.clone());
        drop(tables);
        self.shared.changed.notify_waiters();
        self.shared.announcer.saved(tenant, grant.generation);
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
        let lease = (owner.clone(), now.later(duration));
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

    fn subscribe(&self) -> Option<Subscription> {
        Some(self.shared.announcer.subscribe())
    }

    async fn tenants(
        &self,
        after: Option<&TenantId>,
        limit: usize,
    ) -> Result<Vec<TenantId>, Error> {
        let tables = self.tables();
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let tenants = tables
            .grants
            .range::<TenantId, _>((start, Bound::Unbounded));
        Ok(tenants
            .take(limit)
            .map(|(tenant, _)| tenant.clone())
            .collect())
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::token::GrantState;

    #[tokio::test]
    async fn pages_order_names_by_bytes() {
        let store = MemoryStore::new();
        let tenants =
            [" ", "A", "a", "a/", "ab", "e\u{301}", "é"].map(|name| TenantId::new(name).unwrap());
        for tenant in tenants.iter().rev() {
            let since = SystemTime::UNIX_EPOCH;
            let grant = Grant::new(Generation::FIRST, GrantState::Revoked { since });
            store.save(tenant, None, &grant).await.unwrap();
        }
        assert_eq!(store.tenants(None, usize::MAX).await.unwrap(), tenants);
        for (number, tenant) in tenants.iter().enumerate() {
            let following = &tenants[number + 1..];
            let page = store.tenants(Some(tenant), 2).await.unwrap();
            assert_eq!(page, following[..following.len().min(2)]);
        }
        assert_eq!(store.tenants(None, 0).await.unwrap(), []);
        let absent = TenantId::new("a0").unwrap();
        assert_eq!(store.tenants(Some(&absent), 9).await.unwrap(), tenants[4..]);
    }
}
