//! The work of all peers: one request, and a service that does nothing with it.
//!
//! Names, values and URI are static: a new request costs two allocations and shares nothing with
//! another thread.

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

pub(crate) use benches::shape::Shape;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header::AUTHORIZATION};
use http_body_util::{Empty, Full};
use tower::Service;

/// The origin of all requests and of the token.
pub(crate) const ORIGIN: &str = "https://api.example.com";
/// The URL of all requests.
pub(crate) const URL: &str = "https://api.example.com/v1/company";

/// The shapes of the requests that are measured.
pub(crate) const SHAPES: [Shape; 2] = [Shape::FourHeaders, Shape::FourAndHost];

/// The lifetime of the token.
pub(crate) const LIFETIME: Duration = Duration::from_secs(86_400);

/// The token, as long as a typical signed one.
pub(crate) static TOKEN: LazyLock<String> = LazyLock::new(|| "t".repeat(1_024));

/// The body of requests.
pub(crate) type Body = Full<Bytes>;

/// A new request.
pub(crate) fn request(shape: Shape) -> Request<Body> {
    shape.request()
}

/// The headers of [`request`], for peers with a request type of their own.
pub(crate) fn headers(shape: Shape) -> &'static [(&'static str, &'static str)] {
    const HEADERS: [(&str, &str); 5] = [
        ("host", "api.example.com"),
        ("accept", "application/json"),
        ("accept-encoding", "gzip"),
        ("accept-language", "en"),
        ("user-agent", "bench"),
    ];
    match shape {
        Shape::FourAndHost => &HEADERS,
        _ => &HEADERS[1..],
    }
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
    type Response = Response<Empty<Bytes>>;
    type Error = E;
    type Future = Ready<Result<Self::Response, E>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), E>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let headers = black_box(request.headers());
        inspect(|| headers.get(AUTHORIZATION).map(HeaderValue::as_bytes));
        // No caller knows the response beforehand.
        ready(Ok(black_box(Response::new(Empty::new()))))
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
