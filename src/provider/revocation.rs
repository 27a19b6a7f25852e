//! Revocation requests that differ from RFC 7009.

use http::Method;
use serde::{Deserialize, Serialize};

use super::wire::BodyFormat;

/// The name of the token in RFC 7009 section 2.1.
const TOKEN: &str = "token";

/// The method of a revocation request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[non_exhaustive]
pub enum RevocationMethod {
    /// With the token in the body.
    #[default]
    Post,
    /// With the token in the URL, or in the body.
    Delete,
    /// With the token in the URL, or as the credentials.
    Get,
}

/// The token that a revocation request names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RevokedToken {
    /// A token of either kind (RFC 7009 section 2.1). The refresh token of a grant is revoked
    /// first, and then its access token.
    #[default]
    Either,
    /// The access token: the endpoint takes no refresh token.
    Access,
    /// The refresh token: the endpoint takes no access token.
    Refresh,
}

/// How a revocation request is authenticated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RevocationAuthentication {
    /// As token requests are (RFC 7009 section 2.1).
    #[default]
    Client,
    /// By `Basic`, whatever token requests use.
    Basic,
    /// By the access token, as requests to the API are.
    AccessToken,
    /// Not at all.
    None,
}

/// A revocation request that differs from RFC 7009 section 2.1.
///
/// The [endpoint](super::ProviderBuilder::revocation_endpoint) may contain `{token}`, for the
/// token, and `{client_id}`. Servers and proxies write URLs to their logs, so use `{token}` only
/// where the provider requires it.
///
/// ```
/// use tower_oauth2_client::provider::{
///     BodyFormat, Provider, RevocationAuthentication, RevocationMethod, RevocationRequest,
///     RevokedToken,
/// };
///
/// // DELETE https://api.example.com/applications/{client_id}/grant
/// // Authorization: Basic ...
/// //
/// // {"access_token":"..."}
/// let request = RevocationRequest::new()
///     .method(RevocationMethod::Delete)
///     .format(BodyFormat::Json)
///     .parameter("access_token")
///     .token(RevokedToken::Access)
///     .authentication(RevocationAuthentication::Basic);
/// let provider = Provider::builder("https://id.example.com/token")
///     .revocation_endpoint("https://api.example.com/applications/{client_id}/grant")
///     .revocation_request(request)
///     .build()?;
/// # Ok::<(), tower_oauth2_client::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RevocationRequest {
    #[serde(skip_serializing_if = "is_default")]
    method: RevocationMethod,
    #[serde(skip_serializing_if = "is_default")]
    format: BodyFormat,
    /// `None` for `token`. Empty if the body does not contain the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    token: RevokedToken,
    #[serde(skip_serializing_if = "is_default")]
    authentication: RevocationAuthentication,
}

impl RevocationRequest {
    /// The request of RFC 7009: a `POST` of a form with the token, with the client's
    /// authentication.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the method. Defaults to `POST`.
    #[must_use]
    pub fn method(mut self, method: RevocationMethod) -> Self {
        self.method = method;
        self
    }

    /// Sets the encoding of the body. Defaults to a form.
    #[must_use]
    pub fn format(mut self, format: BodyFormat) -> Self {
        self.format = format;
        self
    }

    /// Sets the name of the token in the body. Defaults to `token`. An empty name leaves the token
    /// out of the body. A request without anything in its body has none.
    ///
    /// A form with the default name also has a `token_type_hint` (RFC 7009 section 2.1).
    #[must_use]
    pub fn parameter(mut self, name: impl Into<String>) -> Self {
        self.parameter = Some(name.into());
        self
    }

    /// Sets which token the endpoint takes. Defaults to [either](RevokedToken::Either). A token of
    /// the other kind is not sent.
    #[must_use]
    pub fn token(mut self, token: RevokedToken) -> Self {
        self.token = token;
        self
    }

    /// Sets how the request is authenticated. Defaults to the client's authentication.
    #[must_use]
    pub fn authentication(mut self, authentication: RevocationAuthentication) -> Self {
        self.authentication = authentication;
        self
    }
}

impl RevocationRequest {
    pub(crate) fn http_method(&self) -> Method {
        match self.method {
            RevocationMethod::Post => Method::POST,
            RevocationMethod::Delete => Method::DELETE,
            RevocationMethod::Get => Method::GET,
        }
    }

    pub(crate) fn body_format(&self) -> BodyFormat {
        self.format
    }

    /// The name of the token in the body, if the body contains it.
    pub(crate) fn token_parameter(&self) -> Option<&str> {
        let name = self.parameter.as_deref().unwrap_or(TOKEN);
        (!name.is_empty()).then_some(name)
    }

    /// Whether the body says which kind of token it contains (RFC 7009 section 2.1).
    pub(crate) fn has_hint(&self) -> bool {
        self.method == RevocationMethod::Post
            && self.format == BodyFormat::Form
            && self.token_parameter() == Some(TOKEN)
    }

    pub(crate) fn takes_access_tokens(&self) -> bool {
        self.token != RevokedToken::Refresh
    }

    pub(crate) fn takes_refresh_tokens(&self) -> bool {
        self.token != RevokedToken::Access
    }

    pub(super) fn token_kind(&self) -> RevokedToken {
        self.token
    }

    pub(crate) fn authenticated_by(&self) -> RevocationAuthentication {
        self.authentication
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
