//! Authorization servers, as data.
//!
//! A [`Provider`] says where an authorization server is and how it likes to be spoken to. Nothing in the crate knows any
//! provider by name: [`justworks()`] is a value like one of yours.
//!
//! ```
//! use tower_oauth2_client::provider::{ClientAuthentication, Provider};
//!
//! let provider = Provider::new("https://id.example.com/authorize", "https://id.example.com/token")?
//!     .with_revocation_endpoint("https://id.example.com/revoke")?
//!     .with_api_origin("https://api.example.com")?
//!     .with_client_authentication(ClientAuthentication::Basic);
//!
//! assert_eq!(provider.api_origins().len(), 1);
//! # Ok::<(), tower_oauth2_client::Error>(())
//! ```

use std::time::Duration;

use crate::{error::Error, origin::Origin};

mod endpoint;
mod justworks;

pub use self::{
    endpoint::Endpoint,
    justworks::{JustworksScope, justworks},
};

/// How a client proves who it is to the token endpoint (RFC 6749 section 2.3.1). One way per request, never both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClientAuthentication {
    /// `client_id` and `client_secret` as fields of the form.
    RequestBody,
    /// An `Authorization: Basic` header.
    Basic,
}

/// An authorization server and the service behind it.
#[derive(Clone, Debug)]
pub struct Provider {
    authorization_endpoint: Endpoint,
    token_endpoint: Endpoint,
    revocation_endpoint: Option<Endpoint>,
    api_origins: Vec<Origin>,
    client_authentication: ClientAuthentication,
    proof_key: bool,
    access_token_lifetime: Duration,
    refresh_token_lifetime: Option<Duration>,
}

impl Provider {
    /// The two endpoints that every provider has. The rest starts from what most providers do: credentials by
    /// [`Basic`](ClientAuthentication::Basic) authentication, PKCE, no revocation, no API origin, and a lifetime of an
    /// hour where an answer names none.
    ///
    /// # Errors
    ///
    /// [`Configuration`](crate::ErrorKind::Configuration), by the endpoint's name, if a URL is not absolute, not `https`
    /// (or `http` to loopback), or holds user information or a fragment. The setters fail the same way.
    pub fn new(authorization_endpoint: &str, token_endpoint: &str) -> Result<Self, Error> {
        Ok(Self {
            authorization_endpoint: Endpoint::parse(
                "authorization endpoint",
                authorization_endpoint,
            )?,
            token_endpoint: Endpoint::parse("token endpoint", token_endpoint)?,
            revocation_endpoint: None,
            api_origins: Vec::new(),
            client_authentication: ClientAuthentication::Basic,
            proof_key: true,
            access_token_lifetime: Duration::from_secs(3_600),
            refresh_token_lifetime: None,
        })
    }

    /// Sets where the browser is sent.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn with_authorization_endpoint(mut self, url: &str) -> Result<Self, Error> {
        self.authorization_endpoint = Endpoint::parse("authorization endpoint", url)?;
        Ok(self)
    }

    /// Sets where tokens are revoked (RFC 7009). Defaults to nowhere.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn with_revocation_endpoint(mut self, url: &str) -> Result<Self, Error> {
        self.revocation_endpoint = Some(Endpoint::parse("revocation endpoint", url)?);
        Ok(self)
    }

    /// Adds an origin that tokens of this provider are meant for. Without one, no request carries them.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn with_api_origin(mut self, url: &str) -> Result<Self, Error> {
        self.api_origins.push(url.parse()?);
        Ok(self)
    }

    /// Sets how a client proves who it is. Defaults to [`Basic`](ClientAuthentication::Basic).
    #[must_use]
    pub fn with_client_authentication(mut self, authentication: ClientAuthentication) -> Self {
        self.client_authentication = authentication;
        self
    }

    /// Sets whether authorization requests carry a PKCE challenge (RFC 7636), always S256. Defaults to yes.
    #[must_use]
    pub fn with_proof_key(mut self, proof_key: bool) -> Self {
        self.proof_key = proof_key;
        self
    }

    /// Sets the life of an access token whose answer names none. Defaults to one hour.
    #[must_use]
    pub fn with_access_token_lifetime(mut self, lifetime: Duration) -> Self {
        self.access_token_lifetime = lifetime;
        self
    }

    /// Sets how long a refresh token lives that is not used, so that idle grants can be kept alive before that. Defaults
    /// to unknown: then they are not.
    #[must_use]
    pub fn with_refresh_token_lifetime(mut self, lifetime: Duration) -> Self {
        self.refresh_token_lifetime = Some(lifetime);
        self
    }

    /// The same provider on another server: every endpoint keeps its path and moves to `url`'s origin, which also becomes
    /// the only origin that tokens are meant for. For a sandbox, a staging system or a recording proxy.
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
    /// As [`new`](Self::new).
    pub fn on_origin(mut self, url: &str) -> Result<Self, Error> {
        let origin: Origin = url.parse()?;
        self.authorization_endpoint = self.authorization_endpoint.on_origin(&origin)?;
        self.token_endpoint = self.token_endpoint.on_origin(&origin)?;
        self.revocation_endpoint = self
            .revocation_endpoint
            .map(|endpoint| endpoint.on_origin(&origin))
            .transpose()?;
        self.api_origins = vec![origin];
        Ok(self)
    }

    /// Where the browser is sent.
    #[must_use]
    pub fn authorization_endpoint(&self) -> &Endpoint {
        &self.authorization_endpoint
    }

    /// Where codes and refresh tokens are exchanged.
    #[must_use]
    pub fn token_endpoint(&self) -> &Endpoint {
        &self.token_endpoint
    }

    /// Where tokens are revoked, if anywhere.
    #[must_use]
    pub fn revocation_endpoint(&self) -> Option<&Endpoint> {
        self.revocation_endpoint.as_ref()
    }

    /// The origins that tokens are meant for.
    #[must_use]
    pub fn api_origins(&self) -> &[Origin] {
        &self.api_origins
    }

    /// How a client proves who it is.
    #[must_use]
    pub fn client_authentication(&self) -> ClientAuthentication {
        self.client_authentication
    }

    /// Whether authorization requests carry a PKCE challenge.
    #[must_use]
    pub fn proof_key(&self) -> bool {
        self.proof_key
    }

    /// The life of an access token whose answer names none.
    #[must_use]
    pub fn access_token_lifetime(&self) -> Duration {
        self.access_token_lifetime
    }

    /// The life of a refresh token that is not used, if it is known.
    #[must_use]
    pub fn refresh_token_lifetime(&self) -> Option<Duration> {
        self.refresh_token_lifetime
    }
}
