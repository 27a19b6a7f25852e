//! A store in memory that fails when it is told to, and says which claims are held in it.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use tower_oauth2_client::{
    Error,
    store::{LeaseOutcome, LeaseOwner, MemoryStore, SaveOutcome, TokenStore},
    token::{Generation, Grant, TenantId},
};

#[derive(Clone, Default)]
pub(crate) struct Shelf {
    memory: MemoryStore,
    told: Arc<Mutex<Told>>,
}

#[derive(Default)]
struct Told {
    saves_fail: bool,
    claims_fail: bool,
    /// Claims are taken, but nobody hears of it.
    claims_are_lost: u32,
    saves: u32,
    claims: BTreeSet<String>,
    all_claims: usize,
}

impl Shelf {
    pub(crate) fn fail_saves(&self, fail: bool) {
        self.told.lock().unwrap().saves_fail = fail;
    }

    pub(crate) fn fail_claims(&self, fail: bool) {
        self.told.lock().unwrap().claims_fail = fail;
    }

    pub(crate) fn lose_claims(&self, times: u32) {
        self.told.lock().unwrap().claims_are_lost = times;
    }

    /// How many saves were tried.
    pub(crate) fn saves(&self) -> u32 {
        self.told.lock().unwrap().saves
    }

    /// How many claims there are now.
    pub(crate) fn claims(&self) -> usize {
        self.told.lock().unwrap().claims.len()
    }

    /// How many there have been.
    pub(crate) fn all_claims(&self) -> usize {
        self.told.lock().unwrap().all_claims
    }
}

fn is_claim(tenant: &TenantId) -> bool {
    tenant.as_str().starts_with("tower-oauth2-client/callback/")
}

impl TokenStore for Shelf {
    async fn load(&self, tenant: &TenantId) -> Result<Option<Grant>, Error> {
        self.memory.load(tenant).await
    }

    async fn save(
        &self,
        tenant: &TenantId,
        expected: Option<Generation>,
        grant: &Grant,
    ) -> Result<SaveOutcome, Error> {
        let fails = {
            let mut told = self.told.lock().unwrap();
            told.saves += 1;
            told.saves_fail
        };
        if fails {
            return Err(Error::store("saves fail, as the test asked for"));
        }
        self.memory.save(tenant, expected, grant).await
    }

    async fn acquire(
        &self,
        tenant: &TenantId,
        owner: &LeaseOwner,
        duration: Duration,
    ) -> Result<LeaseOutcome, Error> {
        if !is_claim(tenant) {
            return self.memory.acquire(tenant, owner, duration).await;
        }
        let fails = self.told.lock().unwrap().claims_fail;
        if fails {
            return Err(Error::store("claims fail, as the test asked for"));
        }
        let outcome = self.memory.acquire(tenant, owner, duration).await?;
        let mut told = self.told.lock().unwrap();
        if outcome == LeaseOutcome::Acquired && told.claims.insert(tenant.to_string()) {
            told.all_claims += 1;
        }
        if told.claims_are_lost > 0 {
            told.claims_are_lost -= 1;
            return Err(Error::store("the answer was lost, as the test asked for"));
        }
        Ok(outcome)
    }

    async fn release(&self, tenant: &TenantId, owner: &LeaseOwner) -> Result<(), Error> {
        self.memory.release(tenant, owner).await?;
        if is_claim(tenant) {
            // Whether it was this owner's is not told, so it is tried.
            let other = LeaseOwner::random();
            let left = self.memory.acquire(tenant, &other, Duration::ZERO).await?;
            if left == LeaseOutcome::Acquired {
                self.memory.release(tenant, &other).await?;
                self.told.lock().unwrap().claims.remove(tenant.as_str());
            }
        }
        Ok(())
    }

    async fn changed(&self, tenant: &TenantId) {
        self.memory.changed(tenant).await;
    }

    async fn tenants(
        &self,
        after: Option<&TenantId>,
        limit: usize,
    ) -> Result<Vec<TenantId>, Error> {
        self.memory.tenants(after, limit).await
    }
}
