//! P1 and P8, counted: the allocations of a request with a fresh token, beyond those of adding the
//! header, and the memory of a recorded request body.

use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use allocation_counter::measure;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header::AUTHORIZATION};
use http_body::Frame;
use http_body_util::{Empty, StreamBody};
use tower::{Layer, Service};
use tower_oauth2_client::{
    Error,
    bearer::{BearerAuth, BearerAuthLayer, ReplayBody, ReplayLimit},
    cache::{TokenCache, TokenSource, token_fn},
    clock::Clock,
    provider::{Provider, TokenHeader},
    token::{AccessToken, TokenSet},
};

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
async fn p01_request_without_headers_allocates_once_for_the_retry() {
    let service = warm(|layer| layer).await;
    assert_eq!(allocations(service, bare()), with_static_header(bare()) + 1);
    let service = warm(|layer| layer.replay_limit(0)).await;
    assert_eq!(allocations(service, bare()), with_static_header(bare()));
}

/// Of a stampede, each caller takes this. The request that it keeps is not counted.
#[tokio::test(start_paused = true)]
async fn p03_waiting_request_allocates_once_and_little() {
    let never = token_fn(std::future::pending::<Result<TokenSet, Error>>);
    let tokens = TokenCache::builder(never).origin(API).build().unwrap();
    let service = BearerAuthLayer::<Outbound>::new(tokens).layer(Nothing);
    let mut context = Context::from_waker(Waker::noop());
    let mut first = pin!(service.clone().call(with_four_headers()));
    assert!(first.as_mut().poll(&mut context).is_pending());
    for waiter in 0..3 {
        let mut service = service.clone();
        let mut request = Some(with_four_headers());
        let counted = measure(|| {
            let response = pin!(service.call(request.take().unwrap()));
            assert!(response.poll(&mut context).is_pending());
        });
        assert_eq!(counted.count_total, 1, "{waiter}");
        assert!(counted.bytes_total <= 1_024, "{}", counted.bytes_total);
    }
}

/// Texts of the program's own, which nothing shares yet: a clone of one would allocate.
fn of_the_program(uri: &str, names: &[&str]) -> Request<Body> {
    let mut request = Request::get(uri.to_owned()).body(Body::new()).unwrap();
    for (number, name) in names.iter().enumerate() {
        let value = match *name {
            "host" => "127.0.0.1:1".to_owned(),
            _ => format!("value-{number}"),
        };
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        let value = HeaderValue::from_maybe_shared(Bytes::from(value)).unwrap();
        request.headers_mut().append(name, value);
    }
    request
}

#[tokio::test(start_paused = true)]
async fn p01_request_allocates_once_for_the_retry_whatever_its_shape() {
    let custom: Vec<_> = (0..20).map(|number| format!("x-{number}")).collect();
    let custom: Vec<_> = custom.iter().map(String::as_str).collect();
    let uri = format!("{API}/v1/company?page=2");
    let with_host = [&["host"], &custom[..]].concat();
    for (names, is_host) in [
        (&["accept", "user-agent", "x-one", "x-two"][..], false),
        (&["host", "accept", "user-agent"], true),
        (&["accept", "user-agent", "host"], true),
        (&["set-cookie", "set-cookie", "cookie"], false),
        (&custom, false),
        (&with_host, true),
    ] {
        let request = || {
            let mut request = of_the_program(&uri, names);
            if is_host {
                let host = request.uri().authority().unwrap().as_str().to_owned();
                request.headers_mut().insert("host", host.parse().unwrap());
            }
            request
        };
        let with_header = with_static_header(request());
        let counted = allocations(warm(|layer| layer).await, request());
        assert_eq!(counted, with_header + 1, "{names:?}");
        let service = warm(|layer| layer.replay_limit(0)).await;
        assert_eq!(allocations(service, request()), with_header, "{names:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn p01_request_that_is_not_retried_allocates_nothing() {
    let service = warm(|layer| layer.replay_limit(0)).await;
    let counted = allocations(service, with_four_headers());
    assert_eq!(counted, with_static_header(with_four_headers()));
    assert_eq!(counted, 0);
}

/// Issues a token by the data of a provider.
struct With(Provider, ManualClock);
impl TokenSource for With {
    async fn fetch(&self, _: Option<&TokenSet>) -> Result<TokenSet, Error> {
        Ok(TokenSet::new(
            AccessToken::new("a1")?,
            Duration::from_secs(3_600),
            self.1.wall(),
        ))
    }
    fn provider(&self) -> Option<&Provider> {
        Some(&self.0)
    }
}

async fn reads(header: Option<&'static str>) -> u64 {
    let clock = ManualClock::new();
    let mut provider = Provider::builder("https://id.example.com/token").api_origin(API);
    if let Some(header) = header {
        provider = provider.token_header(TokenHeader::new(header));
    }
    let source = With(provider.build().unwrap(), clock.clone());
    let tokens = TokenCache::builder(source)
        .clock(clock.clone())
        .build()
        .unwrap();
    tokens.token().await.unwrap();
    tokio::time::advance(Duration::from_secs(60)).await;
    let mut service = BearerAuthLayer::<Body>::new(tokens).layer(Nothing);
    let mut cx = Context::from_waker(Waker::noop());
    let mut last = 0;
    for _ in 0..5 {
        assert!(Service::<Request<Body>>::poll_ready(&mut service, &mut cx).is_ready());
        let before = clock.reads();
        let request = Request::get(format!("{API}/v1")).body(Body::new()).unwrap();
        let response = service.call(request).await.unwrap();
        assert_eq!(response.status(), 200);
        last = clock.reads() - before;
    }
    last
}

#[tokio::test(start_paused = true)]
async fn p01_request_reads_the_clock_once_however_its_token_is_sent() {
    assert_eq!(reads(None).await, 1);
    assert_eq!(reads(Some("x-shopify-access-token")).await, 1);
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

const LIMIT: usize = 64 * 1024;
const LARGE: usize = 64 * 1024;

/// Sends a request body to its end and drops it. The response never comes.
#[derive(Clone)]
struct Consuming;

impl<B: http_body::Body> Service<Request<B>> for Consuming {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::future::Pending<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut body = pin!(request.into_body());
        let mut context = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(_)) = body.as_mut().poll_frame(&mut context) {}
        std::future::pending()
    }
}

type Frames = std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>;
type Streamed = StreamBody<futures_util::stream::Iter<Frames>>;

/// The bytes that a request keeps in memory after its body was sent.
fn kept(
    service: &mut BearerAuth<Consuming, ReplayBody<Streamed>>,
    frames: impl FnOnce() -> Vec<Frame<Bytes>>,
) -> usize {
    let mut kept = None;
    let counted = measure(|| {
        let frames: Vec<_> = frames().into_iter().map(Ok).collect();
        let body = StreamBody::new(futures_util::stream::iter(frames));
        kept = Some(service.call(Request::get(API).body(body).unwrap()));
    });
    usize::try_from(counted.bytes_current).unwrap()
}

fn slice(length: usize) -> Frame<Bytes> {
    Frame::data(Bytes::from(vec![b'x'; LARGE]).slice(..length))
}

fn trailers(count: usize) -> Frame<Bytes> {
    let value = || HeaderValue::from_maybe_shared(Bytes::from(vec![b'x'; LARGE]).slice(..1));
    let names = (0..count).map(|number| format!("x-{number}").parse::<HeaderName>().unwrap());
    let trailers: HeaderMap = names.map(|name| (name, value().unwrap())).collect();
    Frame::trailers(trailers)
}

#[tokio::test(start_paused = true)]
async fn p08_recorded_body_takes_no_more_memory_than_the_limit() {
    let tokens = Source::new(&ManualClock::new()).cache().build().unwrap();
    tokens.token().await.unwrap();
    let mut service = BearerAuthLayer::new(tokens).layer(Consuming);
    for _ in 0..3 {
        // The service has its own copy of the token from now on.
        kept(&mut service, Vec::new);
    }
    let without_a_body = kept(&mut service, Vec::new);
    let one_byte = || Frame::data(Bytes::from(vec![b'x']));
    let in_bytes = |count: usize| (0..count).map(|_| one_byte()).collect::<Vec<_>>();
    let mut memory = |name: &str, data: usize, frames: &dyn Fn() -> Vec<Frame<Bytes>>| {
        let memory = kept(&mut service, frames) - without_a_body;
        assert!(memory <= LIMIT, "{name}: {memory}");
        assert!(memory >= data, "{name}: {memory} bytes keep {data}");
        memory
    };
    memory("at the limit, in frames of a byte", LIMIT, &|| {
        in_bytes(LIMIT)
    });
    memory("beyond it, in frames of a byte", 0, &|| in_bytes(LIMIT + 1));
    memory("empty frames", 0, &|| {
        (0..LIMIT * 2).map(|_| Frame::data(Bytes::new())).collect()
    });
    memory("slices of a byte", 1_000, &|| {
        (0..1_000).map(|_| slice(1)).collect()
    });
    memory("larger slices", LIMIT, &|| {
        (0..4).map(|_| slice(LIMIT / 4)).collect()
    });
    memory("beyond it, in large slices", 0, &|| {
        (0..5).map(|_| slice(LIMIT / 4)).collect()
    });
    memory("trailers", 500, &|| vec![one_byte(), trailers(500)]);
    memory("beyond it, in trailers", 0, &|| {
        vec![one_byte(), trailers(1_000)]
    });
}
