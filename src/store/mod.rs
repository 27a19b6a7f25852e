//! Where grants rest, so that a restart needs nobody's consent.
//!
//! A [`TokenStore`] keeps one [`Grant`] for each tenant. It holds no policy: it does not know when tokens expire or what
//! they are for. Its one duty is the *conditional* save, which is what keeps two replicas from overwriting each other.
//!
//! * [`MemoryStore`] forgets everything when the process ends: for tests, and for sources that need no grant.
//! * [`FileStore`] is the embedded default: a folder on a local disk, one file for each tenant.
//!
//! A store of your own implements two methods:
//!
//! ```
//! use std::{collections::HashMap, sync::Mutex};
//! use tower_oauth2_client::{
//!     Error,
//!     store::{SaveOutcome, TokenStore},
//!     token::{Generation, Grant, TenantId},
//! };
//!
//! /// Rows of (generation, bytes), as a database would have them.
//! #[derive(Default)]
//! struct Rows(Mutex<HashMap<String, (u64, Vec<u8>)>>);
//!
//! impl TokenStore for Rows {
//!     async fn load(&self, tenant: &TenantId) -> Result<Option<Grant>, Error> {
//!         let rows = self.0.lock().map_err(|_| Error::store("poisoned"))?;
//!         rows.get(tenant.as_str())
//!             .map(|(_, bytes)| Grant::from_bytes(tenant, bytes).map_err(Error::store))
//!             .transpose()
//!     }
//!
//!     async fn save(
//!         &self,
//!         tenant: &TenantId,
//!         expected: Option<Generation>,
//!         grant: &Grant,
//!     ) -> Result<SaveOutcome, Error> {
//!         let mut rows = self.0.lock().map_err(|_| Error::store("poisoned"))?;
//!         let held = rows.get(tenant.as_str()).map(|(generation, _)| *generation);
//!         if held != expected.map(Generation::as_u64) {
//!             drop(rows);
//!             return Ok(SaveOutcome::Superseded(self.load(tenant).await?));
//!         }
//!         let row = (grant.generation.as_u64(), grant.to_bytes(tenant).to_vec());
//!         rows.insert(tenant.as_str().to_owned(), row);
//!         Ok(SaveOutcome::Committed)
//!     }
//! }
//! ```

use std::future::Future;

use crate::{
    error::Error,
    token::{Generation, Grant, TenantId},
};

mod erased;
mod file;
mod memory;

pub(crate) use self::erased::ErasedStore;
pub use self::{file::FileStore, memory::MemoryStore};

/// Keeps one grant for each tenant.
///
/// What is promised here is what a [`TokenCache`](crate::cache::TokenCache) relies on:
///
/// * A committed save survives whatever the store is meant to survive, from the moment the future is ready.
/// * Of several saves that expect the same generation, at most one commits, whichever process they come from.
/// * A load returns a grant that was committed, whole, and never an older one than an earlier load of the same process.
/// * What cannot be read is an error that says where it is, never an empty answer, and is never overwritten.
/// * Futures may be dropped at any point: a save then happened whole or not at all.
///
/// Errors ([`Error::store`]) count as passing, and both methods are called again. Neither needs a deadline of its own.
pub trait TokenStore: Send + Sync + 'static {
    /// The newest committed grant of a tenant.
    fn load(&self, tenant: &TenantId) -> impl Future<Output = Result<Option<Grant>, Error>> + Send;

    /// Replaces the tenant's grant, if the stored one still has the `expected` generation (`None`: if there is none).
    fn save(
        &self,
        tenant: &TenantId,
        expected: Option<Generation>,
        grant: &Grant,
    ) -> impl Future<Output = Result<SaveOutcome, Error>> + Send;
}

/// What became of a conditional save.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a third outcome would break every store, so it must not go unnoticed"
)]
pub enum SaveOutcome {
    /// The grant is stored.
    Committed,
    /// Nothing was written: the store holds something else than was expected, namely this.
    Superseded(Option<Grant>),
}
