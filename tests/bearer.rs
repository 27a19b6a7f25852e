//! The layer, state by state, over a mock service.

use std::{
    convert::Infallible,
    error::Error as _,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header::AUTHORIZATION};
use http_body_util::{BodyExt, Full, channel::Channel};
use tokio::{task::JoinSet, time::timeout};
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};
use tower::{
    Layer, Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimit, util::BoxCloneSyncService,
};
use tower_oauth2_client::{
    ErrorKind,
    bearer::{BearerAuth, BearerAuthLayer, ReplayBody, ReplayLimit},
    cache::{ClientCredentials, TokenCache},
    clock::Clock,
    oauth::OAuthClient,
    provider::{ClientAuthentication, Provider, TokenRejection},
    token::Generation,
};
use tower_test::mock;

#[path = "support/mod.rs"]
mod support;

use support::{API, DAY, ManualClock, Scripted, Source, unavailable};

type Body = Full<Bytes>;
type Inner = mock::Mock<Request<ReplayBody<Body>>, Response<Body>>;
type Outcome = <BearerAuth<Inner, ReplayBody<Body>> as Service<Request<Body>>>::Future;
type Handle = mock::Handle<Request<ReplayBody<Body>>, Response<Body>>;

/// A layer with a fresh token over a mock.
struct Stack {
    clock: ManualClock,
    source: Source,
    tokens: TokenCache,
    service: mock::Spawn<BearerAuth<Inner, ReplayBody<Body>>>,
    handle: Handle,
}

async fn stack() -> Stack {
    stack_with(BearerAuthLayer::new).await
}

async fn stack_with(layer: impl FnOnce(TokenCache) -> BearerAuthLayer<ReplayBody<Body>>) -> Stack {
    let clock = ManualClock::new();
    let source = Source::new(&clock);
    let tokens = source
        .cache()
        .origin("https://second.example.com")
        .build()
        .unwrap();
    tokens.token().await.unwrap();
    propagate().await;
    let layer = layer(tokens.clone());
    let (service, handle) = mock::spawn_with(move |inner| layer.layer(inner));
    Stack {
        clock,
        source,
        tokens,
        service,
        handle,
    }
}

impl Stack {
    fn send(&mut self, request: Request<Body>) -> task::Spawn<Outcome> {
        assert_ready_ok!(self.service.poll_ready());
        task::spawn(self.service.call(request))
    }

    /// The next request that reaches the inner service, with its whole body.
    async fn arrived(&mut self) -> (Request<Bytes>, mock::SendResponse<Response<Body>>) {
        let next = timeout(DAY / 24, self.handle.next_request());
        let (request, answer) = next.await.expect("a request arrives").unwrap();
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (Request::from_parts(head, body), answer)
    }

    fn is_idle(&mut self) -> bool {
        let mut next = task::spawn(self.handle.next_request());
        next.poll().is_pending()
    }
}

fn get() -> Request<Body> {
    Request::get(format!("{API}/v1/company"))
        .body(Body::default())
        .unwrap()
}

fn respond(status: u16) -> Response<Body> {
    Response::builder()
        .status(status)
        .body(Body::default())
        .unwrap()
}

fn challenge(challenge: &str) -> Response<Body> {
    let response = Response::builder()
        .status(401)
        .header("www-authenticate", challenge);
    response.body(Body::from("no")).unwrap()
}

/// A service that rejects the first token and accepts any other.
fn rejecting_the_first()
-> impl Service<Request<ReplayBody<Body>>, Response = Response<Body>, Error = Infallible, Future: Send>
+ Clone {
    tower::service_fn(|request: Request<ReplayBody<Body>>| async move {
        let is_old = token_of(&request) == "Bearer a1";
        Ok(respond(if is_old { 401 } else { 200 }))
    })
}

fn token_of<B>(request: &Request<B>) -> &str {
    request.headers()[AUTHORIZATION].to_str().unwrap()
}

/// Passes the time after which a 401 to a new token concerns the token.
async fn propagate() {
    tokio::time::sleep(Duration::from_secs(10)).await;
}

/// Passes the minimum interval between two refreshes, so that one that is due can start.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(2)).await;
}

#[tokio::test(start_paused = true)]
async fn p01_fresh_token_costs_one_clock_read_and_no_wait() {
    let mut stack = stack().await;
    let reads = stack.clock.reads();
    let _response = stack.send(get());
    assert_eq!(stack.clock.reads() - reads, 1);
    // The inner service has the request before the response is polled once.
    let (request, _) = stack.handle.next_request().await.unwrap();
    assert_eq!(token_of(&request), "Bearer a1");
    assert!(request.headers()[AUTHORIZATION].is_sensitive());
}

#[tokio::test(start_paused = true)]
async fn p01_requests_of_one_clone_share_a_header_value_and_clones_do_not() {
    let tokens = stack().await.tokens;
    let (inner, mut handle) = mock::pair::<Request<ReplayBody<Body>>, Response<Body>>();
    let first = BearerAuthLayer::new(tokens).layer(inner);
    let mut both = [first.clone(), first];
    let mut places = Vec::new();
    for service in &mut both {
        for _ in 0..3 {
            let _response = service.ready().await.unwrap().call(get());
            let (request, _) = handle.next_request().await.unwrap();
            places.push(request.headers()[AUTHORIZATION].as_bytes().as_ptr());
        }
    }
    // The first request of each clone uses the shared value, because many clones have no second
    // one.
    assert_eq!(places[0], places[3]);
    assert_eq!(places[1], places[2]);
    assert_eq!(places[4], places[5]);
    assert_ne!(places[0], places[1]);
    assert_ne!(places[1], places[4]);
}

#[tokio::test(start_paused = true)]
async fn p01_private_copy_is_dropped_once_the_token_has_changed() {
    let mut stack = stack().await;
    for _ in 0..3 {
        let _response = stack.send(get());
        let (request, _) = stack.handle.next_request().await.unwrap();
        assert_eq!(token_of(&request), "Bearer a1");
    }
    settle().await;
    stack.tokens.refresh_now().await.unwrap();
    let _response = stack.send(get());
    let (request, _) = stack.handle.next_request().await.unwrap();
    assert_eq!(token_of(&request), "Bearer a2");
    assert!(request.headers()[AUTHORIZATION].is_sensitive());

    stack.tokens.revoke().await.unwrap();
    let error = stack.send(get()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Revoked);
}

/// A token that is invalidated or has expired is not sent from a private copy either.
#[tokio::test(start_paused = true)]
async fn p18_private_copy_serves_no_longer_than_the_token() {
    type Ending = fn(&Stack);
    let endings: [(&str, Ending); 3] = [
        ("invalidated", |stack| stack.tokens.invalidate()),
        ("slept through", |stack| stack.clock.shift_wall(2 * 86_400)),
        ("outlived", |stack| stack.clock.advance(2 * 86_400)),
    ];
    for (how, end) in endings {
        let mut stack = stack().await;
        for _ in 0..3 {
            let _response = stack.send(get());
            let (request, _) = stack.handle.next_request().await.unwrap();
            assert_eq!(token_of(&request), "Bearer a1");
        }
        stack.source.block();
        end(&stack);
        // The cache notices a suspend within 30 seconds.
        tokio::time::sleep(Duration::from_secs(31)).await;
        let mut response = stack.send(get());
        assert_pending!(response.poll(), "{how}");
        assert!(stack.is_idle(), "{how}");
        stack.source.unblock();
        settle().await;
        assert_pending!(response.poll());
        let (request, _) = stack.arrived().await;
        assert_eq!(token_of(&request), "Bearer a2", "{how}");
    }
}

#[tokio::test(start_paused = true)]
async fn p05_token_that_only_private_copies_use_is_refreshed_early() {
    let mut stack = stack().await;
    for exchanges in 1..=5 {
        assert_eq!(stack.source.refreshes(), exchanges);
        let _response = stack.send(get());
        let (request, _) = stack.handle.next_request().await.unwrap();
        assert_eq!(token_of(&request), format!("Bearer a{exchanges}"));
        tokio::time::sleep(47 * DAY / 48).await;
    }
}

/// Clones copy the token while it is replaced again and again. No copy outlives its token.
#[tokio::test]
async fn p23_copy_made_during_a_replacement_does_not_outlive_the_token() {
    const REPLACED: u64 = 3_000;

    let clock = ManualClock::new();
    let source = Source::new(&clock);
    let tokens = source.cache().build().unwrap();
    let first = support::token_set(0, DAY, clock.wall());
    tokens.set_tokens(first).await.unwrap();

    let newest = Arc::new(AtomicU64::new(0));
    let sent = Arc::new(AtomicU64::new(0));
    let (at_least, last) = (newest.clone(), sent.clone());
    let inner = tower::service_fn(move |request: Request<ReplayBody<Body>>| {
        let number = token_of(&request).strip_prefix("Bearer a").unwrap();
        last.store(number.parse().unwrap(), Ordering::SeqCst);
        std::future::ready(Ok::<_, Infallible>(respond(200)))
    });
    let mut service = BearerAuthLayer::new(tokens.clone()).layer(inner);
    let sending = std::thread::spawn(move || {
        loop {
            let newest = at_least.load(Ordering::SeqCst);
            let _response = service.call(get());
            let sent = sent.load(Ordering::SeqCst);
            assert!(sent >= newest, "a{sent} was sent after a{newest} came");
            if newest == REPLACED {
                break;
            }
        }
    });
    for number in 1..=REPLACED {
        let tokens_of_it = support::token_set(number, DAY, clock.wall());
        tokens.set_tokens(tokens_of_it).await.unwrap();
        newest.store(number, Ordering::SeqCst);
    }
    sending.join().unwrap();
}

#[tokio::test(start_paused = true)]
async fn p05_in_the_advisory_window_one_request_starts_the_refresh_and_the_others_stay_on_the_hot_path()
 {
    let mut stack = stack().await;
    stack.clock.advance(23 * 3_600);
    // The first cache starts the refresh and saves its intent; another cache reads the intent.
    for _ in 0..3 {
        let _response = stack.send(get());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let reads = stack.clock.reads();
    for _ in 0..100 {
        let _response = stack.send(get());
    }
    assert_eq!(stack.clock.reads() - reads, 100);
    assert_eq!(
        stack.source.refreshes(),
        2,
        "the refresh is still in flight"
    );

    // A clone that serves a single request reads the snapshot, and does not request a refresh
    // either.
    let (inner, _handle) = mock::pair::<Request<ReplayBody<Body>>, Response<Body>>();
    let service = BearerAuthLayer::new(stack.tokens.clone()).layer(inner);
    let reads = stack.clock.reads();
    for _ in 0..100 {
        let _response = service.clone().ready().await.unwrap().call(get());
    }
    assert_eq!(stack.clock.reads() - reads, 300);
}

#[tokio::test(start_paused = true)]
async fn p05_while_early_refreshes_fail_requests_try_one_once_a_second() {
    let mut stack = stack().await;
    stack.source.then(Scripted::Fail(unavailable()));
    stack.clock.advance(23 * 3_600);
    let _response = stack.send(get());
    settle().await;
    assert_eq!(stack.source.refreshes(), 2);
    for _ in 0..3 {
        let _response = stack.send(get());
        let reads = stack.clock.reads();
        for _ in 0..100 {
            let _response = stack.send(get());
        }
        assert_eq!(stack.clock.reads() - reads, 100);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // The backoff is over, and only a request can notice that.
    stack.clock.advance(600);
    let _response = stack.send(get());
    settle().await;
    assert_eq!(stack.source.refreshes(), 3);
    let _response = stack.send(get());
    for _ in 0..203 {
        stack.handle.next_request().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn p02_readiness_is_polled_for_each_call_of_the_inner_service() {
    let mut stack = stack().await;
    stack.handle.allow(1);
    let mut response = stack.send(get());
    let (_, refuse) = stack.arrived().await;
    refuse.send_response(respond(401));
    assert_pending!(response.poll());
    settle().await;
    // There is a newer token, but the inner service is not ready: the mock would panic if it were
    // called now.
    assert_pending!(response.poll());
    settle().await;
    assert!(stack.is_idle());
    stack.handle.allow(1);
    assert_pending!(response.poll());
    let (request, accept) = stack.arrived().await;
    assert_eq!(token_of(&request), "Bearer a2");
    accept.send_response(respond(200));
    assert_eq!(assert_ready_ok!(response.poll()).status(), 200);
}

type Narrow =
    ConcurrencyLimit<BoxCloneSyncService<Request<ReplayBody<Body>>, Response<Body>, Infallible>>;

/// An inner service with a capacity of one request, and the number of requests that have arrived.
fn narrow() -> (Narrow, Arc<AtomicUsize>) {
    let arrived = Arc::new(AtomicUsize::new(0));
    let counter = arrived.clone();
    let service = tower::service_fn(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        async { Ok(respond(200)) }
    });
    (
        ConcurrencyLimit::new(BoxCloneSyncService::new(service), 1),
        arrived,
    )
}

#[tokio::test(start_paused = true)]
async fn p02_request_that_waits_for_a_token_holds_no_capacity() {
    let source = Source::new(&ManualClock::new());
    source.block();
    let tokens = source.cache().build().unwrap();
    let (inner, arrived) = narrow();
    let api = BearerAuthLayer::new(tokens).layer(inner.clone());
    let mut waiting = JoinSet::new();
    for _ in 0..1_000 {
        let api = api.clone();
        waiting.spawn(async move { api.oneshot(get()).await.unwrap().status() });
    }
    settle().await;
    // Another client of the same service is not starved.
    let plain = get().map(|_| ReplayBody::from(Bytes::new()));
    inner.oneshot(plain).await.unwrap();
    assert_eq!(arrived.load(Ordering::SeqCst), 1);
    source.unblock();
    assert!(waiting.join_all().await.iter().all(StatusCode::is_success));
    assert_eq!(arrived.load(Ordering::SeqCst), 1_001);
    assert_eq!(source.refreshes(), 1);
}

#[tokio::test(start_paused = true)]
async fn p02_capacity_that_poll_ready_reserved_is_released() {
    let source = Source::new(&ManualClock::new());
    source.block();
    source.then(Scripted::Fail(unavailable()));
    let tokens = source.cache().build().unwrap();
    let (mut inner, _) = narrow();
    let mut api = BearerAuthLayer::new(tokens).layer(inner.clone());
    let elsewhere = || {
        Request::get("https://example.org")
            .body(Body::default())
            .unwrap()
    };

    // While the request waits.
    let waiting = api.ready().await.unwrap().call(get());
    let free = "nothing is held back";
    timeout(DAY, inner.ready()).await.expect(free).unwrap();
    inner = inner.clone();
    // When the request fails, for its origin …
    assert!(api.ready().await.unwrap().call(elsewhere()).await.is_err());
    timeout(DAY, inner.ready()).await.expect(free).unwrap();
    inner = inner.clone();
    // … or without a token.
    source.unblock();
    assert!(waiting.await.is_err());
    assert!(api.ready().await.unwrap().call(get()).await.is_err());
    timeout(DAY, inner.ready()).await.expect(free).unwrap();
}

#[tokio::test(start_paused = true)]
async fn p03_hundred_rejected_requests_cause_one_refresh_and_all_succeed() {
    let source = Source::new(&ManualClock::new());
    let tokens = source.cache().build().unwrap();
    tokens.token().await.unwrap();
    propagate().await;
    let api = BearerAuthLayer::new(tokens).layer(rejecting_the_first());
    let mut requests = JoinSet::new();
    for _ in 0..100 {
        requests.spawn(api.clone().oneshot(get()));
    }
    let answers = requests.join_all().await;
    assert!(
        answers
            .into_iter()
            .all(|answer| answer.unwrap().status() == 200)
    );
    assert_eq!(source.refreshes(), 2);
}

#[tokio::test(start_paused = true)]
async fn p04_dropped_request_does_not_abort_the_refresh_that_it_started() {
    let mut stack = stack().await;
    let mut response = stack.send(get());
    let (_, refuse) = stack.arrived().await;
    refuse.send_response(respond(401));
    assert_pending!(response.poll());
    drop(response);
    settle().await;
    assert_eq!(
        stack.tokens.token().await.unwrap().header_value(),
        "Bearer a2"
    );
    assert_eq!(stack.source.refreshes(), 2);
}

#[tokio::test(start_paused = true)]
async fn p06_late_401_for_an_older_token_causes_no_refresh() {
    let mut stack = stack().await;
    let mut late = stack.send(get());
    let (request, refuse) = stack.arrived().await;
    assert_eq!(token_of(&request), "Bearer a1");
    stack.tokens.refresh_now().await.unwrap();
    propagate().await;
    refuse.send_response(respond(401));
    // Without waiting: the cache has the newer token.
    assert_pending!(late.poll());
    let (request, accept) = stack.arrived().await;
    assert_eq!(token_of(&request), "Bearer a2");
    accept.send_response(respond(200));
    assert_eq!(assert_ready_ok!(late.poll()).status(), 200);
    assert_eq!(stack.source.refreshes(), 2);
}

#[tokio::test(start_paused = true)]
async fn p06_401_concerns_the_generation_of_the_private_copy() {
    let mut stack = stack().await;
    settle().await;
    stack.tokens.refresh_now().await.unwrap();
    for _ in 0..2 {
        let _response = stack.send(get());
        let _ = stack.arrived().await;
    }
    propagate().await;
    let mut response = stack.send(get());
    let (request, refuse) = stack.arrived().await;
    assert_eq!(token_of(&request), "Bearer a2");
    refuse.send_response(respond(401));
    assert_pending!(response.poll());
    settle().await;
    assert_pending!(response.poll());
    let (request, _) = stack.arrived().await;
    assert_eq!(token_of(&request), "Bearer a3");
    assert_eq!(stack.source.refreshes(), 3);
}

#[tokio::test(start_paused = true)]
async fn p06_401_adopts_the_token_that_another_replica_has_stored() {
    let source = Source::new(&ManualClock::new());
    let store = support::Store::default();
    let replica = || source.cache().store(store.clone()).build().unwrap();
    let (here, there) = (replica(), replica());
    here.token().await.unwrap();
    propagate().await;
    there.refresh_now().await.unwrap();
    let exchanges = source.refreshes();
    let api = BearerAuthLayer::new(here).layer(rejecting_the_first());
    assert_eq!(api.oneshot(get()).await.unwrap().status(), 200);
    assert_eq!(source.refreshes(), exchanges);
}

#[tokio::test(start_paused = true)]
async fn p07_one_retry_whose_response_is_returned_unchanged() {
    let mut stack = stack().await;
    let mut response = stack.send(get());
    let (_, refuse) = stack.arrived().await;
    refuse.send_response(respond(401));
    assert_pending!(response.poll());
    settle().await;
    assert_pending!(response.poll());
    let (request, refuse) = stack.arrived().await;
    assert_eq!(token_of(&request), "Bearer a2");
    refuse.send_response(challenge(
        "Bearer error=\"invalid_token\", realm=\"second\"",
    ));
    let response = assert_ready_ok!(response.poll());
    assert_eq!(response.status(), 401);
    assert!(
        response.headers()["www-authenticate"]
            .to_str()
            .unwrap()
            .contains("second")
    );
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "no"
    );
    assert!(stack.is_idle());
}

#[tokio::test(start_paused = true)]
async fn p07_without_a_newer_token_the_first_response_is_returned() {
    let mut stack = stack().await;
    stack.source.then(Scripted::Fail(unavailable()));
    let mut response = stack.send(get());
    let (_, refuse) = stack.arrived().await;
    refuse.send_response(challenge("Bearer realm=\"first\""));
    assert_pending!(response.poll());
    settle().await;
    let response = assert_ready_ok!(response.poll());
    assert_eq!(response.status(), 401);
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "no",
        "unread"
    );
    // P5: the token stays in use.
    assert_eq!(
        stack.tokens.token().await.unwrap().header_value(),
        "Bearer a1"
    );
}

#[tokio::test(start_paused = true)]
async fn p07_rejected_token_is_not_used_after_one_failed_refresh() {
    let source = Source::new(&ManualClock::new());
    let tokens = source.cache().build().unwrap();
    tokens.token().await.unwrap();
    source.then(Scripted::Fail(unavailable()));
    let api = BearerAuthLayer::new(tokens).layer(rejecting_the_first());
    assert_eq!(api.clone().oneshot(get()).await.unwrap().status(), 401);
    settle().await;
    assert_eq!(api.oneshot(get()).await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn p07_grant_that_has_ended_has_no_newer_token() {
    let mut stack = stack().await;
    stack
        .source
        .then(Scripted::Fail(tower_oauth2_client::Error::invalid_grant()));
    let mut response = stack.send(get());
    let (_, refuse) = stack.arrived().await;
    refuse.send_response(respond(401));
    assert_pending!(response.poll());
    settle().await;
    assert_eq!(assert_ready_ok!(response.poll()).status(), 401);
    assert!(stack.is_idle(), "the rejected token is not sent again");
}

#[tokio::test(start_paused = true)]
async fn p06_backoff_does_not_hide_the_token_that_another_replica_has_stored() {
    let source = Source::new(&ManualClock::new());
    let store = support::Store::default();
    let replica = || source.cache().store(store.clone()).build().unwrap();
    let (here, there) = (replica(), replica());
    here.token().await.unwrap();
    there.token().await.unwrap();
    for _ in 0..8 {
        source.then(Scripted::Fail(unavailable()));
        here.refresh_now().await.unwrap_err();
    }
    there.refresh_now().await.unwrap();
    let api = BearerAuthLayer::new(here).layer(rejecting_the_first());
    assert_eq!(api.oneshot(get()).await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn p07_refreshes_are_ever_further_apart_while_the_server_rejects_every_token() {
    let source = Source::new(&ManualClock::new());
    let tokens = source.cache().build().unwrap();
    let service = tower::service_fn(|_: Request<ReplayBody<Body>>| async {
        Ok::<_, Infallible>(respond(401))
    });
    let api = BearerAuthLayer::new(tokens).layer(service);
    let mut refreshed = vec![source.age()];
    while source.age() < DAY {
        assert_eq!(api.clone().oneshot(get()).await.unwrap().status(), 401);
        if source.refreshes() > refreshed.len() {
            refreshed.push(source.age());
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let minutes: Vec<_> = refreshed
        .windows(2)
        .map(|times| times[1].saturating_sub(times[0]).as_secs() / 60)
        .collect();
    assert_eq!(minutes[..8], [0, 0, 1, 2, 4, 8, 16, 30], "{minutes:?}");
    assert!(minutes[8..].iter().all(|pause| *pause == 30), "{minutes:?}");
}

#[tokio::test(start_paused = true)]
async fn p07_403_never_refreshes() {
    let mut stack = stack().await;
    let mut response = stack.send(get());
    let (_, refuse) = stack.arrived().await;
    let mut forbidden = challenge("Bearer error=\"invalid_token\"");
    *forbidden.status_mut() = StatusCode::FORBIDDEN;
    refuse.send_response(forbidden);
    assert_eq!(assert_ready_ok!(response.poll()).status(), 403);
    settle().await;
    assert_eq!(stack.source.refreshes(), 1);
}

/// A provider whose API responds to an expired token with another status.
#[tokio::test(start_paused = true)]
async fn p07_response_that_the_provider_names_is_retried_like_a_401() {
    let invalid = "Bearer error=\"invalid_token\"";
    for (status, challenge, is_retried) in [
        (403, "", true),
        (403, "Bearer error=\"insufficient_scope\"", false),
        (400, invalid, true),
        (400, "", false),
        (404, invalid, false),
    ] {
        let provider = Provider::builder("https://id.example.com/token")
            .api_origin(API)
            .client_authentication(ClientAuthentication::RequestBody)
            .token_rejection(TokenRejection::new(StatusCode::FORBIDDEN))
            .token_rejection(
                TokenRejection::new(StatusCode::BAD_REQUEST).with_error("invalid_token"),
            )
            .build()
            .unwrap();
        let issued = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&issued);
        let endpoint = tower::service_fn(move |_: Request<Body>| {
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            let tokens = format!(r#"{{"access_token":"a{number}","expires_in":86400}}"#);
            async move { Ok::<_, Infallible>(Response::new(Body::from(tokens))) }
        });
        let oauth = OAuthClient::builder(provider, "id")
            .client_secret("secret")
            .build(endpoint)
            .unwrap();
        let tokens = TokenCache::builder(ClientCredentials::new(oauth))
            .build()
            .unwrap();
        tokens.token().await.unwrap();
        propagate().await;
        let service = tower::service_fn(move |request: Request<ReplayBody<Body>>| async move {
            if token_of(&request) != "Bearer a1" {
                return Ok::<_, Infallible>(respond(200));
            }
            let response = Response::builder().status(status);
            let response = response.header("www-authenticate", challenge);
            Ok(response.body(Body::default()).unwrap())
        });
        let api = BearerAuthLayer::new(tokens).layer(service);
        let expected = if is_retried { 200 } else { status };
        assert_eq!(api.oneshot(get()).await.unwrap().status(), expected);
        let refreshes = if is_retried { 2 } else { 1 };
        assert_eq!(
            issued.load(Ordering::SeqCst),
            refreshes,
            "{status} {challenge}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn p07_only_challenges_that_concern_the_token_cause_a_refresh() {
    for (text, renews) in [
        ("Bearer error=\"invalid_token\"", true),
        ("bearer", true),
        ("Basic realm=\"x\"", true),
        ("Bearer error=\"insufficient_scope\", scope=\"x\"", false),
        ("Bearer error=\"invalid_request\"", false),
    ] {
        let mut stack = stack().await;
        let mut response = stack.send(get());
        let (_, refuse) = stack.arrived().await;
        refuse.send_response(challenge(text));
        assert_eq!(response.poll().is_pending(), renews, "{text}");
        settle().await;
        assert_eq!(
            stack.source.refreshes(),
            if renews { 2 } else { 1 },
            "{text}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn p08_retry_differs_from_the_request_only_in_the_token() {
    #[derive(Clone, PartialEq, Debug)]
    struct Extension(&'static str);

    let mut stack = stack().await;
    let mut key = HeaderValue::from_static("secret");
    key.set_sensitive(true);
    let request = Request::post(format!("{API}/v1/deductions?a=b"))
        .version(http::Version::HTTP_2)
        .header("x-one", "1")
        .header("content-type", "application/json")
        .header("x-one", "2")
        .header("accept", "*/*")
        .header("x-one", "0")
        .header("x-key", key)
        .extension(Extension("kept"))
        .body(Body::from("{\"operation_id\":\"o1\"}"))
        .unwrap();
    let mut response = stack.send(request);
    let (first, refuse) = stack.arrived().await;
    refuse.send_response(respond(401));
    assert_pending!(response.poll());
    settle().await;
    assert_pending!(response.poll());
    let (second, _) = stack.arrived().await;

    assert_eq!(first.method(), second.method());
    assert_eq!(first.uri(), second.uri());
    assert_eq!(first.version(), second.version());
    assert_eq!(first.body(), second.body());
    assert_eq!(second.body(), "{\"operation_id\":\"o1\"}");
    assert_eq!(second.extensions().get(), Some(&Extension("kept")));
    assert_eq!(token_of(&first), "Bearer a1");
    assert_eq!(token_of(&second), "Bearer a2");
    // In their order, with the token in its place.
    let row = |request: &Request<Bytes>| -> Vec<(String, String, bool)> {
        let headers = request.headers().iter();
        headers
            .map(|(name, value)| {
                let text = value.to_str().unwrap().replace("Bearer a1", "Bearer a2");
                (name.to_string(), text, value.is_sensitive())
            })
            .collect()
    };
    assert_eq!(row(&first), row(&second));
    assert_eq!(row(&second).len(), 7);
}

/// A header map holds any number of values, but cannot be created with a capacity for all of them.
#[tokio::test(start_paused = true)]
async fn p08_retry_has_all_header_values_of_the_request() {
    let mut stack = stack().await;
    let mut request = get();
    for _ in 0..40_000 {
        request
            .headers_mut()
            .append("x-one", HeaderValue::from_static("1"));
    }
    let mut response = stack.send(request);
    let (first, refuse) = stack.arrived().await;
    stack.tokens.refresh_now().await.unwrap();
    propagate().await;
    refuse.send_response(respond(401));
    assert_pending!(response.poll());
    let (second, _) = stack.arrived().await;
    assert_eq!(first.headers().len(), second.headers().len());
    assert_eq!(token_of(&second), "Bearer a2");
}

#[tokio::test(start_paused = true)]
async fn p20_request_without_room_for_the_token_fails() {
    let mut stack = stack().await;
    let mut request = get();
    // As many names as a header map can hold.
    for number in 0..24_576 {
        let name: HeaderName = format!("x-{number}").parse().unwrap();
        request
            .headers_mut()
            .insert(name, HeaderValue::from_static("1"));
    }
    let error = assert_ready_err!(stack.send(request).poll());
    assert_eq!(error.kind(), ErrorKind::Request);
    assert!(stack.is_idle());
}

/// A client that knows the length from the header may not poll for the end of a body of unknown
/// length.
#[tokio::test(start_paused = true)]
async fn p08_body_is_complete_at_the_content_length() {
    for (length, is_retried) in [("9", true), ("8", false), ("nine", false)] {
        let source = Source::new(&ManualClock::new());
        let tokens = source.cache().build().unwrap();
        tokens.token().await.unwrap();
        propagate().await;
        let service =
            tower::service_fn(|request: Request<ReplayBody<Channel<Bytes>>>| async move {
                let is_old = token_of(&request) == "Bearer a1";
                let mut body = request.into_body();
                let data = body.frame().await.unwrap().unwrap().into_data().unwrap();
                assert_eq!(data, "all of it");
                Ok::<_, Infallible>(respond(if is_old { 401 } else { 200 }))
            });
        let api = BearerAuthLayer::new(tokens).layer(service);
        let (mut sender, body) = Channel::new(1);
        sender.send_data(Bytes::from("all of it")).await.unwrap();
        drop(sender);
        let request = Request::post(format!("{API}/upload"))
            .header("content-length", length)
            .body(body)
            .unwrap();
        let status = api.oneshot(request).await.unwrap().status();
        assert_eq!(status, if is_retried { 200 } else { 401 }, "{length}");
    }
}

#[tokio::test(start_paused = true)]
async fn p08_body_that_cannot_be_sent_again_is_not_retried_and_the_token_is_refreshed() {
    for (limit, body) in [(4, "five5"), (0, "")] {
        let mut stack = stack_with(|tokens| BearerAuthLayer::new(tokens).replay_limit(limit)).await;
        let request = Request::post(format!("{API}/v1/deductions"))
            .body(Body::from(body))
            .unwrap();
        let mut response = stack.send(request);
        let (request, refuse) = stack.arrived().await;
        assert_eq!(request.body(), body, "the whole body is sent");
        refuse.send_response(respond(401));
        assert_eq!(assert_ready_ok!(response.poll()).status(), 401);
        settle().await;
        assert_eq!(
            stack.tokens.token().await.unwrap().header_value(),
            "Bearer a2"
        );
        assert!(stack.is_idle());
    }
}

#[tokio::test(start_paused = true)]
async fn p08_replay_limit_in_the_extensions_takes_precedence() {
    for (of_layer, of_request, retried) in [
        (64, ReplayLimit::NEVER, false),
        (0, ReplayLimit::bytes(64), true),
    ] {
        let mut stack =
            stack_with(|tokens| BearerAuthLayer::new(tokens).replay_limit(of_layer)).await;
        let mut request = get();
        request.extensions_mut().insert(of_request);
        let mut response = stack.send(request);
        let (_, refuse) = stack.arrived().await;
        refuse.send_response(respond(401));
        assert_eq!(response.poll().is_pending(), retried);
        settle().await;
        assert_eq!(
            stack.source.refreshes(),
            2,
            "refreshed for the others in any case"
        );
    }
}

/// A request that is dropped, in whatever state, does not block the next one.
#[tokio::test(start_paused = true)]
async fn p04_request_can_be_dropped_in_any_state() {
    for state in 0..7 {
        let mut stack = stack().await;
        stack.source.set_delay(Duration::from_secs(3));
        if state == 0 {
            // Waiting for a token.
            tokio::time::sleep(40 * DAY).await;
            stack.source.block();
            tokio::time::sleep(2 * DAY).await;
            let mut response = stack.send(get());
            assert_pending!(response.poll());
            drop(response);
            stack.source.unblock();
        } else {
            let mut response = stack.send(get());
            if state > 1 {
                // Sent, and then rejected with a body that takes time to read.
                let (_, refuse) = stack.arrived().await;
                assert_pending!(response.poll());
                refuse.send_response(respond(401));
                if state > 3 {
                    stack.handle.allow(0);
                }
            }
            if state > 2 {
                // Waiting for the refresh.
                assert_pending!(response.poll());
            }
            if state > 3 {
                // Waiting for the inner service, before the retry.
                tokio::time::sleep(Duration::from_secs(10)).await;
                assert_pending!(response.poll());
                assert!(stack.is_idle());
            }
            if state > 4 {
                stack.handle.allow(1);
                assert_pending!(response.poll());
            }
            if state > 5 {
                let (request, _kept) = stack.arrived().await;
                assert_eq!(token_of(&request), "Bearer a2");
            }
            drop(response);
            stack.handle.allow(u64::MAX);
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
        let newest = stack.tokens.token().await.unwrap();
        // Requests sent before the drop are taken from the mock and get no response.
        while !stack.is_idle() {}
        let mut response = stack.send(get());
        let (request, accept) = stack.arrived().await;
        assert_eq!(
            &request.headers()[AUTHORIZATION],
            newest.header_value(),
            "{state}"
        );
        accept.send_response(respond(200));
        assert_eq!(assert_ready_ok!(response.poll()).status(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn p08_401_before_the_body_was_sent_is_returned() {
    let source = Source::new(&ManualClock::new());
    let tokens = source.cache().build().unwrap();
    tokens.token().await.unwrap();
    propagate().await;
    // Responds after the first frame of a body that has not ended.
    let service = tower::service_fn(|request: Request<ReplayBody<Channel<Bytes>>>| async move {
        let mut body = request.into_body();
        assert_eq!(
            body.frame().await.unwrap().unwrap().into_data().unwrap(),
            "half"
        );
        let early = Ok::<_, Infallible>(respond(401));
        tokio::spawn(async move {
            let _still_sending = body;
            pending::<()>().await;
        });
        early
    });
    let api = BearerAuthLayer::new(tokens.clone()).layer(service);
    let (mut sender, body) = Channel::new(1);
    sender.send_data(Bytes::from("half")).await.unwrap();
    let request = Request::post(format!("{API}/upload")).body(body).unwrap();
    // The request does not wait for a token that it cannot use.
    source.block();
    let early = timeout(Duration::from_millis(1), api.oneshot(request)).await;
    assert_eq!(early.expect("at once").unwrap().status(), 401);
    source.unblock();
    settle().await;
    assert_eq!(tokens.token().await.unwrap().header_value(), "Bearer a2");
}

#[tokio::test(start_paused = true)]
async fn p09_first_response_is_drained_before_the_retry() {
    type Slow = mock::Mock<Request<ReplayBody<Body>>, Response<Channel<Bytes>>>;
    let source = Source::new(&ManualClock::new());
    let tokens = source.cache().build().unwrap();
    tokens.token().await.unwrap();
    let layer = BearerAuthLayer::new(tokens.clone());
    let (mut service, mut handle) =
        mock::spawn_with::<_, _, _, BearerAuth<Slow, ReplayBody<Body>>>(move |inner| {
            layer.layer(inner)
        });
    assert_ready_ok!(service.poll_ready());
    let mut response = task::spawn(service.call(get()));
    let (_, refuse) = handle.next_request().await.unwrap();
    tokens.refresh_now().await.unwrap();
    propagate().await;
    let (mut rest, body) = Channel::new(4);
    refuse.send_response(Response::builder().status(401).body(body).unwrap());
    assert_pending!(response.poll());
    rest.send_data(Bytes::from("no, ")).await.unwrap();
    assert_pending!(response.poll());
    assert_pending!(
        task::spawn(handle.next_request()).poll(),
        "the connection is not free yet"
    );
    drop(rest);
    assert_pending!(response.poll());
    let (request, _) = handle.next_request().await.unwrap();
    assert_eq!(token_of(&request), "Bearer a2");
}

#[tokio::test(start_paused = true)]
async fn p17_without_a_token_the_request_fails_and_nothing_is_sent() {
    let clock = ManualClock::new();
    let source = Source::new(&clock);
    source.then(Scripted::Fail(unavailable()));
    let tokens = source.cache().build().unwrap();
    let layer = BearerAuthLayer::new(tokens);
    let (mut service, mut handle) =
        mock::spawn_with::<_, _, _, BearerAuth<Inner, ReplayBody<Body>>>(move |inner| {
            layer.layer(inner)
        });
    assert_ready_ok!(service.poll_ready());
    let mut response = task::spawn(service.call(get()));
    assert_pending!(response.poll());
    tokio::time::sleep(Duration::from_millis(200)).await;
    let error = assert_ready_err!(response.poll());
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    // The next requests fail too, without another refresh.
    assert_ready_ok!(service.poll_ready());
    let mut response = task::spawn(service.call(get()));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_ready_err!(response.poll());
    let mut next = task::spawn(handle.next_request());
    assert_pending!(next.poll());
}

#[tokio::test(start_paused = true)]
async fn p20_token_is_sent_to_its_origins_only() {
    let mut stack = stack().await;
    let to = |uri: &str| Request::get(uri).body(Body::default()).unwrap();
    let with = |name: &str, value: &str| {
        let mut request = get();
        let name: HeaderName = name.parse().unwrap();
        request.headers_mut().append(name, value.parse().unwrap());
        request
    };
    let mut with_two_hosts = with("host", "api.example.com");
    with_two_hosts
        .headers_mut()
        .append("host", "evil.example".parse().unwrap());
    for request in [
        to("http://api.example.com/"),
        to("https://api.example.com:8443/"),
        to("https://example.com/"),
        to("https://user:pass@api.example.com/"),
        to("/v1/company"),
        with("host", "evil.example"),
        with("host", "api.example.com:8443"),
        with("host", "user@api.example.com"),
        with("host", ""),
        with("authorization", "Basic abc"),
        with_two_hosts,
        // One of the token's origins, but not that of the URI.
        with("host", "second.example.com"),
    ] {
        let shown = format!("{request:?}");
        let mut response = stack.send(request);
        let error = assert_ready_err!(response.poll());
        assert_eq!(error.kind(), ErrorKind::Request, "{shown}");
    }
    assert!(stack.is_idle());
    for request in [
        to("https://API.example.com:443/x?y"),
        with("host", "api.example.com"),
        with("host", "api.example.com:443"),
    ] {
        let _response = stack.send(request);
        let (request, _) = stack.handle.next_request().await.unwrap();
        assert_eq!(token_of(&request), "Bearer a1");
    }
}

#[tokio::test(start_paused = true)]
async fn p20_request_with_an_authorization_header_fails_before_a_token_is_fetched() {
    let source = Source::new(&ManualClock::new());
    let layer = BearerAuthLayer::new(source.cache().build().unwrap());
    let (mut service, mut handle) =
        mock::spawn_with::<_, _, _, BearerAuth<Inner, ReplayBody<Body>>>(move |inner| {
            layer.layer(inner)
        });
    for _ in 0..3 {
        let mut request = get();
        for value in ["Basic abc", "Bearer mine"] {
            request
                .headers_mut()
                .append(AUTHORIZATION, value.parse().unwrap());
        }
        assert_ready_ok!(service.poll_ready());
        let error = assert_ready_err!(task::spawn(service.call(request)).poll());
        assert_eq!(error.kind(), ErrorKind::Request);
    }
    settle().await;
    assert_eq!(source.refreshes(), 0);
    assert!(task::spawn(handle.next_request()).poll().is_pending());
}

#[tokio::test(start_paused = true)]
async fn inner_error_is_the_source() {
    let mut stack = stack().await;
    let mut response = stack.send(get());
    let (_, refuse) = stack.handle.next_request().await.unwrap();
    refuse.send_error("inner");
    let error = assert_ready_err!(response.poll());
    assert_eq!(error.kind(), ErrorKind::Service);
    assert_eq!(error.source().unwrap().to_string(), "inner");

    stack.handle.send_error("not ready");
    let error = assert_ready_err!(stack.service.poll_ready());
    assert_eq!(error.kind(), ErrorKind::Service);
    assert_eq!(error.into_service_error().unwrap().to_string(), "not ready");
}

#[tokio::test(start_paused = true)]
async fn error_passes_a_timeout_outside_the_layer() {
    let source = Source::new(&ManualClock::new());
    source.then(Scripted::Fail(unavailable()));
    let tokens = source.cache().build().unwrap();
    let service = tower::service_fn(|_: Request<ReplayBody<Body>>| async {
        Ok::<_, Infallible>(respond(200))
    });
    let api = ServiceBuilder::new()
        .timeout(Duration::from_secs(60))
        .layer(BearerAuthLayer::new(tokens))
        .service(service);
    let error = api.oneshot(get()).await.unwrap_err();
    let error = error.downcast::<tower_oauth2_client::Error>().unwrap();
    assert!(error.is_transient());
}

#[tokio::test(start_paused = true)]
async fn request_that_waited_carries_the_newest_token() {
    let mut stack = stack().await;
    tokio::time::sleep(2 * DAY).await;
    stack.source.block();
    tokio::time::sleep(DAY).await;
    let mut response = stack.send(get());
    assert_pending!(response.poll());
    stack.source.unblock();
    tokio::time::sleep(Duration::from_secs(60)).await;
    // The background or this request has refreshed the token.
    let _ = response.poll();
    let (request, _) = stack.handle.next_request().await.unwrap();
    let newest = stack.tokens.token().await.unwrap();
    assert_eq!(&request.headers()[AUTHORIZATION], newest.header_value());
    assert!(newest.generation() > Generation::FIRST);
}

#[test]
fn service_is_send_and_sync() {
    fn shareable<T: Send + Sync>() {}
    fn sendable<T: Send>() {}
    shareable::<BearerAuth<Inner, ReplayBody<Body>>>();
    shareable::<BearerAuthLayer<ReplayBody<Body>>>();
    shareable::<TokenCache>();
    sendable::<<BearerAuth<Inner, ReplayBody<Body>> as Service<Request<Body>>>::Future>();
}
