//! The store of a cache: each call has a deadline, and each grant is the source's own.

use std::{future::Future, time::Duration};

use super::{deadline::within, ownership::Ownership};
use crate::{
    error::{Error, ErrorKind},
    store::{ErasedStore, LeaseOutcome, LeaseOwner, SaveOutcome, Subscription},
    token::{ClientIdentity, Generation, Grant, TenantId},
};

/// For each call of a store.
const DEADLINE: Duration = Duration::from_secs(10);

/// The only access to the store. Every loaded grant passes through the [`Ownership`], so no caller
/// gets the grant of another client.
pub(crate) struct GrantStore {
    store: Box<dyn ErasedStore>,
    ownership: Ownership,
}

impl GrantStore {
    pub(super) fn new(store: Box<dyn ErasedStore>, ownership: Ownership) -> Self {
        Self { store, ownership }
    }

    /// Fails with [`ForeignGrant`](ErrorKind::ForeignGrant) if the grant is of another client.
    pub(crate) async fn load(&self, tenant: &TenantId) -> Result<Option<Grant>, Error> {
        self.admit(in_time(self.store.load(tenant)).await)
    }

    /// Fails with [`ForeignGrant`](ErrorKind::ForeignGrant) if the store holds a grant of another
    /// client.
    pub(crate) async fn save(
        &self,
        tenant: &TenantId,
        expected: Option<Generation>,
        grant: Grant,
    ) -> Result<SaveOutcome, Error> {
        let claimed = self.ownership.claim(grant);
        match in_time(self.store.save(tenant, expected, &claimed)).await {
            Ok(SaveOutcome::Committed) => Ok(SaveOutcome::Committed),
            Ok(SaveOutcome::Superseded(stored)) => {
                self.admit(Ok(stored)).map(SaveOutcome::Superseded)
            }
            Err(error) => Err(self.ownership.explain(error)),
        }
    }

    pub(crate) async fn acquire(
        &self,
        name: &TenantId,
        owner: &LeaseOwner,
        duration: Duration,
    ) -> Result<LeaseOutcome, Error> {
        in_time(self.store.acquire(name, owner, duration)).await
    }

    pub(crate) async fn release(&self, name: &TenantId, owner: &LeaseOwner) -> Result<(), Error> {
        in_time(self.store.release(name, owner)).await
    }

    /// Completes when the store may hold a newer grant. May never complete.
    pub(crate) async fn changed(&self, tenant: &TenantId) {
        self.store.changed(tenant).await;
    }

    /// Announces saves from now on, including those of other clients. `None` if the store announces
    /// nothing.
    pub(crate) fn subscribe(&self) -> Option<Subscription> {
        self.store.subscribe()
    }

    /// The tenants on the page after `after`, including those with grants of other clients.
    pub(crate) async fn tenants(
        &self,
        after: Option<&TenantId>,
        limit: usize,
    ) -> Result<Vec<TenantId>, Error> {
        in_time(self.store.tenants(after, limit)).await
    }

    pub(crate) async fn delete_expired_leases(&self) -> Result<(), Error> {
        in_time(self.store.delete_expired_leases()).await
    }

    /// The name of a lease that is not the lease of a grant. Applications with other identities do
    /// not share it, and no tenant has it.
    pub(crate) fn lease_name(&self, purpose: &str) -> TenantId {
        self.ownership.lease_name(purpose)
    }

    pub(super) fn grant_name(&self, tenant: &TenantId) -> String {
        self.ownership.grant_name(tenant)
    }

    /// Checks before an authorization code is spent that the tokens of this issuer can be saved for
    /// the tenant: the stored grant can be read, and is not of another client.
    pub(crate) async fn check_consent(
        &self,
        tenant: &TenantId,
        issuer: &ClientIdentity,
    ) -> Result<(), Error> {
        self.ownership.check_issuer(issuer)?;
        self.load(tenant).await.map(drop)
    }

    fn admit(&self, loaded: Result<Option<Grant>, Error>) -> Result<Option<Grant>, Error> {
        match loaded {
            Ok(stored) => stored
                .map(|stored| self.ownership.admit(stored))
                .transpose(),
            Err(error) => Err(self.ownership.explain(error)),
        }
    }
}

/// Limits a call of a store to 10 seconds.
async fn in_time<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late = "the token store did not respond within 10 seconds; check that it is reachable";
    within(DEADLINE, call, || Error::new(ErrorKind::Store, late)).await
}
