//! Caches the access token of one grant, and refreshes it with one token request at a time.
//!
//! A grant is one customer's consent and its token set (see the
//! [glossary](crate::guide::glossary)). A [`TokenCache`] keeps the newest token set of a grant in
//! memory, where requests read it without a lock. A background task refreshes it. The cache saves
//! each new token set to a [`TokenStore`](crate::store::TokenStore) before requests use it; [step
//! 5](#refresh) has the exception.
//!
//! # Token states
//!
//! What a request gets depends on how much of the access token's lifetime is left:
//!
//! | the token is | a request | refresh |
//! | --- | --- | --- |
//! | fresh | gets the token at once | none |
//! | in the *advisory* window | gets the token at once | in the background, at a random time in the first half of the window |
//! | in the *mandatory* window | waits for the refresh, and gets the old token if the refresh fails | at once |
//! | expired or absent | waits for the refresh, and gets an error if the refresh fails | at once |
//!
//! The advisory window is the last 15 % of the lifetime, but at least 5 minutes and at most 4
//! hours. It is never longer than half of the lifetime. The mandatory window is the last 60
//! seconds, or the last 10 % of the lifetime if that is shorter.
//!
//! If neither the token response nor the provider's data state a lifetime, it is unknown: the token
//! is fresh until the API rejects it with a 401. Its refresh token is kept alive nevertheless. The
//! same holds for a token that [never
//! expires](crate::provider::ProviderBuilder::access_token_never_expires).
//!
//! The cache refreshes a token by itself only if a request has used it. Otherwise the next request
//! starts the refresh.
//!
//! [`status`](TokenCache::status) reports the state of a token, and [`telemetry`](crate::telemetry)
//! reports each change.
//!
//! # Refresh
//!
//! Concurrent callers share one refresh, whatever caused it: expiry, a 401,
//! [`refresh_now`](TokenCache::refresh_now), or an idle grant. The refresh runs in a task of its
//! own, so it continues if its callers are dropped. All waiters get its result. Its steps are:
//!
//! 1. Acquire the lease of the grant: the time-limited right of one process to refresh it. All
//!    processes that share the store respect the lease.
//! 2. Load the grant. If another replica has saved newer tokens, use them, release the lease and
//!    stop.
//! 3. Save an intent: a record that the refresh token is about to be sent.
//! 4. Send the token request.
//! 5. Save the new token set, let requests use it, and release the lease.
//!
//! If the save fails, requests use the old token until it expires or the API rejects it, and then
//! the unsaved new token. The cache retries the save until it succeeds. Once the last clone of the
//! cache is dropped, it gives up 30 seconds after the token response.
//!
//! A grant is idle if no request uses its access token. The cache refreshes an idle grant, and one
//! whose access token has an unknown lifetime, when about two thirds of the refresh token's
//! lifetime have passed since the last refresh. This needs a known lifetime: what the token
//! response states, or else the [setting](TokenCacheBuilder::refresh_token_lifetime) of the
//! builder, or else the provider's data.
//!
//! A response may state how much is left of a lifetime that no refresh prolongs. An idle grant is
//! then refreshed after two thirds of what is left, and so on, until less than a twentieth is left.
//! [`Status::refresh_token_expires_at`] has the end, and
//! [`refresh_token_expiring`](crate::telemetry::GrantListener::refresh_token_expiring) reports it
//! in time, unless the whole lifetime is shorter than 3 days.
//!
//! # Refresh windows
//!
//! Some providers do not accept a refresh at any time. Their
//! [data](crate::provider::ProviderBuilder::earliest_refresh) say when, relative to the end of the
//! access token.
//!
//! * *Not before*: both windows of a token begin after that time, plus up to 5 seconds for
//!   differences of the clocks. The start of the background refresh still varies. No refresh is
//!   sent earlier, because the provider would refuse it, and may block an application with many
//!   such errors. So a 401 to a valid token causes no refresh until then, and
//!   [`refresh_now`](TokenCache::refresh_now) and a refresh of an idle grant fail with
//!   [`Unavailable`](crate::ErrorKind::Unavailable) and a [`retry_after`](Error::retry_after).
//!   After [`invalidate`](TokenCache::invalidate), the token counts as expired, and its refresh is
//!   sent.
//! * *Not after*: both windows end at that time. It limits the grant like the lifetime of a refresh
//!   token: an idle grant is refreshed before, and the end is reported in time. A grant that was
//!   not refreshed by then is refreshed as any other: the provider's response decides whether it
//!   has ended.
//!
//! # Failures
//!
//! If a refresh fails, a request gets the held token while it is valid, and otherwise the error.
//! `refresh_now` returns the error in both cases. The next attempt follows after a backoff:
//!
//! | the held token | backoff |
//! | --- | --- |
//! | is in the advisory window | 5 to 10 minutes, at random |
//! | is in the mandatory window | 30 seconds |
//! | has expired or is absent | random, from 1 second to a limit that doubles with each failure: 1, 2, 4, 8, 16, then 30 seconds |
//!
//! After a refusal that the provider's data define as [not
//! dead](crate::provider::RefusalMeaning::NotDead), it is at least 5 minutes in each case. It is
//! longer for a [stuck grant](#stuck-grants).
//!
//! A `Retry-After` header of the provider extends the backoff, to at most 10 minutes. If the
//! [limiter or circuit breaker](crate::oauth#limiter-and-circuit-breaker) rejects a refresh in the
//! advisory window, the retry follows up to 30 seconds after the error's
//! [`retry_after`](Error::retry_after). Otherwise it follows at that time at the latest.
//!
//! If the token endpoint caused the failure (no response, a 5xx status or a 408), the backoff also
//! ends when a successful token request closes the circuit breaker.
//!
//! Refreshes of one grant by a process start at least 1 second apart, even without a failure.
//!
//! If the provider responds with `invalid_grant` (RFC 6749 section 5.2), or with a refusal that its
//! data define as [dead](crate::provider::RefusalMeaning::Dead), and the store holds nothing newer,
//! the grant has ended. The cache saves this state, and does not refresh until it receives a
//! new grant: by [`set_tokens`](TokenCache::set_tokens), by
//! [`complete_authorization`](TokenCache::complete_authorization), or from another process.
//! Requests use the access token until it expires or the API rejects it. The stored end then has no
//! lifetime left, so no other process uses the access token either.
//!
//! A 401 to a token that is less than 5 seconds old, or a tenth of its lifetime, causes no refresh,
//! because the API may not know the token yet. The data of a provider can [set another
//! delay](crate::provider::ProviderBuilder::propagation_delay). Other refreshes after a 401 are at
//! least 30 seconds apart. This interval doubles, to at most 30 minutes, each time that the token
//! of such a refresh is rejected before twice the interval has passed. A retry that the API accepts
//! resets it. [`Status::no_refresh_after_401_until`] and the event `token.rejected_again` report
//! it.
//!
//! A successful response may contain a refresh token, but no access token that can be used: it is
//! missing, of an unknown type, or malformed. The refresh has then failed, but the cache saves the
//! refresh token with the held access token, which keeps its expiry. The next refresh sends the new
//! refresh token.
//!
//! `invalid_client` does not end the grant. It opens the [circuit
//! breaker](crate::oauth::EndpointGate), so the refreshes of all grants fail for 30 seconds to 30
//! minutes. After [`OAuthClient::replace_secret`], the next request refreshes at once.
//!
//! If the store holds a grant of [another client](crate::store#several-clients), the refresh fails
//! with [`ForeignGrant`](crate::ErrorKind::ForeignGrant), and the stored grant stays as it is.
//!
//! # Stuck grants
//!
//! Some failures are neither the end of a grant nor an outage, for example an error code that is
//! not defined anywhere, the page of a firewall, or a response that contains no token. Trying again
//! at the usual rate would not help, and the provider has not ended the grant. So after five such
//! failures in a row, over at least 15 minutes, the grant is *stuck*:
//!
//! * The event `grant.stuck` and [`GrantListener::stuck`](crate::telemetry::GrantListener::stuck)
//!   report it once, with the error of the last refresh and the
//!   [code of the provider](Error::provider_code). [`Status::stuck_since`] says how long it has
//!   failed.
//! * In the background, it is refreshed at intervals of 6 to 7 hours, at random.
//! * If a request needs a token and the held one has expired or is about to, the interval is 10 to
//!   12 minutes. Requests in between get the held token while it is valid, and otherwise the error
//!   of the last refresh at once.
//! * `refresh_now` refreshes at once.
//!
//! Fewer failures may come from a deployment of the provider. In less time, a proxy that fails for
//! a moment would be reported for each grant in use.
//!
//! With the next refresh that succeeds, or with a new grant, the grant has *recovered*. This is
//! reported once too. If the provider ends a stuck grant, only that is reported.
//!
//! A failure counts if its kind is [`Refused`](crate::ErrorKind::Refused) or
//! [`InvalidResponse`](crate::ErrorKind::InvalidResponse), except the end of the grant and
//! `invalid_client`. Failures of the kind [`Unavailable`](crate::ErrorKind::Unavailable) do not
//! count and do not interrupt the row: no response, a 5xx, 408 or 429, a
//! [transient](crate::provider::RefusalMeaning::Transient) refusal, and a rejection by the circuit
//! breaker. Neither do failures of the store. The count is not stored: each process counts for
//! itself, and a process that starts, or that has evicted the tenant to make room for another one,
//! counts from zero. It may therefore report a stuck grant again.
//!
//! # Lost responses
//!
//! A response is lost if the request may have reached the provider and no usable response came
//! back. Among others, this includes every 5xx status but 503: the [table of
//! outcomes](crate::oauth#outcomes-of-a-token-request) has all cases. The cache then cannot know
//! whether the refresh token has been used. By default it replays the refresh token once: it sends
//! the same refresh token again (see [`LostResponse`]). If the replay fails too, requests use the
//! access token until it expires. The cache then sends the refresh token again only in these cases:
//!
//! * in the last minutes (at most 5) of the access token's lifetime, and after its expiry,
//! * when the refresh token must be kept alive, if the access token's lifetime is unknown,
//! * after a 401,
//! * when the program calls `refresh_now`.
//!
//! If the data of the provider name a [reuse grace](crate::provider::ProviderBuilder::reuse_grace),
//! the refresh token is replayed until that ends, by any process: as often as after another
//! failure, and without a request at pauses of half of the time since the first request (1 second
//! to 10 minutes). The grace counts from when the refresh token was first sent, and the last replay
//! is sent before its last tenth, which is at most 60 seconds. Then the cases above apply.
//! [`LostResponse::Defer`] does not use the grace.
//!
//! Other replicas detect a lost response by the saved intent, and so does a process that restarts
//! after a crash. If the provider then rejects the refresh token, the grant ends. The reason is
//! [`RotationLost`](crate::token::ReauthorizationReason::RotationLost) instead of
//! [`InvalidGrant`](crate::token::ReauthorizationReason::InvalidGrant).
//!
//! # Consents without a refresh token
//!
//! Some providers issue a refresh token only at the first consent of an account. A second consent
//! brings an access token alone, and stored alone it would end the grant with that access token. It
//! may also be of another account than the stored grant, so the stored refresh token must not be
//! combined with it without a check. Only the program can tell.
//!
//! By default, such a consent is therefore rejected: [`set_tokens`](TokenCache::set_tokens) and
//! [`complete_authorization`](TokenCache::complete_authorization) fail with
//! [`RefreshTokenMissing`](crate::ErrorKind::RefreshTokenMissing), and the stored grant works as
//! before. This loses the least: an access token that would soon expire. A program that knows the
//! account of the new tokens passes its [`ConsentDecision`] to
//! [`set_tokens_with`](TokenCache::set_tokens_with).
//!
//! Do not [`revoke`](TokenCache::revoke) a grant that works only to get a new refresh token. If the
//! provider confirms the revocation, it usually issues one at the next consent of the same account.
//! If it does not, or if the new consent is of another account, the customer first has to remove
//! the application's access in the settings of their account there.
//!
//! If there is no stored refresh token that can be used, because there is no grant or it has ended,
//! the new token set is stored without one. [`Status::has_refresh_token`] is then false. In all
//! these cases the event `grant.refresh_token_missing` is emitted, and
//! [`GrantListener::refresh_token_missing`](crate::telemetry::GrantListener::refresh_token_missing)
//! is called.
//!
//! # Grants without a refresh token
//!
//! Some providers issue no refresh token, and usually an access token that never expires. A source
//! that needs a refresh token, such as an [`OAuthClient`], cannot replace that access token, so the
//! grant ends with it:
//!
//! * when it expires, with the next refresh that a request needs,
//! * when the API has rejected it for at least an hour: with the first 401 after that time. A
//!   request that gets a 401 is retried once with the same token. A request or retry that the API
//!   accepts with this token starts the time again.
//!
//! The reason is [`NoRefreshToken`](crate::token::ReauthorizationReason::NoRefreshToken). A 401 by
//! itself ends nothing, because an API may respond with it for other reasons. If it does so at some
//! of its endpoints, and a program calls no others for an hour, tell these responses apart by a
//! [`ClassifyResponse`](crate::bearer::ClassifyResponse).
//!
//! # Programs that end
//!
//! If a program ends during a refresh, the response is lost, and with it the next refresh token.
//! Call [`shutdown`](TokenCache::shutdown) at the end of a program: it waits for the refresh.
//!
//! A program may end without it. So a refresh for which no caller waits, in the advisory window or
//! for an idle grant, starts only in a program that has shown that it stays: once its background
//! task has been running for 60 seconds
//! ([`background_delay`](TokenCacheBuilder::background_delay)). In a shorter program, the request
//! that needs a new token starts the refresh, and waits for it. The one exception is the replay
//! after a lost response, because it is possible for a short time only, and the refresh token
//! counts as used already.
//!
//! # Runtimes
//!
//! A refresh runs in the runtime of the caller that starts it, and background work in that of the
//! background task, or all of it in the [`runtime`](TokenCacheBuilder::runtime) of the builder. Its
//! waiters may be in other runtimes. Each waits for at most the
//! [`acquire_timeout`](TokenCacheBuilder::acquire_timeout) of 15 seconds, by a timer of its own
//! runtime. The request itself stays open for longer, because its response cannot be requested
//! again: see [`TokenSource::fetch_timeout`].
//!
//! If the runtime of a refresh ends, its waiters start another one at once. If it stands still for
//! 10 seconds, the refresh counts as lost, and a waiter starts another one. A current-thread
//! runtime stands still between calls of `block_on`. To other processes and runtimes, a program
//! that calls `block_on` now and then is a process that was stopped: start a multi-threaded
//! runtime, and pass its handle to the builder.
//!
//! # Grants without a consent
//!
//! Three token sources need no customer: [`ClientCredentials`] for the application itself,
//! [`JwtBearer`] for the subject of a signed assertion, and [`TokenExchange`] for a token in return
//! for that of another cache. Each refresh is a new request without a refresh token, so nothing can
//! be lost, and no durable store is needed. No error ends such a grant: after a refusal, also by
//! `invalid_grant`, the usual [backoff](#failures) follows, and a grant that is refused for a while
//! becomes [stuck](#stuck-grants). A refresh token in a response is dropped.
//!
//! # Your own token source
//!
//! An [`OAuthClient`] and the [sources without a consent](#grants-without-a-consent) are token
//! sources.
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

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::HeaderName;

use crate::{
    error::Error,
    oauth::{AcceptedCode, EndpointGate, OAuthClient, PendingAuthorization},
    origin::Origin,
    rejection::TokenRejection,
    token::{ConsentDecision, Generation, Grant, KeptValues, TenantId, TokenSet},
};

mod acquire;
mod authorization;
mod bearer_token;
mod builder;
mod command;
mod core;
mod deadline;
mod decide;
mod delivery;
mod diagnosis;
mod follow;
mod grant_store;
mod jwt_bearer;
mod lease;
mod liveness;
mod overwrite;
mod ownership;
mod presence;
mod propagation;
mod published;
mod record;
mod refresh;
mod request;
mod settings;
mod settings_builder;
mod single_flight;
mod source;
mod state;
mod token_exchange;
mod worker;

pub(crate) use self::{
    acquire::{Acquired, Rejected, RetryToken, Wait},
    decide::Decisions,
    delivery::Delivery,
    follow::{DISTRUST_INTERVAL, LOOK_INTERVAL, SUBSCRIBE_PAUSE},
    published::TokenCopy,
    settings::Settings,
    settings_builder::{SettingsBuilder, settings_setters},
    single_flight::{Leader, SingleFlight},
};
#[cfg(feature = "axum")]
pub(crate) use self::{
    authorization::exchange_code,
    decide::{Decide, RejectedBy},
    grant_store::GrantStore,
};
pub use self::{
    bearer_token::BearerToken,
    builder::TokenCacheBuilder,
    diagnosis::{Cause, Diagnosis},
    jwt_bearer::{AssertionSource, JwtBearer},
    source::{ClientCredentials, TokenFn, TokenSource, token_fn},
    state::{LostResponse, Status, TokenState},
    token_exchange::{TokenExchange, TokenExchangeBuilder},
};
use self::{core::Core, state::CacheState};

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
/// The futures of the methods can be dropped at any time. From the first poll on, the work of a
/// future runs in a task of its own, and a drop does not stop it.
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
    /// Returns a token for one request. Call this again for each request.
    ///
    /// A fresh token is returned without waiting; see the [table](crate::cache#token-states). After
    /// the grant has ended at the provider, this returns the access token until it expires or the
    /// API rejects it, and [`status`](Self::status) reports the end.
    ///
    /// A [`BearerAuth`](crate::bearer::BearerAuth) service calls this itself.
    ///
    /// # Errors
    ///
    /// If there is no grant, or if it has ended and no valid token is left: an error for which
    /// [`is_consent_required`](Error::is_consent_required) is true. Otherwise the error of the
    /// refresh. During a backoff, the error of the last refresh, without a new one.
    pub async fn token(&self) -> Result<BearerToken, Error> {
        match self.acquire() {
            Acquired::Now(result) => result,
            Acquired::Later(wait) => wait.await,
        }
    }

    /// Refreshes now, even if the held token is fresh, and returns the new token.
    ///
    /// Joins a refresh in flight. Ignores the backoff after failures. Fails while a `Retry-After`
    /// of the provider or the open [circuit breaker](crate::oauth::EndpointGate) forbids requests.
    /// Also fails while the provider would not yet [accept](crate::cache#refresh-windows) a
    /// refresh.
    ///
    /// # Errors
    ///
    /// As for [`token`](Self::token). After an error, requests use the held token until it expires.
    pub async fn refresh_now(&self) -> Result<BearerToken, Error> {
        acquire::refresh_now(&self.core).await
    }

    /// Installs the tokens of a new consent: saves them, then uses them.
    ///
    /// This replaces any earlier grant, including one that has ended or was revoked. If a refresh
    /// of the earlier grant is in flight, its response does not overwrite the new grant.
    ///
    /// If the tokens contain no refresh token and the stored grant has one that can be used, this
    /// changes nothing and fails: see [consents without a refresh
    /// token](crate::cache#consents-without-a-refresh-token).
    ///
    /// # Errors
    ///
    /// [`RefreshTokenMissing`](crate::ErrorKind::RefreshTokenMissing) in that case.
    /// [`Store`](crate::ErrorKind::Store) if the save failed, or if its result is unknown. Call
    /// this again with the same tokens, because the store may or may not contain them.
    /// [`Revoked`](crate::ErrorKind::Revoked) if [`revoke`](Self::revoke) was called before they
    /// were saved: they are then revoked at the provider too. If a later call of this method has
    /// installed other tokens first, this call saves nothing, and succeeds.
    /// [`ForeignGrant`](crate::ErrorKind::ForeignGrant) if the stored grant belongs to another
    /// client: it is not replaced. [`Interrupted`](crate::ErrorKind::Interrupted) if the cache or
    /// the runtime has shut down, or if the store panicked.
    pub async fn set_tokens(&self, tokens: TokenSet) -> Result<(), Error> {
        self.set_tokens_with(tokens, ConsentDecision::default())
            .await
    }

    /// Installs the tokens of a new consent, as [`set_tokens`](Self::set_tokens) does, or rejects
    /// them. `decision` also says what happens if they contain no refresh token and the stored
    /// grant has one.
    ///
    /// # Errors
    ///
    /// As [`set_tokens`](Self::set_tokens).
    /// [`RefreshTokenMissing`](crate::ErrorKind::RefreshTokenMissing) occurs only with
    /// [`Accept`](ConsentDecision::Accept), and with
    /// [`KeepRefreshToken`](ConsentDecision::KeepRefreshToken) if the tokens have other
    /// [addresses](crate::provider#addresses-per-tenant) than the stored grant. With
    /// [`Reject`](ConsentDecision::Reject) and
    /// [`RejectAndRevoke`](ConsentDecision::RejectAndRevoke), this saves nothing and fails with
    /// [`ConsentRejected`](crate::ErrorKind::ConsentRejected). With
    /// [`KeepRefreshToken`](ConsentDecision::KeepRefreshToken), this waits for a refresh that is
    /// using the refresh token, in this process or another one: up to 20 seconds, or 2 seconds
    /// longer than the [lease](TokenCacheBuilder::lease_duration) if that is more. It fails with
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the refresh has not ended by then, or if
    /// the stored grant has changed: another consent may have replaced it. The stored grant is
    /// then unchanged by this call. Decide again.
    pub async fn set_tokens_with(
        &self,
        tokens: TokenSet,
        decision: ConsentDecision,
    ) -> Result<(), Error> {
        let decisions = Arc::new(Decisions::always(decision));
        command::set_tokens(&self.core, tokens, decisions).await
    }

    /// Completes an authorization after the browser has come back: checks the callback, exchanges
    /// the code, and saves and uses the tokens.
    ///
    /// `oauth` is the client that made `pending`. `callback` is the URL that the browser was
    /// redirected to, or its query, or the [form](crate::provider::ResponseMode::FormPost) that it
    /// has sent. This method combines [`PendingAuthorization::accept`],
    /// [`OAuthClient::exchange_code`] and [`set_tokens`](Self::set_tokens), in this order.
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
    /// Call this once for each callback: remove `pending` from the session first. A browser may
    /// repeat a callback, and a provider that gets a code twice may revoke the tokens of the first
    /// exchange (RFC 6749 section 4.1.2).
    ///
    /// # Cancellation
    ///
    /// The code can be used once, and its tokens cannot be requested again. From the first poll on,
    /// the code exchange and the save therefore run in a task of their own. A drop does not stop
    /// them. The code exchange takes at most 90 seconds, or 105 with a signer or an authenticator;
    /// a save that fails is retried for 30 seconds. [`shutdown`](Self::shutdown) waits for both.
    ///
    /// # Errors
    ///
    /// [`Callback`](crate::ErrorKind::Callback) if the callback does not belong to `pending`, or if
    /// it reports an error. If the customer denied consent, the error's
    /// [`oauth_code`](Error::oauth_code) is [`AccessDenied`](crate::OAuthErrorCode::AccessDenied).
    /// [`ForeignGrant`](crate::ErrorKind::ForeignGrant) if the stored grant belongs to another
    /// client. [`Configuration`](crate::ErrorKind::Configuration) if `oauth` is another client than
    /// the token source. In these cases no code is sent, and the grant is unchanged.
    ///
    /// Other errors are as for `exchange_code` and `set_tokens`. After
    /// [`RefreshTokenMissing`](crate::ErrorKind::RefreshTokenMissing), the stored grant works as
    /// before. The code may be used up after any error, so send the customer to a new authorization
    /// URL.
    ///
    /// # Which account
    ///
    /// This method accepts any account that the customer consents for. To compare the account with
    /// the one that the program knows, call
    /// [`exchange_code_with_members`](OAuthClient::exchange_code_with_members), check the new
    /// tokens, and then call [`set_tokens_with`](Self::set_tokens_with). Do so in a task of its
    /// own: if it is dropped after the code exchange, the tokens are lost.
    ///
    /// ```no_run
    /// # use tower_oauth2_client::{
    /// #     Error, cache::TokenCache, oauth::{AcceptedCode, OAuthClient}, token::ConsentDecision,
    /// # };
    /// # async fn example(
    /// #     oauth: OAuthClient,
    /// #     tokens: TokenCache,
    /// #     code: AcceptedCode,
    /// # ) -> Result<(), Error> {
    /// // `code` is the result of `pending.accept(callback)?`.
    /// let response = oauth.exchange_code_with_members(code).await?;
    /// let decision = match response.members().get("hub_id") {
    ///     Some("42") => ConsentDecision::KeepRefreshToken,
    ///     _ => ConsentDecision::Reject,
    /// };
    /// tokens.set_tokens_with(response.into_tokens(), decision).await?;
    /// # Ok(()) }
    /// ```
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
    /// After the first poll of the future, requests get no token, even if a later step fails. A
    /// refresh in flight does not bring the grant back. A consent that completes afterwards does:
    /// it is a new grant, also if its [`complete_authorization`](Self::complete_authorization)
    /// began before.
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

    /// Returns the state of the grant as this process knows it, without waiting. It neither reads
    /// the store nor sends a request.
    ///
    /// A change by another replica is known within a second if the store announces it; see
    /// [`store`](crate::store#replicas). [`load_status`](Self::load_status) reads the store.
    #[must_use]
    pub fn status(&self) -> Status {
        self.core.read(CacheState::status)
    }

    /// Loads the grant from the store, adopts it if it is newer, and returns the state. Sends no
    /// request to the provider.
    ///
    /// # Errors
    ///
    /// [`Store`](crate::ErrorKind::Store) if the store cannot be read.
    pub async fn load_status(&self) -> Result<Status, Error> {
        let stored = self.core.load().await?;
        self.core.change(|state, m| state.adopt(stored.as_ref(), m));
        Ok(self.status())
    }

    /// Loads the grant from the store, and returns whether the customer has to consent: see
    /// [`Status::needs_consent`].
    ///
    /// # Errors
    ///
    /// [`Store`](crate::ErrorKind::Store) if the store cannot be read.
    pub async fn needs_consent(&self) -> Result<bool, Error> {
        Ok(self.load_status().await?.needs_consent())
    }

    /// Finds out why the grant does not work: names the most likely cause and what to do, and lists
    /// the last events of the grant, of all replicas. For operators and support.
    ///
    /// Loads the grant from the store, and takes as long as the store, at most 10 seconds. Sends no
    /// request to the provider. Never fails: an error of the store is a cause.
    ///
    /// ```
    /// # use std::time::{Duration, SystemTime};
    /// # use tower_oauth2_client::{
    /// #     Error, cache::{TokenCache, token_fn}, token::{AccessToken, RefreshToken, TokenSet},
    /// # };
    /// use tower_oauth2_client::cache::Cause;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let source = token_fn(|| async { Err::<TokenSet, _>(Error::invalid_grant()) });
    /// # let (minute, now) = (Duration::from_secs(60), SystemTime::now());
    /// # let first = TokenSet::new(AccessToken::new("a1")?, minute, now)
    /// #     .with_refresh_token(RefreshToken::new("r1"), now);
    /// # let tokens = TokenCache::builder(source).origin("https://api.example.com").build()?;
    /// # tokens.set_tokens(first).await?;
    /// // The customer removes the access at the provider, and a refresh fails.
    /// assert!(tokens.refresh_now().await.is_err());
    ///
    /// let diagnosis = tokens.diagnose().await;
    /// assert_eq!(diagnosis.cause, Cause::RevokedAtProvider);
    /// assert!(diagnosis.summary().contains("Ask the customer to connect again"));
    /// # Ok(()) }
    /// ```
    pub async fn diagnose(&self) -> Diagnosis {
        let core = &self.core;
        let held = core.snapshot().generation();
        let loaded = core.settings.load_recorded(core.tenant()).await;
        let endpoint = core.settings.gate().map(EndpointGate::status);
        Diagnosis::new(loaded, self.status(), held, &core.unsaved(), endpoint)
    }

    /// Returns the values that are kept with the grant, such as an account id or the address of the
    /// customer's API. Loads the grant from the store if none is held. Sends no request to the
    /// provider, and does not need a valid token.
    ///
    /// They are empty if the [provider's data](crate::provider::ProviderBuilder::kept_value) name
    /// none. A later token response or consent may replace them. Requests through the layer have
    /// the values of their token [in their extensions](crate::bearer#kept-values).
    ///
    /// # Errors
    ///
    /// [`KeptValue`](crate::ErrorKind::KeptValue) if a stored value does not match its pattern.
    /// [`NoGrant`](crate::ErrorKind::NoGrant) if there is no grant, and
    /// [`Revoked`](crate::ErrorKind::Revoked) if it was revoked.
    /// [`Store`](crate::ErrorKind::Store) if the store cannot be read.
    pub async fn values(&self) -> Result<KeptValues, Error> {
        if self.is_empty() {
            self.load_status().await?;
        }
        self.core.published.snapshot().values()
    }

    /// Stops using the held token in this process, so that the next request waits for a newer one.
    ///
    /// Call this after a 401 that did not pass through the layer. This discards the token that is
    /// held at the time of the call. If a refresh may have replaced the rejected token since the
    /// 401, first compare [`BearerToken::generation`] with [`Status::generation`].
    ///
    /// Tokens that arrive after this call are not affected, and other replicas keep using their
    /// token. The call sends no request. If a request has used the token, the background task then
    /// refreshes it.
    pub fn invalidate(&self) {
        self.core.change(CacheState::invalidate);
    }

    /// Rejects new work on all clones, and waits for the work that is running.
    ///
    /// Work means refreshes, [`set_tokens`](Self::set_tokens),
    /// [`complete_authorization`](Self::complete_authorization) and [`revoke`](Self::revoke).
    /// Requests use the held token until it expires. `deadline` is the longest time to wait. Work
    /// that is still running then continues until the runtime ends.
    ///
    /// # Errors
    ///
    /// [`Interrupted`](crate::ErrorKind::Interrupted) if work was still running after `deadline`.
    /// If it is the save of a new token set, ending the process now loses the grant.
    pub async fn shutdown(&self, deadline: Duration) -> Result<(), Error> {
        command::shutdown(&self.core, deadline).await
    }

    /// The origins that may receive the token of any customer. The
    /// [addresses](crate::provider#addresses-per-tenant) of a single customer are not among them;
    /// see [`BearerToken::tenant_origins`].
    #[must_use]
    pub fn origins(&self) -> &[Origin] {
        &self.core.settings.origins
    }

    /// Whether a token of some customer may be sent to further origins.
    pub(crate) fn has_tenant_origins(&self) -> bool {
        self.core.settings.delivery.has_tenant_origins()
    }

    /// The name of the header that carries the token.
    pub(crate) fn header_name(&self) -> &HeaderName {
        self.core.settings.delivery.header_name()
    }

    /// The responses of the API that reject an access token, beside a 401.
    pub(crate) fn token_rejections(&self) -> &[TokenRejection] {
        &self.core.settings.token_rejections
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
        let core = Arc::new(Core::new(settings, tenant, worker::spawn));
        core.change_locked(|locked, m| {
            locked.state.adopt(stored, m);
            core.ensure_worker(locked);
        });
        Self { core }
    }

    /// See [`Grant::refreshed_at`].
    pub(crate) fn refreshed_at(&self) -> Option<SystemTime> {
        self.core.look(CacheState::refreshed_at)
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

    /// Installs the tokens of a used code, about which the program decides. A save that fails is
    /// retried.
    #[cfg(any(feature = "axum", feature = "mcp"))]
    pub(crate) async fn set_tokens_of_code(
        &self,
        tokens: TokenSet,
        decisions: Arc<Decisions>,
    ) -> Result<(), Error> {
        command::set_tokens_of_code(&self.core, tokens, decisions).await
    }

    /// Does the maintenance that is due: refreshes early, keeps an idle grant alive, compares the
    /// clocks.
    pub(crate) fn maintain(&self) {
        worker::maintain(&self.core);
    }

    /// Whether the store may hold a newer grant than this cache, after a save was announced.
    pub(crate) fn is_behind(&self, announced: Generation) -> bool {
        self.core.read(|state, _| state.is_behind(Some(announced)))
    }

    /// Loads the grant and adopts it, if it is newer. Does nothing if the `announced` generation is
    /// held.
    pub(crate) async fn look(&self, announced: Option<Generation>) -> bool {
        follow::look(&self.core, announced).await
    }

    /// Waits for the refresh that keeps an idle grant alive.
    pub(crate) async fn keep_alive(&self) -> Result<(), Error> {
        acquire::keep_alive(&self.core).await
    }

    /// Rejects new work from now on.
    pub(crate) fn begin_shutdown(&self) {
        self.core.change(|state, _| state.shut_down());
    }

    /// Whether no grant is known.
    pub(crate) fn is_empty(&self) -> bool {
        self.core.published.snapshot().grant().is_none()
    }

    /// Whether the cache can be evicted and loaded again later without any loss: there is no other
    /// handle, no work is running, and the store knows everything. A refresh that is due, or a
    /// backoff, keeps the cache resident.
    pub(crate) fn is_evictable(&self) -> bool {
        Arc::strong_count(&self.core) == 1 && self.core.read(CacheState::is_at_rest)
    }

    /// Whether the cache can be evicted in favor of a tenant in use. In contrast to
    /// [`is_evictable`](Self::is_evictable), a backoff may be lost, and a sweep makes the
    /// refresh that is due.
    pub(crate) fn is_evictable_under_pressure(&self) -> bool {
        Arc::strong_count(&self.core) == 1 && self.core.read(CacheState::is_saved)
    }
}

/// Operations for the layer.
impl TokenCache {
    /// The held token while it is fresh: one atomic load, one clock read, one cloned reference.
    #[inline]
    pub(crate) fn fresh(&self) -> Option<BearerToken> {
        self.fresh_with(BearerToken::clone)
    }

    /// As [`fresh`](Self::fresh), for a caller that needs a part of the token only.
    #[inline]
    pub(crate) fn fresh_with<T>(&self, copy: impl FnOnce(&BearerToken) -> T) -> Option<T> {
        let clock = &*self.core.settings.clock;
        self.core.published.fresh(clock, copy)
    }

    /// The held token while it is fresh, from a copy that the caller keeps. Threads with their own
    /// copies do not contend for one reference count.
    #[inline]
    pub(crate) fn fresh_by<'a>(&self, copy: &'a mut Option<TokenCopy>) -> Option<&'a BearerToken> {
        let core = &self.core;
        let request_advisory = || acquire::request_advisory(core);
        core.published
            .fresh_by(copy, &*core.settings.clock, request_advisory)
    }

    pub(crate) fn acquire(&self) -> Acquired {
        acquire::acquire(&self.core)
    }

    /// The token with which to retry a request, after a 401 to the token of this `generation`.
    pub(crate) fn rejected(&self, generation: Generation) -> Rejected {
        acquire::rejected(&self.core, generation)
    }

    /// Whether a refresh may start for which no caller waits.
    pub(crate) fn is_staying(&self) -> bool {
        self.core.settings.presence.is_staying()
    }

    /// How the held token is sent. `None` if there is none, or if that is usual.
    pub(crate) fn with_delivery<T>(&self, read: impl FnOnce(&Delivery) -> T) -> Option<T> {
        let snapshot = self.core.published.snapshot();
        let (token, _) = snapshot.token()?;
        token.delivery().map(read)
    }

    /// Whether to report that the API [accepts](Self::accepted) a request: it has rejected the
    /// token, which cannot be replaced.
    #[inline]
    pub(crate) fn is_suspected(&self) -> bool {
        self.core.published.is_suspected()
    }

    /// The API accepted a request with the token of this `generation`.
    #[cold]
    pub(crate) fn accepted(&self, generation: Generation) {
        self.core.change(|state, _| state.accepted(generation));
    }

    /// The API accepted the retry, with the token of the generation `accepted`.
    pub(crate) fn retry_accepted(&self, rejected: Generation, accepted: Generation) {
        acquire::retry_accepted(&self.core, rejected, accepted);
    }

    /// The API rejected the retry too, with the token of this `generation`.
    pub(crate) fn retry_rejected(&self, generation: Generation) {
        acquire::retry_rejected(&self.core, generation);
    }
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCache")
            .field("tenant", self.tenant())
            .field("generation", &self.core.published.snapshot().generation())
            .field("origins", &self.origins())
            .finish_non_exhaustive()
    }
}
