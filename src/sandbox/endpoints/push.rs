//! `POST /oauth/par` (RFC 9126)

use http::{HeaderMap, StatusCode};
use serde_json::json;

use super::{
    authorize::{RequestError, read_request},
    client_authentication::{ClientError, authenticate, process_form},
};
use crate::sandbox::{
    event::EventKind,
    form::Form,
    request_body::RequestBody,
    response::{self, SandboxResponse},
    state::{SandboxState, SharedState},
};

/// Processes a pushed authorization request.
pub(super) async fn process(
    shared: &SharedState,
    headers: &HeaderMap,
    body: RequestBody,
) -> SandboxResponse {
    process_form(shared, headers, body, |state, form| {
        push(state, headers, form)
    })
    .await
}

fn push(
    state: &mut SandboxState,
    headers: &HeaderMap,
    form: &Form,
) -> Result<SandboxResponse, ClientError> {
    let client_id = authenticate(headers, form, state)?;
    if form.raw_field("request_uri").is_some() {
        // RFC 9126, section 2.1.
        return Err(ClientError::invalid_request("request_uri cannot be pushed"));
    }
    if form.field("client_id") != Some(client_id.as_str()) {
        return Err(ClientError::invalid_request(
            "client_id is missing, or not that of the client",
        ));
    }
    let request = read_request(form, state, " ").map_err(|error| match error {
        RequestError::Page(description) => ClientError::invalid_request(description),
        RequestError::Callback(_, (error, description)) => ClientError::new(error, description),
    })?;
    let now = state.now();
    let lifetime = state.behavior.request_uri_lifetime;
    let expires_at = now.saturating_add(lifetime);
    let request_uri = state.authority.push(request, expires_at, now);
    state.record(EventKind::AuthorizationRequestPushed { client_id });
    Ok(response::json(
        StatusCode::CREATED,
        &json!({ "request_uri": request_uri, "expires_in": lifetime.as_secs() }),
    ))
}
