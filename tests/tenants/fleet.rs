//! A thousand tenants of which a hundred fail, and the load that many replicas put on the provider.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use tokio::{task::JoinSet, time::Instant};
use tower::{Layer, ServiceExt};
use tower_oauth2_client::{
    ErrorKind,
    bearer::BearerAuthLayer,
    clock::Clock,
    oauth::OAuthClient,
    provider,
    sandbox::{ConnectionLost, Endpoint, Fault, Sandbox, SandboxService},
    store::{MemoryStore, TokenStore},
    tenants::Tenants,
    token::{AccessToken, Generation, Grant, GrantState, RefreshToken, TenantId, TokenSet},
};

use crate::support::{HOUR, MINUTE, ManualClock, named, numbered, pass};

type Body = Full<Bytes>;

/// A provider. Token requests with a marked refresh token go to a second provider, which fails.
struct Fleet {
    clock: ManualClock,
    sandbox: Sandbox,
    store: MemoryStore,
}

const FAILING: &str = "failing";

impl Fleet {
    fn at(lifetime: Duration) -> Self {
        let clock = ManualClock::new();
        let sandbox = Sandbox::builder()
            .clock_starts_at(clock.wall())
            .behavior(|behavior| behavior.access_token_lifetime = lifetime)
            .build();
        Self {
            clock,
            sandbox,
            store: MemoryStore::new(),
        }
    }

    fn oauth(&self, failing_provider: &Sandbox, secret: &str) -> OAuthClient {
        let (service, failing_provider) = (self.sandbox.service(), failing_provider.service());
        let http = tower::service_fn(move |request| {
            token_endpoint(service.clone(), failing_provider.clone(), request)
        });
        let provider = provider::justworks()
            .on_origin(&self.sandbox.url())
            .unwrap();
        OAuthClient::builder(provider, self.sandbox.client_id())
            .client_secret(secret)
            .redirect_uri(self.sandbox.redirect_uri())
            .clock(self.clock.clone())
            .jitter_seed(7)
            .build(http)
            .unwrap()
    }

    /// One process.
    fn replica(&self, oauth: &OAuthClient, seed: u64) -> Replica {
        let tenants = Tenants::builder(oauth.clone())
            .store(self.store.clone())
            .clock(self.clock.clone())
            .jitter_seed(seed)
            .build()
            .unwrap();
        Replica {
            layer: BearerAuthLayer::new(tenants.clone()),
            tenants,
            api: self.sandbox.service(),
            url: format!("{}/v1/company", self.sandbox.url()),
        }
    }

    async fn connect(&self, oauth: &OAuthClient, tenant: &TenantId) {
        let (url, pending) = oauth.authorization_url().unwrap();
        let callback = self.sandbox.consent(&url).await.unwrap();
        let code = pending.accept(&callback).unwrap();
        let tokens = oauth.exchange_code(code).await.unwrap();
        self.put(tenant, tokens).await;
    }

    async fn put(&self, tenant: &TenantId, tokens: TokenSet) {
        let grant = Grant::new(Generation::FIRST, GrantState::Active(tokens));
        self.store.save(tenant, None, &grant).await.unwrap();
    }

    fn refreshes(&self) -> u64 {
        self.sandbox.counters().refreshes
    }
}

async fn token_endpoint(
    service: SandboxService,
    failing_provider: SandboxService,
    request: Request<Body>,
) -> Result<Response<UnsyncBoxBody<Bytes, ConnectionLost>>, ConnectionLost> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let is_failing = String::from_utf8_lossy(&body).contains(FAILING);
    let request = Request::from_parts(head, Body::from(body));
    let service = if is_failing {
        failing_provider
    } else {
        service
    };
    Ok(service.oneshot(request).await?.map(BodyExt::boxed_unsync))
}

#[derive(Clone)]
struct Replica {
    tenants: Tenants,
    layer: BearerAuthLayer<Body>,
    api: SandboxService,
    url: String,
}

impl Replica {
    async fn call(&self, tenant: &TenantId) -> Result<StatusCode, ErrorKind> {
        let request = Request::get(&self.url).extension(tenant.clone());
        let request = request.body(Body::default()).unwrap();
        match self.layer.layer(self.api.clone()).oneshot(request).await {
            Ok(response) => Ok(response.status()),
            Err(error) => Err(error.kind()),
        }
    }

    /// Sends one request per tenant: how many were served at once, how many later, and how many
    /// not.
    async fn all_call(&self, tenants: &[TenantId]) -> (usize, usize, usize) {
        let mut calls = JoinSet::new();
        for tenant in tenants {
            let (replica, tenant) = (self.clone(), tenant.clone());
            calls.spawn(async move {
                let started = Instant::now();
                let result = replica.call(&tenant).await;
                (result == Ok(StatusCode::OK), started.elapsed().is_zero())
            });
        }
        let mut counted = (0, 0, 0);
        for outcome in calls.join_all().await {
            match outcome {
                (true, true) => counted.0 += 1,
                (true, false) => counted.1 += 1,
                (false, _) => counted.2 += 1,
            }
        }
        counted
    }
}

/// The failures of the token endpoint.
fn failures() -> Vec<(&'static str, Fault)> {
    let code = |status: StatusCode, code: &str| {
        Fault::status(status).body(format!(r#"{{"error":"{code}"}}"#))
    };
    vec![
        ("delay", Fault::delay(MINUTE)),
        ("drop", Fault::drop_connection()),
        ("reset", Fault::reset()),
        ("hang", Fault::hang()),
        ("truncate", Fault::truncate()),
        ("slow", Fault::slow(MINUTE / 60)),
        ("huge", Fault::huge(2 << 20)),
        ("garbage", Fault::garbage()),
        ("500", Fault::status(StatusCode::INTERNAL_SERVER_ERROR)),
        ("503", Fault::status(StatusCode::SERVICE_UNAVAILABLE)),
        (
            "429",
            Fault::status(StatusCode::TOO_MANY_REQUESTS).retry_after("30"),
        ),
        ("504", Fault::status(StatusCode::GATEWAY_TIMEOUT)),
        (
            "invalid_grant",
            code(StatusCode::BAD_REQUEST, "invalid_grant"),
        ),
        (
            "invalid_request",
            code(StatusCode::BAD_REQUEST, "invalid_request"),
        ),
        ("403", Fault::status(StatusCode::FORBIDDEN)),
    ]
}

/// A tenth of them fails. CONTRIBUTING.md has the command of the long form, with 1,000.
fn fleet_size() -> u64 {
    std::env::var("FLEET").map_or(200, |size| size.parse().unwrap())
}

#[tokio::test(start_paused = true)]
async fn s20_failures_of_a_tenth_of_the_tenants_do_not_delay_the_others() {
    let failing_count = fleet_size() / 10;
    let healthy_count = fleet_size() - failing_count;
    let fleet = Fleet::at(HOUR);
    let failing_provider = Sandbox::builder()
        .clock_starts_at(fleet.clock.wall())
        .build();
    let oauth = fleet.oauth(&failing_provider, fleet.sandbox.client_secret());
    let healthy: Vec<_> = (0..healthy_count).map(numbered).collect();
    for tenant in &healthy {
        fleet.connect(&oauth, tenant).await;
        pass(MINUTE / 20).await;
    }
    let replica = fleet.replica(&oauth, 7);
    for (failure, fault) in failures() {
        failing_provider.clear_faults();
        failing_provider.inject(Endpoint::Token, fault.always());
        let now = fleet.clock.wall();
        let mut failing = Vec::new();
        for number in 0..failing_count {
            let tenant = named(&format!("{failure}-{number}"));
            let tokens = TokenSet::new(AccessToken::new("dead").unwrap(), MINUTE, now - HOUR);
            let refresh_token = RefreshToken::new(format!("{FAILING}-{failure}-{number}"));
            fleet
                .put(&tenant, tokens.with_refresh_token(refresh_token, now))
                .await;
            failing.push(tenant);
        }
        let calls = tokio::spawn({
            let replica = replica.clone();
            async move {
                loop {
                    let (_, _, failed) = replica.all_call(&failing).await;
                    assert_eq!(failed, failing.len());
                    pass(MINUTE).await;
                }
            }
        });
        let before = fleet.refreshes();
        for round in 0..13 {
            pass(5 * MINUTE).await;
            let served = replica.all_call(&healthy).await;
            assert_eq!(served, (healthy.len(), 0, 0), "{failure}, round {round}");
        }
        assert!(fleet.refreshes() - before >= healthy_count, "{failure}");
        calls.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn s23_twenty_restarting_replicas_make_one_refresh_per_tenant() {
    let fleet = Fleet::at(HOUR);
    let failing_provider = Sandbox::builder().build();
    let secret = fleet.sandbox.client_secret();
    let tenants: Vec<_> = (0..200).map(numbered).collect();
    let oauth = fleet.oauth(&failing_provider, secret);
    for tenant in &tenants {
        fleet.connect(&oauth, tenant).await;
    }
    // All replicas were down until every access token had expired.
    pass(2 * HOUR).await;
    let mut calls = JoinSet::new();
    for seed in 0..20 {
        // Each process has its own client, and so its own limiter.
        let replica = fleet.replica(&fleet.oauth(&failing_provider, secret), seed);
        let tenants = tenants.clone();
        calls.spawn(async move {
            let (at_once, later, failed) = replica.all_call(&tenants).await;
            assert_eq!((at_once + later, failed), (200, 0));
        });
    }
    calls.join_all().await;
    assert_eq!(fleet.refreshes(), 200);
    assert_eq!(fleet.sandbox.counters().refresh_tokens_reused, 0);
}

#[tokio::test(start_paused = true)]
async fn s21_a_replaced_secret_recovers_all_tenants_and_ends_no_grant() {
    let fleet = Fleet::at(HOUR);
    let failing_provider = Sandbox::builder().build();
    let tenants: Vec<_> = (0..200).map(numbered).collect();
    let oauth = fleet.oauth(&failing_provider, fleet.sandbox.client_secret());
    for tenant in &tenants {
        fleet.connect(&oauth, tenant).await;
    }
    pass(2 * HOUR).await;
    let oauth = fleet.oauth(&failing_provider, "replaced-since");
    let replica = fleet.replica(&oauth, 7);
    assert_eq!(replica.all_call(&tenants).await.2, 200);
    pass(10 * MINUTE).await;
    assert_eq!(replica.all_call(&tenants).await.2, 200);
    oauth.replace_secret(fleet.sandbox.client_secret()).unwrap();
    assert_eq!(replica.all_call(&tenants).await.2, 0);
    assert_eq!(fleet.refreshes(), 200);
    let report = replica.tenants.sweep().await.unwrap();
    assert_eq!((report.active, report.ended), (200, 0));
}
