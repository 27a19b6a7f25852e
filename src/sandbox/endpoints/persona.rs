//! The endpoints of personas.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{
    HeaderMap, HeaderValue, Method, Request, StatusCode, header::AUTHORIZATION, request::Parts,
};
use serde_json::json;

use super::{
    authorize,
    bearer::unauthorized,
    client_authentication::{ClientError, authenticate},
    token::{self, AtPersona},
};
use crate::sandbox::{
    authority::Revocation,
    event::{EventKind, TokenHash},
    fault::Endpoint,
    form::Form,
    persona::{Format, Persona, RevocationAuthentication, RevokedToken, Route},
    request_body::RequestBody,
    response::{self, ResponseResult, SandboxResponse},
    state::{SandboxState, SharedState},
};

/// The endpoint of faults that a request triggers.
pub(in crate::sandbox) fn endpoint<B>(persona: &Persona, request: &Request<B>) -> Option<Endpoint> {
    if is_page(request.uri().path()) {
        return Some(Endpoint::Authorize);
    }
    match persona.route(request) {
        Route::Authorize { .. } => Some(Endpoint::Authorize),
        Route::Token { .. } => Some(Endpoint::Token),
        Route::Revoke { .. } => Some(Endpoint::Revoke),
        Route::Api { .. } => Some(Endpoint::Company),
        Route::Misdirected => None,
    }
}

/// Processes a request to any address.
pub(super) async fn process(
    shared: &Arc<SharedState>,
    persona: &Persona,
    request: Request<RequestBody>,
) -> SandboxResponse {
    let route = persona.route(&request);
    let (parts, body) = request.into_parts();
    let is_post = parts.method == Method::POST;
    let result = match route {
        _ if is_post && parts.uri.path() == "/oauth/login" => {
            authorize::log_in(shared, &parts.headers, body).await
        }
        _ if is_post && parts.uri.path() == "/oauth/consent" => {
            authorize::decide(shared, &parts.headers, body).await
        }
        Route::Authorize { tenant } if parts.method == Method::GET => {
            Ok(authorize::start(shared, &parts, tenant))
        }
        Route::Authorize { .. } => Ok(response::method_not_allowed("GET")),
        Route::Token {
            tenant,
            accepts_codes,
            accepts_refresh_tokens,
        } if is_post => {
            let address = AtPersona {
                persona,
                tenant,
                accepts_codes,
                accepts_refresh_tokens,
            };
            Ok(token::process(shared, &parts, body, Some(address)).await)
        }
        Route::Token { .. } => Ok(response::method_not_allowed("POST")),
        Route::Revoke {
            tenant,
            token,
            client_id,
        } => Ok(revoke(shared, persona, &parts, body, (tenant, token, client_id)).await),
        Route::Api { tenant } => call(shared, persona, &parts, tenant.as_deref()),
        Route::Misdirected => {
            let mut state = shared.lock();
            state.record(EventKind::Misdirected { presented: None });
            Ok(misdirected())
        }
    };
    result.unwrap_or_else(|response| *response)
}

fn is_page(path: &str) -> bool {
    matches!(path, "/oauth/login" | "/oauth/consent")
}

fn misdirected() -> SandboxResponse {
    response::error(
        StatusCode::MISDIRECTED_REQUEST,
        "misdirected",
        "the request is for another host",
    )
}

/// Responds as the API, which has the same response at each address.
fn call(
    shared: &SharedState,
    persona: &Persona,
    parts: &Parts,
    tenant: Option<&str>,
) -> ResponseResult {
    let mut state = shared.lock();
    let endpoint = Endpoint::Company;
    let token = token_in_header(persona, &parts.headers);
    let hash = token.map(TokenHash::of);
    let own = token.and_then(|token| state.authority.tenant_of(token));
    if let (Some(named), Some(own)) = (tenant, own)
        && named != own
    {
        state.record(EventKind::Misdirected { presented: hash });
        return Err(Box::new(misdirected()));
    }
    let own = own.map(str::to_owned);
    let now = state.now();
    let scopes = token.and_then(|token| state.authority.use_access_token(token, now));
    let (Some(hash), Some(_)) = (hash, scopes) else {
        return Err(unauthorized(&mut state, endpoint, hash));
    };
    state.record(EventKind::Authorized {
        endpoint,
        token: hash,
    });
    let body = json!({ "path": parts.uri.path(), "tenant": own });
    Ok(response::json(StatusCode::OK, &body))
}

/// The token in the only header that carries one.
fn token_in_header<'a>(persona: &Persona, headers: &'a HeaderMap) -> Option<&'a str> {
    let header = persona.token_header();
    let mut values = headers.get_all(header.name.as_str()).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let value = value.to_str().ok()?;
    if header.scheme.is_empty() {
        return Some(value);
    }
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case(&header.scheme).then_some(token)
}

/// The tenant, the token and the client in the address of a revocation.
type InAddress = (Option<String>, Option<String>, Option<String>);

async fn revoke(
    shared: &SharedState,
    persona: &Persona,
    parts: &Parts,
    body: RequestBody,
    in_address: InAddress,
) -> SandboxResponse {
    let request = persona.revocation_request();
    let method = request.method.as_deref().unwrap_or("POST");
    if parts.method.as_str() != method {
        return response::error(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "the revocation has another method",
        );
    }
    let parameter = request.parameter.as_deref().unwrap_or("token");
    let sends_client = matches!(request.authentication, RevocationAuthentication::Client);
    let form = if parameter.is_empty() && !sends_client {
        Ok(Form::parse(b""))
    } else {
        match request.format {
            Format::Form => Form::read(&parts.headers, body).await,
            Format::Json => Form::read_json(&parts.headers, body).await,
        }
    };
    let mut state = shared.lock();
    let outcome = form
        .map_err(ClientError::from)
        .and_then(|form| revoke_token(&mut state, persona, &parts.headers, &form, in_address));
    response::with_no_store(match outcome {
        Ok(()) => response::empty(persona.revocation_status()),
        Err(error) => error.response(),
    })
}

fn revoke_token(
    state: &mut SandboxState,
    persona: &Persona,
    headers: &HeaderMap,
    form: &Form,
    (tenant, in_address, client_id): InAddress,
) -> Result<(), ClientError> {
    let request = persona.revocation_request();
    let parameter = request.parameter.as_deref().unwrap_or("token");
    let in_header = token_in_header(persona, headers);
    let token = in_address
        .as_deref()
        .or_else(|| form.field(parameter))
        .or(in_header.filter(|_| request.authentication == RevocationAuthentication::AccessToken));
    let Some(token) = token else {
        return Err(ClientError::invalid_request("token is missing"));
    };
    let client = match request.authentication {
        RevocationAuthentication::Client => Some(authenticate(headers, form, state)?),
        RevocationAuthentication::Basic => Some(basic_client(state, headers).ok_or_else(|| {
            ClientError::new(
                "invalid_client",
                "the request has no valid Basic credentials",
            )
        })?),
        RevocationAuthentication::AccessToken => {
            let now = state.now();
            let authorized = in_header
                .and_then(|token| state.authority.use_access_token(token, now))
                .is_some();
            if !authorized {
                return Err(ClientError::new("invalid_token", "no valid access token"));
            }
            None
        }
        RevocationAuthentication::None if headers.contains_key(AUTHORIZATION) => {
            return Err(ClientError::invalid_request(
                "the revocation takes no credentials",
            ));
        }
        RevocationAuthentication::None => None,
    };
    if client_id.is_some() && client_id != client {
        return Err(ClientError::invalid_request(
            "the address names another client",
        ));
    }
    let is_wrong_kind = match request.token {
        RevokedToken::Either => false,
        RevokedToken::Access => state.authority.is_refresh_token(token),
        RevokedToken::Refresh => state.authority.is_access_token(token),
    };
    if is_wrong_kind {
        return Err(ClientError::invalid_request(
            "the revocation takes the other token",
        ));
    }
    if let (Some(named), Some(own)) = (&tenant, state.authority.tenant_of(token))
        && named != own
    {
        state.record(EventKind::Misdirected {
            presented: Some(TokenHash::of(token)),
        });
        return Err(ClientError::invalid_request(
            "the token belongs to another tenant",
        ));
    }
    let owner = state.authority.client_of(token);
    let client = client.or(owner).unwrap_or_default();
    let mut behavior = state.behavior.clone();
    behavior.revocation_cascades = !persona.revocation_keeps_access_tokens();
    let known = match state.authority.revoke(token, &client, &behavior) {
        Revocation::Revoked => true,
        Revocation::UnknownToken => false,
        Revocation::WrongClient => {
            let description = "the token was issued to another client";
            return Err(ClientError::new("invalid_grant", description));
        }
    };
    if !persona.revocation_keeps_access_tokens() {
        state.authority.end_grant_of(token);
    }
    state.record(EventKind::RevocationRequested {
        token: TokenHash::of(token),
        known,
    });
    Ok(())
}

/// The client in a `Basic` header.
fn basic_client(state: &SandboxState, headers: &HeaderMap) -> Option<String> {
    let value = headers.get(AUTHORIZATION).map(HeaderValue::to_str)?.ok()?;
    let encoded = value.strip_prefix("Basic ")?;
    let decoded = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (client_id, client_secret) = decoded.split_once(':')?;
    state
        .authority
        .authenticates(client_id, client_secret)
        .then(|| client_id.to_owned())
}
