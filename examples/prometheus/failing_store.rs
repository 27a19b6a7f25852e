//! A store in memory whose saves can be made to fail, as those in a database that is overloaded.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use tower_oauth2_client::{
    Error,
    store::{LeaseOutcome, LeaseOwner, MemoryStore, SaveOutcome, TokenStore},
    token::{Generation, Grant, TenantId},
};

#[derive(Clone, Default)]
pub(crate) struct FailingStore {
    memory: MemoryStore,
    fails: Arc<AtomicBool>,
    saves: Arc<AtomicU32>,
}

impl FailingStore {
    /// Makes two of three saves fail.
    pub(crate) fn fail_saves(&self, fails: bool) {
        self.fails.store(fails, Ordering::Relaxed);
    }
}

impl TokenStore for FailingStore {
    async fn load(&self, tenant: &TenantId) -> Result<Option<Grant>, Error> {
        self.memory.load(tenant).await
    }

    async fn save(
        &self,
        tenant: &TenantId,
        expected: Option<Generation>,
        grant: &Grant,
    ) -> Result<SaveOutcome, Error> {
        let number = self.saves.fetch_add(1, Ordering::Relaxed);
        if self.fails.load(Ordering::Relaxed) && !number.is_multiple_of(3) {
            return Err(Error::store("the database is overloaded"));
        }
        self.memory.save(tenant, expected, grant).await
    }

    async fn acquire(
        &self,
        tenant: &TenantId,
        owner: &LeaseOwner,
        duration: Duration,
    ) -> Result<LeaseOutcome, Error> {
        self.memory.acquire(tenant, owner, duration).await
    }

    async fn release(&self, tenant: &TenantId, owner: &LeaseOwner) -> Result<(), Error> {
        self.memory.release(tenant, owner).await
    }

    async fn tenants(
        &self,
        after: Option<&TenantId>,
        limit: usize,
    ) -> Result<Vec<TenantId>, Error> {
        self.memory.tenants(after, limit).await
    }
}
