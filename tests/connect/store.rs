//! A store in memory that fails on request, and counts the leases of callbacks.

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
pub(crate) struct TestStore {
    memory: MemoryStore,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    saves_fail: bool,
    acquisitions_fail: bool,
    outcomes_fail: bool,
    outcome_pause: Duration,
    /// Acquisitions that succeed, but whose responses are lost.
    lost_responses: u32,
    saves: u32,
    leases: BTreeSet<String>,
    all_leases: usize,
}

impl TestStore {
    pub(crate) fn fail_saves(&self, fail: bool) {
        self.state.lock().unwrap().saves_fail = fail;
    }

    pub(crate) fn fail_callback_leases(&self, fail: bool) {
        self.state.lock().unwrap().acquisitions_fail = fail;
    }

    pub(crate) fn fail_outcome_leases(&self, fail: bool) {
        self.state.lock().unwrap().outcomes_fail = fail;
    }

    /// How long each release of the lease of an outcome takes.
    pub(crate) fn delay_outcome_leases(&self, pause: Duration) {
        self.state.lock().unwrap().outcome_pause = pause;
    }

    pub(crate) fn lose_callback_lease_responses(&self, times: u32) {
        self.state.lock().unwrap().lost_responses = times;
    }

    /// The saves that were attempted.
    pub(crate) fn saves(&self) -> u32 {
        self.state.lock().unwrap().saves
    }

    /// The leases of callbacks that are held now.
    pub(crate) fn callback_leases(&self) -> usize {
        self.state.lock().unwrap().leases.len()
    }

    /// The leases of callbacks that were acquired so far.
    pub(crate) fn all_callback_leases(&self) -> usize {
        self.state.lock().unwrap().all_leases
    }
}

fn is_callback_lease(tenant: &TenantId) -> bool {
    tenant.as_str().starts_with("tower-oauth2-client/callback/")
}

fn is_outcome_lease(tenant: &TenantId) -> bool {
    tenant.as_str().starts_with("tower-oauth2-client/callback-")
}

impl TokenStore for TestStore {
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
            let mut state = self.state.lock().unwrap();
            state.saves += 1;
            state.saves_fail
        };
        if fails {
            return Err(Error::store("saves fail, as the test requested"));
        }
        self.memory.save(tenant, expected, grant).await
    }

    async fn acquire(
        &self,
        tenant: &TenantId,
        owner: &LeaseOwner,
        duration: Duration,
    ) -> Result<LeaseOutcome, Error> {
        if is_outcome_lease(tenant) && self.state.lock().unwrap().outcomes_fail {
            return Err(Error::store("acquisitions fail, as the test requested"));
        }
        if !is_callback_lease(tenant) {
            return self.memory.acquire(tenant, owner, duration).await;
        }
        let fails = self.state.lock().unwrap().acquisitions_fail;
        if fails {
            return Err(Error::store("acquisitions fail, as the test requested"));
        }
        let outcome = self.memory.acquire(tenant, owner, duration).await?;
        let mut state = self.state.lock().unwrap();
        if outcome == LeaseOutcome::Acquired && state.leases.insert(tenant.to_string()) {
            state.all_leases += 1;
        }
        if state.lost_responses > 0 {
            state.lost_responses -= 1;
            return Err(Error::store("the response was lost, as the test requested"));
        }
        Ok(outcome)
    }

    async fn release(&self, tenant: &TenantId, owner: &LeaseOwner) -> Result<(), Error> {
        if is_outcome_lease(tenant) {
            let pause = self.state.lock().unwrap().outcome_pause;
            tokio::time::sleep(pause).await;
        }
        self.memory.release(tenant, owner).await?;
        if is_callback_lease(tenant) {
            // `release` does not say whether the owner had the lease, so another owner tries.
            let other = LeaseOwner::random();
            let left = self.memory.acquire(tenant, &other, Duration::ZERO).await?;
            if left == LeaseOutcome::Acquired {
                self.memory.release(tenant, &other).await?;
                self.state.lock().unwrap().leases.remove(tenant.as_str());
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
