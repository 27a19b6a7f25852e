//! Client authentication by the program's own code.

use std::{error::Error as StdError, fmt, future::Future, pin::Pin, sync::Arc, time::SystemTime};

use http::{HeaderName, Method, Uri};
use zeroize::Zeroizing;

use crate::token::ClientSecret;

/// A way to authenticate a client that no
/// [`ClientAuthentication`](crate::provider::ClientAuthentication) describes.
///
/// The [module page](crate::oauth#client-authentication) has an example.
pub trait ClientAuthenticator: Send + Sync + 'static {
    /// Returns the credentials of one request to the token, revocation or pushed authorization
    /// request endpoint.
    ///
    /// It is called once for each attempt, so that credentials can be valid for one request only.
    ///
    /// # Cancellation
    ///
    /// The future is dropped after 15 seconds, and with the call of the client. Nothing was sent
    /// then.
    ///
    /// # Errors
    ///
    /// Any error: the request is not sent, and fails with
    /// [`Unavailable`](crate::ErrorKind::Unavailable) and this error as its source. The refresh
    /// token is unused, and the circuit breaker is not affected. The error must not show secrets.
    ///
    /// # Panics
    ///
    /// A panic is caught, and fails the request with
    /// [`Interrupted`](crate::ErrorKind::Interrupted). It was not sent.
    fn authenticate(
        &self,
        request: &AuthenticationRequest<'_>,
    ) -> impl Future<Output = Result<ClientCredentials, Box<dyn StdError + Send + Sync>>> + Send;
}

impl<T: ClientAuthenticator> ClientAuthenticator for Arc<T> {
    async fn authenticate(
        &self,
        request: &AuthenticationRequest<'_>,
    ) -> Result<ClientCredentials, Box<dyn StdError + Send + Sync>> {
        (**self).authenticate(request).await
    }
}

/// The request that a [`ClientAuthenticator`] authenticates.
#[derive(Clone, Copy)]
pub struct AuthenticationRequest<'a> {
    pub(super) client_id: &'a str,
    pub(super) method: &'a Method,
    pub(super) endpoint: &'a Uri,
    pub(super) audience: &'a str,
    pub(super) now: SystemTime,
}

impl<'a> AuthenticationRequest<'a> {
    /// The client id.
    #[must_use]
    pub fn client_id(&self) -> &'a str {
        self.client_id
    }

    /// The method, which is `POST` for all but some revocation requests.
    #[must_use]
    pub fn method(&self) -> &'a Method {
        self.method
    }

    /// The URL that the request is sent to. That of a revocation request may contain a token.
    #[must_use]
    pub fn endpoint(&self) -> &'a Uri {
        self.endpoint
    }

    /// The [audience](crate::provider::ProviderBuilder::assertion_audience) of assertions.
    #[must_use]
    pub fn audience(&self) -> &'a str {
        self.audience
    }

    /// The time of the attempt, by the client's [clock](crate::oauth::OAuthClientBuilder::clock).
    #[must_use]
    pub fn now(&self) -> SystemTime {
        self.now
    }
}

/// Without the URL, which may contain a token.
impl fmt::Debug for AuthenticationRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthenticationRequest")
            .field("client_id", &self.client_id)
            .field("method", &self.method)
            .field("audience", &self.audience)
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

/// The credentials of one request: parameters of its body, and headers.
///
/// All values count as secrets: they are wiped from memory, `Debug` does not print them, and they
/// are removed from the provider's text in errors.
#[derive(Default)]
pub struct ClientCredentials {
    pub(in crate::oauth) parameters: Vec<(String, Zeroizing<String>)>,
    pub(in crate::oauth) headers: Vec<(HeaderName, Zeroizing<String>)>,
    /// The secret that the credentials contain or were made with.
    pub(super) client_secret: Option<ClientSecret>,
}

impl ClientCredentials {
    /// Creates credentials without parameters and headers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a parameter to the body, which is a form or a JSON object.
    ///
    /// The request fails if it already has a parameter of this name. A `client_id` with the
    /// client's own id is never too much.
    #[must_use]
    pub fn parameter(
        mut self,
        name: impl Into<String>,
        value: impl Into<Zeroizing<String>>,
    ) -> Self {
        self.parameters.push((name.into(), value.into()));
        self
    }

    /// Adds a header, such as `Authorization`.
    ///
    /// The request fails if it already has a header of this name, if the value contains characters
    /// that no header can contain, or if the header describes the message or its connection, such
    /// as `Host`.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: impl Into<Zeroizing<String>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl fmt::Debug for ClientCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parameters: Vec<_> = self.parameters.iter().map(|(name, _)| name).collect();
        let headers: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("ClientCredentials")
            .field("parameters", &parameters)
            .field("headers", &headers)
            .finish_non_exhaustive()
    }
}

type Authenticating<'a> = Pin<
    Box<
        dyn Future<Output = Result<ClientCredentials, Box<dyn StdError + Send + Sync>>> + Send + 'a,
    >,
>;

/// [`ClientAuthenticator`] with a boxed future, so that a client's type does not name it.
trait ErasedAuthenticator: Send + Sync {
    fn authenticate<'a>(&'a self, request: &'a AuthenticationRequest<'a>) -> Authenticating<'a>;
}

impl<T: ClientAuthenticator> ErasedAuthenticator for T {
    fn authenticate<'a>(&'a self, request: &'a AuthenticationRequest<'a>) -> Authenticating<'a> {
        Box::pin(ClientAuthenticator::authenticate(self, request))
    }
}

/// An authenticator of any type.
pub(in crate::oauth) struct AnyAuthenticator(Box<dyn ErasedAuthenticator>);

impl AnyAuthenticator {
    pub(in crate::oauth) fn new(authenticator: impl ClientAuthenticator) -> Self {
        Self(Box::new(authenticator))
    }

    pub(super) async fn authenticate(
        &self,
        request: &AuthenticationRequest<'_>,
    ) -> Result<ClientCredentials, Box<dyn StdError + Send + Sync>> {
        self.0.authenticate(request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p21_debug_output_shows_no_value() {
        let credentials = ClientCredentials::new()
            .parameter("client_proof", "seeded".to_owned())
            .header(HeaderName::from_static("x-proof"), "seeded".to_owned());
        let endpoint = Uri::from_static("https://id.example.com/revoke/seeded");
        let request = AuthenticationRequest {
            client_id: "id",
            method: &Method::POST,
            endpoint: &endpoint,
            audience: "https://id.example.com",
            now: SystemTime::UNIX_EPOCH,
        };
        let shown = format!("{credentials:?} {request:?}");
        assert!(shown.contains("client_proof") && shown.contains("x-proof"));
        assert!(!shown.contains("seeded"), "{shown}");
    }
}
