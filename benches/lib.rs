//! What the benches have in common: a service that does nothing, a grant that needs no network, and one and the same request.

pub mod everybody;
pub mod hand;
pub mod plot;
pub mod report;

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use everybody::Everybody;
use http::{
    HeaderValue, Request, Response, Uri,
    header::{ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, USER_AGENT},
};
use http_body_util::Empty;
use tower::Service;
use tower_oauth2_client::{
    Error,
    bearer::BearerAuthLayer,
    cache::{TokenCache, TokenCacheBuilder, TokenSource},
    clock::{Clock, SystemClock},
    tenants::Tenants,
    token::{AccessToken, TenantId, TokenSet},
};

pub const API: &str = "https://api.example.com";

pub type Body = Empty<Bytes>;

/// Always ready, and answers at once.
#[derive(Clone)]
pub struct Nothing;

impl<B> Service<Request<B>> for Nothing {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        black_box(request.headers());
        ready(Ok(Response::new(Body::new())))
    }
}

/// Answers at once, with a token of 1,024 characters that lives for a day.
pub struct Issuer;

impl TokenSource for Issuer {
    async fn fetch(&self, _held: Option<&TokenSet>) -> Result<TokenSet, Error> {
        let token = AccessToken::new("t".repeat(1_024))?;
        let day = Duration::from_secs(86_400);
        Ok(TokenSet::new(token, day, SystemClock.wall()))
    }
}

pub fn cache() -> TokenCacheBuilder {
    TokenCache::builder(Issuer).origin(API)
}

/// A cache that holds a fresh token.
pub fn warm_cache() -> TokenCache {
    let tokens = cache().build().unwrap();
    runtime().block_on(tokens.token()).unwrap();
    tokens
}

/// A layer over a fresh token.
pub fn layer() -> BearerAuthLayer<Body> {
    BearerAuthLayer::new(warm_cache())
}

/// The header that the layer sets.
pub fn bearer() -> HeaderValue {
    HeaderValue::try_from(format!("Bearer {}", "t".repeat(1_024))).unwrap()
}

/// So many tenants, each with a fresh token, and the names of all.
pub fn warm_tenants(count: usize) -> (Tenants, Vec<TenantId>) {
    let tenants = Tenants::builder(Issuer)
        .origin(API)
        .store(Everybody)
        .capacity(count)
        .build()
        .unwrap();
    let names: Vec<_> = (0..count)
        .map(|number| TenantId::new(format!("customer-{number}")).unwrap())
        .collect();
    runtime().block_on(async {
        for name in &names {
            tenants.token(name).await.unwrap();
        }
    });
    (tenants, names)
}

/// One that does not stay: no task of a cache's own runs while a request is measured.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Four headers, as a small client sends them. Of static parts, so that to make it, and to clone it, costs two allocations: those
/// of the map.
pub fn request() -> Request<Body> {
    let mut request = Request::new(Body::new());
    *request.uri_mut() = Uri::from_static("https://api.example.com/v1/company");
    let headers = request.headers_mut();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    headers.insert(ACCEPT_LANGUAGE, HeaderValue::from_static("en"));
    headers.insert(USER_AGENT, HeaderValue::from_static("bench"));
    request
}

/// A request from beginning to end, on this thread, through a service that answers at once.
#[inline]
pub fn send<S: Service<Request<Body>>>(service: &mut S, request: Request<Body>) {
    let mut context = Context::from_waker(Waker::noop());
    let _ = black_box(service.poll_ready(&mut context));
    let response = pin!(service.call(request));
    let _ = black_box(response.poll(&mut context));
}
