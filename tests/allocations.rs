//! P1, counted: the allocations of a request with a fresh token, beyond those of adding the header.

use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    pin::pin,
    task::{Context, Poll, Waker},
};

use allocation_counter::measure;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header::AUTHORIZATION};
use http_body_util::Empty;
use tower::{Layer, Service};
use tower_oauth2_client::bearer::{BearerAuth, BearerAuthLayer, ReplayBody, ReplayLimit};

#[path = "support/mod.rs"]
mod support;

use support::{API, ManualClock, Source};

type Body = Empty<Bytes>;
type Outbound = ReplayBody<Body>;

/// Responds at once with an empty body.
#[derive(Clone)]
struct Nothing;

impl<B> Service<Request<B>> for Nothing {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        ready(Ok(Response::new(Body::new())))
    }
}

/// The number of allocations between a request and its response.
fn allocations(mut service: impl Service<Request<Body>>, request: Request<Body>) -> u64 {
    let mut context = Context::from_waker(Waker::noop());
    let mut request = Some(request);
    let counted = measure(|| {
        assert!(service.poll_ready(&mut context).is_ready());
        let response = pin!(service.call(request.take().unwrap()));
        assert!(response.poll(&mut context).is_ready());
    });
    counted.count_total
}

/// The minimum for any layer: adding a prebuilt header.
fn with_static_header(mut request: Request<Body>) -> u64 {
    let token = HeaderValue::from_static("Bearer static");
    measure(|| {
        request.headers_mut().insert(AUTHORIZATION, token);
    })
    .count_total
}

fn bare() -> Request<Body> {
    Request::get(format!("{API}/v1/company"))
        .body(Body::new())
        .unwrap()
}

fn with_four_headers() -> Request<Body> {
    let mut request = bare();
    for name in ["accept", "user-agent", "x-one", "x-two"] {
        request
            .headers_mut()
            .insert(name, HeaderValue::from_static("x"));
    }
    request
}

/// A layer with a fresh token over a service that does nothing.
async fn warm(
    layer: impl FnOnce(BearerAuthLayer<Outbound>) -> BearerAuthLayer<Outbound>,
) -> BearerAuth<Nothing, Outbound> {
    let tokens = Source::new(&ManualClock::new()).cache().build().unwrap();
    tokens.token().await.unwrap();
    layer(BearerAuthLayer::new(tokens)).layer(Nothing)
}

#[tokio::test(start_paused = true)]
async fn p01_request_without_headers_allocates_nothing() {
    let service = warm(|layer| layer).await;
    assert_eq!(allocations(service, bare()), with_static_header(bare()));
}

#[tokio::test(start_paused = true)]
async fn p01_request_with_headers_allocates_their_copy_for_the_retry() {
    let service = warm(|layer| layer).await;
    let request = with_four_headers();
    let keeping = measure(|| drop(request.headers().clone())).count_total;
    assert!(keeping > 0);
    let counted = allocations(service, with_four_headers());
    assert!(
        counted <= keeping + with_static_header(with_four_headers()),
        "{counted}"
    );
}

#[tokio::test(start_paused = true)]
async fn p01_request_that_is_not_retried_allocates_nothing() {
    let service = warm(|layer| layer.replay_limit(0)).await;
    let counted = allocations(service, with_four_headers());
    assert_eq!(counted, with_static_header(with_four_headers()));
    assert_eq!(counted, 0);
}

#[test]
fn p01_inner_future_is_not_boxed() {
    struct Large([u8; 4_096]);

    impl Future for Large {
        type Output = Result<Response<Body>, Infallible>;

        fn poll(self: std::pin::Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
            unreachable!("{} bytes, never polled", self.0.len())
        }
    }

    #[derive(Clone)]
    struct Inner;

    impl<B> Service<Request<B>> for Inner {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = Large;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<B>) -> Large {
            Large([0; 4_096])
        }
    }

    assert!(
        size_of::<<BearerAuth<Inner, Outbound> as Service<Request<Body>>>::Future>()
            > size_of::<Large>()
    );
}

#[tokio::test(start_paused = true)]
async fn p01_request_with_a_replay_limit_of_zero_allocates_nothing() {
    let service = warm(|layer| layer).await;
    let mut request = with_four_headers();
    request.extensions_mut().insert(ReplayLimit::NEVER);
    assert_eq!(allocations(service, request), 0);
}
