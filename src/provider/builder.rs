//! Settings of a [`Provider`], checked when it is built.

use std::{collections::BTreeMap, fmt, time::Duration};

use super::{
    address::{ApiOrigin, Needed, Patterns},
    data::ProviderData,
    definition::Provider,
    endpoint::Endpoint,
    kept_value::KeptValue,
    lifetime::UsualLifetime,
    refusal::Refusal,
    request_parameters::RequestKind,
    revocation::RevocationRequest,
    template::Template,
    wire::{
        BodyFormat, ClientAuthentication, EndpointKind, IssuerCheck, LifetimeUnit, ResponseMode,
        TokenHeader, TokenMember,
    },
    wire_checks,
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
        ProviderBuilder(self.data.clone())
    }

    /// Returns the same provider on another server, such as a sandbox, a staging system or a
    /// recording proxy.
    ///
    /// Every endpoint keeps its path and moves to the origin of `url`, which also becomes the only
    /// origin that tokens are sent to. An [issuer](crate::provider::ProviderBuilder::issuer) and an
    /// [audience](crate::provider::ProviderBuilder::assertion_audience) that is a URL move too,
    /// because another server is another issuer. Where callbacks still name the old one, as
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
    pub fn on_origin(self, url: &str) -> Result<Self, Error> {
        let origin: Origin = url.parse()?;
        let moved = |endpoint: Option<Endpoint>| Some(endpoint?.on_origin(&origin));
        let mut data = self.data;
        data.authorization_endpoint = moved(self.authorization_endpoint);
        data.revocation_endpoint = moved(self.revocation_endpoint);
        data.device_authorization_endpoint = moved(self.device_authorization_endpoint);
        data.refresh_endpoint = moved(self.refresh_endpoint);
        data.token_endpoint = self.token_endpoint.on_origin(&origin);
        data.pushed_authorization_request_endpoint =
            moved(self.pushed_authorization_request_endpoint);
        let aliases = self.mtls_endpoint_aliases.iter();
        data.mtls_endpoint_aliases = aliases
            .map(|(kind, alias)| (*kind, alias.on_origin(&origin)))
            .collect();
        data.issuer = data.issuer.map(|issuer| issuer_on_origin(&issuer, &origin));
        // An audience that is no URL belongs to no server.
        data.assertion_audience = data.assertion_audience.map(|audience| {
            if audience.contains("://") {
                issuer_on_origin(&audience, &origin)
            } else {
                audience
            }
        });
        data.api_origins = vec![origin.to_string()];
        ProviderBuilder(data).build()
    }
}

impl ProviderBuilder {
    pub(super) fn from_data(data: ProviderData) -> Self {
        Self(data)
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

    /// Sets the endpoint at which a device starts an authorization (RFC 8628 section 3.1). Defaults
    /// to none.
    pub fn device_authorization_endpoint(mut self, url: impl Into<String>) -> Self {
        self.0.device_authorization_endpoint = Some(url.into());
        self
    }

    /// Sets what revocation requests look like. Defaults to [RFC 7009](RevocationRequest::new).
    pub fn revocation_request(mut self, request: RevocationRequest) -> Self {
        self.0.revocation_request = request;
        self
    }

    /// Sets the endpoint to which authorization requests are pushed before the browser is
    /// redirected (RFC 9126). Defaults to none. Like the authorization endpoint, it may contain
    /// variables whose values the program passes.
    ///
    /// [`OAuthClient::start_authorization`](crate::oauth::OAuthClient::start_authorization) and the
    /// `connect` router use it.
    pub fn pushed_authorization_request_endpoint(mut self, url: impl Into<String>) -> Self {
        self.0.pushed_authorization_request_endpoint = Some(url.into());
        self
    }

    /// Sets whether the provider accepts authorization requests only if they are pushed (RFC 9126
    /// section 5). Defaults to false.
    pub fn require_pushed_authorization_requests(mut self, required: bool) -> Self {
        self.0.require_pushed_authorization_requests = required;
        self
    }

    /// Sets the URL of an endpoint for clients that authenticate by a certificate (RFC 8705 section
    /// 5). Defaults to the endpoint's own URL.
    ///
    /// It is used only with
    /// [`TlsClientAuth`](crate::provider::ClientAuthentication::TlsClientAuth). Grants still belong
    /// to the [token endpoint](crate::provider::Provider::token_endpoint) of the provider.
    pub fn mtls_endpoint_alias(mut self, endpoint: EndpointKind, url: impl Into<String>) -> Self {
        self.0.mtls_endpoint_aliases.insert(endpoint, url.into());
        self
    }

    /// Sets the issuer that authorization responses have to name (`iss`, RFC 9207). Defaults to
    /// none: `iss` is then ignored.
    ///
    /// With an issuer, a callback that does not name exactly this one is rejected, so that a
    /// program with several providers cannot be made to send the code of one to another (RFC 9700
    /// section 4.4). For a provider that does not always send `iss`, also set an
    /// [`issuer_check`](Self::issuer_check).
    /// [`discovery`](crate::discovery) sets both by the metadata of the issuer.
    pub fn issuer(mut self, url: impl Into<String>) -> Self {
        self.0.issuer = Some(url.into());
        self
    }

    /// Sets whether callbacks have to name the [`issuer`](Self::issuer). Defaults to
    /// [`Required`](IssuerCheck::Required).
    ///
    /// | the callback has | no issuer is set | `Required` | `IfPresent` |
    /// | --- | --- | --- | --- |
    /// | no `iss` | accepted | rejected | accepted |
    /// | the issuer once, in the same spelling | accepted | accepted | accepted |
    /// | another issuer, or an empty one | accepted | rejected | rejected |
    /// | `iss` more than once | accepted | rejected | rejected |
    ///
    /// This holds for callbacks with a code and with an error, in each [`ResponseMode`]. Issuers
    /// are compared as strings, after decoding (RFC 9207 section 2.4). That section leaves it to
    /// the client whether `iss` is accepted from a provider that does not announce it. With
    /// `IfPresent` it is accepted if it is the issuer. Without an issuer there is nothing to
    /// compare with: set one if the program has several providers.
    pub fn issuer_check(mut self, check: IssuerCheck) -> Self {
        self.0.issuer_check = check;
        self
    }

    /// Adds an origin that tokens of this provider may be sent to. Without one, no request carries
    /// them.
    pub fn api_origin(mut self, url: impl Into<String>) -> Self {
        self.0.api_origins.push(url.into());
        self
    }

    /// Adds a value to keep with each grant, under this name. Replaces an earlier one of this name.
    ///
    /// It is stored and encrypted with the tokens. [`TokenSet::values`] has it, which stays the
    /// same until another consent or a token response replaces it.
    ///
    /// [`TokenSet::values`]: crate::token::TokenSet::values
    pub fn kept_value(mut self, name: impl Into<String>, value: KeptValue) -> Self {
        self.0.kept_values.insert(name.into(), value);
        self
    }

    /// Sets the header that carries the access token. Defaults to `Authorization`, with the scheme
    /// `Bearer` (RFC 6750 section 2.1).
    ///
    /// ```
    /// use tower_oauth2_client::provider::{Provider, TokenHeader};
    ///
    /// let provider = Provider::builder("https://accounts.example.com/token")
    ///     // `Authorization: Zoho-oauthtoken <token>`
    ///     .token_header(TokenHeader::new("Authorization").scheme("Zoho-oauthtoken"))
    ///     .build()?;
    /// assert_eq!(provider.token_header_name(), "authorization");
    /// # Ok::<(), tower_oauth2_client::Error>(())
    /// ```
    ///
    /// HTTP clients that follow redirects remove an `Authorization` header where a redirect leads
    /// to another server, but usually no other header. The layer's own rules are the same for each
    /// header.
    pub fn token_header(mut self, header: TokenHeader) -> Self {
        self.0.token_header = header;
        self
    }

    /// Sets how a client authenticates. Defaults to [`Basic`](ClientAuthentication::Basic).
    pub fn client_authentication(mut self, authentication: ClientAuthentication) -> Self {
        self.0.client_authentication = authentication;
        self
    }

    /// Sets the audience (`aud`) of the assertions by which a client authenticates (RFC 7523
    /// section 3). Defaults to the [issuer](Self::issuer), and without one to the URL of the token
    /// endpoint, as it is written.
    ///
    /// The issuer is the safest audience, because no other server accepts it. Many providers
    /// document the URL of the token endpoint instead: the word `token_endpoint` stands for it, and
    /// is needed only if an issuer is set.
    pub fn assertion_audience(mut self, audience: impl Into<String>) -> Self {
        self.0.assertion_audience = Some(audience.into());
        self
    }

    /// Sets whether authorization requests use PKCE with S256 (RFC 7636). Defaults to true.
    pub fn pkce(mut self, pkce: bool) -> Self {
        self.0.pkce = pkce;
        self
    }

    /// Sets whether tokens are bound to a key by [DPoP](crate::dpop) (RFC 9449). Defaults to false.
    ///
    /// It needs the feature `dpop`. Grants from before stay bearer grants until their next consent.
    pub fn dpop(mut self, dpop: bool) -> Self {
        self.0.dpop = dpop;
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

    /// Sets whether refreshes name the scopes of the client (RFC 6749 section 6). Defaults to
    /// false: the scopes then stay as they are.
    pub fn scope_on_refresh(mut self, scope_on_refresh: bool) -> Self {
        self.0.scope_on_refresh = scope_on_refresh;
        self
    }

    /// Sets the encoding of token requests. Defaults to a form (RFC 6749 section 4.1.3).
    ///
    /// With [`RequestBody`](ClientAuthentication::RequestBody), the credentials are members of the
    /// JSON object too. Revocation requests have an encoding of their own: see
    /// [`RevocationRequest::format`].
    pub fn request_format(mut self, format: BodyFormat) -> Self {
        self.0.request_format = format;
        self
    }

    /// Sets another name for a parameter of RFC 6749 in authorization, token and revocation
    /// requests, such as `client_key` for `client_id`.
    ///
    /// These parameters can have another name: `client_id`, `client_secret`, `code`, `grant_type`,
    /// `redirect_uri`, `refresh_token`, `response_type` and `scope`. The `state` and the parameters
    /// of PKCE cannot, because a server that does not know their names would leave callbacks
    /// unprotected. The token of a revocation request has its name in the
    /// [`RevocationRequest`].
    pub fn parameter_name(mut self, name: impl Into<String>, other: impl Into<String>) -> Self {
        self.0.parameter_names.set(name.into(), other.into());
        self
    }

    /// Sets the name of the code in callbacks. Defaults to `code` (RFC 6749 section 4.1.2).
    pub fn code_parameter(mut self, name: impl Into<String>) -> Self {
        self.0.code_parameter = Some(name.into());
        self
    }

    /// Sets where a token response contains a member: its name, or the names of nested members
    /// separated by dots. Defaults to the names of RFC 6749 section 5.1.
    ///
    /// The member is read from there only. If a response has an `access_token` of a bot, and the
    /// one of the customer in `authed_user.access_token`, the first one is never used for the
    /// second.
    pub fn response_member(mut self, member: TokenMember, path: impl Into<String>) -> Self {
        self.0.response_members.insert(member, path.into());
        self
    }

    /// Sets the unit of lifetimes in token responses, and of times that are written as numbers.
    /// Defaults to seconds.
    pub fn lifetime_unit(mut self, unit: LifetimeUnit) -> Self {
        self.0.lifetime_unit = unit;
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
        self.0.access_token_lifetime = Some(UsualLifetime::Seconds(lifetime.as_secs()));
        self
    }

    /// Sets that an access token for which the token response names no lifetime never expires.
    /// Replaces an [`access_token_lifetime`](Self::access_token_lifetime).
    ///
    /// The token is used until the API rejects it, as one of an unknown lifetime is, and no warning
    /// says that its lifetime is missing.
    pub fn access_token_never_expires(mut self) -> Self {
        self.0.access_token_lifetime = Some(UsualLifetime::Never);
        self
    }

    /// Sets how long an unused refresh token lives. Defaults to unknown.
    ///
    /// With it, idle grants are refreshed before their refresh token expires. A lifetime that a
    /// token response states takes precedence for its refresh token. Fractions of a second are
    /// dropped.
    pub fn refresh_token_lifetime(mut self, lifetime: Duration) -> Self {
        self.0.refresh_token_lifetime = Some(lifetime.as_secs());
        self
    }

    /// Sets how long before the end of an access token its first refresh is accepted. Defaults to
    /// any time. At least 1 second; fractions of a second are dropped.
    ///
    /// No refresh is sent earlier, [whatever the reason](crate::cache#refresh-windows).
    pub fn earliest_refresh(mut self, before_expiry: Duration) -> Self {
        self.0.refresh_window.earliest = Some(before_expiry.as_secs());
        self
    }

    /// Sets how long before the end of an access token its last refresh is accepted: zero if it has
    /// to be valid. Defaults to any time, also after the end. Fractions of a second are dropped.
    ///
    /// The grant ends if it is not refreshed by then, so an idle grant is refreshed before.
    pub fn latest_refresh(mut self, before_expiry: Duration) -> Self {
        self.0.refresh_window.latest = Some(before_expiry.as_secs());
        self
    }

    /// Sets for how long a refresh token is accepted again after it was used. Defaults to not at
    /// all.
    ///
    /// A refresh whose response was lost is then [repeated](crate::cache#lost-responses) until the
    /// end of this time. Fractions of a second are dropped.
    pub fn reuse_grace(mut self, grace: Duration) -> Self {
        self.0.reuse_grace = Some(grace.as_secs());
        self
    }

    /// Sets how long a new access token may be unknown to the API. Defaults to 5 seconds. At most
    /// 60 seconds; fractions of a second are dropped.
    ///
    /// A 401 to a younger token causes no refresh: the request is retried with the same token once
    /// it is old enough. The delay is never longer than a tenth of the token's lifetime. Zero turns
    /// the wait off.
    pub fn propagation_delay(mut self, delay: Duration) -> Self {
        self.0.propagation_delay = Some(delay.as_secs());
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
    ///   information or a fragment. An issuer with a query. An issuer check without an issuer.
    /// * A scope separator other than a space or a comma.
    /// * A request parameter that the client sets itself, such as `client_secret`, or that no form
    ///   should contain. An empty token type.
    /// * A parameter that cannot have another name, or another name that is taken or that no
    ///   request can contain.
    /// * A path of a token response that is empty, or that two members share.
    /// * A revocation request without a token, or whose parts exclude each other, such as a `GET`
    ///   with a body.
    /// * An audience of assertions that is not one word of visible ASCII.
    /// * Pushed authorization requests that are required but have no endpoint, or for which there
    ///   is no authorization endpoint. An alias of an endpoint that the provider does not have.
    /// * A refusal without members, or with a value that matches everything.
    /// * A token rejection with a status other than 400 to 499.
    /// * A token header with a name that is none, or that the message or its connection needs, such
    ///   as `Host`. A scheme of more than one word.
    /// * DPoP without the feature `dpop`, or with a token header of the provider's own.
    /// * A refresh token that does not live at all, a refresh window that is empty, or a
    ///   propagation delay of more than 60 seconds.
    pub fn build(self) -> Result<Provider, Error> {
        let data = self.0;
        check_issuer(&data)?;
        if ![" ", ","].contains(&data.scope_separator.as_str()) {
            return Err(Error::configuration(
                "scope_separator: neither a space nor a comma; use one of them",
            ));
        }
        data.request_parameters.check()?;
        wire_checks::check(&data)?;
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
        let token_header_name = data.token_header.check()?;
        check_dpop(&data)?;
        check_lifetimes(&data)?;
        let patterns = Patterns::compile(&data.kept_values)?;
        let check = |setting: &str, template: &Template, needed| {
            patterns.check(setting, template, &data.kept_values, needed)
        };
        let endpoint = |setting, url: &Option<String>, needed| {
            let Some(url) = url else { return Ok(None) };
            let endpoint = Endpoint::parse(setting, url)?;
            check(setting, endpoint.template(), needed)?;
            Ok::<_, Error>(Some(endpoint))
        };
        let token_endpoint = Endpoint::parse("token_endpoint", &data.token_endpoint)?;
        check(
            "token_endpoint",
            token_endpoint.template(),
            needed(EndpointKind::Token),
        )?;
        let mut api_origins = Vec::new();
        let mut tenant_origins = Vec::new();
        for (index, url) in data.api_origins.iter().enumerate() {
            let setting = format!("api_origins[{index}]");
            match ApiOrigin::parse(&setting, url)? {
                ApiOrigin::Fixed(origin) => api_origins.push(origin),
                ApiOrigin::OfTenant(template) => {
                    check(&setting, &template, Needed::AfterResponse)?;
                    tenant_origins.push(template);
                }
            }
        }
        let mut mtls_endpoint_aliases = BTreeMap::new();
        for (kind, url) in &data.mtls_endpoint_aliases {
            let setting = format!("mtls_endpoint_aliases.{}", kind.as_str());
            let alias = Endpoint::parse(&setting, url)?;
            check(&setting, alias.template(), needed(*kind))?;
            mtls_endpoint_aliases.insert(*kind, alias);
        }
        Ok(Provider {
            pushed_authorization_request_endpoint: endpoint(
                "pushed_authorization_request_endpoint",
                &data.pushed_authorization_request_endpoint,
                needed(EndpointKind::PushedAuthorizationRequest),
            )?,
            mtls_endpoint_aliases,
            authorization_endpoint: endpoint(
                "authorization_endpoint",
                &data.authorization_endpoint,
                Needed::AtStart,
            )?,
            token_endpoint,
            refresh_endpoint: endpoint(
                "refresh_endpoint",
                &data.refresh_endpoint,
                needed(EndpointKind::Refresh),
            )?,
            revocation_endpoint: endpoint(
                "revocation_endpoint",
                &data.revocation_endpoint,
                needed(EndpointKind::Revocation),
            )?,
            device_authorization_endpoint: endpoint(
                "device_authorization_endpoint",
                &data.device_authorization_endpoint,
                Needed::AtStart,
            )?,
            api_origins,
            tenant_origins,
            patterns,
            token_header_name,
            data,
        })
    }
}

fn check_issuer(data: &ProviderData) -> Result<(), Error> {
    if let Some(issuer) = &data.issuer {
        Origin::parse("issuer", issuer)?;
        if issuer.contains(['?', '#']) {
            return Err(Error::configuration(
                "issuer: the URL contains a query or a fragment; remove it",
            ));
        }
    } else if data.issuer_check != IssuerCheck::default() {
        return Err(Error::configuration(
            "issuer_check: there is no issuer to compare with; set the issuer, or leave this out",
        ));
    }
    Ok(())
}

fn check_dpop(data: &ProviderData) -> Result<(), Error> {
    if data.dpop && cfg!(not(feature = "dpop")) {
        return Err(Error::configuration(
            "dpop: the feature `dpop` of this crate is off; turn it on",
        ));
    }
    if data.dpop && data.token_header != TokenHeader::default() {
        return Err(Error::configuration(
            "dpop: token_header names another header or scheme than RFC 9449 section 7.1; remove \
             one of them",
        ));
    }
    Ok(())
}

/// When the values in the URL of an endpoint are needed.
fn needed(endpoint: EndpointKind) -> Needed {
    match endpoint {
        EndpointKind::DeviceAuthorization | EndpointKind::PushedAuthorizationRequest => {
            Needed::AtStart
        }
        EndpointKind::Token => Needed::AfterCallback,
        EndpointKind::Refresh => Needed::AfterResponse,
        EndpointKind::Revocation => Needed::ForRevocation,
    }
}

/// A new token that is unknown for longer would hold up the retry of every request.
const LONGEST_PROPAGATION_DELAY: u64 = 60;

fn check_lifetimes(data: &ProviderData) -> Result<(), Error> {
    let window = data.refresh_window;
    let wrong = if data.refresh_token_lifetime == Some(0) {
        "refresh_token_lifetime: zero; leave it out if it is unknown"
    } else if window.earliest == Some(0) {
        "refresh_window.earliest: less than 1 second, in which no refresh could be made; leave it \
         out if a refresh is accepted at any time"
    } else if window
        .earliest
        .is_some_and(|earliest| window.latest.unwrap_or(0) >= earliest)
    {
        "refresh_window.latest: not after the earliest refresh; both count backwards from the end \
         of the access token, so use less than refresh_window.earliest"
    } else if data.propagation_delay > Some(LONGEST_PROPAGATION_DELAY) {
        "propagation_delay: more than 60 seconds; use less"
    } else {
        return Ok(());
    };
    Err(Error::configuration(wrong))
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

/// Keeps what follows the origin as it is written: a slash more or less is another issuer.
fn issuer_on_origin(issuer: &str, origin: &Origin) -> String {
    let (_, rest) = issuer.split_once("://").unwrap_or_default();
    let path = rest.find('/').map_or("", |path| &rest[path..]);
    format!("{origin}{path}")
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
            assert_eq!(sandbox.issuer_check(), IssuerCheck::Required);
        }
    }

    #[test]
    fn impossible_lifetimes_are_named() {
        type Setter = fn(ProviderBuilder) -> ProviderBuilder;
        const fn seconds(seconds: u64) -> Duration {
            Duration::from_secs(seconds)
        }
        let wrong: [(&str, Setter); 7] = [
            ("refresh_token_lifetime: ", |builder| {
                builder.refresh_token_lifetime(Duration::from_millis(999))
            }),
            ("refresh_window.earliest: ", |builder| {
                builder.earliest_refresh(seconds(0))
            }),
            ("refresh_window.earliest: ", |builder| {
                builder
                    .earliest_refresh(seconds(0))
                    .latest_refresh(seconds(0))
            }),
            ("refresh_window.latest: ", |builder| {
                builder
                    .earliest_refresh(seconds(30))
                    .latest_refresh(seconds(30))
            }),
            ("refresh_window.latest: ", |builder| {
                builder
                    .earliest_refresh(seconds(30))
                    .latest_refresh(Duration::MAX)
            }),
            ("propagation_delay: ", |builder| {
                builder.propagation_delay(seconds(61))
            }),
            ("propagation_delay: ", |builder| {
                builder.propagation_delay(Duration::MAX)
            }),
        ];
        for (path, set) in wrong {
            let error = set(builder()).build().unwrap_err().to_string();
            assert!(error.starts_with(path), "{error}");
        }
        let right: [Setter; 5] = [
            |builder| {
                builder
                    .earliest_refresh(seconds(1))
                    .latest_refresh(seconds(0))
            },
            |builder| builder.latest_refresh(Duration::MAX),
            |builder| builder.propagation_delay(seconds(0)),
            |builder| builder.propagation_delay(seconds(60)),
            |builder| {
                builder
                    .reuse_grace(Duration::MAX)
                    .refresh_token_lifetime(Duration::MAX)
            },
        ];
        for set in right {
            set(builder()).build().unwrap();
        }
    }

    #[test]
    fn wrong_settings_are_named() {
        type Setter = fn(ProviderBuilder, &'static str) -> ProviderBuilder;
        let setters: [(&str, Setter); 5] = [
            ("issuer: ", |builder, url| builder.issuer(url)),
            ("authorization_endpoint: ", |builder, url| {
                builder.authorization_endpoint(url)
            }),
            ("revocation_endpoint: ", |builder, url| {
                builder.revocation_endpoint(url)
            }),
            ("device_authorization_endpoint: ", |builder, url| {
                builder.device_authorization_endpoint(url)
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
        let unused = builder().issuer_check(IssuerCheck::IfPresent).build();
        let unused = unused.unwrap_err().to_string();
        assert!(unused.starts_with("issuer_check: "), "{unused}");
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
