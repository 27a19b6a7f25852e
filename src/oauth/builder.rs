//! Settings of an [`OAuthClient`], checked when it is built.

use std::{
    error::Error as StdError,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{
    authentication::{self, AnyAuthenticator, Authentication, ClientAuthenticator, Means},
    client::{Configuration, OAuthClient},
    gate::EndpointGate,
    transport::{IsConnectError, Transport},
    user_agent,
};
use crate::{
    clock::{Clock, SystemClock},
    dpop::ProofContext,
    error::{BoxError, Error},
    jose::{AnySigner, Signer},
    origin::Origin,
    provider::{ClientAuthentication, Provider, RequestKind, RequestParameters},
    telemetry::EndpointListener,
    token::ClientSecret,
};

/// Builds an [`OAuthClient`].
#[must_use = "a builder does nothing until it is built"]
pub struct OAuthClientBuilder {
    provider: Provider,
    client_id: String,
    means: Means,
    redirect_uri: Option<String>,
    scopes: Vec<String>,
    request_parameters: RequestParameters,
    clock: Arc<dyn Clock>,
    seed: Option<u64>,
    gate: EndpointGate,
    endpoint_listener: Option<Arc<dyn EndpointListener>>,
    is_connect_error: IsConnectError,
    response_timeout: Duration,
    product: Option<String>,
}

const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);
const SHORTEST_RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);
const LONGEST_RESPONSE_TIMEOUT: Duration = Duration::from_secs(600);

impl OAuthClient {
    /// Starts building a client of `provider` with the id that the provider issued for it.
    pub fn builder(provider: Provider, client_id: impl Into<String>) -> OAuthClientBuilder {
        OAuthClientBuilder {
            provider,
            client_id: client_id.into(),
            means: Means::default(),
            redirect_uri: None,
            scopes: Vec::new(),
            request_parameters: RequestParameters::default(),
            clock: Arc::new(SystemClock),
            seed: None,
            gate: EndpointGate::new(),
            endpoint_listener: None,
            is_connect_error: Arc::new(|_| false),
            response_timeout: RESPONSE_TIMEOUT,
            product: None,
        }
    }
}

impl OAuthClientBuilder {
    /// Sets the client secret. It is required if the provider's client authentication sends one, or
    /// signs with it.
    ///
    /// Trim a secret that is read from a file: [`build`](Self::build) refuses a trailing line end.
    /// It accepts plain spaces, at the ends as well, because they are legal (RFC 6749 appendix A).
    pub fn client_secret(mut self, secret: impl Into<ClientSecret>) -> Self {
        self.means.client_secret = Some(secret.into());
        self
    }

    /// Sets the private key that signs the assertions of the client. It is required if the
    /// provider's client authentication is
    /// [`PrivateKeyJwt`](ClientAuthentication::PrivateKeyJwt), and refused otherwise.
    ///
    /// It has 15 seconds for each signature. With the feature `signing`,
    /// [`SigningKey`](crate::jose::SigningKey) is a ready signer.
    /// [`OAuthClient::replace_signer`] replaces it while the program runs.
    pub fn signer(mut self, signer: impl Signer) -> Self {
        self.means.signer = Some(AnySigner::new(signer));
        self
    }

    #[cfg(feature = "mcp")]
    pub(crate) fn shared_signer(mut self, signer: AnySigner) -> Self {
        self.means.signer = Some(signer);
        self
    }

    /// Sets the program's own client authentication. Defaults to the
    /// [method](crate::provider::ProviderBuilder::client_authentication) of the provider's data,
    /// which it replaces.
    ///
    /// Such a client has neither a secret nor a signer.
    pub fn authenticator(mut self, authenticator: impl ClientAuthenticator) -> Self {
        self.means.authenticator = Some(AnyAuthenticator::new(authenticator));
        self
    }

    /// Sets the redirect URI, exactly as it is registered at the provider. Defaults to none, which
    /// is enough for a client that makes no authorization requests.
    pub fn redirect_uri(mut self, redirect_uri: impl Into<String>) -> Self {
        self.redirect_uri = Some(redirect_uri.into());
        self
    }

    /// Sets the scopes to request. Defaults to none: requests then name no scope, and the provider
    /// decides.
    pub fn scopes(mut self, scopes: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.scopes = scopes
            .into_iter()
            .map(|scope| scope.as_ref().to_owned())
            .collect();
        self
    }

    /// Adds a parameter to every request of a kind, such as the `resource` or `audience` that this
    /// client uses. Replaces the provider's
    /// [parameter](crate::provider::ProviderBuilder::request_parameter) of the same name.
    pub fn request_parameter(
        mut self,
        kind: RequestKind,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> Self {
        self.request_parameters.set(kind, name.into(), value.into());
        self
    }

    /// Sets the clock. Defaults to the operating system's.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Sets the seed of the jitter in pauses, for reproducible tests. Defaults to a random seed.
    pub fn jitter_seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Sets how long a token request waits for its response. Defaults to 60 seconds.
    ///
    /// The response of a refresh or code exchange cannot be requested again: it contains the next
    /// refresh token. So this is long, and the callers of a cache stop
    /// [waiting](crate::cache::TokenCacheBuilder::acquire_timeout) earlier. Set it to more than the
    /// slowest response of the token endpoint.
    pub fn response_timeout(mut self, timeout: Duration) -> Self {
        self.response_timeout = timeout;
        self
    }

    /// Sets the program's part of the `User-Agent` header (RFC 9110 section 10.1.5) of requests to
    /// the token and revocation endpoints, such as `partner-app/2.1 (ops@partner.example.com)`.
    /// Defaults to none.
    ///
    /// Each of these requests has the header, whatever the HTTP client: this part first, and then
    /// `tower-oauth2-client/` with the version of this crate. The HTTP client's own value, such as
    /// that of `reqwest::ClientBuilder::user_agent`, is not sent. Providers ask for the header to
    /// tell their clients apart, and some firewalls block requests without it.
    pub fn user_agent(mut self, product: impl Into<String>) -> Self {
        self.product = Some(product.into());
        self
    }

    /// Sets the limiter and circuit breaker for the token endpoint. Defaults to a new one, which
    /// clones of the client share.
    ///
    /// Several clients of one endpoint, for example with different scopes or redirect URIs, can
    /// share a gate. Its limit and its pauses then hold for all of them together. That includes the
    /// pause after `invalid_client`, which ends for all of them when one gets a new secret.
    pub fn gate(mut self, gate: EndpointGate) -> Self {
        self.gate = gate;
        self
    }

    /// Sets the listener that is called when the circuit breaker of the [gate](Self::gate) opens or
    /// closes, or the provider rejects the client. Defaults to none.
    ///
    /// Clients that share a gate share its listener, and the last one that was set is called.
    pub fn endpoint_listener(mut self, listener: impl EndpointListener) -> Self {
        self.endpoint_listener = Some(Arc::new(listener));
        self
    }

    /// Sets which errors of the HTTP client, or in its chain of sources, mean that no connection
    /// was made. Refused connections always do, and connect errors of reqwest with the feature
    /// `reqwest`. Defaults to no other error.
    ///
    /// After such an error nothing was sent, so the request is retried. After any other
    /// error the response counts as lost.
    ///
    /// ```
    /// # use tower_oauth2_client::{oauth::OAuthClient, provider};
    /// # use hyper_util::client::legacy;
    /// # let builder = OAuthClient::builder(provider::justworks(), "id").client_secret("secret");
    /// builder.is_connect_error(|error| {
    ///     error.downcast_ref::<legacy::Error>().is_some_and(legacy::Error::is_connect)
    /// });
    /// ```
    pub fn is_connect_error(
        mut self,
        is_connect_error: impl Fn(&(dyn StdError + 'static)) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.is_connect_error = Arc::new(is_connect_error);
        self
    }

    /// Builds the client over `http`, an HTTP client whose request body converts from [`Bytes`].
    ///
    /// `http` must not follow redirects, retry requests, or be wrapped in a [layer](crate::bearer)
    /// over this client. It should open a connection for each request: the [module
    /// page](super#the-http-client) has the settings.
    ///
    /// # Errors
    ///
    /// [`Configuration`](crate::ErrorKind::Configuration), by the name of the setting:
    ///
    /// * A client id or secret that is empty or contains characters other than printable ASCII (RFC
    ///   6749 appendix A), such as the line end of the file that it was read from.
    /// * A secret or a signer that is missing, or that the provider's client authentication does
    ///   not use. Either of them beside an authenticator. A public client without PKCE (RFC 9700
    ///   section 2.1.1).
    /// * A redirect URI that is not absolute, is not `https` (or `http` to loopback), or contains a
    ///   fragment or user information; or one for a provider without an authorization endpoint.
    /// * A scope with characters that no scope can contain (RFC 6749 section 3.3).
    /// * A request parameter that the client sets itself, or that no form should contain.
    ///   One whose name the provider's data give to another parameter.
    /// * A response timeout that is not between 1 second and 10 minutes.
    /// * A user agent that is empty, does not begin with a product such as `partner-app/2.1`,
    ///   contains characters other than printable ASCII, or is longer than 256 bytes.
    pub fn build<S, B, R>(self, http: S) -> Result<OAuthClient, Error>
    where
        S: Service<Request<B>, Response = Response<R>> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: From<Bytes> + Send + 'static,
        R: Body + Send + 'static,
        R::Data: Send,
        R::Error: Into<BoxError>,
    {
        authentication::check_client_id(&self.client_id)?;
        self.means.check(&self.provider)?;
        self.check_authorization()?;
        let scope = joined_scopes(&self.scopes, &self.provider)?;
        self.request_parameters.check()?;
        self.provider
            .check_request_parameters(&self.request_parameters)?;
        if !(SHORTEST_RESPONSE_TIMEOUT..=LONGEST_RESPONSE_TIMEOUT).contains(&self.response_timeout)
        {
            return Err(Error::configuration(
                "response timeout: must be between 1 second and 10 minutes",
            ));
        }
        let user_agent = user_agent::header(self.product.as_deref())?;
        self.gate
            .set_endpoint(&self.provider.refresh_endpoint().to_string());
        if let Some(listener) = self.endpoint_listener {
            self.gate.set_shared_listener(listener);
        }
        Ok(OAuthClient::new(
            Configuration {
                client_id: self.client_id,
                authentication: Authentication::new(
                    self.provider.client_authentication(),
                    self.means,
                ),
                redirect_uri: self.redirect_uri,
                scope,
                request_parameters: self
                    .provider
                    .all_request_parameters()
                    .clone()
                    .with(&self.request_parameters),
                proofs: ProofContext::new(Arc::clone(&self.clock)),
                clock: self.clock,
                gate: self.gate,
                random: Mutex::new(
                    self.seed
                        .map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed),
                ),
                response_timeout: self.response_timeout,
                user_agent,
                provider: Arc::new(self.provider),
            },
            Transport::new(http, self.is_connect_error),
        ))
    }

    /// Checks the settings of authorization requests.
    fn check_authorization(&self) -> Result<(), Error> {
        if let Some(redirect_uri) = &self.redirect_uri {
            check_redirect_uri(redirect_uri)?;
        }
        if self.provider.authorization_endpoint().is_none() {
            return match self.redirect_uri {
                Some(_) => Err(Error::configuration(
                    "redirect URI: the provider has no authorization endpoint; set one by \
                     ProviderBuilder::authorization_endpoint, or remove the redirect URI",
                )),
                None => Ok(()),
            };
        }
        if self.provider.client_authentication() == ClientAuthentication::None
            && self.means.authenticator.is_none()
            && !self.provider.pkce()
        {
            return Err(Error::configuration(
                "PKCE: a public client needs it (RFC 9700 section 2.1.1); turn it on \
                 by ProviderBuilder::pkce",
            ));
        }
        Ok(())
    }
}

impl fmt::Debug for OAuthClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuthClientBuilder")
            .field("provider", &self.provider)
            .field("client_id", &self.client_id)
            .field("redirect_uri", &self.redirect_uri)
            .field("scopes", &self.scopes)
            .field("user_agent", &self.product)
            .finish_non_exhaustive()
    }
}

/// An absolute URI without a fragment (RFC 6749 section 3.1.2).
fn check_redirect_uri(uri: &str) -> Result<(), Error> {
    if uri.contains('#') {
        return Err(Error::configuration(
            "redirect URI: the URL contains a fragment; remove it",
        ));
    }
    Origin::parse("redirect URI", uri).map(drop)
}

/// The scopes as a request names them. `None` for no scope.
pub(super) fn joined_scopes(
    scopes: &[String],
    provider: &Provider,
) -> Result<Option<String>, Error> {
    if !scopes.iter().all(|scope| is_scope(scope)) {
        return Err(Error::configuration(
            "scopes: each scope is one word of visible ASCII without quotes or \
             backslashes; pass several scopes as several items",
        ));
    }
    Ok((!scopes.is_empty()).then(|| scopes.join(provider.scope_separator())))
}

fn is_scope(scope: &str) -> bool {
    !scope.is_empty()
        && scope
            .bytes()
            .all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirect_uri_is_absolute_and_has_no_fragment() {
        for bad in [
            "/callback",
            "partner.example.com/callback",
            "",
            "https://a.example/#x",
            "http://a.example/cb",
        ] {
            assert!(check_redirect_uri(bad).is_err(), "{bad}");
        }
        for good in ["https://a.example/cb?x=y", "http://127.0.0.1:8000/callback"] {
            assert!(check_redirect_uri(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn scopes_are_single_words() {
        for bad in ["", "two words", "quo\"te", "back\\slash", "ünicode"] {
            assert!(!is_scope(bad), "{bad}");
        }
        assert!(is_scope("company.basic:read"));
    }

    #[test]
    fn client_authentication_and_secret_have_to_match() {
        let provider = |authentication, pkce| {
            Provider::builder("https://id.example.com/t")
                .authorization_endpoint("https://id.example.com/a")
                .client_authentication(authentication)
                .pkce(pkce)
                .build()
                .unwrap()
        };
        let build = |builder: OAuthClientBuilder| {
            let http = tower::service_fn(|_: Request<http_body_util::Full<Bytes>>| async {
                Ok::<_, std::convert::Infallible>(Response::new(
                    http_body_util::Full::<Bytes>::default(),
                ))
            });
            builder.build(http).map_err(|error| error.to_string())
        };
        for authentication in [
            ClientAuthentication::Basic,
            ClientAuthentication::RequestBody,
        ] {
            let builder = OAuthClient::builder(provider(authentication, false), "id");
            assert!(
                build(builder)
                    .unwrap_err()
                    .starts_with("client secret: not set")
            );
            let builder = OAuthClient::builder(provider(authentication, false), "id");
            assert!(build(builder.client_secret("secret")).is_ok());
        }
        let public = || OAuthClient::builder(provider(ClientAuthentication::None, true), "id");
        assert!(build(public()).is_ok());
        assert!(
            build(public().client_secret("secret"))
                .unwrap_err()
                .starts_with("client secret: ")
        );
        let without_pkce = OAuthClient::builder(provider(ClientAuthentication::None, false), "id");
        assert!(build(without_pkce).unwrap_err().starts_with("PKCE: "));

        let machine = Provider::builder("https://id.example.com/t")
            .build()
            .unwrap();
        let builder = || OAuthClient::builder(machine.clone(), "id").client_secret("secret");
        let client = build(builder()).unwrap();
        assert!(
            client
                .authorization_url()
                .unwrap_err()
                .to_string()
                .starts_with("authorization endpoint: ")
        );
        let redirect = builder().redirect_uri("https://a.example/cb");
        assert!(build(redirect).unwrap_err().starts_with("redirect URI: "));
    }
}
