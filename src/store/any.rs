//! A store whose type is chosen at run time.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    announcer::Subscription,
    erased::ErasedStore,
    lease::{LeaseOutcome, LeaseOwner},
    token_store::{SaveOutcome, TokenStore},
};
use crate::{
    error::Error,
    token::{Generation, Grant, TenantId},
};

/// A store of any type, which is chosen at run time, such as by a setting of the program.
///
/// Each call goes to the store inside, and costs one allocation more. Clones share that store.
///
/// ```
/// use tower_oauth2_client::store::{AnyStore, FileStore, MemoryStore};
///
/// fn store(directory: Option<&str>) -> Result<AnyStore, tower_oauth2_client::Error> {
///     Ok(match directory {
///         Some(directory) => AnyStore::new(FileStore::open(directory)?),
///         None => AnyStore::new(MemoryStore::new()),
///     })
/// }
/// # use tower_oauth2_client::{store::TokenStore, token::TenantId};
/// # tokio_test::block_on(async {
///
/// let acme = TenantId::new("acme")?;
/// assert_eq!(store(None)?.load(&acme).await?, None);
/// # Ok::<(), tower_oauth2_client::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct AnyStore(Arc<dyn ErasedStore>);

impl AnyStore {
    /// Wraps a store.
    #[must_use]
    pub fn new(store: impl TokenStore) -> Self {
        Self(Arc::new(store))
    }
}

impl TokenStore for AnyStore {
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

impl fmt::Debug for AnyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The store inside may have no `Debug` output, or one with secrets.
        f.debug_struct("AnyStore").finish_non_exhaustive()
    }
}
