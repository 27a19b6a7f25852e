//! The origin of a response, if the inner service has followed a redirect.

use http::{Response, Uri};

/// The URI that a response came from, in its extensions.
///
/// A service that follows redirects inside the layer can say by it where its last request went. A
/// response from an origin that may not receive the token says nothing about the token: the layer
/// neither refreshes nor retries. The reqwest middleware sets it. Without it, the layer cannot
/// detect a redirect that was followed inside.
///
/// This does not keep the token from other servers. A client that follows redirects knows no other
/// [header](crate::bearer#the-header-of-the-token) than `Authorization`, and
/// `tower_http::follow_redirect` before version 0.7 removes that header at a redirect to another
/// server, and adds it again at the next one there. Put such a service outside the layer, where
/// each hop is checked.
///
/// ```
/// use http::Response;
/// use tower_http::follow_redirect::RequestUri;
/// use tower_oauth2_client::bearer::ResponseUri;
///
/// // For `map_response`, between the layer and `tower_http::follow_redirect`.
/// fn with_uri<B>(mut response: Response<B>) -> Response<B> {
///     if let Some(RequestUri(uri)) = response.extensions().get().cloned() {
///         response.extensions_mut().insert(ResponseUri::new(uri));
///     }
///     response
/// }
/// # with_uri(Response::new(()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseUri(Uri);

impl ResponseUri {
    /// A response from this URI.
    #[must_use]
    pub fn new(uri: Uri) -> Self {
        Self(uri)
    }

    /// Whether a response came from a URI that `is_permitted` does not accept.
    #[cfg(feature = "mcp")]
    pub(crate) fn is_foreign<R>(
        response: &Response<R>,
        is_permitted: impl FnOnce(&Uri) -> bool,
    ) -> bool {
        is_foreign(response, is_permitted)
    }
}

/// The URI that a response says it came from.
pub(super) fn of<R>(response: &Response<R>) -> Option<&Uri> {
    let uri = response.extensions().get::<ResponseUri>();
    uri.map(|ResponseUri(uri)| uri)
}

/// Whether a response came from an origin that may not receive the token. `is_permitted` says which
/// URIs have such an origin.
pub(super) fn is_foreign<R>(
    response: &Response<R>,
    is_permitted: impl FnOnce(&Uri) -> bool,
) -> bool {
    of(response).is_some_and(|uri| !is_permitted(uri))
}
