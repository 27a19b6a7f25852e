//! An API that knows a new access token only a few seconds after it was issued.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::task::JoinSet;
use tower::{Layer, ServiceExt, limit::ConcurrencyLimit, util::BoxCloneSyncService};
use tower_oauth2_client::{
    ErrorKind,
    bearer::{BearerAuth, BearerAuthLayer, TokenProvider},
    cache::TokenCache,
    oauth::OAuthClient,
    provider,
    sandbox::{ConnectionLost, Sandbox, SandboxBody},
    tenants::Tenants,
    token::TenantId,
};

#[path = "support/mod.rs"]
mod support;

use support::{HOUR, MINUTE, ManualClock, SECOND, Store, connect, pass};

type Body = Full<Bytes>;
type Http = BoxCloneSyncService<Request<Body>, Response<SandboxBody>, ConnectionLost>;
type Api = BearerAuth<Http, Body>;

/// How a server treats the previous access token, and how soon the API knows the new one.
#[derive(Clone, Copy, Debug)]
struct Server {
    ends_previous: bool,
    delay: Duration,
}

fn servers() -> impl Iterator<Item = Server> {
    let delays = [0, 100, 1_000, 3_000].map(Duration::from_millis);
    delays.into_iter().flat_map(|delay| {
        [false, true].map(|ends_previous| Server {
            ends_previous,
            delay,
        })
    })
}

struct Partner {
    clock: ManualClock,
    sandbox: Sandbox,
    oauth: OAuthClient,
    store: Store,
}

impl Partner {
    fn new(server: Server) -> Self {
        let clock = ManualClock::new();
        let sandbox = Sandbox::builder()
            .clock_starts_at(tower_oauth2_client::clock::Clock::wall(&clock))
            .behavior(|behavior| {
                behavior.access_token_lifetime = HOUR;
                behavior.access_token_propagation = server.delay;
                behavior.rotation_revokes_access_token = server.ends_previous;
            })
            .build();
        let provider = provider::justworks().on_origin(&sandbox.url()).unwrap();
        let oauth = OAuthClient::builder(provider, sandbox.client_id())
            .client_secret(sandbox.client_secret())
            .redirect_uri(sandbox.redirect_uri())
            .clock(clock.clone())
            .jitter_seed(7)
            .build::<_, Body, _>(sandbox.service())
            .unwrap();
        Self {
            clock,
            sandbox,
            oauth,
            store: Store::default(),
        }
    }

    fn cache(&self) -> TokenCache {
        TokenCache::builder(self.oauth.clone())
            .background_delay(Duration::ZERO)
            .store(self.store.clone())
            .clock(self.clock.clone())
            .jitter_seed(7)
            .build()
            .unwrap()
    }

    fn api(&self, tokens: impl Into<TokenProvider>) -> Api {
        BearerAuthLayer::new(tokens).layer(self.http())
    }

    /// A request takes 30 ms to arrive, so some are in flight while the token is refreshed.
    fn http(&self) -> Http {
        let sandbox = self.sandbox.service();
        BoxCloneSyncService::new(tower::service_fn(move |request| {
            let sandbox = sandbox.clone();
            async move {
                pass(Duration::from_millis(30)).await;
                sandbox.oneshot(request).await
            }
        }))
    }

    fn get(&self) -> Request<Body> {
        let uri = format!("{}/v1/company", self.sandbox.url());
        Request::get(uri).body(Body::default()).unwrap()
    }

    fn refreshes(&self) -> u64 {
        self.sandbox.counters().refreshes
    }
}

/// Calls that begin every `interval` for a while. Returns how many got another status than 200.
async fn traffic(partner: &Partner, api: &Api, interval: Duration, time: Duration) -> usize {
    let failures = Arc::new(AtomicUsize::new(0));
    let mut calls = JoinSet::new();
    let start = tokio::time::Instant::now();
    while start.elapsed() < time {
        let (api, request, failures) = (api.clone(), partner.get(), failures.clone());
        calls.spawn(async move {
            let status = api.oneshot(request).await.unwrap().status();
            if status != StatusCode::OK {
                failures.fetch_add(1, Ordering::SeqCst);
            }
        });
        pass(interval).await;
        while calls.try_join_next().is_some() {}
    }
    calls.join_all().await;
    failures.load(Ordering::SeqCst)
}

#[tokio::test(start_paused = true)]
async fn p06_healthy_refresh_costs_no_caller_a_401_and_no_second_refresh() {
    for server in servers() {
        let partner = Partner::new(server);
        let tokens = partner.cache();
        connect(&partner.sandbox, &partner.oauth, &tokens).await;
        let api = partner.api(tokens.clone());
        for refreshes in 1..=3 {
            let mut failures = traffic(&partner, &api, 20 * SECOND, 10 * MINUTE).await;
            let refresh = tokio::spawn({
                let tokens = tokens.clone();
                async move {
                    pass(SECOND).await;
                    tokens.refresh_now().await
                }
            });
            failures += traffic(&partner, &api, Duration::from_millis(7), 10 * SECOND).await;
            refresh.await.unwrap().unwrap();
            assert_eq!(failures, 0, "{server:?}");
            assert_eq!(partner.refreshes(), refreshes, "{server:?}");
        }
        assert_eq!(partner.sandbox.counters().refresh_tokens_reused, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn p06_token_of_a_new_consent_is_not_refreshed_at_first_use() {
    for server in servers() {
        let partner = Partner::new(server);
        let tokens = partner.cache();
        connect(&partner.sandbox, &partner.oauth, &tokens).await;
        let api = partner.api(tokens.clone());
        let failures = traffic(&partner, &api, Duration::from_millis(37), 10 * SECOND).await;
        assert_eq!((failures, partner.refreshes()), (0, 0), "{server:?}");
    }
}

/// The age of a token that another replica has refreshed counts from its issue.
#[tokio::test(start_paused = true)]
async fn p06_token_of_another_replica_is_not_refreshed_at_first_use() {
    for server in servers() {
        let partner = Partner::new(server);
        let (here, there) = (partner.cache(), partner.cache());
        connect(&partner.sandbox, &partner.oauth, &here).await;
        there.token().await.unwrap();
        let api = partner.api(there.clone());
        for refreshes in 1..=3 {
            pass(10 * MINUTE).await;
            here.refresh_now().await.unwrap();
            let failures = traffic(&partner, &api, Duration::from_millis(37), 10 * SECOND).await;
            assert_eq!(
                (failures, partner.refreshes()),
                (0, refreshes),
                "{server:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p06_new_tokens_of_many_tenants_are_not_refreshed_at_first_use() {
    for server in servers() {
        let partner = Partner::new(server);
        let tenants = Tenants::builder(partner.oauth.clone())
            .store(partner.store.clone())
            .clock(partner.clock.clone())
            .build()
            .unwrap();
        let api = partner.api(tenants.clone());
        let names: Vec<_> = (0..20)
            .map(|number| TenantId::new(format!("tenant-{number}")).unwrap())
            .collect();
        let mut calls = JoinSet::new();
        for name in names {
            let (url, pending) = partner.oauth.authorization_url().unwrap();
            let callback = partner.sandbox.consent(&url).await.unwrap();
            let code = pending.accept(&callback).unwrap();
            let consented = partner.oauth.exchange_code(code).await.unwrap();
            tenants.set_tokens(&name, consented).await.unwrap();
            for pause in [0, 50, 500, 1_500, 4_000] {
                let (api, mut request) = (api.clone(), partner.get());
                request.extensions_mut().insert(name.clone());
                calls.spawn(async move {
                    pass(Duration::from_millis(pause)).await;
                    api.oneshot(request).await.unwrap().status()
                });
            }
        }
        let statuses = calls.join_all().await;
        assert!(statuses.iter().all(StatusCode::is_success), "{server:?}");
        assert_eq!(partner.refreshes(), 0, "{server:?}");
    }
}

/// Bodies that cannot be sent again: their callers get the 401, and no refresh is spent.
#[tokio::test(start_paused = true)]
async fn p06_body_that_cannot_be_replayed_spends_no_refresh_on_a_new_token() {
    let server = Server {
        ends_previous: true,
        delay: 3 * SECOND,
    };
    let partner = Partner::new(server);
    let tokens = partner.cache();
    connect(&partner.sandbox, &partner.oauth, &tokens).await;
    let api = BearerAuthLayer::new(tokens.clone()).replay_limit(0);
    let api: Api = api.layer(partner.http());
    for _ in 0..20 {
        let status = api.clone().oneshot(partner.get()).await.unwrap().status();
        assert_eq!(status, 401);
        pass(Duration::from_millis(100)).await;
    }
    pass(2 * SECOND).await;
    let status = api.oneshot(partner.get()).await.unwrap().status();
    assert_eq!((status, partner.refreshes()), (StatusCode::OK, 0));
}

/// A token that is rejected and new is not refreshed for 5 seconds, and then as any other.
#[tokio::test(start_paused = true)]
async fn p06_new_token_that_stays_rejected_is_refreshed_after_the_pause() {
    let server = Server {
        ends_previous: false,
        delay: Duration::ZERO,
    };
    let partner = Partner::new(server);
    let tokens = partner.cache();
    connect(&partner.sandbox, &partner.oauth, &tokens).await;
    partner.sandbox.revoke_access_tokens();
    let api = partner.api(tokens.clone());
    let start = tokio::time::Instant::now();
    let status = api.clone().oneshot(partner.get()).await.unwrap().status();
    assert_eq!(status, 401, "there is one retry only");
    assert_eq!(start.elapsed().as_secs(), 5);
    // The second 401 has started the refresh.
    pass(SECOND).await;
    assert_eq!(partner.refreshes(), 1);
    let status = api.oneshot(partner.get()).await.unwrap().status();
    assert_eq!(status, 200);
}

/// The refresh after the pause may be dropped with its request, and so may the pause.
#[tokio::test(start_paused = true)]
async fn p02_request_that_pauses_for_a_new_token_holds_no_capacity() {
    let server = Server {
        ends_previous: true,
        delay: 3 * SECOND,
    };
    let partner = Partner::new(server);
    let tokens = partner.cache();
    connect(&partner.sandbox, &partner.oauth, &tokens).await;
    let narrow = ConcurrencyLimit::new(partner.http(), 1);
    let api: BearerAuth<_, Body> = BearerAuthLayer::new(tokens).layer(narrow.clone());
    let mut calls = JoinSet::new();
    for _ in 0..50 {
        calls.spawn(api.clone().oneshot(partner.get()));
    }
    pass(2 * SECOND).await;
    // All of them pause, and another client of the same service is not starved.
    let other = tokio::time::timeout(SECOND / 10, narrow.oneshot(partner.get()));
    assert_eq!(other.await.unwrap().unwrap().status(), 401);
    let mut dropped = tokio_test::task::spawn(api.clone().oneshot(partner.get()));
    assert!(dropped.poll().is_pending());
    drop(dropped);
    let responses = calls.join_all().await;
    assert!(
        responses
            .into_iter()
            .all(|response| response.unwrap().status() == 200)
    );
    assert_eq!(partner.refreshes(), 0);
}

#[tokio::test(start_paused = true)]
async fn p17_grant_that_is_revoked_during_a_pause_sends_no_token() {
    let server = Server {
        ends_previous: false,
        delay: 3 * SECOND,
    };
    let partner = Partner::new(server);
    let tokens = partner.cache();
    connect(&partner.sandbox, &partner.oauth, &tokens).await;
    let call = tokio::spawn(partner.api(tokens.clone()).oneshot(partner.get()));
    pass(SECOND).await;
    tokens.revoke().await.unwrap();
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Revoked);
    assert_eq!(partner.sandbox.counters().unauthorized, 1);
}

/// Over real connections: requests begin all the time, while the token is refreshed.
#[tokio::test]
async fn p06_healthy_refresh_over_http_costs_no_caller_a_401_and_no_second_refresh() {
    let mut servers = JoinSet::new();
    for ends_previous in [false, true] {
        for delay in [100, 1_000, 3_000] {
            servers.spawn(over_http(Server {
                ends_previous,
                delay: Duration::from_millis(delay),
            }));
        }
    }
    servers.join_all().await;
}

async fn over_http(server: Server) {
    let sandbox = Sandbox::builder()
        .behavior(|behavior| {
            behavior.access_token_propagation = server.delay;
            behavior.rotation_revokes_access_token = server.ends_previous;
        })
        .start()
        .await
        .unwrap();
    let provider = provider::justworks().on_origin(&sandbox.url()).unwrap();
    let http: Client<HttpConnector, Body> = Client::builder(TokioExecutor::new()).build_http();
    let oauth = OAuthClient::builder(provider, sandbox.client_id())
        .client_secret(sandbox.client_secret())
        .redirect_uri(sandbox.redirect_uri())
        .build(http.clone())
        .unwrap();
    let tokens = TokenCache::builder(oauth.clone()).build().unwrap();
    connect(&sandbox, &oauth, &tokens).await;
    let api: BearerAuth<_, Body> = BearerAuthLayer::new(tokens.clone()).layer(http);
    let call = |api: BearerAuth<_, Body>| {
        let uri = format!("{}/v1/company", sandbox.url());
        let request = Request::get(uri).body(Body::default()).unwrap();
        tokio::spawn(api.oneshot(request))
    };
    // The first one waits until the API knows the first token.
    assert_eq!(call(api.clone()).await.unwrap().unwrap().status(), 200);
    let mut calls = Vec::new();
    let mut refresh = None;
    for number in 0..200 {
        if number == 20 {
            let tokens = tokens.clone();
            refresh = Some(tokio::spawn(async move { tokens.refresh_now().await }));
        }
        calls.push(call(api.clone()));
        pass(Duration::from_millis(20)).await;
    }
    refresh.unwrap().await.unwrap().unwrap();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().status(), 200, "{server:?}");
    }
    let counters = sandbox.counters();
    assert_eq!(counters.refreshes, 1, "{server:?}");
    assert!(counters.unauthorized > 0, "the delay was seen");
}
