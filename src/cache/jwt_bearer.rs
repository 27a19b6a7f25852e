//! A token source for JWTs as grants.

use std::{error::Error as StdError, fmt, future::Future, time::Duration};

use super::{deadline::within, source::TokenSource};
use crate::{
    error::{Error, ErrorKind},
    oauth::OAuthClient,
    provider::Provider,
    token::{Assertion, ClientIdentity, TokenSet},
};

/// How long an assertion source may take.
const ASSERTION_TIMEOUT: Duration = Duration::from_secs(10);

/// Makes the assertions of a [`JwtBearer`], or returns the ID tokens of an MCP client.
///
/// An async function without arguments is one, if it returns an [`Assertion`] or a text. Implement
/// the trait for a type that signs JWTs, or that reads them from a metadata server.
pub trait AssertionSource: Send + Sync + 'static {
    /// Returns a new assertion. Each token request needs one, because most providers accept it only
    /// once (`jti`, RFC 7523 section 3).
    ///
    /// # Cancellation
    ///
    /// The future is dropped after 10 seconds.
    ///
    /// # Errors
    ///
    /// Any error. It becomes the [source](std::error::Error::source) of the error of the refresh,
    /// so it must not contain a secret.
    fn assertion(
        &self,
    ) -> impl Future<Output = Result<Assertion, Box<dyn StdError + Send + Sync>>> + Send;
}

impl<F, R, A, E> AssertionSource for F
where
    F: Fn() -> R + Send + Sync + 'static,
    R: Future<Output = Result<A, E>> + Send,
    A: Into<Assertion>,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    async fn assertion(&self) -> Result<Assertion, Box<dyn StdError + Send + Sync>> {
        self().await.map(Into::into).map_err(Into::into)
    }
}

/// A source of tokens for the subject of a JWT (RFC 7523 section 2.1), such as a service account or
/// a workload. It needs no consent and no durable store.
///
/// Each refresh gets a new assertion from its [`AssertionSource`], which has 10 seconds, and then
/// sends it. The source is that of one subject, so it cannot be the source of many
/// [tenants](crate::tenants): give each subject a cache of its own, with a
/// [tenant](crate::cache::TokenCacheBuilder::tenant) name of its own if they share a store.
///
/// ```
/// # use std::convert::Infallible;
/// # use bytes::Bytes;
/// # use http::{Request, Response};
/// # use http_body_util::Full;
/// use tower_oauth2_client::{
///     cache::{JwtBearer, TokenCache},
///     oauth::OAuthClient,
///     provider::{ClientAuthentication, Provider},
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower_oauth2_client::Error> {
/// # let http = tower::service_fn(|_: Request<Full<Bytes>>| async {
/// #     let tokens = r#"{"access_token":"a1","expires_in":3600}"#;
/// #     Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(tokens))))
/// # });
/// let provider = Provider::builder("https://id.example.com/token")
///     .client_authentication(ClientAuthentication::None)
///     .api_origin("https://api.example.com")
///     .build()?;
/// let oauth = OAuthClient::builder(provider, "robot").build(http)?;
/// // The platform keeps a signed JWT in a file, and replaces it before it expires.
/// let assertions = || tokio::fs::read_to_string("/var/run/secrets/tokens/id");
/// # let assertions = || async { Ok::<_, std::io::Error>("header.claims.signature".to_owned()) };
/// let tokens = TokenCache::builder(JwtBearer::new(oauth, assertions)).build()?;
/// assert_eq!(tokens.token().await?.header_value(), "Bearer a1");
/// # Ok(()) }
/// ```
///
/// # Errors of a refresh
///
/// None of them ends the grant, because the next assertion may be accepted. The usual
/// [backoff](crate::cache#failures) follows, and a grant that is refused for a while becomes
/// [stuck](crate::cache#stuck-grants).
///
/// | cause | kind | message |
/// | --- | --- | --- |
/// | the assertion source failed, or took more than 10 seconds: nothing was sent | [`Unavailable`](ErrorKind::Unavailable) | names the assertion source. The error of the source is the `source` |
/// | the provider refused the assertion (`invalid_grant`) or the client (`invalid_client`) | [`Refused`](ErrorKind::Refused) | names the code, and how far the clocks are apart if that is more than 30 seconds |
/// | other | as for [`OAuthClient::refresh`] | |
///
/// A refresh token in the response is dropped: providers issue one only in exceptional cases (RFC
/// 7521 section 4.1), and the next assertion replaces it.
///
/// # Limiter and circuit breaker
///
/// The source acquires its permits of the client's [gate](OAuthClient::gate) itself, after it has
/// the assertion. So a slow assertion source takes no permit from other grants, and
/// [`TokenSource::gate`] is `None`. After [`OAuthClient::replace_secret`], a backoff of this source
/// runs to its end.
pub struct JwtBearer<S> {
    client: OAuthClient,
    assertions: S,
    is_authenticated: bool,
}

impl<S: AssertionSource> JwtBearer<S> {
    /// Sends the assertions of `assertions`, with the scopes and the authentication of `client`.
    #[must_use]
    pub fn new(client: OAuthClient, assertions: S) -> Self {
        Self {
            client,
            assertions,
            is_authenticated: true,
        }
    }

    /// Sends neither credentials nor a client id, because the assertion says enough (RFC 7521
    /// section 4.1). By default, requests are authenticated as the provider's data say.
    #[must_use]
    pub fn without_client_authentication(mut self) -> Self {
        self.is_authenticated = false;
        self
    }
}

impl<S: AssertionSource> TokenSource for JwtBearer<S> {
    async fn fetch(&self, held: Option<&TokenSet>) -> Result<TokenSet, Error> {
        let made = async { self.assertions.assertion().await.map_err(no_assertion) };
        let assertion = within(ASSERTION_TIMEOUT, made, too_slow).await?;
        let client = &self.client;
        client
            .request_by_assertion(&assertion, None, self.is_authenticated, held)
            .await
    }

    async fn revoke(&self, held: &TokenSet) -> Result<(), Error> {
        self.client.revoke_access_token_of(held).await
    }

    /// 10 seconds for the assertion, 15 for a permit, and the time of the token request.
    fn fetch_timeout(&self) -> Duration {
        ASSERTION_TIMEOUT.saturating_add(self.client.own_request_timeout())
    }

    fn identity(&self) -> Option<ClientIdentity> {
        Some(self.client.identity().with_grant_kind("jwt_bearer"))
    }

    fn provider(&self) -> Option<&Provider> {
        Some(self.client.provider())
    }

    /// True: the assertions are those of one subject.
    fn serves_one_subject(&self) -> bool {
        true
    }
}

fn no_assertion(source: Box<dyn StdError + Send + Sync>) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "assertion source failed, so that no token request was sent: see the source",
    )
    .with_source(source)
    .with_token_unused()
}

fn too_slow() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "assertion source returned nothing within 10 seconds, so that no token request was sent; \
         check what it waits for",
    )
    .with_token_unused()
}

impl<S> fmt::Debug for JwtBearer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtBearer")
            .field("client", &self.client)
            .field("is_authenticated", &self.is_authenticated)
            .finish_non_exhaustive()
    }
}
