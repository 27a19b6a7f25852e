//! Shared by the benches: a service that does nothing, a token source without a network, a request.

pub mod clock;
pub mod plot;
pub mod report;
pub mod shape;
pub mod synthetic_store;

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::{Empty, Full};
use shape::Shape;
use synthetic_store::SyntheticStore;
use tower::Service;
use tower_oauth2_client::{
    Error,
    bearer::BearerAuthLayer,
    cache::{BearerToken, TokenCache, TokenCacheBuilder, TokenSource},
    clock::{Clock, SystemClock},
    jose::SigningKey,
    tenants::Tenants,
    token::{AccessToken, DpopKey, TenantId, TokenSet},
};

pub const API: &str = "https://api.example.com";

/// A request body that can be cloned.
pub type Body = Full<Bytes>;

type ResponseBody = Empty<Bytes>;

/// A service that is always ready and responds at once.
#[derive(Clone)]
pub struct Noop;

impl<B> Service<Request<B>> for Noop {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Ready<Result<Response<ResponseBody>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        black_box(request.headers());
        // No caller knows the response beforehand.
        ready(Ok(black_box(Response::new(ResponseBody::new()))))
    }
}

/// Issues a token of 1,024 characters that lives for a day, at once.
pub struct Issuer;

impl TokenSource for Issuer {
    async fn fetch(&self, _current: Option<&TokenSet>) -> Result<TokenSet, Error> {
        let token = AccessToken::new("t".repeat(1_024))?;
        let day = Duration::from_secs(86_400);
        Ok(TokenSet::new(token, day, SystemClock.wall()))
    }
}

/// Issues tokens that are bound to a key.
pub struct BoundIssuer(pub DpopKey);

impl TokenSource for BoundIssuer {
    async fn fetch(&self, held: Option<&TokenSet>) -> Result<TokenSet, Error> {
        let tokens = Issuer.fetch(held).await?;
        Ok(tokens.with_dpop_key(self.0.clone()))
    }
}

/// A key for tokens that are bound to one.
pub fn dpop_key() -> DpopKey {
    let pem = SigningKey::generate_es256().unwrap().to_pem().unwrap();
    let base64 = pem.lines().filter(|line| !line.starts_with('-'));
    let base64url = base64
        .collect::<String>()
        .replace('+', "-")
        .replace('/', "_");
    DpopKey::new(base64url.trim_end_matches('='))
}

/// A layer whose requests carry a DPoP proof, and a token of the same cache.
pub fn dpop_layer() -> (BearerAuthLayer<Body>, BearerToken) {
    let tokens = TokenCache::builder(BoundIssuer(dpop_key())).origin(API);
    let tokens = tokens.build().unwrap();
    let token = runtime().block_on(tokens.token()).unwrap();
    (BearerAuthLayer::new(tokens), token)
}

pub fn cache() -> TokenCacheBuilder {
    TokenCache::builder(Issuer).origin(API)
}

/// A cache with a fresh token for this origin.
pub fn warm_cache(origin: &str) -> TokenCache {
    let tokens = TokenCache::builder(Issuer).origin(origin).build().unwrap();
    runtime().block_on(tokens.token()).unwrap();
    tokens
}

/// A layer with a fresh token.
pub fn layer() -> BearerAuthLayer<Body> {
    BearerAuthLayer::new(warm_cache(API))
}

/// The header that the layer sets.
pub fn bearer() -> HeaderValue {
    HeaderValue::try_from(format!("Bearer {}", "t".repeat(1_024))).unwrap()
}

/// `count` resident tenants with fresh tokens, and their names.
pub fn warm_tenants(count: usize) -> (Tenants, Vec<TenantId>) {
    let tenants = Tenants::builder(Issuer)
        .origin(API)
        .store(SyntheticStore)
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

/// A runtime to drop before the measurement, so that no background task runs during it.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// A request of the shape that benches send where the shape does not matter.
pub fn request() -> Request<Body> {
    Shape::FourHeaders.request()
}

/// Sends a request on this thread through a service that responds at once.
#[inline]
pub fn send<S: Service<Request<B>>, B>(service: &mut S, request: Request<B>) {
    let mut context = Context::from_waker(Waker::noop());
    let _ = black_box(service.poll_ready(&mut context));
    let response = pin!(service.call(request));
    let _ = black_box(response.poll(&mut context));
}
