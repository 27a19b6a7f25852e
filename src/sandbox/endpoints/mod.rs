//! The endpoints: HTTP on the outside, the state machine within.

mod authorize;
mod base_url;
mod bearer;
mod client_authentication;
mod company;
mod consent_page;
mod deductions;
mod device;
mod form_post;
mod html;
mod members;
mod metadata;
mod page_form;
mod pagination;
mod persona;
mod proof;
mod push;
mod revoke;
mod status;
mod status_actions;
mod status_events;
mod token;

pub(super) use self::{device::decide as decide_device, persona::endpoint as persona_endpoint};

use std::sync::Arc;

use http::{Method, Request};

use super::{
    behavior::PushedAuthorization,
    request_body::RequestBody,
    response::{self, SandboxResponse},
    state::SharedState,
};

/// Processes a request to any path.
pub(super) async fn process(
    shared: &Arc<SharedState>,
    request: Request<RequestBody>,
) -> SandboxResponse {
    if let Some(persona) = &shared.persona
        && !(shared.status_page && status::serves(request.uri().path()))
    {
        return persona::process(shared, persona, request).await;
    }
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    if shared.status_page && status::serves(path) {
        return status::process(shared, &parts, body).await;
    }
    if metadata::serves(shared, path) {
        if parts.method != Method::GET {
            return response::method_not_allowed("GET");
        }
        return metadata::show(shared, &parts).unwrap_or_else(|response| *response);
    }
    let result = match (parts.method.as_str(), path) {
        ("GET", "/oauth/authorize") => Ok(authorize::start(shared, &parts, None)),
        ("POST", "/oauth/login") => authorize::log_in(shared, &parts.headers, body).await,
        ("POST", "/oauth/consent") => authorize::decide(shared, &parts.headers, body).await,
        ("POST", "/oauth/token") => Ok(token::process(shared, &parts, body, None).await),
        (method, "/oauth/par") => Ok(match method {
            _ if shared.lock().behavior.pushed_authorization == PushedAuthorization::Off => {
                response::not_found()
            }
            "POST" => push::process(shared, &parts.headers, body).await,
            _ => response::method_not_allowed("POST"),
        }),
        (_, "/oauth/device_authorization" | device::PAGE)
            if !shared.lock().behavior.device_authorization =>
        {
            Ok(response::not_found())
        }
        ("POST", "/oauth/device_authorization") => Ok(device::start(shared, &parts, body).await),
        ("GET", device::PAGE) => Ok(device::show(shared, &parts)),
        ("POST", device::PAGE) => device::submit(shared, &parts.headers, body).await,
        ("POST", "/v1/oauth/revoke") => Ok(revoke::process(shared, &parts.headers, body).await),
        ("GET", "/v1/company") => company::show(shared, &parts),
        ("GET", "/v1/members") => members::list(shared, &parts),
        ("GET", _) if members::id_in_path(path).is_some() => members::show(shared, &parts),
        ("GET", "/v1/deductions") => deductions::list(shared, &parts),
        ("POST", "/v1/deductions") => deductions::create(shared, &parts, body).await,
        (_, path) => Ok(match allowed_methods(path) {
            Some(methods) => response::method_not_allowed(methods),
            None => response::not_found(),
        }),
    };
    let response = result.unwrap_or_else(|response| *response);
    proof::with_nonce(response, shared, &parts)
}

/// The methods of a path, or `None` if the path does not exist.
fn allowed_methods(path: &str) -> Option<&'static str> {
    match path {
        "/oauth/authorize" | "/v1/company" | "/v1/members" => Some("GET"),
        "/oauth/login"
        | "/oauth/consent"
        | "/oauth/device_authorization"
        | "/oauth/token"
        | "/v1/oauth/revoke" => Some("POST"),
        "/v1/deductions" | device::PAGE => Some("GET, POST"),
        _ => members::id_in_path(path).map(|_| "GET"),
    }
}
