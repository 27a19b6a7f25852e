//! A store that contains a grant of every tenant, made when it is loaded.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::sleep;

use tower_oauth2_client::{
    Error,
    clock::{Clock, SystemClock},
    store::{LeaseOutcome, LeaseOwner, SaveOutcome, TokenStore},
    token::{AccessToken, Generation, Grant, GrantState, RefreshToken, TenantId, TokenSet},
};

/// Characters of each access token.
pub const ACCESS_TOKEN: usize = 1_024;
/// Characters of each refresh token.
pub const REFRESH_TOKEN: usize = 64;

pub(crate) struct SyntheticStore;

/// A [`SyntheticStore`] that lists its tenants, takes a while for each load and each page, and
/// counts its calls.
#[derive(Clone)]
pub struct CountingStore(Arc<Counted>);

#[derive(Debug)]
struct Counted {
    tenants: u64,
    delay: Duration,
    loads: AtomicU64,
    pages: AtomicU64,
    saves: AtomicU64,
}

/// The calls of a [`CountingStore`].
#[derive(Clone, Copy, Debug)]
pub struct Calls {
    pub loads: u64,
    pub pages: u64,
    pub saves: u64,
}

impl CountingStore {
    pub fn new(tenants: u64, delay: Duration) -> Self {
        Self(Arc::new(Counted {
            tenants,
            delay,
            loads: AtomicU64::new(0),
            pages: AtomicU64::new(0),
            saves: AtomicU64::new(0),
        }))
    }

    /// The calls so far.
    pub fn calls(&self) -> Calls {
        Calls {
            loads: self.0.loads.load(Ordering::Relaxed),
            pages: self.0.pages.load(Ordering::Relaxed),
            saves: self.0.saves.load(Ordering::Relaxed),
        }
    }

    async fn delayed(&self) {
        if !self.0.delay.is_zero() {
            sleep(self.0.delay).await;
        }
    }
}

/// The tenant of a number, so that the names have the order of the numbers.
pub fn numbered(number: u64) -> TenantId {
    TenantId::new(format!("customer-{number:08}")).unwrap()
}

impl TokenStore for CountingStore {
    async fn load(&self, tenant: &TenantId) -> Result<Option<Grant>, Error> {
        self.0.loads.fetch_add(1, Ordering::Relaxed);
        self.delayed().await;
        SyntheticStore.load(tenant).await
    }

    async fn save(
        &self,
        tenant: &TenantId,
        expected: Option<Generation>,
        grant: &Grant,
    ) -> Result<SaveOutcome, Error> {
        self.0.saves.fetch_add(1, Ordering::Relaxed);
        SyntheticStore.save(tenant, expected, grant).await
    }

    async fn acquire(
        &self,
        _: &TenantId,
        _: &LeaseOwner,
        _: Duration,
    ) -> Result<LeaseOutcome, Error> {
        Ok(LeaseOutcome::Acquired)
    }

    async fn release(&self, _: &TenantId, _: &LeaseOwner) -> Result<(), Error> {
        Ok(())
    }

    async fn tenants(
        &self,
        after: Option<&TenantId>,
        limit: usize,
    ) -> Result<Vec<TenantId>, Error> {
        self.0.pages.fetch_add(1, Ordering::Relaxed);
        self.delayed().await;
        let number = |tenant: &TenantId| tenant.as_str().rsplit('-').next()?.parse().ok();
        let first = after.and_then(number).map_or(0, |last: u64| last + 1);
        Ok((first..self.0.tenants).take(limit).map(numbered).collect())
    }
}

impl TokenStore for SyntheticStore {
    async fn load(&self, tenant: &TenantId) -> Result<Option<Grant>, Error> {
        let now = SystemClock.wall();
        let day = Duration::from_secs(86_400);
        let padded = |length: usize| format!("{:x<length$}", tenant.as_str());
        let tokens = TokenSet::new(AccessToken::new(padded(ACCESS_TOKEN))?, day, now)
            .with_refresh_token(RefreshToken::new(padded(REFRESH_TOKEN)), now);
        Ok(Some(Grant::new(
            Generation::FIRST,
            GrantState::Active(tokens),
        )))
    }

    async fn save(
        &self,
        _: &TenantId,
        _: Option<Generation>,
        _: &Grant,
    ) -> Result<SaveOutcome, Error> {
        Err(Error::store("a synthetic store is read-only"))
    }

    async fn acquire(
        &self,
        _: &TenantId,
        _: &LeaseOwner,
        _: Duration,
    ) -> Result<LeaseOutcome, Error> {
        Ok(LeaseOutcome::HeldByAnother)
    }

    async fn release(&self, _: &TenantId, _: &LeaseOwner) -> Result<(), Error> {
        Ok(())
    }
}
