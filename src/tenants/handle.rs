//! The public handle.

use std::{
    fmt,
    sync::{Arc, PoisonError},
    time::Duration,
};

use http::HeaderName;
use tokio::{runtime::Handle, task::JoinSet, time::timeout};

use super::{
    consents::LONGEST as LONGEST_CONSENT,
    health::{self, Health},
    loading::load,
    state::TenantsState,
    sweep,
    sweep_report::SweepReport,
};
use crate::{
    cache::{BearerToken, Diagnosis, Status, TokenCache},
    error::{Error, ErrorKind},
    oauth::{EndpointGate, OAuthClient, PendingAuthorization},
    origin::Origin,
    rejection::TokenRejection,
    token::{ConsentDecision, History, KeptValues, TenantId, TokenSet},
};

/// How long a shutdown waits for the store to release the lease of the sweep, which would expire
/// after a minute.
const RELEASE_LIMIT: Duration = Duration::from_secs(2);

/// Manages the grants of many tenants. The [module page](crate::tenants) explains how.
///
/// A `Tenants` is a handle: clones share all state. The background tasks end when the last handle
/// is dropped. Refreshes in flight still run to completion.
///
/// Async methods must be called inside a tokio runtime with time enabled. Their futures may be
/// dropped at any point; a refresh, save or revocation that has started continues.
#[derive(Clone)]
pub struct Tenants {
    state: Arc<TenantsState>,
}

impl Tenants {
    pub(super) fn new(state: Arc<TenantsState>) -> Self {
        Self { state }
    }

    /// Returns the [`TokenCache`] of a tenant. Loads the tenant if it is not resident.
    ///
    /// The tenant stays resident as long as the returned handle exists.
    ///
    /// # Errors
    ///
    /// * [`NoGrant`](ErrorKind::NoGrant) if the store has no grant for the tenant;
    /// * [`Store`](ErrorKind::Store) if the store cannot be read;
    /// * [`Unavailable`](ErrorKind::Unavailable) if the capacity is exhausted, because every
    ///   resident tenant is in use;
    /// * [`Interrupted`](ErrorKind::Interrupted) after a [`shutdown`](Self::shutdown), or outside
    ///   of a runtime.
    pub async fn cache(&self, tenant: &TenantId) -> Result<TokenCache, Error> {
        match self.state.residents.get_locked(tenant) {
            Some(cache) => Ok(cache),
            None => load(&self.state, tenant).await,
        }
    }

    /// Returns a token for a request of a tenant. Returns at once if the tenant is resident and its
    /// token is fresh.
    ///
    /// Requests through a [`BearerAuth`](crate::bearer::BearerAuth) service do not need this.
    ///
    /// # Errors
    ///
    /// As [`cache`](Self::cache) and [`TokenCache::token`].
    pub async fn token(&self, tenant: &TenantId) -> Result<BearerToken, Error> {
        let cache = match self.resident(tenant) {
            Some(cache) => cache,
            None => load(&self.state, tenant).await?,
        };
        cache.token().await
    }

    /// Returns the values that are kept with a tenant's grant, such as an account id or the address
    /// of the customer's API. Loads the tenant if it is not resident; see [`TokenCache::values`].
    ///
    /// # Errors
    ///
    /// As [`cache`](Self::cache) and [`TokenCache::values`].
    pub async fn values(&self, tenant: &TenantId) -> Result<KeptValues, Error> {
        self.cache(tenant).await?.values().await
    }

    /// Completes a tenant's authorization after the browser has come back: checks the callback,
    /// exchanges the code, and saves and uses the tokens.
    ///
    /// The tenant may be new, or have a grant that is replaced. `oauth` is the client that made
    /// `pending`, and `callback` is the URL that the browser was redirected to, or its query, or
    /// the [form](crate::provider::ResponseMode::FormPost) that it has sent.
    /// [`TokenCache::complete_authorization`] has an example.
    ///
    /// # Cancellation
    ///
    /// From the first poll the work runs in a task of its own, and dropping the future does not
    /// stop it. [`shutdown`](Self::shutdown) waits for it.
    ///
    /// # Errors
    ///
    /// The errors of [`TokenCache::complete_authorization`].
    /// [`Unavailable`](ErrorKind::Unavailable) without sending the code, at once, if a code of this
    /// tenant is being exchanged: each tenant exchanges one code at a time. If the tenant cannot be
    /// loaded, the method fails as [`cache`](Self::cache) does, and does not send the code. It does
    /// not fail with [`NoGrant`](ErrorKind::NoGrant). [`Store`](ErrorKind::Store) without sending
    /// the code if most stored grants cannot be read, as with a wrong encryption key: the new grant
    /// would be saved with it, and other replicas could not read it.
    pub async fn complete_authorization(
        &self,
        tenant: &TenantId,
        oauth: &OAuthClient,
        pending: &PendingAuthorization,
        callback: &str,
    ) -> Result<(), Error> {
        let code = pending.accept(callback)?;
        let now = self.state.settings.clock.monotonic();
        let consent = self.state.consents.begin(tenant, pending.state(), now)?;
        let runtime = self.state.settings.runtime();
        let runtime = runtime.ok_or_else(Error::outside_of_a_runtime)?;
        let (tenants, tenant, oauth) = (self.clone(), tenant.clone(), oauth.clone());
        let task = runtime.spawn(async move {
            let _consent = consent;
            health::check_consent(&tenants.state).await?;
            // Resident from here on, so that a shutdown waits for it.
            let cache = match tenants.cache(&tenant).await {
                // Without a grant, or without room for it in memory: there is room for a consent.
                Err(error)
                    if matches!(error.kind(), ErrorKind::NoGrant | ErrorKind::Unavailable) =>
                {
                    tenants.state.resident_for_consent(&tenant)?
                }
                loaded => loaded?,
            };
            let completed = cache.exchange_code(&oauth, code).await;
            tenants.state.after_consent(&tenant, completed)
        });
        let ended = self
            .state
            .settings
            .limited(LONGEST_CONSENT, task)?
            .await
            .ok();
        let ended = ended.ok_or_else(|| {
            Error::new(
                ErrorKind::Interrupted,
                "the authorization has not ended within 20 minutes: its runtime stands still",
            )
        })?;
        ended.map_err(|error| {
            Error::new(
                ErrorKind::Interrupted,
                "the authorization was interrupted: the runtime shut down, or the token store \
                 panicked",
            )
            .with_source(error)
        })?
    }

    /// Saves and uses the tokens of a new consent; see [`TokenCache::set_tokens`].
    ///
    /// The tenant may be new. If it has a grant, the tokens replace that grant.
    ///
    /// # Errors
    ///
    /// * [`RefreshTokenMissing`](ErrorKind::RefreshTokenMissing) if the tokens contain no refresh
    ///   token and the stored grant has one, which is then
    ///   [unchanged](crate::cache#consents-without-a-refresh-token);
    /// * [`Store`](ErrorKind::Store) if the save failed. The tokens are not used, but the store may
    ///   have received them. Call this again with the same tokens;
    /// * [`Interrupted`](ErrorKind::Interrupted) after a [`shutdown`](Self::shutdown), outside of a
    ///   runtime, or if the store panicked.
    ///
    /// If every resident tenant is in use, the [capacity](super::TenantsBuilder::capacity) is
    /// exceeded until one is not.
    pub async fn set_tokens(&self, tenant: &TenantId, tokens: TokenSet) -> Result<(), Error> {
        self.set_tokens_with(tenant, tokens, ConsentDecision::default())
            .await
    }

    /// Saves and uses the tokens of a new consent. `decision` says what happens if they contain no
    /// refresh token and the stored grant has one; see [`TokenCache::set_tokens_with`].
    ///
    /// # Errors
    ///
    /// As [`set_tokens`](Self::set_tokens) and [`TokenCache::set_tokens_with`].
    pub async fn set_tokens_with(
        &self,
        tenant: &TenantId,
        tokens: TokenSet,
        decision: ConsentDecision,
    ) -> Result<(), Error> {
        let cache = self.state.resident_for_consent(tenant)?;
        let saved = cache.set_tokens_with(tokens, decision).await;
        self.state.after_consent(tenant, saved)
    }

    /// Saves and uses the tokens of a used code, about which the program decides.
    #[cfg(feature = "axum")]
    pub(crate) async fn set_tokens_of_code(
        &self,
        tenant: &TenantId,
        tokens: TokenSet,
        decisions: Arc<crate::cache::Decisions>,
    ) -> Result<(), Error> {
        let cache = self.state.resident_for_consent(tenant)?;
        let saved = cache.set_tokens_of_code(tokens, decisions).await;
        self.state.after_consent(tenant, saved)
    }

    /// Revokes a tenant's grant; see [`TokenCache::revoke`].
    ///
    /// Call this again until it succeeds. Until the provider has confirmed the revocation, the
    /// tokens are kept in memory only, and the tenant is not evicted for 24 hours. If the process
    /// ends, or the tenant is evicted later, these tokens are lost: later calls succeed without a
    /// request to the provider, where they may stay valid.
    ///
    /// # Errors
    ///
    /// As [`cache`](Self::cache) and [`TokenCache::revoke`].
    pub async fn revoke(&self, tenant: &TenantId) -> Result<(), Error> {
        self.cache(tenant).await?.revoke().await
    }

    /// Returns the status of a tenant's grant, after a load from the store. Sends no request to the
    /// provider. A tenant without a grant is [`Absent`](crate::cache::TokenState::Absent).
    ///
    /// # Errors
    ///
    /// As [`cache`](Self::cache) and [`TokenCache::load_status`], but not
    /// [`NoGrant`](ErrorKind::NoGrant).
    pub async fn status(&self, tenant: &TenantId) -> Result<Status, Error> {
        match self.state.residents.get_locked(tenant) {
            Some(cache) => cache.load_status().await,
            None => match load(&self.state, tenant).await {
                Ok(cache) => Ok(cache.status()),
                Err(error) if error.kind() == ErrorKind::NoGrant => Ok(Status::absent()),
                Err(error) => Err(error),
            },
        }
    }

    /// Returns whether a tenant's customer has to consent, after a load from the store: because
    /// there is no grant, or because it has ended or was revoked. See [`Status::needs_consent`].
    ///
    /// # Errors
    ///
    /// As [`status`](Self::status).
    pub async fn needs_consent(&self, tenant: &TenantId) -> Result<bool, Error> {
        Ok(self.status(tenant).await?.needs_consent())
    }

    /// Checks whether this process can serve its tenants: for a readiness probe, and for operators.
    ///
    /// Reads a few grants from the store, as requests do, and reports what is known in memory. It
    /// takes less than a second, also if the store does not respond, and sends no request to the
    /// provider. A result of the store serves all calls of the next second.
    ///
    /// A liveness probe must not depend on it: a restart does not bring a database back.
    ///
    /// ```
    /// # use std::time::{Duration, SystemTime};
    /// # use tower_oauth2_client::{
    /// #     Error, cache::token_fn, store::MemoryStore, token::{AccessToken, TenantId, TokenSet},
    /// # };
    /// use tower_oauth2_client::tenants::Tenants;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let oauth = token_fn(|| async { Err::<TokenSet, _>(Error::invalid_grant()) });
    /// # let tenants = Tenants::builder(oauth)
    /// #     .store(MemoryStore::new()).origin("https://api.example.com").build()?;
    /// # let (token, minute) = (AccessToken::new("a")?, Duration::from_secs(60));
    /// # let token = TokenSet::new(token, minute, SystemTime::now());
    /// # tenants.set_tokens(&TenantId::new("acme")?, token).await?;
    /// let health = tenants.health().await;
    /// let status = if health.is_ready() { 200 } else { 503 };
    /// let body = serde_json::to_string(&health)?;
    /// assert_eq!(status, 200);
    /// assert!(body.contains(r#""store":{"state":"readable","error":null}"#));
    /// # Ok(()) }
    /// ```
    pub async fn health(&self) -> Health {
        health::check(&self.state).await
    }

    /// Finds out why a tenant's grant does not work; see [`TokenCache::diagnose`]. The tenant does
    /// not become resident.
    ///
    /// Never fails: an error of the store is a cause, and so is a tenant without a grant.
    pub async fn diagnose(&self, tenant: &TenantId) -> Diagnosis {
        if let Some(cache) = self.state.residents.peek(tenant) {
            return cache.diagnose().await;
        }
        let settings = &self.state.settings;
        let loaded = settings.load_recorded(tenant).await;
        let stored = loaded.as_ref().ok().and_then(Option::as_ref);
        // It is not maintained, so it only decides what the status is.
        let begin = |grant| TokenCache::begin(Arc::clone(settings), tenant.clone(), Some(grant));
        let status = stored.map_or_else(Status::absent, |grant| begin(grant).status());
        let endpoint = settings.gate().map(EndpointGate::status);
        Diagnosis::new(loaded, status, None, &History::default(), endpoint)
    }

    /// Returns the number of resident tenants, whose caches are held in memory.
    #[must_use]
    pub fn resident_count(&self) -> usize {
        self.state.residents.len()
    }

    /// Lists at most `limit` tenants in the store, in the order of the store.
    ///
    /// The list starts with the tenant that follows `after`, or with the first tenant if `after` is
    /// `None`. An empty list is the end.
    ///
    /// # Errors
    ///
    /// [`Configuration`](ErrorKind::Configuration) if the store cannot list its tenants;
    /// [`Store`](ErrorKind::Store) if it cannot be read.
    pub async fn list(
        &self,
        after: Option<&TenantId>,
        limit: usize,
    ) -> Result<Vec<TenantId>, Error> {
        self.state.settings.store.tenants(after, limit).await
    }

    /// Sweeps now, unless another process does: checks all tenants in the store, and refreshes the
    /// idle grants that are due.
    ///
    /// A background task does this at each
    /// [`sweep_interval`](super::TenantsBuilder::sweep_interval). If the future is dropped, or
    /// after a [`shutdown`](Self::shutdown), the sweep ends early. The next sweep refreshes the
    /// grants that are still due.
    ///
    /// # Errors
    ///
    /// * [`Unavailable`](ErrorKind::Unavailable) if another process owns the lease that permits a
    ///   sweep;
    /// * [`Configuration`](ErrorKind::Configuration) if the store cannot list its tenants;
    /// * [`Store`](ErrorKind::Store) if the lease cannot be acquired, if reads of a page of tenants
    ///   fail repeatedly, or if the store returns the same pages again;
    /// * [`Interrupted`](ErrorKind::Interrupted) after a [`shutdown`](Self::shutdown), or outside
    ///   of a runtime.
    pub async fn sweep(&self) -> Result<Arc<SweepReport>, Error> {
        sweep::sweep(&Arc::downgrade(&self.state)).await
    }

    /// Returns the report of the last sweep that this process has finished. Returns `None` if it
    /// has finished none, for example because another process sweeps.
    #[must_use]
    pub fn last_sweep(&self) -> Option<Arc<SweepReport>> {
        let last = self.state.last_sweep.lock();
        last.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the origins that may receive the tokens of every tenant; see
    /// [`TokenCache::origins`].
    #[must_use]
    pub fn origins(&self) -> &[Origin] {
        &self.state.settings.origins
    }

    /// Whether the tokens of some tenants may be sent to further origins.
    pub(crate) fn has_tenant_origins(&self) -> bool {
        self.state.settings.delivery.has_tenant_origins()
    }

    /// The name of the header that carries the tokens.
    pub(crate) fn header_name(&self) -> &HeaderName {
        self.state.settings.delivery.header_name()
    }

    /// The responses of the API that reject an access token, beside a 401.
    pub(crate) fn token_rejections(&self) -> &[TokenRejection] {
        &self.state.settings.token_rejections
    }

    /// Shuts down: starts no more refreshes, ends the background tasks, lets another process sweep,
    /// and waits for the work in flight. Requests of resident tenants use their tokens until
    /// the tokens expire.
    ///
    /// `deadline` is the maximum time to wait. Work that has not ended by then is not aborted. It
    /// continues until the runtime ends.
    ///
    /// # Errors
    ///
    /// [`Interrupted`](ErrorKind::Interrupted) if work has not ended by the deadline. A token set
    /// that is not saved yet is then lost if the process ends.
    pub async fn shutdown(&self, deadline: Duration) -> Result<(), Error> {
        Handle::try_current().map_err(|_| Error::outside_of_a_runtime())?;
        self.state.maintenance().shut_down();
        let mut shutdowns = JoinSet::new();
        for cache in self.state.residents.all() {
            cache.begin_shutdown();
            shutdowns.spawn(async move { cache.shutdown(deadline).await });
        }
        // If this fails, another process waits until the lease has expired.
        let limit = deadline.min(RELEASE_LIMIT);
        let _ = timeout(limit, sweep::release_lease(&self.state)).await;
        shutdowns.join_all().await.into_iter().collect()
    }

    /// The cache of a tenant if it is resident. Takes no lock.
    pub(crate) fn resident(&self, tenant: &TenantId) -> Option<TokenCache> {
        self.state.residents.get(tenant)
    }

    /// Fails if a consent must not be saved by this process: most stored grants cannot be read.
    #[cfg(feature = "axum")]
    pub(crate) async fn check_consent(&self) -> Result<(), Error> {
        health::check_consent(&self.state).await
    }

    /// Begins the code exchange of a flow, unless one of this tenant is in progress.
    #[cfg(feature = "axum")]
    pub(crate) fn begin_consent(
        &self,
        tenant: &TenantId,
        state: &str,
    ) -> Result<super::Consent, super::InProgress> {
        let now = self.state.settings.clock.monotonic();
        self.state.consents.begin(tenant, state, now)
    }

    #[cfg(feature = "axum")]
    pub(crate) fn settings(&self) -> &Arc<crate::cache::Settings> {
        &self.state.settings
    }
}

impl fmt::Debug for Tenants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tenants")
            .field("residents", &self.resident_count())
            .field("origins", &self.origins())
            .finish_non_exhaustive()
    }
}
