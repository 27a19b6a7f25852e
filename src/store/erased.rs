//! Any store behind one pointer, so that a cache's type does not name its store.

use std::{future::Future, pin::Pin};

use super::{SaveOutcome, TokenStore};
use crate::{
    error::Error,
    token::{Generation, Grant, TenantId},
};

type Boxed<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// [`TokenStore`] with boxed futures.
pub(crate) trait ErasedStore: Send + Sync + 'static {
    fn load<'a>(&'a self, tenant: &'a TenantId) -> Boxed<'a, Option<Grant>>;

    fn save<'a>(
        &'a self,
        tenant: &'a TenantId,
        expected: Option<Generation>,
        grant: &'a Grant,
    ) -> Boxed<'a, SaveOutcome>;
}

impl<T: TokenStore> ErasedStore for T {
    fn load<'a>(&'a self, tenant: &'a TenantId) -> Boxed<'a, Option<Grant>> {
        Box::pin(TokenStore::load(self, tenant))
    }

    fn save<'a>(
        &'a self,
        tenant: &'a TenantId,
        expected: Option<Generation>,
        grant: &'a Grant,
    ) -> Boxed<'a, SaveOutcome> {
        Box::pin(TokenStore::save(self, tenant, expected, grant))
    }
}
