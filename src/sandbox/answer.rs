//! Answers: JSON, OAuth errors, pages and redirects.

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, PRAGMA, REFERRER_POLICY,
    WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use super::body::SandboxBody;

pub(super) type Answer = Response<SandboxBody>;

/// An answer with nothing in it.
pub(super) fn empty(status: StatusCode) -> Answer {
    with_body(status, None, Bytes::new())
}

pub(super) fn json(status: StatusCode, value: &Value) -> Answer {
    let json = HeaderValue::from_static("application/json");
    with_body(status, Some(json), value.to_string())
}

/// An error in the shape of RFC 6749, 5.2, which the resources use too.
pub(super) fn error(status: StatusCode, error: &str, description: &str) -> Answer {
    json(
        status,
        &json!({ "error": error, "error_description": description }),
    )
}

/// A page for a person.
pub(super) fn html(status: StatusCode, page: String) -> Answer {
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    let mut answer = with_body(status, Some(html), page);
    let headers = answer.headers_mut();
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
        ),
    );
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// A redirect, or `None` if `location` cannot stand in a header.
pub(super) fn redirect(status: StatusCode, location: &str) -> Option<Answer> {
    let mut answer = empty(status);
    let headers = answer.headers_mut();
    headers.insert(LOCATION, HeaderValue::from_str(location).ok()?);
    // A code stands in the address.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Some(answer)
}

pub(super) fn not_found() -> Answer {
    error(StatusCode::NOT_FOUND, "not_found", "there is nothing here")
}

pub(super) fn method_not_allowed(allowed: &'static str) -> Answer {
    let mut answer = error(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "this path has other methods",
    );
    answer
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}

/// Marks an answer as RFC 6749, 5.1 asks of all that may carry a token.
pub(super) fn not_stored(mut answer: Answer) -> Answer {
    let headers = answer.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    answer
}

/// Adds challenges, leaving out those that cannot stand in a header.
pub(super) fn challenged(mut answer: Answer, challenges: &[&str]) -> Answer {
    for challenge in challenges {
        append(answer.headers_mut(), WWW_AUTHENTICATE, challenge);
    }
    answer
}

fn append(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.append(name, value);
    }
}

fn with_body(
    status: StatusCode,
    content_type: Option<HeaderValue>,
    body: impl Into<Bytes>,
) -> Answer {
    let mut answer = Response::new(SandboxBody::full(body));
    *answer.status_mut() = status;
    if let Some(content_type) = content_type {
        answer.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    answer
}
