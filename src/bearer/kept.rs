//! A request's head, as it is kept for a second time.

use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Uri, Version, request};

/// Everything but the body. The headers stand in one row, in their order: for that one allocation is enough, where a map needs two and
/// a copy of its index, and hardly ever is anything looked up in them again.
pub(super) struct Kept {
    method: Method,
    uri: Uri,
    version: Version,
    headers: Vec<(HeaderName, HeaderValue)>,
    extensions: Extensions,
}

impl Kept {
    #[inline]
    pub(super) fn of<B>(request: &http::Request<B>) -> Self {
        let headers = request.headers();
        let mut row = Vec::with_capacity(headers.len());
        for (name, value) in headers {
            row.push((name.clone(), value.clone()));
        }
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            headers: row,
            extensions: request.extensions().clone(),
        }
    }

    /// The head once more.
    pub(super) fn into_parts(self) -> request::Parts {
        let (mut head, ()) = http::Request::new(()).into_parts();
        let mut headers = HeaderMap::with_capacity(self.headers.len() + 1);
        for (name, value) in self.headers {
            headers.append(name, value);
        }
        head.method = self.method;
        head.uri = self.uri;
        head.version = self.version;
        head.headers = headers;
        head.extensions = self.extensions;
        head
    }
}
