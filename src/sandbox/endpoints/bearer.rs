//! Bearer tokens at the API (RFC 6750).

use http::{HeaderMap, StatusCode, header::AUTHORIZATION, request::Parts};

use super::proof;
use crate::sandbox::{
    event::{EventKind, TokenHash},
    fault::Endpoint,
    response::{self, ResponseResult, SandboxResponse},
    scope::Scopes,
    state::SandboxState,
};

/// Returns the scopes of a request's access token, or the 401 or 403 if they lack `scope`.
pub(super) fn authorize(
    state: &mut SandboxState,
    request: &Parts,
    endpoint: Endpoint,
    scope: &str,
) -> ResponseResult<Scopes> {
    let scheme = if proof::is_needed(state) {
        "dpop"
    } else {
        "bearer"
    };
    let Some(token) = token(&request.headers, scheme) else {
        return Err(unauthorized(state, endpoint, None));
    };
    let now = state.now();
    let hash = TokenHash::of(token);
    let key = proof::of_api_request(state, request, endpoint, token)?;
    if state.authority.key_of_access_token(token) != key.as_deref() {
        return Err(unauthorized(state, endpoint, Some(hash)));
    }
    let Some(scopes) = state.authority.use_access_token(token, now) else {
        return Err(unauthorized(state, endpoint, Some(hash)));
    };
    if !scopes.allows(scope) {
        state.record(EventKind::Forbidden {
            endpoint,
            token: hash,
        });
        let response = response::error(
            StatusCode::FORBIDDEN,
            "insufficient_scope",
            "the token lacks the required scope",
        );
        let challenge =
            format!(r#"Bearer realm="justworks", error="insufficient_scope", scope="{scope}""#);
        return Err(Box::new(response::with_challenges(response, &[&challenge])));
    }
    state.record(EventKind::Authorized {
        endpoint,
        token: hash,
    });
    Ok(scopes)
}

/// Records a request without a valid token, and returns its response.
pub(super) fn unauthorized(
    state: &mut SandboxState,
    endpoint: Endpoint,
    token: Option<TokenHash>,
) -> Box<SandboxResponse> {
    state.record(EventKind::Unauthorized { endpoint, token });
    let response = response::error(
        StatusCode::UNAUTHORIZED,
        "invalid_token",
        "the token is missing, unknown, expired or revoked",
    );
    let challenges = state.behavior.challenge.values(token.is_some());
    Box::new(response::with_challenges(response, &challenges))
}

/// The token of a request with exactly one `Authorization` header.
fn token<'a>(headers: &'a HeaderMap, expected_scheme: &str) -> Option<&'a str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case(expected_scheme)
        .then_some(token.trim_start_matches(' '))
}
