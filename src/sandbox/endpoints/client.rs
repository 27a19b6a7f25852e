//! Client authentication at the token and revocation endpoints.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode};

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
    /// Whether to name the scheme the client used in `Authorization`.
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
    if headers.contains_key(AUTHORIZATION) {
        return by_header(headers, form, state);
    }
    let Some(client_id) = form.field("client_id") else {
        return Err(ClientError::invalid_client("client_id is missing", false));
    };
    let Some(client_secret) = form.field("client_secret") else {
        return Err(ClientError::invalid_client(
            "client_secret is missing",
            false,
        ));
    };
    if state.authority.authenticates(client_id, client_secret) {
        Ok(client_id.to_owned())
    } else {
        Err(ClientError::invalid_client(
            "the client or its secret is unknown",
            false,
        ))
    }
}

fn by_header(headers: &HeaderMap, form: &Form, state: &State) -> Result<String, ClientError> {
    if state.behavior.client_authentication == ClientAuthentication::Body {
        let description = "credentials belong in the form, not in a header";
        return Err(ClientError::invalid_client(description, true));
    }
    if form.field("client_secret").is_some() {
        return Err(ClientError::invalid_request(
            "credentials were sent in two ways",
        ));
    }
    let unknown = ClientError::invalid_client("the client or its secret is unknown", true);
    let Some((client_id, client_secret)) = basic_credentials(headers) else {
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
fn basic_credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, encoded) = value.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (client_id, client_secret) = decoded.split_once(':')?;
    Some((form_decoded(client_id), form_decoded(client_secret)))
}

fn form_decoded(text: &str) -> String {
    // A name without a value is the whole text, unless it holds the two separators, which encoding removes.
    form_urlencoded::parse(text.as_bytes())
        .next()
        .map(|(name, _)| name.into_owned())
        .unwrap_or_default()
}
