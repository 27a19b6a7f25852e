//! `POST /oauth/token`

use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value};

use super::client_authentication::{ClientError, authenticate};
use crate::sandbox::{
    authority::{CodeExchange, IssuedTokens, Refusal},
    behavior::RefreshTokenField,
    event::{EventKind, GrantType, TokenHash},
    form::Form,
    request_body::RequestBody,
    response::{self, SandboxResponse},
    scope::Scopes,
    state::{SandboxState, SharedState},
};

/// Processes a token request.
pub(super) async fn process(
    shared: &SharedState,
    headers: &HeaderMap,
    body: RequestBody,
) -> SandboxResponse {
    let form = Form::read(headers, body).await;
    let mut state = shared.lock();
    let outcome = form
        .map_err(ClientError::from)
        .and_then(|form| issue_tokens(&mut state, headers, &form));
    let response = match outcome {
        Ok(response) => response,
        Err(error) => {
            state.record(EventKind::TokenRequestRefused {
                presented: None,
                error: error.error,
            });
            error.response()
        }
    };
    response::with_no_store(response)
}

fn issue_tokens(
    state: &mut SandboxState,
    headers: &HeaderMap,
    form: &Form,
) -> Result<SandboxResponse, ClientError> {
    let client_id = authenticate(headers, form, state)?;
    match form.field("grant_type") {
        Some("authorization_code") => exchange_code(state, &client_id, form),
        Some("refresh_token") => refresh(state, &client_id, form),
        Some(_) => Err(ClientError::new(
            "unsupported_grant_type",
            "grant_type is neither authorization_code nor refresh_token",
        )),
        None => Err(ClientError::invalid_request("grant_type is missing")),
    }
}

fn exchange_code(
    state: &mut SandboxState,
    client_id: &str,
    form: &Form,
) -> Result<SandboxResponse, ClientError> {
    let Some(code) = form.field("code") else {
        return Err(ClientError::invalid_request("code is missing"));
    };
    let exchange = CodeExchange {
        code,
        client_id,
        redirect_uri: form.field("redirect_uri"),
        verifier: form.field("code_verifier"),
    };
    let now = state.now();
    let outcome = state
        .authority
        .exchange_code(&exchange, &state.behavior, now);
    Ok(finish(state, GrantType::AuthorizationCode, code, outcome))
}

fn refresh(
    state: &mut SandboxState,
    client_id: &str,
    form: &Form,
) -> Result<SandboxResponse, ClientError> {
    let Some(token) = form.field("refresh_token") else {
        return Err(ClientError::invalid_request("refresh_token is missing"));
    };
    let scopes = form.field("scope").map(Scopes::parse);
    let now = state.now();
    let outcome = state
        .authority
        .refresh(token, client_id, scopes, &state.behavior, now);
    Ok(finish(state, GrantType::RefreshToken, token, outcome))
}

/// Records the outcome of a token request, and returns the response.
fn finish(
    state: &mut SandboxState,
    grant_type: GrantType,
    credential: &str,
    outcome: Result<IssuedTokens, Refusal>,
) -> SandboxResponse {
    let presented = TokenHash::of(credential);
    let reused = match &outcome {
        Ok(issued) => issued.reused.then_some(issued.grant),
        Err(refusal) => refusal.reused_grant,
    };
    if let Some(grant) = reused {
        state.record(EventKind::RefreshTokenReused { presented, grant });
    }
    match outcome {
        Ok(issued) => {
            state.record(EventKind::TokensIssued {
                grant_type,
                presented,
                grant: issued.grant,
                access_token: TokenHash::of(&issued.access_token),
                refresh_token: issued.refresh_token.as_deref().map(TokenHash::of),
            });
            response::json(StatusCode::OK, &token_response(&issued, grant_type, state))
        }
        Err(refusal) => {
            if let Some(grant) = refusal.revoked_grant {
                state.record(EventKind::GrantRevoked { grant });
            }
            state.record(EventKind::TokenRequestRefused {
                presented: Some(presented),
                error: refusal.error,
            });
            ClientError::new(refusal.error, refusal.description).response()
        }
    }
}

/// The JSON of a token response, in the format that the behavior specifies.
fn token_response(issued: &IssuedTokens, grant_type: GrantType, state: &SandboxState) -> Value {
    let behavior = &state.behavior;
    let field = behavior.refresh_token_field;
    let refresh_token = match (&issued.refresh_token, grant_type, field) {
        (Some(token), ..) => Some(Value::from(token.as_str())),
        (None, GrantType::RefreshToken, RefreshTokenField::EmptyOnRefresh) => Some("".into()),
        (None, GrantType::RefreshToken, RefreshTokenField::NullOnRefresh) => Some(Value::Null),
        (None, ..) => None,
    };
    let expires_at = state.clock.wall(issued.expires_at);
    let remaining = issued.expires_at.saturating_sub(state.now());
    let fields = [
        (
            "token_type",
            behavior.token_type.as_deref().map(Value::from),
        ),
        ("access_token", Some(issued.access_token.as_str().into())),
        ("expires_at", behavior.expires_at.format(expires_at)),
        ("expires_in", behavior.expires_in.format(remaining)),
        ("refresh_token", refresh_token),
        (
            "scope",
            behavior
                .scope_field
                .then(|| issued.scopes.to_string().into()),
        ),
    ];
    let present = fields
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(present.collect::<Map<_, _>>())
}
