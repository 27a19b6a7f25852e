//! Client authentication at the token and revocation endpoints.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::NotAForm;
use crate::sandbox::answer::{self, Answer};
use crate::sandbox::behavior::ClientAuthentication;
use crate::sandbox::form::Form;
use crate::sandbox::state::State;

/// A refused request, as RFC 6749, 5.2 words it.
pub(super) struct ClientError {
    pub(super) error: &'static str,
    status: StatusCode,
    description: &'static str,
    /// Whether to name HTTP Basic, which only a server that takes it may.
    basic: bool,
}

impl ClientError {
    /// An error answered with 400.
    pub(super) fn new(error: &'static str, description: &'static str) -> Self {
        Self {
            error,
            status: StatusCode::BAD_REQUEST,
            description,
            basic: false,
        }
    }

    pub(super) fn invalid_request(description: &'static str) -> Self {
        Self::new("invalid_request", description)
    }

    fn invalid_client(description: &'static str, basic: bool) -> Self {
        Self {
            error: "invalid_client",
            status: StatusCode::UNAUTHORIZED,
            description,
            basic,
        }
    }

    pub(super) fn answer(&self) -> Answer {
        let answer = answer::error(self.status, self.error, self.description);
        if self.basic {
            answer::challenged(answer, &[r#"Basic realm="justworks""#])
        } else {
            answer
        }
    }
}

impl From<NotAForm> for ClientError {
    fn from(not_a_form: NotAForm) -> Self {
        Self {
            status: not_a_form.status,
            ..Self::invalid_request(not_a_form.why)
        }
    }
}

/// The client id of an app that has proved who it is.
pub(super) fn authenticate(
    headers: &HeaderMap,
    form: &Form,
    state: &State,
) -> Result<String, ClientError> {
    if form.repeated().is_some() {
        return Err(ClientError::invalid_request(
            "a field was sent more than once",
        ));
    }
    let mut authorizations = headers.get_all(AUTHORIZATION).iter();
    match (authorizations.next(), authorizations.next()) {
        (None, _) => by_form(form, state),
        (Some(authorization), None) => by_header(authorization, form, state),
        (Some(_), Some(_)) => Err(ClientError::invalid_request(
            "credentials were sent in more than one header",
        )),
    }
}

fn by_form(form: &Form, state: &State) -> Result<String, ClientError> {
    let invalid = |why| Err(ClientError::invalid_client(why, takes_basic(state)));
    let Some(client_id) = form.field("client_id") else {
        return invalid("client_id is missing");
    };
    let Some(client_secret) = form.field("client_secret") else {
        return invalid("client_secret is missing");
    };
    if state.authority.authenticates(client_id, client_secret) {
        Ok(client_id.to_owned())
    } else {
        invalid("the client or its secret is unknown")
    }
}

fn takes_basic(state: &State) -> bool {
    state.behavior.client_authentication == ClientAuthentication::BodyOrBasic
}

fn by_header(
    authorization: &HeaderValue,
    form: &Form,
    state: &State,
) -> Result<String, ClientError> {
    if !takes_basic(state) {
        let description = "credentials belong in the form, not in a header";
        return Err(ClientError::invalid_client(description, false));
    }
    if form.field("client_secret").is_some() {
        return Err(ClientError::invalid_request(
            "credentials were sent in two ways",
        ));
    }
    let unknown = ClientError::invalid_client("the client or its secret is unknown", true);
    let Some((client_id, client_secret)) = basic_credentials(authorization) else {
        return Err(unknown);
    };
    let agrees = form
        .field("client_id")
        .is_none_or(|named| named == client_id);
    if agrees && state.authority.authenticates(&client_id, &client_secret) {
        Ok(client_id)
    } else {
        Err(unknown)
    }
}

/// RFC 6749, 2.3.1: both halves are form-encoded before they are joined.
fn basic_credentials(authorization: &HeaderValue) -> Option<(String, String)> {
    let (scheme, encoded) = authorization.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (client_id, client_secret) = decoded.split_once(':')?;
    Some((form_decoded(client_id), form_decoded(client_secret)))
}

fn form_decoded(text: &str) -> String {
    // A name without a value is the whole text once the two separators, which a client should have escaped, are.
    let escaped = text.replace('&', "%26").replace('=', "%3D");
    form_urlencoded::parse(escaped.as_bytes())
        .next()
        .map(|(name, _)| name.into_owned())
        .unwrap_or_default()
}
