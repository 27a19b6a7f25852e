//! Bearer tokens at the resources (RFC 6750).

use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode};

use crate::sandbox::answer::{self, Answer};
use crate::sandbox::event::{EventKind, TokenHash};
use crate::sandbox::fault::Endpoint;
use crate::sandbox::scope::Scopes;
use crate::sandbox::state::State;

/// What a request may see, if its token opens `endpoint`; otherwise the 401 or 403 it gets.
pub(super) fn authorize(
    state: &mut State,
    headers: &HeaderMap,
    endpoint: Endpoint,
    scope: &str,
) -> Result<Scopes, Box<Answer>> {
    let Some(token) = bearer_token(headers) else {
        return Err(unauthorized(state, endpoint, None));
    };
    let now = state.now();
    let hash = TokenHash::of(token);
    let Some(scopes) = state.authority.use_access_token(token, now) else {
        return Err(unauthorized(state, endpoint, Some(hash)));
    };
    if !scopes.allows(scope) {
        state.record(EventKind::Forbidden {
            endpoint,
            token: hash,
        });
        let answer = answer::error(
            StatusCode::FORBIDDEN,
            "insufficient_scope",
            "the token lacks the scope this takes",
        );
        let challenge =
            format!(r#"Bearer realm="justworks", error="insufficient_scope", scope="{scope}""#);
        return Err(Box::new(answer::challenged(answer, &[&challenge])));
    }
    state.record(EventKind::Authorized {
        endpoint,
        token: hash,
    });
    Ok(scopes)
}

fn unauthorized(state: &mut State, endpoint: Endpoint, token: Option<TokenHash>) -> Box<Answer> {
    state.record(EventKind::Unauthorized { endpoint, token });
    let answer = answer::error(
        StatusCode::UNAUTHORIZED,
        "invalid_token",
        "the token is missing, unknown, expired or revoked",
    );
    let challenges = state.behavior.challenge.values(token.is_some());
    Box::new(answer::challenged(answer, &challenges))
}

/// The token of a request that has exactly one.
fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim_start_matches(' '))
}
