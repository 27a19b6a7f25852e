//! `POST /v1/oauth/revoke` (RFC 7009)

use http::{HeaderMap, StatusCode};

use super::client_authentication::{ClientError, authenticate, process_form};
use crate::sandbox::{
    authority::Revocation,
    event::{EventKind, TokenHash},
    form::Form,
    request_body::RequestBody,
    response::{self, SandboxResponse},
    state::{SandboxState, SharedState},
};

/// Processes a revocation request.
pub(super) async fn process(
    shared: &SharedState,
    headers: &HeaderMap,
    body: RequestBody,
) -> SandboxResponse {
    process_form(shared, headers, body, |state, form| {
        revoke(state, headers, form).map(|()| response::empty(StatusCode::OK))
    })
    .await
}

fn revoke(state: &mut SandboxState, headers: &HeaderMap, form: &Form) -> Result<(), ClientError> {
    let client_id = authenticate(headers, form, state)?;
    // RFC 7009, section 2.2: a wrong or unknown `token_type_hint` must not affect the response.
    let Some(token) = form.field("token") else {
        return Err(ClientError::invalid_request("token is missing"));
    };
    let known = match state.authority.revoke(token, &client_id, &state.behavior) {
        Revocation::Revoked => true,
        Revocation::UnknownToken if state.behavior.unknown_revocation_succeeds => false,
        Revocation::UnknownToken => {
            return Err(ClientError::invalid_request("the token is unknown"));
        }
        Revocation::WrongClient => {
            let description = "the token was issued to another client";
            return Err(ClientError::new("invalid_grant", description));
        }
    };
    state.record(EventKind::RevocationRequested {
        token: TokenHash::of(token),
        known,
    });
    Ok(())
}
