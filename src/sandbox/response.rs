//! Responses: JSON, OAuth errors, pages and redirects.

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{
        ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, PRAGMA,
        REFERRER_POLICY, WWW_AUTHENTICATE,
    },
};
use serde_json::{Value, json};

use super::{body::SandboxBody, style::style_hash};

pub(super) type SandboxResponse = Response<SandboxBody>;

/// A value, or the error response that ends the processing of a request early.
pub(super) type ResponseResult<T = SandboxResponse> = Result<T, Box<SandboxResponse>>;

/// The URL of a callback whose parameters a page sends as a form. It is in the extensions of the
/// response.
#[derive(Clone)]
pub(super) struct CallbackUrl(pub(super) String);

/// A response with an empty body.
pub(super) fn empty(status: StatusCode) -> SandboxResponse {
    with_body(status, None, Bytes::new())
}

pub(super) fn json(status: StatusCode, value: &Value) -> SandboxResponse {
    let json = HeaderValue::from_static("application/json");
    with_body(status, Some(json), value.to_string())
}

/// A form, which some token endpoints respond with.
pub(super) fn form(status: StatusCode, form: String) -> SandboxResponse {
    let encoded = HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8");
    with_body(status, Some(encoded), form)
}

/// An error in the format of RFC 6749, section 5.2, which the API uses too.
pub(super) fn error(status: StatusCode, error: &str, description: &str) -> SandboxResponse {
    json(
        status,
        &json!({ "error": error, "error_description": description }),
    )
}

/// A 400 of the API.
pub(super) fn bad_request(description: &str) -> Box<SandboxResponse> {
    let status = StatusCode::BAD_REQUEST;
    Box::new(error(status, "invalid_request", description))
}

/// A text for a developer.
pub(super) fn text(status: StatusCode, text: &'static str) -> SandboxResponse {
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    with_body(status, Some(plain), text)
}

/// An HTML page.
pub(super) fn html(status: StatusCode, page: String) -> SandboxResponse {
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    let mut response = with_body(status, Some(html), page);
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(concat!(
            "default-src 'none'; style-src ",
            style_hash!(),
            "; base-uri 'none'; frame-ancestors 'none'"
        )),
    );
    // The forms of the page name its origin, also in browsers without `Sec-Fetch-Site`.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A redirect, or `None` if `location` is not a valid header value.
pub(super) fn redirect(status: StatusCode, location: &str) -> Option<SandboxResponse> {
    let mut response = empty(status);
    let headers = response.headers_mut();
    headers.insert(LOCATION, HeaderValue::from_str(location).ok()?);
    // The location may contain a code.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Some(response)
}

pub(super) fn not_found() -> SandboxResponse {
    error(
        StatusCode::NOT_FOUND,
        "not_found",
        "there is no such resource",
    )
}

pub(super) fn method_not_allowed(allowed: &'static str) -> SandboxResponse {
    let mut response = error(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "the method is not allowed for this path",
    );
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

/// Adds the headers that RFC 6749, section 5.1 requires of responses that may contain a token.
pub(super) fn with_no_store(mut response: SandboxResponse) -> SandboxResponse {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

/// Adds challenges, and omits those that are not valid header values.
pub(super) fn with_challenges(
    mut response: SandboxResponse,
    challenges: &[&str],
) -> SandboxResponse {
    for challenge in challenges {
        if let Ok(challenge) = HeaderValue::from_str(challenge) {
            response.headers_mut().append(WWW_AUTHENTICATE, challenge);
        }
    }
    response
}

fn with_body(
    status: StatusCode,
    content_type: Option<HeaderValue>,
    body: impl Into<Bytes>,
) -> SandboxResponse {
    let mut response = Response::new(SandboxBody::full(body));
    *response.status_mut() = status;
    if let Some(content_type) = content_type {
        response.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    response
}
