//! The address of the sandbox.

use http::{header::HOST, request::Parts, uri::Authority};

/// The origin of the sandbox, as the client names it.
pub(super) fn base_url(parts: &Parts) -> String {
    let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| parts.uri.authority().map(Authority::as_str));
    format!("http://{}", host.unwrap_or("localhost"))
}
