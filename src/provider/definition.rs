//! A provider, and how clients authenticate to it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    endpoint::Endpoint,
    refusal::Refusal,
    request_parameters::{RequestKind, RequestParameters},
};
use crate::{error::Error, origin::Origin, rejection::TokenRejection};

/// How a client authenticates to the token and revocation endpoints (RFC 6749 section 2.3). One
/// method per request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ClientAuthentication {
    /// Sends `client_id` and `client_secret` in the request body (`client_secret_post` in RFC
    /// 7591).
    RequestBody,
    /// Sends both in an `Authorization: Basic` header (`client_secret_basic` in RFC 7591).
    #[default]
    Basic,
    /// Sends both in an `Authorization: Basic` header without form-encoding them first, as many
    /// servers expect against RFC 6749 section 2.3.1. It matters for ids and secrets with other
    /// characters than letters, digits and `* - . _`.
    BasicRaw,
    /// Sends `client_id` in the request body and no secret (`none` in RFC 7591): for a public
    /// client, which cannot keep a secret (RFC 6749 sections 2.1 and 3.2.1).
    ///
    /// A public client has to use PKCE (RFC 9700 section 2.1.1), and cannot use the
    /// `client_credentials` grant (RFC 6749 section 4.4).
    None,
}

/// How the provider sends the parameters of a callback, such as the code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ResponseMode {
    /// The browser is redirected, and the parameters are the query of the URL (RFC 6749 section
    /// 4.1.2). Authorization requests name no mode.
    #[default]
    Query,
    /// The browser sends the parameters as a form, by a `POST` to the redirect URI (OAuth 2.0 Form
    /// Post Response Mode). Authorization requests carry `response_mode=form_post`.
    ///
    /// The `POST` comes from another site, so browsers send no cookie with it that is
    /// `SameSite=Lax` or `Strict`. The [router](crate::connect#callbacks-by-form_post) handles
    /// that. A program without the router passes the body of the request to
    /// [`accept`](crate::oauth::PendingAuthorization::accept).
    FormPost,
}

/// An authorization server and the API behind it. The [module page](crate::provider) has an
/// example.
#[derive(Clone, Debug)]
pub struct Provider {
    pub(super) authorization_endpoint: Option<Endpoint>,
    pub(super) token_endpoint: Endpoint,
    pub(super) refresh_endpoint: Option<Endpoint>,
    pub(super) revocation_endpoint: Option<Endpoint>,
    pub(super) issuer: Option<String>,
    pub(super) api_origins: Vec<Origin>,
    pub(super) client_authentication: ClientAuthentication,
    pub(super) pkce: bool,
    pub(super) response_mode: ResponseMode,
    pub(super) scope_separator: String,
    pub(super) request_parameters: RequestParameters,
    pub(super) accepted_token_types: Vec<String>,
    pub(super) refusals: Vec<Refusal>,
    pub(super) access_token_lifetime: Option<Duration>,
    pub(super) refresh_token_lifetime: Option<Duration>,
    pub(super) token_rejections: Vec<TokenRejection>,
}

impl Provider {
    /// Returns the same provider on another server, such as a sandbox, a staging system or a
    /// recording proxy.
    ///
    /// Every endpoint keeps its path and moves to the origin of `url`, which also becomes the only
    /// origin that tokens are sent to. An [issuer](crate::provider::ProviderBuilder::issuer) moves
    /// too, because another server is another issuer. Where callbacks still name the old one, as
    /// through a proxy, set it again afterwards.
    ///
    /// ```
    /// use tower_oauth2_client::provider::justworks;
    ///
    /// let provider = justworks().on_origin("http://127.0.0.1:8080")?;
    /// assert_eq!(provider.token_endpoint().to_string(), "http://127.0.0.1:8080/oauth/token");
    /// # Ok::<(), tower_oauth2_client::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Configuration`](crate::ErrorKind::Configuration) if `url` is not an absolute `https` URL
    /// (or `http` to loopback), or contains user information.
    pub fn on_origin(mut self, url: &str) -> Result<Self, Error> {
        let origin: Origin = url.parse()?;
        let moved = |endpoint: Option<Endpoint>| {
            endpoint
                .map(|endpoint| endpoint.on_origin(&origin))
                .transpose()
        };
        self.authorization_endpoint = moved(self.authorization_endpoint)?;
        self.revocation_endpoint = moved(self.revocation_endpoint)?;
        self.refresh_endpoint = moved(self.refresh_endpoint)?;
        self.token_endpoint = self.token_endpoint.on_origin(&origin)?;
        self.issuer = self.issuer.map(|issuer| issuer_on_origin(&issuer, &origin));
        self.api_origins = vec![origin];
        Ok(self)
    }

    /// The endpoint to which browsers are sent, if the provider has one.
    #[must_use]
    pub fn authorization_endpoint(&self) -> Option<&Endpoint> {
        self.authorization_endpoint.as_ref()
    }

    /// The token endpoint.
    #[must_use]
    pub fn token_endpoint(&self) -> &Endpoint {
        &self.token_endpoint
    }

    /// The endpoint of refreshes: the [token endpoint](Self::token_endpoint), unless the provider
    /// has another one.
    #[must_use]
    pub fn refresh_endpoint(&self) -> &Endpoint {
        self.refresh_endpoint
            .as_ref()
            .unwrap_or(&self.token_endpoint)
    }

    /// The revocation endpoint (RFC 7009), if the provider has one.
    #[must_use]
    pub fn revocation_endpoint(&self) -> Option<&Endpoint> {
        self.revocation_endpoint.as_ref()
    }

    /// The origins that tokens are sent to.
    #[must_use]
    pub fn api_origins(&self) -> &[Origin] {
        &self.api_origins
    }

    /// The issuer that authorization responses have to name (RFC 9207), if any.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// How a client authenticates to the token and revocation endpoints.
    #[must_use]
    pub fn client_authentication(&self) -> ClientAuthentication {
        self.client_authentication
    }

    /// Whether authorization requests use PKCE (RFC 7636).
    #[must_use]
    pub fn pkce(&self) -> bool {
        self.pkce
    }

    /// The separator of the scopes in a request: a space (RFC 6749 section 3.3) or a comma.
    #[must_use]
    pub fn scope_separator(&self) -> &str {
        &self.scope_separator
    }

    /// The additional parameters of a kind of request, by name and value.
    pub fn request_parameters(&self, kind: RequestKind) -> impl Iterator<Item = (&str, &str)> {
        self.request_parameters.of(kind)
    }

    pub(crate) fn all_request_parameters(&self) -> &RequestParameters {
        &self.request_parameters
    }

    /// The token types that are accepted beside `Bearer`.
    #[must_use]
    pub fn accepted_token_types(&self) -> &[String] {
        &self.accepted_token_types
    }

    /// The error responses that have another meaning than in RFC 6749.
    #[must_use]
    pub fn refusals(&self) -> &[Refusal] {
        &self.refusals
    }

    /// How the provider sends the parameters of a callback.
    #[must_use]
    pub fn response_mode(&self) -> ResponseMode {
        self.response_mode
    }

    /// The lifetime of an access token for which the token response names none, if it is known.
    #[must_use]
    pub fn access_token_lifetime(&self) -> Option<Duration> {
        self.access_token_lifetime
    }

    /// The lifetime of an unused refresh token, if it is known.
    #[must_use]
    pub fn refresh_token_lifetime(&self) -> Option<Duration> {
        self.refresh_token_lifetime
    }

    /// The responses of the API that reject an access token, beside a 401.
    #[must_use]
    pub fn token_rejections(&self) -> &[TokenRejection] {
        &self.token_rejections
    }
}

/// Keeps what follows the origin as it is written: a slash more or less is another issuer.
fn issuer_on_origin(issuer: &str, origin: &Origin) -> String {
    let (_, rest) = issuer.split_once("://").unwrap_or_default();
    let path = rest.find('/').map_or("", |path| &rest[path..]);
    format!("{origin}{path}")
}
