//! Settings of a [`TokenCache`], checked when it is built.

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{
    LostResponse, TokenCache, TokenSource,
    settings::{Keeping, Settings},
    source::ErasedSource,
};
use crate::{
    clock::{Clock, SystemClock},
    error::Error,
    store::{ErasedStore, MemoryStore, TokenStore},
    telemetry::{Audience, GrantListener},
    token::TenantId,
};

/// Between the beginnings of two exchanges, whatever comes back.
const FLOOR: Duration = Duration::from_secs(1);

/// Less than the half minute for which providers forgive a second use: who comes after a process that died has to wait for
/// this, and then asks once more for the answer.
const LEASE: Duration = Duration::from_secs(15);
/// One that is over before it is taken.
const SHORTEST_LEASE: Duration = Duration::from_millis(100);

/// A refresh token that does not live for this long could not be kept alive; one that lives for longer needs not be.
const SHORTEST_LIFE: Duration = Duration::from_secs(3_600);
const LONGEST_LIFE: Duration = Duration::from_secs(100 * 366 * 86_400);

/// Builds a [`TokenCache`].
#[must_use = "a builder does nothing before it is built"]
pub struct TokenCacheBuilder {
    source: Box<dyn ErasedSource>,
    store: Box<dyn ErasedStore>,
    tenant: Option<String>,
    origins: Vec<crate::Origin>,
    added_origins: Vec<String>,
    clock: Arc<dyn Clock>,
    seed: Option<u64>,
    lost_response: LostResponse,
    floor: Duration,
    lease: Duration,
    refresh_token_lifetime: Option<Duration>,
    listener: Option<Arc<dyn GrantListener>>,
    records_tenant: bool,
}

impl TokenCacheBuilder {
    pub(super) fn new(source: impl TokenSource) -> Self {
        let origins = source.origins();
        let refresh_token_lifetime = source.refresh_token_lifetime();
        Self {
            source: Box::new(source),
            store: Box::new(MemoryStore::new()),
            tenant: None,
            origins,
            added_origins: Vec::new(),
            clock: Arc::new(SystemClock),
            seed: None,
            lost_response: LostResponse::default(),
            floor: FLOOR,
            lease: LEASE,
            refresh_token_lifetime,
            listener: None,
            records_tenant: false,
        }
    }

    /// Sets where the grant rests. Defaults to memory, which a restart empties.
    pub fn store(mut self, store: impl TokenStore) -> Self {
        self.store = Box::new(store);
        self
    }

    /// Sets whose grant it is, where a store keeps several. Defaults to `default`.
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// Adds an origin that the token is meant for, to those that the source names (those of the provider, for an
    /// [`OAuthClient`](crate::oauth::OAuthClient)).
    pub fn origin(mut self, url: impl Into<String>) -> Self {
        self.added_origins.push(url.into());
        self
    }

    /// Sets where the time comes from. Defaults to the operating system.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Sets what the random choice of refresh times and pauses starts from, so that a test can repeat them. Defaults to
    /// something else in each cache.
    pub fn jitter_seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Sets what to do when the answer to an exchange was lost. Defaults to [`LostResponse::RetryOnce`].
    pub fn lost_response(mut self, policy: LostResponse) -> Self {
        self.lost_response = policy;
        self
    }

    /// Sets how far apart the beginnings of two exchanges are at least, whatever the provider answers. Defaults to a second;
    /// less is for tests with tokens that live for less than a few.
    pub fn min_refresh_interval(mut self, floor: Duration) -> Self {
        self.floor = floor;
        self
    }

    /// Sets how long the grant's lease lasts that this cache takes for an exchange, and extends each third of that while the
    /// exchange goes on. Defaults to 15 seconds: for so long a grant is nobody's after a process died, unless the store
    /// knows better. Less than an exchange takes is for tests.
    pub fn lease_duration(mut self, duration: Duration) -> Self {
        self.lease = duration;
        self
    }

    /// Sets how long a refresh token lives that is not used, so that an idle grant is kept alive before that, and somebody
    /// hears of it if that fails. Defaults to what the source says (30 days for Justworks).
    pub fn refresh_token_lifetime(mut self, lifetime: Duration) -> Self {
        self.refresh_token_lifetime = Some(lifetime);
        self
    }

    /// Sets who hears of what becomes of the grant. Defaults to nobody.
    pub fn listener(mut self, listener: impl GrantListener) -> Self {
        self.listener = Some(Arc::new(listener));
        self
    }

    /// Lets events, spans and metrics name the tenant. By default they do not.
    pub fn record_tenant(mut self) -> Self {
        self.records_tenant = true;
        self
    }

    /// Builds the cache. Inside a tokio runtime, which has to have time enabled, its background task begins at once, and reads the store, so that a grant
    /// that nobody uses is kept alive; elsewhere that waits until the first token is asked for. Nothing is sent before then,
    /// but to keep a grant alive.
    ///
    /// # Errors
    ///
    /// [`Configuration`](crate::ErrorKind::Configuration), by name: an origin that is not one, no origin at all, a tenant name
    /// that is not one, a refresh token's life of less than an hour, or a lease of less than 100 milliseconds.
    pub fn build(mut self) -> Result<TokenCache, Error> {
        let tenant = TenantId::new(self.tenant.take().unwrap_or_else(|| "default".into()))?;
        let settings = self.settings(Keeping::Own)?;
        Ok(TokenCache::begin(Arc::new(settings), tenant, None))
    }

    /// What a number of caches have in common, which somebody looks after.
    pub(crate) fn build_many(self) -> Result<Arc<Settings>, Error> {
        if self.tenant.is_some() {
            return Err(Error::configuration(
                "tenant: name none where each request names its own",
            ));
        }
        self.settings(Keeping::Shared).map(Arc::new)
    }

    fn settings(mut self, keeping: Keeping) -> Result<Settings, Error> {
        for url in &self.added_origins {
            self.origins.push(url.parse()?);
        }
        if self.origins.is_empty() {
            return Err(Error::configuration(
                "origins: name at least one that the token is meant for",
            ));
        }
        if self
            .refresh_token_lifetime
            .is_some_and(|lifetime| lifetime < SHORTEST_LIFE)
        {
            return Err(Error::configuration(
                "refresh token lifetime: it is less than an hour",
            ));
        }
        if self.lease < SHORTEST_LEASE {
            return Err(Error::configuration(
                "lease duration: it is less than 100 milliseconds",
            ));
        }
        Ok(Settings {
            source: self.source,
            store: self.store,
            clock: self.clock,
            origins: self.origins,
            lost_response: self.lost_response,
            floor: self.floor,
            lease: self.lease,
            refresh_token_lifetime: self
                .refresh_token_lifetime
                .map(|life| life.min(LONGEST_LIFE)),
            random: Mutex::new(
                self.seed
                    .map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed),
            ),
            audience: Arc::new(Audience {
                records_tenant: self.records_tenant,
                listener: self.listener,
            }),
            keeping,
        })
    }
}

impl fmt::Debug for TokenCacheBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCacheBuilder")
            .field("tenant", &self.tenant)
            .field("origins", &self.origins)
            .finish_non_exhaustive()
    }
}
