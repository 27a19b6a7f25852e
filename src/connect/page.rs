//! Plain pages, and the headers that every response is sent with.

use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use http::{
    HeaderValue, StatusCode,
    header::{
        ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY,
        X_CONTENT_TYPE_OPTIONS,
    },
};

/// The pages load, run and submit nothing, and cannot be framed.
const POLICY: &str =
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) fn connected() -> Response {
    let text = "Your account is now connected. You can close this page.";
    page(StatusCode::OK, "Connected", text, "")
}

pub(super) fn denied() -> Response {
    let text = "Access was not granted, so nothing has changed.";
    page(StatusCode::OK, "Not connected", text, START_AGAIN)
}

pub(super) fn disconnected() -> Response {
    let text = "Your account is no longer connected.";
    page(StatusCode::OK, "Disconnected", text, START_AGAIN)
}

/// The page for a request to start that may come from another site. Its form sends the same URL,
/// and the page shows no part of it.
///
/// The policy does not limit the form, because browsers apply `form-action` to the redirect to the
/// provider too. Without a referrer, a browser would send `Origin: null` with the form.
pub(super) fn confirm() -> Response {
    let mut response = page(
        StatusCode::OK,
        "Connect your account",
        "You are about to connect your account at another service. If you did not want to do this, \
         please close this page.",
        "<meta name=\"referrer\" content=\"same-origin\">\
         <form method=\"post\"><button>Continue</button></form>",
    );
    let policy =
        HeaderValue::from_static("default-src 'none'; base-uri 'none'; frame-ancestors 'none'");
    response
        .headers_mut()
        .insert(CONTENT_SECURITY_POLICY, policy);
    response
}

/// The response to a request in advance. It is no success, so a browser requests the page again
/// when the customer opens it.
pub(super) fn not_prefetched() -> Response {
    StatusCode::SERVICE_UNAVAILABLE.into_response()
}

pub(super) fn redirect(url: &str) -> Option<Response> {
    let mut location = HeaderValue::from_str(url).ok()?;
    // It contains the state.
    location.set_sensitive(true);
    let mut response = StatusCode::SEE_OTHER.into_response();
    response.headers_mut().insert(LOCATION, location);
    Some(response)
}

pub(super) fn method_not_allowed(allowed: &'static str) -> Response {
    let mut response = StatusCode::METHOD_NOT_ALLOWED.into_response();
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

/// The URL of the response may contain a code. It must not be cached, or sent to another site.
pub(super) fn with_security_headers(mut response: Response) -> Response {
    for (name, value) in [
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Relative: `start` is beside every page of the router.
pub(super) const START_AGAIN: &str = "<p><a href=\"start\">Start again</a></p>";

/// The texts are constants of this crate. They are escaped nevertheless.
pub(super) fn page(status: StatusCode, title: &str, text: &str, link: &str) -> Response {
    let (title, text) = (escaped(title), escaped(text));
    let mut response = Response::new(Body::from(format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{title}</title></head>\n\
         <body><h1>{title}</h1><p>{text}</p>{link}</body>\n</html>\n"
    )));
    *response.status_mut() = status;
    for (name, value) in [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped() {
        assert_eq!(
            escaped("<a href=\"x\">'&'</a>"),
            "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;&lt;/a&gt;"
        );
    }
}
