//! Settings of a [`Provider`], checked when it is built.

use std::{fmt, time::Duration};

use super::{
    definition::{ClientAuthentication, Provider},
    endpoint::Endpoint,
};
use crate::{error::Error, origin::Origin, rejection::TokenRejection};

/// Builds a [`Provider`]. Its setters never fail; [`build`](Self::build) checks all settings.
#[derive(Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct ProviderBuilder {
    token_endpoint: String,
    authorization_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
    issuer: Option<String>,
    api_origins: Vec<String>,
    client_authentication: ClientAuthentication,
    pkce: bool,
    access_token_lifetime: Option<Duration>,
    refresh_token_lifetime: Option<Duration>,
    token_rejections: Vec<TokenRejection>,
}

impl Provider {
    /// Starts building a provider from its token endpoint.
    ///
    /// Everything else has a default: no authorization endpoint, which is enough for the
    /// `client_credentials` grant; no revocation endpoint, no issuer and no API origin;
    /// [`Basic`](ClientAuthentication::Basic) authentication; PKCE; and an unknown lifetime where a
    /// token response names none.
    pub fn builder(token_endpoint: impl Into<String>) -> ProviderBuilder {
        ProviderBuilder {
            token_endpoint: token_endpoint.into(),
            authorization_endpoint: None,
            revocation_endpoint: None,
            issuer: None,
            api_origins: Vec::new(),
            client_authentication: ClientAuthentication::Basic,
            pkce: true,
            access_token_lifetime: None,
            refresh_token_lifetime: None,
            token_rejections: Vec::new(),
        }
    }

    /// Returns a builder with all settings of this provider, to change some of them.
    pub fn to_builder(&self) -> ProviderBuilder {
        ProviderBuilder {
            token_endpoint: self.token_endpoint.to_string(),
            authorization_endpoint: self
                .authorization_endpoint
                .as_ref()
                .map(ToString::to_string),
            revocation_endpoint: self.revocation_endpoint.as_ref().map(ToString::to_string),
            issuer: self.issuer.clone(),
            api_origins: self.api_origins.iter().map(ToString::to_string).collect(),
            client_authentication: self.client_authentication,
            pkce: self.pkce,
            access_token_lifetime: self.access_token_lifetime,
            refresh_token_lifetime: self.refresh_token_lifetime,
            token_rejections: self.token_rejections.clone(),
        }
    }
}

impl ProviderBuilder {
    /// Sets the endpoint to which browsers are sent. Defaults to none.
    pub fn authorization_endpoint(mut self, url: impl Into<String>) -> Self {
        self.authorization_endpoint = Some(url.into());
        self
    }

    /// Sets the endpoint at which tokens are revoked (RFC 7009). Defaults to none.
    pub fn revocation_endpoint(mut self, url: impl Into<String>) -> Self {
        self.revocation_endpoint = Some(url.into());
        self
    }

    /// Sets the issuer that authorization responses have to name (`iss`, RFC 9207). Defaults to
    /// none: `iss` is then ignored.
    ///
    /// With an issuer, a callback that does not name exactly this one is rejected, so that a
    /// program with several providers cannot be made to send the code of one to another (RFC 9700
    /// section 4.4). Set it only for a provider that always sends `iss`, in the same spelling: its
    /// metadata says so by `issuer` and `authorization_response_iss_parameter_supported` (RFC 8414
    /// section 2).
    pub fn issuer(mut self, url: impl Into<String>) -> Self {
        self.issuer = Some(url.into());
        self
    }

    /// Adds an origin that tokens of this provider may be sent to. Without one, no request carries
    /// them.
    pub fn api_origin(mut self, url: impl Into<String>) -> Self {
        self.api_origins.push(url.into());
        self
    }

    /// Sets how a client authenticates. Defaults to [`Basic`](ClientAuthentication::Basic).
    pub fn client_authentication(mut self, authentication: ClientAuthentication) -> Self {
        self.client_authentication = authentication;
        self
    }

    /// Sets whether authorization requests use PKCE with S256 (RFC 7636). Defaults to true.
    pub fn pkce(mut self, pkce: bool) -> Self {
        self.pkce = pkce;
        self
    }

    /// Sets the lifetime of an access token for which the token response names none, or one that
    /// cannot be true. Defaults to unknown.
    ///
    /// Set it if the provider documents a lifetime that its responses do not contain: the token is
    /// then refreshed before it expires. A token with an unknown lifetime is used until the API
    /// rejects it with a 401.
    pub fn access_token_lifetime(mut self, lifetime: Duration) -> Self {
        self.access_token_lifetime = Some(lifetime);
        self
    }

    /// Sets how long an unused refresh token lives. Defaults to unknown.
    ///
    /// With it, idle grants are refreshed before their refresh token expires.
    pub fn refresh_token_lifetime(mut self, lifetime: Duration) -> Self {
        self.refresh_token_lifetime = Some(lifetime);
        self
    }

    /// Adds a response of the API that rejects an access token, beside a 401. Defaults to none.
    ///
    /// The layer treats such a response like a 401: it refreshes, and retries the request once.
    pub fn token_rejection(mut self, rejection: TokenRejection) -> Self {
        self.token_rejections.push(rejection);
        self
    }

    /// Builds the provider.
    ///
    /// # Errors
    ///
    /// [`Configuration`](crate::ErrorKind::Configuration), by the name of the setting, if a URL is
    /// not absolute, is not `https` (or `http` to loopback), or contains user information or a
    /// fragment; if the issuer contains a query; or if a token rejection has a status other than
    /// 400 to 499.
    pub fn build(self) -> Result<Provider, Error> {
        let optional =
            |name, url: Option<String>| url.map(|url| Endpoint::parse(name, &url)).transpose();
        if let Some(issuer) = &self.issuer
            && Endpoint::parse("issuer", issuer)?.uri().query().is_some()
        {
            return Err(Error::configuration(
                "issuer: the URL contains a query; remove it",
            ));
        }
        for rejection in &self.token_rejections {
            rejection.check()?;
        }
        Ok(Provider {
            authorization_endpoint: optional(
                "authorization endpoint",
                self.authorization_endpoint,
            )?,
            token_endpoint: Endpoint::parse("token endpoint", &self.token_endpoint)?,
            revocation_endpoint: optional("revocation endpoint", self.revocation_endpoint)?,
            // As it is written: callbacks are compared with it character by character.
            issuer: self.issuer,
            api_origins: self
                .api_origins
                .iter()
                .map(|url| Origin::parse("API origin", url))
                .collect::<Result<_, _>>()?,
            client_authentication: self.client_authentication,
            pkce: self.pkce,
            access_token_lifetime: self.access_token_lifetime,
            refresh_token_lifetime: self.refresh_token_lifetime,
            token_rejections: self.token_rejections,
        })
    }
}

/// Without the URLs: they are not checked yet, and may contain user information.
impl fmt::Debug for ProviderBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderBuilder")
            .field("client_authentication", &self.client_authentication)
            .field("pkce", &self.pkce)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder() -> ProviderBuilder {
        Provider::builder("https://id.example.com/t")
            .authorization_endpoint("https://id.example.com/a")
    }

    #[test]
    fn issuer_keeps_its_spelling() {
        assert_eq!(builder().build().unwrap().issuer(), None);
        for (issuer, moved) in [
            ("https://id.example.com", "http://127.0.0.1:81"),
            ("https://ID.example.com:443/", "http://127.0.0.1:81/"),
            ("https://id.example.com/a/b/", "http://127.0.0.1:81/a/b/"),
        ] {
            let provider = builder().issuer(issuer).build().unwrap();
            assert_eq!(provider.issuer(), Some(issuer));
            assert_eq!(
                provider.to_builder().build().unwrap().issuer(),
                Some(issuer)
            );
            let sandbox = provider.on_origin("http://127.0.0.1:81/x").unwrap();
            assert_eq!(sandbox.issuer(), Some(moved));
        }
    }

    #[test]
    fn wrong_settings_are_named() {
        type Setter = fn(ProviderBuilder, &'static str) -> ProviderBuilder;
        let setters: [(&str, Setter); 4] = [
            ("issuer: ", |builder, url| builder.issuer(url)),
            ("authorization endpoint: ", |builder, url| {
                builder.authorization_endpoint(url)
            }),
            ("revocation endpoint: ", |builder, url| {
                builder.revocation_endpoint(url)
            }),
            ("token endpoint: ", |_, url| Provider::builder(url)),
        ];
        for (name, set) in setters {
            for wrong in [
                "",
                "id.example.com",
                "http://id.example.com",
                "https://id.example.com/#x",
            ] {
                let error = set(builder(), wrong).build().unwrap_err();
                assert!(
                    error.to_string().starts_with(name),
                    "{name}{wrong}: {error}"
                );
            }
        }
        for wrong in [200, 302, 500] {
            let status = http::StatusCode::from_u16(wrong).unwrap();
            let built = builder()
                .token_rejection(TokenRejection::new(status))
                .build();
            let error = built.unwrap_err().to_string();
            assert!(error.starts_with("token rejection: "), "{error}");
        }
        let query = builder().issuer("https://id.example.com?x=y").build();
        assert!(query.unwrap_err().to_string().starts_with("issuer: "));
        for wrong in ["", "relative", "http://id.example.com"] {
            let error = builder().api_origin(wrong).build().unwrap_err();
            assert!(
                error.to_string().starts_with("API origin: "),
                "{wrong}: {error}"
            );
        }
    }

    #[test]
    fn builder_of_a_provider_changes_nothing_by_itself() {
        let provider = builder()
            .revocation_endpoint("https://id.example.com/r?x=y")
            .api_origin("https://api.example.com")
            .api_origin("http://127.0.0.1:80")
            .pkce(false)
            .client_authentication(ClientAuthentication::None)
            .access_token_lifetime(Duration::from_secs(1))
            .refresh_token_lifetime(Duration::from_secs(2))
            .token_rejection(TokenRejection::new(http::StatusCode::FORBIDDEN).with_error("expired"))
            .build()
            .unwrap();
        let copy = provider.to_builder().build().unwrap();
        assert_eq!(format!("{copy:?}"), format!("{provider:?}"));
    }
}
