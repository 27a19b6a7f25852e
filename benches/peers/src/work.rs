//! The work that is the same for all: one request, and a service that does nothing with it.
//!
//! Names, values and URI are static, so that a fresh request costs two allocations and shares nothing with those of another
//! thread. Copies of its headers are cheaper by that than they are for values that were made for one request, which favours
//! whoever keeps the headers for a retry: us by default, and `BearerAuthAutoRefreshLayer`.

use std::{
    fmt,
    future::{Ready, ready},
    hint::black_box,
    marker::PhantomData,
    sync::{
        LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Request, Response, Uri,
    header::{ACCEPT, AUTHORIZATION, USER_AGENT},
};
use http_body_util::Empty;
use tower::Service;

/// Where requests go, and what the token is meant for.
pub(crate) const ORIGIN: &str = "https://api.example.com";
/// The whole of it.
pub(crate) const URL: &str = "https://api.example.com/v1/company";

/// How long the token lives.
pub(crate) const LIFETIME: Duration = Duration::from_secs(86_400);

/// The token, of the length that a signed one has.
pub(crate) static TOKEN: LazyLock<String> = LazyLock::new(|| "t".repeat(1_024));

/// A body that is empty.
pub(crate) type Body = Empty<Bytes>;

/// The names and values of its headers, for requests of another type than [`request`]'s.
pub(crate) const HEADERS: [(&str, &str); 4] = [
    ("accept", "application/json"),
    ("user-agent", "bench"),
    ("x-request-id", "1"),
    ("x-tenant", "1"),
];

/// A fresh request.
pub(crate) fn request() -> Request<Body> {
    let mut request = Request::new(Body::new());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = Uri::from_static(URL);
    let [accept, user_agent, request_id, tenant] = HEADERS.map(|(_, value)| value);
    let headers = request.headers_mut();
    headers.insert(ACCEPT, HeaderValue::from_static(accept));
    headers.insert(USER_AGENT, HeaderValue::from_static(user_agent));
    headers.insert(
        const { HeaderName::from_static("x-request-id") },
        HeaderValue::from_static(request_id),
    );
    headers.insert(
        const { HeaderName::from_static("x-tenant") },
        HeaderValue::from_static(tenant),
    );
    request
}

/// Always ready, and answers at once. Its error is what the layer around it asks for.
pub(crate) struct Nothing<E>(PhantomData<fn() -> E>);

impl<E> Nothing<E> {
    pub(crate) const fn new() -> Self {
        Self(PhantomData)
    }
}

// Not derived: that would ask the error to be `Clone`.
impl<E> Clone for Nothing<E> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<E> fmt::Debug for Nothing<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nothing")
    }
}

impl<B, E> Service<Request<B>> for Nothing<E> {
    type Response = Response<Body>;
    type Error = E;
    type Future = Ready<Result<Self::Response, E>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), E>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let headers = black_box(request.headers());
        look(|| headers.get(AUTHORIZATION).map(HeaderValue::as_bytes));
        ready(Ok(Response::new(Body::new())))
    }
}

/// Whether services look at what they are sent, as they do before anything is measured.
static LOOKING: AtomicBool = AtomicBool::new(false);
/// Whether the last one saw the token.
static SEEN: AtomicBool = AtomicBool::new(false);

/// Called by services with how to find the value of the `Authorization` header.
pub(crate) fn look<'a>(authorization: impl FnOnce() -> Option<&'a [u8]>) {
    if LOOKING.load(Ordering::Relaxed) {
        let token = authorization().and_then(|value| value.strip_prefix(b"Bearer "));
        SEEN.store(token == Some(TOKEN.as_bytes()), Ordering::Relaxed);
    }
}

/// Whether a request that `send` sends arrives with the token.
pub(crate) fn arrives_with_token(send: impl FnOnce()) -> bool {
    SEEN.store(false, Ordering::Relaxed);
    LOOKING.store(true, Ordering::Relaxed);
    send();
    LOOKING.store(false, Ordering::Relaxed);
    SEEN.load(Ordering::Relaxed)
}
