//! The result of a sweep.

use std::time::{Duration, SystemTime};

use crate::token::TenantId;

/// The result of a sweep over all tenants in the store.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SweepReport {
    /// When the sweep started, by the wall clock of this machine.
    pub started_at: SystemTime,
    /// How long the sweep took.
    pub duration: Duration,
    /// The number of tenants with an active grant.
    pub active: u64,
    /// The number of tenants whose grant has ended: at the provider, or by a revocation.
    pub ended: u64,
    /// The number of grants that the store could not read.
    pub unreadable: u64,
    /// The number of grants of other clients, which were skipped: see
    /// [`TokenSource::identity`](crate::cache::TokenSource::identity).
    pub foreign: u64,
    /// The number of idle grants that were due and were refreshed.
    pub kept_alive: u64,
    /// The number of idle grants that were due and could not be refreshed, because the refresh or
    /// the store failed. The background task retries a grant after a backoff if its tenant is
    /// resident. The next sweep retries the others; after five failures that are no outage, one
    /// sweep in 6 hours does.
    pub failed: u64,
    /// When the grant that was not refreshed for the longest time was last refreshed, before this
    /// sweep and of those with a refresh token. `None` if there are none.
    pub oldest_refresh: Option<SystemTime>,
    /// The grants whose refresh token expires within 7 days, or within a third of its lifetime if
    /// that is shorter, ordered by expiry. Grants that were refreshed during the sweep are not
    /// listed.
    pub expiring: Vec<ExpiringGrant>,
}

/// A grant whose refresh token expires soon, and which the sweep has not refreshed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExpiringGrant {
    /// The tenant of the grant.
    pub tenant: TenantId,
    /// When the refresh token expires, by the wall clock of this machine.
    pub expires_at: SystemTime,
}
