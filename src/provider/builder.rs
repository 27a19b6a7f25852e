//! Settings of a [`Provider`], checked when it is built.

use std::{fmt, time::Duration};

use super::{
    data::ProviderData,
    definition::{ClientAuthentication, Provider, ResponseMode},
    endpoint::Endpoint,
    refusal::Refusal,
    request_parameters::RequestKind,
};
use crate::{error::Error, origin::Origin, rejection::TokenRejection};

/// Builds a [`Provider`]. Its setters never fail; [`build`](Self::build) checks all settings.
#[derive(Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct ProviderBuilder(ProviderData);

impl Provider {
    /// Starts building a provider from its token endpoint.
    ///
    /// Everything else has a default: no authorization endpoint, which is enough for the
    /// `client_credentials` grant; no revocation endpoint, no issuer and no API origin;
    /// [`Basic`](ClientAuthentication::Basic) authentication; PKCE; callbacks in
    /// [`Query`](ResponseMode::Query) mode; and an unknown lifetime where a token response names
    /// none.
    pub fn builder(token_endpoint: impl Into<String>) -> ProviderBuilder {
        ProviderBuilder(ProviderData::new(token_endpoint.into()))
    }

    /// Returns a builder with all settings of this provider, to change some of them.
    pub fn to_builder(&self) -> ProviderBuilder {
        let url = |endpoint: &Option<Endpoint>| endpoint.as_ref().map(ToString::to_string);
        ProviderBuilder(ProviderData {
            token_endpoint: self.token_endpoint.to_string(),
            refresh_endpoint: url(&self.refresh_endpoint),
            authorization_endpoint: url(&self.authorization_endpoint),
            revocation_endpoint: url(&self.revocation_endpoint),
            issuer: self.issuer.clone(),
            api_origins: self.api_origins.iter().map(ToString::to_string).collect(),
            client_authentication: self.client_authentication,
            pkce: self.pkce,
            response_mode: self.response_mode,
            scope_separator: self.scope_separator.clone(),
            request_parameters: self.request_parameters.clone(),
            accepted_token_types: self.accepted_token_types.clone(),
            refusals: self.refusals.clone(),
            access_token_lifetime: self
                .access_token_lifetime
                .map(|lifetime| lifetime.as_secs()),
            refresh_token_lifetime: self
                .refresh_token_lifetime
                .map(|lifetime| lifetime.as_secs()),
            token_rejections: self.token_rejections.clone(),
        })
    }
}

impl ProviderBuilder {
    pub(super) fn from_data(data: ProviderData) -> Self {
        Self(data)
    }

    pub(super) fn data(&self) -> &ProviderData {
        &self.0
    }

    /// Sets the endpoint to which browsers are sent. Defaults to none.
    pub fn authorization_endpoint(mut self, url: impl Into<String>) -> Self {
        self.0.authorization_endpoint = Some(url.into());
        self
    }

    /// Sets the endpoint of refreshes. Defaults to the token endpoint.
    pub fn refresh_endpoint(mut self, url: impl Into<String>) -> Self {
        self.0.refresh_endpoint = Some(url.into());
        self
    }

    /// Sets the endpoint at which tokens are revoked (RFC 7009). Defaults to none.
    pub fn revocation_endpoint(mut self, url: impl Into<String>) -> Self {
        self.0.revocation_endpoint = Some(url.into());
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
        self.0.issuer = Some(url.into());
        self
    }

    /// Adds an origin that tokens of this provider may be sent to. Without one, no request carries
    /// them.
    pub fn api_origin(mut self, url: impl Into<String>) -> Self {
        self.0.api_origins.push(url.into());
        self
    }

    /// Sets how a client authenticates. Defaults to [`Basic`](ClientAuthentication::Basic).
    pub fn client_authentication(mut self, authentication: ClientAuthentication) -> Self {
        self.0.client_authentication = authentication;
        self
    }

    /// Sets whether authorization requests use PKCE with S256 (RFC 7636). Defaults to true.
    pub fn pkce(mut self, pkce: bool) -> Self {
        self.0.pkce = pkce;
        self
    }

    /// Sets the separator of the scopes in a request: `" "` or `","`. Defaults to a space (RFC 6749
    /// section 3.3).
    ///
    /// In responses, either separates scopes if a comma is set.
    pub fn scope_separator(mut self, separator: impl Into<String>) -> Self {
        self.0.scope_separator = separator.into();
        self
    }

    /// Adds a parameter to every request of a kind, such as `access_type` to authorization
    /// requests. Replaces an earlier value of the same name.
    ///
    /// For a value that belongs to one client, such as the `resource` that it uses, use the
    /// [method](crate::oauth::OAuthClientBuilder::request_parameter) of the client's builder.
    pub fn request_parameter(
        mut self,
        kind: RequestKind,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> Self {
        self.0
            .request_parameters
            .set(kind, name.into(), value.into());
        self
    }

    /// Adds a token type that is accepted beside `Bearer`, such as `User Access Token`. Upper and
    /// lower case are the same.
    ///
    /// Tokens of each accepted type are sent as bearer tokens. Other types are not used (RFC 6749
    /// section 7.1).
    pub fn accepted_token_type(mut self, token_type: impl Into<String>) -> Self {
        self.0.accepted_token_types.push(token_type.into());
        self
    }

    /// Adds an error response that has another meaning than in RFC 6749 section 5.2.
    pub fn refusal(mut self, refusal: Refusal) -> Self {
        self.0.refusals.push(refusal);
        self
    }

    /// Sets how the provider sends the parameters of a callback. Defaults to
    /// [`Query`](ResponseMode::Query).
    pub fn response_mode(mut self, mode: ResponseMode) -> Self {
        self.0.response_mode = mode;
        self
    }

    /// Sets the lifetime of an access token for which the token response names none, or one that
    /// cannot be true. Defaults to unknown.
    ///
    /// Set it if the provider documents a lifetime that its responses do not contain: the token is
    /// then refreshed before it expires. A token with an unknown lifetime is used until the API
    /// rejects it with a 401.
    ///
    /// Fractions of a second are dropped.
    pub fn access_token_lifetime(mut self, lifetime: Duration) -> Self {
        self.0.access_token_lifetime = Some(lifetime.as_secs());
        self
    }

    /// Sets how long an unused refresh token lives. Defaults to unknown.
    ///
    /// With it, idle grants are refreshed before their refresh token expires. Fractions of a second
    /// are dropped.
    pub fn refresh_token_lifetime(mut self, lifetime: Duration) -> Self {
        self.0.refresh_token_lifetime = Some(lifetime.as_secs());
        self
    }

    /// Adds a response of the API that rejects an access token, beside a 401. Defaults to none.
    ///
    /// The layer treats such a response like a 401: it refreshes, and retries the request once.
    pub fn token_rejection(mut self, rejection: TokenRejection) -> Self {
        self.0.token_rejections.push(rejection);
        self
    }

    /// Builds the provider.
    ///
    /// # Errors
    ///
    /// [`Configuration`](crate::ErrorKind::Configuration), beginning with the path of the setting
    /// in a [file](crate::provider#provider-files):
    ///
    /// * A URL that is not absolute, is not `https` (or `http` to loopback), or contains user
    ///   information or a fragment. An issuer with a query.
    /// * A scope separator other than a space or a comma.
    /// * A request parameter that the client sets itself, such as `client_secret`, or that no form
    ///   should contain. An empty token type.
    /// * A refusal without members, or with a value that matches everything.
    /// * A token rejection with a status other than 400 to 499.
    pub fn build(self) -> Result<Provider, Error> {
        let data = self.0;
        let optional =
            |name, url: Option<String>| url.map(|url| Endpoint::parse(name, &url)).transpose();
        if let Some(issuer) = &data.issuer
            && Endpoint::parse("issuer", issuer)?.uri().query().is_some()
        {
            return Err(Error::configuration(
                "issuer: the URL contains a query; remove it",
            ));
        }
        if ![" ", ","].contains(&data.scope_separator.as_str()) {
            return Err(Error::configuration(
                "scope_separator: neither a space nor a comma; use one of them",
            ));
        }
        data.request_parameters.check()?;
        for (index, token_type) in data.accepted_token_types.iter().enumerate() {
            if token_type.trim().is_empty() {
                return Err(Error::configuration(format!(
                    "accepted_token_types[{index}]: empty; remove it, because a missing token \
                     type is always accepted"
                )));
            }
        }
        for (index, refusal) in data.refusals.iter().enumerate() {
            refusal.check(&format!("refusals[{index}]"))?;
        }
        for (index, rejection) in data.token_rejections.iter().enumerate() {
            rejection.check(&format!("token_rejections[{index}]"))?;
        }
        let api_origins = data.api_origins.iter().enumerate();
        Ok(Provider {
            authorization_endpoint: optional(
                "authorization_endpoint",
                data.authorization_endpoint,
            )?,
            token_endpoint: Endpoint::parse("token_endpoint", &data.token_endpoint)?,
            refresh_endpoint: optional("refresh_endpoint", data.refresh_endpoint)?,
            revocation_endpoint: optional("revocation_endpoint", data.revocation_endpoint)?,
            // As it is written: callbacks are compared with it character by character.
            issuer: data.issuer,
            api_origins: api_origins
                .map(|(index, url)| Origin::parse(&format!("api_origins[{index}]"), url))
                .collect::<Result<_, _>>()?,
            client_authentication: data.client_authentication,
            pkce: data.pkce,
            response_mode: data.response_mode,
            scope_separator: data.scope_separator,
            request_parameters: data.request_parameters,
            accepted_token_types: data.accepted_token_types,
            refusals: data.refusals,
            access_token_lifetime: data.access_token_lifetime.map(Duration::from_secs),
            refresh_token_lifetime: data.refresh_token_lifetime.map(Duration::from_secs),
            token_rejections: data.token_rejections,
        })
    }
}

/// Without the URLs: they are not checked yet, and may contain user information.
impl fmt::Debug for ProviderBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderBuilder")
            .field("client_authentication", &self.0.client_authentication)
            .field("pkce", &self.0.pkce)
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
            ("authorization_endpoint: ", |builder, url| {
                builder.authorization_endpoint(url)
            }),
            ("revocation_endpoint: ", |builder, url| {
                builder.revocation_endpoint(url)
            }),
            ("token_endpoint: ", |_, url| Provider::builder(url)),
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
            assert!(error.starts_with("token_rejections[0].status: "), "{error}");
        }
        let query = builder().issuer("https://id.example.com?x=y").build();
        assert!(query.unwrap_err().to_string().starts_with("issuer: "));
        for wrong in ["", "relative", "http://id.example.com"] {
            let error = builder().api_origin(wrong).build().unwrap_err();
            assert!(
                error.to_string().starts_with("api_origins[0]: "),
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
            .response_mode(ResponseMode::FormPost)
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
