//! The cached access token of one grant, refreshed by one request at a time.
//!
//! A [`TokenCache`] keeps the newest token set of a grant in memory, where requests read it without
//! a lock. It refreshes the token set in a background task, and saves each new one to a
//! [`TokenStore`](crate::store::TokenStore) before any request uses it.
//!
//! # Token states
//!
//! What a request gets depends on how much of the access token's lifetime is left:
//!
//! | the token is | a request | refresh |
//! | --- | --- | --- |
//! | fresh | gets the token at once | none |
//! | in the *advisory* window: the last 15 % of the lifetime, 5 minutes to 4 hours, never over half | gets the token at once | in the background, from a random point in the first half of the window; only if a request has used the token |
//! | in the *mandatory* window: the last 60 seconds, never over 10 % of the lifetime | waits for the refresh, and gets the old token if the refresh fails | at once |
//! | expired or absent | waits for the refresh, and gets an error if the refresh fails | at once |
//!
//! [`status`](TokenCache::status) reports the state of a token, and [`telemetry`](crate::telemetry)
//! reports each change.
//!
//! # Refresh
//!
//! Any number of callers cause one refresh, whatever their reason: expiry, a 401,
//! [`refresh_now`](TokenCache::refresh_now), an idle grant. The refresh runs in a task of its own,
//! so dropping its callers does not stop it. All waiters get its result. Its steps are:
//!
//! 1. Acquire the grant's lease, which is a time-limited right to refresh it among all processes
//!    that share the store.
//! 2. Load the grant. If another replica has saved newer tokens, adopt them and stop here.
//! 3. Save an intent: a record that a refresh token is about to be sent.
//! 4. Send the token request.
//! 5. Save the new token set, let requests use it, and release the lease.
//!
//! If step 5 cannot save, the old token serves as long as it is valid, and then the new one. The
//! save is retried until it succeeds.
//!
//! An access token that no request uses is not refreshed when it expires. Its refresh token is kept
//! alive instead: the cache refreshes an idle grant after two thirds of the refresh token's
//! lifetime, if that lifetime is known.
//!
//! # Failures
//!
//! All waiters get the error of a failed refresh. The next attempt follows after a backoff:
//!
//! | the held token | backoff |
//! | --- | --- |
//! | is in the advisory window | 5 to 10 minutes, at random |
//! | is in the mandatory window | 30 seconds |
//! | has expired or is absent | random, from 1 second to a limit that doubles from 1 to 30 seconds |
//!
//! A `Retry-After` header of the provider extends the backoff, to at most 10 minutes. Token
//! requests for one grant are at least 1 second apart, even without a failure. A failed refresh
//! does not evict a valid token.
//!
//! If the provider responds with `invalid_grant` (RFC 6749 section 5.2) and the store holds nothing
//! newer, the grant has ended. The cache saves that, and makes no further refresh until a new grant
//! arrives: by [`set_tokens`](TokenCache::set_tokens), by
//! [`complete_authorization`](TokenCache::complete_authorization), or from another process.
//! `invalid_client` ends no grant: it opens the [circuit breaker](crate::oauth::EndpointGate).
//!
//! # Lost responses
//!
//! A response is lost if the request may have reached the provider and no usable response came
//! back. The cache cannot know then whether the refresh token has been used. By default it sends
//! the same refresh token once more; see [`LostResponse`]. If the second response is lost too, the
//! access token serves as long as it is valid. The refresh token is sent again only in the last 5
//! minutes of the access token's lifetime or after its expiry, after a 401, or if the program calls
//! `refresh_now`.
//!
//! The saved intent makes a lost response known to other replicas, and to the next start after a
//! crash. If the provider later rejects the refresh token, the grant ends with
//! [`RotationLost`](crate::token::ReauthorizationReason::RotationLost) as the reason, not as a
//! revocation.
//!
//! # Your own token source
//!
//! An [`OAuthClient`] and [`ClientCredentials`] are token sources.
//! Implement [`TokenSource`] to get tokens in another way, or use [`token_fn`] if an async function
//! is enough:
//!
//! ```
//! use std::time::{Duration, SystemTime};
//! use tower_oauth2_client::{
//!     Error,
//!     cache::{TokenCache, TokenSource},
//!     token::{AccessToken, TokenSet},
//! };
//!
//! struct Vault;
//!
//! impl TokenSource for Vault {
//!     async fn fetch(&self, _held: Option<&TokenSet>) -> Result<TokenSet, Error> {
//!         // … request a token from the vault …
//!         let lifetime = Duration::from_secs(3_600);
//!         Ok(TokenSet::new(AccessToken::new("a1")?, lifetime, SystemTime::now()))
//!     }
//! }
//!
//! # tokio_test::block_on(async {
//! let tokens = TokenCache::builder(Vault).origin("https://api.example.com").build()?;
//! assert_eq!(tokens.token().await?.header_value(), "Bearer a1");
//! # Ok::<(), Error>(()) }).unwrap();
//! ```

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use crate::{
    error::Error,
    oauth::{AcceptedCode, OAuthClient, PendingAuthorization},
    origin::Origin,
    telemetry::Unauthorized,
    token::{Generation, Grant, TenantId, TokenSet},
};

mod admission;
mod authorization;
mod backoff;
mod bearer_token;
mod builder;
mod cache_state;
mod command;
mod core;
mod intent;
mod lease;
mod persist;
mod publish;
mod refresh;
mod refresh_token_expiry;
mod schedule;
mod settings;
mod settings_builder;
mod single_flight;
mod snapshot;
mod source;
mod status;
mod terminate;
mod worker;

#[cfg(feature = "axum")]
pub(crate) use self::authorization::{CompletionError, exchange_code_and_save};
use self::{
    admission::{Admission, Reason},
    core::Core,
};
pub use self::{
    bearer_token::BearerToken,
    builder::TokenCacheBuilder,
    intent::LostResponse,
    source::{ClientCredentials, TokenFn, TokenSource, token_fn},
    status::{Status, TokenState},
};
pub(crate) use self::{
    core::TokenCopy,
    settings::{Settings, in_time},
    settings_builder::{SettingsBuilder, settings_setters},
};

/// Keeps the access token of one grant fresh.
///
/// See the [module page](crate::cache) for when it refreshes. To authenticate requests, give a
/// clone to a [`BearerAuthLayer`](crate::bearer::BearerAuthLayer).
///
/// Clones are cheap, and share the grant, its refresh and the background task. The background task
/// ends when the last clone is dropped. A refresh in flight still runs to its end.
///
/// # Cancellation
///
/// Futures of this type can be dropped at any time. Once polled, the work that they wait for
/// continues in a task of its own.
///
/// # Runtime
///
/// Async methods need a tokio runtime with time enabled. Outside of one, a method that has to start
/// a task fails with [`Interrupted`](crate::ErrorKind::Interrupted).
#[derive(Clone)]
pub struct TokenCache {
    core: Arc<Core>,
}

impl TokenCache {
    /// Builds a cache that gets its tokens from `source`.
    pub fn builder(source: impl TokenSource) -> TokenCacheBuilder {
        TokenCacheBuilder::new(source)
    }

    /// Returns a token for a request that is sent now.
    ///
    /// A fresh token is returned without waiting; see the [table](crate::cache#token-states). A
    /// valid token is also returned after the grant has ended at the provider:
    /// [`status`](Self::status) reports the end.
    ///
    /// A [`BearerAuth`](crate::bearer::BearerAuth) service calls this itself.
    ///
    /// # Errors
    ///
    /// [`is_consent_required`](Error::is_consent_required) if there is no grant, or if it has ended
    /// and no valid token is left. Otherwise the error of the refresh, or that of the last refresh
    /// during a backoff.
    pub async fn token(&self) -> Result<BearerToken, Error> {
        match self.acquire() {
            Acquired::Now(result) => result,
            Acquired::Later(wait) => wait.await,
        }
    }

    /// Refreshes now, even if the held token is fresh, and returns the new token.
    ///
    /// Joins a refresh in flight. Ignores the backoff after failures, but not the provider's
    /// `Retry-After`, nor the [circuit breaker](crate::oauth::EndpointGate).
    ///
    /// # Errors
    ///
    /// As [`token`](Self::token). The held token keeps serving requests as long as it is valid.
    pub async fn refresh_now(&self) -> Result<BearerToken, Error> {
        let held = self.core.snapshot().generation();
        let reason = Reason::Manual(held);
        match self.core.request_refresh(reason) {
            Admission::Done(result) => result,
            Admission::Joined(flight) => self.core.outcome_of(flight, reason).await,
        }
    }

    /// Installs the tokens of a new consent: saves them, then uses them.
    ///
    /// This replaces any earlier grant, also one that has ended or was revoked. A response to the
    /// earlier grant that arrives later does not overwrite the new one.
    ///
    /// # Errors
    ///
    /// [`Store`](crate::ErrorKind::Store) if the tokens could not be saved. They are not used then,
    /// but may have been saved: call this again with the same tokens.
    /// [`Interrupted`](crate::ErrorKind::Interrupted) if the cache or the runtime has shut down, or
    /// if the store panicked.
    pub async fn set_tokens(&self, tokens: TokenSet) -> Result<(), Error> {
        command::set_tokens(&self.core, tokens).await
    }

    /// Completes an authorization after the browser has come back: checks the callback, exchanges
    /// the code, and saves and uses the tokens.
    ///
    /// `oauth` is the client that made `pending`. `callback` is the URL that the browser was
    /// redirected to, or its query. The parts are [`PendingAuthorization::accept`],
    /// [`OAuthClient::exchange_code`] and [`set_tokens`](Self::set_tokens).
    ///
    /// ```no_run
    /// # use tower_oauth2_client::{Error, cache::TokenCache, oauth::OAuthClient};
    /// # async fn example(oauth: OAuthClient, tokens: TokenCache) -> Result<(), Error> {
    /// let (url, pending) = oauth.authorization_url()?;
    /// // … redirect the browser to `url`, and keep `pending` in its session until it comes back …
    /// # let (_, callback) = (url, "/callback?state=…&code=…");
    /// tokens.complete_authorization(&oauth, &pending, callback).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Cancellation
    ///
    /// The code can be used once, and its tokens cannot be requested again. The code exchange and
    /// the save therefore run in a task of their own from the first poll, and dropping the future
    /// does not stop them. The code exchange takes at most 45 seconds; a save that fails is retried
    /// for 30 seconds. [`shutdown`](Self::shutdown) waits for both.
    ///
    /// # Errors
    ///
    /// [`Callback`](crate::ErrorKind::Callback) if the callback does not belong to `pending` or
    /// reports an error, such as [`AccessDenied`](crate::OAuthErrorCode::AccessDenied) if the
    /// customer did not consent: no code was sent, and the grant is unchanged. Otherwise as
    /// `exchange_code` and `set_tokens`; the code may then be used up, so send the customer to a
    /// new authorization URL.
    pub async fn complete_authorization(
        &self,
        oauth: &OAuthClient,
        pending: &PendingAuthorization,
        callback: &str,
    ) -> Result<(), Error> {
        self.exchange_code(oauth, pending.accept(callback)?).await
    }

    /// Ends the grant: stops using its tokens, removes them from the store, and revokes them at the
    /// provider (RFC 7009).
    ///
    /// Requests get no token from the first poll on, whatever fails afterwards. A refresh in flight
    /// does not bring the grant back.
    ///
    /// # Errors
    ///
    /// [`Store`](crate::ErrorKind::Store) if the end could not be saved: after a restart the grant
    /// would be used again. [`Interrupted`](crate::ErrorKind::Interrupted) if the cache or the
    /// runtime has shut down, or if the source or the store panicked. Otherwise the error of the
    /// provider's revocation endpoint, or [`Unavailable`](crate::ErrorKind::Unavailable) after 30
    /// seconds without a response.
    ///
    /// Call this again until it succeeds. A revocation that the provider has not confirmed is
    /// remembered in memory only, until the process ends.
    pub async fn revoke(&self) -> Result<(), Error> {
        command::revoke(&self.core).await
    }

    /// Returns the state of the grant without waiting. It neither reads the store nor sends a
    /// request.
    #[must_use]
    pub fn status(&self) -> Status {
        status::status(&self.core)
    }

    /// Stops using the held token in this process, so that the next request waits for a newer one.
    ///
    /// Call this after a 401 that did not pass through the layer. A token that arrives later is not
    /// affected. Other replicas keep using theirs. This starts no refresh itself.
    pub fn invalidate(&self) {
        self.core.invalidate();
    }

    /// Stops all clones from starting refreshes and commands, and waits for the running ones to
    /// end.
    ///
    /// The held token keeps serving requests as long as it is valid. `deadline` limits the wait:
    /// what has not ended by then continues as long as the runtime does.
    ///
    /// # Errors
    ///
    /// [`Interrupted`](crate::ErrorKind::Interrupted) if work was still running at the deadline. If
    /// it is the save of a new token set, ending the process now loses the grant.
    pub async fn shutdown(&self, deadline: Duration) -> Result<(), Error> {
        command::shutdown(&self.core, deadline).await
    }

    /// The origins that may receive the token.
    #[must_use]
    pub fn origins(&self) -> &[Origin] {
        self.core.origins()
    }

    /// The tenant whose grant this is.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        self.core.tenant()
    }
}

/// Operations for the owner of many caches.
impl TokenCache {
    /// A cache that starts with a grant that was just loaded.
    pub(crate) fn begin(settings: Arc<Settings>, tenant: TenantId, stored: Option<&Grant>) -> Self {
        let core = Arc::new(Core::new(settings, tenant));
        core.adopt(stored);
        core.ensure_worker(&mut core.lock());
        Self { core }
    }

    /// The part of [`complete_authorization`](Self::complete_authorization) that outlives its
    /// caller.
    pub(crate) async fn exchange_code(
        &self,
        oauth: &OAuthClient,
        code: AcceptedCode,
    ) -> Result<(), Error> {
        command::complete_authorization(&self.core, oauth.clone(), code).await
    }

    /// Does the maintenance that is due: refreshes early, keeps an idle grant alive, compares the
    /// clocks.
    pub(crate) fn maintain(&self) {
        worker::maintain(&self.core);
    }

    /// Waits for the refresh that keeps an idle grant alive.
    pub(crate) async fn keep_alive(&self) -> Result<(), Error> {
        let reason = Reason::KeepAlive(self.core.snapshot().generation());
        match self.core.request_refresh(reason) {
            Admission::Done(result) => result.map(drop),
            Admission::Joined(flight) => self.core.outcome_of(flight, reason).await.map(drop),
        }
    }

    /// Rejects new work from now on.
    pub(crate) fn begin_shutdown(&self) {
        self.core.lock().is_shut_down = true;
    }

    /// Whether no grant is known.
    pub(crate) fn is_empty(&self) -> bool {
        self.core.snapshot().grant().is_none()
    }

    /// Whether the cache can be evicted and loaded again later without any loss: there is no other
    /// handle, no work is running, and the store knows everything. A refresh that is due, or a
    /// backoff, keeps the cache resident.
    pub(crate) fn is_evictable(&self) -> bool {
        Arc::strong_count(&self.core) == 1 && status::is_at_rest(&self.core)
    }

    /// Whether the cache can be evicted in favor of a tenant in use. In contrast to
    /// [`is_evictable`](Self::is_evictable), a backoff may be lost, and a sweep makes the
    /// refresh that is due.
    pub(crate) fn is_evictable_under_pressure(&self) -> bool {
        Arc::strong_count(&self.core) == 1 && status::is_saved(&self.core)
    }
}

/// Operations for the layer.
impl TokenCache {
    /// The held token while it is fresh: one atomic load, one clock read, one cloned reference.
    #[inline]
    pub(crate) fn fresh(&self) -> Option<BearerToken> {
        self.core.fresh()
    }

    /// The held token while it is fresh, from a copy that the caller keeps. Threads with their own
    /// copies do not contend for one reference count.
    #[inline]
    pub(crate) fn fresh_by(&self, copy: &mut Option<TokenCopy>) -> Option<BearerToken> {
        self.core.fresh_by(copy)
    }

    pub(crate) fn acquire(&self) -> Acquired {
        self.core.acquire()
    }

    /// The token with which to retry a request, after a 401 to the token of this `generation`.
    pub(crate) fn rejected(&self, generation: Generation) -> Rejected {
        let telemetry = &self.core.telemetry;
        if let Some(newer) = self.core.newer_than(generation) {
            telemetry.unauthorized(Unauthorized::NewerToken);
            return Rejected::Newer(newer);
        }
        match self.core.request_refresh(Reason::Rejected(generation)) {
            Admission::Done(Ok(newer)) => {
                telemetry.unauthorized(Unauthorized::NewerToken);
                Rejected::Newer(newer)
            }
            Admission::Done(Err(_)) => {
                telemetry.unauthorized(Unauthorized::NoToken);
                Rejected::Nothing
            }
            Admission::Joined(flight) => {
                let core = Arc::clone(&self.core);
                Rejected::Later(Box::pin(async move {
                    let outcome = core.outcome_of(flight, Reason::Rejected(generation)).await;
                    // The joined refresh may have replaced an older token than the rejected one.
                    let newer = outcome
                        .ok()
                        .filter(|token| token.generation() > generation)
                        .or_else(|| core.newer_than(generation));
                    core.telemetry.unauthorized(match newer {
                        Some(_) => Unauthorized::Refreshed,
                        None => Unauthorized::NoToken,
                    });
                    newer
                }))
            }
        }
    }
}

/// A token, or a future that waits for it.
pub(crate) enum Acquired {
    Now(Result<BearerToken, Error>),
    Later(Wait<Result<BearerToken, Error>>),
}

/// A newer token than the rejected one, or a future that waits for it.
pub(crate) enum Rejected {
    Newer(BearerToken),
    Later(Wait<Option<BearerToken>>),
    Nothing,
}

/// Boxed: its allocation is small compared with the wait.
pub(crate) type Wait<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCache")
            .field("tenant", self.tenant())
            .field("generation", &self.core.snapshot().generation())
            .field("origins", &self.origins())
            .finish_non_exhaustive()
    }
}
