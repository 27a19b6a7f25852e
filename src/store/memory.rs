//! Grants that end with the process.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use super::{SaveOutcome, TokenStore};
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
    grants: Arc<Mutex<HashMap<TenantId, Grant>>>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl TokenStore for MemoryStore {
    async fn load(&self, tenant: &TenantId) -> Result<Option<Grant>, Error> {
        let grants = self.grants.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(grants.get(tenant).cloned())
    }

    async fn save(
        &self,
        tenant: &TenantId,
        expected: Option<Generation>,
        grant: &Grant,
    ) -> Result<SaveOutcome, Error> {
        let mut grants = self.grants.lock().unwrap_or_else(PoisonError::into_inner);
        let held = grants.get(tenant);
        if held.map(|held| held.generation) != expected {
            return Ok(SaveOutcome::Superseded(held.cloned()));
        }
        grants.insert(tenant.clone(), grant.clone());
        Ok(SaveOutcome::Committed)
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}
