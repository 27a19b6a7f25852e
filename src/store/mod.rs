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
//! struct Rows(Mutex<HashMap<TenantId, (Generation, Vec<u8>)>>);
//!
//! type Row = (Generation, Vec<u8>);
//!
//! fn grant(tenant: &TenantId, row: Option<&Row>) -> Result<Option<Grant>, Error> {
//!     row.map(|(_, bytes)| Grant::from_bytes(tenant, bytes).map_err(Error::store))
//!         .transpose()
//! }
//!
//! impl TokenStore for Rows {
//!     async fn load(&self, tenant: &TenantId) -> Result<Option<Grant>, Error> {
//!         let rows = self.0.lock().map_err(|_| Error::store("poisoned"))?;
//!         grant(tenant, rows.get(tenant))
//!     }
//!
//!     async fn save(
//!         &self,
//!         tenant: &TenantId,
//!         expected: Option<Generation>,
//!         new: &Grant,
//!     ) -> Result<SaveOutcome, Error> {
//!         let mut rows = self.0.lock().map_err(|_| Error::store("poisoned"))?;
//!         let held = rows.get(tenant);
//!         if held.map(|(generation, _)| *generation) != expected {
//!             return Ok(SaveOutcome::Superseded(grant(tenant, held)?));
//!         }
//!         let row = (new.generation, new.to_bytes(tenant).to_vec());
//!         rows.insert(tenant.clone(), row);
//!         Ok(SaveOutcome::Committed)
//!     }
//! }
//!
//! # tokio_test::block_on(async {
//! # use tower_oauth2_client::token::GrantState;
//! let (rows, acme) = (Rows::default(), TenantId::new("acme")?);
//! let revoked = Grant {
//!     generation: Generation::FIRST,
//!     state: GrantState::Revoked { since: std::time::SystemTime::UNIX_EPOCH },
//! };
//! assert_eq!(rows.save(&acme, None, &revoked).await?, SaveOutcome::Committed);
//! assert_eq!(rows.load(&acme).await?, Some(revoked));
//! # Ok::<(), Error>(()) }).unwrap();
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
/// * Of several saves that expect the same generation, and bring another, at most one commits, whichever process they come
///   from.
/// * A save may bring the generation that it expects: that an exchange begins is noted so. It replaces what is there.
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
