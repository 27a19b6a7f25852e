//! The work of all peers: one request, and a service that does nothing with it.
//!
//! Names, values and URI are static: a new request costs two allocations and shares nothing with
//! another thread. Copies of such headers are cheaper than those of dynamic ones. This favors
//! layers that keep the headers for a retry: ours by default, and `BearerAuthAutoRefreshLayer`.

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

/// The origin of all requests and of the token.
pub(crate) const ORIGIN: &str = "https://api.example.com";
/// The URL of all requests.
pub(crate) const URL: &str = "https://api.example.com/v1/company";

/// The lifetime of the token.
pub(crate) const LIFETIME: Duration = Duration::from_secs(86_400);

/// The token, as long as a typical signed one.
pub(crate) static TOKEN: LazyLock<String> = LazyLock::new(|| "t".repeat(1_024));

/// The body of requests and responses.
pub(crate) type Body = Empty<Bytes>;

/// The headers of [`request`], for peers with a request type of their own.
pub(crate) const HEADERS: [(&str, &str); 4] = [
    ("accept", "application/json"),
    ("user-agent", "bench"),
    ("x-request-id", "1"),
    ("x-tenant", "1"),
];

/// A new request.
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

/// A service that is always ready and responds at once. Its error type is that of the layer.
pub(crate) struct Noop<E>(PhantomData<fn() -> E>);

impl<E> Noop<E> {
    pub(crate) const fn new() -> Self {
        Self(PhantomData)
    }
}

// A derive would require the error to be `Clone`.
impl<E> Clone for Noop<E> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<E> fmt::Debug for Noop<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Noop")
    }
}

impl<B, E> Service<Request<B>> for Noop<E> {
    type Response = Response<Body>;
    type Error = E;
    type Future = Ready<Result<Self::Response, E>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), E>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let headers = black_box(request.headers());
        inspect(|| headers.get(AUTHORIZATION).map(HeaderValue::as_bytes));
        ready(Ok(Response::new(Body::new())))
    }
}

/// Whether services inspect their requests, which they do only before the measurement.
static IS_INSPECTING: AtomicBool = AtomicBool::new(false);
/// Whether the last inspected request had the token.
static HAD_TOKEN: AtomicBool = AtomicBool::new(false);

/// Called by services, with a function that returns the `Authorization` header.
pub(crate) fn inspect<'a>(authorization: impl FnOnce() -> Option<&'a [u8]>) {
    if IS_INSPECTING.load(Ordering::Relaxed) {
        let token = authorization().and_then(|value| value.strip_prefix(b"Bearer "));
        HAD_TOKEN.store(token == Some(TOKEN.as_bytes()), Ordering::Relaxed);
    }
}

/// Whether the service receives the token with the request that `send` sends.
pub(crate) fn arrives_with_token(send: impl FnOnce()) -> bool {
    HAD_TOKEN.store(false, Ordering::Relaxed);
    IS_INSPECTING.store(true, Ordering::Relaxed);
    send();
    IS_INSPECTING.store(false, Ordering::Relaxed);
    HAD_TOKEN.load(Ordering::Relaxed)
}
