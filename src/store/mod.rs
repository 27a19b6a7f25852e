//! Durable storage of grants.
//!
//! A [`TokenStore`] keeps one [`Grant`](crate::token::Grant) per tenant, and a lease on it. The
//! cache saves each new token set before requests use it; the [`cache`](crate::cache#refresh) page
//! has the exception. After a restart the cache continues with the stored grant, and the customer
//! need not consent again.
//!
//! # Which store
//!
//! | store | feature | shared by | survives | use it for |
//! | --- | --- | --- | --- | --- |
//! | [`MemoryStore`] | | one process | nothing | tests, and token sources that need no consent |
//! | [`FileStore`] | | processes on one machine | crashes, power failures | one machine with a local disk |
//! | [`PostgresStore`] | `postgres` | any number of machines | crashes, power failures | replicas on several machines |
//! | [`RedisStore`] | `redis` | any number of machines | depends on the [settings of the server](redis#durability) | replicas, if you run Redis with `appendonly` |
//!
//! [`EncryptedStore`] (feature `encryption`) wraps any store and encrypts the tokens in it. Without
//! it, tokens are stored in plain text.
//!
//! [`AnyStore`] is any of them, chosen at run time.
//!
//! A store contains no policy: it does not know when tokens expire or what they are for.
//!
//! # What a store guarantees
//!
//! A provider with rotation accepts each refresh token once, and returns the next one. If two
//! replicas send the same refresh token, or if the next one is lost, the grant ends and the
//! customer must consent again. Four mechanisms prevent this:
//!
//! * **Generation.** Every grant carries a counter. The cache raises it for each new token set, and
//!   when the grant ends.
//! * **Conditional save.** A save names a generation, and commits only if the stored grant has it
//!   (compare-and-swap). If two replicas save at the same time, one commits. The other receives the
//!   stored grant and uses it.
//! * **Lease.** One owner at a time may refresh a grant, so that two replicas do not send the same
//!   refresh token. A lease has a time limit and ends even if its owner has crashed.
//! * **Intent.** An [intent](crate::token::GrantState::Refreshing) records that the refresh token
//!   is about to be sent. The cache saves it first, with the generation of the current grant. If
//!   the process crashes before it saves the response, the next process finds the intent. The
//!   refresh token may then have been used.
//!
//! The trait [`TokenStore`] lists the guarantees in detail.
//!
//! # Replicas
//!
//! A store announces each save to all replicas: a rotation, the end of a grant, a new consent. Each
//! replica that holds the grant loads it, and uses it within a second. All stores of this crate
//! announce, but [`RedisStore::new`] needs a [subscription](RedisStore::watch).
//!
//! If a store announces nothing, each replica loads the grants that requests use every 30 seconds.
//! If it announces, each replica still does so every 15 minutes, because announcements may fail
//! silently, for example behind a proxy.
//! A [`TokenStore`] of your own announces if it implements [`subscribe`](TokenStore::subscribe).
//!
//! # Several clients
//!
//! A store may contain the grants of several clients, such as two applications that share a
//! database. Each stored grant [names](crate::token::Grant::identity) the client that it was issued
//! to, and that client's token endpoint: the [identity](crate::cache::TokenSource::identity) of its
//! source. A cache rejects the grant of another identity with
//! [`ForeignGrant`](crate::ErrorKind::ForeignGrant), and leaves it as it is: the cache does not
//! use, refresh, revoke or replace it. A sweep skips it. If the cache already holds a grant of its
//! own, requests use that one until it expires, and each refresh fails with the error.
//!
//! A tenant has one grant in a store. Two clients that serve the same tenants therefore need a
//! directory, table or prefix each.
//!
//! A grant without an identity is of an earlier version of this crate. The first cache that loads
//! it uses it as its own, and names its identity with the next save: the intent, before the refresh
//! token is sent. Before an update, separate stores that several clients share.
//!
//! If the URL of the token endpoint or the client id changes, and the provider still accepts the
//! refresh tokens, pass the former identity to
//! [`accept_identity`](crate::cache::TokenCacheBuilder::accept_identity).
//!
//! # A store of your own
//!
//! Implement four methods. If the store keeps the grants of many tenants, implement
//! [`tenants`](TokenStore::tenants) too. A [sweep](crate::tenants) calls it to find idle grants,
//! and refreshes them before their refresh tokens expire.
//!
//! [`Grant::to_bytes`](crate::token::Grant::to_bytes) and
//! [`Grant::from_bytes`](crate::token::Grant::from_bytes) convert a grant for storage. The bytes
//! contain the tokens in plain text. A store that keeps the parts of a grant in columns also keeps
//! its identity.
//!
//! [`store_conformance_tests!`](crate::store_conformance_tests) (feature `conformance`) expands to
//! one test per rule of the contract.
//!
#![cfg_attr(feature = "conformance", doc = "```test_harness")]
#![cfg_attr(not(feature = "conformance"), doc = "```ignore")]
//! use std::{collections::{BTreeMap, HashMap}, sync::{Arc, Mutex}, time::{Duration, Instant}};
//!
//! use tower_oauth2_client::{
//!     Error,
//!     store::{LeaseOutcome, LeaseOwner, SaveOutcome, TokenStore},
//!     store_conformance_tests,
//!     token::{Generation, Grant, TenantId},
//! };
//!
//! /// Two tables, as in a database.
//! #[derive(Clone, Default)]
//! struct Tables {
//!     grants: Arc<Mutex<BTreeMap<TenantId, Row>>>,
//!     leases: Arc<Mutex<HashMap<TenantId, (LeaseOwner, Instant)>>>,
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
//!         let stored = rows.get(tenant);
//!         if stored.map(|(generation, _)| *generation) != expected {
//!             return Ok(SaveOutcome::Superseded(grant(tenant, stored)?));
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
//!         if leases.get(tenant).is_some_and(|(holder, until)| holder != owner && *until > now) {
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
//!         let page = rows.keys().filter(|tenant| Some(*tenant) > after);
//!         Ok(page.take(limit).cloned().collect())
//!     }
//! }
//!
//! store_conformance_tests!(
//!     {
//!         let tables = Tables::default();
//!         async move || tables.clone()
//!     },
//!     tenants
//! );
//! ```

mod announcer;
mod any;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "encryption")]
mod encrypted;
mod erased;
mod file;
#[cfg(any(feature = "postgres", feature = "redis"))]
mod known;
mod lease;
mod listening;
mod memory;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
pub mod redis;
mod token_store;

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
    announcer::{Announcement, Announcer, Subscription},
    any::AnyStore,
    file::{FileStore, FileStoreBuilder},
    lease::{LeaseOutcome, LeaseOwner},
    memory::MemoryStore,
    token_store::{SaveOutcome, TokenStore},
};
