//! The endpoints: HTTP on the outside, the state machine within.

mod authorize;
mod bearer;
mod client;
mod company;
mod deductions;
mod members;
mod page;
mod paging;
mod revoke;
mod status;
mod switches;
mod token;

use std::sync::Arc;

use http::{HeaderMap, Request, StatusCode};

use self::page::error_page;
use super::answer::{self, Answer};
use super::body::{RequestBody, Unreadable, read};
use super::form::Form;
use super::state::Shared;

pub(super) use self::authorize::Decision;

/// The answer to any request at all.
pub(super) async fn answer(shared: &Arc<Shared>, request: Request<RequestBody>) -> Answer {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    if shared.status_page && status::serves(path) {
        return status::answer(shared, &parts, body).await;
    }
    match (parts.method.as_str(), path) {
        ("GET", "/oauth/authorize") => authorize::request(shared, &parts),
        ("POST", "/oauth/login") => authorize::log_in(shared, &parts.headers, body).await,
        ("POST", "/oauth/consent") => authorize::decide(shared, &parts.headers, body).await,
        ("POST", "/oauth/token") => token::exchange(shared, &parts.headers, body).await,
        ("POST", "/v1/oauth/revoke") => revoke::revoke(shared, &parts.headers, body).await,
        ("GET", "/v1/company") => company::show(shared, &parts),
        ("GET", "/v1/members") => members::list(shared, &parts),
        ("GET", _) if members::id_in(path).is_some() => members::show(shared, &parts),
        ("GET", "/v1/deductions") => deductions::list(shared, &parts),
        ("POST", "/v1/deductions") => deductions::create(shared, &parts, body).await,
        (_, path) => match allowed(path) {
            Some(methods) => answer::method_not_allowed(methods),
            None => answer::not_found(),
        },
    }
}

/// The methods of a path, if there is one.
fn allowed(path: &str) -> Option<&'static str> {
    match path {
        "/oauth/authorize" | "/v1/company" | "/v1/members" => Some("GET"),
        "/oauth/login" | "/oauth/consent" | "/oauth/token" | "/v1/oauth/revoke" => Some("POST"),
        "/v1/deductions" => Some("GET, POST"),
        _ => members::id_in(path).map(|_| "GET"),
    }
}

/// Why a body is not a form.
struct NotAForm {
    status: StatusCode,
    why: &'static str,
}

impl NotAForm {
    fn page(&self) -> Answer {
        error_page(self.status, self.why)
    }
}

/// Reads a form from a request's body.
async fn read_form(headers: &HeaderMap, body: RequestBody) -> Result<Form, NotAForm> {
    let refuse = |status, why| Err(NotAForm { status, why });
    if !is_content_type(headers, "application/x-www-form-urlencoded") {
        return refuse(
            StatusCode::BAD_REQUEST,
            "the content type is not application/x-www-form-urlencoded",
        );
    }
    match read(body, LARGEST_FORM).await {
        Ok(bytes) => Ok(Form::parse(&bytes)),
        Err(Unreadable::TooLarge) => refuse(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the form is larger than 64 KiB",
        ),
        Err(Unreadable::Broken) => refuse(StatusCode::BAD_REQUEST, "the form did not arrive whole"),
    }
}

/// Whether the body is said to be of this media type, whatever its parameters.
fn is_content_type(headers: &HeaderMap, expected: &str) -> bool {
    let mut values = headers.get_all(http::header::CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return false;
    };
    value.to_str().is_ok_and(|value| {
        let media_type = value.split(';').next().unwrap_or_default();
        media_type.trim().eq_ignore_ascii_case(expected)
    })
}

const LARGEST_FORM: usize = 64 * 1024;
