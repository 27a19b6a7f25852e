//! `POST /oauth/token`

use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value};

use super::client::{ClientError, authenticate};
use super::read_form;
use crate::sandbox::answer::{self, Answer};
use crate::sandbox::authority::{Issued, Redemption, Refused};
use crate::sandbox::behavior::RefreshTokenField;
use crate::sandbox::body::RequestBody;
use crate::sandbox::event::{EventKind, GrantType, TokenHash};
use crate::sandbox::form::Form;
use crate::sandbox::scope::Scopes;
use crate::sandbox::state::{Shared, State};

pub(super) async fn exchange(shared: &Shared, headers: &HeaderMap, body: RequestBody) -> Answer {
    let form = read_form(headers, body).await;
    let mut state = shared.lock();
    let outcome = form
        .map_err(ClientError::from)
        .and_then(|form| granted(&mut state, headers, &form));
    let answer = match outcome {
        Ok(answer) => answer,
        Err(error) => {
            state.record(EventKind::TokenRequestRefused {
                presented: None,
                error: error.error,
            });
            error.answer()
        }
    };
    answer::not_stored(answer)
}

/// The answer to an authenticated client, or why there is none.
fn granted(state: &mut State, headers: &HeaderMap, form: &Form) -> Result<Answer, ClientError> {
    let client_id = authenticate(headers, form, state)?;
    match form.field("grant_type") {
        Some("authorization_code") => by_code(state, &client_id, form),
        Some("refresh_token") => by_refresh_token(state, &client_id, form),
        Some(_) => Err(ClientError::new(
            "unsupported_grant_type",
            "grant_type is neither authorization_code nor refresh_token",
        )),
        None => Err(ClientError::invalid_request("grant_type is missing")),
    }
}

fn by_code(state: &mut State, client_id: &str, form: &Form) -> Result<Answer, ClientError> {
    let Some(code) = form.field("code") else {
        return Err(ClientError::invalid_request("code is missing"));
    };
    let redemption = Redemption {
        code,
        client_id,
        redirect_uri: form.field("redirect_uri"),
        verifier: form.field("code_verifier"),
    };
    let now = state.now();
    let outcome = state.authority.redeem(&redemption, &state.behavior, now);
    Ok(conclude(state, GrantType::AuthorizationCode, code, outcome))
}

fn by_refresh_token(
    state: &mut State,
    client_id: &str,
    form: &Form,
) -> Result<Answer, ClientError> {
    let Some(token) = form.field("refresh_token") else {
        return Err(ClientError::invalid_request("refresh_token is missing"));
    };
    let narrower = form.field("scope").map(Scopes::parse);
    let now = state.now();
    let outcome = state
        .authority
        .refresh(token, client_id, narrower, &state.behavior, now);
    Ok(conclude(state, GrantType::RefreshToken, token, outcome))
}

/// Records what an exchange came to, and words it.
fn conclude(
    state: &mut State,
    by: GrantType,
    credential: &str,
    outcome: Result<Issued, Refused>,
) -> Answer {
    let presented = TokenHash::of(credential);
    let replaced = match &outcome {
        Ok(issued) => issued.reused.then_some(issued.grant),
        Err(refusal) => refusal.reused,
    };
    if let Some(grant) = replaced {
        state.record(EventKind::RefreshTokenReused { presented, grant });
    }
    match outcome {
        Ok(issued) => {
            state.record(EventKind::TokensIssued {
                grant_type: by,
                presented,
                grant: issued.grant,
                access_token: TokenHash::of(&issued.access_token),
                refresh_token: issued.refresh_token.as_deref().map(TokenHash::of),
            });
            answer::json(StatusCode::OK, &token_answer(&issued, by, state))
        }
        Err(refusal) => {
            if let Some(grant) = refusal.killed {
                state.record(EventKind::GrantRevoked { grant });
            }
            state.record(EventKind::TokenRequestRefused {
                presented: Some(presented),
                error: refusal.error,
            });
            ClientError::new(refusal.error, refusal.description).answer()
        }
    }
}

/// The token answer, spelled as the behavior says.
fn token_answer(issued: &Issued, by: GrantType, state: &State) -> Value {
    let behavior = &state.behavior;
    let refresh_token = match (&issued.refresh_token, by, behavior.refresh_token_field) {
        (Some(token), ..) => Some(Value::from(token.as_str())),
        (None, GrantType::RefreshToken, RefreshTokenField::EmptyOnRefresh) => Some("".into()),
        (None, GrantType::RefreshToken, RefreshTokenField::NullOnRefresh) => Some(Value::Null),
        (None, ..) => None,
    };
    let left = issued.expires_at.saturating_sub(state.now());
    let fields = [
        (
            "token_type",
            behavior.token_type.as_deref().map(Value::from),
        ),
        ("access_token", Some(issued.access_token.as_str().into())),
        (
            "expires_at",
            behavior
                .expires_at
                .spell(state.clock.wall(issued.expires_at)),
        ),
        ("expires_in", behavior.expires_in.spell(left)),
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
