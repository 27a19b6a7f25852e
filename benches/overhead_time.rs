//! What a token costs a request while it is fresh, above a service that does nothing.
//!
//! ```sh
//! cargo bench --bench hot_path
//! ```

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use http::{Request, Response};
use http_body_util::Empty;
use tower::{Layer, Service};
use tower_oauth2_client::{
    Error,
    bearer::BearerAuthLayer,
    cache::{TokenCache, TokenSource},
    clock::{Clock, SystemClock},
    token::{AccessToken, TokenSet},
};

/// Always ready, and answers at once.
#[derive(Clone)]
struct Nothing;

impl<B> Service<Request<B>> for Nothing {
    type Response = Response<Empty<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        black_box(request.headers());
        ready(Ok(Response::new(Empty::new())))
    }
}

struct Issuer;

impl TokenSource for Issuer {
    async fn exchange(&self, _held: Option<&TokenSet>) -> Result<TokenSet, Error> {
        let token = AccessToken::new("t".repeat(1_024))?;
        let now: SystemTime = SystemClock.wall();
        Ok(TokenSet::new(token, Duration::from_secs(86_400), now))
    }
}

fn request() -> Request<Empty<Bytes>> {
    let request = Request::get("https://api.example.com/v1/company")
        .header("accept", "application/json")
        .header("user-agent", "bench")
        .header("x-request-id", "1")
        .header("x-tenant", "1");
    request.body(Empty::new()).unwrap_or_default()
}

fn measure(
    criterion: &mut Criterion,
    name: &str,
    mut service: impl Service<Request<Empty<Bytes>>>,
) {
    let mut context = Context::from_waker(std::task::Waker::noop());
    criterion.bench_function(name, |bencher| {
        bencher.iter_batched(
            request,
            |request| {
                let _ = black_box(service.poll_ready(&mut context));
                let mut response = Box::pin(service.call(request));
                let _ = black_box(response.as_mut().poll(&mut context));
            },
            criterion::BatchSize::SmallInput,
        );
    });
}

fn fresh_token(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new();
    let Ok(runtime) = runtime else { return };
    let Ok(tokens) = TokenCache::builder(Issuer)
        .origin("https://api.example.com")
        .build()
    else {
        return;
    };
    if runtime.block_on(tokens.token()).is_err() {
        return;
    }
    let layer = BearerAuthLayer::new(tokens);
    measure(criterion, "no layer", Nothing);
    measure(criterion, "layer", layer.layer(Nothing));
    measure(
        criterion,
        "layer without retries",
        layer.replay_limit(0).layer(Nothing),
    );
}

criterion_group!(benches, fresh_token);
criterion_main!(benches);
