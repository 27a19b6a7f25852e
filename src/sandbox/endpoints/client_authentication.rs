//! Client authentication at the endpoints for clients.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, StatusCode, header::AUTHORIZATION};

use crate::sandbox::{
    assertion::{ASSERTION_TYPE, Assertion},
    behavior::{ClientAuthentication, MetadataDocuments},
    form::{Form, FormError},
    request_body::RequestBody,
    response::{self, SandboxResponse},
    state::{SandboxState, SharedState},
};

/// A refused request, in the terms of RFC 6749, section 5.2.
pub(super) struct ClientError {
    pub(super) error: &'static str,
    status: StatusCode,
    description: &'static str,
    /// Whether the response offers HTTP Basic. Only a server that accepts it may.
    offers_basic: bool,
    /// Whether an event already has the error.
    pub(super) is_recorded: bool,
}

impl ClientError {
    /// An error with status 400.
    pub(super) fn new(error: &'static str, description: &'static str) -> Self {
        Self {
            error,
            status: StatusCode::BAD_REQUEST,
            description,
            offers_basic: false,
            is_recorded: false,
        }
    }

    /// An error with status 400 that an event already has.
    pub(super) fn recorded(error: &'static str, description: &'static str) -> Self {
        Self {
            is_recorded: true,
            ..Self::new(error, description)
        }
    }

    pub(super) fn invalid_request(description: &'static str) -> Self {
        Self::new("invalid_request", description)
    }

    fn invalid_client(description: &'static str, offers_basic: bool) -> Self {
        Self {
            error: "invalid_client",
            status: StatusCode::UNAUTHORIZED,
            description,
            offers_basic,
            is_recorded: false,
        }
    }

    pub(super) fn response(&self) -> SandboxResponse {
        let response = response::error(self.status, self.error, self.description);
        if self.offers_basic {
            response::with_challenges(response, &[r#"Basic realm="justworks""#])
        } else {
            response
        }
    }
}

impl From<FormError> for ClientError {
    fn from(error: FormError) -> Self {
        Self {
            status: error.status,
            ..Self::invalid_request(error.description)
        }
    }
}

/// Processes the form of a client, and responds with its result or its error.
pub(super) async fn process_form(
    shared: &SharedState,
    headers: &HeaderMap,
    body: RequestBody,
    process: impl FnOnce(&mut SandboxState, &Form) -> Result<SandboxResponse, ClientError>,
) -> SandboxResponse {
    let form = Form::read(headers, body).await;
    let mut state = shared.lock();
    let outcome = form
        .map_err(ClientError::from)
        .and_then(|form| process(&mut state, &form));
    response::with_no_store(outcome.unwrap_or_else(|error| error.response()))
}

/// Returns the client id of an authenticated client.
pub(super) fn authenticate(
    headers: &HeaderMap,
    form: &Form,
    state: &mut SandboxState,
) -> Result<String, ClientError> {
    if form.has_repeated() {
        return Err(ClientError::invalid_request(
            "a field was sent more than once",
        ));
    }
    let mut authorizations = headers.get_all(AUTHORIZATION).iter();
    let has_assertion = ["client_assertion", "client_assertion_type"]
        .iter()
        .any(|name| form.raw_field(name).is_some());
    match (authorizations.next(), authorizations.next()) {
        (authorization, _) if has_assertion => {
            if authorization.is_some() || form.raw_field("client_secret").is_some() {
                return Err(ClientError::invalid_request(
                    "credentials were sent in two ways",
                ));
            }
            let outcome = authenticate_by_assertion(form, state);
            outcome.map_err(|description| {
                ClientError::invalid_client(description, accepts_basic(state))
            })
        }
        (None, _) => authenticate_by_form(form, state),
        (Some(authorization), None) => authenticate_by_header(authorization, form, state),
        (Some(_), Some(_)) => Err(ClientError::invalid_request(
            "the request has more than one Authorization header",
        )),
    }
}

fn authenticate_by_form(form: &Form, state: &SandboxState) -> Result<String, ClientError> {
    let invalid = |description| {
        Err(ClientError::invalid_client(
            description,
            accepts_basic(state),
        ))
    };
    let Some(client_id) = form.field("client_id") else {
        return invalid("client_id is missing");
    };
    match state.behavior.client_authentication {
        ClientAuthentication::Body | ClientAuthentication::BodyOrBasic => {}
        ClientAuthentication::Basic | ClientAuthentication::BasicRaw => {
            return invalid("credentials belong in a Basic header");
        }
        ClientAuthentication::None | ClientAuthentication::TlsClientAuth => {
            return if form.raw_field("client_secret").is_some() {
                invalid("a client without a secret sent one")
            } else if state.authority.client(client_id).is_some() {
                Ok(client_id.to_owned())
            } else {
                invalid("client_id is wrong")
            };
        }
        _ => return invalid("client_assertion_type and client_assertion are missing"),
    }
    let Some(client_secret) = form.field("client_secret") else {
        return invalid("client_secret is missing");
    };
    if state.authority.authenticates(client_id, client_secret) {
        Ok(client_id.to_owned())
    } else {
        invalid("client_id or client_secret is wrong")
    }
}

fn accepts_assertions(state: &SandboxState) -> bool {
    match state.behavior.client_authentication {
        ClientAuthentication::ClientSecretJwt => true,
        #[cfg(feature = "signing")]
        ClientAuthentication::PrivateKeyJwt => true,
        _ => false,
    }
}

/// Verifies a client assertion (RFC 7521, section 4.2, and RFC 7523, section 3).
fn authenticate_by_assertion(
    form: &Form,
    state: &mut SandboxState,
) -> Result<String, &'static str> {
    if !accepts_assertions(state) {
        return Err("client assertions are not accepted");
    }
    if form.field("client_assertion_type") != Some(ASSERTION_TYPE) {
        return Err("client_assertion_type is missing, or not that of a JSON Web Token");
    }
    let text = form.field("client_assertion");
    let assertion = Assertion::parse(text.ok_or("client_assertion is missing")?)?;
    let client_id = assertion.client_id();
    if form
        .field("client_id")
        .is_some_and(|named| named != client_id)
    {
        return Err("client_id is not the sub of the assertion");
    }
    let client = state.authority.client(client_id);
    let client = client.ok_or("the sub of the assertion is no client")?;
    assertion.verify(client, state.behavior.client_authentication)?;
    let audience = audience(state);
    let second = u64::try_from(state.wall_time().as_second()).unwrap_or_default();
    assertion.check(&audience, second)?;
    let now = state.now();
    let expires_at = now.saturating_add(assertion.remaining(second));
    let id = format!("client\n{client_id}\n{}", assertion.id());
    if state.authority.is_replayed(id, expires_at, now) {
        Err("the jti of the assertion was used before")
    } else {
        Ok(client_id.to_owned())
    }
}

/// The audience of assertions. A client that has read the metadata knows the issuer in them.
fn audience(state: &SandboxState) -> String {
    let SandboxState { behavior, url, .. } = state;
    let issuer = match behavior.metadata {
        MetadataDocuments::None => behavior.issuer.as_ref(),
        _ => Some(behavior.issuer.as_ref().unwrap_or(url)),
    };
    let audience = behavior.assertion_audience.as_ref().or(issuer);
    audience.map_or_else(|| format!("{url}/oauth/token"), Clone::clone)
}

fn accepts_basic(state: &SandboxState) -> bool {
    matches!(
        state.behavior.client_authentication,
        ClientAuthentication::BodyOrBasic
            | ClientAuthentication::Basic
            | ClientAuthentication::BasicRaw
    )
}

fn authenticate_by_header(
    authorization: &HeaderValue,
    form: &Form,
    state: &SandboxState,
) -> Result<String, ClientError> {
    if !accepts_basic(state) {
        let description = "credentials belong in the form, not in a header";
        return Err(ClientError::invalid_client(description, false));
    }
    if form.field("client_secret").is_some() {
        return Err(ClientError::invalid_request(
            "credentials were sent in two ways",
        ));
    }
    let wrong = ClientError::invalid_client("client_id or client_secret is wrong", true);
    let is_raw = state.behavior.client_authentication == ClientAuthentication::BasicRaw;
    let Some((client_id, client_secret)) = basic_credentials(authorization, is_raw) else {
        return Err(wrong);
    };
    let agrees = form
        .field("client_id")
        .is_none_or(|named| named == client_id);
    if agrees && state.authority.authenticates(&client_id, &client_secret) {
        Ok(client_id)
    } else {
        Err(wrong)
    }
}

/// Decodes HTTP Basic. Both parts are form-encoded (RFC 6749, section 2.3.1), unless they are raw.
fn basic_credentials(authorization: &HeaderValue, is_raw: bool) -> Option<(String, String)> {
    let (scheme, encoded) = authorization.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (client_id, client_secret) = decoded.split_once(':')?;
    if is_raw {
        return Some((client_id.to_owned(), client_secret.to_owned()));
    }
    Some((form_decoded(client_id), form_decoded(client_secret)))
}

fn form_decoded(text: &str) -> String {
    // With both separators escaped, which the client should have done, the text is one name.
    let escaped = text.replace('&', "%26").replace('=', "%3D");
    form_urlencoded::parse(escaped.as_bytes())
        .next()
        .map(|(name, _)| name.into_owned())
        .unwrap_or_default()
}
