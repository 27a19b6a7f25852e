//! A provider.

use std::{collections::BTreeMap, time::Duration};

use http::{HeaderName, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use zeroize::Zeroizing;

use super::{
    address::Patterns,
    data::ProviderData,
    endpoint::Endpoint,
    kept_value::{KeptValue, ValueSource},
    lifetime::UsualLifetime,
    refusal::Refusal,
    request_parameters::{RequestKind, RequestParameters},
    template::Template,
    wire::{ClientAuthentication, EndpointKind, IssuerCheck, ResponseMode},
};
use crate::{error::Error, origin::Origin, rejection::TokenRejection, token::NamedValues};

/// An authorization server and the API behind it. The [module page](crate::provider) has an
/// example.
#[derive(Clone, Debug)]
pub struct Provider {
    /// As it was built or read, and checked.
    pub(super) data: ProviderData,
    pub(super) authorization_endpoint: Option<Endpoint>,
    pub(super) token_endpoint: Endpoint,
    pub(super) refresh_endpoint: Option<Endpoint>,
    pub(super) revocation_endpoint: Option<Endpoint>,
    pub(super) pushed_authorization_request_endpoint: Option<Endpoint>,
    pub(super) mtls_endpoint_aliases: BTreeMap<EndpointKind, Endpoint>,
    pub(super) device_authorization_endpoint: Option<Endpoint>,
    pub(super) api_origins: Vec<Origin>,
    /// The origins of the API that differ from tenant to tenant.
    pub(super) tenant_origins: Vec<Template>,
    pub(super) patterns: Patterns,
    pub(super) token_header_name: HeaderName,
}

impl Provider {
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

    /// The endpoint of pushed authorization requests (RFC 9126), if the provider has one.
    #[must_use]
    pub fn pushed_authorization_request_endpoint(&self) -> Option<&Endpoint> {
        self.pushed_authorization_request_endpoint.as_ref()
    }

    /// Whether the provider accepts authorization requests only if they are pushed.
    #[must_use]
    pub fn requires_pushed_authorization_requests(&self) -> bool {
        self.data.require_pushed_authorization_requests
    }

    /// The alias of an endpoint for clients that authenticate by a certificate (RFC 8705 section
    /// 5), if it has one.
    #[must_use]
    pub fn mtls_endpoint_alias(&self, endpoint: EndpointKind) -> Option<&Endpoint> {
        self.mtls_endpoint_aliases.get(&endpoint)
    }

    /// The endpoint that requests are sent to: the alias for clients that authenticate by a
    /// certificate, if it has one and this is such a provider.
    pub(crate) fn address(&self, endpoint: EndpointKind) -> Option<&Endpoint> {
        let own = match endpoint {
            EndpointKind::Token => Some(&self.token_endpoint),
            EndpointKind::Refresh => match &self.refresh_endpoint {
                Some(endpoint) => Some(endpoint),
                None => return self.address(EndpointKind::Token),
            },
            EndpointKind::Revocation => self.revocation_endpoint.as_ref(),
            EndpointKind::DeviceAuthorization => self.device_authorization_endpoint.as_ref(),
            EndpointKind::PushedAuthorizationRequest => {
                self.pushed_authorization_request_endpoint.as_ref()
            }
        };
        let has_certificate = self.client_authentication() == ClientAuthentication::TlsClientAuth;
        let alias = self.mtls_endpoint_alias(endpoint);
        alias.filter(|_| has_certificate).or(own)
    }

    /// The endpoint of token requests.
    pub(crate) fn token_address(&self) -> &Endpoint {
        self.address(EndpointKind::Token)
            .unwrap_or(&self.token_endpoint)
    }

    /// The endpoint of refreshes.
    pub(crate) fn refresh_address(&self) -> &Endpoint {
        self.address(EndpointKind::Refresh)
            .unwrap_or(&self.token_endpoint)
    }

    /// The audience of the assertions that authenticate the client (RFC 7523 section 3) for a
    /// tenant with these values.
    pub(crate) fn audience(&self, values: &NamedValues) -> Result<String, Error> {
        match self.data.assertion_audience.as_deref().or(self.issuer()) {
            Some(audience) if audience != TOKEN_ENDPOINT => Ok(audience.to_owned()),
            // A URL without variables is sent as it is written.
            _ if self.token_endpoint.template().variables().is_empty() => {
                Ok(self.token_endpoint.to_string())
            }
            _ => self
                .resolve(&self.token_endpoint, values)
                .map(|uri| uri.to_string()),
        }
    }

    /// The device authorization endpoint (RFC 8628), if the provider has one.
    #[must_use]
    pub fn device_authorization_endpoint(&self) -> Option<&Endpoint> {
        self.device_authorization_endpoint.as_ref()
    }

    /// The origins that the tokens of every tenant are sent to.
    #[must_use]
    pub fn api_origins(&self) -> &[Origin] {
        &self.api_origins
    }

    /// Whether there are further origins, which differ from tenant to tenant.
    #[must_use]
    pub fn has_tenant_origins(&self) -> bool {
        !self.tenant_origins.is_empty()
    }

    /// The origins that the tokens of one tenant are sent to, beside
    /// [`api_origins`](Self::api_origins). `values` are the [kept
    /// values](crate::token::TokenSet::values) of its grant.
    ///
    /// # Errors
    ///
    /// [`KeptValue`](crate::ErrorKind::KeptValue) if a value is missing or does not match its
    /// pattern.
    pub fn tenant_origins(&self, values: &NamedValues) -> Result<Vec<Origin>, Error> {
        let templates = self.tenant_origins.iter();
        let origins = templates.map(|template| {
            let uri = self.patterns.resolve(template, values)?;
            Origin::from_uri("api_origins", &uri)
        });
        origins.collect()
    }

    /// The URL of one of this provider's endpoints for a tenant with these values.
    pub(crate) fn resolve(&self, endpoint: &Endpoint, values: &NamedValues) -> Result<Uri, Error> {
        self.patterns.resolve(endpoint.template(), values)
    }

    /// The URL of the revocation endpoint for a tenant with these values. `token` and `client_id`
    /// replace the variables of these names.
    pub(crate) fn resolve_revocation(
        &self,
        endpoint: &Endpoint,
        values: &NamedValues,
        token: &str,
        client_id: &str,
    ) -> Result<Uri, Error> {
        let (token, client_id) = (encoded(token), encoded(client_id));
        self.patterns
            .resolve_with(endpoint.template(), values, |name| match name {
                "token" => Some(token.as_str()),
                "client_id" => Some(client_id.as_str()),
                _ => None,
            })
    }

    /// The values that are kept with a grant, by the names under which they are kept.
    pub fn kept_values(&self) -> impl Iterator<Item = (&str, &KeptValue)> {
        let values = self.data.kept_values.iter();
        values.map(|(name, value)| (name.as_str(), value))
    }

    /// The name of the header that carries access tokens.
    #[must_use]
    pub fn token_header_name(&self) -> &HeaderName {
        &self.token_header_name
    }

    /// The word before the token in its header, such as `Bearer`. Empty if there is none.
    #[must_use]
    pub fn token_header_scheme(&self) -> &str {
        self.data.token_header.header_scheme()
    }

    /// Checks the kept values of a grant against their patterns.
    pub(crate) fn check_kept_values(&self, values: &NamedValues) -> Result<(), Error> {
        let mut values = values.iter();
        values.try_for_each(|(name, value)| self.patterns.check_value(name, value))
    }

    /// The names of the values from this source, each with its name there.
    pub(crate) fn kept_values_from(
        &self,
        source: ValueSource,
    ) -> impl Iterator<Item = (&str, &str)> {
        let values = self.kept_values();
        let values = values.filter(move |(_, value)| value.source() == source);
        values.map(|(name, value)| (name, value.source_name().unwrap_or(name)))
    }

    /// Whether a grant with the `old` values keeps its addresses with the `new` ones. A value that
    /// the new ones lack stays.
    pub(crate) fn has_same_addresses(&self, old: &NamedValues, new: &NamedValues) -> bool {
        let endpoints = [EndpointKind::Refresh, EndpointKind::Revocation];
        let endpoints = endpoints.map(|endpoint| self.address(endpoint));
        let endpoints = endpoints.into_iter().flatten().map(Endpoint::template);
        let mut variables = endpoints
            .chain(&self.tenant_origins)
            .flat_map(Template::variables);
        variables.all(|variable| {
            let value = new.get(variable.name);
            value.is_none() || value == old.get(variable.name)
        })
    }

    /// Checks a kept value against its pattern.
    pub(crate) fn check_kept_value(&self, name: &str, value: &str) -> Result<(), Error> {
        self.patterns.check_value(name, value)
    }

    /// The issuer that authorization responses have to name (RFC 9207), if any.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.data.issuer.as_deref()
    }

    /// Whether authorization responses have to name the [`issuer`](Self::issuer). Without effect
    /// if there is none.
    #[must_use]
    pub fn issuer_check(&self) -> IssuerCheck {
        self.data.issuer_check
    }

    /// How a client authenticates to the token and revocation endpoints.
    #[must_use]
    pub fn client_authentication(&self) -> ClientAuthentication {
        self.data.client_authentication
    }

    /// The audience of the assertions by which a client authenticates, where the provider's data
    /// name one.
    #[must_use]
    pub fn assertion_audience(&self) -> Option<&str> {
        self.data.assertion_audience.as_deref()
    }

    /// Whether authorization requests use PKCE (RFC 7636).
    #[must_use]
    pub fn pkce(&self) -> bool {
        self.data.pkce
    }

    /// Whether tokens are bound to a key by DPoP (RFC 9449).
    #[must_use]
    pub fn dpop(&self) -> bool {
        self.data.dpop
    }

    /// The separator of the scopes in a request: a space (RFC 6749 section 3.3) or a comma.
    #[must_use]
    pub fn scope_separator(&self) -> &str {
        &self.data.scope_separator
    }

    /// The additional parameters of a kind of request, by name and value.
    pub fn request_parameters(&self, kind: RequestKind) -> impl Iterator<Item = (&str, &str)> {
        self.data.request_parameters.of(kind)
    }

    pub(crate) fn all_request_parameters(&self) -> &RequestParameters {
        &self.data.request_parameters
    }

    /// The token types that are accepted beside `Bearer`.
    #[must_use]
    pub fn accepted_token_types(&self) -> &[String] {
        &self.data.accepted_token_types
    }

    /// The error responses that have another meaning than in RFC 6749.
    #[must_use]
    pub fn refusals(&self) -> &[Refusal] {
        &self.data.refusals
    }

    /// How the provider sends the parameters of a callback.
    #[must_use]
    pub fn response_mode(&self) -> ResponseMode {
        self.data.response_mode
    }

    /// The lifetime of an access token for which the token response names none, if it is known.
    #[must_use]
    pub fn access_token_lifetime(&self) -> Option<Duration> {
        match self.data.access_token_lifetime? {
            UsualLifetime::Seconds(seconds) => Some(Duration::from_secs(seconds)),
            UsualLifetime::Never => None,
        }
    }

    /// Whether an access token for which the token response names no lifetime never expires.
    #[must_use]
    pub fn access_token_never_expires(&self) -> bool {
        self.data.access_token_lifetime == Some(UsualLifetime::Never)
    }

    /// The lifetime of an unused refresh token, if it is known.
    #[must_use]
    pub fn refresh_token_lifetime(&self) -> Option<Duration> {
        self.data.refresh_token_lifetime.map(Duration::from_secs)
    }

    /// How long before the end of an access token its first refresh is accepted. `None` at any
    /// time.
    #[must_use]
    pub fn earliest_refresh(&self) -> Option<Duration> {
        self.data.refresh_window.earliest()
    }

    /// How long before the end of an access token its last refresh is accepted. `None` at any time,
    /// also after the end.
    #[must_use]
    pub fn latest_refresh(&self) -> Option<Duration> {
        self.data.refresh_window.latest()
    }

    /// For how long a refresh token is accepted again after it was used. `None` for not at all.
    #[must_use]
    pub fn reuse_grace(&self) -> Option<Duration> {
        let grace = self.data.reuse_grace.map(Duration::from_secs);
        grace.filter(|grace| !grace.is_zero())
    }

    /// How long a new access token may be unknown to the API. `None` for the default of 5 seconds.
    #[must_use]
    pub fn propagation_delay(&self) -> Option<Duration> {
        self.data.propagation_delay.map(Duration::from_secs)
    }

    /// The responses of the API that reject an access token, beside a 401.
    #[must_use]
    pub fn token_rejections(&self) -> &[TokenRejection] {
        &self.data.token_rejections
    }
}

/// The word that stands for the URL of the token endpoint.
const TOKEN_ENDPOINT: &str = "token_endpoint";

/// All but the unreserved characters of RFC 3986 section 2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A text as a part of a URL.
pub(crate) fn encoded(text: &str) -> Zeroizing<String> {
    // An encoded byte has at most three characters.
    let mut encoded = Zeroizing::new(String::with_capacity(text.len().saturating_mul(3)));
    encoded.extend(utf8_percent_encode(text, RESERVED));
    encoded
}
