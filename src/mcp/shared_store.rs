//! A store that caches and the profile share.

use std::{sync::Arc, time::Duration};

use crate::{
    error::Error,
    store::{ErasedStore, LeaseOutcome, LeaseOwner, SaveOutcome, Subscription, TokenStore},
    token::{Generation, Grant, TenantId},
};

/// A handle to a store.
#[derive(Clone)]
pub(super) struct SharedStore(Arc<dyn ErasedStore>);

impl SharedStore {
    pub(super) fn new(store: impl TokenStore) -> Self {
        Self(Arc::new(store))
    }
}

impl TokenStore for SharedStore {
    async fn load(&self, tenant: &TenantId) -> Result<Option<Grant>, Error> {
        self.0.load(tenant).await
    }

    async fn save(
        &self,
        tenant: &TenantId,
        expected: Option<Generation>,
        grant: &Grant,
    ) -> Result<SaveOutcome, Error> {
        self.0.save(tenant, expected, grant).await
    }

    async fn acquire(
        &self,
        tenant: &TenantId,
        owner: &LeaseOwner,
        duration: Duration,
    ) -> Result<LeaseOutcome, Error> {
        self.0.acquire(tenant, owner, duration).await
    }

    async fn release(&self, tenant: &TenantId, owner: &LeaseOwner) -> Result<(), Error> {
        self.0.release(tenant, owner).await
    }

    async fn changed(&self, tenant: &TenantId) {
        self.0.changed(tenant).await;
    }

    fn subscribe(&self) -> Option<Subscription> {
        self.0.subscribe()
    }

    async fn tenants(
        &self,
        after: Option<&TenantId>,
        limit: usize,
    ) -> Result<Vec<TenantId>, Error> {
        self.0.tenants(after, limit).await
    }

    async fn delete_expired_leases(&self) -> Result<(), Error> {
        self.0.delete_expired_leases().await
    }
}
