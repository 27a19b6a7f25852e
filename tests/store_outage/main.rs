//! The database is unavailable before, during or after a refresh. Callers keep their token, and no
//! token set is lost.

#[path = "../support/mod.rs"]
mod support;
#[path = "../support/worker.rs"]
mod worker;

#[path = "../support/postgres.rs"]
mod postgres;
#[path = "../support/redis.rs"]
mod redis_server;
#[path = "../support/sentinel.rs"]
mod sentinel;
#[path = "../support/shared_store.rs"]
mod shared_store;

mod failover;

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use tokio::time::sleep;
use tower::{Layer, ServiceExt};
use tower_oauth2_client::{
    ErrorKind,
    bearer::{BearerAuth, BearerAuthLayer},
    cache::TokenCache,
    sandbox::{Endpoint, Fault, Sandbox},
    store::TokenStore,
    token::{Generation, TenantId},
};

use shared_store::{Backend, Location, SharedStore};
use worker::Http;

struct Scene {
    sandbox: Sandbox,
    backend: Backend,
    location: Location,
    tokens: TokenCache,
    api: BearerAuth<Http, Full<Bytes>>,
}

impl Scene {
    async fn new(backend: Backend) -> Self {
        let sandbox = Sandbox::start().await.unwrap();
        let location = backend.new_store().await;
        let oauth = worker::client_of(&sandbox);
        let tokens = TokenCache::builder(oauth.clone())
            .store(SharedStore::open(&location.url).await)
            .min_refresh_interval(Duration::from_millis(1))
            .build()
            .unwrap();
        support::connect(&sandbox, &oauth, &tokens).await;
        let api = BearerAuthLayer::new(tokens.clone()).layer(worker::http());
        Self {
            sandbox,
            backend,
            location,
            tokens,
            api,
        }
    }

    fn stop(&mut self) {
        match &mut self.backend {
            Backend::File => unreachable!(),
            Backend::Postgres(server) => server.stop(),
            Backend::Redis(server) => server.stop(),
        }
    }

    async fn start(&mut self) {
        match &mut self.backend {
            Backend::File => unreachable!(),
            Backend::Postgres(server) => server.start(),
            Backend::Redis(server) => server.start().await,
        }
    }

    async fn call(&self) -> StatusCode {
        let company = Request::get(format!("{}/v1/company", self.sandbox.url()));
        let company = company.body(Full::<Bytes>::default()).unwrap();
        self.api.clone().oneshot(company).await.unwrap().status()
    }

    fn refreshes(&self) -> u64 {
        self.sandbox.counters().refreshes
    }

    /// The generation that another process loads.
    async fn stored(&self) -> Generation {
        let store = SharedStore::open(&self.location.url).await;
        let tenant = TenantId::new("default").unwrap();
        store.load(&tenant).await.unwrap().unwrap().generation
    }

    /// Refreshes until the store can be written again. Connections take a moment to return.
    async fn refresh_until_stored(&self) {
        for _ in 0..200 {
            if self.tokens.refresh_now().await.is_ok() {
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
        panic!(
            "the store cannot be written again: {:?}",
            self.tokens.status()
        );
    }
}

async fn outage_before_refresh(backend: Backend) {
    let mut scene = Scene::new(backend).await;
    scene.stop();
    let error = scene.tokens.refresh_now().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store, "{error:?}");
    assert_eq!(scene.refreshes(), 0, "the refresh token is not sent");
    assert_eq!(scene.call().await, 200, "the current token is used");
    scene.start().await;
    scene.refresh_until_stored().await;
    assert_eq!(scene.call().await, 200);
    assert_eq!(scene.sandbox.counters().refresh_tokens_reused, 0);
}

async fn outage_during_refresh(backend: Backend) {
    let mut scene = Scene::new(backend).await;
    let wait = Fault::delay(Duration::from_secs(1)).after_processing();
    scene.sandbox.inject(Endpoint::Token, wait);
    let before = scene.stored().await;
    let refresh = tokio::spawn({
        let tokens = scene.tokens.clone();
        async move { tokens.refresh_now().await }
    });
    while scene.sandbox.counters().faults_triggered == 0 {
        sleep(Duration::from_millis(5)).await;
    }
    scene.stop();
    // The response arrives and cannot be saved: requests do not use it yet.
    let outcome = refresh.await.unwrap();
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Store);
    assert_eq!(scene.refreshes(), 1);
    for _ in 0..20 {
        assert_eq!(scene.call().await, 200);
        sleep(Duration::from_millis(20)).await;
    }
    scene.start().await;
    // The cache saves it without a further call.
    for _ in 0..200 {
        if scene.stored().await > before {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    assert!(scene.stored().await > before, "the token set is saved");
    scene.refresh_until_stored().await;
    assert_eq!(scene.call().await, 200);
    assert_eq!(scene.sandbox.counters().refresh_tokens_reused, 0);
}

async fn outage_after_refresh(backend: Backend) {
    let mut scene = Scene::new(backend).await;
    scene.tokens.refresh_now().await.unwrap();
    scene.stop();
    for _ in 0..20 {
        assert_eq!(scene.call().await, 200);
    }
    scene.start().await;
    scene.refresh_until_stored().await;
    assert_eq!(scene.sandbox.counters().refresh_tokens_reused, 0);
}

/// Generates the tests for one server.
macro_rules! over {
    ($name:ident, $backend:expr) => {
        mod $name {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn p14_outage_before_a_refresh_is_detected_before_the_token_request() {
                outage_before_refresh($backend).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn p14_token_set_is_saved_after_an_outage_during_its_refresh() {
                outage_during_refresh($backend).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn p05_outage_after_a_refresh_does_not_affect_requests() {
                outage_after_refresh($backend).await;
            }
        }
    };
}

over!(in_postgres, Backend::Postgres(postgres::Server::new()));
over!(
    in_redis,
    Backend::Redis(redis_server::Server::launch().await)
);
