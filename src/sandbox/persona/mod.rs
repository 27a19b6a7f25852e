//! How other providers than Justworks behave on the wire.

mod provider_file;
mod record;
mod route;
mod text;

use std::{collections::BTreeMap, error::Error, fmt, sync::Arc, time::Duration};

use http::{
    HeaderMap, HeaderValue, Request, StatusCode,
    header::{ACCEPT, CONTENT_TYPE},
};
use serde::Deserialize;
use serde_json::{Map, Value};

use self::{
    provider_file::{Authentication, LifetimeUnit, ProviderFile},
    record::{Record, RecordedExpiry, RecordedResponse, RecordedRotation},
    route::Addresses,
};
pub(super) use self::{
    provider_file::{
        Format, RevocationAuthentication, RevocationRequest, RevokedToken, TokenHeader,
    },
    route::{HOST_HEADER, Route},
};
use super::{
    behavior::{Behavior, ClientAuthentication, Pkce, RefreshTokenField},
    challenge::Challenge,
    expiry::{ExpiresAt, ExpiresIn},
    fault::Fault,
    response::{self, SandboxResponse},
};

/// One line per persona: the name of its files in the catalogue of providers.
macro_rules! personas {
    ($($name:ident,)*) => {
        const FILES: &[(&str, &str, &str)] = &[$((
            stringify!($name),
            include_str!(concat!("../../provider/catalog/", stringify!($name), ".json")),
            include_str!(concat!("../../provider/catalog/", stringify!($name), ".persona.json")),
        ),)*];
    };
}

personas! {
    atlassian,
    exact_online,
    github_app,
    github_oauth_app,
    google,
    gusto,
    hubspot,
    microsoft,
    notion,
    quickbooks,
    salesforce,
    shopify,
    slack,
    xero,
    zoho,
    zoom,
}

/// A provider that the sandbox behaves like on the wire, made of a provider file and a record of
/// what the file does not say.
///
/// The provider file decides the addresses, how clients authenticate, the format and the names of
/// what is sent, and how long tokens live. The record decides how refresh tokens rotate, how a dead
/// grant is refused, and which values a callback and a token response carry. A client that differs
/// from the file is refused.
///
/// Without a persona the sandbox behaves like Justworks. Personas have no `/v1/company`: every
/// address that is no other endpoint is one of the API.
///
/// ```
/// use tower_oauth2_client::sandbox::{Persona, Sandbox};
///
/// let xero = Persona::named("xero").expect("it is in the catalogue");
/// let sandbox = Sandbox::persona(xero).build();
/// ```
///
/// # Records
///
/// A record is a JSON object:
///
/// | member | meaning |
/// | --- | --- |
/// | `source` | where the behavior is described; required |
/// | `scopes` | the scopes of the client; required |
/// | `rotation` | `none`, `omitted`, `first_consent`, `no_refresh_token`, `single_use`, `family_revocation`, `deferred`, `{"grace": seconds}` or `{"after_age": seconds}`; required |
/// | `tenant` | the tenant of a consent whose address names none; `acme` |
/// | `variables` | the texts of the provider's variables in its addresses; `{tenant}` each |
/// | `callback`, `response` | further parameters of callbacks and members of token responses; `{tenant}` stands for the tenant |
/// | `access_token_lifetime`, `refresh_token_lifetime` | in seconds; those of the provider file |
/// | `expires_in` | `absent`, `number` or `text`; a number if the lifetime is known |
/// | `token_type` | `Bearer`; `null` for none |
/// | `no_scope`, `scope_separator`, `refresh_token_expires_in` | which members a token response has, and how its scopes are separated |
/// | `propagation_delay` | how long the API does not know a new token, in milliseconds; 0 |
/// | `form_response` | whether a token response is a form unless the request accepts JSON |
/// | `dead`, `early`, `false_death` | objects with the `status` and the `body` of a response: to a dead refresh token, to a refresh before its window, and one that only looks like that of a dead grant |
/// | `revocation_keeps_access_tokens`, `revocation_status` | what a revocation does |
#[derive(Clone)]
pub struct Persona(Arc<PersonaData>);

struct PersonaData {
    provider: ProviderFile,
    record: Record,
    addresses: Addresses,
}

impl Persona {
    /// The persona of an entry of the catalogue, by the entry's name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let (_, file, record) = FILES.iter().find(|(known, ..)| *known == name)?;
        Self::from_entry(file, record).ok()
    }

    /// The names of all personas, in their order.
    pub fn names() -> impl Iterator<Item = &'static str> {
        FILES.iter().map(|(name, ..)| *name)
    }

    /// A persona of a provider file and a record, both as JSON.
    ///
    /// # Errors
    ///
    /// If one of them cannot be read.
    pub fn new(provider_file: &str, record: &str) -> Result<Self, PersonaError> {
        let provider: ProviderFile = serde_json::from_str(provider_file)?;
        let record: Record = serde_json::from_str(record)?;
        let addresses = Addresses::new(&provider, &record);
        Ok(Self(Arc::new(PersonaData {
            provider,
            record,
            addresses,
        })))
    }

    fn from_entry(entry: &str, record: &str) -> Result<Self, PersonaError> {
        #[derive(Deserialize)]
        struct Entry {
            provider: Value,
        }
        let entry: Entry = serde_json::from_str(entry)?;
        Self::new(&entry.provider.to_string(), record)
    }

    /// Scopes that the provider has. The client of the sandbox may request them.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.0.record.scopes.iter().map(String::as_str)
    }

    /// The tenant of each consent, unless the address of the authorization request names another
    /// one.
    #[must_use]
    pub fn tenant(&self) -> &str {
        &self.0.record.tenant
    }

    /// Where the behavior is described, beyond the sources of the provider file.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.0.record.source
    }

    /// Whether token responses contain a refresh token.
    #[must_use]
    pub fn has_refresh_tokens(&self) -> bool {
        !matches!(self.0.record.rotation, RecordedRotation::NoRefreshToken)
    }

    /// How long an access token lives, or `None` if it does not expire.
    #[must_use]
    pub fn access_token_lifetime(&self) -> Option<Duration> {
        let file = &self.0.provider.access_token_lifetime;
        let seconds = match (self.0.record.access_token_lifetime, file) {
            (Some(seconds), _) => Some(seconds),
            (None, Some(lifetime)) => lifetime.as_u64(),
            (None, None) => None,
        };
        seconds.map(Duration::from_secs)
    }

    /// A response that a careless client takes to be that of a dead grant, if the provider is known
    /// to send one.
    ///
    /// Inject it into [`Endpoint::Token`](super::Endpoint::Token). The grant stays alive.
    #[must_use]
    pub fn false_death(&self) -> Option<Fault> {
        let recorded = self.0.record.false_death.as_ref()?;
        let fault = Fault::status(status(recorded))
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(recorded.body.to_string());
        Some(fault)
    }

    /// Changes a behavior to that of the provider.
    pub(super) fn apply(&self, behavior: &mut Behavior) {
        let PersonaData {
            provider, record, ..
        } = &*self.0;
        let lifetime = self.access_token_lifetime();
        behavior.access_token_lifetime = lifetime.unwrap_or(Duration::MAX);
        let refresh_token_lifetime = record
            .refresh_token_lifetime
            .or(provider.refresh_token_lifetime);
        behavior.refresh_token_lifetime =
            refresh_token_lifetime.map_or(Duration::MAX, Duration::from_secs);
        behavior.access_token_propagation = Duration::from_millis(record.propagation_delay);
        behavior.rotation = record.rotation.rotation();
        behavior.refresh_token_field = match record.rotation {
            RecordedRotation::Omitted => RefreshTokenField::OmittedOnRefresh,
            RecordedRotation::FirstConsent => RefreshTokenField::FirstConsent,
            RecordedRotation::NoRefreshToken => RefreshTokenField::Never,
            _ => RefreshTokenField::Sent,
        };
        behavior.expires_at = ExpiresAt::Absent;
        behavior.expires_in = match (record.expires_in, lifetime) {
            (Some(RecordedExpiry::Absent), _) | (None, None) => ExpiresIn::Absent,
            (Some(RecordedExpiry::Text), _) => ExpiresIn::Text,
            (Some(RecordedExpiry::Number), _) | (None, Some(_)) => ExpiresIn::Number,
        };
        behavior.token_type.clone_from(&record.token_type);
        behavior.scope_field = !record.no_scope;
        behavior.pkce = if provider.pkce {
            Pkce::Required
        } else {
            Pkce::Ignored
        };
        behavior.client_authentication = match provider.client_authentication {
            Authentication::Basic => ClientAuthentication::Basic,
            Authentication::BasicRaw => ClientAuthentication::BasicRaw,
            Authentication::RequestBody => ClientAuthentication::Body,
            Authentication::None => ClientAuthentication::None,
            Authentication::ClientSecretJwt => ClientAuthentication::ClientSecretJwt,
            #[cfg(feature = "signing")]
            Authentication::PrivateKeyJwt => ClientAuthentication::PrivateKeyJwt,
            Authentication::TlsClientAuth => ClientAuthentication::TlsClientAuth,
        };
        if provider.token_header.scheme != "Bearer" {
            behavior.challenge = Challenge::Absent;
        }
    }

    /// The endpoint that a request is for.
    pub(super) fn route<B>(&self, request: &Request<B>) -> Route {
        self.0.addresses.route(request)
    }

    pub(super) fn request_format(&self) -> Format {
        self.0.provider.request_format
    }

    pub(super) fn parameter_names(&self) -> &BTreeMap<String, String> {
        &self.0.provider.parameter_names
    }

    /// The parameters that each request of a kind has to carry.
    pub(super) fn required_parameters(&self, kind: &str) -> impl Iterator<Item = (&str, &str)> {
        let parameters = self.0.provider.request_parameters.get(kind);
        let parameters = parameters.into_iter().flatten();
        parameters.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub(super) fn scope_separator(&self) -> &str {
        &self.0.provider.scope_separator
    }

    pub(super) fn code_parameter(&self) -> &str {
        self.0.provider.code_parameter.as_deref().unwrap_or("code")
    }

    pub(super) fn token_header(&self) -> &TokenHeader {
        &self.0.provider.token_header
    }

    pub(super) fn revocation_request(&self) -> &RevocationRequest {
        &self.0.provider.revocation_request
    }

    pub(super) fn revocation_keeps_access_tokens(&self) -> bool {
        self.0.record.revocation_keeps_access_tokens
    }

    pub(super) fn revocation_status(&self) -> StatusCode {
        StatusCode::from_u16(self.0.record.revocation_status).unwrap_or(StatusCode::OK)
    }

    /// How long before the end of the access token the first refresh is accepted.
    pub(super) fn earliest_refresh(&self) -> Option<Duration> {
        let earliest = self.0.provider.refresh_window.earliest;
        earliest.map(Duration::from_secs)
    }

    /// Further parameters of a callback.
    pub(super) fn callback_parameters(&self, tenant: &str) -> Vec<(&str, String)> {
        let parameters = self.0.record.callback.iter();
        parameters
            .map(|(name, value)| (name.as_str(), value.replace("{tenant}", tenant)))
            .collect()
    }

    /// The response to a dead refresh token, if it is not that of RFC 6749.
    pub(super) fn dead(&self, headers: &HeaderMap) -> Option<SandboxResponse> {
        let recorded = self.0.record.dead.as_ref()?;
        Some(self.encoded(headers, status(recorded), &recorded.body))
    }

    /// The response to a refresh before the refresh window.
    pub(super) fn early(&self, headers: &HeaderMap) -> Option<SandboxResponse> {
        let recorded = self.0.record.early.as_ref()?;
        Some(self.encoded(headers, status(recorded), &recorded.body))
    }

    /// A successful token response: the members of RFC 6749 under the provider's names, and the
    /// provider's own members.
    pub(super) fn token_response(
        &self,
        headers: &HeaderMap,
        members: Map<String, Value>,
        tenant: &str,
    ) -> SandboxResponse {
        let PersonaData {
            provider, record, ..
        } = &*self.0;
        let mut response = Value::Object(record.response.clone());
        fill(&mut response, tenant);
        let has_refresh_token = members.get("refresh_token").is_some_and(Value::is_string);
        let expiry = record
            .refresh_token_lifetime
            .or(provider.refresh_token_lifetime)
            .filter(|_| record.refresh_token_expires_in && has_refresh_token)
            .map(|seconds| ("refresh_token_expires_in".to_owned(), Value::from(seconds)));
        for (name, value) in members.into_iter().chain(expiry) {
            let value = match (name.as_str(), provider.lifetime_unit, &value) {
                ("scope", ..) => {
                    let scopes = value.as_str().unwrap_or_default();
                    Value::from(scopes.replace(' ', &record.scope_separator))
                }
                (
                    "expires_in" | "refresh_token_expires_in",
                    LifetimeUnit::Milliseconds,
                    Value::Number(seconds),
                ) => Value::from(seconds.as_u64().unwrap_or_default().saturating_mul(1_000)),
                _ => value,
            };
            let path = provider.response_members.get(&name).unwrap_or(&name);
            put(&mut response, path, value);
        }
        self.encoded(headers, StatusCode::OK, &response)
    }

    /// JSON, or a form if the provider sends one to a client that does not accept JSON.
    fn encoded(&self, headers: &HeaderMap, status: StatusCode, value: &Value) -> SandboxResponse {
        let accept = headers.get(ACCEPT).map(HeaderValue::to_str);
        let accepts_json = matches!(accept, Some(Ok(types)) if types.contains("json"));
        if !self.0.record.form_response || accepts_json {
            return response::json(status, value);
        }
        let mut form = form_urlencoded::Serializer::new(String::new());
        for (name, value) in value.as_object().into_iter().flatten() {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            form.append_pair(name, &text);
        }
        response::form(status, form.finish())
    }
}

impl fmt::Debug for Persona {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Persona")
            .field("token_endpoint", &self.0.provider.token_endpoint)
            .finish_non_exhaustive()
    }
}

/// A provider file or a record cannot be read.
#[derive(Debug)]
pub struct PersonaError(serde_json::Error);

impl fmt::Display for PersonaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the persona cannot be read from its files")
    }
}

impl Error for PersonaError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

impl From<serde_json::Error> for PersonaError {
    fn from(error: serde_json::Error) -> Self {
        Self(error)
    }
}

fn status(recorded: &RecordedResponse) -> StatusCode {
    StatusCode::from_u16(recorded.status).unwrap_or(StatusCode::BAD_REQUEST)
}

/// Replaces `{tenant}` in each text.
fn fill(value: &mut Value, tenant: &str) {
    match value {
        Value::String(text) => *text = text.replace("{tenant}", tenant),
        Value::Array(values) => values.iter_mut().for_each(|value| fill(value, tenant)),
        Value::Object(members) => members.values_mut().for_each(|value| fill(value, tenant)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Puts a value at a path of nested members.
fn put(object: &mut Value, path: &str, value: Value) {
    let mut place = object;
    for name in path.split('.') {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        let Value::Object(members) = place else {
            return;
        };
        place = members.entry(name).or_insert(Value::Null);
    }
    *place = value;
}

#[cfg(test)]
mod tests;
