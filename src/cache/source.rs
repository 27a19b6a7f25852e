//! How to get the next token set.

use std::{
    fmt,
    future::{self, Future},
    pin::Pin,
    time::Duration,
};

use crate::{
    error::{Error, ErrorKind, OAuthErrorCode},
    oauth::{EndpointGate, OAuthClient},
    origin::Origin,
    token::TokenSet,
};

/// How to get the next token set.
///
/// Called by a [`TokenCache`](crate::cache::TokenCache) alone, never twice at once for one grant, and in a task of its own,
/// so that its future is dropped only with the runtime or at the deadline of 15 seconds. It must not cache anything, nor
/// retry after a refresh token may have been received, and must not itself wait for a token of the same cache.
///
/// Comes with the crate: an [`OAuthClient`] renews by refresh token, [`ClientCredentials`] asks for the application itself,
/// and [`token_fn`] makes a source of any async function.
pub trait TokenSource: Send + Sync + 'static {
    /// One exchange. `held` is the newest token set of the grant, which the exchange may use up; `None` if there is no
    /// grant yet.
    ///
    /// # Errors
    ///
    /// [`Error::invalid_grant`] ends the grant. Anything else counts as passing: [`Error::unavailable`] if nothing was used
    /// up, [`Error::response_lost`] if that is not known, which is also what a panic and a missed deadline are taken for.
    fn fetch(
        &self,
        held: Option<&TokenSet>,
    ) -> impl Future<Output = Result<TokenSet, Error>> + Send;

    /// Tells the provider that the grant has ended. Does nothing by default.
    ///
    /// # Errors
    ///
    /// Handed to the caller of [`TokenCache::revoke`](crate::cache::TokenCache::revoke), for whom the grant has ended all
    /// the same.
    fn revoke(&self, held: &TokenSet) -> impl Future<Output = Result<(), Error>> + Send {
        let _ = held;
        future::ready(Ok(()))
    }

    /// What exchanges have to pass that ask the same endpoint for other grants. The cache does that; `exchange` must not do
    /// it again, so a source that wraps an [`OAuthClient`] calls its [`TokenSource::fetch`], not
    /// [`OAuthClient::refresh`]. It is also by the gate that the cache hears of
    /// [another secret](OAuthClient::replace_secret). None by default.
    fn gate(&self) -> Option<&EndpointGate> {
        None
    }

    /// How long a refresh token lives that is not used. Unknown by default: then idle grants are not kept alive.
    fn refresh_token_lifetime(&self) -> Option<Duration> {
        None
    }

    /// The origins that the tokens are meant for. None by default: then the cache's builder has to name them.
    fn origins(&self) -> Vec<Origin> {
        Vec::new()
    }
}

/// Renews by refresh token: the grant of a customer.
impl TokenSource for OAuthClient {
    async fn fetch(&self, held: Option<&TokenSet>) -> Result<TokenSet, Error> {
        match held {
            Some(tokens) => self.refresh_admitted(tokens).await,
            None => Err(Error::new(
                ErrorKind::NoGrant,
                "there is no grant yet: let the customer consent, and give the tokens to the cache",
            )),
        }
    }

    /// The refresh token first: it is what can bring the rest back.
    async fn revoke(&self, held: &TokenSet) -> Result<(), Error> {
        let refresh_token = match held.refresh_token() {
            Some(token) => OAuthClient::revoke(self, token).await,
            None => Ok(()),
        };
        // Not every provider ends the access tokens of a refresh token with it.
        let access_token = OAuthClient::revoke(self, held.access_token()).await;
        refresh_token.and(match access_token {
            // RFC 7009 section 2.2.1: nothing that could be done about it.
            Err(error) if error.oauth_code() == Some(OAuthErrorCode::UnsupportedTokenType) => {
                Ok(())
            }
            other => other,
        })
    }

    fn gate(&self) -> Option<&EndpointGate> {
        Some(OAuthClient::gate(self))
    }

    fn refresh_token_lifetime(&self) -> Option<Duration> {
        self.provider().refresh_token_lifetime()
    }

    fn origins(&self) -> Vec<Origin> {
        self.provider().api_origins().to_vec()
    }
}

/// Gets tokens for the application itself (RFC 6749 section 4.4). Needs no consent, and no durable store.
#[derive(Clone, Debug)]
pub struct ClientCredentials(OAuthClient);

impl ClientCredentials {
    /// Asks with the credentials and scopes of `client`.
    #[must_use]
    pub fn new(client: OAuthClient) -> Self {
        Self(client)
    }
}

impl TokenSource for ClientCredentials {
    async fn fetch(&self, _held: Option<&TokenSet>) -> Result<TokenSet, Error> {
        self.0.client_credentials_admitted().await
    }

    async fn revoke(&self, held: &TokenSet) -> Result<(), Error> {
        self.0.revoke(held.access_token()).await
    }

    fn gate(&self) -> Option<&EndpointGate> {
        Some(self.0.gate())
    }

    fn origins(&self) -> Vec<Origin> {
        self.0.provider().api_origins().to_vec()
    }
}

/// A source of any async function that gets a token.
///
/// The function is called for each exchange, with nothing: one that needs the held token set implements [`TokenSource`].
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
/// let issuer = token_fn(|| async {
///     // … ask a metadata server, a vault, another service …
///     let token = AccessToken::new("a1")?;
///     Ok(TokenSet::new(token, Duration::from_secs(3_600), SystemTime::now()))
/// });
/// let tokens = TokenCache::builder(issuer).origin("https://api.example.com").build()?;
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

/// The source that [`token_fn`] makes.
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

/// [`TokenSource`] with boxed futures, so that a cache's type does not name its source.
pub(super) trait ErasedSource: Send + Sync + 'static {
    fn fetch<'a>(&'a self, held: Option<&'a TokenSet>) -> Boxed<'a, TokenSet>;
    fn revoke<'a>(&'a self, held: &'a TokenSet) -> Boxed<'a, ()>;
    fn gate(&self) -> Option<&EndpointGate>;
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
}
