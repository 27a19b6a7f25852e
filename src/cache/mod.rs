//! The token of one grant, kept fresh by one exchange at a time.
//!
//! A [`TokenCache`] holds a grant's newest token set in a snapshot that requests read without a lock. What happens when
//! one is asked for a token depends on how much of the token's life is left:
//!
//! | the token is | a request | and |
//! | --- | --- | --- |
//! | fresh | takes it | |
//! | in the *advisory* window (the last 15 % of its life, 5 minutes to 4 hours, at most half) | takes it | an exchange is made in the background, started at a random point of the window's first half, if any request has had the token |
//! | in the *mandatory* window (the last minute, at most a tenth of its life) | waits for the exchange | falls back to the held token if that fails |
//! | expired, or not there | waits for the exchange | gets its error if that fails |
//!
//! However many callers need a new token, and whatever brought them, there is one exchange; it runs in a task of its own,
//! which no caller's end can stop, and all who wait get what came of it. The order within that task is: take the grant's
//! lease, read the store (another replica may have been faster), intent in it that an exchange begins, exchange, save, and only
//! then let anyone use the new token, and give the lease back. If the save fails, the old token serves as long as it can,
//! then the new one, and the save is tried until it succeeds.
//!
//! A grant that nobody uses is not renewed day by day, but once before its refresh token ends, where the provider's data say
//! when that is.
//!
//! # Failures
//!
//! They are told to all who waited and remembered: the next exchange is made after 5 to 10 minutes while the held token
//! is good for long, after 30 seconds when it is about to expire, and after 1 to 30 seconds (growing, at random) when there
//! is none; never more than once a second, and never before the time that the provider asked for. Meanwhile the store is still
//! looked into, where nothing else can serve. When the provider answers
//! `invalid_grant`, and the store holds nothing newer, the grant has ended: that is stored, and there are no more
//! exchanges until a new grant arrives, by [`set_tokens`](TokenCache::set_tokens) here or in another process.
//!
//! When a request was sent and its answer lost, nobody knows whether the refresh token is still good. It is then sent once
//! more, at once; or not, as [`LostResponse`] says. After that the access token serves as long as it lives, and only in its
//! last five minutes, or when it serves no more, the refresh token is tried again. What was noted in the store lets another
//! replica, or the next start, know as much; and a refusal is told as a lost rotation, not as a revocation.
//!
//! [`status`](TokenCache::status) says at any time how it stands, and [`telemetry`](crate::telemetry) what is told as it
//! happens.
//!
//! # A source of your own
//!
//! ```
//! use std::time::{Duration, SystemTime};
//! use tower_oauth2_client::{
//!     Error,
//!     cache::{TokenCache, TokenSource},
//!     token::{AccessToken, TokenSet},
//! };
//!
//! /// Any async function that gets a token will do; an `OAuthClient` is one that comes with the crate.
//! struct Issuer;
//!
//! impl TokenSource for Issuer {
//!     async fn fetch(&self, _held: Option<&TokenSet>) -> Result<TokenSet, Error> {
//!         let lifetime = Duration::from_secs(3_600);
//!         Ok(TokenSet::new(AccessToken::new("a1")?, lifetime, SystemTime::now()))
//!     }
//! }
//!
//! # tokio_test::block_on(async {
//! let tokens = TokenCache::builder(Issuer).origin("https://api.example.com").build()?;
//! assert_eq!(tokens.token().await?.header_value(), "Bearer a1");
//! # Ok::<(), tower_oauth2_client::Error>(()) }).unwrap();
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
pub(crate) use self::authorization::{CompletionError, exchange_and_save};
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

/// Keeps one grant's token fresh. The [module page](crate::cache) tells how.
///
/// A handle: clones share the grant, the exchange and the background task, which ends when the last handle is dropped. An
/// exchange that is under way by then still runs to its end.
///
/// Methods that wait must be called inside a tokio runtime with time enabled. Their futures may be dropped at any point:
/// what was begun goes on.
#[derive(Clone)]
pub struct TokenCache {
    core: Arc<Core>,
}

impl TokenCache {
    /// Starts building a cache that gets its tokens from `source`.
    pub fn builder(source: impl TokenSource) -> TokenCacheBuilder {
        TokenCacheBuilder::new(source)
    }

    /// A token to put on a request now. Does not wait while the held one is good. While that lives, this also gives it where
    /// the grant has ended at the provider: [`status`](Self::status) says so.
    ///
    /// For requests that go through a [`BearerAuth`](crate::bearer::BearerAuth) service there is no need to call this.
    ///
    /// # Errors
    ///
    /// [`is_consent_required`](Error::is_consent_required) if there is no grant or it has ended;
    /// otherwise what came of the exchange, or of the last one if it is too early for another.
    pub async fn token(&self) -> Result<BearerToken, Error> {
        match self.acquire() {
            Acquired::Now(result) => result,
            Acquired::Later(wait) => wait.await,
        }
    }

    /// Exchanges now, however good the held token is, and returns the new one. Joins an exchange that is under way. Pauses after
    /// failures do not count, but what the provider asked for does, and what the
    /// [gate](crate::oauth::EndpointGate) says.
    ///
    /// # Errors
    ///
    /// As [`token`](Self::token). The held token goes on serving requests.
    pub async fn refresh_now(&self) -> Result<BearerToken, Error> {
        let held = self.core.snapshot().generation();
        let reason = Reason::Manual(held);
        match self.core.request_refresh(reason) {
            Admission::Done(result) => result,
            Admission::Joined(flight) => self.core.outcome_of(flight, reason).await,
        }
    }

    /// Begins a new grant with the tokens of a new consent: stores them, then uses them.
    ///
    /// An answer to the old grant that comes in later does not overwrite it. A state of reauthorization or revocation ends
    /// with it.
    ///
    /// # Errors
    ///
    /// [`Store`](crate::ErrorKind::Store): the tokens are not used, though they may have been stored after all; call it again
    /// with the same ones.
    pub async fn set_tokens(&self, tokens: TokenSet) -> Result<(), Error> {
        command::set_tokens(&self.core, tokens).await
    }

    /// Completes an authorization after the browser has come back: checks the callback, exchanges the code, and saves and
    /// uses the tokens.
    ///
    /// `oauth` is the client that made `pending`. `callback` is the URL that the browser was redirected to, or its query.
    /// The parts are [`PendingAuthorization::accept`], [`OAuthClient::exchange_code`] and
    /// [`set_tokens`](Self::set_tokens).
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
    /// The code can be used once, and its tokens cannot be requested again. The code exchange and the save therefore run in
    /// a task of their own from the first poll, and dropping the future does not stop them. The code exchange takes at most
    /// 45 seconds; a save that fails is retried for 30 seconds. [`shutdown`](Self::shutdown) waits for both.
    ///
    /// # Errors
    ///
    /// [`Callback`](crate::ErrorKind::Callback) if the callback does not belong to `pending` or reports an error, such as
    /// [`AccessDenied`](crate::OAuthErrorCode::AccessDenied) if the customer did not consent: no code was sent, and the
    /// grant is unchanged. Otherwise as `exchange_code` and `set_tokens`; the code may then be used up, so send the
    /// customer to a new authorization URL.
    pub async fn complete_authorization(
        &self,
        oauth: &OAuthClient,
        pending: &PendingAuthorization,
        callback: &str,
    ) -> Result<(), Error> {
        self.exchange_code(oauth, pending.accept(callback)?).await
    }

    /// Ends the grant: no request gets a token any more, the store forgets the tokens, and the provider is told.
    ///
    /// Use ends here at once, also if the rest fails. An exchange under way does not bring the grant back.
    ///
    /// # Errors
    ///
    /// [`Store`](crate::ErrorKind::Store) if the end could not be stored, so that a restart would use the grant again;
    /// [`Interrupted`](crate::ErrorKind::Interrupted) if the runtime or the cache was shut down; otherwise what the provider's
    /// revocation endpoint answered. It may be called again until it succeeds, as long as this process runs.
    pub async fn revoke(&self) -> Result<(), Error> {
        command::revoke(&self.core).await
    }

    /// What is known of the grant at this moment, without waiting for anything: the store is not read, and nothing is sent.
    #[must_use]
    pub fn status(&self) -> Status {
        status::status(&self.core)
    }

    /// Does not use the held token any more, in this process: the next request waits for a newer one. As after an API's 401
    /// that came by another way than the layer.
    ///
    /// The next exchange is not waited for. A token that comes later is not affected, nor is one that another replica holds.
    pub fn invalidate(&self) {
        self.core.invalidate();
    }

    /// Begins no exchange any more, here or in any clone, and waits for what is under way: exchanges, saves, commands. The held
    /// token goes on serving requests as long as it lives.
    ///
    /// `deadline` is how long to wait. What has not ended by then is not cut short, but goes on as long as the runtime does.
    ///
    /// # Errors
    ///
    /// [`Interrupted`](crate::ErrorKind::Interrupted) if something had not ended by the deadline: a token set that could not
    /// be stored yet would be lost with the process.
    pub async fn shutdown(&self, deadline: Duration) -> Result<(), Error> {
        command::shutdown(&self.core, deadline).await
    }

    /// The origins that the token is meant for.
    #[must_use]
    pub fn origins(&self) -> &[Origin] {
        self.core.origins()
    }

    /// Whose grant it is.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        self.core.tenant()
    }
}

/// What somebody asks who looks after many.
impl TokenCache {
    /// A cache that holds what was found in the store a moment ago.
    pub(crate) fn begin(settings: Arc<Settings>, tenant: TenantId, stored: Option<&Grant>) -> Self {
        let core = Arc::new(Core::new(settings, tenant));
        core.adopt(stored);
        core.ensure_worker(&mut core.lock());
        Self { core }
    }

    /// The part of [`complete_authorization`](Self::complete_authorization) that outlives its caller.
    pub(crate) async fn exchange_code(
        &self,
        oauth: &OAuthClient,
        code: AcceptedCode,
    ) -> Result<(), Error> {
        command::complete_authorization(&self.core, oauth.clone(), code).await
    }

    /// Does what is due: renews ahead of time, keeps an idle grant alive, compares the clocks.
    pub(crate) fn look_after(&self) {
        worker::maintain(&self.core);
    }

    /// Waits for the exchange that keeps an idle grant alive.
    pub(crate) async fn keep_alive(&self) -> Result<(), Error> {
        let reason = Reason::KeepAlive(self.core.snapshot().generation());
        match self.core.request_refresh(reason) {
            Admission::Done(result) => result.map(drop),
            Admission::Joined(flight) => self.core.outcome_of(flight, reason).await.map(drop),
        }
    }

    /// Begins nothing any more.
    pub(crate) fn begin_shutdown(&self) {
        self.core.lock().is_shut_down = true;
    }

    /// Whether nothing is known of a grant.
    pub(crate) fn is_empty(&self) -> bool {
        self.core.snapshot().grant().is_none()
    }

    /// Whether it can be let go and loaded again when it is needed: nobody else has a handle, nothing is under way, and nothing
    /// is known here alone. One that is being kept alive, or pauses after a failure, is still needed.
    pub(crate) fn is_dispensable(&self) -> bool {
        Arc::strong_count(&self.core) == 1 && status::is_at_rest(&self.core)
    }

    /// The same of one that must make room for somebody in use: a pause is lost, and what is due is left to a sweep.
    pub(crate) fn is_expendable(&self) -> bool {
        Arc::strong_count(&self.core) == 1 && status::is_saved(&self.core)
    }
}

/// What the layer asks.
impl TokenCache {
    /// The held token while it is fresh: one load, one look at the clock, one copy of a pointer.
    #[inline]
    pub(crate) fn fresh(&self) -> Option<BearerToken> {
        self.core.fresh()
    }

    /// The same by a copy of the caller's own, so that threads do not contend for a count of references.
    #[inline]
    pub(crate) fn fresh_by(&self, copy: &mut Option<TokenCopy>) -> Option<BearerToken> {
        self.core.fresh_by(copy)
    }

    pub(crate) fn acquire(&self) -> Acquired {
        self.core.acquire()
    }

    /// What to answer a 401 with that a request carrying `generation` got.
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
                    // The exchange that was joined may have been another one's, for an older token.
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

/// A token, or the way to one.
pub(crate) enum Acquired {
    Now(Result<BearerToken, Error>),
    Later(Wait<Result<BearerToken, Error>>),
}

/// A newer token than the rejected one, or the way to one.
pub(crate) enum Rejected {
    Newer(BearerToken),
    Later(Wait<Option<BearerToken>>),
    Nothing,
}

/// Boxed: only those wait for whom a microsecond does not matter.
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
