//! Request bodies that are `Clone` go through the layer as they are, and are sent again after a
//! 401.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as _;
use http_body_util::{BodyExt, Empty, Full};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_oauth2_client::{
    bearer::{BearerAuth, BearerAuthLayer, ReplayLimit, RequestBody},
    cache::TokenCache,
};

#[path = "support/mod.rs"]
mod support;

use support::{API, ManualClock, Source};

/// The bodies that a client received, in order.
type Log = Arc<Mutex<Vec<Bytes>>>;

/// A client that reads each body and responds with 401 until a token has been refreshed.
fn client<B>(
    log: &Log,
) -> impl Service<Request<B>, Response = Response<Empty<Bytes>>, Error = Infallible, Future: Send> + Clone
where
    B: http_body::Body<Data = Bytes, Error: std::fmt::Debug> + Send + 'static,
{
    let log = Arc::clone(log);
    service_fn(move |request: Request<B>| {
        let log = Arc::clone(&log);
        async move {
            let is_stale = request.headers()["authorization"] == "Bearer a1";
            let body = request.into_body().collect().await.unwrap().to_bytes();
            log.lock().unwrap().push(body);
            let status = if is_stale { 401 } else { 200 };
            let response = Response::builder().status(status);
            Ok(response.body(Empty::new()).unwrap())
        }
    })
}

async fn warm() -> TokenCache {
    let tokens = Source::new(&ManualClock::new()).cache().build().unwrap();
    tokens.token().await.unwrap();
    // The API knows the token.
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    tokens
}

async fn sent<B>(body: B, layer: impl FnOnce(TokenCache) -> BearerAuthLayer<B>) -> (u16, Vec<Bytes>)
where
    B: RequestBody<Inbound = B>
        + http_body::Body<Data = Bytes, Error: std::fmt::Debug>
        + Send
        + 'static,
{
    let log = Log::default();
    let api = layer(warm().await).layer(client::<B>(&log));
    let request = Request::post(API).body(body).unwrap();
    let response = api.oneshot(request).await.unwrap();
    let log = log.lock().unwrap().clone();
    (response.status().as_u16(), log)
}

#[tokio::test(start_paused = true)]
async fn p08_cloneable_bodies_are_sent_again_to_the_byte() {
    let (status, bodies) = sent(Full::from("payload"), BearerAuthLayer::new).await;
    assert_eq!(
        (status, &*bodies),
        (200, &["payload".into(), "payload".into()] as &[Bytes])
    );
    let (status, bodies) = sent(String::from("text"), BearerAuthLayer::new).await;
    assert_eq!(
        (status, &*bodies),
        (200, &["text".into(), "text".into()] as &[Bytes])
    );
    let (status, bodies) = sent(Empty::<Bytes>::new(), BearerAuthLayer::new).await;
    assert_eq!((status, bodies.len()), (200, 2));
}

#[tokio::test(start_paused = true)]
async fn p08_limit_holds_for_cloneable_bodies() {
    let large = || Full::from(vec![b'x'; 64 * 1024 + 1]);
    let (status, bodies) = sent(large(), BearerAuthLayer::new).await;
    assert_eq!((status, bodies.len()), (401, 1));
    let at_limit = Full::from(vec![b'x'; 64 * 1024]);
    let (status, bodies) = sent(at_limit, BearerAuthLayer::new).await;
    assert_eq!((status, bodies.len()), (200, 2));
    let larger = |tokens| BearerAuthLayer::new(tokens).replay_limit(100_000);
    let (status, bodies) = sent(large(), larger).await;
    assert_eq!((status, bodies.len()), (200, 2));
    let off = |tokens| BearerAuthLayer::new(tokens).replay_limit(0);
    let (status, bodies) = sent(Full::default(), off).await;
    assert_eq!((status, bodies.len()), (401, 1));

    let log = Log::default();
    let api = BearerAuthLayer::new(warm().await).layer(client::<Full<Bytes>>(&log));
    let request = Request::post(API).extension(ReplayLimit::NEVER);
    let response = api.oneshot(request.body(Full::default()).unwrap()).await;
    assert_eq!(response.unwrap().status(), 401);
}

/// A body that does not know its length.
#[derive(Clone)]
struct Unsized(Full<Bytes>);

impl http_body::Body for Unsized {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        std::pin::Pin::new(&mut self.0).poll_frame(cx)
    }
}

#[tokio::test(start_paused = true)]
async fn p08_limit_holds_for_cloneable_bodies_of_unknown_length() {
    for (length, content_length, attempts) in [
        (100, None, 1),
        (100, Some("100"), 2),
        (100_000, Some("100000"), 1),
        (100_000, None, 1),
    ] {
        let log = Log::default();
        let api = BearerAuthLayer::new(warm().await).layer(client::<Unsized>(&log));
        let mut request = Request::post(API);
        if let Some(content_length) = content_length {
            request = request.header("content-length", content_length);
        }
        let body = Unsized(Full::from(vec![b'x'; length]));
        let response = api.oneshot(request.body(body).unwrap()).await.unwrap();
        let status = if attempts == 1 { 401 } else { 200 };
        assert_eq!(response.status(), status, "{length}");
        assert_eq!(log.lock().unwrap().len(), attempts, "{length}");
    }
}

/// A clone is complete whatever the client has read of the original; a recording would not be.
#[tokio::test(start_paused = true)]
async fn p08_cloneable_body_is_sent_again_whole_though_the_401_came_before_it_was_read() {
    let log = Log::default();
    let inner = client::<Full<Bytes>>(&log);
    let impatient = service_fn(move |request: Request<Full<Bytes>>| {
        let mut inner = inner.clone();
        async move {
            if request.headers()["authorization"] == "Bearer a1" {
                let response = Response::builder().status(401);
                return Ok(response.body(Empty::new()).unwrap());
            }
            inner.call(request).await
        }
    });
    let api = BearerAuthLayer::new(warm().await).layer(impatient);
    let request = Request::post(API).body(Full::from("payload")).unwrap();
    assert_eq!(api.oneshot(request).await.unwrap().status(), 200);
    assert_eq!(*log.lock().unwrap(), ["payload"]);
}

#[tokio::test(start_paused = true)]
async fn inner_service_can_be_reached_and_changed() {
    /// Responds with a status of its own, and 401 to the first token.
    #[derive(Clone)]
    struct Client(u16);

    impl Service<Request<Full<Bytes>>> for Client {
        type Response = Response<Empty<Bytes>>;
        type Error = Infallible;
        type Future = std::future::Ready<Result<Self::Response, Infallible>>;

        fn poll_ready(
            &mut self,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Result<(), Infallible>> {
            std::task::Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
            assert_eq!(request.body().size_hint().exact(), Some(0));
            let is_stale = request.headers()["authorization"] == "Bearer a1" && self.0 < 203;
            let status = if is_stale { 401 } else { self.0 };
            let response = Response::builder().status(status);
            std::future::ready(Ok(response.body(Empty::new()).unwrap()))
        }
    }

    let get = || Request::get(API).body(Full::default()).unwrap();
    let mut api = BearerAuth::new(Client(201), warm().await);
    let mut earlier = api.clone();
    assert_eq!(api.get_ref().0, 201);
    api.get_mut().0 = 202;
    // The first response is a 401, so this is the retry's.
    assert_eq!(
        api.ready()
            .await
            .unwrap()
            .call(get())
            .await
            .unwrap()
            .status(),
        202
    );
    assert_eq!(api.clone().oneshot(get()).await.unwrap().status(), 202);
    assert_eq!(
        earlier
            .ready()
            .await
            .unwrap()
            .call(get())
            .await
            .unwrap()
            .status(),
        201
    );
    assert_eq!(api.into_inner().0, 202);

    // Also if the next request is not sent, or waits for a token first.
    let cold = Source::new(&ManualClock::new()).cache().build().unwrap();
    let mut api = BearerAuth::new(Client(201), cold);
    api.ready().await.unwrap();
    api.get_mut().0 = 202;
    let other_origin = Request::get("https://example.org/");
    let other_origin = other_origin.body(Full::default()).unwrap();
    assert!(api.call(other_origin).await.is_err());
    assert_eq!(api.get_ref().0, 202);
    api.ready().await.unwrap();
    api.get_mut().0 = 203;
    // The request waits for the first token, which this client accepts.
    assert_eq!(api.call(get()).await.unwrap().status(), 203);
    assert_eq!(api.get_ref().0, 203);

    let layer = BearerAuth::<Client, Full<Bytes>>::layer(warm().await);
    assert_eq!(
        layer
            .layer(Client(203))
            .oneshot(get())
            .await
            .unwrap()
            .status(),
        203
    );
}
