//! A request's head, as it is kept for a second time.

use http::{
    Extensions, HeaderMap, HeaderName, HeaderValue, Method, Uri, Version, header::AUTHORIZATION,
    request,
};

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

    /// The head once more, with another token. `None` if there is no room for all headers, as there was the first time.
    pub(super) fn into_parts(self, token: HeaderValue) -> Option<request::Parts> {
        let (mut head, ()) = http::Request::new(()).into_parts();
        // Made for as many names as there are values: of more than a map has room for, many have one name.
        let mut headers = HeaderMap::try_with_capacity(self.headers.len() + 1).unwrap_or_default();
        for (name, value) in self.headers {
            headers.try_append(name, value).ok()?;
        }
        headers.try_insert(AUTHORIZATION, token).ok()?;
        head.method = self.method;
        head.uri = self.uri;
        head.version = self.version;
        head.headers = headers;
        head.extensions = self.extensions;
        Some(head)
    }
}
