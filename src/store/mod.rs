//! Where grants rest, so that a restart needs nobody's consent.
//!
//! A [`TokenStore`] keeps one [`Grant`] for each tenant, and a lease on it. It holds no policy: it does not know when tokens
//! expire or what they are for. Its two duties are the *conditional* save, which keeps two replicas from overwriting each
//! other, and the *owned* lease, which keeps them from presenting the same refresh token.
//!
//! * [`MemoryStore`] forgets everything when the process ends: for tests, and for sources that need no grant.
//! * [`FileStore`] is the embedded default: a folder on a local disk, one file for each tenant.
//! * [`PostgresStore`] (feature `postgres`) is for replicas on several machines, on the program's own pool.
//! * [`RedisStore`] (feature `redis`) is for the same: see [`redis`] for how to set up the server.
//! * [`EncryptedStore`] (feature `encryption`) goes around any of them, or yours, and encrypts the secrets.
//!
//! A store of your own implements four methods, and a fifth, [`tenants`](TokenStore::tenants), if it holds many customers'
//! grants: without it, those that nobody uses for weeks cannot be found, and end.
//!
//! ```
//! use std::{collections::{BTreeMap, HashMap}, sync::Mutex, time::{Duration, Instant}};
//! use tower_oauth2_client::{
//!     Error,
//!     store::{LeaseOutcome, LeaseOwner, SaveOutcome, TokenStore},
//!     token::{Generation, Grant, TenantId},
//! };
//!
//! /// Rows of (generation, bytes), as a database would have them, and who holds which until when.
//! #[derive(Default)]
//! struct Tables {
//!     grants: Mutex<BTreeMap<TenantId, (Generation, Vec<u8>)>>,
//!     leases: Mutex<HashMap<TenantId, (LeaseOwner, Instant)>>,
//! }
//!
//! type Row = (Generation, Vec<u8>);
//!
//! fn grant(tenant: &TenantId, row: Option<&Row>) -> Result<Option<Grant>, Error> {
//!     row.map(|(_, bytes)| Grant::from_bytes(tenant, bytes).map_err(Error::store))
//!         .transpose()
//! }
//!
//! impl TokenStore for Tables {
//!     async fn load(&self, tenant: &TenantId) -> Result<Option<Grant>, Error> {
//!         let rows = self.grants.lock().map_err(|_| Error::store("poisoned"))?;
//!         grant(tenant, rows.get(tenant))
//!     }
//!
//!     async fn save(
//!         &self,
//!         tenant: &TenantId,
//!         expected: Option<Generation>,
//!         new: &Grant,
//!     ) -> Result<SaveOutcome, Error> {
//!         let mut rows = self.grants.lock().map_err(|_| Error::store("poisoned"))?;
//!         let held = rows.get(tenant);
//!         if held.map(|(generation, _)| *generation) != expected {
//!             return Ok(SaveOutcome::Superseded(grant(tenant, held)?));
//!         }
//!         let row = (new.generation, new.to_bytes(tenant).to_vec());
//!         rows.insert(tenant.clone(), row);
//!         Ok(SaveOutcome::Committed)
//!     }
//!
//!     async fn acquire(
//!         &self,
//!         tenant: &TenantId,
//!         owner: &LeaseOwner,
//!         duration: Duration,
//!     ) -> Result<LeaseOutcome, Error> {
//!         let mut leases = self.leases.lock().map_err(|_| Error::store("poisoned"))?;
//!         let now = Instant::now();
//!         if leases.get(tenant).is_some_and(|(other, until)| other != owner && *until > now) {
//!             return Ok(LeaseOutcome::HeldByAnother);
//!         }
//!         leases.insert(tenant.clone(), (owner.clone(), now + duration));
//!         Ok(LeaseOutcome::Acquired)
//!     }
//!
//!     async fn release(&self, tenant: &TenantId, owner: &LeaseOwner) -> Result<(), Error> {
//!         let mut leases = self.leases.lock().map_err(|_| Error::store("poisoned"))?;
//!         if leases.get(tenant).is_some_and(|(holder, _)| holder == owner) {
//!             leases.remove(tenant);
//!         }
//!         Ok(())
//!     }
//!
//!     async fn tenants(
//!         &self,
//!         after: Option<&TenantId>,
//!         limit: usize,
//!     ) -> Result<Vec<TenantId>, Error> {
//!         let rows = self.grants.lock().map_err(|_| Error::store("poisoned"))?;
//!         let behind = rows.keys().filter(|tenant| Some(*tenant) > after);
//!         Ok(behind.take(limit).cloned().collect())
//!     }
//! }
//!
//! # tokio_test::block_on(async {
//! # use tower_oauth2_client::token::GrantState;
//! let (tables, acme) = (Tables::default(), TenantId::new("acme")?);
//! let revoked = Grant {
//!     generation: Generation::FIRST,
//!     state: GrantState::Revoked { since: std::time::SystemTime::UNIX_EPOCH },
//! };
//! assert_eq!(tables.save(&acme, None, &revoked).await?, SaveOutcome::Committed);
//! assert_eq!(tables.load(&acme).await?, Some(revoked));
//! assert_eq!(tables.tenants(None, 10).await?, [acme.clone()]);
//! assert_eq!(tables.tenants(Some(&acme), 10).await?, []);
//! # Ok::<(), Error>(()) }).unwrap();
//! ```
//!
//! [`store_conformance_tests!`](crate::store_conformance_tests) (feature `conformance`) tests that a store keeps the contract.

use std::{
    future::{self, Future},
    time::Duration,
};

use crate::{
    error::Error,
    token::{Generation, Grant, TenantId},
};

#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "encryption")]
mod encrypted;
mod erased;
mod file;
mod lease;
mod memory;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
pub mod redis;

#[cfg(feature = "axum")]
pub(crate) use self::encrypted::sealed;
#[cfg(feature = "encryption")]
pub use self::encrypted::{EncryptedStore, EncryptionKey, EncryptionKeys};
pub(crate) use self::erased::ErasedStore;
#[cfg(feature = "postgres")]
pub use self::postgres::PostgresStore;
#[cfg(feature = "redis")]
pub use self::redis::RedisStore;
pub use self::{
    file::FileStore,
    lease::{LeaseOutcome, LeaseOwner},
    memory::MemoryStore,
};

/// Keeps one grant for each tenant, and a lease on it.
///
/// What is promised here is what a [`TokenCache`](crate::cache::TokenCache) relies on:
///
/// * A committed save survives whatever the store is meant to survive, from the moment the future is ready.
/// * Of several saves that expect the same generation, and bring another, at most one commits, whichever process they come
///   from.
/// * A save may bring the generation that it expects: that an exchange begins is noted so. It replaces what is there.
/// * Generations are kept as they are. They need not follow one another, and none is above 2⁶³ − 1, what a signed column holds.
/// * A load returns a grant that was committed, whole, and never an older one than an earlier load of the same process.
/// * What cannot be read is an error that says where it is, never an empty answer, and is never overwritten.
/// * Futures may be dropped at any point: a save then happened whole or not at all.
/// * A lease has one owner at a time, whichever process it is in, until it is given back or its time has run out, which does
///   not depend on the owner. It may run out early, as with a store that has lost it: what keeps a store from going
///   backwards is the conditional save. A lease and a grant are independent of each other: either may be there alone.
///
/// Errors ([`Error::store`]) count as passing, and methods are called again. None needs a deadline of its own.
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

    /// Takes the tenant's lease for `owner`, or extends the one it has: until `duration` from now. One whose time has run
    /// out, and that nobody else has taken since, can be extended as well.
    fn acquire(
        &self,
        tenant: &TenantId,
        owner: &LeaseOwner,
        duration: Duration,
    ) -> impl Future<Output = Result<LeaseOutcome, Error>> + Send;

    /// Gives the lease back, if `owner` is who has it. Otherwise it does nothing.
    fn release(
        &self,
        tenant: &TenantId,
        owner: &LeaseOwner,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Ends when the tenant's grant, or its lease, may have changed since this was first polled. Those who wait look again
    /// from time to time all the same, so a store that cannot tell goes on for ever, which is the default.
    fn changed(&self, tenant: &TenantId) -> impl Future<Output = ()> + Send {
        let _ = tenant;
        future::pending()
    }

    /// A page of the tenants that may have a grant: up to `limit` of those behind `after` in the store's order, or behind
    /// none, for the first page. So that idle grants are found, and kept alive, whose tenants nobody asks for.
    ///
    /// * The order is one of names, the store's own, and stays the same. Every name has its place in it: `after`, which is
    ///   the last tenant of the page before, need not be there any more.
    /// * Only an empty page is the end. A page that is shorter than `limit` is not. (`limit` 0 is not asked for, and
    ///   brings an empty page.)
    /// * A tenant whose grant was committed before the first page was asked for is on one page, whatever is saved
    ///   meanwhile, and whether or not the grant can still be read. Only one whose name is lost with it may be left out.
    /// * One that is first saved meanwhile is on one page or on none, and so is one that has no grant: an index may know
    ///   more than there is. None is on two.
    ///
    /// Each page may come over another handle, or from another process.
    ///
    /// # Errors
    ///
    /// As the other methods. By default [`Configuration`](crate::ErrorKind::Configuration): the store cannot list its
    /// tenants, and idle grants in it are not kept alive.
    fn tenants(
        &self,
        after: Option<&TenantId>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<TenantId>, Error>> + Send {
        let _ = (after, limit);
        future::ready(Err(Error::configuration(
            "this store cannot list its tenants, so that idle grants are not kept alive, and end with their refresh \
             tokens: implement TokenStore::tenants",
        )))
    }
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
