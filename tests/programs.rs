//! Short programs and slow token endpoints over real HTTP: no grant is lost when a program ends, or
//! when its callers stop waiting.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::runtime::{Builder, Runtime};
use tower::{Layer, ServiceExt};
use tower_oauth2_client::{
    ErrorKind,
    bearer::BearerAuthLayer,
    cache::{TokenCache, TokenCacheBuilder},
    clock::{Clock, SystemClock},
    oauth::OAuthClient,
    provider,
    sandbox::{Endpoint, Fault, Rotation, Sandbox},
    store::FileStore,
};

#[path = "support/mod.rs"]
mod support;

use support::{DAY, HOUR, SECOND, connect};

type Http = Client<HttpConnector, Full<Bytes>>;

/// A clock that is ahead of the system's.
#[derive(Clone, Debug, Default)]
struct AheadClock(Arc<AtomicU64>);

impl AheadClock {
    fn ahead(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::SeqCst))
    }
}

impl Clock for AheadClock {
    fn monotonic(&self) -> Instant {
        SystemClock.monotonic() + self.ahead()
    }

    fn wall(&self) -> SystemTime {
        SystemClock.wall() + self.ahead()
    }
}

fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

/// A provider that revokes the grant if a refresh token is used twice, and the directory of the
/// grant. The provider runs in its own runtime.
struct Scene {
    server: Runtime,
    sandbox: Sandbox,
    directory: tempfile::TempDir,
    clock: AheadClock,
}

impl Scene {
    /// A customer has consented, and from now on each token response is slow.
    fn connected(slow: Fault) -> Self {
        let scene = Self::new();
        runtime().block_on(async {
            let (_, oauth, tokens) = scene.program();
            connect(&scene.sandbox, &oauth, &tokens.build().unwrap()).await;
        });
        scene.sandbox.inject(Endpoint::Token, slow.always());
        scene
    }

    fn new() -> Self {
        let server = runtime();
        let sandbox = Sandbox::builder()
            .behavior(|behavior| behavior.rotation = Rotation::FamilyRevocation)
            .start();
        Self {
            sandbox: server.block_on(sandbox).unwrap(),
            server,
            directory: tempfile::tempdir().unwrap(),
            clock: AheadClock::default(),
        }
    }

    fn pass(&self, time: Duration) {
        self.sandbox.advance(time);
        self.clock.0.fetch_add(time.as_secs(), Ordering::SeqCst);
    }

    /// The parts of a program of the customer: its HTTP client, OAuth client and token cache.
    fn program(&self) -> (Http, OAuthClient, TokenCacheBuilder) {
        let http: Http = Client::builder(TokioExecutor::new()).build_http();
        let provider = provider::justworks()
            .on_origin(&self.sandbox.url())
            .unwrap();
        let oauth = OAuthClient::builder(provider, self.sandbox.client_id())
            .client_secret(self.sandbox.client_secret())
            .redirect_uri(self.sandbox.redirect_uri())
            .clock(self.clock.clone())
            .build(http.clone())
            .unwrap();
        let tokens = TokenCache::builder(oauth.clone())
            .store(FileStore::open(self.directory.path()).unwrap())
            .clock(self.clock.clone());
        (http, oauth, tokens)
    }

    async fn call(&self, http: &Http, tokens: &TokenCache) -> StatusCode {
        let api = BearerAuthLayer::new(tokens.clone()).layer(http.clone());
        let company = Request::get(format!("{}/v1/company", self.sandbox.url()));
        let request = company.body(Full::<Bytes>::default()).unwrap();
        api.oneshot(request).await.unwrap().status()
    }

    /// A program that makes requests, and ends without a shutdown.
    fn run_short_program(&self, settings: impl FnOnce(TokenCacheBuilder) -> TokenCacheBuilder) {
        let program = runtime();
        program.block_on(async {
            let (http, _, tokens) = self.program();
            let tokens = settings(tokens).build().unwrap();
            // The background task loads the grant.
            while tokens.status().generation.is_none() {
                tokio::task::yield_now().await;
            }
            // Long enough for a background refresh to send its request.
            for _ in 0..200 {
                assert_eq!(self.call(&http, &tokens).await, StatusCode::OK);
            }
        });
        program.shutdown_background();
    }
}

#[test]
fn p13_grant_outlives_short_programs_that_end_in_its_advisory_window() {
    // The response is on the wire for a while.
    let scene = Scene::connected(Fault::slow(Duration::from_millis(1)));
    // The token is fresh, in its advisory window, or has expired.
    for hours in [1, 20, 1, 1, 1, 1, 20, 3, 23, 25, 21, 2, 22, 1] {
        scene.pass(hours * HOUR);
        scene.run_short_program(|tokens| tokens);
        assert_eq!(scene.sandbox.counters().grants_revoked, 0);
    }
    let counters = scene.sandbox.counters();
    assert_eq!(counters.refresh_tokens_reused, 0);
    assert_eq!(counters.grants_revoked, 0);
    assert!(counters.refreshes >= 4, "the token was refreshed");
}

/// A 401 to a body that cannot be sent again causes a refresh for later requests.
#[test]
fn p13_short_program_waits_for_a_refresh_that_is_of_no_use_to_its_request() {
    let scene = Scene::connected(Fault::slow(Duration::from_millis(1)));
    scene.pass(HOUR);
    for _ in 0..3 {
        scene.sandbox.revoke_access_tokens();
        let program = runtime();
        let status = program.block_on(async {
            let (http, _, tokens) = scene.program();
            let tokens = tokens.build().unwrap();
            let api = BearerAuthLayer::new(tokens).replay_limit(0).layer(http);
            let company = Request::get(format!("{}/v1/company", scene.sandbox.url()));
            let request = company.body(Full::from("large")).unwrap();
            api.oneshot(request).await.unwrap().status()
        });
        program.shutdown_background();
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        scene.pass(HOUR);
        scene.run_short_program(|tokens| tokens);
    }
    let counters = scene.sandbox.counters();
    assert_eq!(counters.refreshes, 3);
    assert_eq!(counters.refresh_tokens_reused, 0);
}

#[test]
fn p13_shutdown_at_the_end_of_a_program_waits_for_its_background_refresh() {
    let scene = Scene::connected(Fault::delay(Duration::from_millis(200)));
    for _ in 0..3 {
        scene.pass(23 * HOUR);
        let program = runtime();
        program.block_on(async {
            let (http, _, tokens) = scene.program();
            let tokens = tokens.background_delay(Duration::ZERO).build().unwrap();
            assert_eq!(scene.call(&http, &tokens).await, StatusCode::OK);
            tokens.shutdown(5 * SECOND).await.unwrap();
        });
        program.shutdown_background();
        scene.pass(2 * HOUR);
        scene.run_short_program(|tokens| tokens);
    }
    assert_eq!(scene.sandbox.counters().refresh_tokens_reused, 0);
}

#[test]
fn p11_callers_that_stop_waiting_do_not_lose_a_slow_response() {
    let scene = Scene::connected(Fault::delay(Duration::from_millis(1_200)));
    scene.server.block_on(async {
        let (http, _, tokens) = scene.program();
        let impatient = Duration::from_millis(250);
        let tokens = tokens.acquire_timeout(impatient).build().unwrap();
        for _ in 0..2 {
            scene.pass(DAY + HOUR);
            let mut waits = 0;
            loop {
                match tokens.token().await {
                    Ok(_) => break,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
                }
                waits += 1;
            }
            assert!(waits >= 2, "{waits}");
            assert_eq!(scene.call(&http, &tokens).await, StatusCode::OK);
        }
    });
    let counters = scene.sandbox.counters();
    assert_eq!(counters.refresh_tokens_reused, 0);
    assert_eq!(counters.refreshes, 2);
}
