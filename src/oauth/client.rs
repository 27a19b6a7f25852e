//! The requests of an OAuth client.

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Response, Uri};

use super::{
    attempt::{self, Retry},
    authentication::{self, AnyAuthenticator, Authentication, ClientAuthenticator, Presented},
    authorization::{AcceptedCode, PendingAuthorization, authorization_url},
    clock_skew, evidence,
    form::{Credentials, Form, Outgoing, Proof},
    gate::{EndpointGate, GateKey},
    kept_values, provider_text,
    token_response::{self, ExpectedType, TokenResponse},
    transport::{SendError, Transport},
};
use crate::{
    clock::Clock,
    dpop::{GrantKey, ProofContext},
    error::{Error, ErrorKind, OAuthErrorCode},
    jose::{AnySigner, Signer},
    provider::{ClientAuthentication, Endpoint, Provider, RequestKind, RequestParameters},
    telemetry::ResponseNotice,
    token::{ClientIdentity, ClientSecret, CodeVerifier, NamedValues, TokenSet},
};

/// An OAuth 2.0 client of one provider. The [module page](crate::oauth) has an example.
///
/// Clones are cheap, and share the secret and the [gate](Self::gate).
///
/// A call waits up to 15 seconds for a permit, and then for its response: see [retries and
/// timeouts](crate::oauth#retries-and-timeouts). It needs a tokio runtime with timers; outside of
/// one it fails with [`Interrupted`](ErrorKind::Interrupted).
///
/// Dropping the future cancels the request, and a rotated refresh token in its response is lost.
/// Let a [`TokenCache`](crate::cache::TokenCache) refresh, which does so in a task of its own.
#[derive(Clone)]
pub struct OAuthClient {
    pub(super) configuration: Arc<Configuration>,
    transport: Transport,
}

pub(super) struct Configuration {
    /// Shared with pending authorizations.
    pub(super) provider: Arc<Provider>,
    pub(super) client_id: String,
    pub(super) authentication: Authentication,
    pub(super) redirect_uri: Option<String>,
    pub(super) scope: Option<String>,
    /// The provider's parameters and this client's.
    pub(super) request_parameters: RequestParameters,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) gate: EndpointGate,
    pub(super) random: Mutex<fastrand::Rng>,
    /// How long a token request waits for its response.
    pub(super) response_timeout: Duration,
    pub(super) user_agent: HeaderValue,
    /// For the proofs of token requests.
    pub(super) proofs: ProofContext,
}

/// Parts of a token request that the handling of its response needs.
pub(super) struct Sent<'a> {
    /// The secrets of the request, which the provider may repeat.
    pub(super) secrets: &'a [&'a str],
    /// The kept values before the request.
    pub(super) values: &'a NamedValues,
    /// The key of the grant, if its tokens are bound to one.
    pub(super) key: Option<&'a GrantKey>,
    /// Whether the request carries the client's credentials.
    pub(super) is_authenticated: bool,
    /// A token type that is accepted beside those of the provider's data.
    pub(super) token_type: Option<&'static str>,
    /// Whether the request contains an assertion, whose times depend on this machine's clock.
    pub(super) has_assertion: bool,
}

static NO_VALUES: NamedValues = NamedValues::NONE;

impl Default for Sent<'_> {
    fn default() -> Self {
        Self {
            secrets: &[],
            values: &NO_VALUES,
            key: None,
            is_authenticated: true,
            token_type: None,
            has_assertion: false,
        }
    }
}

impl OAuthClient {
    pub(super) fn new(configuration: Configuration, transport: Transport) -> Self {
        Self {
            configuration: Arc::new(configuration),
            transport,
        }
    }

    /// The provider that this client sends its requests to.
    #[must_use]
    pub fn provider(&self) -> &Provider {
        &self.configuration.provider
    }

    /// The token endpoint and the id of this client. Stored grants carry it: see
    /// [`TokenSource::identity`](crate::cache::TokenSource::identity).
    #[must_use]
    pub fn identity(&self) -> ClientIdentity {
        let token_endpoint = self.provider().token_endpoint().to_string();
        ClientIdentity::new(token_endpoint, &*self.configuration.client_id)
    }

    #[cfg(feature = "axum")]
    pub(crate) fn client_id(&self) -> &str {
        &self.configuration.client_id
    }

    /// The limiter and circuit breaker of this client's token requests, shared by all clones.
    #[must_use]
    pub fn gate(&self) -> &EndpointGate {
        &self.configuration.gate
    }

    /// Replaces the client secret for all clones. Requests from now on carry the new one.
    ///
    /// Call it when the secret changes at the provider while the program runs. It closes the
    /// circuit breaker of the [gate](Self::gate), and ends the backoff of the caches behind it, if
    /// `invalid_client` was the cause: the next request of any grant refreshes. A pause with
    /// another cause, and one that the provider asked for by `Retry-After`, continues.
    ///
    /// A request in flight still carries the old secret. If its response is `invalid_client`, it
    /// causes no pause, and the requests that wait for it in a cache wait for a refresh with the
    /// new secret. The old secret is wiped from memory.
    ///
    /// # Errors
    ///
    /// [`Configuration`](ErrorKind::Configuration) as for
    /// [`OAuthClientBuilder::build`](crate::oauth::OAuthClientBuilder::build), and for a public
    /// client. The old secret then stays in use.
    pub fn replace_secret(&self, secret: impl Into<ClientSecret>) -> Result<(), Error> {
        let secret = secret.into();
        let authentication = &self.configuration.authentication;
        if authentication.authenticator.load().is_some() {
            return Err(Error::configuration(
                "client secret: the client has an authenticator; call replace_authenticator",
            ));
        }
        authentication::check_secret(self.provider(), &secret)?;
        // The secret comes first, so that requests of the new epoch carry it.
        authentication.client_secret.store(Some(Arc::new(secret)));
        self.gate().secret_replaced();
        Ok(())
    }

    /// Replaces the signer for all clones. Assertions from now on are signed with the new key.
    ///
    /// To rotate a key, register the new one at the provider, call this, and remove the old key at
    /// the provider a few minutes later. Everything else is as for
    /// [`replace_secret`](Self::replace_secret): it closes a circuit breaker that the old key has
    /// opened, and an `invalid_client` response to an assertion of the old key causes no pause.
    ///
    /// # Errors
    ///
    /// [`Configuration`](ErrorKind::Configuration) if the provider's client authentication is not
    /// [`PrivateKeyJwt`](ClientAuthentication::PrivateKeyJwt), or the client has an authenticator.
    /// The old signer then stays in use.
    pub fn replace_signer(&self, signer: impl Signer) -> Result<(), Error> {
        let authentication = &self.configuration.authentication;
        if authentication.authenticator.load().is_some() {
            return Err(Error::configuration(
                "signer: the client has an authenticator; call replace_authenticator",
            ));
        }
        authentication::check_signer(self.provider())?;
        let signer = AnySigner::new(signer);
        authentication.signer.store(Some(Arc::new(signer)));
        self.gate().secret_replaced();
        Ok(())
    }

    /// Replaces the authenticator for all clones, with the effects of
    /// [`replace_secret`](Self::replace_secret).
    ///
    /// # Errors
    ///
    /// [`Configuration`](ErrorKind::Configuration) if the client was built without an
    /// [authenticator](crate::oauth::OAuthClientBuilder::authenticator).
    pub fn replace_authenticator(
        &self,
        authenticator: impl ClientAuthenticator,
    ) -> Result<(), Error> {
        let authentication = &self.configuration.authentication;
        if authentication.authenticator.load().is_none() {
            return Err(Error::configuration(
                "authenticator: the client was built without one; call \
                 OAuthClientBuilder::authenticator",
            ));
        }
        let authenticator = AnyAuthenticator::new(authenticator);
        authentication
            .authenticator
            .store(Some(Arc::new(authenticator)));
        self.gate().secret_replaced();
        Ok(())
    }

    /// Creates an authorization request (RFC 6749 section 4.1.1).
    ///
    /// Returns the URL to redirect the customer's browser to, and the data to keep in the browser's
    /// session until the callback. Each call creates a new `state`, and a new PKCE challenge if the
    /// provider uses PKCE. Nothing is sent: [`start_authorization`](Self::start_authorization)
    /// pushes the request to providers that support it.
    ///
    /// # Errors
    ///
    /// * [`Configuration`](ErrorKind::Configuration) if the provider has no authorization endpoint
    ///   or requires pushed authorization requests, or no redirect URI is set.
    /// * [`KeptValue`](ErrorKind::KeptValue) if the authorization endpoint contains variables: use
    ///   [`authorization_url_with`](Self::authorization_url_with).
    /// * [`Interrupted`](ErrorKind::Interrupted) if the operating system returns no random bytes.
    pub fn authorization_url(&self) -> Result<(String, PendingAuthorization), Error> {
        self.authorization_url_with(&NamedValues::NONE)
    }

    /// Creates an authorization request as [`authorization_url`](Self::authorization_url) does,
    /// with values to keep with the grant: those that the provider's data name with the source
    /// [`Connect`](crate::provider::ValueSource::Connect).
    ///
    /// ```
    /// # use bytes::Bytes;
    /// # use http::{Request, Response};
    /// # use http_body_util::Full;
    /// use tower_oauth2_client::{
    ///     oauth::OAuthClient,
    ///     provider::{KeptValue, Provider, ValueSource},
    ///     token::NamedValues,
    /// };
    ///
    /// let shop = KeptValue::new(ValueSource::Connect).pattern("[a-z0-9][a-z0-9-]*");
    /// let provider = Provider::builder("https://{shop}.example.com/token")
    ///     .authorization_endpoint("https://{shop}.example.com/authorize")
    ///     .kept_value("shop", shop)
    ///     .build()?;
    /// # let http = tower::service_fn(|_: Request<Full<Bytes>>| async {
    /// #     Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::new())))
    /// # });
    /// let oauth = OAuthClient::builder(provider, "client-id")
    ///     .client_secret("client-secret")
    ///     .redirect_uri("https://partner.example.com/callback")
    ///     .build(http)?;
    ///
    /// let (url, pending) = oauth.authorization_url_with(&NamedValues::from([("shop", "acme")]))?;
    /// assert!(url.starts_with("https://acme.example.com/authorize?"));
    /// assert_eq!(pending.values().get("shop"), Some("acme"));
    ///
    /// let forged = NamedValues::from([("shop", "evil.example/")]);
    /// assert!(oauth.authorization_url_with(&forged).is_err());
    /// # Ok::<(), tower_oauth2_client::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`authorization_url`](Self::authorization_url), and
    ///
    /// * [`Configuration`](ErrorKind::Configuration) if the provider's data do not name a value
    ///   with this source, or it is passed more than once.
    /// * [`KeptValue`](ErrorKind::KeptValue) if a value does not match its pattern, or one that the
    ///   authorization endpoint needs is missing, or the names and values have more than 1 KiB.
    pub fn authorization_url_with(
        &self,
        values: &NamedValues,
    ) -> Result<(String, PendingAuthorization), Error> {
        let configuration = &*self.configuration;
        let endpoint = self.authorization_endpoint()?;
        if configuration
            .provider
            .requires_pushed_authorization_requests()
        {
            return Err(Error::configuration(
                "authorization URL: the provider requires pushed authorization requests; call \
                 OAuthClient::start_authorization",
            ));
        }
        let redirect_uri = self.redirect_uri()?;
        let values = kept_values::of_program(&configuration.provider, values)?;
        let endpoint = configuration.provider.resolve(endpoint, &values)?;
        let pending = PendingAuthorization::random(Arc::clone(&configuration.provider))?;
        let pending = pending.with_values(values);
        let parameters = self.authorization_parameters(&pending, redirect_uri);
        let url = authorization_url(&endpoint, parameters);
        Ok((url, pending))
    }

    pub(super) fn authorization_endpoint(&self) -> Result<&Endpoint, Error> {
        self.provider().authorization_endpoint().ok_or_else(|| {
            Error::configuration(
                "authorization endpoint: the provider has none; set one by \
                 ProviderBuilder::authorization_endpoint",
            )
        })
    }

    /// Restores a pending authorization from its [`state`](PendingAuthorization::state) and
    /// [`code_verifier`](PendingAuthorization::code_verifier).
    /// [`PendingAuthorization::with_values`] restores the values that the program has passed.
    ///
    /// It has to come from this client or from one with the same provider, because the callback has
    /// to name this provider's issuer. An empty state, as from a session without one, accepts no
    /// callback.
    #[must_use]
    pub fn resume_authorization(
        &self,
        state: impl Into<String>,
        code_verifier: Option<CodeVerifier>,
    ) -> PendingAuthorization {
        let provider = Arc::clone(&self.configuration.provider);
        PendingAuthorization::new(state.into(), code_verifier, provider)
    }

    /// Exchanges a code for the first token set of a grant (RFC 6749 section 4.1.3).
    ///
    /// The request is sent even while the circuit breaker is open, because a customer waits.
    ///
    /// # Errors
    ///
    /// A code must not be sent twice, so after any error start a new authorization.
    ///
    /// * [`Refused`](ErrorKind::Refused), with the provider's [error code](Error::oauth_code).
    /// * [`Unavailable`](ErrorKind::Unavailable) if the provider cannot be reached or does not
    ///   respond in time, or no permit is free.
    /// * [`InvalidResponse`](ErrorKind::InvalidResponse) if the response violates RFC 6749. Its
    ///   message says how. If the response contains a refresh token, but no access token that can
    ///   be used, there is no token set to save. The error then has the
    ///   [`refresh_token`](Error::refresh_token), which you may [revoke](Self::revoke).
    /// * [`KeptValue`](ErrorKind::KeptValue) if the token endpoint needs another value than the
    ///   code has, because another client has accepted it. The code was not sent.
    /// * [`Configuration`](ErrorKind::Configuration) if no redirect URI is set.
    pub async fn exchange_code(&self, code: AcceptedCode) -> Result<TokenSet, Error> {
        let response = self.exchange_code_with_members(code).await;
        response.map(TokenResponse::into_tokens)
    }

    /// Exchanges a code as [`exchange_code`](Self::exchange_code) does, and returns the other
    /// members of the token response too.
    ///
    /// # Errors
    ///
    /// As [`exchange_code`](Self::exchange_code).
    pub async fn exchange_code_with_members(
        &self,
        code: AcceptedCode,
    ) -> Result<TokenResponse, Error> {
        let redirect_uri = self.redirect_uri()?;
        let endpoint = self.provider().token_address();
        let endpoint = self.provider().resolve(endpoint, code.values())?;
        let mut form = self.form(RequestKind::CodeExchange, "authorization_code");
        form.standard("code", code.code().expose());
        form.standard("redirect_uri", redirect_uri);
        if let Some(verifier) = code.verifier() {
            form.field("code_verifier", verifier.expose());
        }
        let key = self.new_key()?;
        let permit = self.gate().acquire_for_code_exchange().await?;
        let verifier = code.verifier().map_or("", CodeVerifier::expose);
        let sent = Sent {
            secrets: &[code.code().expose(), verifier],
            values: code.values(),
            key: key.as_ref(),
            ..Sent::default()
        };
        let outcome = self.request_tokens(endpoint, form, Retry::NotSent, &sent);
        let outcome = outcome.await;
        permit.record(&outcome);
        outcome
    }

    /// Refreshes a token set (RFC 6749 section 6).
    ///
    /// A refresh token, scope or kept value that the response omits is taken from `tokens`. So is
    /// the [DPoP key](crate::dpop#keys): a set without a key stays without. Once the future is
    /// polled, the provider may have rotated the refresh token: do not refresh the same token set
    /// twice. A [`TokenCache`](crate::cache::TokenCache) ensures that.
    ///
    /// # Errors
    ///
    /// * [`NoGrant`](ErrorKind::NoGrant) if `tokens` has no refresh token.
    /// * [`Refused`](ErrorKind::Refused), with the provider's [error code](Error::oauth_code). If
    ///   [`is_invalid_grant`](Error::is_invalid_grant) is true, the customer has to consent again.
    /// * [`Unavailable`](ErrorKind::Unavailable) if the provider cannot be reached or does not
    ///   respond in time, the circuit breaker is open, or no permit is free.
    /// * [`InvalidResponse`](ErrorKind::InvalidResponse) if the response violates RFC 6749. If the
    ///   error has a [`refresh_token`](Error::refresh_token), it replaces the one in `tokens`.
    /// * [`KeptValue`](ErrorKind::KeptValue) if the endpoint contains a variable whose value in
    ///   `tokens` is missing or does not match its pattern. Nothing was sent.
    ///
    /// If [`is_response_lost`](Error::is_response_lost) is true, it is unknown whether the provider
    /// has rotated the refresh token. See the [table](crate::oauth#outcomes-of-a-token-request).
    pub async fn refresh(&self, tokens: &TokenSet) -> Result<TokenSet, Error> {
        let permit = self.gate().acquire(GateKey::random(), None).await?;
        let outcome = self.send_refresh(tokens).await;
        permit.record(&outcome);
        outcome
    }

    /// Refreshes a token set. The caller has a permit.
    pub(crate) async fn send_refresh(&self, tokens: &TokenSet) -> Result<TokenSet, Error> {
        let Some(refresh_token) = tokens.refresh_token() else {
            return Err(Error::new(
                ErrorKind::NoGrant,
                "token set has no refresh token; the customer has to consent again",
            )
            .with_token_unused());
        };
        let mut form = self.form(RequestKind::Refresh, "refresh_token");
        form.standard("refresh_token", refresh_token.expose());
        if self.provider().scope_on_refresh()
            && let Some(scope) = &self.configuration.scope
        {
            form.standard("scope", scope);
        }
        let endpoint = self.provider().refresh_address();
        let endpoint = self.provider().resolve(endpoint, tokens.values());
        let endpoint = endpoint.map_err(Error::with_token_unused)?;
        // A refresh creates no key: if its response were lost, the key that the provider has bound
        // the next refresh token to would be lost with it.
        let key = tokens.dpop_key().map(GrantKey::of).transpose();
        let key = key.map_err(Error::with_token_unused)?;
        let sent = Sent {
            secrets: &[refresh_token.expose(), tokens.access_token().expose()],
            values: tokens.values(),
            key: key.as_ref(),
            ..Sent::default()
        };
        let response = self.request_tokens(endpoint, form, Retry::Deferred, &sent);
        let response = response.await?;
        Ok(response.into_tokens().with_omitted_from(tokens))
    }

    /// Requests a token for the client itself (RFC 6749 section 4.4).
    ///
    /// # Errors
    ///
    /// [`Configuration`](ErrorKind::Configuration) for a public client; otherwise as for
    /// [`refresh`](Self::refresh). The call can be repeated.
    pub async fn client_credentials(&self) -> Result<TokenSet, Error> {
        let permit = self.gate().acquire(GateKey::random(), None).await?;
        let outcome = self.send_client_credentials().await;
        permit.record(&outcome);
        outcome
    }

    /// Requests a token with client credentials. The caller has a permit.
    pub(crate) async fn send_client_credentials(&self) -> Result<TokenSet, Error> {
        if self.configuration.authentication.is_public() {
            return Err(Error::configuration(
                "client credentials: a public client cannot use this grant (RFC 6749 section 4.4); \
                 set another client authentication, and a secret or a key",
            ));
        }
        let mut form = self.form(RequestKind::ClientCredentials, "client_credentials");
        if let Some(scope) = &self.configuration.scope {
            form.standard("scope", scope);
        }
        let endpoint = self.provider().token_address();
        let key = self.new_key()?;
        let sent = Sent {
            key: key.as_ref(),
            ..Sent::default()
        };
        let endpoint = self.provider().resolve(endpoint, sent.values)?;
        let response = self.request_tokens(endpoint, form, Retry::Deferred, &sent);
        response.await.map(TokenResponse::into_tokens)
    }

    /// The key of a new grant, if this provider binds tokens.
    pub(super) fn new_key(&self) -> Result<Option<GrantKey>, Error> {
        let key = self.provider().dpop().then(GrantKey::generate);
        key.transpose().map_err(Error::with_token_unused)
    }

    /// A form with the grant type and the additional parameters of a token request.
    pub(super) fn form(&self, kind: RequestKind, grant_type: &str) -> Form<'_> {
        let parameters = &self.configuration.request_parameters;
        let provider = self.provider();
        let mut form = Form::empty(provider.request_format(), provider.parameter_names());
        form.standard(
            "grant_type",
            parameters.grant_type(kind).unwrap_or(grant_type),
        );
        self.add_parameters(&mut form, kind);
        form
    }

    pub(super) fn add_parameters(&self, form: &mut Form<'_>, kind: RequestKind) {
        for (name, value) in self.configuration.request_parameters.of(kind) {
            if name != "grant_type" {
                form.field(name, value);
            }
        }
    }

    /// `values` are the kept values of the grant so far.
    pub(super) async fn request_tokens(
        &self,
        endpoint: Uri,
        form: Form<'_>,
        retry: Retry,
        sent: &Sent<'_>,
    ) -> Result<TokenResponse, Error> {
        let configuration = &*self.configuration;
        // The time of the first attempt, so that retries do not lengthen the lifetime.
        let sent_at = configuration.clock.wall();
        let timeout = configuration.response_timeout;
        let credentials = sent
            .is_authenticated
            .then(|| self.credentials(None, sent.values))
            .transpose()
            .map_err(Error::with_token_unused)?;
        let mut request = self.outgoing(Method::POST, endpoint, form, credentials);
        request.proof = sent.key.map(|key| Proof {
            key,
            context: &configuration.proofs,
        });
        let response = self.send(&request, retry, timeout).await;
        let parse = |response: &Response<Bytes>| {
            let provider = &*configuration.provider;
            let now = configuration.clock.wall();
            let expected = match sent.key {
                Some(_) => ExpectedType::Dpop {
                    or: sent.token_type,
                },
                None => ExpectedType::Bearer {
                    or: sent.token_type,
                },
            };
            let parsed = token_response::parse(response, sent_at, now, provider, expected);
            let parsed = parsed.map_err(|error| {
                let secrets = || request.secrets(sent.secrets);
                let error = if sent.has_assertion {
                    clock_skew::added_to(error, response.headers(), sent_at, now)
                } else {
                    self.explained(error, response, sent_at, now)
                };
                let error = evidence::added_to(error);
                provider_text::added_to(error, response, provider.refusals(), secrets)
            });
            parsed.map(|mut parsed| {
                let gate = self.gate();
                for notice in parsed.take_notices() {
                    gate.notice(&notice);
                }
                let dropped = |name: &str, reason| {
                    let name = name.to_owned();
                    gate.notice(&ResponseNotice::ValueDropped { name, reason });
                };
                let key = sent.key.filter(|_| parsed.is_bound());
                parsed.map_tokens(|tokens| {
                    let (body, values) = (response.body(), sent.values);
                    let tokens =
                        kept_values::add_to_tokens(provider, body, values, tokens, dropped);
                    match key {
                        Some(key) => tokens.with_dpop_key(key.key().clone()),
                        None => tokens,
                    }
                })
            })
        };
        match response {
            Ok(response) => parse(&response),
            // The first part of the response may contain the tokens.
            Err(SendError::ResponseCut(response, error)) if response.status().is_success() => {
                match parse(&response) {
                    Err(problem) if problem.refresh_token().is_none() => {
                        Err(error.with_response_lost())
                    }
                    outcome => outcome,
                }
            }
            Err(error) => Err(of_token_endpoint(error.into_error())),
        }
    }

    /// Adds to a refusal of the client that its clock is off, if that may be the cause.
    pub(super) fn explained(
        &self,
        error: Error,
        response: &Response<Bytes>,
        sent: SystemTime,
        now: SystemTime,
    ) -> Error {
        let is_of_client = error.oauth_code() == Some(OAuthErrorCode::InvalidClient);
        if is_of_client && self.configuration.authentication.is_made_per_request() {
            clock_skew::added_to(error, response.headers(), sent, now)
        } else {
            error
        }
    }

    /// The credentials of a request for a tenant with these values, by the method of the provider's
    /// data, or by another one.
    pub(super) fn credentials(
        &self,
        other_method: Option<ClientAuthentication>,
        values: &NamedValues,
    ) -> Result<Credentials<'_>, Error> {
        let configuration = &*self.configuration;
        let authentication = &configuration.authentication;
        // Only an assertion needs the values of the audience, which not every request has.
        let has_audience = other_method.is_none() && authentication.is_made_per_request();
        let audience = has_audience.then(|| configuration.provider.audience(values));
        Ok(Credentials {
            authentication,
            other_method,
            client_id: &configuration.client_id,
            audience: audience.transpose()?.unwrap_or_default(),
            clock: &*configuration.clock,
            presented: Presented::default(),
        })
    }

    /// A request with the client's credentials, if it has some.
    pub(super) fn outgoing<'a>(
        &'a self,
        method: Method,
        endpoint: Uri,
        form: Form<'a>,
        credentials: Option<Credentials<'a>>,
    ) -> Outgoing<'a> {
        Outgoing {
            method,
            endpoint,
            form,
            credentials,
            user_agent: &self.configuration.user_agent,
            access_token: None,
            proof: None,
        }
    }

    pub(super) async fn send(
        &self,
        request: &Outgoing<'_>,
        retry: Retry,
        timeout: Duration,
    ) -> Result<Response<Bytes>, SendError> {
        let configuration = &*self.configuration;
        let (clock, random) = (&*configuration.clock, &configuration.random);
        attempt::send(&self.transport, request, retry, timeout, clock, random).await
    }

    /// How long a token request takes at most, with its retries and without the wait for a permit.
    pub(crate) fn request_timeout(&self) -> Duration {
        let configuration = &*self.configuration;
        let is_signed = configuration.authentication.is_made_per_request();
        let credentials = if is_signed {
            attempt::CREDENTIALS_TIMEOUT
        } else {
            Duration::ZERO
        };
        let last_attempt = credentials.saturating_add(configuration.response_timeout);
        attempt::RETRY_WINDOW.saturating_add(last_attempt)
    }

    pub(crate) fn redirect_uri(&self) -> Result<&str, Error> {
        self.configuration.redirect_uri.as_deref().ok_or_else(|| {
            Error::configuration("redirect URI: not set; call OAuthClientBuilder::redirect_uri")
        })
    }
}

impl fmt::Debug for OAuthClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuthClient")
            .field("provider", &self.configuration.provider)
            .field("client_id", &self.configuration.client_id)
            .field("redirect_uri", &self.configuration.redirect_uri)
            .field("scope", &self.configuration.scope)
            .finish_non_exhaustive()
    }
}

/// The error of a request without a response, which names the endpoint.
fn of_token_endpoint(error: Error) -> Error {
    if error.kind() != ErrorKind::Unavailable || error.is_local() {
        return error;
    }
    let message = format!("token endpoint: {error}");
    error.with_message(message)
}
