//! `POST /oauth/token`, and the token endpoints of personas

use std::time::Duration;

use http::{HeaderMap, StatusCode, header::AUTHORIZATION, request::Parts};
use serde_json::{Map, Value};

use super::{
    base_url::base_url,
    client_authentication::{ClientError, authenticate},
    proof,
};
use crate::sandbox::{
    authority::{ACCESS_TOKEN_TYPE, CodeExchange, IssuedTokens, JWT_TYPE, Refusal, TokenExchange},
    behavior::RefreshTokenField,
    event::{EventKind, GrantType, TokenHash},
    form::{Form, FormError},
    persona::{Format, Persona},
    request_body::RequestBody,
    response::{self, SandboxResponse},
    scope::Scopes,
    state::{SandboxState, SharedState},
    trusted_issuer,
};

pub(super) const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
pub(super) const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
pub(super) const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// The persona of a token request, and the facts that its address states.
pub(super) struct AtPersona<'a> {
    pub(super) persona: &'a Persona,
    pub(super) tenant: Option<String>,
    pub(super) accepts_codes: bool,
    pub(super) accepts_refresh_tokens: bool,
}

/// Processes a token request.
pub(super) async fn process(
    shared: &SharedState,
    parts: &Parts,
    body: RequestBody,
    address: Option<AtPersona<'_>>,
) -> SandboxResponse {
    let headers = &parts.headers;
    let address = address.as_ref();
    let form = match address {
        Some(address) => read_form(address.persona, headers, body).await,
        None => Form::read(headers, body).await,
    };
    let mut state = shared.lock();
    let outcome = form
        .map_err(ClientError::from)
        .and_then(|form| issue_tokens(&mut state, parts, &form, address));
    let response = match outcome {
        Ok(response) => response,
        Err(error) => {
            if !error.is_recorded {
                state.record(EventKind::TokenRequestRefused {
                    presented: None,
                    error: error.error,
                });
            }
            error.response()
        }
    };
    response::with_no_store(response)
}

fn issue_tokens(
    state: &mut SandboxState,
    parts: &Parts,
    form: &Form,
    address: Option<&AtPersona<'_>>,
) -> Result<SandboxResponse, ClientError> {
    let headers = &parts.headers;
    let grant_type = form.field("grant_type");
    // RFC 7521, section 4.1: an assertion needs no client authentication.
    let is_anonymous = grant_type == Some(JWT_BEARER)
        && !headers.contains_key(AUTHORIZATION)
        && form.field("client_id").is_none()
        && !form.has_repeated();
    let client_id = if is_anonymous {
        String::new()
    } else {
        authenticate(headers, form, state)?
    };
    let key = match address {
        Some(_) => None,
        None => proof::of_token_request(state, parts)?,
    };
    let [accepts_codes, accepts_refresh_tokens] = address.map_or([true; 2], |address| {
        [address.accepts_codes, address.accepts_refresh_tokens]
    });
    match grant_type {
        Some("authorization_code") if accepts_codes => {
            exchange_code(state, headers, (&client_id, key), form, address)
        }
        Some("refresh_token") if accepts_refresh_tokens => {
            refresh(state, headers, (&client_id, key), form, address)
        }
        Some("client_credentials") if address.is_none() && state.behavior.client_credentials => {
            let scopes = form.field("scope").map(Scopes::parse);
            issue_without_consent(state, headers, (&client_id, key), scopes, None)
        }
        Some(JWT_BEARER) if address.is_none() && !state.trusted_issuers.is_empty() => {
            accept_assertion(state, parts, (&client_id, key), form)
        }
        Some(TOKEN_EXCHANGE)
            if address.is_none() && !state.behavior.token_exchange_targets.is_empty() =>
        {
            token_exchange(state, form)
        }
        Some(DEVICE_CODE) if address.is_none() && state.behavior.device_authorization => {
            poll_device(state, headers, (&client_id, key), form)
        }
        Some(_) => Err(ClientError::new(
            "unsupported_grant_type",
            "the sandbox does not support this grant_type, or it is off",
        )),
        None => Err(ClientError::invalid_request("grant_type is missing")),
    }
}

fn issue_without_consent(
    state: &mut SandboxState,
    headers: &HeaderMap,
    (client_id, key): (&str, Option<String>),
    scopes: Option<Scopes>,
    assertion: Option<&str>,
) -> Result<SandboxResponse, ClientError> {
    let now = state.now();
    let outcome = state
        .authority
        .issue_without_consent(client_id, scopes, &state.behavior, now);
    let (grant_type, presented) = match assertion {
        Some(assertion) => (GrantType::Assertion, assertion),
        None => (GrantType::ClientCredentials, client_id),
    };
    let issued = finish(state, grant_type, presented, outcome)?;
    state.authority.bind_grant(issued.grant, key.as_deref());
    Ok(respond(state, headers, &issued, grant_type, None))
}

fn accept_assertion(
    state: &mut SandboxState,
    parts: &Parts,
    client: (&str, Option<String>),
    form: &Form,
) -> Result<SandboxResponse, ClientError> {
    let Some(text) = form.field("assertion") else {
        return Err(ClientError::invalid_request("assertion is missing"));
    };
    let endpoint = format!("{}/oauth/token", base_url(parts));
    let issuer = state.behavior.issuer.as_ref().unwrap_or(&state.url);
    let audiences = [endpoint.as_str(), issuer];
    let wall = state.wall_time().as_second();
    let now = state.now();
    let checked = trusted_issuer::check(text, &state.trusted_issuers, &audiences, wall);
    let checked = checked.and_then(|assertion| {
        let expires_at = now.saturating_add(Duration::from_secs(assertion.expires_in));
        if state.authority.is_replayed(assertion.id, expires_at, now) {
            return Err("the assertion was already used");
        }
        Ok(())
    });
    if let Err(problem) = checked {
        // RFC 7523, section 3.1.
        let refusal = Refusal::invalid_grant(problem);
        finish(state, GrantType::Assertion, text, Err(refusal))?;
    }
    let scopes = form.field("scope").map(Scopes::parse);
    issue_without_consent(state, &parts.headers, client, scopes, Some(text))
}

fn token_exchange(state: &mut SandboxState, form: &Form) -> Result<SandboxResponse, ClientError> {
    let exchange = TokenExchange {
        subject_token: form.field("subject_token"),
        subject_token_type: form.field("subject_token_type"),
        actor_token: form.field("actor_token"),
        actor_token_type: form.field("actor_token_type"),
        requested_token_type: form.field("requested_token_type"),
        targets: [form.field("resource"), form.field("audience")],
        scopes: form.field("scope").map(Scopes::parse),
    };
    let now = state.now();
    let outcome = state
        .authority
        .token_exchange(&exchange, &state.behavior, now);
    let grant_type = GrantType::SubjectToken;
    let subject = exchange.subject_token.unwrap_or_default();
    let issued = finish(state, grant_type, subject, outcome)?;
    let mut members = members(&issued, grant_type, state);
    let issued_type = exchange.requested_token_type.unwrap_or(ACCESS_TOKEN_TYPE);
    members.insert("issued_token_type".to_owned(), issued_type.into());
    if issued_type == JWT_TYPE {
        // RFC 8693, section 2.2.1: no access token.
        members.insert("token_type".to_owned(), "N_A".into());
    }
    Ok(response::json(StatusCode::OK, &Value::Object(members)))
}

fn poll_device(
    state: &mut SandboxState,
    headers: &HeaderMap,
    (client_id, key): (&str, Option<String>),
    form: &Form,
) -> Result<SandboxResponse, ClientError> {
    let Some(code) = form.field("device_code") else {
        return Err(ClientError::invalid_request("device_code is missing"));
    };
    let now = state.now();
    let outcome = state
        .authority
        .poll_device(code, client_id, &state.behavior, now);
    let grant_type = GrantType::DeviceCode;
    let issued = finish(state, grant_type, code, outcome)?;
    state.authority.bind_grant(issued.grant, key.as_deref());
    Ok(respond(state, headers, &issued, grant_type, None))
}

fn exchange_code(
    state: &mut SandboxState,
    headers: &HeaderMap,
    (client_id, key): (&str, Option<String>),
    form: &Form,
    address: Option<&AtPersona<'_>>,
) -> Result<SandboxResponse, ClientError> {
    let Some(code) = form.field("code") else {
        return Err(ClientError::invalid_request("code is missing"));
    };
    check_address(state, form, address, "code_exchange", code)?;
    let exchange = CodeExchange {
        code,
        client_id,
        redirect_uri: form.field("redirect_uri"),
        verifier: form.field("code_verifier"),
        key,
    };
    let now = state.now();
    let outcome = state
        .authority
        .exchange_code(&exchange, &state.behavior, now);
    let grant_type = GrantType::AuthorizationCode;
    let issued = finish(state, grant_type, code, outcome)?;
    Ok(respond(state, headers, &issued, grant_type, address))
}

fn refresh(
    state: &mut SandboxState,
    headers: &HeaderMap,
    (client_id, key): (&str, Option<String>),
    form: &Form,
    address: Option<&AtPersona<'_>>,
) -> Result<SandboxResponse, ClientError> {
    let Some(token) = form.field("refresh_token") else {
        return Err(ClientError::invalid_request("refresh_token is missing"));
    };
    check_address(state, form, address, "refresh", token)?;
    if let Some(address) = address
        && let Some(early) = early(state, headers, address.persona, token)
    {
        state.record(EventKind::TokenRequestRefused {
            presented: Some(TokenHash::of(token)),
            error: "too_early",
        });
        return Ok(early);
    }
    if !state.authority.bind(token, key.as_deref()) {
        let description = "the refresh token is bound to another key";
        let outcome = Err(Refusal::invalid_grant(description));
        finish(state, GrantType::RefreshToken, token, outcome)?;
    }
    let scopes = form.field("scope").map(Scopes::parse);
    let now = state.now();
    let outcome = state
        .authority
        .refresh(token, client_id, scopes, &state.behavior, now);
    let grant_type = GrantType::RefreshToken;
    match finish(state, grant_type, token, outcome) {
        Ok(issued) => Ok(respond(state, headers, &issued, grant_type, address)),
        Err(error) if error.error == "invalid_grant" => {
            let dead = address.and_then(|address| address.persona.dead(headers));
            dead.ok_or(error)
        }
        Err(error) => Err(error),
    }
}

/// Records the outcome of a token request.
fn finish(
    state: &mut SandboxState,
    grant_type: GrantType,
    credential: &str,
    outcome: Result<IssuedTokens, Refusal>,
) -> Result<IssuedTokens, ClientError> {
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
            Ok(issued)
        }
        Err(refusal) => {
            if let Some(grant) = refusal.revoked_grant {
                state.record(EventKind::GrantRevoked { grant });
            }
            state.record(EventKind::TokenRequestRefused {
                presented: Some(presented),
                error: refusal.error,
            });
            Err(ClientError::recorded(refusal.error, refusal.description))
        }
    }
}

/// Responds with the tokens, in the format of the provider.
fn respond(
    state: &SandboxState,
    headers: &HeaderMap,
    issued: &IssuedTokens,
    grant_type: GrantType,
    address: Option<&AtPersona<'_>>,
) -> SandboxResponse {
    let members = members(issued, grant_type, state);
    match address {
        Some(address) => {
            let tenant = state.authority.tenant_of(&issued.access_token);
            let tenant = tenant.unwrap_or_default();
            address.persona.token_response(headers, members, tenant)
        }
        None => response::json(StatusCode::OK, &Value::Object(members)),
    }
}

async fn read_form(
    persona: &Persona,
    headers: &HeaderMap,
    body: RequestBody,
) -> Result<Form, FormError> {
    let form = match persona.request_format() {
        Format::Form => Form::read(headers, body).await,
        Format::Json => Form::read_json(headers, body).await,
    };
    Ok(form?.with_standard_names(persona.parameter_names()))
}

/// Refuses a request that lacks a parameter, or that is for another tenant than its credential.
fn check_address(
    state: &mut SandboxState,
    form: &Form,
    address: Option<&AtPersona<'_>>,
    kind: &str,
    credential: &str,
) -> Result<(), ClientError> {
    let Some(address) = address else {
        return Ok(());
    };
    let mut required = address.persona.required_parameters(kind);
    if required.any(|(name, value)| form.raw_field(name) != Some(value)) {
        return Err(ClientError::invalid_request(
            "a parameter that this provider requires is missing",
        ));
    }
    let tenant = state.authority.tenant_of(credential);
    if let (Some(named), Some(own)) = (&address.tenant, tenant)
        && named != own
    {
        state.record(EventKind::Misdirected {
            presented: Some(TokenHash::of(credential)),
        });
        return Err(ClientError::invalid_request(
            "the credential belongs to another tenant",
        ));
    }
    Ok(())
}

/// The response to a refresh before the refresh window of its access token.
fn early(
    state: &SandboxState,
    headers: &HeaderMap,
    persona: &Persona,
    refresh_token: &str,
) -> Option<SandboxResponse> {
    let expires_at = state.authority.access_token_expiry(refresh_token)?;
    let earliest = expires_at.saturating_sub(persona.earliest_refresh()?);
    (state.now() < earliest).then(|| persona.early(headers))?
}

/// The members of a token response, in the format that the behavior specifies.
fn members(
    issued: &IssuedTokens,
    grant_type: GrantType,
    state: &SandboxState,
) -> Map<String, Value> {
    let behavior = &state.behavior;
    let field = behavior.refresh_token_field;
    let refresh_token = match (&issued.refresh_token, grant_type, field) {
        (Some(token), ..) => Some(Value::from(token.as_str())),
        (None, GrantType::RefreshToken, RefreshTokenField::EmptyOnRefresh) => Some("".into()),
        (None, GrantType::RefreshToken, RefreshTokenField::NullOnRefresh) => Some(Value::Null),
        (None, ..) => None,
    };
    let is_bound = state
        .authority
        .key_of_access_token(&issued.access_token)
        .is_some();
    let token_type = match behavior.token_type.as_deref() {
        Some(_) if is_bound => Some("DPoP"),
        token_type => token_type,
    };
    let expires_at = state.clock.wall(issued.expires_at);
    let remaining = issued.expires_at.saturating_sub(state.now());
    let fields = [
        ("token_type", token_type.map(Value::from)),
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
    present.collect()
}
