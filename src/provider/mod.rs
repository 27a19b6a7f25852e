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
    issuer: Option<String>,
    api_origins: Vec<Origin>,
    client_authentication: ClientAuthentication,
    pkce: bool,
    access_token_lifetime: Duration,
    refresh_token_lifetime: Option<Duration>,
}

impl Provider {
    /// The two endpoints that every provider has. The rest starts from what most providers do: credentials by
    /// [`Basic`](ClientAuthentication::Basic) authentication, PKCE, no revocation, no issuer, no API origin, and a lifetime of an
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
            issuer: None,
            api_origins: Vec::new(),
            client_authentication: ClientAuthentication::Basic,
            pkce: true,
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

    /// Sets the issuer that this provider names in its authorization responses (`iss`, RFC 9207). Defaults to none: what
    /// they name is then not looked at.
    ///
    /// With one, a callback that does not name exactly it is refused, so that a program with several providers cannot be
    /// made to send one's code to another (RFC 9700 section 4.4). Set it only for a provider that always sends `iss`, and
    /// as that does, character by character: its metadata says so by `issuer` and
    /// `authorization_response_iss_parameter_supported` (RFC 8414 section 2).
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), and if it holds a query.
    pub fn with_issuer(mut self, url: &str) -> Result<Self, Error> {
        let issuer = Endpoint::parse("issuer", url)?;
        if issuer.uri().query().is_some() {
            return Err(Error::configuration("issuer: a URL must not hold a query"));
        }
        // Not as it is understood, but as it is written: that is what is compared.
        self.issuer = Some(url.to_owned());
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
    pub fn with_pkce(mut self, pkce: bool) -> Self {
        self.pkce = pkce;
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
    /// An [issuer](Self::with_issuer) moves in the same way, as another server is another issuer. Where the answers still
    /// name the old one, as through a proxy, set it once more afterwards.
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
        self.issuer = self.issuer.map(|issuer| moved(&issuer, &origin));
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

    /// The issuer that authorization responses have to name, if any.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// How a client proves who it is.
    #[must_use]
    pub fn client_authentication(&self) -> ClientAuthentication {
        self.client_authentication
    }

    /// Whether authorization requests carry a PKCE challenge.
    #[must_use]
    pub fn pkce(&self) -> bool {
        self.pkce
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

/// Keeps what comes after the old origin as it is written: a slash more or less is another issuer.
fn moved(issuer: &str, origin: &Origin) -> String {
    let (_, rest) = issuer.split_once("://").unwrap_or_default();
    let path = rest.find('/').map_or("", |path| &rest[path..]);
    format!("{origin}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider() -> Provider {
        Provider::new("https://id.example.com/a", "https://id.example.com/t").unwrap()
    }

    #[test]
    fn issuer_is_kept_as_it_is_written() {
        assert_eq!(provider().issuer(), None);
        for (issuer, moved) in [
            ("https://id.example.com", "http://127.0.0.1:81"),
            ("https://ID.example.com:443/", "http://127.0.0.1:81/"),
            ("https://id.example.com/a/b/", "http://127.0.0.1:81/a/b/"),
        ] {
            let provider = provider().with_issuer(issuer).unwrap();
            assert_eq!(provider.issuer(), Some(issuer));
            let elsewhere = provider.on_origin("http://127.0.0.1:81/x").unwrap();
            assert_eq!(elsewhere.issuer(), Some(moved));
        }
    }

    #[test]
    fn wrong_issuers_are_told_by_name() {
        for wrong in [
            "",
            "id.example.com",
            "http://id.example.com",
            "https://id.example.com?x=y",
            "https://id.example.com/#x",
        ] {
            let error = provider().with_issuer(wrong).unwrap_err();
            assert!(error.to_string().starts_with("issuer: "), "{wrong}");
        }
    }
}
