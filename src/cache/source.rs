//! Where token sets come from.

use std::{
    fmt,
    future::{self, Future},
    pin::Pin,
    time::Duration,
};

use crate::{
    error::{Error, ErrorKind},
    oauth::{EndpointGate, OAuthClient},
    provider::Provider,
    token::{ClientIdentity, TokenSet},
};

/// A way to get the next token set of a grant.
///
/// Only a [`TokenCache`](crate::cache::TokenCache), or a source that wraps another source, should
/// call these methods. The crate implements the trait for [`OAuthClient`] (refresh token),
/// [`ClientCredentials`] (the application itself), [`JwtBearer`](crate::cache::JwtBearer) (signed
/// assertions), [`TokenExchange`](crate::cache::TokenExchange) (the token of another cache), and
/// [`TokenFn`] (any async function).
///
/// An implementation must not cache tokens, and must not wait for a token of the same cache. It
/// must not send a refresh token again once the provider may have received it.
pub trait TokenSource: Send + Sync + 'static {
    /// Requests a token set from the provider.
    ///
    /// `held` is the newest token set of the grant, whose refresh token this call may use. It is
    /// `None` if there is no grant yet. The result contains its [values](TokenSet::values), unless
    /// the provider has sent new ones.
    ///
    /// The cache makes at most one call at a time for each grant. The lease of the grant excludes
    /// other processes. Each call runs in a task of its own.
    ///
    /// # Cancellation
    ///
    /// The cache drops the future after the [`fetch_timeout`](Self::fetch_timeout), and the runtime
    /// drops it when it shuts down. In both cases the response counts as lost. Callers of the cache
    /// that stop waiting do not cancel the future.
    ///
    /// # Errors
    ///
    /// * [`Error::invalid_grant`] ends the grant.
    /// * [`Error::unavailable`] if it is certain that the refresh token was not used.
    /// * [`Error::access_token_unusable`] if the response contains a refresh token, but no access
    ///   token that can be used. The cache saves the refresh token.
    /// * [`Error::response_lost`] if the refresh token may have been used. See
    ///   [`LostResponse`](crate::cache::LostResponse) for what follows.
    ///
    /// If `held` has no refresh token and an [`OAuthClient`] says so by
    /// [`NoGrant`](ErrorKind::NoGrant), the [grant
    /// ends](crate::cache#grants-without-a-refresh-token) with its access token. The `NoGrant` of
    /// another cache, whose token the source needs, ends nothing.
    ///
    /// An error of an [`OAuthClient`] says which of these it is; return it as it is. Every other
    /// error, such as [`Error::store`], proves nothing: if `held` has a refresh token, the response
    /// counts as lost.
    ///
    /// # Panics
    ///
    /// A panic fails the refresh with [`Interrupted`](ErrorKind::Interrupted), and the response
    /// counts as lost.
    fn fetch(
        &self,
        held: Option<&TokenSet>,
    ) -> impl Future<Output = Result<TokenSet, Error>> + Send;

    /// Revokes the tokens at the provider (RFC 7009). Does nothing by default.
    ///
    /// # Cancellation
    ///
    /// The future is dropped after 30 seconds.
    ///
    /// # Errors
    ///
    /// [`TokenCache::revoke`](crate::cache::TokenCache::revoke) returns the error. The grant has
    /// ended in the cache even if this call fails.
    fn revoke(&self, held: &TokenSet) -> impl Future<Output = Result<(), Error>> + Send {
        let _ = held;
        future::ready(Ok(()))
    }

    /// The limiter and circuit breaker for the token endpoint. `None` by default.
    ///
    /// The cache asks the gate before each call of [`fetch`](Self::fetch), so `fetch` must not ask
    /// it again. [`OAuthClient::refresh`] asks the gate too. A source that wraps an [`OAuthClient`]
    /// must therefore call `TokenSource::fetch` of the client instead. Such a source must return
    /// the gate of the client: the cache uses it to detect a [replaced client
    /// secret](OAuthClient::replace_secret).
    ///
    /// A source that first waits for the token of another cache must return `None`: the other cache
    /// may need a permit of the same gate.
    fn gate(&self) -> Option<&EndpointGate> {
        None
    }

    /// How long a call of [`fetch`](Self::fetch) may take. 60 seconds by default; the cache limits
    /// it to 20 minutes.
    ///
    /// The response to a refresh cannot be requested again, so this should exceed the slowest
    /// response. Callers of the cache stop
    /// [waiting](crate::cache::TokenCacheBuilder::acquire_timeout) earlier. A source that wraps an
    /// [`OAuthClient`] must return the value of the client.
    fn fetch_timeout(&self) -> Duration {
        Duration::from_secs(60)
    }

    /// The client that the token sets are issued to, and its token endpoint. `None` by default.
    ///
    /// The cache stores the identity with each grant. It neither uses nor replaces a stored grant
    /// of another identity, and fails with [`ForeignGrant`](ErrorKind::ForeignGrant) instead. So
    /// two applications that share a store cannot send each other's tokens to the wrong provider.
    /// If the identity has to change, pass the former one to
    /// [`accept_identity`](crate::cache::TokenCacheBuilder::accept_identity).
    ///
    /// An [`OAuthClient`] and the sources of [grants without a
    /// consent](crate::cache#grants-without-a-consent) have different identities. A source that
    /// wraps another one must return the identity of that source. A source without an identity
    /// rejects the stored grants of every identity, but nothing protects its own grants from other
    /// sources: it needs a store for itself.
    ///
    /// The cache's builder calls this once.
    fn identity(&self) -> Option<ClientIdentity> {
        None
    }

    /// The data of the provider that issues the tokens. `None` by default.
    ///
    /// The cache takes from them which origins may receive the tokens, which responses of the API
    /// reject one, and how long tokens live. Without them, the cache's builder has to
    /// [add](crate::cache::TokenCacheBuilder::origin) at least one origin, and the lifetime of a
    /// refresh token is unknown unless the builder
    /// [sets](crate::cache::TokenCacheBuilder::refresh_token_lifetime) it. A source that wraps
    /// another one should return the data of that source.
    ///
    /// The cache's builder calls this once.
    fn provider(&self) -> Option<&Provider> {
        None
    }

    /// Whether all token sets are those of one subject, whatever the tenant. False by default.
    ///
    /// Such a source cannot be the source of [`Tenants`](crate::tenants::Tenants), whose tenants
    /// would all access the data of that subject: their
    /// [builder](crate::tenants::TenantsBuilder::build) fails. Each subject needs a
    /// [`TokenCache`](crate::cache::TokenCache) over a source of its own. A source that wraps
    /// another one must return the value of that source.
    fn serves_one_subject(&self) -> bool {
        false
    }
}

/// Gets token sets by refresh token (RFC 6749 section 6).
impl TokenSource for OAuthClient {
    async fn fetch(&self, held: Option<&TokenSet>) -> Result<TokenSet, Error> {
        match held {
            Some(tokens) => self.send_refresh(tokens).await,
            None => Err(Error::new(
                ErrorKind::NoGrant,
                "there is no grant yet; let the customer consent, and pass the tokens to TokenCache::set_tokens",
            )),
        }
    }

    /// [Revokes](OAuthClient::revoke_tokens) all tokens that the provider takes.
    async fn revoke(&self, held: &TokenSet) -> Result<(), Error> {
        self.revoke_tokens(held).await
    }

    fn gate(&self) -> Option<&EndpointGate> {
        Some(OAuthClient::gate(self))
    }

    /// The [response timeout](crate::oauth::OAuthClientBuilder::response_timeout) of the client, 15
    /// seconds for retries of requests that were not processed, and 15 seconds for the signer or
    /// authenticator, if there is one.
    fn fetch_timeout(&self) -> Duration {
        self.request_timeout()
    }

    fn identity(&self) -> Option<ClientIdentity> {
        Some(OAuthClient::identity(self))
    }

    fn provider(&self) -> Option<&Provider> {
        Some(OAuthClient::provider(self))
    }
}

/// A source of tokens for the application itself (RFC 6749 section 4.4). It needs no consent and no
/// durable store, and cannot be the source of many [tenants](crate::tenants).
///
/// The provider's data say how the client authenticates; a public client cannot use this grant. No
/// error ends it, as the [module page](crate::cache#grants-without-a-consent) says. A refresh token
/// in the response is dropped (section 4.4.3).
///
/// ```
/// use tower_oauth2_client::cache::{ClientCredentials, TokenCache};
/// # use tower_oauth2_client::oauth::OAuthClient;
/// # fn example(client: OAuthClient) -> Result<TokenCache, tower_oauth2_client::Error> {
/// let tokens = TokenCache::builder(ClientCredentials::new(client)).build()?;
/// # Ok(tokens) }
/// ```
#[derive(Clone, Debug)]
pub struct ClientCredentials(OAuthClient);

impl ClientCredentials {
    /// Uses the credentials and scopes of `client`.
    #[must_use]
    pub fn new(client: OAuthClient) -> Self {
        Self(client)
    }
}

impl TokenSource for ClientCredentials {
    async fn fetch(&self, _held: Option<&TokenSet>) -> Result<TokenSet, Error> {
        let outcome = self.0.send_client_credentials().await;
        // RFC 6749 section 4.4.3: a refresh token should not be included. The credentials obtain
        // the next token, whatever the response to this request says about a grant.
        outcome
            .map(TokenSet::without_refresh_token)
            .map_err(Error::of_no_consent)
    }

    async fn revoke(&self, held: &TokenSet) -> Result<(), Error> {
        self.0.revoke_access_token_of(held).await
    }

    fn fetch_timeout(&self) -> Duration {
        self.0.request_timeout()
    }

    fn gate(&self) -> Option<&EndpointGate> {
        Some(self.0.gate())
    }

    fn identity(&self) -> Option<ClientIdentity> {
        Some(self.0.identity().with_client_credentials())
    }

    fn provider(&self) -> Option<&Provider> {
        Some(self.0.provider())
    }

    /// True: the subject is the client.
    fn serves_one_subject(&self) -> bool {
        true
    }
}

/// Creates a token source from an async function.
///
/// The cache calls the function for each refresh, without arguments. Implement [`TokenSource`] if
/// you need the held token set.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use tower_oauth2_client::{
///     Error,
///     cache::{TokenCache, token_fn},
///     token::{AccessToken, TokenSet},
/// };
///
/// # tokio_test::block_on(async {
/// let source = token_fn(|| async {
///     // … request a token from a metadata server or a vault …
///     let token = AccessToken::new("a1")?;
///     Ok(TokenSet::new(token, Duration::from_secs(3_600), SystemTime::now()))
/// });
/// let tokens = TokenCache::builder(source).origin("https://api.example.com").build()?;
/// assert_eq!(tokens.token().await?.header_value(), "Bearer a1");
/// # Ok::<(), Error>(()) }).unwrap();
/// ```
pub fn token_fn<F, R>(function: F) -> TokenFn<F>
where
    F: Fn() -> R + Send + Sync + 'static,
    R: Future<Output = Result<TokenSet, Error>> + Send,
{
    TokenFn(function)
}

/// The token source that [`token_fn`] creates.
#[derive(Clone)]
pub struct TokenFn<F>(F);

impl<F, R> TokenSource for TokenFn<F>
where
    F: Fn() -> R + Send + Sync + 'static,
    R: Future<Output = Result<TokenSet, Error>> + Send,
{
    async fn fetch(&self, _held: Option<&TokenSet>) -> Result<TokenSet, Error> {
        (self.0)().await
    }
}

impl<F> fmt::Debug for TokenFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenFn").finish_non_exhaustive()
    }
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// [`TokenSource`] with boxed futures, so that the type of a cache does not name its source.
pub(super) trait ErasedSource: Send + Sync + 'static {
    fn fetch<'a>(&'a self, held: Option<&'a TokenSet>) -> Boxed<'a, TokenSet>;
    fn revoke<'a>(&'a self, held: &'a TokenSet) -> Boxed<'a, ()>;
    fn gate(&self) -> Option<&EndpointGate>;
    fn identity(&self) -> Option<ClientIdentity>;
    fn provider(&self) -> Option<&Provider>;
    fn serves_one_subject(&self) -> bool;
}

impl<T: TokenSource> ErasedSource for T {
    fn fetch<'a>(&'a self, held: Option<&'a TokenSet>) -> Boxed<'a, TokenSet> {
        Box::pin(TokenSource::fetch(self, held))
    }

    fn revoke<'a>(&'a self, held: &'a TokenSet) -> Boxed<'a, ()> {
        Box::pin(TokenSource::revoke(self, held))
    }

    fn gate(&self) -> Option<&EndpointGate> {
        TokenSource::gate(self)
    }

    fn identity(&self) -> Option<ClientIdentity> {
        TokenSource::identity(self)
    }

    fn provider(&self) -> Option<&Provider> {
        TokenSource::provider(self)
    }

    fn serves_one_subject(&self) -> bool {
        TokenSource::serves_one_subject(self)
    }
}
