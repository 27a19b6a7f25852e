//! A thousand requests that wait for a token take no capacity from the others.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tokio::task::JoinSet;
use tower::{
    BoxError, Layer, Service, ServiceBuilder, ServiceExt, buffer::Buffer, limit::ConcurrencyLimit,
};
use tower_oauth2_client::bearer::{BearerAuthLayer, ReplayBody};

use crate::support::{API, ManualClock, Source};

type Body = Full<Bytes>;
type Outgoing = Request<ReplayBody<Body>>;

fn get() -> Request<Body> {
    Request::get(API).body(Body::default()).unwrap()
}

fn api()
-> impl Service<Outgoing, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send
{
    tower::service_fn(|_: Outgoing| async { Ok(Response::new(Body::default())) })
}

async fn does_not_starve<S>(inner: S)
where
    S: Service<Outgoing, Response = Response<Body>, Future: Send> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError> + std::fmt::Debug + Send,
{
    let source = Source::new(&ManualClock::new());
    source.block();
    let tokens = source.cache().build().unwrap();
    let waiting = BearerAuthLayer::new(tokens).layer(inner.clone());
    let mut requests = JoinSet::new();
    for _ in 0..1_000 {
        let waiting = waiting.clone();
        requests.spawn(async move { waiting.oneshot(get()).await.unwrap().status() });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    for _ in 0..10 {
        let other = inner
            .clone()
            .oneshot(get().map(|_| ReplayBody::from(Bytes::new())));
        let answer = tokio::time::timeout(Duration::from_secs(1), other).await;
        assert!(answer.expect("not starved").is_ok());
    }
    source.unblock();
    assert!(
        requests
            .join_all()
            .await
            .iter()
            .all(http::StatusCode::is_success)
    );
    assert_eq!(source.refreshes(), 1);
}

#[tokio::test(start_paused = true)]
async fn p02_concurrency_limit_inside() {
    does_not_starve(ConcurrencyLimit::new(api(), 2)).await;
}

#[tokio::test(start_paused = true)]
async fn p02_buffer_inside() {
    does_not_starve(Buffer::new(api(), 2)).await;
}

#[tokio::test(start_paused = true)]
async fn p02_load_shedding_inside() {
    let inner = ServiceBuilder::new()
        .load_shed()
        .concurrency_limit(1_000)
        .service(api());
    does_not_starve(inner).await;
}

/// A service that is not `Clone` goes into a buffer, which is.
#[tokio::test(start_paused = true)]
async fn inner_service_that_is_not_clone_goes_into_a_buffer() {
    struct Once<S>(S);

    impl<S: Service<Outgoing>> Service<Outgoing> for Once<S> {
        type Response = S::Response;
        type Error = S::Error;
        type Future = S::Future;

        fn poll_ready(
            &mut self,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Result<(), S::Error>> {
            self.0.poll_ready(cx)
        }

        fn call(&mut self, request: Outgoing) -> S::Future {
            self.0.call(request)
        }
    }

    does_not_starve(Buffer::new(Once(api()), 2)).await;
}
