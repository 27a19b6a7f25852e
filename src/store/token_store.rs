//! The contract of stores.

use std::{
    future::{self, Future},
    time::Duration,
};

use super::lease::{LeaseOutcome, LeaseOwner};
use crate::{
    error::Error,
    token::{Generation, Grant, TenantId},
};

/// Keeps one grant per tenant, and a lease on it.
///
/// A [`TokenCache`](crate::cache::TokenCache) relies on these guarantees:
///
/// # Saves
///
/// * A save commits only if the stored grant has the expected generation. Of concurrent saves
///   that expect one generation and write a higher one, at most one commits, in whichever
///   processes they are made.
/// * A save may keep the generation that it expects. The cache saves an intent in this way. The
///   save replaces the stored grant.
/// * Generations are stored exactly. They need not be consecutive, and none is above 2⁶³ − 1, the
///   maximum of a signed 64-bit column.
/// * A committed save is durable when its future is ready, as far as the store is durable at all.
/// * A future may be dropped at any point. The save then happened whole or not at all.
///
/// # Loads
///
/// * A load returns a committed grant, whole, and never an older one than an earlier load in the
///   same process.
/// * A grant that cannot be read is an error that says where it is. It is never reported as absent,
///   and never overwritten.
///
/// # Leases
///
/// * A lease has one owner at a time, among all processes. It ends when the owner releases it or
///   when its time is over, whether or not the owner is alive.
/// * A lease may end early, for example in a store that has lost it. The conditional save still
///   protects the grant.
/// * Lease and grant are independent: each may exist without the other.
///
/// # Errors
///
/// Errors ([`Error::store`]) are treated as transient: the cache calls again. The cache also sets
/// deadlines, so a store needs none of its own.
pub trait TokenStore: Send + Sync + 'static {
    /// Returns the tenant's newest committed grant.
    fn load(&self, tenant: &TenantId) -> impl Future<Output = Result<Option<Grant>, Error>> + Send;

    /// Replaces the tenant's grant if the stored grant has the `expected` generation.
    ///
    /// `None` expects that no grant is stored. A revoked grant is a stored grant.
    fn save(
        &self,
        tenant: &TenantId,
        expected: Option<Generation>,
        grant: &Grant,
    ) -> impl Future<Output = Result<SaveOutcome, Error>> + Send;

    /// Acquires the tenant's lease for `owner`, or extends it, until `duration` from now.
    ///
    /// An owner can also extend an expired lease that no other owner has acquired since.
    fn acquire(
        &self,
        tenant: &TenantId,
        owner: &LeaseOwner,
        duration: Duration,
    ) -> impl Future<Output = Result<LeaseOutcome, Error>> + Send;

    /// Releases the lease if `owner` has it. Otherwise it does nothing.
    fn release(
        &self,
        tenant: &TenantId,
        owner: &LeaseOwner,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Completes when the tenant's grant or lease may have changed since this future was first
    /// polled.
    ///
    /// The cache also polls the store from time to time. A store without notifications never
    /// completes this future, which is the default.
    fn changed(&self, tenant: &TenantId) -> impl Future<Output = ()> + Send {
        let _ = tenant;
        future::pending()
    }

    /// Returns a page of tenants that may have a grant: up to `limit` of those after `after`, in
    /// the store's order.
    ///
    /// `None` requests the first page. A sweep uses the pages to find idle grants and keep them
    /// alive.
    ///
    /// * The order is a fixed order of names, chosen by the store. Every name has a position in it,
    ///   so `after`, the last tenant of the page before, need not be stored any more.
    /// * An empty page is the end. A page shorter than `limit` is not. (`limit` is never 0; a
    ///   `limit` of 0 returns an empty page.)
    /// * A tenant whose grant was committed before the first page was requested is on exactly one
    ///   page, whatever is saved in between, even if the grant cannot be read any more. Only a
    ///   tenant whose name is lost may be missing.
    /// * A tenant that is first saved in between, or has no grant, is on one page or on none.
    ///
    /// Each page may be requested from another handle or another process.
    ///
    /// # Errors
    ///
    /// As for the other methods. The default implementation returns
    /// [`Configuration`](crate::ErrorKind::Configuration): the store cannot list its tenants, so
    /// idle grants in it are not kept alive.
    fn tenants(
        &self,
        after: Option<&TenantId>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<TenantId>, Error>> + Send {
        let _ = (after, limit);
        future::ready(Err(Error::configuration(
            "token store cannot list its tenants: idle grants are not kept alive and end with \
             their refresh tokens; implement TokenStore::tenants",
        )))
    }
}

/// The result of a conditional save.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a third outcome would break every store, so the compiler must report it"
)]
pub enum SaveOutcome {
    /// The grant is stored.
    Committed,
    /// Nothing was written. Contains the stored grant, whose generation is not the expected one.
    Superseded(Option<Grant>),
}
