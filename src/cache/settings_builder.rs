//! The settings that [`TokenCacheBuilder`](super::TokenCacheBuilder) and
//! [`TenantsBuilder`](crate::tenants::TenantsBuilder) have in common.

use std::{
    fmt,
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::Duration,
};

use tokio::{runtime::Handle, sync::Semaphore};

use super::{
    delivery::DeliveryRules,
    grant_store::GrantStore,
    ownership::Ownership,
    presence::Presence,
    propagation::SharedPropagation,
    settings::{Maintenance, Settings},
    source::{ErasedSource, TokenSource},
    state::{LostResponse, Policy, RefreshWindow},
};
use crate::{
    clock::{Clock, SystemClock},
    error::Error,
    provider::Provider,
    store::{ErasedStore, MemoryStore},
    telemetry::{GrantListener, StoreTelemetry, TelemetrySettings, without_query},
    token::{ClientIdentity, TenantId},
};

const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(15);
const SHORTEST_ACQUIRE_TIMEOUT: Duration = Duration::from_millis(100);
const LONGEST_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3_600);
const LONGEST_FETCH_TIMEOUT: Duration = Duration::from_secs(20 * 60);

/// Longer than most programs run that run for a short time only.
const BACKGROUND_DELAY: Duration = Duration::from_secs(60);

const MIN_REFRESH_INTERVAL: Duration = Duration::from_secs(1);
/// A request that needs a new token waits for the rest of the interval.
const LONGEST_MIN_REFRESH_INTERVAL: Duration = Duration::from_secs(600);

/// Half of the 30 seconds for which providers usually accept a rotated refresh token again. After a
/// process has died, another one waits until the lease has expired, and then still has time for the
/// replay.
const LEASE: Duration = Duration::from_secs(15);
/// After a crash, no other process refreshes the grant during the rest of a lease.
const LONGEST_LEASE: Duration = Duration::from_secs(600);
/// A shorter lease would expire before the request that acquires it returns.
const SHORTEST_LEASE: Duration = Duration::from_millis(100);

/// A refresh token with a shorter lifetime could not be kept alive, and one with a longer lifetime
/// does not need to be.
const SHORTEST_REFRESH_TOKEN_LIFETIME: Duration = Duration::from_secs(3_600);
const LONGEST_REFRESH_TOKEN_LIFETIME: Duration = Duration::from_secs(100 * 366 * 86_400);

/// How old a token is before a 401 concerns it, unless the data of the provider say otherwise.
const PROPAGATION: Duration = Duration::from_secs(5);

/// How many caches load at once what the store has announced.
const MAX_LOOKS: usize = 16;

/// The unchecked settings. [`settings_setters!`] writes the public methods that change them.
pub(crate) struct SettingsBuilder {
    source: Box<dyn ErasedSource>,
    /// The data of the source's provider.
    provider: Option<Provider>,
    pub(crate) accepted_identities: Vec<ClientIdentity>,
    pub(crate) store: Box<dyn ErasedStore>,
    pub(crate) added_origins: Vec<String>,
    fetch_timeout: Duration,
    pub(crate) acquire_timeout: Duration,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) jitter_seed: Option<u64>,
    pub(crate) lost_response: LostResponse,
    pub(crate) min_refresh_interval: Duration,
    pub(crate) lease_duration: Duration,
    pub(crate) refresh_token_lifetime: Option<Duration>,
    pub(crate) listener: Option<Arc<dyn GrantListener>>,
    pub(crate) record_tenant: bool,
    pub(crate) replica: Option<String>,
    pub(crate) runtime: Option<Handle>,
    pub(crate) background_delay: Duration,
}

impl SettingsBuilder {
    pub(crate) fn new(source: impl TokenSource) -> Self {
        Self {
            provider: source.provider().cloned(),
            refresh_token_lifetime: None,
            fetch_timeout: source.fetch_timeout().min(LONGEST_FETCH_TIMEOUT),
            acquire_timeout: ACQUIRE_TIMEOUT,
            source: Box::new(source),
            accepted_identities: Vec::new(),
            store: Box::new(MemoryStore::new()),
            added_origins: Vec::new(),
            clock: Arc::new(SystemClock),
            jitter_seed: None,
            lost_response: LostResponse::default(),
            min_refresh_interval: MIN_REFRESH_INTERVAL,
            lease_duration: LEASE,
            listener: None,
            record_tenant: false,
            replica: None,
            runtime: None,
            background_delay: BACKGROUND_DELAY,
        }
    }

    /// Checks the settings of a cache that maintains itself in a background task of its own.
    pub(super) fn build(self) -> Result<Settings, Error> {
        self.checked(Maintenance::Own)
    }

    /// Checks the settings of many caches that one background task maintains.
    pub(crate) fn build_shared(self) -> Result<Arc<Settings>, Error> {
        if self.source.serves_one_subject() {
            return Err(Error::configuration(
                "source: it serves one subject, whose tokens all tenants would share; build a \
                 TokenCache over a source of its own for each subject",
            ));
        }
        self.checked(Maintenance::Shared).map(Arc::new)
    }

    fn checked(self, maintenance: Maintenance) -> Result<Settings, Error> {
        let provider = self.provider;
        let has_gate = self.source.gate().is_some();
        let of_provider = provider.as_ref().map(Provider::api_origins);
        let mut origins = of_provider.unwrap_or_default().to_vec();
        for url in &self.added_origins {
            origins.push(url.parse()?);
        }
        let delivery = DeliveryRules::of(provider.as_ref(), &self.clock);
        if origins.is_empty() && !delivery.has_tenant_origins() {
            return Err(Error::configuration(
                "origins: add at least one origin that may receive the token",
            ));
        }
        let of_provider = provider.as_ref().and_then(Provider::refresh_token_lifetime);
        let refresh_token_lifetime = self.refresh_token_lifetime.or(of_provider);
        if self
            .refresh_token_lifetime
            .is_some_and(|lifetime| lifetime < SHORTEST_REFRESH_TOKEN_LIFETIME)
        {
            return Err(Error::configuration(
                "refresh token lifetime: must be at least 1 hour",
            ));
        }
        if !(SHORTEST_LEASE..=LONGEST_LEASE).contains(&self.lease_duration) {
            return Err(Error::configuration(
                "lease duration: must be between 100 milliseconds and 10 minutes",
            ));
        }
        if !(SHORTEST_ACQUIRE_TIMEOUT..=LONGEST_ACQUIRE_TIMEOUT).contains(&self.acquire_timeout) {
            return Err(Error::configuration(
                "acquire timeout: must be between 100 milliseconds and 1 hour",
            ));
        }
        if self.min_refresh_interval > LONGEST_MIN_REFRESH_INTERVAL {
            return Err(Error::configuration(
                "min refresh interval: must be at most 10 minutes",
            ));
        }
        if self
            .replica
            .as_deref()
            .is_some_and(|name| TenantId::new(name).is_err())
        {
            return Err(Error::configuration(
                "replica: use a name with 1 to 255 bytes and without control characters",
            ));
        }
        Ok(Settings {
            store: GrantStore::new(
                self.store,
                Ownership::new(self.source.identity(), self.accepted_identities),
            ),
            source: self.source,
            clock: self.clock,
            origins,
            token_rejections: provider
                .as_ref()
                .map(Provider::token_rejections)
                .unwrap_or_default()
                .to_vec(),
            policy: Policy {
                lost_response: self.lost_response,
                min_refresh_interval: self.min_refresh_interval,
                lease: self.lease_duration,
                fetch_timeout: self.fetch_timeout,
                refresh_token_lifetime: refresh_token_lifetime
                    .map(|lifetime| lifetime.min(LONGEST_REFRESH_TOKEN_LIFETIME)),
                refresh_window: RefreshWindow {
                    earliest: provider.as_ref().and_then(Provider::earliest_refresh),
                    latest: provider.as_ref().and_then(Provider::latest_refresh),
                },
                reuse_grace: provider.as_ref().and_then(Provider::reuse_grace),
                propagation: provider
                    .as_ref()
                    .and_then(Provider::propagation_delay)
                    .unwrap_or(PROPAGATION),
            },
            delivery,
            acquire_timeout: self.acquire_timeout,
            random: Mutex::new(
                self.jitter_seed
                    .map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed),
            ),
            store_telemetry: StoreTelemetry::new(self.record_tenant),
            telemetry: Arc::new(TelemetrySettings {
                record_tenant: self.record_tenant,
                listener: self.listener,
                endpoint: provider
                    .as_ref()
                    .map(|provider| without_query(&provider.refresh_endpoint().to_string())),
                has_gate,
                is_failing: AtomicBool::new(false),
            }),
            replica: self.replica.unwrap_or_else(random_replica).into(),
            maintenance,
            own_runtime: self.runtime,
            presence: Presence::new(self.background_delay),
            propagation: SharedPropagation::default(),
            looks: Semaphore::new(MAX_LOOKS),
        })
    }
}

impl fmt::Debug for SettingsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SettingsBuilder")
            .field("provider", &self.provider)
            .field("added_origins", &self.added_origins)
            .finish_non_exhaustive()
    }
}

/// A name that differs from those of other processes.
fn random_replica() -> String {
    format!("{:08x}", fastrand::u32(..))
}

/// Writes the setters of a builder that has a field `settings: SettingsBuilder`.
macro_rules! settings_setters {
    () => {
        /// Sets the store that keeps the grants. Defaults to a
        /// [`MemoryStore`](crate::store::MemoryStore), which loses them when the process ends.
        pub fn store(mut self, store: impl crate::store::TokenStore) -> Self {
            self.settings.store = Box::new(store);
            self
        }

        /// Also accepts stored grants of this identity, which the source had before: its token
        /// endpoint has another URL now, or its client another id, and the provider still accepts
        /// the refresh tokens. Can be called more than once.
        ///
        /// The cache uses such grants as its own, and gives them the identity of the source with
        /// the next save. Processes with the old settings then reject them. If both run at the
        /// same time, let each accept the identity of the other.
        ///
        /// By default, a grant of another [identity](crate::cache::TokenSource::identity) is not
        /// used: each call that needs it fails with
        /// [`ForeignGrant`](crate::ErrorKind::ForeignGrant).
        pub fn accept_identity(mut self, identity: crate::token::ClientIdentity) -> Self {
            self.settings.accepted_identities.push(identity);
            self
        }

        /// Adds an origin that may receive the token, such as `https://api.example.com`, to those
        /// that the source names. An [`OAuthClient`](crate::oauth::OAuthClient) names the API
        /// origins of its provider.
        pub fn origin(mut self, url: impl Into<String>) -> Self {
            self.settings.added_origins.push(url.into());
            self
        }

        /// Sets the clock. Defaults to the operating system's.
        pub fn clock(mut self, clock: impl crate::clock::Clock) -> Self {
            self.settings.clock = std::sync::Arc::new(clock);
            self
        }

        /// Seeds the jitter of refresh times and backoff, so that a test can repeat them. Defaults
        /// to a random seed.
        pub fn jitter_seed(mut self, seed: u64) -> Self {
            self.settings.jitter_seed = Some(seed);
            self
        }

        /// Sets what happens after a lost response. Defaults to
        /// [`LostResponse::RetryOnce`](crate::cache::LostResponse::RetryOnce).
        pub fn lost_response(mut self, policy: crate::cache::LostResponse) -> Self {
            self.settings.lost_response = policy;
            self
        }

        /// Sets how long a caller waits for a token that is being refreshed: 100 milliseconds to 1
        /// hour. Defaults to 15 seconds.
        ///
        /// A caller that stops waiting gets the held token if it is still valid, and otherwise an
        /// [`Unavailable`](crate::ErrorKind::Unavailable) error. The refresh continues: the
        /// response to a token request cannot be requested again. It has a longer time of its own,
        /// the [`fetch_timeout`](crate::cache::TokenSource::fetch_timeout) of the source.
        pub fn acquire_timeout(mut self, timeout: std::time::Duration) -> Self {
            self.settings.acquire_timeout = timeout;
            self
        }

        /// Sets the shortest time between the starts of two refreshes of one grant, whatever the
        /// provider responds: at most 10 minutes. Defaults to 1 second; use less only in tests with
        /// tokens that live for a few seconds.
        pub fn min_refresh_interval(mut self, interval: std::time::Duration) -> Self {
            self.settings.min_refresh_interval = interval;
            self
        }

        /// Sets how long the lease on a grant lasts. A refresh acquires the lease, and extends
        /// it each time that a third of this duration has passed.
        ///
        /// From 100 milliseconds to 10 minutes. Defaults to 15 seconds; use less only in tests. If
        /// a process dies during a refresh, no other process refreshes that grant until the lease
        /// has expired, unless the store detects the death earlier.
        pub fn lease_duration(mut self, duration: std::time::Duration) -> Self {
            self.settings.lease_duration = duration;
            self
        }

        /// Sets how long an unused refresh token lives. An idle grant is refreshed before that time
        /// has passed, and telemetry reports a refresh token that is about to expire.
        ///
        /// At least 1 hour. A lifetime that a token response states takes precedence for its
        /// refresh token. Defaults to the lifetime that the source
        /// [states](crate::cache::TokenSource::provider). For an
        /// [`OAuthClient`](crate::oauth::OAuthClient), this is the lifetime of its provider, such
        /// as 30 days for [`justworks`](crate::provider::justworks).
        pub fn refresh_token_lifetime(mut self, lifetime: std::time::Duration) -> Self {
            self.settings.refresh_token_lifetime = Some(lifetime);
            self
        }

        /// Sets how long the program has to be running before refreshes start for which no caller
        /// waits. Defaults to 60 seconds.
        ///
        /// A program that ends during a refresh loses the next refresh token with the response.
        /// Until this time has passed, only a request that needs the new token starts a refresh,
        /// and waits for it. So a short program loses no grant, even if it ends without
        /// [`shutdown`](crate::cache::TokenCache::shutdown). Set it to zero if the program always
        /// ends with a shutdown.
        ///
        /// The time counts while the runtime of the background task is running. It starts again
        /// after a standstill of more than 2 seconds, as between two calls of `block_on`.
        pub fn background_delay(mut self, delay: std::time::Duration) -> Self {
            self.settings.background_delay = delay;
            self
        }

        /// Sets the tokio runtime for all background tasks and refreshes. It needs time enabled,
        /// and for an HTTP client usually I/O.
        ///
        /// By default a task runs in the runtime of the call that starts it. Set this if that
        /// runtime may end, or stand still: a current-thread runtime runs only during `block_on`,
        /// and a refresh that stands still for 10 seconds counts as a lost response.
        pub fn runtime(mut self, runtime: tokio::runtime::Handle) -> Self {
            self.settings.runtime = Some(runtime);
            self
        }

        /// Sets the listener that is called when the state of a grant changes. Defaults to none.
        pub fn listener(mut self, listener: impl crate::telemetry::GrantListener) -> Self {
            self.settings.listener = Some(std::sync::Arc::new(listener));
            self
        }

        /// Sets the name of this process in the [history](crate::token::History) of grants, such as
        /// the name of its pod. Defaults to eight random characters.
        ///
        /// It need not be unique: it only says to an operator where to look. Building fails if it
        /// is empty, has more than 255 bytes, or contains control characters.
        pub fn replica(mut self, name: impl Into<String>) -> Self {
            self.settings.replica = Some(name.into());
            self
        }

        /// Records the tenant in events, spans and metrics. Off by default.
        pub fn record_tenant(mut self) -> Self {
            self.settings.record_tenant = true;
            self
        }
    };
}

pub(crate) use settings_setters;
