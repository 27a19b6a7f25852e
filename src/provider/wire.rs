//! How a provider and its clients write requests, callbacks and responses.

use http::HeaderName;
use serde::{Deserialize, Serialize};

use crate::error::Error;

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
    /// Sends a JSON Web Token that is signed with the client secret (RFC 7523 section 2.2), by
    /// HMAC with SHA-256. The secret itself is not sent.
    ClientSecretJwt,
    /// Sends a JSON Web Token that is signed with a private key (RFC 7523 section 2.2): that of
    /// [`OAuthClientBuilder::signer`](crate::oauth::OAuthClientBuilder::signer).
    PrivateKeyJwt,
    /// Sends `client_id` in the request body, and the certificate of the HTTP client authenticates
    /// it (RFC 8705 section 2). The file format also accepts the name
    /// `self_signed_tls_client_auth`: the requests of both methods are equal.
    #[serde(alias = "self_signed_tls_client_auth")]
    TlsClientAuth,
}

impl ClientAuthentication {
    /// Whether the client has a secret.
    pub(crate) fn has_secret(self) -> bool {
        match self {
            Self::RequestBody | Self::Basic | Self::BasicRaw | Self::ClientSecretJwt => true,
            Self::None | Self::PrivateKeyJwt | Self::TlsClientAuth => false,
        }
    }

    /// Whether the credentials are parameters in the body of a request.
    pub(super) fn is_in_body(self) -> bool {
        !matches!(self, Self::Basic | Self::BasicRaw)
    }

    /// The name in files, such as `request_body`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::RequestBody => "request_body",
            Self::Basic => "basic",
            Self::BasicRaw => "basic_raw",
            Self::None => "none",
            Self::ClientSecretJwt => "client_secret_jwt",
            Self::PrivateKeyJwt => "private_key_jwt",
            Self::TlsClientAuth => "tls_client_auth",
        }
    }
}

/// An endpoint to which the client itself sends requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum EndpointKind {
    /// The token endpoint.
    #[serde(rename = "token_endpoint")]
    Token,
    /// The endpoint of refreshes, where it is another one.
    #[serde(rename = "refresh_endpoint")]
    Refresh,
    /// The revocation endpoint.
    #[serde(rename = "revocation_endpoint")]
    Revocation,
    /// The device authorization endpoint.
    #[serde(rename = "device_authorization_endpoint")]
    DeviceAuthorization,
    /// The endpoint of pushed authorization requests.
    #[serde(rename = "pushed_authorization_request_endpoint")]
    PushedAuthorizationRequest,
}

impl EndpointKind {
    /// The name of the setting.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token_endpoint",
            Self::Refresh => "refresh_endpoint",
            Self::DeviceAuthorization => "device_authorization_endpoint",
            Self::Revocation => "revocation_endpoint",
            Self::PushedAuthorizationRequest => "pushed_authorization_request_endpoint",
        }
    }
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

/// Whether a callback has to name the provider's issuer by `iss` (RFC 9207).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum IssuerCheck {
    /// A callback without `iss` is rejected: the provider always sends it.
    #[default]
    Required,
    /// A callback without `iss` is accepted: the provider may not send it.
    IfPresent,
}

/// The encoding of the body of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BodyFormat {
    /// `application/x-www-form-urlencoded` (RFC 6749 section 4.1.3).
    #[default]
    Form,
    /// A JSON object of texts.
    Json,
}

/// A member of a token response (RFC 6749 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TokenMember {
    /// The access token.
    AccessToken,
    /// The type of the access token.
    TokenType,
    /// The lifetime of the access token.
    ExpiresIn,
    /// When the access token expires.
    ExpiresAt,
    /// The refresh token.
    RefreshToken,
    /// The lifetime of the refresh token. RFC 6749 has none.
    RefreshTokenExpiresIn,
    /// When the refresh token expires. RFC 6749 has none.
    RefreshTokenExpiresAt,
    /// The granted scopes.
    Scope,
}

impl TokenMember {
    pub(crate) const ALL: [Self; 8] = [
        Self::AccessToken,
        Self::TokenType,
        Self::ExpiresIn,
        Self::ExpiresAt,
        Self::RefreshToken,
        Self::RefreshTokenExpiresIn,
        Self::RefreshTokenExpiresAt,
        Self::Scope,
    ];

    /// The member's name where the provider has no other path for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::AccessToken => "access_token",
            Self::TokenType => "token_type",
            Self::ExpiresIn => "expires_in",
            Self::ExpiresAt => "expires_at",
            Self::RefreshToken => "refresh_token",
            Self::RefreshTokenExpiresIn => "refresh_token_expires_in",
            Self::RefreshTokenExpiresAt => "refresh_token_expires_at",
            Self::Scope => "scope",
        }
    }
}

/// The unit of a lifetime in token responses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LifetimeUnit {
    /// As RFC 6749 section 5.1 defines it.
    #[default]
    Seconds,
    /// A thousandth of it.
    Milliseconds,
}

impl LifetimeUnit {
    /// A number of this unit in seconds.
    pub(crate) fn in_seconds(self, number: f64) -> f64 {
        match self {
            Self::Seconds => number,
            Self::Milliseconds => number / 1_000.0,
        }
    }
}

/// The header of requests to the API that carries the access token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenHeader {
    #[serde(default = "authorization")]
    name: String,
    #[serde(default = "bearer")]
    scheme: String,
}

impl TokenHeader {
    /// A header with this name that contains the access token alone.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            scheme: String::new(),
        }
    }

    /// Sets the word before the token, without the space that follows it. Empty for none.
    #[must_use]
    pub fn scheme(mut self, scheme: impl Into<String>) -> Self {
        self.scheme = scheme.into();
        self
    }

    /// Checks the settings, and returns the name of the header.
    pub(super) fn check(&self) -> Result<HeaderName, Error> {
        let fail = |what: &str| Err(Error::configuration(format!("token_header.{what}")));
        let Ok(name) = HeaderName::from_bytes(self.name.as_bytes()) else {
            return fail("name: not a header name (RFC 9110 section 5.1); correct it");
        };
        if OF_THE_MESSAGE.contains(&name.as_str()) {
            return fail("name: this header describes the message or its connection; use another");
        }
        if !self.scheme.bytes().all(is_token_byte) {
            return fail(
                "scheme: not one word without spaces (RFC 9110 section 11.1); correct it, or leave \
                 it empty",
            );
        }
        Ok(name)
    }

    pub(super) fn header_scheme(&self) -> &str {
        &self.scheme
    }
}

/// Headers that clients, servers and proxies interpret or remove themselves.
const OF_THE_MESSAGE: [&str; 19] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

/// Whether a byte may occur in a token (RFC 9110 section 5.6.2).
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// `Authorization: Bearer <token>` (RFC 6750 section 2.1).
impl Default for TokenHeader {
    fn default() -> Self {
        Self {
            name: authorization(),
            scheme: bearer(),
        }
    }
}

fn authorization() -> String {
    "Authorization".to_owned()
}

fn bearer() -> String {
    "Bearer".to_owned()
}
