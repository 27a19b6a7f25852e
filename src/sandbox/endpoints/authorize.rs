//! `GET /oauth/authorize`, and the forms a person fills in there.

use http::request::Parts;
use http::{HeaderMap, StatusCode};

use super::page::{consent_page, error_page, log_in_page};
use super::read_form;
use crate::sandbox::answer::{self, Answer};
use crate::sandbox::authority::{AuthorizationRequest, CodeChallenge};
use crate::sandbox::behavior::{Consent, Pkce};
use crate::sandbox::body::RequestBody;
use crate::sandbox::client::ClientRegistration;
use crate::sandbox::event::EventKind;
use crate::sandbox::form::Form;
use crate::sandbox::scope::Scopes;
use crate::sandbox::state::{Shared, State};

/// A decision that comes with a request, which only a caller in this process can attach as an extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sandbox) enum Decision {
    Allow,
    Deny,
}

/// An authorization request: answered at once, or by a page.
pub(super) fn request(shared: &Shared, request: &Parts) -> Answer {
    let mut state = shared.lock();
    let query = Form::parse(request.uri.query().unwrap_or_default().as_bytes());
    let asked = match read_request(&query, &state) {
        Ok(asked) => asked,
        Err(Wrong::Page(why)) => return error_page(StatusCode::BAD_REQUEST, why),
        Err(Wrong::Redirect(back, error, why)) => {
            return back.refuse(StatusCode::FOUND, error, why);
        }
    };
    let decision = match state.behavior.consent {
        Consent::Allow => Decision::Allow,
        Consent::Deny => Decision::Deny,
        Consent::Page => {
            let name = app_name(&state, &asked);
            let now = state.now();
            let consent = state.authority.wait(asked, now);
            return log_in_page(StatusCode::OK, &consent, &name, None);
        }
    };
    let attached = request.extensions.get::<Decision>().copied();
    conclude(
        &mut state,
        asked,
        attached.unwrap_or(decision),
        StatusCode::FOUND,
    )
}

/// The first form: who is there.
pub(super) async fn log_in(shared: &Shared, headers: &HeaderMap, body: RequestBody) -> Answer {
    let form = match read_form(headers, body).await {
        Ok(form) => form,
        Err(not_a_form) => return not_a_form.page(),
    };
    if form.repeated().is_some() {
        return error_page(StatusCode::BAD_REQUEST, REPEATED);
    }
    let mut state = shared.lock();
    let now = state.now();
    let consent = form.field("consent").unwrap_or_default();
    let Some(asked) = state.authority.waiting(consent, now) else {
        return error_page(StatusCode::BAD_REQUEST, GONE);
    };
    let name = app_name(&state, &asked);
    if form.field("email").is_none() || form.field("password").is_none() {
        let hint = "Please give an email address and a password.";
        return log_in_page(StatusCode::BAD_REQUEST, consent, &name, Some(hint));
    }
    state.authority.log_in(consent);
    consent_page(consent, &name, &asked.scopes)
}

/// The second form: what they say.
pub(super) async fn decide(shared: &Shared, headers: &HeaderMap, body: RequestBody) -> Answer {
    let form = match read_form(headers, body).await {
        Ok(form) => form,
        Err(not_a_form) => return not_a_form.page(),
    };
    if form.repeated().is_some() {
        return error_page(StatusCode::BAD_REQUEST, REPEATED);
    }
    let decision = match form.field("decision") {
        Some("allow") => Decision::Allow,
        Some("deny") => Decision::Deny,
        _ => {
            return error_page(
                StatusCode::BAD_REQUEST,
                "The decision is neither allow nor deny.",
            );
        }
    };
    let mut state = shared.lock();
    let now = state.now();
    let consent = form.field("consent").unwrap_or_default();
    let Some(mut asked) = state.authority.decided(consent, now) else {
        return error_page(StatusCode::BAD_REQUEST, GONE);
    };
    if form.field("sensitive").is_none() {
        asked.scopes = asked.scopes.without_sensitive();
    }
    // RFC 9700, 4.12: only a 303 is sure to turn the form's POST, password and all, into a GET.
    conclude(&mut state, asked, decision, StatusCode::SEE_OTHER)
}

fn app_name(state: &State, asked: &AuthorizationRequest) -> String {
    let app = state.authority.app(&asked.client_id);
    app.map(|app| app.name.clone()).unwrap_or_default()
}

/// Sends the person back to the app with a code or an error.
fn conclude(
    state: &mut State,
    asked: AuthorizationRequest,
    decision: Decision,
    status: StatusCode,
) -> Answer {
    let now = state.now();
    let allowed = match decision {
        Decision::Allow => state.authority.allow(&asked, &state.behavior, now),
        Decision::Deny => None,
    };
    let back = Back {
        redirect_uri: asked.redirect_uri,
        state: asked.state,
        issuer: state.behavior.issuer.clone(),
    };
    let client_id = asked.client_id;
    let Some((code, scopes)) = allowed else {
        state.record(EventKind::ConsentDenied { client_id });
        return back.refuse(status, "access_denied", "nothing was granted");
    };
    state.record(EventKind::ConsentGranted {
        client_id,
        scope: scopes.to_string(),
    });
    back.with(status, &[("code", &code)])
}

/// What is wrong with an authorization request.
enum Wrong {
    /// Its redirect URI cannot be trusted, so the person is told (RFC 6749, 4.1.2.1).
    Page(&'static str),
    /// The app is told: an error code, and why.
    Redirect(Back, &'static str, &'static str),
}

/// The way back to the app.
struct Back {
    redirect_uri: String,
    state: Option<String>,
    issuer: Option<String>,
}

impl Back {
    fn refuse(&self, status: StatusCode, error: &str, why: &str) -> Answer {
        self.with(status, &[("error", error), ("error_description", why)])
    }

    fn with(&self, status: StatusCode, fields: &[(&str, &str)]) -> Answer {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(fields);
        if let Some(state) = &self.state {
            query.append_pair("state", state);
        }
        if let Some(issuer) = &self.issuer {
            query.append_pair("iss", issuer);
        }
        // RFC 6749, 3.1.2: a query that the redirect URI has is kept.
        let separator = if self.redirect_uri.contains('?') {
            '&'
        } else {
            '?'
        };
        let location = format!("{}{separator}{}", self.redirect_uri, query.finish());
        answer::redirect(status, &location).unwrap_or_else(|| {
            error_page(
                StatusCode::BAD_REQUEST,
                "The app's registered redirect URI cannot stand in a header.",
            )
        })
    }
}

fn read_request(query: &Form, state: &State) -> Result<AuthorizationRequest, Wrong> {
    if query.repeats("client_id") || query.repeats("redirect_uri") {
        return Err(Wrong::Page(
            "The app named itself or its redirect URI twice.",
        ));
    }
    let app = query
        .field("client_id")
        .and_then(|client_id| state.authority.app(client_id))
        .ok_or(Wrong::Page("The app is unknown."))?;
    let redirect_uri = redirect_uri(query, app).map_err(Wrong::Page)?;
    let back = Back {
        redirect_uri: redirect_uri.to_owned(),
        // Of two, neither is the one to trust.
        state: query
            .field("state")
            .filter(|_| !query.repeats("state"))
            .map(str::to_owned),
        issuer: state.behavior.issuer.clone(),
    };
    match read_rest(query, app, state.behavior.pkce) {
        Ok((scopes, challenge)) => Ok(AuthorizationRequest {
            client_id: app.client_id.clone(),
            redirect_uri: back.redirect_uri,
            redirect_uri_sent: query.field("redirect_uri").is_some(),
            scopes,
            state: back.state,
            challenge,
        }),
        Err((error, why)) => Err(Wrong::Redirect(back, error, why)),
    }
}

fn redirect_uri<'a>(query: &Form, app: &'a ClientRegistration) -> Result<&'a str, &'static str> {
    let registered = registered_redirect_uri(query, app)?;
    // RFC 6749, 3.1.2: a code behind a fragment would never reach the app.
    if registered.contains('#') {
        return Err("The app's redirect URI has a fragment.");
    }
    Ok(registered)
}

fn registered_redirect_uri<'a>(
    query: &Form,
    app: &'a ClientRegistration,
) -> Result<&'a str, &'static str> {
    match (query.field("redirect_uri"), &app.redirect_uris[..]) {
        (Some(asked), registered) => registered
            .iter()
            .find(|registered| *registered == asked)
            .map(String::as_str)
            .ok_or("The redirect URI is not one that the app has registered."),
        (None, [only]) => Ok(only),
        (None, _) => Err("The app did not say which of its redirect URIs to use."),
    }
}

type Complaint = (&'static str, &'static str);

/// Everything that the app can be told about.
fn read_rest(
    query: &Form,
    app: &ClientRegistration,
    pkce: Pkce,
) -> Result<(Scopes, Option<CodeChallenge>), Complaint> {
    if query.repeated().is_some() {
        return Err(("invalid_request", "a parameter was sent more than once"));
    }
    match query.field("response_type") {
        Some("code") => {}
        Some(_) => return Err(("unsupported_response_type", "response_type is not code")),
        None => return Err(("invalid_request", "response_type is missing")),
    }
    let scopes = match query.field("scope") {
        Some(asked) => Scopes::parse(asked),
        None => app.scopes.clone(),
    };
    if scopes.is_empty() || !app.scopes.allows_all(&scopes) {
        return Err((
            "invalid_scope",
            "a scope is unknown or not registered for the app",
        ));
    }
    let challenge = match pkce {
        Pkce::Ignored => None,
        Pkce::Verified => challenge(query)?,
        Pkce::Required => match challenge(query)? {
            Some(challenge @ CodeChallenge::S256(_)) => Some(challenge),
            _ => return Err(("invalid_request", "an S256 code_challenge is required")),
        },
    };
    Ok((scopes, challenge))
}

/// RFC 7636, 4.3
fn challenge(query: &Form) -> Result<Option<CodeChallenge>, Complaint> {
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

const REPEATED: &str = "A field was sent more than once.";
const GONE: &str =
    "This page has been used, or was left open too long. Please start again from the app.";
