//! Type erasure of stores, so that a cache's type does not name its store.

use std::{future::Future, pin::Pin, time::Duration};

use super::{
    announcer::Subscription,
    lease::{LeaseOutcome, LeaseOwner},
    token_store::{SaveOutcome, TokenStore},
};
use crate::{
    error::Error,
    token::{Generation, Grant, TenantId},
};

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// [`TokenStore`] with boxed futures.
pub(crate) trait ErasedStore: Send + Sync + 'static {
    fn load<'a>(&'a self, tenant: &'a TenantId) -> Boxed<'a, Result<Option<Grant>, Error>>;

    fn save<'a>(
        &'a self,
        tenant: &'a TenantId,
        expected: Option<Generation>,
        grant: &'a Grant,
    ) -> Boxed<'a, Result<SaveOutcome, Error>>;

    fn acquire<'a>(
        &'a self,
        tenant: &'a TenantId,
        owner: &'a LeaseOwner,
        duration: Duration,
    ) -> Boxed<'a, Result<LeaseOutcome, Error>>;

    fn release<'a>(
        &'a self,
        tenant: &'a TenantId,
        owner: &'a LeaseOwner,
    ) -> Boxed<'a, Result<(), Error>>;

    fn changed<'a>(&'a self, tenant: &'a TenantId) -> Boxed<'a, ()>;

    fn subscribe(&self) -> Option<Subscription>;

    fn tenants<'a>(
        &'a self,
        after: Option<&'a TenantId>,
        limit: usize,
    ) -> Boxed<'a, Result<Vec<TenantId>, Error>>;

    fn delete_expired_leases(&self) -> Boxed<'_, Result<(), Error>>;
}

impl<T: TokenStore> ErasedStore for T {
    fn load<'a>(&'a self, tenant: &'a TenantId) -> Boxed<'a, Result<Option<Grant>, Error>> {
        Box::pin(TokenStore::load(self, tenant))
    }

    fn save<'a>(
        &'a self,
        tenant: &'a TenantId,
        expected: Option<Generation>,
        grant: &'a Grant,
    ) -> Boxed<'a, Result<SaveOutcome, Error>> {
        Box::pin(TokenStore::save(self, tenant, expected, grant))
    }

    fn acquire<'a>(
        &'a self,
        tenant: &'a TenantId,
        owner: &'a LeaseOwner,
        duration: Duration,
    ) -> Boxed<'a, Result<LeaseOutcome, Error>> {
        Box::pin(TokenStore::acquire(self, tenant, owner, duration))
    }

    fn release<'a>(
        &'a self,
        tenant: &'a TenantId,
        owner: &'a LeaseOwner,
    ) -> Boxed<'a, Result<(), Error>> {
        Box::pin(TokenStore::release(self, tenant, owner))
    }

    fn changed<'a>(&'a self, tenant: &'a TenantId) -> Boxed<'a, ()> {
        Box::pin(TokenStore::changed(self, tenant))
    }

    fn subscribe(&self) -> Option<Subscription> {
        TokenStore::subscribe(self)
    }

    fn tenants<'a>(
        &'a self,
        after: Option<&'a TenantId>,
        limit: usize,
    ) -> Boxed<'a, Result<Vec<TenantId>, Error>> {
        Box::pin(TokenStore::tenants(self, after, limit))
    }

    fn delete_expired_leases(&self) -> Boxed<'_, Result<(), Error>> {
        Box::pin(TokenStore::delete_expired_leases(self))
    }
}
