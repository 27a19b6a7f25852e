//! A request's head, kept for the retry.

use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Uri, Version, request};

/// Everything of a request but its body.
///
/// The headers are kept in a list, in their order: that takes one allocation, where a map takes two
/// and a copy of its index, and nothing is looked up in them.
pub(super) struct RequestHead {
    method: Method,
    uri: Uri,
    version: Version,
    headers: Vec<(HeaderName, HeaderValue)>,
    extensions: Extensions,
}

impl RequestHead {
    #[inline]
    pub(super) fn of<B>(request: &http::Request<B>) -> Self {
        let headers = request.headers();
        let mut list = Vec::with_capacity(headers.len());
        for (name, value) in headers {
            list.push((name.clone(), value.clone()));
        }
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            headers: list,
            extensions: request.extensions().clone(),
        }
    }

    /// The head, still without a token. `None` if a header map has no room for all headers.
    pub(super) fn to_parts(&self) -> Option<request::Parts> {
        let (mut head, ()) = http::Request::new(()).into_parts();
        // A map may not have the capacity for this many names; several values may share one name.
        let mut headers = HeaderMap::try_with_capacity(self.headers.len() + 1).unwrap_or_default();
        for (name, value) in &self.headers {
            headers.try_append(name.clone(), value.clone()).ok()?;
        }
        head.method = self.method.clone();
        head.uri = self.uri.clone();
        head.version = self.version;
        head.headers = headers;
        head.extensions = self.extensions.clone();
        Some(head)
    }
}
