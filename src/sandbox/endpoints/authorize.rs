//! `GET /oauth/authorize`, and the forms of its pages.

use http::{HeaderMap, StatusCode, request::Parts};

use super::{
    consent_page::{consent_page, login_page},
    form_post::form_post_page,
    html::error_page,
    page_form,
};
use crate::sandbox::{
    authority::{AuthorizationRequest, CodeChallenge, Decision, ResponseMode},
    behavior::{Consent, Pkce, PushedAuthorization},
    client::ClientRegistration,
    event::EventKind,
    form::Form,
    persona::Persona,
    request_body::RequestBody,
    response::{self, ResponseResult, SandboxResponse},
    scope::Scopes,
    state::{SandboxState, SharedState},
};

/// Decides an authorization request at once, or shows the login page. `tenant` is the one that the
/// address names.
pub(super) fn start(
    shared: &SharedState,
    parts: &Parts,
    tenant: Option<String>,
) -> SandboxResponse {
    if parts.uri.query().unwrap_or_default().len() > MAX_QUERY {
        let message = "The authorization request is longer than 8 KiB.";
        return error_page(StatusCode::URI_TOO_LONG, message);
    }
    let mut state = shared.lock();
    let mut query = Form::parse(parts.uri.query().unwrap_or_default().as_bytes());
    let persona = shared.persona.as_ref();
    if let Some(persona) = persona {
        query = query.with_standard_names(persona.parameter_names());
        let mut required = persona.required_parameters("authorization");
        if required.any(|(name, value)| query.raw_field(name) != Some(value)) {
            let message = "A parameter that this provider requires is missing.";
            return error_page(StatusCode::BAD_REQUEST, message);
        }
    }
    let separator = persona.map_or(" ", Persona::scope_separator);
    let request = match requested(&query, &mut state, separator) {
        Ok(request) => AuthorizationRequest {
            tenant: persona.map(|_| tenant.unwrap_or_else(|| state.tenant.clone())),
            ..request
        },
        Err(RequestError::Page(message)) => return error_page(StatusCode::BAD_REQUEST, message),
        Err(RequestError::Callback(callback, error)) => {
            return callback.error(StatusCode::FOUND, error);
        }
    };
    let decision = match state.behavior.consent {
        Consent::Allow => Decision::Allow,
        Consent::Deny => Decision::Deny,
        Consent::Page => {
            let name = client_name(&state, &request);
            let now = state.now();
            let consent_id = state.authority.start_consent(request, now);
            return login_page(StatusCode::OK, &consent_id, &name, None);
        }
    };
    let attached = parts.extensions.get::<Decision>().copied();
    finish(
        &mut state,
        persona,
        request,
        attached.unwrap_or(decision),
        StatusCode::FOUND,
    )
}

/// The request that a client has pushed, or that the query contains.
fn requested(
    query: &Form,
    state: &mut SandboxState,
    separator: &str,
) -> Result<AuthorizationRequest, RequestError> {
    let may_be_pushed = state.behavior.pushed_authorization != PushedAuthorization::Off;
    if may_be_pushed && let Some(request_uri) = query.field("request_uri") {
        // RFC 9126, section 4: everything else was pushed.
        if query.has_repeated() || !query.has_only(&["client_id", "request_uri"]) {
            return Err(RequestError::Page(
                "Beside the request_uri, only the client_id is sent, and each once.",
            ));
        }
        let now = state.now();
        let client_id = query.field("client_id").unwrap_or_default();
        let pushed = state.authority.take_pushed(request_uri, client_id, now);
        return pushed.ok_or(RequestError::Page(
            "The request_uri is unknown, was used, has expired, or is another client's.",
        ));
    }
    let request = read_request(query, state, separator)?;
    if state.behavior.pushed_authorization == PushedAuthorization::Required {
        let callback = Callback {
            redirect_uri: request.redirect_uri,
            mode: request.response_mode,
            state: request.state,
            issuer: state.behavior.issuer.clone(),
        };
        let error = (
            "invalid_request",
            "the authorization request was not pushed",
        );
        return Err(RequestError::Callback(callback, error));
    }
    Ok(request)
}

/// Processes the form of the login page.
pub(super) async fn log_in(
    shared: &SharedState,
    headers: &HeaderMap,
    body: RequestBody,
) -> ResponseResult {
    let form = page_form::read(headers, body).await?;
    let mut state = shared.lock();
    let now = state.now();
    let consent_id = form.field("consent").unwrap_or_default();
    let Some(request) = state.authority.pending_consent(consent_id, now) else {
        return Ok(error_page(StatusCode::BAD_REQUEST, EXPIRED));
    };
    let name = client_name(&state, &request);
    if form.field("email").is_none() || form.field("password").is_none() {
        let hint = "Please enter an email address and a password.";
        let status = StatusCode::BAD_REQUEST;
        return Ok(login_page(status, consent_id, &name, Some(hint)));
    }
    state.authority.log_in(consent_id);
    Ok(consent_page(consent_id, &name, &request.scopes))
}

/// Processes the form of the consent page.
pub(super) async fn decide(
    shared: &SharedState,
    headers: &HeaderMap,
    body: RequestBody,
) -> ResponseResult {
    let form = page_form::read(headers, body).await?;
    let decision = page_form::decision(&form)?;
    let mut state = shared.lock();
    let now = state.now();
    let consent_id = form.field("consent").unwrap_or_default();
    let Some(mut request) = state.authority.finish_consent(consent_id, now) else {
        return Ok(error_page(StatusCode::BAD_REQUEST, EXPIRED));
    };
    if form.field("sensitive").is_none() {
        request.scopes = request.scopes.without_sensitive();
    }
    // RFC 9700, section 4.12: only a 303 reliably turns the POST of the form into a GET.
    let status = StatusCode::SEE_OTHER;
    let persona = shared.persona.as_ref();
    Ok(finish(&mut state, persona, request, decision, status))
}

fn client_name(state: &SandboxState, request: &AuthorizationRequest) -> String {
    let client = state.authority.client(&request.client_id);
    client.map(|client| client.name.clone()).unwrap_or_default()
}

/// Sends the browser to the client with a code or an error.
fn finish(
    state: &mut SandboxState,
    persona: Option<&Persona>,
    request: AuthorizationRequest,
    decision: Decision,
    status: StatusCode,
) -> SandboxResponse {
    let now = state.now();
    let allowed = match decision {
        Decision::Allow => state.authority.allow(&request, &state.behavior, now),
        Decision::Deny => None,
    };
    let callback = Callback {
        redirect_uri: request.redirect_uri,
        mode: request.response_mode,
        state: request.state,
        issuer: state.behavior.issuer.clone(),
    };
    let client_id = request.client_id;
    let Some((code, scopes)) = allowed else {
        state.record(EventKind::ConsentDenied { client_id });
        return callback.error(status, ("access_denied", "no access was granted"));
    };
    state.record(EventKind::ConsentGranted {
        client_id,
        scope: scopes.to_string(),
    });
    let Some(persona) = persona else {
        return callback.respond(status, &[("code", &code)]);
    };
    let further = persona.callback_parameters(request.tenant.as_deref().unwrap_or_default());
    let mut fields = vec![(persona.code_parameter(), code.as_str())];
    fields.extend(further.iter().map(|(name, value)| (*name, value.as_str())));
    callback.respond(status, &fields)
}

/// Why an authorization request is refused.
pub(super) enum RequestError {
    /// The redirect URI cannot be trusted, so a page shows the error (RFC 6749, section 4.1.2.1).
    Page(&'static str),
    /// The callback reports the error to the client.
    Callback(Callback, OAuthError),
}

/// An OAuth error code and its description.
pub(super) type OAuthError = (&'static str, &'static str);

/// How the browser gets to the client.
pub(super) struct Callback {
    redirect_uri: String,
    mode: ResponseMode,
    state: Option<String>,
    issuer: Option<String>,
}

impl Callback {
    fn error(&self, status: StatusCode, (error, description): OAuthError) -> SandboxResponse {
        let fields = [("error", error), ("error_description", description)];
        self.respond(status, &fields)
    }

    /// Responds with a redirect of this status, or with the page of a form.
    fn respond(&self, status: StatusCode, fields: &[(&str, &str)]) -> SandboxResponse {
        let mut fields = fields.to_vec();
        fields.extend(self.state.as_deref().map(|state| ("state", state)));
        fields.extend(self.issuer.as_deref().map(|issuer| ("iss", issuer)));
        let url = self.url(&fields);
        match self.mode {
            ResponseMode::FormPost => form_post_page(&self.redirect_uri, &fields, url),
            ResponseMode::Query => response::redirect(status, &url).unwrap_or_else(|| {
                error_page(
                    StatusCode::BAD_REQUEST,
                    "The registered redirect URI is not a valid header value.",
                )
            }),
        }
    }

    /// The redirect URI with the fields in its query.
    fn url(&self, fields: &[(&str, &str)]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(fields);
        // RFC 6749, section 3.1.2: the query of the redirect URI is retained.
        let separator = if self.redirect_uri.contains('?') {
            '&'
        } else {
            '?'
        };
        format!("{}{separator}{}", self.redirect_uri, query.finish())
    }
}

pub(super) fn read_request(
    query: &Form,
    state: &SandboxState,
    separator: &str,
) -> Result<AuthorizationRequest, RequestError> {
    if query.repeats("client_id") || query.repeats("redirect_uri") {
        return Err(RequestError::Page(
            "The client_id or redirect_uri was sent more than once.",
        ));
    }
    let client = query
        .field("client_id")
        .and_then(|client_id| state.authority.client(client_id))
        .ok_or(RequestError::Page("The client_id is unknown."))?;
    let redirect_uri = redirect_uri(query, client).map_err(RequestError::Page)?;
    let callback = Callback {
        redirect_uri: redirect_uri.to_owned(),
        mode: response_mode(query).unwrap_or_default(),
        // Of two values, neither can be trusted.
        state: query
            .field("state")
            .filter(|_| !query.repeats("state"))
            .map(str::to_owned),
        issuer: state.behavior.issuer.clone(),
    };
    match read_parameters(query, client, state.behavior.pkce, separator) {
        Ok((scopes, challenge)) => Ok(AuthorizationRequest {
            client_id: client.client_id.clone(),
            redirect_uri: callback.redirect_uri,
            redirect_uri_sent: query.field("redirect_uri").is_some(),
            response_mode: callback.mode,
            scopes,
            state: callback.state,
            challenge,
            tenant: None,
        }),
        Err(error) => Err(RequestError::Callback(callback, error)),
    }
}

fn redirect_uri<'a>(query: &Form, client: &'a ClientRegistration) -> Result<&'a str, &'static str> {
    let registered = match (query.field("redirect_uri"), &client.redirect_uris[..]) {
        (Some(requested), registered) => registered
            .iter()
            .find(|registered| *registered == requested)
            .ok_or("The redirect URI is not registered for this client.")?,
        (None, [only]) => only,
        (None, _) => return Err("The client has several redirect URIs and named none of them."),
    };
    // RFC 6749, section 3.1.2: a code after a fragment would never reach the client.
    if registered.contains('#') {
        return Err("The client's redirect URI has a fragment.");
    }
    Ok(registered)
}

/// The response mode, or `None` if it is unknown. Of two values, neither counts.
fn response_mode(query: &Form) -> Option<ResponseMode> {
    match query.field("response_mode") {
        _ if query.repeats("response_mode") => None,
        None | Some("query") => Some(ResponseMode::Query),
        Some("form_post") => Some(ResponseMode::FormPost),
        Some(_) => None,
    }
}

/// Reads the parameters whose errors a callback reports to the client.
fn read_parameters(
    query: &Form,
    client: &ClientRegistration,
    pkce: Pkce,
    separator: &str,
) -> Result<(Scopes, Option<CodeChallenge>), OAuthError> {
    if query.has_repeated() {
        return Err(("invalid_request", "a parameter was sent more than once"));
    }
    match query.field("response_type") {
        Some("code") => {}
        Some(_) => return Err(("unsupported_response_type", "response_type is not code")),
        None => return Err(("invalid_request", "response_type is missing")),
    }
    if response_mode(query).is_none() {
        return Err((
            "invalid_request",
            "response_mode is neither query nor form_post",
        ));
    }
    let scopes = match query.field("scope") {
        Some(requested) if separator == " " => Scopes::parse(requested),
        Some(requested) => requested.split(separator).collect(),
        None => client.scopes.clone(),
    };
    if scopes.is_empty() || !client.scopes.allows_all(&scopes) {
        return Err((
            "invalid_scope",
            "a scope is unknown or not registered for the client",
        ));
    }
    let challenge = match pkce {
        Pkce::Ignored => None,
        Pkce::Verified => read_challenge(query)?,
        Pkce::Required => match read_challenge(query)? {
            Some(challenge @ CodeChallenge::S256(_)) => Some(challenge),
            _ => return Err(("invalid_request", "an S256 code_challenge is required")),
        },
    };
    Ok((scopes, challenge))
}

/// Reads the PKCE challenge (RFC 7636, section 4.3).
fn read_challenge(query: &Form) -> Result<Option<CodeChallenge>, OAuthError> {
    let method = query.field("code_challenge_method");
    let Some(challenge) = query.field("code_challenge") else {
        return match method {
            Some(_) => Err(("invalid_request", "code_challenge is missing")),
            None => Ok(None),
        };
    };
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if !(43..=128).contains(&challenge.len()) || !challenge.bytes().all(unreserved) {
        return Err((
            "invalid_request",
            "code_challenge is not 43 to 128 unreserved characters",
        ));
    }
    match method {
        None | Some("plain") => Ok(Some(CodeChallenge::Plain(challenge.to_owned()))),
        Some("S256") => Ok(Some(CodeChallenge::S256(challenge.to_owned()))),
        Some(_) => Err((
            "invalid_request",
            "code_challenge_method is neither S256 nor plain",
        )),
    }
}

/// The longest authorization request. The pages keep it until the user has decided.
const MAX_QUERY: usize = 8 * 1024;

const EXPIRED: &str = "This page was already used, or has expired. Please start again.";
