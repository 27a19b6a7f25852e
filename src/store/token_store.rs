//! The contract of stores.

use std::{
    future::{self, Future},
    time::Duration,
};

use super::{
    announcer::Subscription,
    lease::{LeaseOutcome, LeaseOwner},
};
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
/// * A save commits only if the stored grant has the expected generation. If concurrent saves
///   expect the same generation and write a higher generation, at most one commits. This holds
///   across processes.
/// * The new grant may have the expected generation. The save then replaces the stored grant too.
///   The cache saves an intent in this way.
/// * Generations are stored exactly. They need not be consecutive, and none is above 2⁶³ − 1, the
///   maximum of a signed 64-bit column.
/// * A committed save is durable when its future is ready, as far as the store is durable at all.
/// * What was committed can be loaded. A store with a limit applies it before it writes anything. A
///   token response has up to 1 MiB, and a grant may combine a refresh token and scopes of two.
/// * A future may be dropped at any point. The save then commits or has no effect.
///
/// # Loads
///
/// * A load returns one complete, committed grant. Later loads in the same process never return an
///   older grant (monotonic reads).
/// * The grant is equal to the one that was saved, including its [identity](Grant::identity).
/// * If a grant cannot be read, the load fails. The error or its source names the location of the
///   grant, such as its path. Such a grant is never reported as absent, and never overwritten.
///
/// # Leases
///
/// * A lease has one owner at a time, among all processes. It ends when the owner releases it or
///   when its duration is over, even if the owner has crashed.
/// * A lease may end early, for example in a store that has lost it. The conditional save still
///   protects the grant.
/// * Lease and grant are independent: each may exist without the other.
/// * The cache has a few leases that belong to no grant. Their names are reserved: they start with
///   `tower-oauth2-client/`, and [`TenantId::new`] rejects them. A store that lists its tenants
///   skips names that [`TenantId::new`] rejects.
///
/// # Errors
///
/// The cache treats errors ([`Error::store`]) as transient, and calls again. It limits each call to
/// 10 seconds, so a store needs no deadlines of its own.
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

    /// Acquires the tenant's lease for `owner`, or extends it. The lease expires after `duration`,
    /// counted from now.
    ///
    /// An owner can extend even an expired lease, unless another owner has acquired it since.
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
    /// By default, this future never completes. A store without notifications keeps the default,
    /// because a cache that waits for a lease also polls the store.
    fn changed(&self, tenant: &TenantId) -> impl Future<Output = ()> + Send {
        let _ = tenant;
        future::pending()
    }

    /// Subscribes to the saves of all tenants' grants, by all processes.
    ///
    /// The caches of this process use it to adopt what other replicas save. An
    /// [`Announcer`](super::Announcer) makes subscriptions.
    ///
    /// * Each save that is committed after this call is announced within a second, with its tenant
    ///   and generation, or by [`Missed`](super::Announcement::Missed). That includes the saves of
    ///   this process.
    /// * A load after the announcement returns the saved grant, or a newer one.
    /// * A store that receives announcements over a connection announces `Missed` each time that it
    ///   has connected. A superfluous announcement costs a load at most.
    /// * If the store can announce no more, it [ends](super::Announcer::end) the subscription. The
    ///   caches then subscribe again.
    ///
    /// This call does not wait. It is made inside a tokio runtime, and may start a task there.
    ///
    /// By default the store announces nothing. The caches then load the grants that requests use
    /// every 30 seconds.
    fn subscribe(&self) -> Option<Subscription> {
        None
    }

    /// Returns a page of at most `limit` tenants that may have a grant. The page starts after the
    /// tenant `after`, in the order of the store.
    ///
    /// `None` requests the first page. A sweep uses the pages to find idle grants and keep them
    /// alive.
    ///
    /// * The store chooses a fixed order of all names, stored or not. The last tenant of the
    ///   previous page is `after`. Its grant may have been deleted since.
    /// * An empty page is the end. A page shorter than `limit` is not. If `limit` is 0, the page is
    ///   empty.
    /// * A tenant whose grant was committed before the first page was requested is on exactly one
    ///   page. Concurrent saves and unreadable grants do not change this. A tenant may be missing
    ///   only if the store can no longer read its name.
    /// * A tenant that is first saved between two pages, or has no grant, is on at most one page.
    ///
    /// Each page may be requested from another handle or another process.
    ///
    /// # Errors
    ///
    /// As for the other methods. The default implementation fails with
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

    /// Deletes what the store keeps of leases that have expired long ago, such as those of
    /// processes that have crashed.
    ///
    /// [`Tenants`](crate::tenants::Tenants) call it after each sweep. A lease that has not expired
    /// stays. By default this does nothing, for a store that forgets expired leases by itself.
    ///
    /// # Errors
    ///
    /// As for the other methods. They change nothing: the next sweep tries again.
    fn delete_expired_leases(&self) -> impl Future<Output = Result<(), Error>> + Send {
        future::ready(Ok(()))
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
    /// Nothing was written, because the stored grant does not have the expected generation.
    /// Contains the stored grant, or `None` if no grant is stored.
    Superseded(Option<Grant>),
}
