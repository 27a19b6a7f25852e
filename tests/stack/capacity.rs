//! Requests that wait for a token take no capacity from the others, nor from the refresh.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};
use tower::{
    BoxError, Layer, Service, ServiceBuilder, ServiceExt, buffer::Buffer, limit::ConcurrencyLimit,
};
use tower_oauth2_client::{
    bearer::{BearerAuthLayer, ReplayBody},
    cache::{TokenCache, token_fn},
    clock::{Clock, SystemClock},
    token::{AccessToken, TokenSet},
};

use crate::support::{API, DAY, ManualClock, Source, unavailable};

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

        fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
            self.0.poll_ready(cx)
        }

        fn call(&mut self, request: Outgoing) -> S::Future {
            self.0.call(request)
        }
    }

    does_not_starve(Buffer::new(Once(api()), 2)).await;
}

/// The body of a response, which keeps its connection until it is read or dropped.
struct Holding {
    frames: Vec<Bytes>,
    /// Whether the body ends after its frames.
    ends: bool,
    connection: Option<OwnedSemaphorePermit>,
}

impl http_body::Body for Holding {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.frames.pop() {
            Some(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
            None if self.ends => {
                self.connection = None;
                Poll::Ready(None)
            }
            None => Poll::Pending,
        }
    }
}

/// The frames of a body in reverse, and whether it ends after them.
type MakeBody = fn() -> (Vec<Bytes>, bool);

/// Four connections for the API and the token endpoint. Each API request with the first token gets
/// a 401 with this body.
async fn four_connections(
    body: fn() -> (Vec<Bytes>, bool),
    is_refreshed: bool,
) -> Vec<(u16, bool)> {
    let connections = Arc::new(Semaphore::new(4));
    let refreshes = Arc::new(AtomicUsize::new(0));
    let (pool, count) = (Arc::clone(&connections), Arc::clone(&refreshes));
    let source = token_fn(move || {
        let (pool, count) = (Arc::clone(&pool), Arc::clone(&count));
        async move {
            let _connection = pool.acquire().await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            if number > 1 && !is_refreshed {
                return Err(unavailable());
            }
            let token = AccessToken::new(format!("a{number}"))?;
            Ok(TokenSet::new(token, DAY, SystemClock.wall()))
        }
    });
    let tokens = TokenCache::builder(source)
        .origin(API)
        .background_delay(Duration::ZERO)
        .build()
        .unwrap();
    tokens.token().await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let http = tower::service_fn(move |request: Outgoing| {
        let connections = Arc::clone(&connections);
        async move {
            let connection = connections.acquire_owned().await.ok();
            let is_old = request.headers()["authorization"] == "Bearer a1";
            let (frames, ends) = if is_old { body() } else { (Vec::new(), true) };
            let status = if is_old { 401 } else { 200 };
            let response = Response::builder().status(status).body(Holding {
                frames,
                ends,
                connection,
            });
            Ok::<_, Infallible>(response.unwrap())
        }
    });
    let api = BearerAuthLayer::new(tokens).layer(http);
    let mut requests = JoinSet::new();
    for _ in 0..4 {
        let api = api.clone();
        requests.spawn(async move {
            let response = api.oneshot(get()).await.unwrap();
            let status = response.status().as_u16();
            let body = response.into_body().collect();
            let body = tokio::time::timeout(Duration::from_secs(1), body).await;
            (status, body.is_ok_and(|body| body.is_ok()))
        });
    }
    // Callers wait for a refresh for 15 seconds.
    let all = tokio::time::timeout(Duration::from_secs(5), requests.join_all()).await;
    all.expect("no request waits for the connection of another")
}

#[tokio::test(start_paused = true)]
async fn p02_rejected_requests_leave_their_connections_to_the_refresh() {
    let bodies: [MakeBody; 5] = [
        || (Vec::new(), true),
        || (vec![Bytes::from("no")], true),
        || (vec![Bytes::from(vec![0; 40_000]); 2], true),
        || (vec![Bytes::from("never ends")], false),
        || (Vec::new(), false),
    ];
    for (number, body) in bodies.into_iter().enumerate() {
        let responses = four_connections(body, true).await;
        assert_eq!(responses, [(200, true); 4], "{number}");
    }
}

#[tokio::test(start_paused = true)]
async fn p02_rejected_requests_get_their_first_response_without_its_connection() {
    let cases: [(MakeBody, bool); 3] = [
        (|| (vec![Bytes::from("no")], true), true),
        // Not treated as the whole body.
        (|| (vec![Bytes::from(vec![0; 40_000]); 2], true), false),
        (|| (vec![Bytes::from("never ends")], false), false),
    ];
    for (body, is_whole) in cases {
        let responses = four_connections(body, false).await;
        assert_eq!(responses, [(401, is_whole); 4]);
    }
}
