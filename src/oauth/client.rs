//! One exchange after another.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::Response;

use super::{
    attempt::{self, Retry},
    authorization::{AcceptedCode, PendingAuthorization},
    credentials, endpoint_error,
    form::Form,
    gate::{EndpointGate, GateKey},
    token_response,
    transport::Transport,
};
use crate::{
    clock::Clock,
    error::{Error, ErrorKind},
    provider::{ClientAuthentication, Endpoint, Provider},
    token::{AccessToken, ClientSecret, CodeVerifier, RefreshToken, TokenSet},
};

/// Speaks OAuth 2.0 with one provider for one application. The [module page](crate::oauth) shows
/// how.
///
/// Cheap to clone. Each call is made when the future is polled, has up to 15 seconds to wait for
/// its turn and 15 seconds for itself; what was begun is lost if the future is dropped, so leave
/// renewals to a [`TokenCache`](crate::cache::TokenCache), which runs them in a task of their own.
/// Calls must be made inside a tokio runtime with time enabled.
#[derive(Clone)]
pub struct OAuthClient {
    configuration: Arc<Configuration>,
    transport: Transport,
}

pub(super) struct Configuration {
    pub(super) provider: Provider,
    pub(super) client_id: String,
    pub(super) client_secret: ArcSwapOption<ClientSecret>,
    pub(super) redirect_uri: Option<String>,
    pub(super) scope: Option<String>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) gate: EndpointGate,
    pub(super) random: Mutex<fastrand::Rng>,
}

/// A token of either sort, to be revoked.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum TokenToRevoke<'a> {
    /// An access token. Revoking it may leave the grant alive.
    Access(&'a AccessToken),
    /// A refresh token. Revoking it ends the grant, and at most providers its access tokens (RFC
    /// 7009 section 2.1).
    Refresh(&'a RefreshToken),
}

impl OAuthClient {
    pub(super) fn new(configuration: Configuration, transport: Transport) -> Self {
        Self {
            configuration: Arc::new(configuration),
            transport,
        }
    }

    /// The provider that this client speaks with.
    #[must_use]
    pub fn provider(&self) -> &Provider {
        &self.configuration.provider
    }

    #[cfg(feature = "axum")]
    pub(crate) fn client_id(&self) -> &str {
        &self.configuration.client_id
    }

    /// What all calls of the token endpoint pass, those of clones included.
    #[must_use]
    pub fn gate(&self) -> &EndpointGate {
        &self.configuration.gate
    }

    /// Replaces the client secret, for all clones at once: what is sent from now on carries the new
    /// one.
    ///
    /// For a secret that is changed at the provider while the program runs. The pauses after
    /// `invalid_client` are over, those of the [gate](Self::gate) and those of the caches whose
    /// source names it: the next request of any grant makes its exchange. One that was sent with
    /// the old secret brings what it brings, but if that is `invalid_client` it causes no pause,
    /// and those who wait for it in a cache get an exchange with the new one. Pauses for other
    /// reasons, and what the provider asked for by `Retry-After`, stay. The old secret is wiped.
    ///
    /// # Errors
    ///
    /// [`Configuration`](ErrorKind::Configuration) as when the client is built, and for a public
    /// client. The old secret stays then.
    pub fn replace_secret(&self, secret: impl Into<ClientSecret>) -> Result<(), Error> {
        let secret = secret.into();
        credentials::check_secret(self.provider(), Some(&secret))?;
        // First the secret: whoever is let through in the new epoch sends that.
        self.configuration
            .client_secret
            .store(Some(Arc::new(secret)));
        self.gate().secret_replaced();
        Ok(())
    }

    /// Where to send a customer's browser, and what to keep in that browser's session until it
    /// comes back.
    ///
    /// Each call makes a new `state`, and a new PKCE challenge if the provider has them. Nothing is
    /// sent.
    ///
    /// # Errors
    ///
    /// [`Configuration`](ErrorKind::Configuration) if the provider has no authorization endpoint,
    /// or no redirect URI was set; [`Interrupted`](ErrorKind::Interrupted) if the operating system
    /// gives no randomness.
    pub fn authorization_url(&self) -> Result<(String, PendingAuthorization), Error> {
        let configuration = &*self.configuration;
        let Some(endpoint) = configuration.provider.authorization_endpoint() else {
            return Err(Error::configuration(
                "authorization endpoint: the provider has none; set one by ProviderBuilder::authorization_endpoint",
            ));
        };
        let redirect_uri = self.redirect_uri()?;
        let pending = PendingAuthorization::random(
            configuration.provider.pkce(),
            configuration.provider.issuer(),
        )?;
        let url = pending.url(
            endpoint,
            &configuration.client_id,
            redirect_uri,
            configuration.scope.as_deref(),
        );
        Ok((url, pending))
    }

    /// A pending authorization from what was kept of it as text: its
    /// [`state`](PendingAuthorization::state) and
    /// [`code_verifier`](PendingAuthorization::code_verifier). Of this client, or of one with the
    /// same provider: the issuer that the callback has to name is this one's.
    ///
    /// An empty state, as of a session that never had one, accepts no callback.
    #[must_use]
    pub fn resume_authorization(
        &self,
        state: impl Into<String>,
        code_verifier: Option<CodeVerifier>,
    ) -> PendingAuthorization {
        PendingAuthorization::new(state.into(), code_verifier, self.provider().issuer())
    }

    /// Exchanges a code for the first token set of a grant (RFC 6749 section 4.1.3).
    ///
    /// # Errors
    ///
    /// [`Refused`](ErrorKind::Refused) with the provider's code,
    /// [`Unavailable`](ErrorKind::Unavailable) or [`InvalidResponse`](ErrorKind::InvalidResponse).
    /// A code must not be sent twice, so after any of them the customer has to be sent to the
    /// provider again. It is sent even while the endpoint is otherwise left alone: somebody waits.
    pub async fn exchange_code(&self, code: AcceptedCode) -> Result<TokenSet, Error> {
        let redirect_uri = self.redirect_uri()?;
        let mut form = Form::new("authorization_code");
        form.field("code", code.code().expose());
        form.field("redirect_uri", redirect_uri);
        if let Some(verifier) = code.verifier() {
            form.field("code_verifier", verifier.expose());
        }
        let permit = self.gate().acquire_ignoring_breaker().await?;
        let outcome = self.exchange(form, Retry::NotSent).await;
        permit.record(&outcome);
        outcome
    }

    /// Exchanges a refresh token for the next token set (RFC 6749 section 6).
    ///
    /// What the provider leaves out of its answer is taken over from `tokens`. The refresh token in
    /// `tokens` must be taken for used from the moment this is polled: do not call it twice with
    /// the same one.
    ///
    /// # Errors
    ///
    /// [`NoGrant`](ErrorKind::NoGrant) if `tokens` has no refresh token;
    /// [`Refused`](ErrorKind::Refused), with [`is_invalid_grant`](Error::is_invalid_grant) if the
    /// customer has to consent again; [`Unavailable`](ErrorKind::Unavailable) or
    /// [`InvalidResponse`](ErrorKind::InvalidResponse), after which it is not known whether the
    /// provider used the refresh token up (see [`is_response_lost`](Error::is_response_lost)).
    pub async fn refresh(&self, tokens: &TokenSet) -> Result<TokenSet, Error> {
        let permit = self.gate().acquire(GateKey::random(), None).await?;
        let outcome = self.send_refresh(tokens).await;
        permit.record(&outcome);
        outcome
    }

    /// The same for one who has passed the gate.
    pub(crate) async fn send_refresh(&self, tokens: &TokenSet) -> Result<TokenSet, Error> {
        let Some(refresh_token) = tokens.refresh_token() else {
            return Err(Error::new(
                ErrorKind::NoGrant,
                "the token set holds no refresh token: let the customer consent again",
            ));
        };
        let mut form = Form::new("refresh_token");
        form.field("refresh_token", refresh_token.expose());
        Ok(self.exchange(form, Retry::Deferred).await?.renewing(tokens))
    }

    /// Gets a token for the application itself (RFC 6749 section 4.4), from providers that offer
    /// that.
    ///
    /// # Errors
    ///
    /// As [`exchange_code`](Self::exchange_code), but may be called again.
    pub async fn client_credentials(&self) -> Result<TokenSet, Error> {
        let permit = self.gate().acquire(GateKey::random(), None).await?;
        let outcome = self.send_client_credentials().await;
        permit.record(&outcome);
        outcome
    }

    /// The same for one who has passed the gate.
    pub(crate) async fn send_client_credentials(&self) -> Result<TokenSet, Error> {
        if self.provider().client_authentication() == ClientAuthentication::None {
            return Err(Error::configuration(
                "client credentials: a public client cannot use this grant (RFC 6749 section 4.4); set Basic or RequestBody \
                 authentication and a secret",
            ));
        }
        let mut form = Form::new("client_credentials");
        if let Some(scope) = &self.configuration.scope {
            form.field("scope", scope);
        }
        self.exchange(form, Retry::Deferred).await
    }

    /// Revokes a token (RFC 7009). Any success counts, as providers answer it for a token that they
    /// no longer know, too (section 2.2). Repeated after any failure that may pass, such as a 503
    /// (section 2.2.1), within the same limits as an exchange.
    ///
    /// # Errors
    ///
    /// [`Configuration`](ErrorKind::Configuration) if the provider has no revocation endpoint;
    /// otherwise as [`exchange_code`](Self::exchange_code), but may be called again: after any of
    /// them the token must be taken for alive.
    pub async fn revoke(&self, token: impl Into<TokenToRevoke<'_>> + Send) -> Result<(), Error> {
        let Some(endpoint) = self.configuration.provider.revocation_endpoint() else {
            return Err(Error::configuration(
                "revocation endpoint: the provider has none",
            ));
        };
        let (token, hint) = match token.into() {
            TokenToRevoke::Access(token) => (token.expose(), "access_token"),
            TokenToRevoke::Refresh(token) => (token.expose(), "refresh_token"),
        };
        let mut form = Form::empty();
        form.field("token", token);
        form.field("token_type_hint", hint);
        let response = self.send(endpoint, form, Retry::Transient).await?;
        if response.status().is_success() {
            return Ok(());
        }
        Err(endpoint_error::to_error(
            "revocation endpoint",
            &response,
            self.configuration.clock.wall(),
        ))
    }

    async fn exchange(&self, form: Form, retry: Retry) -> Result<TokenSet, Error> {
        let configuration = &*self.configuration;
        // That of the first request, where there are several: a life is not taken for longer than
        // it is.
        let sent = configuration.clock.wall();
        let endpoint = configuration.provider.token_endpoint();
        let response = self.send(endpoint, form, retry).await?;
        token_response::parse(
            &response,
            sent,
            configuration.clock.wall(),
            configuration.provider.access_token_lifetime(),
        )
    }

    async fn send(
        &self,
        endpoint: &Endpoint,
        form: Form,
        retry: Retry,
    ) -> Result<Response<Bytes>, Error> {
        let configuration = &*self.configuration;
        let request = form.into_request(
            endpoint.uri().clone(),
            configuration.provider.client_authentication(),
            &configuration.client_id,
            configuration.client_secret.load().as_deref(),
        );
        let (clock, random) = (&*configuration.clock, &configuration.random);
        attempt::send(&self.transport, request, retry, clock, random).await
    }

    pub(crate) fn redirect_uri(&self) -> Result<&str, Error> {
        self.configuration
            .redirect_uri
            .as_deref()
            .ok_or_else(|| Error::configuration("redirect URI: set one to ask for consent"))
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

impl<'a> From<&'a AccessToken> for TokenToRevoke<'a> {
    fn from(token: &'a AccessToken) -> Self {
        Self::Access(token)
    }
}

impl<'a> From<&'a RefreshToken> for TokenToRevoke<'a> {
    fn from(token: &'a RefreshToken) -> Self {
        Self::Refresh(token)
    }
}
