//! `POST /v1/oauth/revoke` (RFC 7009)

use http::{HeaderMap, StatusCode};

use super::client::{ClientError, authenticate};
use super::read_form;
use crate::sandbox::answer::{self, Answer};
use crate::sandbox::authority::Revocation;
use crate::sandbox::body::RequestBody;
use crate::sandbox::event::{EventKind, TokenHash};
use crate::sandbox::form::Form;
use crate::sandbox::state::{Shared, State};

pub(super) async fn revoke(shared: &Shared, headers: &HeaderMap, body: RequestBody) -> Answer {
    let form = read_form(headers, body).await;
    let mut state = shared.lock();
    let outcome = form
        .map_err(ClientError::from)
        .and_then(|form| revoked(&mut state, headers, &form));
    answer::not_stored(match outcome {
        Ok(()) => answer::empty(StatusCode::OK),
        Err(error) => error.answer(),
    })
}

fn revoked(state: &mut State, headers: &HeaderMap, form: &Form) -> Result<(), ClientError> {
    let client_id = authenticate(headers, form, state)?;
    // RFC 7009, 2.2: a wrong or unknown `token_type_hint` must not change the answer.
    let Some(token) = form.field("token") else {
        return Err(ClientError::invalid_request("token is missing"));
    };
    let known = match state.authority.revoke(token, &client_id, &state.behavior) {
        Revocation::Done => true,
        Revocation::Unknown if state.behavior.unknown_revocation_succeeds => false,
        Revocation::Unknown => return Err(ClientError::invalid_request("the token is unknown")),
        Revocation::AnotherApps => {
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
