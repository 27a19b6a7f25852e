//! Tower's layers outside and inside the layer, with boxed and unboxed errors.

use std::{
    convert::Infallible,
    error::Error as _,
    future::{Ready, ready},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use tower::{
    Service, ServiceBuilder, ServiceExt, load_shed::error::Overloaded, retry::Policy,
    timeout::error::Elapsed,
};
use tower_oauth2_client::{
    Error,
    bearer::{BearerAuthLayer, ReplayBody},
};

use crate::support::{API, MINUTE, ManualClock, Scripted, Source, pass, unavailable};

type Body = Full<Bytes>;

fn get() -> Request<Body> {
    Request::get(API).body(Body::default()).unwrap()
}

fn layer(source: &Source) -> BearerAuthLayer<ReplayBody<Body>> {
    BearerAuthLayer::new(source.cache().build().unwrap())
}

/// Makes up to three attempts while the response is a 503.
#[derive(Clone)]
struct ThreeTimes(usize);

impl<R, E> Policy<Request<Body>, Response<R>, E> for ThreeTimes {
    type Future = Ready<()>;

    fn retry(
        &mut self,
        _: &mut Request<Body>,
        result: &mut Result<Response<R>, E>,
    ) -> Option<Ready<()>> {
        let unavailable = result
            .as_ref()
            .is_ok_and(|answer| answer.status() == StatusCode::SERVICE_UNAVAILABLE);
        self.0 += 1;
        (unavailable && self.0 < 3).then(|| ready(()))
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        Some(request.clone())
    }
}

/// Responds with these statuses, one after the other, and asserts that every request carries a
/// token.
fn responding(
    statuses: &'static [u16],
) -> (
    impl Service<Request<ReplayBody<Body>>, Response = Response<Body>, Error = Infallible, Future: Send>
    + Clone
    + Send,
    Arc<AtomicUsize>,
) {
    let count = Arc::new(AtomicUsize::new(0));
    let next = count.clone();
    let service = tower::service_fn(move |request: Request<ReplayBody<Body>>| {
        assert!(request.headers()[header::AUTHORIZATION].is_sensitive());
        let status = statuses[next.fetch_add(1, Ordering::SeqCst)];
        async move {
            Ok(Response::builder()
                .status(status)
                .body(Body::default())
                .unwrap())
        }
    });
    (service, count)
}

#[tokio::test(start_paused = true)]
async fn p07_retry_layer_outside_repeats_whole_calls() {
    let source = Source::new(&ManualClock::new());
    let (api, count) = responding(&[503, 401, 503, 200]);
    let tokens = source.cache().build().unwrap();
    // The API knows the token for a while.
    tokens.token().await.unwrap();
    pass(MINUTE).await;
    let stack = ServiceBuilder::new()
        .retry(ThreeTimes(0))
        .layer(BearerAuthLayer::new(tokens))
        .service(api);
    assert_eq!(stack.oneshot(get()).await.unwrap().status(), 200);
    assert_eq!(count.load(Ordering::SeqCst), 4);
    assert_eq!(source.refreshes(), 2, "one refresh for the 401");
}

#[tokio::test(start_paused = true)]
async fn all_layers_at_once_with_boxed_errors() {
    let source = Source::new(&ManualClock::new());
    let (api, _) = responding(&[401, 200]);
    let stack = ServiceBuilder::new()
        .timeout(Duration::from_secs(30))
        .retry(ThreeTimes(0))
        .layer(layer(&source))
        .buffer(8)
        .concurrency_limit(4)
        .load_shed()
        .timeout(Duration::from_secs(5))
        .service(api);
    assert_eq!(stack.oneshot(get()).await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn errors_of_inner_layers_are_found_by_their_type() {
    let source = Source::new(&ManualClock::new());
    let slow = tower::service_fn(|_: Request<ReplayBody<Body>>| async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        Ok::<_, Infallible>(Response::new(Body::default()))
    });
    let stack = ServiceBuilder::new()
        .layer(layer(&source))
        .timeout(Duration::from_secs(5))
        .service(slow);
    let error = stack.oneshot(get()).await.unwrap_err();
    assert!(error.source().unwrap().is::<Elapsed>());

    let stack = ServiceBuilder::new()
        .layer(layer(&source))
        .load_shed()
        .concurrency_limit(1)
        .service(slow);
    let first = tokio::spawn(stack.clone().oneshot(get()));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let error = stack.oneshot(get()).await.unwrap_err();
    assert!(error.source().unwrap().is::<Overloaded>());
    assert!(first.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn p04_timeout_outside_ends_the_wait_and_not_the_refresh() {
    let source = Source::new(&ManualClock::new());
    source.set_delay(Duration::from_secs(8));
    let (api, _) = responding(&[200]);
    let stack = ServiceBuilder::new()
        .timeout(Duration::from_secs(5))
        .layer(layer(&source))
        .service(api);
    assert!(
        stack
            .clone()
            .oneshot(get())
            .await
            .unwrap_err()
            .is::<Elapsed>()
    );
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(stack.oneshot(get()).await.unwrap().status(), 200);
    assert_eq!(source.refreshes(), 1);
}

#[tokio::test(start_paused = true)]
async fn p17_error_of_the_crate_is_found_through_outer_layers() {
    let source = Source::new(&ManualClock::new());
    source.then(Scripted::Fail(unavailable()));
    let (api, count) = responding(&[]);
    let stack = ServiceBuilder::new()
        .timeout(Duration::from_secs(30))
        .layer(layer(&source))
        .service(api);
    let error = stack.oneshot(get()).await.unwrap_err();
    assert!(error.downcast_ref::<Error>().unwrap().is_transient());
    assert_eq!(count.load(Ordering::SeqCst), 0);
}
