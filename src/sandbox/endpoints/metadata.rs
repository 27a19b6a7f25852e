//! The two well-known documents of the authorization server (RFC 8414).

use http::{header::AUTHORIZATION, request::Parts};
use serde_json::{Value, json};

use super::token::{DEVICE_CODE, JWT_BEARER, TOKEN_EXCHANGE};
#[cfg(feature = "dpop")]
use crate::sandbox::dpop::Dpop;
#[cfg(feature = "signing")]
use crate::sandbox::public_key;
use crate::sandbox::{
    behavior::{Behavior, ClientAuthentication, MetadataDocuments, Pkce, PushedAuthorization},
    fault::{OAUTH_METADATA, OPENID_METADATA},
    response::{self, ResponseResult, SandboxResponse},
    scope::SCOPES,
    state::{SandboxState, SharedState},
};

/// Whether a document is served at this path.
pub(super) fn serves(shared: &SharedState, path: &str) -> bool {
    let state = shared.lock();
    let behavior = &state.behavior;
    let (oauth, openid) = match behavior.metadata {
        MetadataDocuments::None => (false, false),
        MetadataDocuments::OAuth => (true, false),
        MetadataDocuments::OpenId => (false, true),
        MetadataDocuments::Both => (true, true),
    };
    let of_issuer = path_of(issuer(behavior, &state.url));
    let is_inserted = |well_known| path.strip_prefix(well_known) == Some(of_issuer);
    oauth && is_inserted(OAUTH_METADATA)
        || openid && is_inserted(OPENID_METADATA)
        || openid && path.strip_suffix(OPENID_METADATA) == Some(of_issuer)
}

/// Serves a document, of which both are the same.
pub(super) fn show(shared: &SharedState, request: &Parts) -> ResponseResult {
    if request.uri.query().is_some() {
        return Err(response::bad_request("a well-known URL has no query"));
    }
    if request.headers.contains_key(AUTHORIZATION) {
        return Err(response::bad_request(
            "a request for metadata carries no credentials",
        ));
    }
    let state = shared.lock();
    Ok(document(&state))
}

fn document(state: &SandboxState) -> SandboxResponse {
    let SandboxState { behavior, url, .. } = state;
    let methods = match behavior.client_authentication {
        ClientAuthentication::Body => &["client_secret_post"][..],
        ClientAuthentication::BodyOrBasic => &["client_secret_post", "client_secret_basic"],
        ClientAuthentication::Basic | ClientAuthentication::BasicRaw => &["client_secret_basic"],
        ClientAuthentication::None => &["none"],
        ClientAuthentication::ClientSecretJwt => &["client_secret_jwt"],
        #[cfg(feature = "signing")]
        ClientAuthentication::PrivateKeyJwt => &["private_key_jwt"],
        ClientAuthentication::TlsClientAuth => &["tls_client_auth"],
    };
    let mut document = json!({
        "issuer": issuer(behavior, url),
        "authorization_endpoint": format!("{url}/oauth/authorize"),
        "token_endpoint": format!("{url}/oauth/token"),
        "revocation_endpoint": format!("{url}/v1/oauth/revoke"),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query", "form_post"],
        "grant_types_supported": grant_types(state),
        "token_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_methods_supported": methods,
        "scopes_supported": SCOPES,
        "authorization_response_iss_parameter_supported": behavior.issuer.is_some(),
    });
    let mut add = |name: &str, value: Value| document[name] = value;
    match behavior.pkce {
        Pkce::Verified => add("code_challenge_methods_supported", json!(["S256", "plain"])),
        Pkce::Required => add("code_challenge_methods_supported", json!(["S256"])),
        Pkce::Ignored => {}
    }
    if behavior.pushed_authorization != PushedAuthorization::Off {
        let endpoint = format!("{url}/oauth/par");
        add("pushed_authorization_request_endpoint", endpoint.into());
        let is_required = behavior.pushed_authorization == PushedAuthorization::Required;
        add("require_pushed_authorization_requests", is_required.into());
    }
    if behavior.device_authorization {
        let endpoint = format!("{url}/oauth/device_authorization");
        add("device_authorization_endpoint", endpoint.into());
    }
    let algorithms = match behavior.client_authentication {
        ClientAuthentication::ClientSecretJwt => Some(json!(["HS256"])),
        #[cfg(feature = "signing")]
        ClientAuthentication::PrivateKeyJwt => Some(json!(public_key::ALGORITHMS)),
        _ => None,
    };
    if let Some(algorithms) = algorithms {
        for endpoint in ["token", "revocation"] {
            let name = format!("{endpoint}_endpoint_auth_signing_alg_values_supported");
            add(&name, algorithms.clone());
        }
    }
    #[cfg(feature = "dpop")]
    if behavior.dpop != Dpop::Off {
        add("dpop_signing_alg_values_supported", json!(["ES256"]));
    }
    response::json(http::StatusCode::OK, &document)
}

fn grant_types(state: &SandboxState) -> Vec<&'static str> {
    let behavior = &state.behavior;
    let switches = [
        (true, "authorization_code"),
        (true, "refresh_token"),
        (behavior.client_credentials, "client_credentials"),
        (behavior.device_authorization, DEVICE_CODE),
        (!state.trusted_issuers.is_empty(), JWT_BEARER),
        (!behavior.token_exchange_targets.is_empty(), TOKEN_EXCHANGE),
    ];
    let on = switches.into_iter().filter(|(is_on, _)| *is_on);
    on.map(|(_, grant_type)| grant_type).collect()
}

fn issuer<'a>(behavior: &'a Behavior, url: &'a str) -> &'a str {
    behavior.issuer.as_deref().unwrap_or(url)
}

/// The path of a URL without a slash at its end.
fn path_of(url: &str) -> &str {
    let (_, rest) = url.split_once("://").unwrap_or_default();
    let path = rest.find('/').map_or("", |at| &rest[at..]);
    path.trim_end_matches('/')
}
