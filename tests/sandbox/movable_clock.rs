//! One clock for the sandbox and the program, in real time and over real sockets.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tower::{Layer, ServiceExt};
use tower_oauth2_client::{
    bearer::{BearerAuthLayer, ReplayBody},
    cache::TokenCache,
    clock::Clock,
    oauth::OAuthClient,
    provider,
    sandbox::{Counters, MovableClock, Sandbox},
    store::MemoryStore,
    tenants::Tenants,
    token::TenantId,
};

use crate::connect::client;

type Body = ReplayBody<Full<Bytes>>;

const DAY: Duration = Duration::from_secs(86_400);

/// A program with a socket, whose clock is the sandbox's.
struct Program {
    sandbox: Sandbox,
    http: Client<HttpConnector, Body>,
    oauth: OAuthClient,
}

impl Program {
    async fn start() -> Self {
        let sandbox = Sandbox::start().await.unwrap();
        let http = Client::builder(TokioExecutor::new()).build_http();
        let provider = provider::justworks().on_origin(&sandbox.url()).unwrap();
        let oauth = OAuthClient::builder(provider, sandbox.client_id())
            .client_secret(sandbox.client_secret())
            .redirect_uri(sandbox.redirect_uri())
            .clock(sandbox.clock())
            .build(http.clone())
            .unwrap();
        Self {
            sandbox,
            http,
            oauth,
        }
    }

    /// Waits without a sleep, and fails after a minute.
    async fn wait_until(&self, condition: impl FnMut(&Counters) -> bool) {
        let limit = Duration::from_secs(60);
        tokio::time::timeout(limit, self.sandbox.wait_until(condition))
            .await
            .expect("the condition holds within a minute");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_lives_for_months_over_real_sockets() {
    let program = Program::start().await;
    let sandbox = &program.sandbox;
    let tokens = TokenCache::builder(program.oauth.clone())
        .clock(sandbox.clock())
        .build()
        .unwrap();
    let first = sandbox.connect(&program.oauth).await.unwrap();
    tokens.set_tokens(first).await.unwrap();
    let api = BearerAuthLayer::new(tokens.clone()).layer(program.http.clone());
    let call = || async {
        let request = Request::get(format!("{}/v1/company", sandbox.url()));
        let request = request.body(Full::default()).unwrap();
        api.clone().oneshot(request).await
    };
    for month in 1..=3 {
        assert_eq!(call().await.unwrap().status(), StatusCode::OK);
        sandbox.advance(29 * DAY);
        assert_eq!(call().await.unwrap().status(), StatusCode::OK);
        assert_eq!(sandbox.counters().refreshes, month);
    }
    // The cache has known it, so no request was rejected.
    assert_eq!(sandbox.counters().unauthorized, 0);
    // Nothing refreshes it for 31 days: the shared clock ends the grant at the provider.
    sandbox.advance(31 * DAY);
    let error = call().await.unwrap_err();
    assert!(error.is_consent_required(), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn background_task_of_a_cache_notices_a_move() {
    let program = Program::start().await;
    let tokens = TokenCache::builder(program.oauth.clone())
        .clock(program.sandbox.clock())
        .background_delay(Duration::ZERO)
        .build()
        .unwrap();
    let first = program.sandbox.connect(&program.oauth).await.unwrap();
    tokens.set_tokens(first).await.unwrap();
    for refreshes in 1..=3 {
        // No request: the background task keeps the idle grant alive.
        program.sandbox.advance(29 * DAY);
        program
            .wait_until(|counters| counters.refreshes == refreshes)
            .await;
        // The refresh in flight ends before the clock moves again.
        tokens.token().await.unwrap();
    }
    tokens.shutdown(Duration::from_secs(60)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn background_task_of_tenants_maintains_all_residents_after_a_move() {
    let program = Program::start().await;
    let tenants = Tenants::builder(program.oauth.clone())
        .store(MemoryStore::new())
        .clock(program.sandbox.clock())
        .idle_after(365 * DAY)
        .background_delay(Duration::ZERO)
        .build()
        .unwrap();
    for number in 0..50 {
        let tenant = TenantId::new(format!("tenant-{number}")).unwrap();
        let tokens = program.sandbox.connect(&program.oauth).await.unwrap();
        tenants.set_tokens(&tenant, tokens).await.unwrap();
    }
    program.sandbox.advance(29 * DAY);
    program
        .wait_until(|counters| counters.refreshes == 50)
        .await;
    tenants.shutdown(Duration::from_secs(60)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn background_tasks_compare_the_time_at_once_after_a_move() {
    let sandbox = Sandbox::builder().build();
    let oauth = client(&sandbox);
    let cache = TokenCache::builder(oauth.clone())
        .clock(sandbox.clock())
        .background_delay(Duration::ZERO)
        .build()
        .unwrap();
    let tokens = sandbox.connect(&oauth).await.unwrap();
    cache.set_tokens(tokens).await.unwrap();
    let tenants = Tenants::builder(oauth.clone())
        .store(MemoryStore::new())
        .clock(sandbox.clock())
        .idle_after(365 * DAY)
        .background_delay(Duration::ZERO)
        .build()
        .unwrap();
    for name in ["acme", "globex"] {
        let tokens = sandbox.connect(&oauth).await.unwrap();
        let tenant = TenantId::new(name).unwrap();
        tenants.set_tokens(&tenant, tokens).await.unwrap();
    }
    // All tasks are in their pauses.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let moved_at = tokio::time::Instant::now();
    sandbox.advance(29 * DAY);
    sandbox.wait_until(|counters| counters.refreshes == 3).await;
    // Virtual time: the tasks have not waited for a timer.
    assert_eq!(moved_at.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn sandboxes_share_a_clock() {
    let clock = MovableClock::starting_at(SystemTime::UNIX_EPOCH + 365 * DAY);
    let sandboxes = [(); 2].map(|()| Sandbox::builder().clock(clock.clone()).build());
    tokio::time::advance(DAY).await;
    clock.advance(DAY);
    for sandbox in &sandboxes {
        sandbox.advance(DAY);
    }
    for sandbox in sandboxes {
        assert_eq!(sandbox.now(), SystemTime::UNIX_EPOCH + 369 * DAY);
    }
    assert_eq!(clock.wall(), SystemTime::UNIX_EPOCH + 369 * DAY);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_time_of_the_sandbox_is_not_that_of_its_clock() {
    let wrong = SystemTime::UNIX_EPOCH + 100 * DAY;
    let sandbox = Sandbox::builder().clock_starts_at(wrong).build();
    sandbox.advance(DAY);
    assert_eq!(sandbox.now(), wrong + DAY);
    assert!(sandbox.clock().wall() > wrong + 365 * DAY);
    // The cache takes the lifetime, not the wrong time.
    let tokens = sandbox.connect(&client(&sandbox)).await.unwrap();
    assert_eq!(tokens.lifetime(), Some(DAY));
}

#[tokio::test(start_paused = true)]
async fn wait_until_returns_at_once_or_after_the_change() {
    let sandbox = Sandbox::builder().build();
    sandbox.wait_until(|counters| counters.requests == 0).await;
    let waiting = sandbox.wait_until(|counters| counters.code_exchanges == 1);
    let oauth = client(&sandbox);
    let ((), connected) = tokio::join!(waiting, sandbox.connect(&oauth));
    connected.unwrap();
}
